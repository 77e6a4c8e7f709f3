//! Classifies engine errors: a definite refusal, or no usable answer.
//!
//! A step counts as undone only after a definite refusal. A broken connection, a time-out, an
//! unreadable body and a proxy's 502 are no answer. Neither is a 5xx by which a daemon only reports
//! that it lost *its* partner midway (its connection to containerd, or to us): the requested step
//! may still happen. Any other answer of the engine is definite. [`CallError`]'s methods convert
//! such an answer to an [`EngineError`].

use bollard::errors::Error;

use crate::domain::job::Reason;
use crate::engine::EngineError;

/// The failure of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// The engine answered definitely, with this HTTP status and message.
    Refused {
        /// The HTTP status of the answer, 400 or above.
        status: u16,
        /// The message in the answer's body, trimmed.
        message: String,
    },
    /// No answer, or an answer that says nothing about the requested step.
    NoAnswer(String),
}

/// Messages by which a daemon reports that it does not know how its own step went. Docker 20.10
/// whose containerd was killed answers `start` with `connection error: desc = "transport: Error
/// while dialing …": unavailable`.
const LOST_ITS_PARTNER: [&str; 13] = [
    "context canceled",
    "context cancelled",
    "context deadline exceeded",
    "transport is closing",
    "connection error",
    "connection refused",
    "connection reset by peer",
    "error reading from server",
    "broken pipe",
    "unexpected eof",
    "ttrpc: closed",
    "ttrpc: server closed",
    "client connection is closing",
];

impl CallError {
    /// Classifies an answer by its error status and message.
    fn answered(status: u16, message: &str) -> Self {
        let message = message.trim().to_owned();
        let lost = status >= 500 && is_backend_unavailable(&message);
        // 408, 425, 429 and 499 concern the request; 502 to 504 come from a proxy, or mean "later".
        if lost || matches!(status, 408 | 425 | 429 | 499 | 502..=504) {
            Self::NoAnswer(format!("it answered {status}: {message}"))
        } else {
            Self::Refused { status, message }
        }
    }

    /// Converts the failure of a call that only reads. Any error then counts as no answer, and says
    /// nothing about a container.
    pub(super) fn into_no_answer(self) -> EngineError {
        match self {
            Self::Refused { status, message } => {
                EngineError::NoAnswer(format!("it answered {status}: {message}"))
            }
            Self::NoAnswer(why) => EngineError::NoAnswer(why),
        }
    }

    /// Converts the failure of a read of output. Some logging drivers support only writing: their
    /// containers will never have readable output.
    pub(super) fn into_unreadable(self) -> EngineError {
        match self {
            Self::Refused { message, .. } if contains(&message, &["does not support reading"]) => {
                EngineError::Refused { reason: Reason::StartFailed, message }
            }
            fault if fault.is_no_such_container() => EngineError::NotFound,
            fault => fault.into_no_answer(),
        }
    }

    /// Converts the failure of a step on an existing container. `reason` applies if the message
    /// does not show another one.
    pub(super) fn into_refusal(self, reason: Reason) -> EngineError {
        let Self::Refused { status, message } = &self else { return self.into_no_answer() };
        let message = message.clone();
        match status {
            _ if self.is_no_such_container() => EngineError::NotFound,
            _ if self.is_conflict() => EngineError::Conflict(message),
            _ if is_command_not_found(&message) => {
                EngineError::Refused { reason: Reason::CommandNotFound, message }
            }
            _ => EngineError::Refused { reason, message },
        }
    }

    /// Converts the failure of `create`.
    pub(super) fn into_create_refusal(self) -> EngineError {
        let Self::Refused { status, message } = &self else { return self.into_no_answer() };
        let message = message.clone();
        match status {
            404 if is_missing_image(&message) => EngineError::NoSuchImage,
            _ if self.is_conflict() => EngineError::Conflict(message),
            // The spec names something that does not exist: a network, a volume driver, or a
            // container whose network it wants to share.
            400 | 404 => EngineError::Refused { reason: Reason::InvalidSpec, message },
            // Podman answers 500 where Docker answers 400 or 404.
            _ if contains(
                &message,
                &["network not found", "unknown capability", "no such container", "invalid"],
            ) =>
            {
                EngineError::Refused { reason: Reason::InvalidSpec, message }
            }
            _ => EngineError::Refused { reason: Reason::CreateFailed, message },
        }
    }

    /// Checks whether the engine itself says that the container does not exist. A bare 404 may come
    /// from a proxy.
    pub(super) fn is_no_such_container(&self) -> bool {
        // Docker: `No such container: x`. Podman: `no container with name or ID "x" found: no such
        // container`.
        matches!(self, Self::Refused { status: 404, message } if contains(message, &["no such container", "no container with"]))
    }

    /// Checks whether the engine itself says that the network does not exist.
    pub(super) fn is_no_such_network(&self) -> bool {
        // Docker: `network x not found`. Podman: `unable to find network with name or ID x: network
        // not found`.
        matches!(self, Self::Refused { status: 404, message } if contains(message, &["network"]) && contains(message, &["not found"]))
    }

    /// Checks whether the engine itself says that the image does not exist.
    pub(super) fn is_no_such_image(&self) -> bool {
        // Docker: `No such image: x:latest`. Podman: `failed to find image x: x: No such image`, or
        // `image not known`.
        matches!(self, Self::Refused { status: 404, message } if contains(message, &["no such image", "image not known"]))
    }

