//! Measures the cost of watching while little happens: jobs that run, callers that wait for an end,
//! callers that follow output.
//!
//! Processor time and memory are the server's own, as counted by the kernel. On the simulated
//! engine, they include the engine. The limit for a line's way to a follower is the engine's own
//! stream of the same containers, with as many followers.

use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bollard::query_parameters::LogsOptionsBuilder;
use chrono::DateTime;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::Options;
use crate::client::Client;
use crate::engine_probe::{EngineProbe, now_ns};
use crate::process;
use crate::report::{Figures, markdown, table};
use crate::support::{IMAGE, Server, docker_host, eventually};

/// The number of jobs that are followed, each by an equal number of callers.
const FOLLOWED: usize = 10;
/// The interval between the lines of a followed job.
const LINE_EVERY: Duration = Duration::from_millis(100);
/// The number of jobs that run while callers wait for another one.
const PASSING: usize = 200;
/// The number of jobs that a real server runs before the measurement, so that one-time costs are
/// not counted.
const WARM_UP: usize = 8;
/// The stack size of a thread that only reads.
const STACK_BYTES: usize = 128 * 1024;

/// The size and duration of the measurement.
pub struct Watched {
    pub idle: Duration,
    pub simulated: usize,
    pub real: usize,
    pub followers: usize,
    pub callers: usize,
}

/// A server at rest, with its memory and processor time.
struct Rest {
    name: String,
    /// The number of objects (jobs, callers or followers) that the server has.
    count: usize,
    memory_mib: f64,
    cpu_s_per_minute: f64,
    /// The growth of the memory for each object, in KiB.
    each_kib: f64,
}

pub async fn run(probe: &EngineProbe, options: &Options) -> Value {
    let watched = &options.watched;
    let (mut rests, callers) = tokio::task::block_in_place(|| simulated(watched));
    let (real, followed) = real(probe, watched).await;
    rests.extend(real);
    print(&rests, &callers);
    table("a line on its way to a follower, ms", &followed.rows);
    json!({
        "rests": rests.iter().map(Rest::json).collect::<Vec<_>>(), "callers": callers.json(), "followed": followed.json(),
    })
}

/// The times and costs of callers of `wait`.
struct Callers {
    count: usize,
    /// The milliseconds from the request that ends the job to the first answer and to the last.
    first_ms: f64,
    last_ms: f64,
    /// The processor time in ms for each passing job, without callers and with them.
    passing_ms: [f64; 2],
}

fn simulated(watched: &Watched) -> (Vec<Rest>, Callers) {
    let config = format!("[limits]\nmax_running = {}\n", watched.simulated + PASSING + 1);
    let server = Server::start(&["--engine", "simulated"], &config, &[]);
    pass(&server, PASSING);
    let mut rests = vec![rest(&server, "simulated engine, empty", 0, None, watched)];
    run_jobs(&server, watched.simulated, &json!(["sleep", "7200"]));
    rests.push(rest(
        &server,
        "simulated engine, jobs that run",
        watched.simulated,
        memory_of(&rests),
        watched,
    ));
    let alone = pass(&server, PASSING);
    let job =
        server.submit(json!({"job_name": IMAGE, "date": "now", "command": ["sleep", "7200"]}));
    server.until(&job, "running");
    process::calm(&server);
    let before_mib = process::memory(&server).resident;
    let (answered, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..watched.callers {
            let (answered, server, job) = (answered.clone(), &server, &job);
            let wait = move || {
                let (head, _) = Client::small(server).get(&format!("/job/{job}/wait"), "");
                assert_eq!(head.status, 200);
                answered.send(Instant::now()).unwrap();
            };
            std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, wait).unwrap();
        }
        process::calm(&server);
        rests.push(rest(
            &server,
            "… and callers in `wait`",
            watched.callers,
            Some(before_mib),
            watched,
        ));
        let among = pass(&server, PASSING);
        let ended = Instant::now();
        assert_eq!(server.post_json(&format!("/job/{job}/stop"), &json!({})).status, 200);
        let took = |_| (answers.recv().unwrap() - ended).as_secs_f64() * 1_000.0;
        let took = Figures::of(&(0..watched.callers).map(took).collect::<Vec<_>>());
        let callers = Callers {
            count: took.count,
            first_ms: took.min,
            last_ms: took.max,
            passing_ms: [alone, among],
        };
        (rests, callers)
    })
}

