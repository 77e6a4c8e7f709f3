//! A typed client of the HTTP API. The command line is built on it; programs may use it as it is.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::error::Problem;
use crate::api::wire::{
    DefinitionsView, DoneView, ForecastView, JobView, JobsView, LedgerView, NotedView, PreviewView,
    ReadyView, ScheduleView, SchedulesView, VersionView,
};

/// Where a server is unless told otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8888";
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take that is not one to wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one `wait` call asks the server to wait.
const WAIT_SLICE: Duration = Duration::from_secs(10 * 60);

/// A server, and what is needed to call it.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<String>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's address is none.
    #[error("`{0}` is not a server's address: write one like {DEFAULT_SERVER}")]
    BadAddress(String),
    /// The server refused, and said why.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// No server answered.
    #[error("no server answers at {server}: {cause}")]
    Unreachable {
        /// Where.
        server: String,
        /// Why.
        cause: String,
    },
    /// The answer began and did not come to its end.
    #[error("the answer of {server} was cut off, so it is not whole: {cause}")]
    CutOff {
        /// Where.
        server: String,
        /// Why.
        cause: String,
    },
    /// What answered is no tidetable.
    #[error("what answers at {0} is no tidetable server")]
    Strange(String),
}

impl Client {
    /// A client of the server at `http://host:port`.
    ///
    /// # Errors
    /// [`ClientError::BadAddress`].
    pub fn new(server: &str, token: Option<String>) -> Result<Self, ClientError> {
        let written =
            if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let url = reqwest::Url::parse(&written)
            .map_err(|_| ClientError::BadAddress(server.to_owned()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(ClientError::BadAddress(server.to_owned()));
        }
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).build().map_err(
            |error| ClientError::Unreachable { server: written.clone(), cause: chain(&error) },
        )?;
        Ok(Self { http, server: written.trim_end_matches('/').to_owned(), token })
    }

    /// Submits a job: `job_name`, `date`, and fields of a spec beside them.
    ///
    /// # Errors
    /// [`ClientError`], as of every call here.
    pub async fn submit(&self, job: &Value) -> Result<DoneView, ClientError> {
        self.json(self.request(Method::POST, "/job").json(job)).await
    }

    /// The three maps, filtered by this query.
    pub async fn jobs(&self, query: &[(&str, &str)]) -> Result<JobsView, ClientError> {
        self.json(self.request(Method::GET, "/jobs").query(query)).await
    }

    /// One job.
    pub async fn job(&self, id: &str) -> Result<JobView, ClientError> {
        self.json(self.request(Method::GET, &format!("/job/{id}"))).await
    }

    /// The job when it is over, however long that takes.
    pub async fn wait(&self, id: &str) -> Result<JobView, ClientError> {
        let path = format!("/job/{id}/wait");
        let slice = WAIT_SLICE.as_secs().to_string();
        loop {
            let request = self
                .request(Method::GET, &path)
                .query(&[("timeout", slice.as_str())])
                .timeout(WAIT_SLICE + ANSWER_TIMEOUT);
            let response = self.answer(request).await?;
            if response.status() == StatusCode::OK {
                return self.read(response).await;
            }
        }
    }

    /// Takes a job off the schedule.
    pub async fn cancel(&self, id: &str) -> Result<DoneView, ClientError> {
        self.json(self.request(Method::DELETE, &format!("/job/{id}"))).await
    }

    /// Stops a running job, within this grace if one is given; one that was asked before is killed.
    pub async fn stop(&self, id: &str, grace: Option<&str>) -> Result<DoneView, ClientError> {
        let grace: Vec<(&str, &str)> = grace.iter().map(|grace| ("grace", *grace)).collect();
        self.json(self.request(Method::POST, &format!("/job/{id}/stop")).query(&grace)).await
    }

    /// The definitions there are.
    pub async fn definitions(&self) -> Result<DefinitionsView, ClientError> {
        self.json(self.request(Method::GET, "/definitions")).await
    }

    /// Writes a definition, in place of the one of that name.
    pub async fn define(&self, name: &str, spec: &Value) -> Result<NotedView, ClientError> {
        self.json(self.request(Method::PUT, &definition(name)).json(spec)).await
    }

    /// Removes a definition.
    pub async fn undefine(&self, name: &str) -> Result<NotedView, ClientError> {
        self.json(self.request(Method::DELETE, &definition(name))).await
    }

    /// Runs what a job ran once more: a new job, due now or at this date.
    pub async fn rerun(&self, id: &str, date: Option<&str>) -> Result<DoneView, ClientError> {
        let date: Vec<(&str, &str)> = date.iter().map(|date| ("date", *date)).collect();
        self.json(self.request(Method::POST, &format!("/job/{id}/rerun")).form(&date)).await
    }

