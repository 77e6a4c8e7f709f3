//! What the server is told: flags, then the environment, then the config file, then defaults, in that order of strength.
//!
//! [`ServeArgs`] is the form on the command line and in the environment, [`FileConfig`] the form in TOML; [`Config`] is
//! both together, checked, and can only be had through [`Config::load`]. A mistake is one sentence that names the key,
//! shows the value and says what would be right. This is also where the door is kept shut: an address beyond loopback
//! wants a token file, or to be told in so many words that everybody may call.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;
use clap::Args;
use serde::Deserialize;

use crate::domain::policy::Policy;
use crate::domain::queue::Queues;
use crate::domain::schedule::{Schedule, ScheduleName};
use crate::domain::spec::JobSpec;
use crate::domain::units::Span;
use crate::scheduler::{SecretSources, Settings};
use elsewhere::{SecretSection, definitions, registries, schedules, secrets};
use queues::{QueueSection, queues};

mod changes;
mod elsewhere;
mod file;
mod queues;

pub use elsewhere::RegistryLogin;
pub use file::ConfigFile;

/// Where the server listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8888";
/// Where a config file is looked for unless one is named.
pub const DEFAULT_FILES: [&str; 2] = ["./tidetable.toml", "/etc/tidetable/config.toml"];
/// The shortest token that is taken for one.
const SHORTEST_TOKEN: usize = 16;

/// The flags of `tidetable serve`. Each is also `TIDETABLE_…` in the environment and a key in the config file.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Address to listen on [default: 127.0.0.1:8888; port 0: any free one]
    #[arg(long, env = "TIDETABLE_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Folder for the state and the logs of jobs [default: /var/lib/tidetable as root, else in your state folder]
    #[arg(long, env = "TIDETABLE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Config file [default: ./tidetable.toml or /etc/tidetable/config.toml, where there is one]
    #[arg(long, env = "TIDETABLE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What runs containers: docker (also Podman's socket) or simulated [default: docker]
    #[arg(long, env = "TIDETABLE_ENGINE", value_name = "NAME")]
    pub engine: Option<String>,
    /// Where the state is kept [default: sqlite, in the data directory]
    #[arg(long, env = "TIDETABLE_STORE", value_name = "URL")]
    pub store: Option<String>,
    /// Zone of dates without an offset [default: the system's]
    #[arg(long, env = "TIDETABLE_TIME_ZONE", value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// File with the tokens that may call, one a line
    #[arg(long, env = "TIDETABLE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Let everybody who can reach the address call without a token
    #[arg(long, env = "TIDETABLE_ALLOW_ANONYMOUS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_anonymous: Option<bool>,
    /// Name under which the server may be called without a token, beside localhost; may be repeated
    #[arg(
        long = "allowed-host",
        env = "TIDETABLE_ALLOWED_HOSTS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub allowed_hosts: Option<Vec<String>>,
    /// How many jobs may run at once [default: 256]
    #[arg(long, env = "TIDETABLE_MAX_RUNNING", value_name = "N")]
    pub max_running: Option<usize>,
    /// Take the engine that answers now for ours, though another one was known
    #[arg(long, env = "TIDETABLE_ACCEPT_NEW_ENGINE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub accept_new_engine: Option<bool>,
    /// Give the schedules of the config file that was read before to the one that is read now
    #[arg(long, env = "TIDETABLE_ADOPT_CONFIG", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub adopt_config: Option<bool>,
    /// How long a stopping server may take for the steps in hand [default: 30s]
    #[arg(long, env = "TIDETABLE_SHUTDOWN_DEADLINE", value_name = "DURATION")]
    pub shutdown_deadline: Option<String>,
}

