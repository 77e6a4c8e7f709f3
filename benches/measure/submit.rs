//! Measures submits: durable `POST /job` per second and the time of one, over 1, 16 and 64
//! connections.
//!
//! There are two servers: with an empty store, and with a million jobs that wait. They are compared
//! with two limits. The limit of HTTP is the same server's calls that only parse and answer: the
//! same request, refused for its date, or `POST /preview`; the faster one counts. The limit of the
//! disk is the same rows, written by SQLite alone in batches. All take turns. A ratio compares
//! values of one turn, and the median over the turns is shown.

use std::time::Instant;

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use tidetable::clock::{Clock, SystemClock};
use tidetable::domain::names::id::InstanceId;
use tidetable::store::sqlite::{FILE, SqliteStore};
use tidetable::store::threads::Threads;

use crate::http::{self, Answered, Request};
use crate::report::Figures;
use crate::support::Server;
use crate::support::large_store::Vast;
use crate::{Options, process};

/// The numbers of connections, each with the divisor for its number of requests.
const CONNECTIONS: [(usize, usize); 3] = [(1, 8), (16, 2), (64, 1)];

const JOB: &str = r#"{"job_name": "busybox:latest", "date": "30h", "command": ["true"]}"#;
const LONG_JOB: &str = r#"{"job_name": "busybox:latest", "date": "30h", "command": ["sh", "-c", "echo hi"], "env": {"K": "V"}, "timeout": "5m", "labels": {"team": "a"}}"#;
const PAST_JOB: &str =
    r#"{"job_name": "busybox:latest", "date": "20-06-2021 13:25:28", "command": ["true"]}"#;
const DATE: &str = r#"{"date": "30h"}"#;

/// A request, with the store that it goes to and the expected status.
struct Row {
    name: &'static str,
    store: Store,
    path: &'static str,
    body: &'static str,
    status: u16,
}

const ROWS: [Row; 5] = [
    Row {
        name: "parses and answers: refused",
        store: Store::Empty,
        path: "/job",
        body: PAST_JOB,
        status: 400,
    },
    Row {
        name: "parses and answers: `/preview`",
        store: Store::Empty,
        path: "/preview",
        body: DATE,
        status: 200,
    },
    Row { name: "durable, empty store", store: Store::Empty, path: "/job", body: JOB, status: 201 },
    Row { name: "durable, many waiting", store: Store::Full, path: "/job", body: JOB, status: 201 },
    Row {
        name: "durable, empty store, labels and more",
        store: Store::Empty,
        path: "/job",
        body: LONG_JOB,
        status: 201,
    },
];
/// The rows that only parse. `EMPTY` is the row with which the others are compared.
const PARSES: std::ops::Range<usize> = 0..2;
const EMPTY: usize = 2;

#[derive(Clone, Copy, PartialEq)]
enum Store {
    Empty,
    Full,
}

pub fn run(options: &Options) -> Value {
    let full = full(options.many);
    eprintln!(
        "\n| connections | | a second | p50 ms | p99 ms | max ms | rate ÷ parse-only | p99 ÷ empty |\n|---|---|---|---|---|---|---|---|"
    );
    let rows = CONNECTIONS.map(|(connections, parts)| {
        let turns = (0..options.turns)
            .map(|turn| one_turn(&full, connections, options.requests / parts, turn));
        told(connections, options.many, &turns.collect::<Vec<_>>())
    });
    let memory = process::memory(&full);
    eprintln!(
        "\nthe server with {} waiting has {:.1} MiB, and had {:.1} at most",
        options.many, memory.resident, memory.peak
    );
    json!({"over_http": rows, "disk": disk(options), "memory_mib": memory})
}

/// Returns a server with this many waiting jobs in its store, after the background work of its
/// start.
fn full(waiting: u32) -> Server {
    let mut server = Server::simulated();
    server.terminate();
    crate::support::large_store::build(
        &server.data_dir(),
        Vast { jobs: waiting, history: 0, schedules: 0 },
        SystemClock.now(),
    );
    server.up();
    process::calm(&server);
    server
}

