//! Measures the footprint of jobs that are not read: memory, time from a start to the first answer,
//! and disk.
//!
//! The stores hold no jobs, a thousand, a hundred thousand and a million that wait, a million that
//! are over, or ten thousand that run. Each store has a server of its own, which is started again
//! in every turn, in a changing order.
//!
//! The first answers are `GET /healthz` and `GET /jobs?limit=1`, measured from before the process
//! exists. Memory is read after 1,000 jobs were listed and read one by one, and the background work
//! of the start is done.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tidetable::clock::{Clock, SystemClock};
use tidetable::store::sqlite::FILE;

use crate::Options;
use crate::http::{self, Request};
use crate::process::{self, Memory};
use crate::report::Figures;
use crate::support::Server;
use crate::support::large_store::Vast;

const LISTED: usize = 1_000;
const RUNNING: &str = r#"{"job_name": "busybox", "date": "now", "command": ["sleep", "36000"]}"#;
const WAITING: &str = r#"{"job_name": "busybox", "date": "30h", "command": ["true"]}"#;

/// A store of one size, with its figures.
struct Size {
    name: String,
    jobs: u32,
    server: Server,
    /// The milliseconds to the first answer of each kind, for each turn.
    healthz: Vec<f64>,
    page: Vec<f64>,
    /// The time of a submit over one connection, for each turn.
    submit: Vec<Figures>,
    disk: u64,
    memory: Option<Memory>,
}

pub fn run(options: &Options) -> Value {
    let many = options.many;
    let mut sizes: Vec<Size> =
        [0, many / 1_000, many / 10, many].map(|jobs| Size::new("waiting", jobs, 0)).into();
    sizes.push(Size::new("over", 0, many));
    sizes.push(Size::running(options.many / 100));
    for turn in 0..options.turns {
        for place in 0..sizes.len() {
            let which = (place + turn) % sizes.len();
            sizes[which].start(options.requests / 20);
        }
    }
    table(&sizes)
}

impl Size {
    fn new(status: &str, waiting: u32, over: u32) -> Self {
        let mut server = Server::simulated();
        server.terminate();
        crate::support::large_store::build(
            &server.data_dir(),
            Vast { jobs: waiting, history: over, schedules: 0 },
            SystemClock.now(),
        );
        Self::of(format!("{} {status}", waiting + over), waiting + over, server)
    }

    /// Creates a store of running jobs, and kills its server. The engine dies with the server, so
    /// the next start finds every container gone. This is more work than to find the containers
    /// running.
    fn running(jobs: u32) -> Self {
        let config = format!("[limits]\nmax_running = {jobs}\nmax_starting = 256");
        let server = Server::start(&["--engine", "simulated"], &config, &[]);
        http::load(server.url(), &Request::post("/job", RUNNING, 201), 64, jobs as usize * 10 / 11);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let store = Connection::open_with_flags(server.data_dir().join(FILE), flags).unwrap();
        let count = "SELECT count(*) FROM jobs WHERE status = 'running'";
        let mut last = 0;
        loop {
            let running: u32 = store.query_row(count, [], |row| row.get(0)).unwrap();
            if running > 0 && running == last {
                break;
            }
            last = running;
            std::thread::sleep(Duration::from_secs(2));
        }
        process::calm(&server);
        let memory = process::memory(&server);
        let mut size = Self::of(format!("{last} running"), last, server);
        size.memory = Some(memory);
        size
    }

    fn of(name: String, jobs: u32, mut server: Server) -> Self {
        server.kill();
        let disk = used(&server.data_dir());
        Self {
            name,
            jobs,
            server,
            healthz: Vec::new(),
            page: Vec::new(),
            submit: Vec::new(),
            disk,
            memory: None,
        }
    }

    /// Starts the server once for each kind of first answer, and measures everything that follows.
    fn start(&mut self, submits: usize) {
        let first = |server: &mut Server, path: &str| {
            server.kill();
            let begun = Instant::now();
            server.up();
            assert_eq!(server.get(path).status, 200, "{path}");
            begun.elapsed().as_secs_f64() * 1_000.0
        };
        self.healthz.push(first(&mut self.server, "/healthz"));
        self.page.push(first(&mut self.server, "/jobs?limit=1"));
        let page = self.server.get(&format!("/jobs?limit={LISTED}")).json();
        for id in ["scheduled", "history"]
            .iter()
            .filter_map(|map| page[map].as_object())
            .flat_map(|map| map.keys())
        {
            assert_eq!(self.server.get(&format!("/job/{id}")).status, 200);
        }
        process::calm(&self.server);
        self.memory.get_or_insert_with(|| process::memory(&self.server));
        let posted =
            http::load(self.server.url(), &Request::post("/job", WAITING, 201), 1, submits);
        self.submit.push(Figures::of(&posted.each_ms));
        self.server.kill();
    }
}

/// Returns the size of the database and its log, in bytes.
fn used(dir: &Path) -> u64 {
    let file = |name: String| std::fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    file(FILE.to_owned()) + file(format!("{FILE}-wal"))
}

fn table(sizes: &[Size]) -> Value {
    let empty = &sizes[0];
    // Each value is compared with the empty store in the same turn.
    let beside = |of: &[f64], empty: &[f64]| {
        Figures::of(&of.iter().zip(empty).map(|(of, empty)| of / empty).collect::<Vec<_>>()).median
    };
    eprintln!(
        "\n| jobs | memory MiB | at most | `/healthz` ms | ÷ empty | `/jobs?limit=1` ms | ÷ empty | a submit, p50 ms | ÷ empty | p99 ms | ÷ empty | bytes on disk, each |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    let rows = sizes.iter().map(|size| {
        let name = &size.name;
        let memory = size.memory.unwrap();
        let (healthz, page) = (Figures::of(&size.healthz).median, Figures::of(&size.page).median);
        let (by_healthz, by_page) = (beside(&size.healthz, &empty.healthz), beside(&size.page, &empty.page));
        let of = |size: &Size, of: fn(&Figures) -> f64| size.submit.iter().map(of).collect::<Vec<_>>();
        let (p50, p99) = (of(size, |figures| figures.median), of(size, |figures| figures.p99));
        let by_p50 = beside(&p50, &of(empty, |figures| figures.median));
        let by_p99 = beside(&p99, &of(empty, |figures| figures.p99));
        let (p50, p99) = (Figures::of(&p50).median, Figures::of(&p99).median);
        let disk = size.disk.saturating_sub(empty.disk).checked_div(u64::from(size.jobs)).unwrap_or(0);
        eprintln!("| {name} | {:.1} | {:.1} | {healthz:.1} | {by_healthz:.2} | {page:.1} | {by_page:.2} | {p50:.3} | {by_p50:.2} | {p99:.3} | {by_p99:.2} | {disk} |", memory.resident, memory.peak);
        json!({"jobs": name, "memory_mib": memory, "healthz_ms": healthz, "healthz_beside_empty": by_healthz, "page_ms": page,
            "page_beside_empty": by_page, "submit_p50_ms": p50, "submit_p50_beside_empty": by_p50, "submit_p99_ms": p99,
            "submit_p99_beside_empty": by_p99, "bytes_each": disk})
    });
    json!(rows.collect::<Vec<_>>())
}
