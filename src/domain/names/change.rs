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