/// Measures each row once, in an order that depends on the turn. Every turn has a new empty store.
fn one_turn(full: &Server, connections: usize, count: usize, turn: usize) -> Vec<Answered> {
    let mut answered: Vec<Option<Answered>> = ROWS.iter().map(|_| None).collect();
    for place in 0..ROWS.len() {
        let which = (place + turn) % ROWS.len();
        let row = &ROWS[which];
        let new = (row.store == Store::Empty).then(Server::simulated);
        let server = new.as_ref().unwrap_or(full);
        process::calm(server);
        let request = Request::post(row.path, row.body, row.status);
        answered[which] = Some(http::load(server.url(), &request, connections, count));
    }
    answered.into_iter().flatten().collect()
}

fn told(connections: usize, waiting: u32, turns: &[Vec<Answered>]) -> Value {
    let median = |of: &dyn Fn(&Vec<Answered>) -> f64| {
        Figures::of(&turns.iter().map(of).collect::<Vec<_>>()).median
    };
    let rows = ROWS.iter().enumerate().map(|(row, Row { name, .. })| {
        let name = name.replace("many", &waiting.to_string());
        let rate = median(&|turn| turn[row].a_second);
        let at = |of: fn(&Figures) -> f64| median(&|turn| of(&Figures::of(&turn[row].each_ms)));
        let (p50, p99, max) = (at(|f| f.median), at(|f| f.p99), at(|f| f.max));
        let limit = |turn: &Vec<Answered>| turn[PARSES].iter().map(|parsed| parsed.a_second).fold(0.0, f64::max);
        let beside_parse = median(&|turn| turn[row].a_second / limit(turn));
        let beside_empty = median(&|turn| Figures::of(&turn[row].each_ms).p99 / Figures::of(&turn[EMPTY].each_ms).p99);
        let beside = if PARSES.contains(&row) { String::new() } else { format!("{beside_empty:.2}") };
        eprintln!(
            "| {connections} | {name} | {rate:.0} | {p50:.3} | {p99:.3} | {max:.1} | {beside_parse:.2} | {beside} |"
        );
        json!({"what": name, "a_second": rate, "p50_ms": p50, "p99_ms": p99, "max_ms": max,
            "rate_beside_parse_only": beside_parse, "p99_beside_empty": beside_empty})
    });
    json!({"connections": connections, "rows": rows.collect::<Vec<_>>()})
}

/// Writes the same rows by SQLite alone: one thread, with a batch of jobs in each transaction.
fn disk(options: &Options) -> Value {
    eprintln!(
        "\n| SQLite alone, jobs in a transaction | a second | a transaction, p50 ms | p99 ms |\n|---|---|---|---|"
    );
    let rows = CONNECTIONS.map(|(batch, parts)| {
        let dir = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(dir.path(), Threads::Inline, InstanceId::new([7; 16])).unwrap());
        let connection = Connection::open(dir.path().join(FILE)).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").unwrap();
        let (begun, mut each) = (Instant::now(), Vec::new());
        let transactions = options.requests / parts / batch;
        for n in 0..transactions {
            let begun = Instant::now();
            write(&connection, n * batch..(n + 1) * batch);
            each.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        let rate = (transactions * batch) as f64 / begun.elapsed().as_secs_f64();
        let Figures { median, p99, .. } = Figures::of(&each);
        eprintln!("| {batch} | {rate:.0} | {median:.3} | {p99:.3} |");
        json!({"batch": batch, "a_second": rate, "p50_ms": median, "p99_ms": p99})
    });
    json!(rows)
}

fn write(connection: &Connection, numbers: std::ops::Range<usize>) {
    let now = SystemClock.now().timestamp_millis();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    for number in numbers {
        let id = ((now as u128) << 80 | number as u128).to_be_bytes();
        let mut job = connection
            .prepare_cached(
                "INSERT INTO jobs (id, version, name, spec, created_at, due_at, priority, attempt, status)
                 VALUES (?1, 0, 'busybox:latest', ?2, ?3, ?4, 0, 0, 'scheduled')",
            )
            .unwrap();
        let spec = r#"{"image":"busybox:latest","command":["true"]}"#;
        job.execute(params![id, spec, now, now + 30 * 3_600_000]).unwrap();
        let mut journal = connection
            .prepare_cached(
                "INSERT INTO journal (at, job, job_name, to_status, attempt, version)
                 VALUES (?1, ?2, 'busybox:latest', 'scheduled', 0, 0)",
            )
            .unwrap();
        journal.execute(params![now, id]).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
}
