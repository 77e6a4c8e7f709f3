//! The merge of flags, environment and config file into one checked [`Config`].

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;

use super::args::{DEFAULT_LISTEN, ServeArgs};
use super::error::{ConfigError, wrong};
use super::file::ConfigFile;
use super::queues::queues;
use super::references::RegistryLogin;
use super::references::{definitions, registries, schedules, secrets};
use super::sections::{EngineChoice, EngineSection, FileConfig, LimitsSection};
use crate::domain::admission::policy::Policy;
use crate::domain::names::queue::Queues;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::Schedule;
use crate::domain::spec::JobSpec;
use crate::domain::text::units::Span;
use crate::scheduler::{SecretSources, Settings};

/// The length of the shortest token that is accepted, in bytes.
const SHORTEST_TOKEN: usize = 16;

/// The checked configuration of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on. Port 0: any free port.
    pub listen: SocketAddr,
    /// The folder with the state and the logs of jobs.
    pub data_dir: PathBuf,
    pub engine: EngineChoice,
    /// The time zone of dates without an offset.
    pub zone: Tz,
    /// The tokens that callers may use. Empty: no token is required.
    pub tokens: Vec<String>,
    /// Host names, besides loopback, that are accepted without a token.
    pub allowed_hosts: Vec<String>,
    /// True if anybody may call without a token, even from other machines.
    pub allow_anonymous: bool,
    /// The definitions in the config file: templates of jobs, by name.
    pub definitions: BTreeMap<String, JobSpec>,
    /// The limit of running jobs for each queue.
    pub queues: Queues,
    /// The schedules in the config file, each with a time zone.
    pub schedules: BTreeMap<ScheduleName, Schedule>,
    /// The rules that a job request has to satisfy.
    pub policy: Policy,
    /// The files and variables that secrets come from, by name.
    pub secrets: SecretSources,
    /// The logins for image registries, by `HOST:PORT`.
    pub registries: BTreeMap<String, RegistryLogin>,
    /// The numeric limits of the scheduler.
    pub settings: Settings,
    /// True to show names of schedules and queues in the labels of metrics.
    pub show_names: bool,
    /// True if schedules of another config file move to this one.
    pub adopt_config: bool,
    /// The path below which a reverse proxy serves the pages, such as `/tide`. Empty: the root.
    pub base_path: String,
    /// The longest time that a stopping server may take. Default: 30 s.
    pub shutdown_deadline: Duration,
    /// The config file that was read. `None`: no file was named or found.
    pub file: Option<ConfigFile>,
}

impl Config {
    /// Reads the config file, merges flags and environment over it, and checks the result.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with one sentence.
    pub fn load(args: ServeArgs) -> Result<Self, ConfigError> {
        let file = ConfigFile::find(args.config.as_deref())?;
        let from_file =
            file.as_ref().map_or_else(|| Ok(FileConfig::default()), ConfigFile::parse)?;
        Self::merge(args, from_file, file)
    }

    /// Returns the data directory alone, for commands that only read it. The other keys of the file
    /// are not checked.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] when a config file exists but cannot be read or parsed.
    pub fn data_dir(flag: Option<PathBuf>, config: Option<&Path>) -> Result<PathBuf, ConfigError> {
        if let Some(dir) = flag {
            return Ok(dir);
        }
        let from_file = ConfigFile::find(config)?.as_ref().map(ConfigFile::parse).transpose()?;
        Ok(from_file.and_then(|file| file.server.data_dir).unwrap_or_else(default_data_dir))
    }

    pub(super) fn merge(
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
        check_exposure(listen, &tokens, anonymous)?;
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
            show_names: file.metrics.names.unwrap_or(true),
            adopt_config: args.adopt_config.unwrap_or(false),
            base_path: base_path(server.base_path.as_deref().unwrap_or_default())?,
            shutdown_deadline: deadline(
                args.shutdown_deadline.as_deref(),
                server.shutdown_deadline,
            )?,
            file: read,
        })
    }
}

fn listen(text: &str) -> Result<SocketAddr, ConfigError> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let written = text.replace("localhost:", "127.0.0.1:");
    written.parse().or_else(|_| {
        wrong(format!("`listen` is `{text}`: write an address and a port, such as `{DEFAULT_LISTEN}` or `[::1]:8888`"))
    })
}

/// Checks a base path, and removes the `/` at its end.
fn base_path(text: &str) -> Result<String, ConfigError> {
    let path = text.trim_end_matches('/');
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    let is_path = path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment));
    if path.is_empty() || is_path {
        return Ok(path.to_owned());
    }
    wrong(format!(
        "`base_path` is `{}`: write a path of letters, digits, `-`, `.`, `_` and `~`, such as `/tide`",
        crate::domain::text::units::shown(text)
    ))
}

fn check_store(url: Option<&str>) -> Result<(), ConfigError> {
    match url {
        None | Some("sqlite" | "sqlite:") => Ok(()),
        Some(other) => wrong(format!(
            "`store` is `{other}`: the state is kept with `sqlite`, in the data directory"
        )),
    }
}

/// Refuses an address beyond loopback that has neither tokens nor `--allow-anonymous`. A scheduler
/// with an engine's socket is root on its host, so it must not be open by accident.
fn check_exposure(
    listen: SocketAddr,
    tokens: &[String],
    anonymous: bool,
) -> Result<(), ConfigError> {
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
    // A header can hold no other characters, so a caller could never send any other token.
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

/// Returns the policy `default`. There are no roles, so this policy holds for every caller. Another
/// name is an error, because that policy would hold for no caller.
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
        // An image without zone data has no local zone, so UTC is the default there.
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
    fn precedence_is_flag_then_file_then_default() {
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
    fn a_public_address_needs_tokens_or_allow_anonymous() {
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
    fn errors_name_the_mistake_and_a_correct_value() {
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
    fn definitions_and_policy_come_from_the_file() {
        let config = merged(ServeArgs::default(), "[definitions.JOB_A]\nimage = 'busybox:latest'\ncommand = 'echo hello'\n[policies.default]\nallow_mounts = ['/srv']").expect("is right");
        assert!(config.definitions.contains_key("JOB_A"));
        assert_eq!(config.policy.allow_mounts, ["/srv"]);
    }

    #[test]
    fn paths_are_relative_to_the_config_file() {
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
    fn the_example_config_is_valid() {
        let config = merged(ServeArgs::default(), include_str!("../../examples/tidetable.toml"))
            .expect("is right");
        assert!(!config.queues.is_empty() && config.policy.queues.is_some());
        assert!(
            config.definitions.contains_key("JOB_A")
                && !config.policy.allow_mounts.is_empty()
                && config.schedules.len() == 1
        );
    }
}
