//! Images from a private registry: a real one, with a password, on a loopback port of its own.
//!
//! Wants Debian's docker-registry, as `make test` sees to. The registry is ended and its images are removed from the
//! engines however a test ends.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::apart::Inside;
use common::{IMAGE, Server, Tidy, eventually};
use serde_json::{Value, json};

const USER: &str = "harbour";
/// In base64 it has what the two alphabets differ in.
const PASSWORD: &str = "a?b>c~d/e+f";
/// `htpasswd -nbB`.
const HTPASSWD: &str = "harbour:$2b$05$abcdefghijklmnopqrstuuKScRYi3L6U99r4fSMhTrPyzb.rOfCTG\n";
/// Where its answers come to a halt: the image is known by then, and not here.
const HALT_BYTES: usize = 64 * 1024;

/// A registry, and the engine that pulls from it.
///
/// An engine finds it on its own loopback. So one process of it runs on the network of each engine that pushes or pulls, all
/// on one folder.
struct Registry {
    children: Vec<Child>,
    dir: tempfile::TempDir,
    port: u16,
    engine: String,
}

impl Registry {
    fn for_docker() -> Self {
        Self::start(common::docker_host())
    }

    fn for_podman() -> Self {
        Self::start(
            std::env::var("TIDETABLE_TEST_PODMAN").expect("TIDETABLE_TEST_PODMAN: run `make test`"),
        )
    }

    fn start(engine: String) -> Self {
        // Somebody else may take the port that was free a moment ago.
        (0..10)
            .find_map(|_| Self::try_start(&engine))
            .expect("a port that is free where the engines are")
    }