    /// What a job wrote, as it comes.
    pub async fn logs(
        &self,
        id: &str,
        query: &[(&str, &str)],
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>>, ClientError> {
        let request = self
            .request(Method::GET, &format!("/job/{id}/logs"))
            .query(query)
            .timeout(Duration::MAX);
        let response = self.answer(request).await?;
        let server = self.server.clone();
        Ok(response.bytes_stream().map_err(move |error| ClientError::CutOff {
            server: server.clone(),
            cause: chain(&error),
        }))
    }

    /// What a recurrence or a date means: `cron`, `every` or `date`, and `time_zone`, `from`, `count`.
    pub async fn preview(&self, question: &Value) -> Result<PreviewView, ClientError> {
        self.json(self.request(Method::POST, "/preview").json(question)).await
    }

    /// What will run when over the next hours, and where it piles up.
    pub async fn forecast(&self, hours: Option<u16>) -> Result<ForecastView, ClientError> {
        let hours: Vec<(&str, u16)> = hours.map(|hours| ("hours", hours)).into_iter().collect();
        self.json(self.request(Method::GET, "/forecast").query(&hours)).await
    }

    /// All schedules.
    pub async fn schedules(&self) -> Result<SchedulesView, ClientError> {
        self.json(self.request(Method::GET, "/schedules")).await
    }

    /// Makes or changes a schedule.
    pub async fn put_schedule(
        &self,
        name: &str,
        fields: &Value,
    ) -> Result<ScheduleView, ClientError> {
        self.json(self.of_schedule(Method::PUT, name, None)?.json(fields)).await
    }

    /// Deletes a schedule.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), ClientError> {
        self.answer(self.of_schedule(Method::DELETE, name, None)?).await.map(drop)
    }

    /// Pauses a schedule, or lets it go on.
    pub async fn pause_schedule(
        &self,
        name: &str,
        paused: bool,
    ) -> Result<ScheduleView, ClientError> {
        let action = if paused { "pause" } else { "resume" };
        self.json(self.of_schedule(Method::POST, name, Some(action))?).await
    }

    /// A job of a schedule, now.
    pub async fn trigger_schedule(&self, name: &str) -> Result<DoneView, ClientError> {
        self.json(self.of_schedule(Method::POST, name, Some("trigger"))?).await
    }

    /// When a schedule is due next.
    pub async fn next_of_schedule(
        &self,
        name: &str,
        n: Option<usize>,
    ) -> Result<PreviewView, ClientError> {
        let n: Vec<(&str, usize)> = n.map(|n| ("n", n)).into_iter().collect();
        self.json(self.of_schedule(Method::GET, name, Some("next"))?.query(&n)).await
    }

    /// What became of the latest ticks of a schedule.
    pub async fn ledger(&self, name: &str) -> Result<LedgerView, ClientError> {
        self.json(self.of_schedule(Method::GET, name, Some("ledger"))?).await
    }

    /// A call about one schedule, whatever is in its name.
    fn of_schedule(
        &self,
        method: Method,
        name: &str,
        action: Option<&str>,
    ) -> Result<RequestBuilder, ClientError> {
        let mut url = reqwest::Url::parse(&self.server)
            .map_err(|_| ClientError::BadAddress(self.server.clone()))?;
        url.set_path("");
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["schedule", name]).extend(action);
        }
        Ok(self.request(method, url.path()))
    }

    /// Whether jobs that are due are started.
    pub async fn ready(&self) -> Result<ReadyView, ClientError> {
        self.json(self.request(Method::GET, "/readyz")).await
    }

    /// Whether the server answers.
    pub async fn healthy(&self) -> Result<(), ClientError> {
        self.answer(self.request(Method::GET, "/healthz")).await.map(|_| ())
    }

    /// The server's version.
    pub async fn version(&self) -> Result<VersionView, ClientError> {
        self.json(self.request(Method::GET, "/version")).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request =
            self.http.request(method, format!("{}{path}", self.server)).timeout(ANSWER_TIMEOUT);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.answer(request).await?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let body = response.bytes().await.map_err(|error| self.cut_off(&error))?;
        serde_json::from_slice(&body).map_err(|_| ClientError::Strange(self.server.clone()))
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|error| self.cut_off(&error))?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            // `readyz` says why it is not ready with 503.
            Err(_) => match serde_json::from_slice::<ReadyView>(&body) {
                Ok(ready) => Err(ClientError::Refused(Box::new(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "not_ready",
                    ready.detail.unwrap_or_default(),
                )))),
                Err(_) => Err(ClientError::Strange(self.server.clone())),
            },
        }
    }

    fn cut_off(&self, error: &reqwest::Error) -> ClientError {
        ClientError::CutOff { server: self.server.clone(), cause: chain(error) }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { server: self.server.clone(), cause: chain(error) }
    }
}

/// The path of a definition: its name may hold any sign.
fn definition(name: &str) -> String {
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/definition/{}", name.replace('+', "%20"))
}

/// The innermost cause says most: `connection refused`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
