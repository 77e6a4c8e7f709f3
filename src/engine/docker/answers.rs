//! What an answer of the engine means; above all, whether it is one.
//!
//! An HTTP status is the engine's word. A time-out, a connection that breaks or is refused, an answer that cannot be
//! read, and a 5xx in which the daemon only says that *it* got no answer (from containerd, or because our connection
//! was gone) are none: they say nothing about the container.

use bollard::errors::Error;

use crate::domain::job::Reason;
use crate::engine::EngineError;

/// What a failed call on a container means. `reason` is for a refusal that the message does not explain.
pub(super) fn meaning(error: Error, reason: Reason) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code, message } => refusal(status_code, &message, reason),
        other => EngineError::NoAnswer(innermost(&other)),
    }
}

fn refusal(status: u16, message: &str, reason: Reason) -> EngineError {
    let message = tidy(message);
    let says = |words: &[&str]| words.iter().any(|word| message.to_ascii_lowercase().contains(word));
    match status {
        404 if says(&["no such image"]) || (says(&["image"]) && says(&["not known", "not found"])) => {
            EngineError::NoSuchImage
        }
        404 if says(&["no such container", "no container with"]) => EngineError::NotFound,
        // A network or a volume driver that the spec names and that is not there.
        404 => EngineError::Refused { reason: Reason::InvalidSpec, message },
        409 => EngineError::Conflict(message),
        // Podman says some of its conflicts with 500.
        500 if says(&["is already in use", "cannot remove container", "container state improper"]) => {
            EngineError::Conflict(message)
        }
        500.. if says(&UNANSWERED) => EngineError::NoAnswer(message),
        _ if says(&[
            "executable file not found",
            "no such file or directory",
            "permission denied: unknown",
            "crun: executable",
            "not executable",
        ]) =>
        {
            EngineError::Refused { reason: Reason::CommandNotFound, message }
        }
        400 if reason == Reason::CreateFailed => EngineError::Refused { reason: Reason::InvalidSpec, message },
        _ => EngineError::Refused { reason, message },
    }
}

/// What a daemon says that was not answered itself, or that gave up because our connection was gone.
const UNANSWERED: [&str; 7] = [
    "context canceled",
    "context cancelled",
    "context deadline exceeded",
    "transport is closing",
    "connection refused",
    "connection error",
    "error reading from server: eof",
];

/// Whether the answer came and could not be read: a status that this client does not know, which an engine may show for
/// a moment.
pub(super) fn is_unreadable(error: &Error) -> bool {
    matches!(error, Error::JsonDataError { .. })
}

fn tidy(message: &str) -> String {
    message.trim().trim_end_matches('\n').to_owned()
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let (outer, inner) = (error.to_string(), cause.to_string());
    if outer.contains(&inner) { outer } else { format!("{outer}: {inner}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(status_code: u16, message: &str) -> EngineError {
        meaning(Error::DockerResponseServerError { status_code, message: message.to_owned() }, Reason::StartFailed)
    }

    #[test]
    fn an_answer_is_told_apart_from_none() {
        assert!(matches!(meaning(Error::RequestTimeoutError, Reason::StartFailed), EngineError::NoAnswer(_)));
        assert!(matches!(meant(500, "context canceled"), EngineError::NoAnswer(_)));
        assert!(matches!(meant(500, "failed to dial: connection error: desc = transport"), EngineError::NoAnswer(_)));
        assert!(matches!(
            meant(500, "driver failed programming external connectivity"),
            EngineError::Refused { reason: Reason::StartFailed, .. }
        ));
    }

    #[test]
    fn a_refusal_says_what_was_wrong() {
        assert!(matches!(meant(404, "No such container: x"), EngineError::NotFound));
        assert!(matches!(meant(404, "No such image: x:latest"), EngineError::NoSuchImage));
        assert!(matches!(
            meant(404, "network nowhere not found"),
            EngineError::Refused { reason: Reason::InvalidSpec, .. }
        ));
        assert!(matches!(meant(409, "the name is in use"), EngineError::Conflict(_)));
        assert!(matches!(
            meant(400, "exec: \"x\": executable file not found in $PATH: unknown"),
            EngineError::Refused { reason: Reason::CommandNotFound, .. }
        ));
    }
}
