//! The choice of the config file, and the schedules of another config file: a server started in
//! another folder, and two servers at once.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{binary, call, eventually};
use serde_json::{Value, json};

const HOURLY: &str = "[schedules.hourly]\njob_name = 'busybox'\ncron = '0 * * * *'";

/// A server in a working folder of its own. Killed when its test is over.
struct Here {
    child: Child,
    address: String,
    log: std::path::PathBuf,
}

impl Here {
    fn start(folder: &Path, data: &Path, flags: &[&str]) -> Self {
        let log = data.with_extension("log");
        let mut command = Command::new(binary());
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--engine", "simulated", "--data-dir"])
            .arg(data);
        command
            .args(flags)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").map(str::to_owned);
        let address = address.unwrap_or_else(|| panic!("{}", fs::read_to_string(&log).unwrap()));
        Self { child, address, log }
    }

    fn get(&self, path: &str) -> crate::support::Answer {
        call(&self.address, "GET", path, &[], b"").unwrap()
    }

    fn hourly(&self) -> Value {
        eventually("it is there", || {
            let answer = self.get("/schedule/hourly");
            (answer.status == 200).then(|| answer.json())
        })
    }

    /// Checks that the schedule is paused, and that every place that can show the reason does.
    fn assert_aside(&self, said: &str) {
        eventually("it is set aside", || {
            (self.hourly()["pause_reason"] == "config_file").then_some(())
        });
        assert_eq!(
            (&self.hourly()["paused"], &self.hourly()["next_job"]),
            (&json!(true), &Value::Null)
        );
        let ready = eventually("it is ready", || {
            Some(self.get("/readyz")).filter(|ready| ready.status == 200)
        })
        .json();
        assert!(ready["warnings"][0].as_str().unwrap().contains(said), "{ready}");
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(
            log.lines().any(|line| line.contains("WARN")
                && line.contains("hourly")
                && line.contains(said)),
            "{log}"
        );
    }

    fn assert_runs(&self) {
        eventually("it runs", || self.hourly()["next_job"].is_string().then_some(()));
        assert_eq!(
            (&self.hourly()["paused"], &self.hourly()["pause_reason"]),
            (&json!(false), &Value::Null)
        );
        assert_eq!(self.get("/readyz").json()["warnings"], Value::Null);
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Creates a folder with a config file and one without. The returned directory has room for data
/// too.
fn folders() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let all = tempfile::tempdir().unwrap();
    let (with, without) = (all.path().join("with"), all.path().join("without"));
    fs::create_dir(&with).unwrap();
    fs::create_dir(&without).unwrap();
    fs::write(with.join("tidetable.toml"), HOURLY).unwrap();
    (all, with, without)
}

#[test]
fn missing_config_file_pauses_and_deletes_nothing() {
    let (all, with, without) = folders();
    let data = all.path().join("data");
    Here::start(&with, &data, &[]).assert_runs();
    Here::start(&without, &data, &[]).assert_aside("there is no config file");
    let again = Here::start(&with, &data, &[]);
    again.assert_runs();
    let path = fs::canonicalize(&with).unwrap().join("tidetable.toml");
    let log = fs::read_to_string(&again.log).unwrap();
    assert!(log.lines().next().unwrap().contains(path.to_str().unwrap()), "{log}");
}

#[test]
fn another_config_file_takes_over_only_when_adopted() {
    let (all, with, without) = folders();
    let data = all.path().join("data");
    Here::start(&with, &data, &[]).assert_runs();
    fs::write(without.join("tidetable.toml"), HOURLY).unwrap();
    Here::start(&without, &data, &[]).assert_aside("another config file");
    Here::start(&without, &data, &["--adopt-config"]).assert_runs();
    Here::start(&without, &data, &[]).assert_runs();
}

#[test]
fn schedule_removed_from_the_file_is_deleted() {
    let (all, with, _) = folders();
    let data = all.path().join("data");
    Here::start(&with, &data, &[]).assert_runs();
    fs::write(with.join("tidetable.toml"), "").unwrap();
    let server = Here::start(&with, &data, &[]);
    eventually("it is gone", || (server.get("/schedule/hourly").status == 404).then_some(()));
}

#[test]
fn second_server_does_not_run_the_same_schedules() {
    let (all, with, _) = folders();
    let first = Here::start(&with, &all.path().join("data"), &[]);
    first.assert_runs();
    let other = all.path().join("other");
    Here::start(&with, &other, &[]).assert_aside("another server");
    Here::start(&with, &other, &["--adopt-config"]).assert_runs();
    drop(first);
    Here::start(&with, &other, &[]).assert_runs();
}
