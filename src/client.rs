//! A typed client of the HTTP API. The command line is built on it, and other programs may use it
//! as well.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::problem::Problem;
use crate::http::views::{
    DefinitionsView, DoneView, ForecastView, JobView, JobsView, LedgerView, NotedView, PauseView,
    PreviewView, ReadyView, ScheduleView, SchedulesView, SummaryView, TideView, VersionView,
};

/// The address of the server if none is given.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8888";
/// The longest time that a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time that an answer may take, for all calls except `wait` and `logs`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The time that one `wait` call asks the server to wait.
const WAIT_SLICE: Duration = Duration::from_secs(10 * 60);

/// A client of one server, with the token that it sends.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<String>,
}

/// The reason why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's address is not a URL with a host.
    #[error("`{0}` is not a server's address: write one like {DEFAULT_SERVER}")]
    BadAddress(String),
    /// The server refused the call and gave a reason.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The connection failed, or no answer came in time.
    #[error("no server answers at {server}: {cause}")]
    Unreachable {
        /// The address that was called.
        server: String,
        /// The innermost cause of the error.
        cause: String,
    },
    /// The answer began but did not arrive completely.
    #[error("the answer of {server} was cut off, so it is not whole: {cause}")]
    CutOff {
        /// The address that was called.
        server: String,
        /// The innermost cause of the error.
        cause: String,
    },
    /// The answer is not one of a tidetable server.
    #[error("what answers at {0} is no tidetable server")]
    Strange(String),
}

impl Client {
    /// Creates a client of the server at `http://host:port`. Does not connect yet.
    ///
    /// # Errors
    /// Returns [`ClientError::BadAddress`] for an invalid address.
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

    /// Returns the address of the server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Submits a job: `job_name`, `date`, and the fields of a spec.
    ///
    /// # Errors
    /// Returns a [`ClientError`], as every call here does.
    pub async fn submit(&self, job: &Value) -> Result<DoneView, ClientError> {
        self.json(self.request(Method::POST, "/job").json(job)).await
    }

    /// Returns the three maps, filtered by the query.
    pub async fn jobs(&self, query: &[(&str, &str)]) -> Result<JobsView, ClientError> {
        self.json(self.request(Method::GET, "/jobs").query(query)).await
    }

    pub async fn job(&self, id: &str) -> Result<JobView, ClientError> {
        self.json(self.request(Method::GET, &format!("/job/{id}"))).await
    }

    /// Waits until the job is over, without a time limit, and returns it.
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

    /// Stops a running job, within `grace` if one is given. A second call kills the job.
    pub async fn stop(&self, id: &str, grace: Option<&str>) -> Result<DoneView, ClientError> {
        let grace: Vec<(&str, &str)> = grace.iter().map(|grace| ("grace", *grace)).collect();
        self.json(self.request(Method::POST, &format!("/job/{id}/stop")).query(&grace)).await
    }

    pub async fn definitions(&self) -> Result<DefinitionsView, ClientError> {
        self.json(self.request(Method::GET, "/definitions")).await
    }

    /// Returns the spec of a definition.
    pub async fn definition(&self, name: &str) -> Result<Value, ClientError> {
        self.json(self.request(Method::GET, &definition(name))).await
    }

    /// Writes a definition, and replaces one with the same name.
    pub async fn define(&self, name: &str, spec: &Value) -> Result<NotedView, ClientError> {
        self.json(self.request(Method::PUT, &definition(name)).json(spec)).await
    }

    pub async fn undefine(&self, name: &str) -> Result<NotedView, ClientError> {
        self.json(self.request(Method::DELETE, &definition(name))).await
    }

    /// Submits a new job that runs the same as job `id`, due at `date`. `None`: due now.
    pub async fn rerun(&self, id: &str, date: Option<&str>) -> Result<DoneView, ClientError> {
        let date: Vec<(&str, &str)> = date.iter().map(|date| ("date", *date)).collect();
        self.json(self.request(Method::POST, &format!("/job/{id}/rerun")).form(&date)).await
    }