    fn try_start(engine: &str) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("tidetable-registry-").tempdir().unwrap();
        let port = {
            let _inside = Inside::of_engine(engine);
            TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
        };
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("htpasswd"), HTPASSWD).unwrap();
        std::fs::write(path("password"), format!("{PASSWORD}\n")).unwrap();
        std::fs::write(path("wrong"), "not-the-password\n").unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
             auth: {{htpasswd: {{realm: test, path: {htpasswd}}}}}\n",
            root = path("data").display(),
            htpasswd = path("htpasswd").display(),
        );
        std::fs::write(path("config.yml"), config).unwrap();
        let mut registry = Self { children: Vec::new(), dir, port, engine: engine.to_owned() };
        let mut networks = BTreeSet::new();
        for host in [&common::docker_host(), engine] {
            let _inside = Inside::of_engine(host);
            if networks.insert(std::fs::read_link("/proc/thread-self/ns/net").unwrap()) {
                registry.serve()?;
            }
        }
        registry.log_in("docker", USER, PASSWORD);
        Some(registry)
    }

    /// Runs it on the network that the test is on; nothing where its port is taken there.
    fn serve(&mut self) -> Option<()> {
        let log =
            std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let binary = std::env::var("TIDETABLE_TEST_REGISTRY")
            .unwrap_or_else(|_| "docker-registry".to_owned());
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .arg(self.path("config.yml"))
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut child = command.spawn().expect("docker-registry is there: run `make test`");
        let listens = eventually("the registry listens, or has given up", || {
            match child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => TcpStream::connect(("127.0.0.1", self.port)).ok().map(|_| true),
            }
        });
        self.children.push(child);
        listens.then_some(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{}/{name}:1", self.host(), self.team())
    }

    /// In all its images' names, and in no other registry's.
    fn team(&self) -> String {
        format!("team-{}", self.port)
    }

    /// A folder for DOCKER_CONFIG with this login.
    fn log_in(&self, folder: &str, user: &str, password: &str) {
        std::fs::create_dir_all(self.path(folder)).unwrap();
        let login = base64(format!("{user}:{password}").as_bytes());
        let config = json!({"auths": {self.host(): {"auth": login}}});
        std::fs::write(self.path(folder).join("config.json"), config.to_string()).unwrap();
    }

    fn docker(&self, engine: &str, arguments: &[&str]) -> String {
        let output = Command::new("docker")
            .args(arguments)
            .env("DOCKER_HOST", engine)
            .env("DOCKER_CONFIG", self.path("docker"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "docker {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Pushes busybox with a layer of this many bytes that no engine has, and gives the digest that the registry has of it.
    fn push(&self, name: &str, bytes: usize) -> String {
        let builder = common::docker_host();
        let docker = |arguments: &[&str]| self.docker(&builder, arguments);
        let noise = self.path("noise");
        let mut random = std::fs::File::open("/dev/urandom").unwrap().take(bytes as u64);
        std::io::copy(&mut random, &mut std::fs::File::create(&noise).unwrap()).unwrap();
        let container = docker(&["create", "--network", "none", IMAGE]);
        docker(&["cp", noise.to_str().unwrap(), &format!("{container}:/noise")]);
        docker(&["commit", &container, &self.image(name)]);
        docker(&["rm", &container]);
        docker(&["push", "-q", &self.image(name)]);
        docker(&["rmi", &self.image(name)]);
        let link = format!(
            "data/docker/registry/v2/repositories/{}/{name}/_manifests/tags/1/current/link",
            self.team()
        );
        std::fs::read_to_string(self.path(&link)).unwrap()
    }

    /// How often this image's manifest was fetched.
    fn fetches(&self, name: &str) -> usize {
        let log = std::fs::read_to_string(self.path("log")).unwrap();
        log.lines()
            .filter(|line| {
                line.contains(&format!("\"GET /v2/{}/{name}/manifests/", self.team()))
                    && line.contains(" 200 ")
            })
            .count()
    }

    /// A server with this config, and logins where DOCKER_CONFIG says.
    fn server(&self, config: &str, docker_config: &str) -> Tidy {
        let folder = self.path(docker_config);
        let environment = [
            ("DOCKER_HOST", self.engine.as_str()),
            ("DOCKER_CONFIG", folder.to_str().unwrap()),
            ("TIDETABLE_LOG", "trace,bollard=trace"),
        ];
        Tidy { server: Server::start(&[], config, &environment), engine: self.engine.clone() }
    }

    /// A server whose config file has the password in this file.
    fn logged_in(&self, password_file: &str) -> Tidy {
        self.server(&self.login_section(&self.host(), password_file), "nothing")
    }

    fn login_section(&self, host: &str, password_file: &str) -> String {
        let file = self.path(password_file);
        format!(
            "[registries.\"{host}\"]\nusername = \"{USER}\"\npassword_file = \"{}\"\n",
            file.display()
        )
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for engine in [&self.engine, &common::docker_host()] {
            let docker = |arguments: &[&str]| {
                Command::new("docker").args(arguments).env("DOCKER_HOST", engine).output()
            };
            let all = docker(&["images", "-a", "--format", "{{.ID}} {{.Repository}}"])
                .map(|output| output.stdout);
            for line in String::from_utf8_lossy(&all.unwrap_or_default()).lines() {
                if let Some((id, name)) = line.split_once(' ')
                    && name.contains(&format!("/{}/", self.team()))
                {
                    let _gone = docker(&["rmi", "-f", id]);
                }
            }
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn job(image: &str, more: Value) -> Value {
    let mut job = json!({"job_name": image, "date": "now", "network": "none", "command": ["sh", "-c", "wc -c < /noise"]});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

fn run(server: &Tidy, image: &str, more: Value) -> Value {
    server.wait(&server.submit(job(image, more)))
}

fn assert_ended(over: &Value, status: &str, reason: Value) {
    assert_eq!((&over["status"], &over["reason"]), (&json!(status), &reason), "{over}");
}

fn logins_open_the_door_and_what_ran_has_the_registrys_digest(registry: &Registry) {
    let (one, other) = (registry.push("one", 100), registry.push("other", 100));
    let by_config = registry.logged_in("password");
    let over = run(&by_config, &registry.image("one"), json!({}));
    assert_ended(&over, "succeeded", Value::Null);
    assert_eq!(over["image_digest"], json!(one), "{over}");
    let over = run(&registry.server("", "docker"), &registry.image("other"), json!({}));
    assert_ended(&over, "succeeded", Value::Null);
    assert_eq!(over["image_digest"], json!(other), "{over}");
    for text in [by_config.log(), by_config.get("/jobs").text()] {
        assert!(
            !text.contains(PASSWORD)
                && !text.contains(&base64(format!("{USER}:{PASSWORD}").as_bytes()))
        );
    }
}

fn without_the_right_password_a_pull_is_denied_and_what_is_not_there_is_not_found(
    registry: &Registry,
) {
    registry.push("guarded", 100);
    registry.log_in("mistaken", USER, "not-the-password");
    for server in [
        registry.logged_in("wrong"),
        registry.logged_in("no-such-file"),
        registry.server("", "nothing"),
        registry.server("", "mistaken"),
    ] {
        let over = run(&server, &registry.image("guarded"), json!({}));
        assert_ended(&over, "failed", json!("pull_denied"));
        let error = over["error"].as_str().unwrap();
        assert!(
            error.contains(&registry.host())
                && !error.contains("not-the-password")
                && !error.contains("/tmp"),
            "{error}"
        );
    }
    let server = registry.logged_in("password");
    assert_ended(
        &run(&server, &registry.image("nowhere"), json!({"retry": {"attempts": 3}})),
        "failed",
        json!("image_not_found"),
    );
}

fn a_login_that_is_changed_in_the_config_file_counts_for_the_next_pull(registry: &Registry) {
    registry.push("later", 100);
    let server = registry.logged_in("wrong");
    assert_ended(
        &run(&server, &registry.image("later"), json!({})),
        "failed",
        json!("pull_denied"),
    );
    let config = server.dir().join("config.toml");
    std::fs::write(config, registry.login_section(&registry.host(), "password")).unwrap();
    let changes = format!("registries: ~{}", registry.host());
    common::eventually("it is read again", || server.log().contains(&changes).then_some(()));
    assert_ended(&run(&server, &registry.image("later"), json!({})), "succeeded", Value::Null);
}

fn many_who_want_one_image_at_once_pull_it_once(registry: &Registry) {
    registry.push("lonely", 4 << 20);
    registry.push("wanted", 4 << 20);
    let server = registry.logged_in("password");
    assert_ended(&run(&server, &registry.image("lonely"), json!({})), "succeeded", Value::Null);
    let ids: Vec<String> =
        (0..8).map(|_| server.submit(job(&registry.image("wanted"), json!({})))).collect();
    for id in &ids {
        assert_ended(&server.wait(id), "succeeded", Value::Null);
    }
    // Podman fetches the manifest of the first image that has this layout twice.
    let (once, together) = (registry.fetches("lonely"), registry.fetches("wanted"));
    assert!((1..=once).contains(&together), "{together} times, where one pull takes {once}");
}

fn a_pull_policy_says_whether_to_look_for_a_newer_one(registry: &Registry) {
    let server = registry.logged_in("password");
    let image = registry.image("moving");
    let first = registry.push("moving", 100);
    assert_ended(
        &run(&server, &image, json!({"pull": "never"})),
        "failed",
        json!("image_not_found"),
    );
    assert_eq!(run(&server, &image, json!({}))["image_digest"], json!(first));
    // Where the builder is the engine, building takes the tag along, and then it is pulled as if it were not there.
    registry.docker(&registry.engine, &["tag", &image, &registry.image("kept")]);
    let second = registry.push("moving", 200);
    registry.docker(&registry.engine, &["tag", &registry.image("kept"), &image]);
    assert_eq!(run(&server, &image, json!({"pull": "missing"}))["image_digest"], json!(first));
    assert_eq!(run(&server, &image, json!({"pull": "always"}))["image_digest"], json!(second));
    assert_eq!(run(&server, &image, json!({"pull": "never"}))["image_digest"], json!(second));
}

fn a_pull_that_makes_no_progress_is_given_up_and_tried_again(registry: &Registry) {
    registry.push("large", 8 << 20);
    let halts = Arc::new(AtomicBool::new(true));
    let port = proxy(registry, halts.clone());
    let host = format!("127.0.0.1:{port}");
    let engine = "[engines.docker]\npull_stall = '2s'\n";
    let server = registry.server(&(registry.login_section(&host, "password") + engine), "nothing");
    let image = registry.image("large").replace(&registry.host(), &host);
    let over = run(&server, &image, json!({}));
    assert_ended(&over, "failed", json!("pull_failed"));
    assert!(over["error"].as_str().unwrap().contains("no progress for 2 s"), "{over}");
    let id = server.submit(job(
        &image,
        json!({"retry": {"attempts": 100, "delay": "200ms", "on": ["pull_failed"]}}),
    ));
    server.until(&id, "pulling");
    eventually("an attempt has failed", || {
        (server.get(&format!("/job/{id}")).json()["reason"] == "pull_failed").then_some(())
    });
    halts.store(false, Ordering::Relaxed);
    let over = server.wait(&id);
    assert_ended(&over, "succeeded", Value::Null);
    assert!(over["attempt"].as_u64().unwrap() > 1, "{over}");
}

/// Passes everything on to the registry, for its engine; while it `halts`, of each connection only so many bytes.
fn proxy(registry: &Registry, halts: Arc<AtomicBool>) -> u16 {
    let (to, _inside) = (registry.port, Inside::of_engine(&registry.engine));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
            let (mut up, mut down) =
                ((client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client));
            std::thread::spawn(move || std::io::copy(&mut up.0, &mut up.1));
            let halts = halts.clone();
            std::thread::spawn(move || {
                let (mut buffer, mut passed) = ([0; 4096], 0);
                while let Ok(count @ 1..) = down.0.read(&mut buffer) {
                    while passed > HALT_BYTES && halts.load(Ordering::Relaxed) {
                        std::thread::sleep(std::time::Duration::from_millis(50));
                    }
                    passed += count;
                    if down.1.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

macro_rules! on_both {
    ($($case:ident,)*) => {
        mod docker { $(#[test] fn $case() { super::$case(&super::Registry::for_docker()); })* }
        mod podman { $(#[test] fn $case() { super::$case(&super::Registry::for_podman()); })* }
    };
}

on_both! {
    logins_open_the_door_and_what_ran_has_the_registrys_digest,
    without_the_right_password_a_pull_is_denied_and_what_is_not_there_is_not_found,
    a_login_that_is_changed_in_the_config_file_counts_for_the_next_pull,
    many_who_want_one_image_at_once_pull_it_once,
    a_pull_policy_says_whether_to_look_for_a_newer_one,
    a_pull_that_makes_no_progress_is_given_up_and_tried_again,
}
