//! The server's configuration. Precedence: flag, environment variable, config file, default.
//!
//! [`ServeArgs`] holds flags and variables, and [`FileConfig`] holds the TOML file. [`Config`] is
//! both, merged and checked; only [`Config::load`] creates one. An error is one sentence that names
//! the key, shows the value and gives a correct example.
//!
//! This module also refuses an open server: an address beyond loopback needs a token file or
//! `--allow-anonymous`.

mod args;
mod changes;
mod error;
mod file;
mod queues;
mod references;
mod resolve;
mod sections;

pub use args::{DEFAULT_FILES, DEFAULT_LISTEN, ServeArgs};
pub use error::ConfigError;
pub use file::ConfigFile;
pub use references::RegistryLogin;
pub use resolve::Config;
pub use sections::{EngineChoice, EngineSection, FileConfig};
