//! Measures reads: the whole of `GET /jobs` at three sizes, the cost of a caller that polls, one
//! job, and a page.
//!
//! The limit of a listing is the same JSON written from memory on one thread, without store and
//! HTTP. One limit writes the service's jobs through the API's own view. The other writes views
//! that exist already, which is the serializer alone. Limit and service take turns.

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidetable::clock::{Clock, SystemClock};
use tidetable::domain::job::{Job, Map};
use tidetable::domain::names::id::InstanceId;
use tidetable::http::views::JobView;
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tidetable::store::{Filter, JobStore, MAX_PAGE};

use crate::Options;
use crate::client::{Came, Client};
use crate::report::{Figures, markdown};
use crate::support::Server;
use crate::support::large_store::Vast;
use crate::{plot, process};

/// The number of jobs in memory for the limit, more than any cache holds. They are written
/// repeatedly.
const IN_MEMORY: usize = 100_000;
/// The divisor for the number of jobs that are over: a tenth of all jobs.
const OVER: u32 = 10;
/// The numbers of callers that poll at the same time.
const POLLERS: [usize; 2] = [1, 16];
const PAGE: usize = 100;

/// The figures for one size of the store.
struct Seen {
    jobs: u32,
    /// The listings, plain and with gzip.
    plain: Vec<Came>,
    gzip: Vec<Came>,
    /// The seconds for the same JSON from jobs in memory, and from views in memory.
    jobs_s: Vec<f64>,
    views_s: Vec<f64>,
    /// The memory in MiB before a listing, and its peak during the listing.
    idle_mib: f64,
    peak_mib: f64,
    peak_gzip_mib: f64,
    /// The 304 answers per second, for each number of callers.
    unchanged: Vec<f64>,
    /// The time of one read in milliseconds.
    job_ms: Figures,
    page_ms: Figures,
}

pub async fn run(options: &Options) -> Value {
    let seen: Vec<Seen> = options
        .sizes
        .iter()
        .map(|jobs| tokio::task::block_in_place(|| measure(*jobs, options)))
        .collect();
    print(&seen);
    if let Some(folder) = &options.plots {
        let line =
            |took: fn(&Seen) -> f64| seen.iter().map(|at| (f64::from(at.jobs), took(at))).collect();
        let lines: [(String, Vec<(f64, f64)>); 4] = [
            ("GET /jobs, whole".to_owned(), line(|at| median(&totals_ms(&at.plain)))),
            ("the same from memory".to_owned(), line(|at| median(&at.jobs_s) * 1_000.0)),
            ("GET /jobs, first byte".to_owned(), line(|at| median(&first_bytes_ms(&at.plain)))),
            ("GET /job/{id}, p99".to_owned(), line(|at| at.job_ms.p99)),
        ];
        plot::growth(&folder.join("read.svg"), "jobs in the store", "ms", &lines);
    }
    Value::Object(seen.iter().map(|at| (at.jobs.to_string(), at.json())).collect())
}

fn measure(jobs: u32, options: &Options) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("data");
    std::fs::create_dir(&place).unwrap();
    let over = jobs / OVER;
    crate::support::large_store::build(
        &place,
        Vast { jobs: jobs - over, history: over, schedules: 0 },
        SystemClock.now(),
    );
    let memory = in_memory(&place);
    let views: Vec<JobView> =
        memory.iter().map(|job| JobView::of(job, chrono_tz::UTC, "docker")).collect();
    let server = Server::simulated_on(place);
    process::calm(&server);
    let idle_mib = process::memory(&server).resident;
    eprintln!("{jobs} jobs: the server is up");

    let mut client = Client::new(&server);
    let (mut plain, mut gzip, mut jobs_s, mut views_s) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut peak_mib, mut peak_gzip_mib) = (0.0, 0.0);
    for round in 0..options.rounds {
        for place in 0..4 {
            match (place + round) % 4 {
                0 => plain.push(list(&mut client, &server, "", &mut peak_mib)),
                1 => jobs_s
                    .push(written(jobs, &memory, |job| JobView::of(job, chrono_tz::UTC, "docker"))),
                2 => views_s.push(written(jobs, &views, |view| view)),
                _ => gzip.push(list(
                    &mut client,
                    &server,
                    "accept-encoding: gzip\r\n",
                    &mut peak_gzip_mib,
                )),
            }
        }
    }
    let unchanged = POLLERS.iter().map(|callers| poll(&server, *callers, options.polled)).collect();
    let ids = |count: usize| (0..count).map(move |n| id(n * 7_919 % (jobs - over) as usize));
    let job_ms = asked(&mut client, ids(options.reads).map(|id| format!("/job/{id}")));
    let pages =
        ids(options.reads / 10).map(|id| format!("/jobs?limit={PAGE}&cursor=scheduled-{id}"));
    let page_ms = asked(&mut client, pages);
    Seen {
        jobs,
        plain,
        gzip,
        jobs_s,
        views_s,
        idle_mib,
        peak_mib,
        peak_gzip_mib,
        unchanged,
        job_ms,
        page_ms,
    }
}