    /// Streams the output of a job as it arrives, in this media type.
    pub async fn logs(
        &self,
        id: &str,
        query: &[(&str, String)],
        accept: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + use<>, ClientError> {
        self.stream(self.request(Method::GET, &format!("/job/{id}/logs")).query(query), accept)
            .await
    }

    /// Streams events as lines of JSON: `kind`, `schedule`, `job`, `job_name`, `since`.
    pub async fn events(
        &self,
        query: &[(&str, String)],
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + use<>, ClientError> {
        self.stream(self.request(Method::GET, "/events").query(query), "application/x-ndjson").await
    }

    /// Returns the state of the server: counts, engines, store.
    pub async fn summary(&self) -> Result<SummaryView, ClientError> {
        self.json(self.request(Method::GET, "/summary")).await
    }

    /// Holds back everything that is due: `until`, `why`.
    pub async fn pause(&self, body: &Value) -> Result<PauseView, ClientError> {
        self.json(self.request(Method::POST, "/pause").json(body)).await
    }

    /// Ends the pause of everything.
    pub async fn resume(&self) -> Result<PauseView, ClientError> {
        self.json(self.request(Method::POST, "/resume")).await
    }

    async fn stream(
        &self,
        request: RequestBuilder,
        accept: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + use<>, ClientError> {
        let request = request.header(reqwest::header::ACCEPT, accept).timeout(Duration::MAX);
        let response = self.answer(request).await?;
        let server = self.server.clone();
        Ok(response.bytes_stream().map_err(move |error| ClientError::CutOff {
            server: server.clone(),
            cause: chain(&error),
        }))
    }

    /// Explains a recurrence or a date: `cron`, `every` or `date`, with `time_zone`, `from` and
    /// `count`.
    pub async fn preview(&self, question: &Value) -> Result<PreviewView, ClientError> {
        self.json(self.request(Method::POST, "/preview").json(question)).await
    }

    /// Returns the runs of the next `hours` and the times at which too many coincide. `None`: the
    /// server's default.
    pub async fn forecast(&self, hours: Option<u16>) -> Result<ForecastView, ClientError> {
        let hours: Vec<(&str, u16)> = hours.map(|hours| ("hours", hours)).into_iter().collect();
        self.json(self.request(Method::GET, "/forecast").query(&hours)).await
    }

    /// Returns the tide chart for these query parameters.
    pub async fn tide(&self, query: &[(&str, String)]) -> Result<TideView, ClientError> {
        self.json(self.request(Method::GET, "/tide").query(query)).await
    }

    pub async fn schedules(&self) -> Result<SchedulesView, ClientError> {
        self.json(self.request(Method::GET, "/schedules")).await
    }

    pub async fn schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.json(self.of_schedule(Method::GET, name, None)?).await
    }

    /// Creates or changes a schedule.
    pub async fn put_schedule(
        &self,
        name: &str,
        fields: &Value,
    ) -> Result<ScheduleView, ClientError> {
        self.json(self.of_schedule(Method::PUT, name, None)?.json(fields)).await
    }

    pub async fn delete_schedule(&self, name: &str) -> Result<(), ClientError> {
        self.answer(self.of_schedule(Method::DELETE, name, None)?).await.map(drop)
    }

    /// Pauses or resumes a schedule.
    pub async fn pause_schedule(
        &self,
        name: &str,
        paused: bool,
    ) -> Result<ScheduleView, ClientError> {
        let action = if paused { "pause" } else { "resume" };
        self.json(self.of_schedule(Method::POST, name, Some(action))?).await
    }

    /// Submits a job of a schedule, due now.
    pub async fn trigger_schedule(&self, name: &str) -> Result<DoneView, ClientError> {
        self.json(self.of_schedule(Method::POST, name, Some("trigger"))?).await
    }

    /// Returns the next `n` due times of a schedule. `None`: the server's default.
    pub async fn next_of_schedule(
        &self,
        name: &str,
        n: Option<usize>,
    ) -> Result<PreviewView, ClientError> {
        let n: Vec<(&str, usize)> = n.map(|n| ("n", n)).into_iter().collect();
        self.json(self.of_schedule(Method::GET, name, Some("next"))?.query(&n)).await
    }

    /// Returns the outcome of a schedule's latest ticks.
    pub async fn ledger(&self, name: &str) -> Result<LedgerView, ClientError> {
        self.json(self.of_schedule(Method::GET, name, Some("ledger"))?).await
    }

    /// Builds a call about one schedule. The name is escaped, so it may hold any character.
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

    /// Returns the server's readiness: whether it starts jobs that are due.
    ///
    /// # Errors
    /// Returns [`ClientError::Refused`] when the server is not ready.
    pub async fn ready(&self) -> Result<ReadyView, ClientError> {
        self.json(self.request(Method::GET, "/readyz")).await
    }

    /// Checks that the server answers.
    pub async fn healthy(&self) -> Result<(), ClientError> {
        self.answer(self.request(Method::GET, "/healthz")).await.map(|_| ())
    }

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
            // `readyz` answers 503 with its reason in a body of its own.
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

/// Returns the path of a definition. The name is escaped, because it may hold any character.
fn definition(name: &str) -> String {
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/definition/{}", name.replace('+', "%20"))
}

/// Returns the innermost cause of an error, which says most: `connection refused`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
