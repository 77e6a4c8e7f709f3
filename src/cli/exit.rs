//! Exit codes, and the report of an error: a sentence on stderr, or the problem document with
//! `-o json`. The codes tell a failure of ours from a failure of a job.

use serde_json::json;

use super::display::Display;
use super::errors::{NoExitCode, TimedOut, Usage, WhileWaiting};
use super::text;
use crate::client::ClientError;

/// The server failed, a check found damage, or an error has no code of its own.
pub(super) const FAILED: u8 = 1;
/// The command line or the input is wrong.
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const NOT_ALLOWED: u8 = 4;
const CONFLICT: u8 = 5;
const UNREACHABLE: u8 = 6;
const TIMED_OUT: u8 = 124;
/// A command that waits for a job has no exit code of the job to give.
pub(super) const NO_EXIT_CODE: u8 = 125;
pub(super) const INTERRUPTED: u8 = 130;

/// Returns the exit code for an error.
pub(super) fn code(error: &anyhow::Error) -> u8 {
    if error.is::<NoExitCode>() || error.is::<WhileWaiting>() {
        return NO_EXIT_CODE;
    }
    if error.is::<TimedOut>() {
        return TIMED_OUT;
    }
    if error.chain().any(|cause| cause.is::<Usage>()) {
        return USAGE;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::BadAddress(_)) => USAGE,
        Some(
            ClientError::Unreachable { .. } | ClientError::CutOff { .. } | ClientError::Strange(_),
        ) => UNREACHABLE,
        Some(ClientError::Refused(problem)) => match problem.status {
            400 | 413 => USAGE,
            401 | 403 => NOT_ALLOWED,
            404 | 410 => NOT_FOUND,
            409 | 412 | 422 => CONFLICT,
            _ => FAILED,
        },
        None => FAILED,
    }
}

/// Prints an error on stderr: one sentence, or a problem document with a form of JSON.
pub(super) fn report(error: &anyhow::Error, display: &Display) {
    if display.is_json() {
        eprintln!("{}", text::clean_json(&document(error).to_string()));
        return;
    }
    let sentence = format!("{error:#}");
    let sentence = match cause(error).downcast_ref::<ClientError>() {
        Some(ClientError::Refused(_)) => text::clean(&in_commands(&sentence)).into_owned(),
        _ => text::clean_lines(&sentence),
    };
    eprintln!("tidetable: {}", sentence.trim_end());
}

/// Returns the error behind a failure of a waiting command, else the error itself.
fn cause(error: &anyhow::Error) -> &anyhow::Error {
    error.downcast_ref::<WhileWaiting>().map_or(error, |waiting| &waiting.0)
}

/// Returns the problem document of the server, or one of the same form.
fn document(error: &anyhow::Error) -> serde_json::Value {
    let error = cause(error);
    let (title, code) = match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(problem)) => return json!(problem),
        Some(ClientError::BadAddress(_)) => ("Bad address", "bad_address"),
        Some(ClientError::Unreachable { .. }) => ("Unreachable", "unreachable"),
        Some(ClientError::CutOff { .. }) => ("Cut off", "cut_off"),
        Some(ClientError::Strange(_)) => ("Strange answer", "strange_answer"),
        None if error.is::<TimedOut>() => ("Timed out", "timed_out"),
        None => match error.downcast_ref::<NoExitCode>() {
            Some(NoExitCode { status, .. }) => ("No exit code", status.as_str()),
            None if code(error) == USAGE => ("Usage", "usage"),
            None => ("Error", "error"),
        },
    };
    json!({"title": title, "code": code, "detail": format!("{error:#}")})
}

/// Rewrites the calls in a server's sentence as the commands that a person types.
fn in_commands(sentence: &str) -> String {
    let mut parts = sentence.split('`');
    let mut rewritten = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        rewritten.push('`');
        match (index % 2, command_of(part)) {
            (0, Some(command)) => rewritten.push_str(&command),
            _ => rewritten.push_str(part),
        }
    }
    rewritten
}

/// Returns the command that makes this call, such as `POST /job/ID/stop`.
fn command_of(call: &str) -> Option<String> {
    let command = match call.split_once(' ')? {
        ("GET", "/jobs") => "tidetable ls -a".to_owned(),
        ("GET", "/definitions") => "tidetable definition ls".to_owned(),
        ("GET", "/schedules") => "tidetable schedule ls".to_owned(),
        ("DELETE", path) => format!("tidetable rm {}", path.strip_prefix("/job/")?),
        ("POST", path) => match path.strip_prefix("/job/")?.split_once('/')? {
            (id, action @ ("stop" | "rerun")) => format!("tidetable {action} {id}"),
            _ => return None,
        },
        _ => return None,
    };
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::Problem;

    fn refused(status: u16) -> anyhow::Error {
        let status = axum::http::StatusCode::from_u16(status).expect("a status");
        ClientError::Refused(Box::new(Problem::new(status, "c", "a sentence"))).into()
    }

    #[test]
    fn each_failure_has_its_exit_code() {
        for (status, expected) in [
            (400, 2),
            (401, 4),
            (403, 4),
            (404, 3),
            (409, 5),
            (412, 5),
            (422, 5),
            (500, 1),
            (503, 1),
        ] {
            assert_eq!(code(&refused(status)), expected, "{status}");
        }
        let nowhere = || ClientError::Unreachable { server: String::new(), cause: String::new() };
        assert_eq!(code(&nowhere().into()), 6);
        assert_eq!(code(&WhileWaiting(nowhere().into()).into()), 125);
        assert_eq!(code(&TimedOut(String::new()).into()), 124);
        assert_eq!(code(&anyhow::Error::from(Usage("x".to_owned())).context("y")), 2);
        assert_eq!(code(&anyhow::anyhow!("x")), 1);
    }

    #[test]
    fn calls_in_sentences_become_commands() {
        assert_eq!(
            in_commands("job a is running; stop it with `POST /job/a/stop`, or `x`"),
            "job a is running; stop it with `tidetable stop a`, or `x`"
        );
        assert_eq!(in_commands("`DELETE /job/a`"), "`tidetable rm a`");
        assert_eq!(in_commands("no call"), "no call");
        assert_eq!(in_commands("`GET /jobs` lists"), "`tidetable ls -a` lists");
    }
}