/// The config file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    server: ServerSection,
    limits: LimitsSection,
    definitions: BTreeMap<String, JobSpec>,
    queues: BTreeMap<String, QueueSection>,
    schedules: BTreeMap<ScheduleName, Schedule>,
    policies: BTreeMap<String, Policy>,
    secrets: BTreeMap<String, SecretSection>,
    registries: BTreeMap<String, RegistryLogin>,
    engines: BTreeMap<String, EngineSection>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServerSection {
    listen: Option<String>,
    data_dir: Option<PathBuf>,
    engine: Option<String>,
    store: Option<String>,
    time_zone: Option<String>,
    token_file: Option<PathBuf>,
    allow_anonymous: Option<bool>,
    allowed_hosts: Option<Vec<String>>,
    accept_new_engine: Option<bool>,
    shutdown_deadline: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsSection {
    max_running: Option<usize>,
    max_starting: Option<usize>,
    stage_ahead: Option<Span>,
}

/// One `[engines.NAME]`: where that engine is. For `docker`, it outranks `DOCKER_HOST` and its like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSection {
    /// `unix:///var/run/docker.sock`, `tcp://host:2376`.
    pub host: Option<String>,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`.
    pub cert_path: Option<PathBuf>,
    /// Whether TLS is used and the engine's certificate checked.
    pub tls_verify: Option<bool>,
    /// How long a pull may show no progress before it is given up.
    pub pull_stall: Option<Span>,
}

/// Which engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// Docker, or Podman's socket.
    Docker(EngineSection),
    /// The simulated one.
    Simulated,
}

/// What the server does, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its state is.
    pub data_dir: PathBuf,
    /// What runs containers.
    pub engine: EngineChoice,
    /// The zone of dates without an offset.
    pub zone: Tz,
    /// Tokens that may call; none: no token is asked for.
    pub tokens: Vec<String>,
    /// Names beside loopback under which it may be called without a token.
    pub allowed_hosts: Vec<String>,
    /// Whether everybody may call who can reach it.
    pub allow_anonymous: bool,
    /// Named templates.
    pub definitions: BTreeMap<String, JobSpec>,
    /// How many jobs of each queue may run at once.
    pub queues: Queues,
    /// Recurrences, each with its zone.
    pub schedules: BTreeMap<ScheduleName, Schedule>,
    /// What a caller may ask for.
    pub policy: Policy,
    /// Where secrets come from.
    pub secrets: SecretSources,
    /// Who we are at registries.
    pub registries: BTreeMap<String, RegistryLogin>,
    /// Numbers of the scheduler.
    pub settings: Settings,
    /// Whether schedules of another config file become this one's.
    pub adopt_config: bool,
    /// How long a stopping server may take.
    pub shutdown_deadline: Duration,
    /// The config file that was read.
    pub file: Option<ConfigFile>,
}

/// Said when the server is told something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Flags and environment, laid over the file, laid over the defaults.
    ///
    /// # Errors
    /// [`ConfigError`], one sentence.
    pub fn load(args: ServeArgs) -> Result<Self, ConfigError> {
        let file = ConfigFile::find(args.config.as_deref())?;
        let from_file =
            file.as_ref().map_or_else(|| Ok(FileConfig::default()), ConfigFile::parse)?;
        Self::merge(args, from_file, file)
    }

    /// The data directory alone, for those who only look at it: whatever else the file may say.
    ///
    /// # Errors
    /// [`ConfigError`] when there is a file that cannot be read.
    pub fn data_dir(flag: Option<PathBuf>, config: Option<&Path>) -> Result<PathBuf, ConfigError> {
        if let Some(dir) = flag {
            return Ok(dir);
        }
        let from_file = ConfigFile::find(config)?.as_ref().map(ConfigFile::parse).transpose()?;
        Ok(from_file.and_then(|file| file.server.data_dir).unwrap_or_else(default_data_dir))
    }

    fn merge(
        args: ServeArgs,
        file: FileConfig,
        read: Option<ConfigFile>,
    ) -> Result<Self, ConfigError> {
        let server = file.server;
        let listen = listen(args.listen.or(server.listen).as_deref().unwrap_or(DEFAULT_LISTEN))?;
        check_store(args.store.or(server.store).as_deref())?;
        let tokens = args
            .token_file
            .or(server.token_file)
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), read_tokens)?;
        let anonymous = args.allow_anonymous.or(server.allow_anonymous).unwrap_or(false);
        check_door(listen, &tokens, anonymous)?;
        let mut allowed_hosts = args.allowed_hosts.or(server.allowed_hosts).unwrap_or_default();
        if !listen.ip().is_unspecified() {
            allowed_hosts.push(listen.ip().to_string());
        }
        let engine = engine(args.engine.or(server.engine).as_deref(), file.engines)?;
        let max_running = args.max_running.or(file.limits.max_running);
        let settings = settings(
            max_running,
            &file.limits,
            args.accept_new_engine.or(server.accept_new_engine),
        )?;
        let policy = policy(file.policies)?;
        let zone = zone(args.time_zone.or(server.time_zone).as_deref())?;
        let beside = read.as_ref().and_then(|read| read.path.parent()).unwrap_or(Path::new(""));
        Ok(Self {
            listen,
            data_dir: args.data_dir.or(server.data_dir).unwrap_or_else(default_data_dir),
            engine,
            zone,
            tokens,
            allowed_hosts,
            allow_anonymous: anonymous,
            definitions: definitions(file.definitions, beside)?,
            queues: queues(file.queues)?,
            schedules: schedules(file.schedules, zone)?,
            policy,
            secrets: secrets(file.secrets, beside)?,
            registries: registries(file.registries, beside)?,
            settings,
            adopt_config: args.adopt_config.unwrap_or(false),
            shutdown_deadline: deadline(
                args.shutdown_deadline.as_deref(),
                server.shutdown_deadline,
            )?,
            file: read,
        })
    }
}

fn wrong<T>(sentence: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(sentence.into()))
}

fn listen(text: &str) -> Result<SocketAddr, ConfigError> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let written = text.replace("localhost:", "127.0.0.1:");
    written.parse().or_else(|_| {
        wrong(format!("`listen` is `{text}`: write an address and a port, such as `{DEFAULT_LISTEN}` or `[::1]:8888`"))
    })
}

fn check_store(url: Option<&str>) -> Result<(), ConfigError> {
    match url {
        None | Some("sqlite" | "sqlite:") => Ok(()),
        Some(other) => wrong(format!(
            "`store` is `{other}`: the state is kept with `sqlite`, in the data directory"
        )),
    }
}

/// A scheduler with an engine's socket is root on its host, so it is not left open by an oversight.
fn check_door(listen: SocketAddr, tokens: &[String], anonymous: bool) -> Result<(), ConfigError> {
    let guarded = listen.ip().is_loopback() || !tokens.is_empty() || anonymous;
    if guarded {
        return Ok(());
    }
    wrong(format!(
        "`listen` is {listen}, which others than this machine can reach, and whoever can post a job there has this host's containers: give a `--token-file`, or say `--allow-anonymous` if everybody shall"
    ))
}

fn read_tokens(path: &Path) -> Result<Vec<String>, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| {
        ConfigError(format!("the token file {} cannot be read: {error}", path.display()))
    })?;
    let tokens: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    // A header holds no other characters, so nobody could ever send another token.
    let is_visible = |token: &str| token.bytes().all(|byte| byte.is_ascii_graphic());
    match tokens.iter().find(|token| token.len() < SHORTEST_TOKEN || !is_visible(token)) {
        Some(_) => wrong(format!(
            "the token file {} holds a token that is shorter than {SHORTEST_TOKEN} characters, or has a space or another character in it than visible ASCII: make one with `openssl rand -hex 32`",
            path.display()
        )),
        None if tokens.is_empty() => wrong(format!(
            "the token file {} holds no token: write one a line, made with `openssl rand -hex 32`",
            path.display()
        )),
        None => Ok(tokens),
    }
}

fn engine(
    name: Option<&str>,
    mut sections: BTreeMap<String, EngineSection>,
) -> Result<EngineChoice, ConfigError> {
    match name {
        None | Some("docker" | "podman") => {
            Ok(EngineChoice::Docker(sections.remove(name.unwrap_or("docker")).unwrap_or_default()))
        }
        Some("simulated") => Ok(EngineChoice::Simulated),
        Some(other) => wrong(format!(
            "`engine` is `{other}`: there are `docker` (also for Podman's socket) and `simulated`"
        )),
    }
}

fn settings(
    max_running: Option<usize>,
    limits: &LimitsSection,
    accept_new_engine: Option<bool>,
) -> Result<Settings, ConfigError> {
    let default = Settings::default();
    if max_running == Some(0) || limits.max_starting == Some(0) {
        return wrong("`max_running` and `max_starting` have to be 1 or more");
    }
    Ok(Settings {
        max_running: max_running.unwrap_or(default.max_running),
        max_starting: limits.max_starting.unwrap_or(default.max_starting),
        stage_ahead: limits.stage_ahead.map_or(default.stage_ahead, Span::as_duration),
        accept_new_engine: accept_new_engine.unwrap_or(false),
    })
}

/// Without roles one policy holds for everybody; another name would be a policy that nobody has.
fn policy(mut policies: BTreeMap<String, Policy>) -> Result<Policy, ConfigError> {
    let default = policies.remove("default").unwrap_or_default();
    match policies.keys().next() {
        Some(other) => wrong(format!(
            "`[policies.{other}]` would hold for nobody: `[policies.default]` holds for everybody"
        )),
        None => Ok(default),
    }
}

fn zone(name: Option<&str>) -> Result<Tz, ConfigError> {
    match name {
        Some(name) => parse_zone(name).map_or_else(
            || {
                wrong(format!(
                    "`time_zone` is `{name}`: write a zone such as `Europe/Berlin` or `UTC`"
                ))
            },
            Ok,
        ),
        // An image without zone data has no local zone: then it is UTC.
        None => Ok(std::env::var("TZ")
            .ok()
            .or_else(|| iana_time_zone::get_timezone().ok())
            .and_then(|name| parse_zone(name.trim_start_matches(':')))
            .unwrap_or(Tz::UTC)),
    }
}

fn parse_zone(name: &str) -> Option<Tz> {
    name.parse().ok().or_else(|| {
        chrono_tz::TZ_VARIANTS.into_iter().find(|zone| zone.name().eq_ignore_ascii_case(name))
    })
}

fn deadline(flag: Option<&str>, file: Option<Span>) -> Result<Duration, ConfigError> {
    let from_flag = flag
        .map(|text| {
            text.parse::<Span>()
                .map_err(|error| ConfigError(format!("`shutdown_deadline`: {error}")))
        })
        .transpose()?;
    Ok(from_flag.or(file).map_or(Duration::from_secs(30), |span| span.as_duration()))
}

fn default_data_dir() -> PathBuf {
    let home = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
    match home {
        Some(state) if !is_root() => state.join("tidetable"),
        Some(_) | None => PathBuf::from("/var/lib/tidetable"),
    }
}

/// Whether this process runs as root.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::SecretSource;

    fn merged(args: ServeArgs, toml: &str) -> Result<Config, ConfigError> {
        let file = toml::from_str(toml)
            .map_err(|error: toml::de::Error| ConfigError(error.to_string()))?;
        Config::merge(args, file, None)
    }

    fn flag(set: impl FnOnce(&mut ServeArgs)) -> ServeArgs {
        let mut args = ServeArgs::default();
        set(&mut args);
        args
    }

    #[test]
    fn a_flag_outranks_the_file_and_the_file_the_default() {
        let file = "[server]\nlisten = '127.0.0.1:1'\ntime_zone = 'Europe/Berlin'\n[limits]\nmax_running = 3";
        let config =
            merged(flag(|a| a.listen = Some("127.0.0.1:2".into())), file).expect("is right");
        assert_eq!(
            (config.listen.port(), config.zone, config.settings.max_running),
            (2, Tz::Europe__Berlin, 3)
        );
        assert_eq!(
            merged(ServeArgs::default(), "").expect("is right").listen.to_string(),
            DEFAULT_LISTEN
        );
    }

    #[test]
    fn an_address_beyond_loopback_wants_a_token_file_or_to_be_told() {
        for address in ["0.0.0.0:8888", "10.0.0.1:8888", "[::]:8888"] {
            let open = flag(|a| a.listen = Some(address.into()));
            assert!(
                merged(open, "").expect_err("an open door").to_string().contains("--token-file")
            );
            let told = flag(|a| (a.listen, a.allow_anonymous) = (Some(address.into()), Some(true)));
            assert!(merged(told, "").is_ok());
        }
        for address in ["127.0.0.1:0", "localhost:8888", "[::1]:8888"] {
            assert!(merged(flag(|a| a.listen = Some(address.into())), "").is_ok(), "{address}");
        }
    }

    #[test]
    fn a_mistake_is_named_and_what_would_be_right_is_said() {
        for (toml, said) in [
            ("[server]\nlisten = 'nowhere'", "127.0.0.1:8888"),
            ("[server]\ntime_zone = 'Berlin'", "Europe/Berlin"),
            ("[server]\nengine = 'rocket'", "simulated"),
            ("[server]\nstore = 'postgres://x'", "sqlite"),
            ("[server]\nlissten = 'x'", "lissten"),
            ("[limits]\nmax_running = 0", "1 or more"),
            (
                "[registries.'https://registry.example']\nusername = 'a'\npassword_file = 'b'",
                "registry.example:5000",
            ),
            ("[registries.'registry.example']\nusername = 'a'", "password_file"),
            ("[secrets.pw]", "either a `file` or an `env`"),
            ("[secrets.pw]\nfile = '/a'\nenv = 'A'", "secrets.pw"),
            ("[queues.etl]\nmax_running = 0", "1 or more"),
            ("[queues.etl]\nmax = 1", "max_running"),
            ("[queues.'a b']\nmax_running = 1", "letters, digits"),
            ("[policies.default]\nmax_waiting = 0", "max_waiting"),
            ("[definitions.JOB_A]\nenv_file = '/nowhere/env'", "definitions.JOB_A"),
            ("[policies.team]\nallow_privileged = true", "policies.default"),
            ("[definitions.JOB_A]\nimage = 'UPPER'", "UPPER"),
            ("[definitions.JOB_A]\ncpus = -1.0", "cpus"),
            ("[schedules.a]\njob_name = 'a'", "`every`, such as `90m`"),
            ("[schedules.a]\njob_name = 'a'\ncron = '61 * * * *'", "out of range"),
            ("[schedules.a]\njob_name = 'a'\ncron = '@daily'\ncolour = 'red'", "colour"),
            ("[schedules.'a b']\njob_name = 'a'\ncron = '@daily'", "such as `nightly`"),
            (
                "[schedules.a]\njob_name = 'a'\ncron = '@daily'\nspec = { env_file = 'x' }",
                "into a definition",
            ),
            (
                "[schedules.a]\njob_name = 'a'\ncron = '@daily'\nstart_at = 2026-01-01T00:00:00Z",
                "start_at",
            ),
        ] {
            let error = merged(ServeArgs::default(), toml).expect_err("is wrong").to_string();
            assert!(error.contains(said), "{toml}: {error}");
        }
    }

    #[test]
    fn definitions_and_the_policy_come_from_the_file() {
        let config = merged(ServeArgs::default(), "[definitions.JOB_A]\nimage = 'busybox:latest'\ncommand = 'echo hello'\n[policies.default]\nallow_mounts = ['/srv']").expect("is right");
        assert!(config.definitions.contains_key("JOB_A"));
        assert_eq!(config.policy.allow_mounts, ["/srv"]);
    }

    #[test]
    fn a_path_in_the_file_is_meant_from_where_the_file_is() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("env"), "A=1").expect("a file");
        let toml =
            "[definitions.JOB_A]\nimage = 'busybox'\nenv_file = 'env'\n[secrets.pw]\nfile = 'pw'";
        let file = toml::from_str(toml).expect("is right");
        let read = ConfigFile { path: dir.path().join("config.toml"), text: toml.to_owned() };
        let config = Config::merge(ServeArgs::default(), file, Some(read)).expect("is right");
        let in_full = |name: &str| dir.path().join(name);
        assert_eq!(config.secrets.0["pw"], SecretSource::File(in_full("pw")));
        let files = config.definitions["JOB_A"].fields().env_file.clone().expect("has one");
        assert_eq!(files.0, [in_full("env").to_string_lossy()]);
    }

    #[test]
    fn the_example_is_right() {
        let config = merged(ServeArgs::default(), include_str!("../examples/tidetable.toml"))
            .expect("is right");
        assert!(!config.queues.is_empty() && config.policy.queues.is_some());
        assert!(
            config.definitions.contains_key("JOB_A")
                && !config.policy.allow_mounts.is_empty()
                && config.schedules.len() == 1
        );
    }
}