/// Returns the first jobs of the store, as many as the limit keeps in memory.
fn in_memory(place: &Path) -> Vec<Job> {
    let (store, _writer) =
        SqliteStore::open(place, Threads::Inline, InstanceId::new([7; 16])).unwrap();
    let read = async {
        let mut snapshot = store.snapshot().await.unwrap();
        let (mut jobs, filter): (Vec<Job>, _) = (Vec::new(), Filter::default());
        while jobs.len() < IN_MEMORY {
            let after = jobs.last().map(|job| job.id);
            let page = snapshot.page(Map::Scheduled, &filter, after, MAX_PAGE).await.unwrap();
            if page.is_empty() {
                break;
            }
            jobs.extend(page);
        }
        jobs
    };
    tokio::runtime::Handle::current().block_on(read)
}

/// Returns the id of the waiting job with this number, as the store was built.
fn id(number: usize) -> String {
    format!("01{number:030x}")
}

fn list(client: &mut Client, server: &Server, headers: &str, most_mib: &mut f64) -> Came {
    process::forget_peak(server);
    let (head, came) = client.get("/jobs", headers);
    assert_eq!(head.status, 200);
    *most_mib = most_mib.max(process::memory(server).peak);
    came
}

/// Returns the seconds for writing this many jobs as one object, in the form of a listing.
fn written<'a, T, V: serde::Serialize>(
    jobs: u32,
    these: &'a [T],
    shown: impl Fn(&'a T) -> V,
) -> f64 {
    let begun = Instant::now();
    let mut out = Vec::with_capacity(64 * 1024);
    for (n, this) in these.iter().cycle().take(jobs as usize).enumerate() {
        write!(out, ",\"{}\":", id(n)).unwrap();
        serde_json::to_writer(&mut out, &shown(this)).unwrap();
        if out.len() > 60 * 1024 {
            black_box(&out);
            out.clear();
        }
    }
    begun.elapsed().as_secs_f64()
}

