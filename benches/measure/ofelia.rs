//! Two peers that are programs of their own: Ofelia, and netresearch's Ofelia.
//!
//! Both accept only cron dates in whole seconds, and read them from a file when they start. Each
//! job gets the one second in which it is due, on one day of the year. The program is ended after
//! its turn.
//!
//! Neither program can create a container on the network `host`. A job therefore has two variants.
//! One runs an image on the engine's default network. The other, the best case, starts a container
//! that was created before on the common network.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, Datelike, Timelike};
use futures::StreamExt;
use tempfile::NamedTempFile;

use crate::engine_probe::{EngineProbe, alias};
use crate::machine::said;

/// The arguments for netresearch's Ofelia. By default it watches for containers with labels. No
/// other subject does so, and therefore it need not either.
const NETRESEARCH_AT_ITS_BEST: [&str; 3] =
    ["--docker-no-poll", "--docker-events=false", "--log-level=error"];

/// The longest silence before the removal of a container that has ended.
const REMOVAL: Duration = Duration::from_secs(5);

pub struct Ofelia {
    name: String,
    program: PathBuf,
    arguments: &'static [&'static str],
    prepared: bool,
    daemon: Mutex<Option<(Child, NamedTempFile)>>,
}

impl Ofelia {
    /// Returns both variants: with containers that were created before, and from an image.
    pub fn both(program: &Path) -> [Self; 2] {
        [true, false].map(|prepared| {
            let path = program.to_str().unwrap();
            let (name, arguments) = match said(path, &["version"]) {
                Some(said) => {
                    let version = said.split(' ').nth(1).unwrap_or_default();
                    (format!("netresearch's ofelia {version}"), NETRESEARCH_AT_ITS_BEST.as_slice())
                }
                None => (format!("ofelia {}", commit(path)), [].as_slice()),
            };
            let way = if prepared { "container made before" } else { "image, default network" };
            Self {
                name: format!("{name}: {way}"),
                program: program.to_owned(),
                arguments,
                prepared,
                daemon: Mutex::default(),
            }
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_prepared(&self) -> bool {
        self.prepared
    }

    /// Creates everything that has to exist before a job is due. Returns the config lines of each
    /// job.
    pub async fn prepare(&self, probe: &EngineProbe, keys: &[String]) -> Vec<String> {
        let one = |key: String| async move {
            if self.prepared {
                format!("container = {}", probe.create(&key).await)
            } else {
                probe.name_image(&key).await;
                format!(
                    "image = {}\ncommand = true\npull = false\ndelete = true\nuser = 0",
                    alias(&key)
                )
            }
        };
        futures::stream::iter(keys.to_vec()).map(one).buffered(2).collect().await
    }

    /// Starts the program with these jobs.
    pub fn plan(&self, keys: &[String], due: &[i64], what: &[String]) {
        let mut config = NamedTempFile::new().unwrap();
        for ((key, due), what) in keys.iter().zip(due).zip(what) {
            let schedule = cron(*due);
            // netresearch's Ofelia names the container after the job.
            let name = format!("bench-{}", key.replace('/', "."));
            write!(config, "[job-run \"{name}\"]\nschedule = {schedule}\n{what}\n").unwrap();
        }
        let mut command = Command::new(&self.program);
        command
            .arg("daemon")
            .arg("--config")
            .arg(config.path())
            .args(self.arguments)
            .env("TZ", "UTC");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        *self.daemon.lock().unwrap() = Some((child, config));
    }

    /// Ends the program after it has removed its containers, and removes everything that was
    /// prepared.
    pub async fn end(&self, probe: &EngineProbe, keys: &[String]) {
        if !self.prepared {
            probe.wait_until_silence(keys, REMOVAL, |life| life.removed).await;
        }
        self.kill();
        if !self.prepared {
            for key in keys {
                probe.forget_image(key).await;
            }
        }
    }

    fn kill(&self) {
        if let Some((mut child, _)) = self.daemon.lock().unwrap().take() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

impl Drop for Ofelia {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the commit that the original Ofelia prints at the end of its help.
fn commit(program: &str) -> String {
    let help =
        Command::new(program).args(["daemon", "--help"]).output().expect("OFELIA names a program");
    let help = [help.stdout, help.stderr].concat();
    let help = String::from_utf8_lossy(&help).into_owned();
    let commit = help.lines().find_map(|line| line.trim().strip_prefix("commit:"));
    commit
        .map(str::trim)
        .filter(|commit| !commit.is_empty())
        .unwrap_or("of unknown version")
        .to_owned()
}

/// Returns the cron expression of one second on one day of every year.
fn cron(due: i64) -> String {
    let at = DateTime::from_timestamp_nanos(due);
    format!("{} {} {} {} {} *", at.second(), at.minute(), at.hour(), at.day(), at.month())
}
