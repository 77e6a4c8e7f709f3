//! Translates inspections and listings into our words.
//!
//! Engines differ in their words for the same phase (Podman has `stopped`, `initialized`,
//! `configured`), and later engines will have more. So the phase follows from the facts beside the
//! word: whether the process runs, and when it started. The word decides only if no fact does. No
//! unknown word is an error here.

use std::collections::HashMap;

use chrono::Datelike;
use serde::Deserialize;

use super::errors;
use crate::domain::container::{
    Exit, LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB, LABEL_SPEC_HASH, LABEL_SPEC_HASH_OLD, Owner,
    Phase, SpecHash, StartRefusal, UNSEEN_END,
};
use crate::domain::names::id::{Attempt, ContainerId, Timestamp};
use crate::engine::Listed;

/// The parts of an inspection that we read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    id: String,
    #[serde(default)]
    created: Option<Timestamp>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    config: Option<Config>,
    state: State,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    /// The image as requested, by name.
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    status: String,
    running: bool,
    paused: bool,
    restarting: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    exit_code: i64,
    error: Option<String>,
    started_at: Option<String>,
    finished_at: Option<String>,
}

/// The image of a container: its own id, and the requested name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) name: String,
}

/// An inspection without the image's digest, which needs another call.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) id: ContainerId,
    pub(super) owner: Option<Owner>,
    pub(super) spec_hash: Option<SpecHash>,
    pub(super) created_at: Timestamp,
    pub(super) image: Option<Image>,
    pub(super) phase: Phase,
}

/// Translates an inspection into our types.
pub(super) fn seen(inspected: Inspected) -> Seen {
    let created_at = inspected.created.unwrap_or_default();
    let config = inspected.config.unwrap_or_default();
    let name = config.image.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    Seen {
        id: ContainerId(inspected.id),
        owner: owner(&labels),
        spec_hash: labels
            .get(LABEL_SPEC_HASH)
            .or_else(|| labels.get(LABEL_SPEC_HASH_OLD))
            .cloned()
            .map(SpecHash),
        created_at,
        image: inspected.image.filter(|id| !id.is_empty()).map(|id| Image { id, name }),
        phase: phase(&inspected.state, created_at),
    }
}

pub(super) fn owner(labels: &HashMap<String, String>) -> Option<Owner> {
    Some(Owner {
        instance: labels.get(LABEL_INSTANCE)?.parse().ok()?,
        job: labels.get(LABEL_JOB)?.parse().ok()?,
        attempt: Attempt(labels.get(LABEL_ATTEMPT)?.parse().ok()?),
    })
}

fn phase(state: &State, created_at: Timestamp) -> Phase {
    let started_at = state.started_at.as_deref().and_then(instant);
    let runs = state.running || state.paused || state.restarting || runs(&state.status);
    match started_at {
        _ if state.status == "removing" => Phase::Removing,
        _ if runs => Phase::Running { started_at: started_at.unwrap_or(created_at) },
        // The process ran, under any status word. After a reboot Podman shows a container that was
        // running with its start, no end, and exit code 0. The word is then `created` (4.3) or
        // `exited` (5.4). Such a container is neither unstarted nor a success.
        Some(started_at) => Phase::Exited { started_at, exit: exit(state, started_at) },
        // The removal failed midway. The process never ran, and never will.
        None if state.status == "dead" => Phase::Removing,
        None => Phase::Created { refusal: refusal(state) },
    }
}

/// Returns the engine's record of a failed start, if there is one.
///
/// Docker leaves a code (127, 126, 128) and a message on a container that it could not start.
/// Podman 5 leaves the message with code 0; Podman 4 leaves nothing. A Docker that was stopped
/// during a start leaves `transport is closing: unavailable`, which says nothing about the process.
fn refusal(state: &State) -> Option<StartRefusal> {
    let message = state
        .error
        .clone()
        .filter(|message| !message.is_empty() && !errors::is_backend_unavailable(message))?;
    let code = match i32::try_from(state.exit_code) {
        Ok(code) if code != 0 => code,
        _ if errors::is_command_not_found(&message) => 127,
        _ => 128,
    };
    Some(StartRefusal { code, message })
}

fn exit(state: &State, started_at: Timestamp) -> Exit {
    let finished_at = state.finished_at.as_deref().and_then(instant);
    let code =
        i32::try_from(state.exit_code).ok().filter(|code| *code >= 0 && finished_at.is_some());
    Exit {
        code: code.unwrap_or(UNSEEN_END),
        oom_killed: state.oom_killed,
        at: finished_at.unwrap_or(started_at),
    }
}

