//! Answers that the server gives up: it cuts the connection, so no partial answer looks complete.
//! Uses real sockets, with a reader that stalls, damaged output, a server that stops, and our own
//! client.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Write as _;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Server, binary};
use serde_json::json;
use tidetable::clock::{Rng, SystemClock};
use tidetable::domain::job::origin::Origin;
use tidetable::domain::names::id::InstanceId;
use tidetable::engine::simulated::{Settings, SimulatedEngine};
use tidetable::http::Api;
use tidetable::http::auth::guard::Guard;
use tidetable::scheduler::Caller;
use tidetable::scheduler::{Catalog, Handle, JobRequest, Parts, Scheduler};
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The size of socket buffers, in bytes. Small, so an answer does not fit into the buffers of the
/// system.
const SOCKET_BYTES: u32 = 16 * 1024;
/// More jobs than fit into the buffers of the system, the server and its channel together.
const JOBS: usize = 2_000;
/// The end of a complete body in chunks.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// The API in this process, on a socket with small buffers.
struct Lab {
    address: SocketAddr,
    handle: Handle,
    writers: TaskTracker,
    _dir: tempfile::TempDir,
}

impl Lab {
    async fn new(stall: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, writer) =
            SqliteStore::open(dir.path(), Threads::Pool, InstanceId::new([7; 16])).unwrap();
        let clock = Arc::new(SystemClock);
        let (scheduler, handle) = Scheduler::new(Parts {
            store,
            logs: Arc::new(LogStore::open(&dir.path().join("logs"), Threads::Pool).unwrap()),
            engine: Arc::new(SimulatedEngine::new(clock.clone(), Settings::default())),
            clock,
            rng: Rng::from_seed(7),
            catalog: Catalog::default(),
            settings: Default::default(),
            metrics: Default::default(),
        });
        tokio::spawn(writer.run());
        tokio::spawn(scheduler.run(CancellationToken::new()));
        let writers = TaskTracker::new();
        let api = Api::new(handle.clone(), chrono_tz::UTC, writers.clone()).with_stall(stall);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(SOCKET_BYTES).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(8).unwrap();
        let address = listener.local_addr().unwrap();
        let router = api.router(Guard::default());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, handle, writers, _dir: dir }
    }

    /// Submits jobs for the far future, with labels that do not compress.
    async fn fill(&self) {
        let due_at = self.handle.now() + chrono::Duration::days(300);
        let submit = |number: usize| async move {
            let spec = serde_json::from_value(json!({"labels": {"noise": noise(number)}})).unwrap();
            self.handle
                .submit(
                    &Caller::anonymous(),
                    JobRequest {
                        name: "busybox".parse().unwrap(),
                        spec,
                        due_at,
                        origin: Origin::Api,
                    },
                )
                .await
                .unwrap();
        };
        futures::future::join_all((0..JOBS).map(submit)).await;
    }

    /// Sends a request, and does not read the answer yet.
    async fn ask(&self, path: &str, headers: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SOCKET_BYTES).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        let host = self.address;
        stream
            .write_all(
                format!(
                    "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n"
                )
                .as_bytes(),
            )
            .await
            .unwrap();
        stream
    }
}

/// Returns about a thousand hexadecimal digits that differ for every number.
fn noise(number: usize) -> String {
    let mut state = number as u64 + 1;
    (0..63).fold(String::new(), |mut digits, _| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        write!(digits, "{:016x}", state ^ (state >> 29)).unwrap();
        digits
    })
}

/// Reads until the connection is closed or reset.
async fn rest_of(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _closed_or_reset = stream.read_to_end(&mut bytes).await;
    bytes
}

