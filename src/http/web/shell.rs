//! The frame of every page: its title, the navigation, the state of the engine, and what everybody
//! has to know before anything else.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};

use super::assets;
use super::links::Links;
use super::words::{self, Clock, Moment};
use crate::domain::text::date::rfc3339;
use crate::http::api::pause;
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::scheduler::Health;

/// The main parts, as the navigation names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Jobs,
    Schedules,
    Definitions,
    Forecast,
    /// The reference of the API, which is no page of ours.
    Api,
    /// A page that belongs to none of them.
    Other,
}

/// A link of the navigation.
pub(super) struct NavLink {
    pub(super) text: &'static str,
    pub(super) href: String,
    pub(super) is_current: bool,
}

/// The frame of a page.
pub(super) struct Shell {
    pub(super) title: String,
    pub(super) home: String,
    pub(super) nav: Vec<NavLink>,
    pub(super) new_job: String,
    pub(super) css: String,
    pub(super) js: String,
    pub(super) icon: String,
    /// The address of the stream of events.
    pub(super) events: String,
    /// The time at which the page was made, RFC 3339.
    pub(super) now: String,
    /// The server's zone.
    pub(super) zone: String,
    /// The engine and the slots in use, in a few words. Empty on a page for anybody.
    pub(super) engine: String,
    pub(super) engine_is_up: bool,
    /// Sentences for everybody: the engine is away, a part of the config is paused.
    pub(super) notices: Vec<String>,
    /// The start of the engine's outage.
    pub(super) down_since: Option<Moment>,
}

/// The page of an error.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'p> {
    shell: Shell,
    problem: &'p Problem,
    hint: &'static str,
}

impl Shell {
    /// Builds the frame without anything about this server.
    fn bare(title: &str, part: Part, links: &Links) -> Self {
        let [css, js, icon] = assets::paths().each_ref().map(|path| links.to(path));
        let nav = [
            ("Jobs", links.jobs(), Part::Jobs),
            ("Schedules", links.schedules(), Part::Schedules),
            ("Definitions", links.definitions(), Part::Definitions),
            ("Forecast", links.forecast(), Part::Forecast),
            ("API", links.to("/docs"), Part::Api),
        ];
        let link = |(text, href, of): (_, _, Part)| NavLink { text, href, is_current: of == part };
        Self {
            title: title.to_owned(),
            home: links.jobs(),
            nav: nav.into_iter().map(link).collect(),
            new_job: links.new_job(),
            css,
            js,
            icon,
            events: links.to("/events"),
            now: String::new(),
            zone: String::new(),
            engine: String::new(),
            engine_is_up: true,
            notices: Vec::new(),
            down_since: None,
        }
    }
}

impl Api {
    pub(super) fn links(&self) -> Links {
        Links(self.base.clone())
    }

    /// Returns the clock of a page that is made now.
    pub(super) fn clock(&self) -> Clock {
        Clock { now: self.scheduler.now(), zone: self.zone }
    }

    /// Builds the frame of a page.
    pub(super) async fn shell(&self, title: &str, part: Part) -> Result<Shell, Problem> {
        let clock = self.clock();
        let running = self.scheduler.store().active().await?.len() as u64;
        let running = words::grouped(running);
        let (engine, engine_is_up, down_since, notice) = match self.scheduler.health() {
            Health::Up(engine) => (
                format!("{} {} · {running} running", engine.kind, engine.version),
                true,
                None,
                None,
            ),
            Health::Down { since, .. } => (
                "engine away".to_owned(),
                false,
                Some(clock.moment(since)),
                Some("The engine does not answer. Jobs that are due wait for it."),
            ),
            Health::Changed { since, .. } => (
                "another engine".to_owned(),
                false,
                Some(clock.moment(since)),
                Some(
                    "Another engine answers than the one that has our containers. Nothing is started.",
                ),
            ),
        };
        let paused = self.scheduler.paused();
        let paused = paused.as_ref().map(|pause| words::sentence(&pause::sentence(pause)));
        let notices =
            notice.map(str::to_owned).into_iter().chain(paused).chain(self.scheduler.notices());
        Ok(Shell {
            now: rfc3339(clock.now),
            zone: clock.zone.name().to_owned(),
            engine,
            engine_is_up,
            down_since,
            notices: notices.collect(),
            ..Shell::bare(title, part, &self.links())
        })
    }
}

/// Renders a page.
///
/// # Errors
/// Returns a 500 when the template fails, which only a lack of memory causes.
pub(super) fn render(page: &impl Template) -> Result<Response, Problem> {
    Ok(Html(text(page)?).into_response())
}

/// Renders a page to a text.
pub(super) fn text(page: &impl Template) -> Result<String, Problem> {
    page.render().map_err(|error| {
        Problem::internal(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the page could not be made; the server's log says why",
            &error,
        )
    })
}

/// Renders the page of an error.
pub(super) fn problem(problem: &Problem, links: &Links) -> Response {
    let hint = match problem.status {
        401 => {
            "This server asks for a token, and a browser has none to send. Use the command line: `tidetable --token-file FILE ls`."
        }
        404 => "It may have been removed, or the address has a typing error.",
        409 => "It has changed since the page was loaded. Load the page again.",
        _ => "",
    };
    let shell = Shell::bare(&problem.title, Part::Other, links);
    let page = ProblemPage { shell, problem, hint };
    page.render()
        .map_or_else(|_| problem.detail.clone().into_response(), |html| Html(html).into_response())
}