/// Parses an engine's time; the year 1 means "never".
fn instant(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().filter(|at| at.year() > 1)
}

fn runs(word: &str) -> bool {
    matches!(word, "running" | "paused" | "restarting" | "stopping")
}

/// A container in a listing's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedLine {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
    #[serde(default)]
    created: i64,
    #[serde(default)]
    state: String,
}

/// Translates a container of a listing.
pub(super) fn listed(line: ListedLine) -> Listed {
    let name = line.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    Listed {
        id: ContainerId(line.id),
        name: name.trim_start_matches('/').to_owned(),
        owner: owner(&line.labels.unwrap_or_default()),
        created_at: Timestamp::from_timestamp(line.created, 0).unwrap_or_default(),
        running: runs(&line.state),
        exited: matches!(line.state.as_str(), "exited" | "stopped" | "dead"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: &str = "0001-01-01T00:00:00Z";
    const START: &str = "2026-11-23T11:29:26.175491865Z";
    const END: &str = "2026-11-23T11:29:27.5Z";

    fn shown(status: &str, code: i64, error: &str, started: &str, finished: &str) -> Phase {
        let json = serde_json::json!({"Id": "7", "Created": START, "Config": {"Labels": null},
            "State": {"Status": status, "Running": status == "running", "ExitCode": code, "Error": error, "StartedAt": started, "FinishedAt": finished}});
        seen(serde_json::from_value(json).expect("an inspection")).phase
    }

    fn exited(code: i32, at: &str) -> Phase {
        let at = at.parse().expect("a time");
        Phase::Exited {
            started_at: START.parse().expect("a time"),
            exit: Exit { code, oom_killed: false, at },
        }
    }

    #[test]
    fn unstarted_container_is_created_under_any_status() {
        for word in ["created", "configured", "initialized", "something new"] {
            assert_eq!(
                shown(word, 0, "", NEVER, NEVER),
                Phase::Created { refusal: None },
                "{word}"
            );
        }
        let refusal = Some(StartRefusal { code: 127, message: "not found".to_owned() });
        assert_eq!(shown("created", 127, "not found", NEVER, NEVER), Phase::Created { refusal });
        let podmans = "runc: exec: \"nosuch\": executable file not found in $PATH: OCI runtime attempted to invoke a command that was not found";
        let refusal = Some(StartRefusal { code: 127, message: podmans.to_owned() });
        assert_eq!(shown("created", 0, podmans, NEVER, NEVER), Phase::Created { refusal });
        let unsure = shown("created", 128, "transport is closing: unavailable", NEVER, NEVER);
        assert_eq!(unsure, Phase::Created { refusal: None }, "it may run all the same");
        assert_eq!(shown("dead", 0, "", NEVER, NEVER), Phase::Removing);
    }

    #[test]
    fn ended_container_is_exited_under_any_status() {
        for word in ["exited", "stopped", "dead", "something new"] {
            assert_eq!(shown(word, 7, "", START, END), exited(7, END), "{word}");
        }
    }

    #[test]
    fn container_running_at_host_crash_did_not_succeed() {
        // Podman 4.3 and 5.4 show these after a reboot.
        assert_eq!(shown("created", 0, "", START, NEVER), exited(255, START));
        assert_eq!(shown("exited", 0, "container is running", START, NEVER), exited(255, START));
        assert_eq!(shown("exited", -1, "", START, END), exited(255, END));
    }

    #[test]
    fn stopping_container_still_runs() {
        let running = Phase::Running { started_at: START.parse().expect("a time") };
        for word in ["running", "paused", "stopping"] {
            assert_eq!(shown(word, 0, "", START, NEVER), running, "{word}");
        }
    }

    #[test]
    fn listing_with_unknown_words_is_read() {
        let line = |state: &str| {
            let json = serde_json::json!({"Id": "7", "Names": ["/x"], "Labels": null, "Created": 5, "State": state});
            let listed = listed(serde_json::from_value(json).expect("a line"));
            (listed.running, listed.exited)
        };
        assert_eq!(line("running"), (true, false));
        assert_eq!(line("stopped"), (false, true));
        assert_eq!(line("initialized"), (false, false));
        assert_eq!(line("something new"), (false, false));
    }
}