async fn a_reader_that_stalls_gets(headers: &str) -> Vec<u8> {
    let lab = Lab::new(Duration::from_millis(100)).await;
    lab.fill().await;
    let stream = lab.ask("/jobs", headers).await;
    // One readable byte shows that the answer has begun. The rest stays unread until the writer has
    // given up.
    stream.readable().await.unwrap();
    lab.writers.close();
    lab.writers.wait().await;
    rest_of(stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn job_list_of_a_stalled_reader_is_cut() {
    let bytes = a_reader_that_stalls_gets("").await;
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK"));
    assert!(!bytes.ends_with(LAST_CHUNK), "{} bytes, ended as if whole", bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_list_of_a_stalled_reader_is_cut() {
    let bytes = a_reader_that_stalls_gets("accept-encoding: gzip\r\n").await;
    let head = String::from_utf8_lossy(&bytes[..400]).into_owned();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(!bytes.ends_with(LAST_CHUNK), "{} bytes, ended as if whole", bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn job_list_of_an_active_reader_is_complete() {
    let lab = Lab::new(Duration::from_secs(60)).await;
    lab.fill().await;
    for headers in ["", "accept-encoding: gzip\r\n"] {
        let bytes = rest_of(lab.ask("/jobs", headers).await).await;
        assert!(bytes.ends_with(LAST_CHUNK), "{headers}: {} bytes", bytes.len());
    }
}

/// Sends a plain HTTP request, and returns all bytes until the connection is closed.
fn raw(server: &Server, path: &str, headers: &str) -> Vec<u8> {
    let address = server.url().strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _closed_or_reset = stream.read_to_end(&mut bytes);
    bytes
}

/// Creates a job with stored output that breaks off in the middle.
fn with_damaged_output(server: &Server) -> String {
    let lines: String =
        (0..200).fold(String::new(), |lines, number| lines + &noise(number)[..500] + "\n");
    let id =
        server.submit(json!({"job_name": "busybox", "date": "now", "command": ["echo", lines]}));
    server.kept(&id);
    let kept: PathBuf =
        server.data_dir().join("logs").join(&id[30..]).join(format!("{id}-1.log.zst"));
    let bytes = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, &bytes[..bytes.len() - 10]).unwrap();
    id
}

#[test]
fn damaged_output_is_cut_in_every_format() {
    let server = Server::simulated();
    let id = with_damaged_output(&server);
    let path = format!("/job/{id}/logs");
    for accept in ["text/plain", "application/x-ndjson", "text/event-stream"] {
        let bytes = raw(&server, &path, &format!("accept: {accept}\r\n"));
        assert!(bytes.starts_with(b"HTTP/1.1 200 OK"), "{accept}");
        assert!(!bytes.ends_with(LAST_CHUNK), "{accept} ended as if whole");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("event: end"), "{accept}");
        assert_eq!(text.contains("event: error"), accept == "text/event-stream", "{accept}");
    }
}

#[test]
fn command_line_reports_incomplete_output() {
    let server = Server::simulated();
    let id = with_damaged_output(&server);
    let ended = server.cli(&["logs", &id], "");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("not whole"), "{:?}: {said}", ended.status);
}

#[test]
fn server_stop_cuts_followed_output() {
    let mut server = Server::simulated();
    let id =
        server.submit(json!({"job_name": "busybox", "date": "now", "command": ["sh", "-c", "echo begun; sleep 600"]}));
    server.until(&id, "running");
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    write!(stream, "GET /job/{id}/logs?follow=true HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    let mut bytes = vec![0; 1];
    stream.read_exact(&mut bytes).unwrap();
    assert!(server.terminate().success());
    let _closed_or_reset = stream.read_to_end(&mut bytes);
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK") && !bytes.ends_with(LAST_CHUNK));
}

/// Starts a server that answers each request with an incomplete body, and returns its address.
fn one_that_breaks_off() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _request = stream.read(&mut request);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            let _sent = write!(stream, "{head}10\r\n{{\"running\":{{}},\"x\r\n");
        }
    });
    format!("http://{address}")
}

#[test]
fn command_line_fails_on_a_cut_job_list() {
    let address = one_that_breaks_off();
    let ended =
        std::process::Command::new(binary()).args(["--server", &address, "ls"]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("not whole"), "{:?}: {said}", ended.status);
    assert!(ended.stdout.is_empty());
}