    /// Checks whether a name is taken or the container is in the wrong phase: 409, and on Podman 4
    /// a 500.
    fn is_conflict(&self) -> bool {
        match self {
            Self::Refused { status: 409, .. } => true,
            Self::Refused { status: 500, message } => contains(
                message,
                &["is already in use", "cannot remove container", "container state improper"],
            ),
            Self::Refused { .. } | Self::NoAnswer(_) => false,
        }
    }
}

/// Checks whether the image lacks the command, or may not run it.
///
/// Docker: `exec: "x": executable file not found in $PATH`, `exec: "/x": permission denied`. Podman
/// adds `… a command that was not found` or `OCI permission denied`. A mount's missing source reads
/// much alike, but has no `exec`.
pub(super) fn is_command_not_found(message: &str) -> bool {
    contains(
        message,
        &["executable file not found", "command that was not found", "crun: executable"],
    ) || (contains(message, &["exec: \"", "exec /", "exec `"])
        && contains(
            message,
            &[
                "no such file or directory",
                "permission denied",
                "is a directory",
                "not a directory",
            ],
        ))
}

/// Checks whether an engine only reports that it does not know how its own step went.
pub(super) fn is_backend_unavailable(message: &str) -> bool {
    contains(message, &LOST_ITS_PARTNER)
}

/// Checks whether the image is missing. Docker: `No such image: x`; for another platform, `image
/// with reference x was found but does not match the specified platform`. Podman: `no such image:
/// x: image not known`.
fn is_missing_image(message: &str) -> bool {
    contains(
        message,
        &["no such image", "image not known", "does not match the specified platform"],
    ) || (contains(message, &["image"]) && contains(message, &["not found"]))
}

fn contains(message: &str, words: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    words.iter().any(|word| message.contains(word))
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self::answered(status_code, &message)
            }
            other => Self::NoAnswer(chain(&other)),
        }
    }
}

/// Formats an error with its innermost cause: the outermost alone says "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
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

    fn started(status: u16, message: &str) -> EngineError {
        CallError::answered(status, message).into_refusal(Reason::StartFailed)
    }

    fn created(status: u16, message: &str) -> EngineError {
        CallError::answered(status, message).into_create_refusal()
    }

    fn reason(error: &EngineError) -> Option<Reason> {
        match error {
            EngineError::Refused { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    #[test]
    fn lost_and_proxied_answers_count_as_none() {
        assert!(matches!(CallError::from(Error::RequestTimeoutError), CallError::NoAnswer(_)));
        for (status, message) in [
            (
                500,
                "connection error: desc = \"transport: Error while dialing dial unix /run/x\": unavailable",
            ),
            (500, "context canceled"),
            (500, "failed to create shim task: context deadline exceeded: unknown"),
            (500, "error reading from server: EOF: unavailable"),
            (502, "Bad Gateway"),
            (503, "later"),
            (504, "Gateway Timeout"),
            (429, "slow down"),
        ] {
            assert!(matches!(started(status, message), EngineError::NoAnswer(_)), "{message}");
        }
    }

    #[test]
    fn refused_start_gives_its_reason() {
        for (status, message, expected) in [
            (
                400,
                "exec: \"nosuch\": executable file not found in $PATH: unknown",
                Reason::CommandNotFound,
            ),
            (400, "exec: \"/etc\": permission denied: unknown", Reason::CommandNotFound),
            (
                500,
                "exec: \"/etc/passwd\": permission denied: OCI permission denied",
                Reason::CommandNotFound,
            ),
            (500, "statfs /nosuchdir/x: no such file or directory", Reason::StartFailed),
            (500, "driver failed programming external connectivity", Reason::StartFailed),
            (
                500,
                "unable to find user nosuchuser: no matching entries in passwd file",
                Reason::StartFailed,
            ),
            (404, "network nosuchnet not found", Reason::StartFailed),
        ] {
            assert_eq!(reason(&started(status, message)), Some(expected), "{message}");
        }
        assert!(matches!(started(404, "No such container: x"), EngineError::NotFound));
        assert!(matches!(
            started(409, "cannot start a paused container"),
            EngineError::Conflict(_)
        ));
    }

    #[test]
    fn only_the_engine_can_report_a_missing_container() {
        for (message, its_word) in [
            ("No such container: x", true),
            ("no container with name or ID \"x\" found: no such container", true),
            ("404 page not found", false),
            ("network nosuch not found", false),
        ] {
            assert_eq!(
                CallError::answered(404, message).is_no_such_container(),
                its_word,
                "{message}"
            );
        }
    }

    #[test]
    fn refused_create_gives_its_reason() {
        for (status, message, expected) in [
            (400, "invalid CapAdd: unknown capability: \"CAP_NOSUCH\"", Reason::InvalidSpec),
            (500, "container create: \"CAP_NOSUCH\": unknown capability", Reason::InvalidSpec),
            (
                500,
                "container create: unable to find network with name or ID x: network not found",
                Reason::InvalidSpec,
            ),
            (500, "mkdir /var/lib/docker/x: no space left on device", Reason::CreateFailed),
        ] {
            assert_eq!(reason(&created(status, message)), Some(expected), "{message}");
        }
        for message in [
            "No such image: x:latest",
            "no such image: docker.io/library/x:latest: image not known",
            "image with reference x:latest was found but does not match the specified platform: wanted linux/s390x, actual: linux/amd64",
        ] {
            assert!(matches!(created(404, message), EngineError::NoSuchImage), "{message}");
        }
        let taken = "creating container storage: the container name \"x\" is already in use by 7: that name is already in use";
        assert!(matches!(created(500, taken), EngineError::Conflict(_)));
        assert!(matches!(
            created(409, "Conflict. The container name \"/x\" is already in use"),
            EngineError::Conflict(_)
        ));
    }
}