/// Returns the 304 answers per second that this many callers get.
fn poll(server: &Server, callers: usize, during: Duration) -> f64 {
    let etag = Client::new(server).get(&format!("/jobs?limit={PAGE}"), "").0.etag;
    let asks = |_| {
        let (mut client, headers) = (Client::small(server), format!("if-none-match: {etag}\r\n"));
        move || {
            let (begun, mut answers) = (Instant::now(), 0);
            while begun.elapsed() < during {
                let head = client.send("GET", &format!("/jobs?limit={PAGE}"), &headers);
                assert_eq!(head.status, 304);
                answers += 1;
            }
            answers
        }
    };
    let callers: Vec<_> = (0..callers).map(asks).collect();
    let answers: u32 = std::thread::scope(|scope| {
        let callers: Vec<_> = callers.into_iter().map(|caller| scope.spawn(caller)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    f64::from(answers) / during.as_secs_f64()
}

/// Measures the time of each path, one after the other, in milliseconds.
fn asked(client: &mut Client, paths: impl Iterator<Item = String>) -> Figures {
    let took: Vec<f64> = paths
        .map(|path| {
            let (head, came) = client.get(&path, "");
            assert_eq!(head.status, 200, "{path}");
            came.total.as_secs_f64() * 1_000.0
        })
        .collect();
    Figures::of(&took)
}

fn totals_ms(came: &[Came]) -> Vec<f64> {
    came.iter().map(|came| came.total.as_secs_f64() * 1_000.0).collect()
}

fn first_bytes_ms(came: &[Came]) -> Vec<f64> {
    came.iter().map(|came| came.first_byte.as_secs_f64() * 1_000.0).collect()
}

fn median(values: &[f64]) -> f64 {
    Figures::of(values).median
}

impl Seen {
    /// Returns the speed of a listing relative to the same JSON from memory. 1 is equally fast.
    fn beside(&self, limit_s: &[f64]) -> f64 {
        median(limit_s) * 1_000.0 / median(&totals_ms(&self.plain))
    }

    fn json(&self) -> Value {
        json!({
            "bytes": self.plain[0].bytes, "bytes_gzip": self.gzip[0].bytes,
            "first_byte_ms": first_bytes_ms(&self.plain), "total_ms": totals_ms(&self.plain),
            "total_gzip_ms": totals_ms(&self.gzip), "from_jobs_s": self.jobs_s, "from_views_s": self.views_s,
            "beside_jobs": self.beside(&self.jobs_s), "beside_views": self.beside(&self.views_s),
            "idle_mib": self.idle_mib, "peak_mib": self.peak_mib, "peak_gzip_mib": self.peak_gzip_mib,
            "unchanged_per_s": self.unchanged, "job_p50_ms": self.job_ms.median, "job_p99_ms": self.job_ms.p99,
            "page_p50_ms": self.page_ms.median, "page_p99_ms": self.page_ms.p99,
        })
    }
}

fn print(seen: &[Seen]) {
    let (least, sizes): (_, Vec<String>) =
        (&seen[0], seen.iter().map(|at| at.jobs.to_string()).collect());
    let row = |name: &str, cell: &dyn Fn(&Seen) -> String| {
        (name.to_owned(), seen.iter().map(cell).collect())
    };
    let ms = |came: &[Came], of: fn(&[Came]) -> Vec<f64>| median(&of(came));
    let figures = |figures: &Figures| format!("{:.3} / {:.3}", figures.median, figures.p99);
    markdown(
        "jobs in the store",
        &sizes,
        &[
            row("`GET /jobs`, first byte, ms", &|at| {
                format!("{:.2}", ms(&at.plain, first_bytes_ms))
            }),
            row("… beside that of the smallest store", &|at| {
                format!("{:.2}", ms(&at.plain, first_bytes_ms) / ms(&least.plain, first_bytes_ms))
            }),
            row("… whole, ms", &|at| format!("{:.1}", ms(&at.plain, totals_ms))),
            row("… jobs a second", &|at| {
                format!("{:.0}", f64::from(at.jobs) / ms(&at.plain, totals_ms) * 1_000.0)
            }),
            row("… MB", &|at| format!("{:.1}", at.plain[0].bytes as f64 / 1e6)),
            row("limit: the same from jobs in memory, ms", &|at| {
                format!("{:.1}", median(&at.jobs_s) * 1_000.0)
            }),
            row("**speed beside that**", &|at| format!("**{:.2}**", at.beside(&at.jobs_s))),
            row("limit: the serializer alone, ms", &|at| {
                format!("{:.1}", median(&at.views_s) * 1_000.0)
            }),
            row("speed beside that", &|at| format!("{:.2}", at.beside(&at.views_s))),
            row("with gzip, whole, ms", &|at| format!("{:.1}", ms(&at.gzip, totals_ms))),
            row("server's memory before, MiB", &|at| format!("{:.1}", at.idle_mib)),
            row("… at most during it, MiB", &|at| format!("{:.1}", at.peak_mib)),
            row("… with gzip, MiB", &|at| format!("{:.1}", at.peak_gzip_mib)),
            row("304 a second, 1 caller / 16", &|at| {
                at.unchanged.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(" / ")
            }),
            row("`GET /job/{id}` p50 / p99, ms", &|at| figures(&at.job_ms)),
            row("a page of 100, p50 / p99, ms", &|at| figures(&at.page_ms)),
        ],
    );
}
