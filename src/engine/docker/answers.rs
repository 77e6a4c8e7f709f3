//! What an engine's answer is worth: the line between "it refused" and "it did not say".
//!
//! Whether a step may be taken for undone hangs on this line. A connection that breaks, a time-out, a body that cannot
//! be read, a proxy's 502 are silence. So is a 5xx in which a daemon only reports that it lost *its* partner half-way
//! (its connection to containerd, or ours): what was asked for may still happen. Everything else that the engine itself
//! answers is its word, and [`Fault`]'s methods say which word.

use bollard::errors::Error;

use crate::domain::job::Reason;
use crate::engine::EngineError;

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The engine answered, with this HTTP status and this sentence.
    Said {
        /// The HTTP status.
        status: u16,
        /// The sentence.
        message: String,
    },
    /// No answer, or one that says nothing about what was asked for.
    Silent(String),
}

/// By these a daemon says that it does not know how a step of its own went. Docker 20.10 whose containerd was killed
/// answers `start` with `connection error: desc = "transport: Error while dialing …": unavailable`.
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

impl Fault {
    /// What an error status means.
    fn answered(status: u16, message: &str) -> Self {
        let message = message.trim().to_owned();
        let lost = status >= 500 && lost_its_partner(&message);
        // 408, 425, 429 and 499 are about the request; 502 to 504 come from something in between, or mean "later".
        if lost || matches!(status, 408 | 425 | 429 | 499 | 502..=504) {
            Self::Silent(format!("it answered {status}: {message}"))
        } else {
            Self::Said { status, message }
        }
    }

    /// For calls that only read: an answer that is none says nothing about a container either.
    pub(super) fn into_no_answer(self) -> EngineError {
        match self {
            Self::Said { status, message } => {
                EngineError::NoAnswer(format!("it answered {status}: {message}"))
            }
            Self::Silent(why) => EngineError::NoAnswer(why),
        }
    }

    /// What it means for the output of a container: of one whose logging driver only writes there will never be any.
    pub(super) fn into_unreadable(self) -> EngineError {
        match self {
            Self::Said { message, .. } if contains(&message, &["does not support reading"]) => {
                EngineError::Refused { reason: Reason::StartFailed, message }
            }
            fault if fault.is_no_such_container() => EngineError::NotFound,
            fault => fault.into_no_answer(),
        }
    }

    /// What it means for a step on a container that is there; `reason` where the sentence does not explain itself.
    pub(super) fn into_refusal(self, reason: Reason) -> EngineError {
        let Self::Said { status, message } = &self else { return self.into_no_answer() };
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

    /// What it means for `create`.
    pub(super) fn into_create_refusal(self) -> EngineError {
        let Self::Said { status, message } = &self else { return self.into_no_answer() };
        let message = message.clone();
        match status {
            404 if is_missing_image(&message) => EngineError::NoSuchImage,
            _ if self.is_conflict() => EngineError::Conflict(message),
            // A network, a volume driver, a container whose network is to be shared: named by the spec, not there.
            400 | 404 => EngineError::Refused { reason: Reason::InvalidSpec, message },
            // Podman says with 500 what Docker says with 400 and 404.
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

    /// Whether the engine itself says that there is no such container. A 404 alone may be a proxy's.
    pub(super) fn is_no_such_container(&self) -> bool {
        // Docker: `No such container: x`. Podman: `no container with name or ID "x" found: no such container`.
        matches!(self, Self::Said { status: 404, message } if contains(message, &["no such container", "no container with"]))
    }

    /// Whether the engine itself says that there is no such network.
    pub(super) fn is_no_such_network(&self) -> bool {
        // Docker: `network x not found`. Podman: `unable to find network with name or ID x: network not found`.
        matches!(self, Self::Said { status: 404, message } if contains(message, &["network"]) && contains(message, &["not found"]))
    }

    /// Whether the engine itself says that there is no such image.
    pub(super) fn is_no_such_image(&self) -> bool {
        // Docker: `No such image: x:latest`. Podman: `failed to find image x: x: No such image`, or `image not known`.
        matches!(self, Self::Said { status: 404, message } if contains(message, &["no such image", "image not known"]))
    }

    /// Whether a name is taken, or the container is in the wrong phase: 409, and on Podman 4 a 500.
    fn is_conflict(&self) -> bool {
        match self {
            Self::Said { status: 409, .. } => true,
            Self::Said { status: 500, message } => contains(
                message,
                &["is already in use", "cannot remove container", "container state improper"],
            ),
            Self::Said { .. } | Self::Silent(_) => false,
        }
    }
}

/// Of the image, not of a file in it: `exec: "x": executable file not found in $PATH`, `exec: "/x": permission denied`;
/// Podman adds `… a command that was not found` or `OCI permission denied`. A mount's missing source reads much alike.
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

/// Whether an engine only says that it does not know how a step of its own went.
pub(super) fn lost_its_partner(message: &str) -> bool {
    contains(message, &LOST_ITS_PARTNER)
}

/// Docker: `No such image: x`; for another platform, `image with reference x was found but does not match the specified
/// platform`. Podman: `no such image: x: image not known`.
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

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self::answered(status_code, &message)
            }
            other => Self::Silent(chain(&other)),
        }
    }
}

/// An error with its innermost cause: the outermost alone says "client error (Connect)".
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
        Fault::answered(status, message).into_refusal(Reason::StartFailed)
    }

    fn created(status: u16, message: &str) -> EngineError {
        Fault::answered(status, message).into_create_refusal()
    }

    fn reason(error: &EngineError) -> Option<Reason> {
        match error {
            EngineError::Refused { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    #[test]
    fn an_answer_is_told_apart_from_none() {
        assert!(matches!(Fault::from(Error::RequestTimeoutError), Fault::Silent(_)));
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
    fn a_refused_start_says_why() {
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
    fn only_the_engine_itself_can_say_that_there_is_no_such_container() {
        for (message, its_word) in [
            ("No such container: x", true),
            ("no container with name or ID \"x\" found: no such container", true),
            ("404 page not found", false),
            ("network nosuch not found", false),
        ] {
            assert_eq!(Fault::answered(404, message).is_no_such_container(), its_word, "{message}");
        }
    }

    #[test]
    fn a_refused_create_says_why() {
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
