//! The pause of everything as the API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::admission::pause::Pause;
use crate::domain::text::date::rfc3339;

/// The answer to `POST /pause` and `POST /resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PauseView {
    /// True while nothing new is started.
    pub paused: bool,
    /// The end of the pause. Null without a pause, or without an end.
    #[schema(format = DateTime)]
    pub paused_until: Option<String>,
    /// The name of the caller who paused. Null without a pause.
    pub by: Option<String>,
    /// The caller's reason. Null without one.
    pub why: Option<String>,
    /// The beginning of the pause. Null without a pause.
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// The change that a dry run left undone. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would: Option<String>,
}

impl PauseView {
    pub fn of(pause: Option<&Pause>) -> Self {
        Self {
            paused: pause.is_some(),
            paused_until: pause.and_then(|pause| pause.until).map(rfc3339),
            by: pause.map(|pause| pause.by.clone()),
            why: pause.and_then(|pause| pause.why.clone()),
            since: pause.map(|pause| rfc3339(pause.since)),
            would: None,
        }
    }
}