/// Runs short jobs, and returns the processor time for each in milliseconds.
fn pass(server: &Server, count: usize) -> f64 {
    let before = process::cpu_s(server);
    let job = json!({"job_name": IMAGE, "date": "now", "command": ["true"], "network": "none"});
    let ids: Vec<String> = (0..count).map(|_| server.submit(job.clone())).collect();
    ids.iter().for_each(|id| drop(server.until(id, "succeeded")));
    (process::cpu_s(server) - before) * 1_000.0 / count as f64
}

/// Starts this many jobs, waits until all run, and returns their ids.
fn run_jobs(server: &Server, count: usize, command: &Value) -> Vec<String> {
    let job = json!({"job_name": IMAGE, "date": "now", "command": command, "network": "none", "stop_grace": "1s"});
    let ids: Vec<String> = (0..count).map(|_| server.submit(job.clone())).collect();
    eventually("all jobs run", || {
        let running = server.get("/jobs?state=running").json()["running"]
            .as_object()
            .map_or(0, serde_json::Map::len);
        (running >= count).then_some(())
    });
    ids.iter().for_each(|id| drop(server.until(id, "running")));
    ids
}

fn rest(
    server: &Server,
    name: &str,
    count: usize,
    before_mib: Option<f64>,
    watched: &Watched,
) -> Rest {
    process::calm(server);
    let cpu_s = process::cpu_s(server);
    std::thread::sleep(watched.idle);
    let cpu_s_per_minute = (process::cpu_s(server) - cpu_s) * 60.0 / watched.idle.as_secs_f64();
    let memory_mib = process::memory(server).resident;
    let more_kib = (memory_mib - before_mib.unwrap_or(memory_mib)) * 1_024.0;
    let name = name.to_owned();
    eprintln!("{name}: {memory_mib:.1} MiB");
    Rest { name, count, memory_mib, cpu_s_per_minute, each_kib: more_kib / count.max(1) as f64 }
}

fn memory_of(rests: &[Rest]) -> Option<f64> {
    rests.last().map(|rest| rest.memory_mib)
}

/// A server on the real engine. Dropping it removes its containers.
struct Real(Server);

impl Drop for Real {
    fn drop(&mut self) {
        self.0.kill();
        self.0.remove_containers(&docker_host());
    }
}

async fn real(probe: &EngineProbe, watched: &Watched) -> (Vec<Rest>, Followed) {
    let config = format!(
        "[policies.default]\nallow_networks = ['none']\n[limits]\nmax_running = {}\n",
        watched.real + FOLLOWED
    );
    let real = Real(Server::start(&[], &config, &[]));
    let server = &real.0;
    let (mut rests, ids) = tokio::task::block_in_place(|| {
        pass(server, WARM_UP);
        let mut rests = vec![rest(server, "Docker, empty", 0, None, watched)];
        run_jobs(server, watched.real, &json!(["sleep", "7200"]));
        rests.push(rest(server, "Docker, jobs that run", watched.real, memory_of(&rests), watched));
        let script = format!(
            "while usleep {}; do echo a line of some length, as people write them; done",
            LINE_EVERY.as_micros()
        );
        let ids = run_jobs(server, FOLLOWED, &json!(["sh", "-c", script]));
        rests.push(rest(
            server,
            "… and jobs that write ten lines a second",
            FOLLOWED,
            memory_of(&rests),
            watched,
        ));
        (rests, ids)
    });
    let engine = follow_engine(probe, &ids, watched).await;
    let service = tokio::task::block_in_place(|| follow(server, &ids, watched, &mut rests));
    let rows = vec![
        (format!("limit: the engine's own stream, {} followers", watched.followers), engine),
        (format!("tidetable, {} followers", watched.followers), service),
    ];
    (rests, Followed { rows })
}

/// The milliseconds between the engine's time stamp of a line and its arrival at a follower.
struct Followed {
    rows: Vec<(String, Figures)>,
}

