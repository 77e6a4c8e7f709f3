//! Notifications of job ends, with a receiver that records its calls: delivered at least once, in
//! order, through kills, and without delaying jobs or other receivers.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::support::{Server, eventually};
use serde_json::{Value, json};

/// A call that the receiver got.
#[derive(Clone, Debug)]
struct Call {
    path: String,
    key: String,
    body: Value,
}

/// The answer of the receiver. Without a prepared answer, the receiver returns 200.
#[derive(Clone, Debug)]
enum Reply {
    Status(u16),
    Redirect(String),
    /// Reads the request, and never answers.
    Nothing,
}

/// A small HTTP server. Stops at the end of its test.
struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    replies: Mutex<VecDeque<Reply>>,
    /// Connections without an answer.
    held: Mutex<Vec<TcpStream>>,
    /// The highest number of connections in `held` that were open at once.
    most_held: AtomicUsize,
    is_over: AtomicBool,
}

impl Receiver {
    fn new(replies: &[Reply]) -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), replies)
    }

    fn on(address: SocketAddr, replies: &[Reply]) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            replies: Mutex::new(replies.iter().cloned().collect()),
            ..Default::default()
        });
        let serving = shared.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let _cut_off = stream.and_then(|stream| serving.answer(stream));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    fn until(&self, count: usize) -> Vec<Call> {
        eventually(&format!("{count} calls"), || {
            Some(self.calls()).filter(|calls| calls.len() >= count)
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let _wakes_it = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut line, mut key, mut length) = (String::new(), String::new(), 0);
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        assert!(line.starts_with("POST "), "{line}");
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            match line.trim().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("idempotency-key") => {
                    value.clone_into(&mut key)
                }
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap()
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        self.calls.lock().unwrap().push(Call {
            path,
            key,
            body: serde_json::from_slice(&body).unwrap(),
        });
        let (status, more) = match self.replies.lock().unwrap().pop_front() {
            None => (200, String::new()),
            Some(Reply::Status(status)) => (status, String::new()),
            Some(Reply::Redirect(to)) => (307, format!("location: {to}\r\n")),
            Some(Reply::Nothing) => {
                let mut held = self.held.lock().unwrap();
                // Drops connections that the caller has closed.
                held.retain(is_open);
                held.push(stream);
                self.most_held.fetch_max(held.len(), Ordering::Relaxed);
                return Ok(());
            }
        };
        write!(
            &stream,
            "HTTP/1.1 {status} x\r\n{more}content-length: 0\r\nconnection: close\r\n\r\n"
        )
    }
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Starts a server with callers that may notify these receivers, below `/hook`.
fn server(receivers: &[&Receiver], more: &str) -> Server {
    let prefixes: Vec<String> = receivers.iter().map(|receiver| receiver.url("/hook")).collect();
    let config = format!("[policies.default]\nallow_notify = {}\n{more}", json!(prefixes));
    Server::start(
        &["--engine", "simulated"],
        &config,
        &[("TIDETABLE_LOG", "info,tidetable::notify=debug")],
    )
}

fn failing(url: &str) -> Value {
    json!({"job_name": "busybox", "date": "now", "command": "false", "notify": {"url": url}})
}

#[test]
fn job_end_is_notified_once_with_its_result() {
    let receiver = Receiver::new(&[]);
    let server = server(&[&receiver], "");
    let url = receiver.url("/hook/a?b=c");
    let well =
        json!({"job_name": "busybox", "date": "now", "command": "true", "notify": {"url": url}});
    server.wait(&server.submit(well));
    let id = server.submit(failing(&url));
    let over = server.wait(&id);
    let call = receiver.until(1).remove(0);
    let seq = call.body["seq"].as_u64().unwrap();
    assert_eq!((call.path.as_str(), call.key), ("/hook/a?b=c", format!("{id}-{seq}")));
    let expected = json!({
        "seq": seq, "at": over["finished_at"], "job": id, "job_name": "busybox", "from": "running", "to": "failed",
        "reason": "exit_nonzero", "exit_code": 1, "id": id, "status": "failed", "error": over["error"], "attempt": 1,
    });
    let mut body = call.body;
    // `at` is a time of our clock; the job's own end is a time of the engine's clock.
    body["at"] = expected["at"].clone();
    // The job may end before the server sees it running.
    assert!(body["from"] == "starting" || body["from"] == "running", "{body}");
    body["from"] = expected["from"].clone();
    assert_eq!(body, expected);
    let told = json!([{"url": receiver.url("/hook/1"), "on": ["succeeded"]}, {"url": receiver.url("/hook/2")}]);
    server.wait(
        &server.submit(
            json!({"job_name": "busybox", "date": "now", "command": "true", "notify": told}),
        ),
    );
    assert_eq!(receiver.until(2)[1].path, "/hook/1");
    assert_eq!(receiver.calls().len(), 2, "a success is told to those who asked for it");
}

#[test]
fn rejected_notification_is_retried_without_blocking_others() {
    let receiver = Receiver::new(&[Reply::Status(500), Reply::Status(200)]);
    let server = server(&[&receiver], "");
    server.wait(&server.submit(failing(&receiver.url("/hook/first"))));
    receiver.until(1);
    server.wait(&server.submit(failing(&receiver.url("/hook/second"))));
    let calls = receiver.until(3);
    let paths: Vec<&str> = calls.iter().map(|call| call.path.as_str()).collect();
    assert_eq!((paths[0], paths.len()), ("/hook/first", 3));
    assert!(paths.contains(&"/hook/second"));
    let keys: Vec<&String> =
        calls.iter().filter(|call| call.path == "/hook/first").map(|call| &call.key).collect();
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
}

#[test]
fn returning_receiver_gets_notifications_in_order() {
    let address = Receiver::new(&[]).address;
    let down = Receiver { address, shared: Arc::default(), thread: None };
    let server = server(&[&down], "");
    let ids: Vec<String> = (0..5)
        .map(|_| {
            let id = server.submit(failing(&down.url("/hook")));
            server.wait(&id);
            id
        })
        .collect();
    eventually("it was tried", || server.log().contains("it cannot be reached").then_some(()));
    let receiver = Receiver::on(address, &[]);
    let told: Vec<String> =
        receiver.until(5).iter().map(|call| call.body["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ids);
}

#[test]
fn silent_receiver_blocks_neither_jobs_nor_other_receivers() {
    let (slow, quick) = (Receiver::new(&vec![Reply::Nothing; 100]), Receiver::new(&[]));
    let server = server(&[&slow, &quick], "");
    for _ in 0..20 {
        server.submit(failing(&slow.url("/hook")));
    }
    slow.until(1);
    for _ in 0..5 {
        server.wait(&server.submit(failing(&quick.url("/hook"))));
    }
    quick.until(5);
    assert_eq!(slow.shared.most_held.load(Ordering::Relaxed), 1, "one call at a time");
}

#[test]
fn only_unconfirmed_notifications_repeat_after_a_kill() {
    // Prepares enough unanswered calls for all retries of the first process.
    let receiver = Receiver::new(&vec![Reply::Nothing; 1_000]);
    let mut server = server(&[&receiver], "");
    let id = server.submit(failing(&receiver.url("/hook")));
    server.wait(&id);
    let first = receiver.until(1).remove(0);
    server.kill();
    receiver.shared.replies.lock().unwrap().clear();
    let before = receiver.calls().len();
    server.up();
    let again = receiver.until(before + 1).pop().unwrap();
    assert_eq!((&again.key, &again.body), (&first.key, &first.body));
    // Waits for one more delivery: all earlier notifications would have come before it. A kill
    // before the store records the delivery would repeat it.
    let told = |server: &Server| {
        let id = server.submit(failing(&receiver.url("/hook")));
        eventually("it is written down", || {
            server.log().contains(&format!("notified job={id}")).then_some(())
        });
        id
    };
    told(&server);
    server.kill();
    let before = receiver.calls().len();
    server.up();
    let id = told(&server);
    let since: Vec<Value> =
        receiver.calls()[before..].iter().map(|call| call.body["id"].clone()).collect();
    assert_eq!(since, [json!(id)]);
}

#[test]
fn notification_redirect_is_not_followed() {
    let inner = Receiver::new(&[]);
    let receiver = Receiver::new(&[Reply::Redirect(inner.url("/admin"))]);
    let server = server(&[&receiver], "");
    server.submit(failing(&receiver.url("/hook")));
    receiver.until(2);
    assert_eq!(inner.calls().len(), 0);
    let log = server.log();
    assert!(
        log.contains("it answers 307") && !log.contains("/hook"),
        "the log shows a path, which may contain a secret: {log}"
    );
}

#[test]
fn policy_limits_receivers_of_callers_not_config() {
    let receiver = Receiver::new(&[]);
    let elsewhere = receiver.url("/elsewhere");
    let config = format!(
        "[definitions.A]\nimage = 'busybox'\ncommand = 'false'\nnotify = {{ url = '{elsewhere}' }}\n
         [schedules.s]\njob_name = 'busybox'\ncron = '@yearly'\n
         spec = {{ command = 'false', notify = {{ url = '{elsewhere}/s' }} }}"
    );
    let server = server(&[&receiver], &config);
    let put = |path: &str, body: Value| {
        server.call(
            "PUT",
            path,
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
    };
    let notify = json!({"url": elsewhere});
    let refusals = [
        server.post_json("/job", &failing(&elsewhere)),
        put("/definition/B", json!({"image": "busybox", "notify": notify})),
        put(
            "/schedule/b",
            json!({"job_name": "busybox", "cron": "@daily", "spec": {"notify": notify}}),
        ),
        server.post_json(
            "/job",
            &json!({"job_name": "A", "date": "now", "notify": {"url": receiver.url("/hook/../x")}}),
        ),
    ];
    for answer in refusals {
        let problem = answer.assert_problem(403, "policy_denied");
        assert!(problem["detail"].as_str().unwrap().contains("`allow_notify`"), "{problem}");
    }
    let answer = server.post_json("/job", &failing("http://me:hunter2@127.0.0.1/hook"));
    assert!(
        !answer.assert_problem(400, "invalid_field")["detail"]
            .as_str()
            .unwrap()
            .contains("hunter2")
    );
    assert_eq!(receiver.calls().len(), 0);

    let id = server.submit(json!({"job_name": "A", "date": "now"}));
    server.wait(&id);
    assert_eq!(server.post_form(&format!("/job/{id}/rerun"), "").status, 201);
    eventually("it is declared", || (server.get("/schedule/s").status == 200).then_some(()));
    assert_eq!(server.post_form("/schedule/s/trigger", "").status, 201);
    let mut paths: Vec<String> = receiver.until(3).into_iter().map(|call| call.path).collect();
    paths.sort();
    assert_eq!(paths, ["/elsewhere", "/elsewhere", "/elsewhere/s"]);
}

#[test]
fn job_canceled_with_its_schedule_is_notified() {
    let receiver = Receiver::new(&[]);
    let server = server(&[&receiver], "");
    let notify = json!({"url": receiver.url("/hook"), "on": ["canceled"]});
    let schedule = json!({"job_name": "busybox", "cron": "@yearly", "spec": {"notify": notify}});
    let headers = [("content-type", "application/json")];
    let put = server.call("PUT", "/schedule/a", &headers, schedule.to_string().as_bytes());
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(server.delete("/schedule/a").status, 204);
    let told = receiver.until(1).remove(0).body;
    assert_eq!(
        (&told["job"], &told["reason"]),
        (&put.json()["next_job"], &json!("schedule_deleted"))
    );
}
