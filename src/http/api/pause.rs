//! `POST /pause` and `POST /resume`: nothing new is started for a while, and what runs goes on.

use axum::Json;
use axum::extract::{Request, State};

use crate::domain::admission::pause::Pause;
use crate::domain::names::id::Timestamp;
use crate::domain::text::date::{self, rfc3339};
use crate::http::auth::guard::Admitted;
use crate::http::body::read_fields;
use crate::http::problem::Problem;
use crate::http::query::{ChangeQuery, KnownQuery};
use crate::http::state::Api;
use crate::http::views::PauseView;

/// The length of the longest reason, in characters.
const LONGEST_WHY: usize = 500;

/// Answers `POST /pause`. `until` is a span such as `2h` or a date; without it the pause has no end.
pub(in crate::http) async fn pause(
    State(api): State<Api>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
    request: Request,
) -> Result<Json<PauseView>, Problem> {
    let [until, why] = read_fields(request, ["until", "why"]).await?;
    let (until, why) = api.pause_of(until, why)?;
    let now = api.scheduler.now();
    if query.dry_run.0 {
        let pause = Pause { until, why, by: by.caller.name, since: now };
        let would = Some("nothing new would be started".to_owned());
        return Ok(Json(PauseView { would, ..PauseView::of(Some(&pause)) }));
    }
    let pause = api.scheduler.pause(&by.caller, until, why).await?;
    Ok(Json(PauseView::of(Some(&pause))))
}

/// Answers `POST /resume`, also if nothing is paused.
pub(in crate::http) async fn resume(
    State(api): State<Api>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
) -> Result<Json<PauseView>, Problem> {
    if query.dry_run.0 {
        let would = Some("jobs that are due would be started again".to_owned());
        return Ok(Json(PauseView { would, ..PauseView::of(None) }));
    }
    api.scheduler.resume(&by.caller).await?;
    Ok(Json(PauseView::of(None)))
}

impl Api {
    /// Checks the end of a pause and its reason.
    ///
    /// # Errors
    /// Returns a [`Problem`] that names the field at fault.
    pub(in crate::http) fn pause_of(
        &self,
        until: Option<String>,
        why: Option<String>,
    ) -> Result<(Option<Timestamp>, Option<String>), Problem> {
        let now = self.scheduler.now();
        let until = until.as_deref().map(|text| date::parse(text, now, self.zone)).transpose();
        let until = until
            .map_err(|error| Problem::field("until", "invalid_date", error.to_string()))?
            .map(|due| due.at);
        if until.is_some_and(|until| until <= now) {
            let detail = "`until` has to be in the future: give a span such as `2h`, or a date";
            return Err(Problem::field("until", "invalid_date", detail));
        }
        if why.as_ref().is_some_and(|why| why.chars().count() > LONGEST_WHY) {
            let detail = format!("`why` has more than {LONGEST_WHY} characters: shorten it");
            return Err(Problem::field("why", "invalid_field", detail));
        }
        Ok((until, why))
    }
}

/// Returns a sentence about the pause for people.
pub(in crate::http) fn sentence(pause: &Pause) -> String {
    let until = match pause.until {
        Some(until) => format!(" until {}", rfc3339(until)),
        None => String::new(),
    };
    let why = pause.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} has paused all starts{until}{why}", pause.by)
}
