//! Finds the names that resemble an unknown one, for the `similar` of a 404.

use super::problem::Problem;
use super::state::Api;
use crate::domain::names::schedule::ScheduleName;

/// The largest number of names in an answer.
const MOST: usize = 3;
/// The largest number of schedules to compare with.
const MOST_COMPARED: usize = 10_000;
/// The number of schedules in one read.
const PAGE: usize = 500;

/// Returns up to three of the names, the nearest first, by their edit distance without regard to
/// case. A name may differ in a third of its characters.
fn nearest(wanted: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let most = (wanted.chars().count() / 3).max(1);
    let mut found: Vec<(usize, String)> = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wanted, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= most)
        .collect();
    found.sort();
    found.into_iter().take(MOST).map(|(_, name)| name).collect()
}

impl Api {
    /// Adds the near names of definitions to a 404. Other problems stay as they are.
    pub(super) async fn near_definitions(&self, wanted: &str, problem: Problem) -> Problem {
        if problem.code != "no_such_definition" {
            return problem;
        }
        let mut names = Vec::new();
        // Without the names, the 404 is still right.
        let _read = self.scheduler.each_definition(|defined| names.push(defined.name)).await;
        problem.with_similar(nearest(wanted, names))
    }

    /// Adds the near names of schedules to a 404. Other problems stay as they are.
    pub(super) async fn near_schedules(&self, wanted: &str, problem: Problem) -> Problem {
        if problem.code != "no_such_schedule" {
            return problem;
        }
        let names = self.schedule_names().await;
        problem.with_similar(nearest(wanted, names))
    }

    /// Returns the names of the schedules, up to a limit. Returns fewer if the store fails, because
    /// the names only help.
    async fn schedule_names(&self) -> Vec<String> {
        let Ok(mut snapshot) = self.snapshot().await else { return Vec::new() };
        let (mut names, mut after): (Vec<String>, Option<ScheduleName>) = (Vec::new(), None);
        while names.len() < MOST_COMPARED {
            let Ok(page) = snapshot.schedules(after.as_ref(), PAGE).await else { break };
            after = page.last().map(|record| record.name.clone());
            let is_last = page.len() < PAGE;
            names.extend(page.into_iter().map(|record| record.name.to_string()));
            if is_last {
                break;
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_come_first() {
        let names = ["nightly", "nightly-2", "weekly", "backup", "Nigthly", "nihtly"];
        let found = nearest("nightly", names.map(str::to_owned));
        assert_eq!(found, ["nightly", "Nigthly", "nihtly"]);
        assert!(nearest("x", ["backup".to_owned()]).is_empty());
    }
}
