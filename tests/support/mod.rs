//! Shared parts of the tests: the server as a separate process, and calls to it as a person would
//! make them.
//!
//! A server is killed when its test is over, however the test ends. Its data directory is removed
//! with it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its own part of this"
)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub mod apart;
pub mod clock;
pub mod daemon;
pub mod evidence;
pub mod large_store;
pub mod oracle;
pub mod scene;
pub mod terminal;
pub mod virtual_time;

/// The image that `make test` provides on every engine.
pub const IMAGE: &str = "busybox:latest";

/// The time limit for any step on a busy machine. Tests assert nothing about it: it only ends a
/// test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Returns the path of the binary under test.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_tidetable")
}

/// Returns the address of the engine that `make test` provides.
pub fn docker_host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

/// A server process with its config file and data directory.
pub struct Server {
    child: Option<Child>,
    dir: tempfile::TempDir,
    data_dir: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    url: String,
}

impl Server {
    /// Starts a server on the simulated engine.
    pub fn simulated() -> Self {
        Self::start(&["--engine", "simulated"], "", &[])
    }

    /// Starts a server with these flags, this config file and this environment.
    pub fn start(flags: &[&str], config: &str, environment: &[(&str, &str)]) -> Self {
        let mut server = Self::new(flags, config, environment);
        server.up();
        server
    }

    /// Starts a server on the simulated engine with another data directory, on a disk that the test
    /// controls.
    pub fn simulated_on(data_dir: PathBuf) -> Self {
        Self::simulated_with(data_dir, &[])
    }

    /// Starts a server on the simulated engine with this data directory and this environment.
    pub fn simulated_with(data_dir: PathBuf, environment: &[(&str, &str)]) -> Self {
        Self::over(data_dir, &["--engine", "simulated"], environment)
    }

    /// Starts a server over a data directory that exists.
    pub fn over(data_dir: PathBuf, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut server = Self::new(flags, "", environment);
        server.data_dir = data_dir;
        server.up();
        server
    }