/// Follows these jobs with the configured number of callers.
fn follow(server: &Server, ids: &[String], watched: &Watched, rests: &mut Vec<Rest>) -> Figures {
    let (late, lates) = mpsc::channel();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for id in ids.iter().cycle().take(watched.followers) {
            let (late, stop) = (late.clone(), &stop);
            let follow = move || {
                let (mut client, begun) = (Client::small(server), now_ns());
                let path = format!("/job/{id}/logs?follow");
                let head = client.send("GET", &path, "accept: application/x-ndjson\r\n");
                while let Some(lines) = client.next(&head) {
                    let now = now_ns();
                    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                        let line: Value = serde_json::from_slice(line).unwrap();
                        let at = nanos(line["at"].as_str().unwrap());
                        // A line from before the follower's begin would count the wait.
                        if at > begun {
                            late.send((now - at) as f64 / 1e6).unwrap();
                        }
                    }
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                }
            };
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, follow)
                .unwrap();
        }
        std::thread::sleep(Duration::from_secs(1));
        let _warm: Vec<f64> = lates.try_iter().collect();
        let cpu_s = process::cpu_s(server);
        std::thread::sleep(watched.idle);
        let cpu_s_per_minute = (process::cpu_s(server) - cpu_s) * 60.0 / watched.idle.as_secs_f64();
        let late: Vec<f64> = lates.try_iter().collect();
        let memory_mib = process::memory(server).resident;
        let each_kib =
            (memory_mib - memory_of(rests).unwrap_or(0.0)) * 1_024.0 / watched.followers as f64;
        let name = "… and followers of their output".to_owned();
        rests.push(Rest { name, count: watched.followers, memory_mib, cpu_s_per_minute, each_kib });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        Figures::of(&late)
    })
}

/// Follows the same jobs at the engine itself.
async fn follow_engine(probe: &EngineProbe, ids: &[String], watched: &Watched) -> Figures {
    let followers = ids.iter().cycle().take(watched.followers).map(|id| async move {
        let (mut late, begun, end) = (Vec::new(), now_ns(), Instant::now() + watched.idle);
        let options =
            LogsOptionsBuilder::default().follow(true).stdout(true).timestamps(true).build();
        let mut lines =
            std::pin::pin!(probe.docker.logs(&format!("tidetable-{id}-1"), Some(options)));
        while let Some(line) = lines.next().await {
            let (now, line) = (now_ns(), line.unwrap().to_string());
            let at = nanos(line.split(' ').next().unwrap());
            if at > begun {
                late.push((now - at) as f64 / 1e6);
            }
            if Instant::now() > end {
                break;
            }
        }
        late
    });
    Figures::of(&futures::future::join_all(followers).await.concat())
}

fn nanos(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap()
}

impl Rest {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "count": self.count, "memory_mib": self.memory_mib, "each_kib": self.each_kib,
            "cpu_s_per_minute": self.cpu_s_per_minute,
        })
    }
}

impl Callers {
    fn json(&self) -> Value {
        json!({
            "count": self.count, "first_answer_ms": self.first_ms, "last_answer_ms": self.last_ms,
            "cpu_ms_per_passing_job": {"alone": self.passing_ms[0], "among_callers": self.passing_ms[1]},
        })
    }
}

impl Followed {
    fn json(&self) -> Value {
        let (_, limit) = &self.rows[0];
        self.rows
            .iter()
            .map(|(name, row)| (name.clone(), row.json(limit)))
            .collect::<HashMap<_, _>>()
            .into_iter()
            .collect()
    }
}

fn print(rests: &[Rest], callers: &Callers) {
    let columns = ["how many", "memory, MiB", "more for each, KiB", "processor, s a minute"]
        .map(str::to_owned);
    let rows: Vec<_> = rests
        .iter()
        .map(|rest| {
            let each =
                if rest.count == 0 { String::new() } else { format!("{:.1}", rest.each_kib) };
            let cells = vec![
                rest.count.to_string(),
                format!("{:.1}", rest.memory_mib),
                each,
                format!("{:.2}", rest.cpu_s_per_minute),
            ];
            (rest.name.clone(), cells)
        })
        .collect();
    markdown("a server at rest", &columns, &rows);
    let [alone, among] = callers.passing_ms;
    markdown(
        &format!("{} callers in `wait`", callers.count),
        &[String::new()],
        &[
            (
                "from the request to stop to the first answer, ms".to_owned(),
                vec![format!("{:.1}", callers.first_ms)],
            ),
            ("… to the last answer, ms".to_owned(), vec![format!("{:.1}", callers.last_ms)]),
            (
                "processor time for another job, without callers, ms".to_owned(),
                vec![format!("{alone:.2}")],
            ),
            ("… with them, ms".to_owned(), vec![format!("{among:.2}")]),
        ],
    );
}
