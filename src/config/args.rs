//! The flags and environment variables of `serve`.

use std::path::PathBuf;

use clap::Args;

/// The address to listen on if none is given.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8888";

/// The paths to search for a config file, in this order, if none is named.
pub const DEFAULT_FILES: [&str; 2] = ["./tidetable.toml", "/etc/tidetable/config.toml"];

/// The flags of `tidetable serve`. Each is also a variable `TIDETABLE_…`, and each but `config` and
/// `adopt_config` is a key of the config file.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Address to listen on [default: 127.0.0.1:8888; port 0: any free one]
    #[arg(long, env = "TIDETABLE_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Folder for the state and the logs of jobs [default: /var/lib/tidetable as root, else in your
    /// state folder]
    #[arg(long, env = "TIDETABLE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Config file [default: ./tidetable.toml or /etc/tidetable/config.toml, if present]
    #[arg(long, env = "TIDETABLE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Engine that runs containers: docker (also Podman's socket) or simulated [default: docker]
    #[arg(long, env = "TIDETABLE_ENGINE", value_name = "NAME")]
    pub engine: Option<String>,
    /// Store for the state [default: sqlite, in the data directory]
    #[arg(long, env = "TIDETABLE_STORE", value_name = "URL")]
    pub store: Option<String>,
    /// Time zone of dates without an offset [default: the system's]
    #[arg(long, env = "TIDETABLE_TIME_ZONE", value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// File with the accepted tokens, one per line
    #[arg(long, env = "TIDETABLE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Accept calls without a token, even from other machines
    #[arg(long, env = "TIDETABLE_ALLOW_ANONYMOUS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_anonymous: Option<bool>,
    /// Host name, besides localhost, that is accepted without a token; may be repeated
    #[arg(
        long = "allowed-host",
        env = "TIDETABLE_ALLOWED_HOSTS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub allowed_hosts: Option<Vec<String>>,
    /// Largest number of jobs that run at once [default: 256]
    #[arg(long, env = "TIDETABLE_MAX_RUNNING", value_name = "N")]
    pub max_running: Option<usize>,
    /// Accept the engine that answers now, even if another one was known before
    #[arg(long, env = "TIDETABLE_ACCEPT_NEW_ENGINE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub accept_new_engine: Option<bool>,
    /// Move the schedules of the previous config file to this one
    #[arg(long, env = "TIDETABLE_ADOPT_CONFIG", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub adopt_config: Option<bool>,
    /// Longest time for a stopping server to finish its current steps [default: 30s]
    #[arg(long, env = "TIDETABLE_SHUTDOWN_DEADLINE", value_name = "DURATION")]
    pub shutdown_deadline: Option<String>,
}
