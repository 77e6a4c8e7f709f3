//! Images from a private registry: a real one with a password, on a loopback port of its own.
//!
//! Needs Debian's docker-registry; `make test` provides it. However a test ends, the registry is
//! stopped and its images are removed from the engines.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::apart::Inside;
use crate::support::{IMAGE, Server, Tidy, eventually};
use serde_json::{Value, json};

const USER: &str = "harbour";
/// The password. Its base64 form contains characters in which the two alphabets differ.
const PASSWORD: &str = "a?b>c~d/e+f";
/// The output of `htpasswd -nbB` for this user and password.
const HTPASSWD: &str = "harbour:$2b$05$abcdefghijklmnopqrstuuKScRYi3L6U99r4fSMhTrPyzb.rOfCTG\n";
/// The number of bytes per connection after which the proxy halts: enough for the manifest, too few
/// for the image.
const HALT_BYTES: usize = 64 * 1024;

/// A registry, and the engine that pulls from it.
///
/// Each engine looks for the registry on its own loopback. For this reason, one registry process
/// runs on the network of each engine that pushes or pulls. The processes share one folder.
struct Registry {
    children: Vec<Child>,
    dir: tempfile::TempDir,
    port: u16,
    engine: String,
}

impl Registry {
    fn for_docker() -> Self {
        Self::start(crate::support::docker_host())
    }

    fn for_podman() -> Self {
        Self::start(
            std::env::var("TIDETABLE_TEST_PODMAN").expect("TIDETABLE_TEST_PODMAN: run `make test`"),
        )
    }

    fn start(engine: String) -> Self {
        // Another program may take the port after it was found free.
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
        for host in [&crate::support::docker_host(), engine] {
            let _inside = Inside::of_engine(host);
            if networks.insert(std::fs::read_link("/proc/thread-self/ns/net").unwrap()) {
                registry.serve()?;
            }
        }
        registry.log_in("docker", USER, PASSWORD);
        Some(registry)
    }

    /// Runs a registry process on the current network. Returns `None` if its port is taken there.
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

    /// Returns a name component that all images of this registry have, and those of no other
    /// registry.
    fn team(&self) -> String {
        format!("team-{}", self.port)
    }

    /// Creates a folder for `DOCKER_CONFIG` with this login.
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

    /// Pushes busybox with a layer of `bytes` random bytes that no engine has. Returns the digest
    /// that the registry assigned.
    fn push(&self, name: &str, bytes: usize) -> String {
        let builder = crate::support::docker_host();
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

    /// Counts the fetches of this image's manifest.
    fn fetches(&self, name: &str) -> usize {
        let log = std::fs::read_to_string(self.path("log")).unwrap();
        log.lines()
            .filter(|line| {
                line.contains(&format!("\"GET /v2/{}/{name}/manifests/", self.team()))
                    && line.contains(" 200 ")
            })
            .count()
    }

    /// Starts a server with this config, and with the logins in the folder `docker_config`.
    fn server(&self, config: &str, docker_config: &str) -> Tidy {
        let folder = self.path(docker_config);
        let environment = [
            ("DOCKER_HOST", self.engine.as_str()),
            ("DOCKER_CONFIG", folder.to_str().unwrap()),
            ("TIDETABLE_LOG", "trace,bollard=trace"),
        ];
        Tidy { server: Server::start(&[], config, &environment), engine: self.engine.clone() }
    }

    /// Starts a server with a config file that reads the password from this file.
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
        for engine in [&self.engine, &crate::support::docker_host()] {
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

fn login_pulls_image_and_reports_registry_digest(registry: &Registry) {
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

fn wrong_password_and_missing_image_are_distinguished(registry: &Registry) {
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

fn changed_login_applies_to_the_next_pull(registry: &Registry) {
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
    crate::support::eventually("it is read again", || {
        server.log().contains(&changes).then_some(())
    });
    assert_ended(&run(&server, &registry.image("later"), json!({})), "succeeded", Value::Null);
}

fn concurrent_jobs_share_one_pull(registry: &Registry) {
    registry.push("lonely", 4 << 20);
    registry.push("wanted", 4 << 20);
    let server = registry.logged_in("password");
    assert_ended(&run(&server, &registry.image("lonely"), json!({})), "succeeded", Value::Null);
    let ids: Vec<String> =
        (0..8).map(|_| server.submit(job(&registry.image("wanted"), json!({})))).collect();
    for id in &ids {
        assert_ended(&server.wait(id), "succeeded", Value::Null);
    }
    // Podman fetches the manifest twice for the first image with this layout.
    let (once, together) = (registry.fetches("lonely"), registry.fetches("wanted"));
    assert!((1..=once).contains(&together), "{together} times, where one pull takes {once}");
}

fn pull_policy_decides_about_newer_images(registry: &Registry) {
    let server = registry.logged_in("password");
    let image = registry.image("moving");
    let first = registry.push("moving", 100);
    assert_ended(
        &run(&server, &image, json!({"pull": "never"})),
        "failed",
        json!("image_not_found"),
    );
    assert_eq!(run(&server, &image, json!({}))["image_digest"], json!(first));
    // If the engine is also the builder, `push` removes the tag, and the image would be pulled as
    // missing. The tag `kept` brings it back.
    registry.docker(&registry.engine, &["tag", &image, &registry.image("kept")]);
    let second = registry.push("moving", 200);
    registry.docker(&registry.engine, &["tag", &registry.image("kept"), &image]);
    assert_eq!(run(&server, &image, json!({"pull": "missing"}))["image_digest"], json!(first));
    assert_eq!(run(&server, &image, json!({"pull": "always"}))["image_digest"], json!(second));
    assert_eq!(run(&server, &image, json!({"pull": "never"}))["image_digest"], json!(second));
}

fn stalled_pull_is_abandoned_and_retried(registry: &Registry) {
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

/// Forwards connections to the registry, on the network of its engine. While `halts` is set,
/// forwards only the first [`HALT_BYTES`] of each connection's answers.
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
    login_pulls_image_and_reports_registry_digest,
    wrong_password_and_missing_image_are_distinguished,
    changed_login_applies_to_the_next_pull,
    concurrent_jobs_share_one_pull,
    pull_policy_decides_about_newer_images,
    stalled_pull_is_abandoned_and_retried,
}