    fn new(flags: &[&str], config: &str, environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("config.toml"), config).expect("the config file");
        let arguments = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let environment =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let data_dir = dir.path().join("data");
        Self { child: None, dir, data_dir, arguments, environment, url: String::new() }
    }

    /// Starts the server, for the first time or again, on the same data directory.
    pub fn up(&mut self) {
        self.try_up().unwrap_or_else(|said| panic!("not ready: {said}"));
    }

    /// Starts the server. If it refuses to start, returns its output and its log.
    pub fn try_up(&mut self) -> Result<(), String> {
        let mut child = self.spawn();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("its stdout"))
            .read_line(&mut ready)
            .expect("a line");
        let Some(url) = ready.trim().strip_prefix("listening on ") else {
            let ended = child.wait().expect("it is gone");
            assert!(!ended.success(), "the server ended by itself with exit code 0");
            return Err(format!("{ready}{}", self.log()));
        };
        self.url = url.to_owned();
        self.child = Some(child);
        Ok(())
    }

    /// Starts the server and kills it with SIGKILL after this time, possibly before it is ready.
    pub fn die_young(&mut self, after: Duration) {
        let mut child = self.spawn();
        std::thread::sleep(after);
        child.kill().expect("it can be killed");
        child.wait().expect("it is gone");
    }

    fn spawn(&self) -> Child {
        let mut command = Command::new(binary());
        command
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--time-zone", "UTC"])
            .arg("--config")
            .arg(self.dir.path().join("config.toml"));
        command
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned());
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .expect("a log");
        command.stdout(Stdio::piped()).stderr(log).spawn().expect("the binary runs")
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it is gone");
        }
    }

    /// Sends SIGTERM to the server, and waits until it has ended.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        signal(child.id(), "TERM");
        child.wait().expect("it is gone")
    }

    /// Returns the process id; `None` if the server is not running.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Returns the instance id of the server, from its log.
    pub fn instance(&self) -> String {
        let log = self.log();
        let at = log.find("instance=").expect("the log says which instance") + "instance=".len();
        log[at..at + 32].to_owned()
    }

    /// Removes the containers that the server left on this engine.
    pub fn remove_containers(&self, engine: &str) {
        let label = format!("label=tidetable.instance={}", self.instance());
        let docker = |arguments: &[&str]| {
            Command::new("docker").args(arguments).env("DOCKER_HOST", engine).output()
        };
        let left = docker(&["ps", "-aq", "--filter", &label])
            .map(|output| output.stdout)
            .unwrap_or_default();
        for id in String::from_utf8_lossy(&left).lines() {
            let _gone = docker(&["rm", "-fv", id]);
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"")
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], b"")
    }

    pub fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.call(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
    }

    pub fn post_form(&self, path: &str, body: &str) -> Answer {
        self.call(
            "POST",
            path,
            &[("content-type", "application/x-www-form-urlencoded")],
            body.as_bytes(),
        )
    }

    /// Runs the command line against this server.
    pub fn cli(&self, arguments: &[&str], input: &str) -> std::process::Output {
        let mut command = Command::new(binary());
        command.args(["--server", self.url()]).args(arguments);
        let piped = std::process::Stdio::piped;
        let mut child =
            command.stdin(piped()).stdout(piped()).stderr(piped()).spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("it reads");
        drop(stdin);
        child.wait_with_output().expect("it ends")
    }

    /// Submits a job, and returns its id.
    pub fn submit(&self, job: Value) -> String {
        let answer = self.post_json("/job", &job);
        assert_eq!(answer.status, 201, "{job}: {}", answer.text());
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until the job is over, and returns it.
    pub fn wait(&self, id: &str) -> Value {
        let answer = self.get(&format!("/job/{id}/wait?timeout={}s", PATIENCE.as_secs()));
        assert_eq!(answer.status, 200, "job {id} is not over: {}\n{}", answer.text(), self.log());
        answer.json()
    }

    /// Waits until the job is over and its output is stored, and returns the job.
    pub fn kept(&self, id: &str) -> Value {
        self.wait(id);
        eventually(&format!("the output of {id} is kept"), || {
            let job = self.get(&format!("/job/{id}")).json();
            (job["log"]["complete"] == true).then_some(job)
        })
    }

    /// Waits until the job has this status, and returns it.
    pub fn until(&self, id: &str, status: &str) -> Value {
        eventually(&format!("job {id} is {status}"), || {
            let job = self.get(&format!("/job/{id}")).json();
            (job["status"] == status).then_some(job)
        })
    }

    /// Makes one HTTP/1.1 call on a connection of its own. Adds only `host`, `connection` and
    /// `content-length`, and returns the answer unchanged.
    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        call(self.url.strip_prefix("http://").expect("an address"), method, path, headers, body)
            .expect("an answer")
    }
}

/// Makes one HTTP/1.1 call to a server that may be killed meanwhile. After an error, the server may
/// or may not have done the work.
pub fn call(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE + Duration::from_secs(10)))?;
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    // A server that refuses a body may close the connection before all of it is sent.
    let _refused_early = stream.write_all(body);
    Answer::read(BufReader::new(stream))
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A server on an engine that other tests use too. Removes its containers when it is dropped.
pub struct Tidy {
    pub server: Server,
    pub engine: String,
}

impl Deref for Tidy {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Tidy {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Drop for Tidy {
    fn drop(&mut self) {
        self.server.kill();
        self.server.remove_containers(&self.engine);
    }
}

/// A complete HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    fn read(mut reader: impl BufRead) -> io::Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            match line.trim().split_once(':') {
                Some((name, value)) => {
                    headers.push((name.to_ascii_lowercase(), value.trim().to_owned()))
                }
                None if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => break,
            }
        }
        let header = |name: &str| {
            headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
        };
        let mut body = Vec::new();
        if header("transfer-encoding") == Some("chunked") {
            read_chunks(&mut reader, &mut body)?;
        } else {
            let _reset = reader.read_to_end(&mut body);
            if header("content-length").is_some_and(|length| length != body.len().to_string()) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self { status, headers, body })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// Checks that the answer is a problem with this status and code and with a sentence in
    /// `detail`, and returns it.
    pub fn assert_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.len() > 20),
            "no sentence: {problem}"
        );
        problem
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let size =
            usize::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Ok(());
        }
    }
}

/// Repeats `look` every 50 ms until it returns a value.
///
/// # Panics
///
/// Panics after [`PATIENCE`], with `what` in the message.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(seen) = look() {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not within {} s: {what}", PATIENCE.as_secs());
}

/// Sends a signal to one process.
pub fn signal(pid: u32, name: &str) {
    let sent =
        Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill");
    assert!(sent.success());
}
