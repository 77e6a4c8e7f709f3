//! The words for changes of things other than jobs: the same in events, in JSON and in the store.

use super::status::string_enum;

string_enum! {
    /// The kind of thing that changed.
    Kind {
        Schedule = "schedule",
        Definition = "definition",
        Engine = "engine",
        Server = "server",
    }
}

string_enum! {
    /// The change of a schedule, a definition, the engine or the server.
    Change {
        Created = "created",
        Changed = "changed",
        Deleted = "deleted",
        Paused = "paused",
        Resumed = "resumed",
        /// The engine answers.
        Up = "up",
        /// The engine does not answer.
        Down = "down",
        /// Another engine answers than the one that holds our containers.
        Replaced = "replaced",
        /// The server began to serve.
        Started = "started",
        /// The config file was read again.
        Reloaded = "reloaded",
    }
}

impl Change {
    /// Returns the change as the end of a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Created => "was created",
            Self::Changed => "was changed",
            Self::Deleted => "was deleted",
            Self::Paused => "was paused",
            Self::Resumed => "was resumed",
            Self::Up => "answers",
            Self::Down => "does not answer",
            Self::Replaced => "is another one than the one that holds our containers",
            Self::Started => "was started",
            Self::Reloaded => "has read its config file again",
        }
    }
}
