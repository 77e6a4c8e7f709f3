//! The search field of `/jobs`: words that become filters.
//!
//! A status (`failed`), a map (`history`), a label (`team=a`), or the name of a job or a schedule.
//! The query of the address has the same filters as the API's.

use serde::Deserialize;

use crate::domain::job::{Job, Map, Status};
use crate::domain::spec::command;
use crate::http::problem::Problem;

/// The query of the page. Unknown parameters are ignored, because links from elsewhere may add
/// some.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Query {
    pub(super) q: String,
    pub(super) state: String,
    pub(super) job_name: String,
    pub(super) schedule: String,
    pub(super) label: String,
    pub(super) window: String,
}

/// A filter on the jobs of a page. An empty list or `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) statuses: Vec<Status>,
    /// The name of a job or of the schedule that made it.
    pub(super) name: Option<String>,
    pub(super) label: Option<(String, String)>,
}

const MAPS: [Map; 3] = [Map::Running, Map::Scheduled, Map::History];

impl Search {
    /// Reads the filters of a query.
    ///
    /// # Errors
    /// Returns a 400 for a state that does not exist.
    pub(super) fn read(query: &Query) -> Result<Self, Problem> {
        let mut search = Self::default();
        for word in query.state.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let statuses = statuses_of(word).ok_or_else(|| {
                let shown = crate::domain::text::units::shown(word);
                let detail = format!(
                    "`{shown}` is no state: there are running, scheduled and history for a whole map, and the statuses such as failed"
                );
                Problem::field("state", "invalid_query", detail)
            })?;
            search.statuses.extend(statuses);
        }
        let names = [&query.job_name, &query.schedule];
        search.name = names.into_iter().find(|name| !name.is_empty()).cloned();
        search.label = command::entry(&query.label).ok().filter(|_| !query.label.is_empty());
        for word in query.q.split_whitespace() {
            match (statuses_of(word), command::entry(word)) {
                (Some(statuses), _) => search.statuses.extend(statuses),
                (None, Ok(label)) if word.contains('=') => search.label = Some(label),
                _ => search.name = Some(word.to_owned()),
            }
        }
        Ok(search)
    }

    pub(super) fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Checks whether jobs of this map may pass.
    pub(super) fn includes(&self, map: Map) -> bool {
        self.statuses.is_empty() || self.statuses.iter().any(|status| status.map() == map)
    }

    pub(super) fn passes(&self, job: &Job) -> bool {
        let fields = job.spec.fields();
        let is_named = |name: &String| {
            job.name.as_str() == name
                || job.origin.schedule().is_some_and(|origin| origin.schedule.as_str() == name)
        };
        let is_labelled = |(key, value): &(String, String)| {
            fields.labels.as_ref().and_then(|labels| labels.0.get(key)) == Some(value)
        };
        (self.statuses.is_empty() || self.statuses.contains(&job.state.status()))
            && self.name.as_ref().is_none_or(is_named)
            && self.label.as_ref().is_none_or(is_labelled)
    }
}

/// Returns the statuses that a word stands for: a map, or one status.
fn statuses_of(word: &str) -> Option<Vec<Status>> {
    let word = word.to_ascii_lowercase();
    if let Some(map) = MAPS.into_iter().find(|map| map.as_str() == word) {
        return Some(Status::ALL.iter().copied().filter(|status| status.map() == map).collect());
    }
    Status::from_word(&word).map(|status| vec![status])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(q: &str, state: &str) -> Search {
        let query = Query { q: q.to_owned(), state: state.to_owned(), ..Query::default() };
        Search::read(&query).expect("is valid")
    }

    #[test]
    fn words_become_filters() {
        let search = read("failed team=a orders", "");
        assert_eq!(search.statuses, [Status::Failed]);
        assert_eq!(search.name.as_deref(), Some("orders"));
        assert_eq!(search.label, Some(("team".to_owned(), "a".to_owned())));
        assert!(read("", "").is_everything());
    }

    #[test]
    fn state_takes_maps_and_statuses() {
        assert!(read("", "history").includes(Map::History));
        assert!(!read("", "history").includes(Map::Running));
        assert_eq!(read("", "failed,unknown").statuses, [Status::Failed, Status::Unknown]);
        let query = Query { state: "nonsense".to_owned(), ..Query::default() };
        assert_eq!(Search::read(&query).expect_err("is refused").status, 400);
    }
}
