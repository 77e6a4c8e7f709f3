//! Metrics: the scrape in both formats, its bounds, its counters and gauges, and the alerts that
//! are shipped with it.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;
use tidetable::clock::{Rng, SystemClock};
use tidetable::domain::job::origin::Origin;
use tidetable::domain::names::id::InstanceId;
use tidetable::engine::simulated::{Settings, SimulatedEngine};
use tidetable::http::Api;
use tidetable::http::auth::guard::Guard;
use tidetable::metrics::{FAMILIES, Kind};
use tidetable::scheduler::{Caller, Catalog, Handle, JobRequest, Parts, Scheduler};
use tidetable::store::logs::LogStore;
use tidetable::store::sqlite::SqliteStore;
use tidetable::store::threads::Threads;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::support::{Server, eventually};

const OPENMETRICS: (&str, &str) = ("accept", "application/openmetrics-text; version=1.0.0");

/// A parsed scrape: the type of each family, and the value of each series.
#[derive(Debug, Default)]
struct Scrape {
    kinds: BTreeMap<String, String>,
    series: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

impl Scrape {
    fn of(server: &Server) -> Self {
        let answer = server.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        Self::parse(&answer.text())
    }

    /// Parses a scrape, and fails on anything that a strict reader would refuse.
    fn parse(text: &str) -> Self {
        let is_open = text.ends_with("# EOF\n");
        let text = text.strip_suffix("# EOF\n").unwrap_or(text);
        assert!(text.ends_with('\n') && !text.contains("\n\n") && !text.contains("# EOF"));
        let (mut scrape, mut family, mut helped) = (Self::default(), String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help");
                assert!(!help.is_empty() && !help.contains(['\\', '"']), "{line}");
                helped = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(name, helped, "HELP comes before TYPE");
                let twice = scrape.kinds.insert(name.to_owned(), kind.to_owned());
                assert!(twice.is_none(), "{name} is there twice");
                family = name.to_owned();
            } else {
                let (name, labels, value) = sample(line);
                let kind = &scrape.kinds[&family];
                let endings: &[&str] = match (kind.as_str(), is_open) {
                    ("histogram", _) => &["_bucket", "_sum", "_count"],
                    ("counter", true) => &["_total"],
                    _ => &[""],
                };
                let is_own = endings.iter().any(|ending| name == format!("{family}{ending}"));
                assert!(is_own, "`{line}` is below {family}, a {kind}");
                assert!(kind != "counter" || (value >= 0.0 && name.ends_with("_total")), "{line}");
                let twice = scrape.series.insert((name, labels), value);
                assert!(twice.is_none(), "twice: {line}");
            }
        }
        scrape.check_histograms();
        scrape
    }

    /// Checks that buckets grow, and that the last one is the count.
    fn check_histograms(&self) {
        for ((name, labels), count) in &self.series {
            let Some(base) = name.strip_suffix("_count") else { continue };
            let bucket = format!("{base}_bucket");
            let mut buckets: Vec<(f64, f64)> = self
                .series
                .iter()
                .filter(|((other, of), _)| {
                    *other == bucket && labels.iter().all(|(key, value)| of.get(key) == Some(value))
                })
                .map(|((_, of), value)| (number(&of["le"]), *value))
                .collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{name} {labels:?}");
        }
    }

    /// Returns the sum of the series of this name whose labels are these, and maybe others.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(key, value)| of.get(*key).is_some_and(|found| found == value))
        };
        let found = self.series.iter().filter(|((other, of), _)| other == name && fits(of));
        found.map(|(_, value)| value).sum()
    }

    fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let labels =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.series.contains_key(&(name.to_owned(), labels))
    }
}

fn number(text: &str) -> f64 {
    let text = if text == "+Inf" { "inf" } else { text };
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

/// Parses a line such as `name{key="value"} 1.5`.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (head, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, labels) = match head.split_once('{') {
        None => (head, ""),
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closing brace")),
    };
    assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
    let mut found = BTreeMap::new();
    for label in labels.split_terminator("\",") {
        let (key, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        let value = value.trim_end_matches('"');
        assert!(found.insert(key.to_owned(), value.to_owned()).is_none(), "twice: {line}");
    }
    (name.to_owned(), found, number(value))
}

/// The API in this process, over a store and a simulated engine.
struct Lab {
    router: axum::Router,
    handle: Handle,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
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
        let api = Api::new(handle.clone(), chrono_tz::UTC, TaskTracker::new());
        Self { router: api.router(Guard::default()), handle, _dir: dir }
    }

    async fn call(&self, method: &str, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.body(Body::empty()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn scrape(&self) -> Scrape {
        Scrape::parse(&self.call("GET", "/metrics").await.1)
    }
}

#[test]
fn every_family_has_type_and_help() {
    let server = Server::simulated();
    let older = Scrape::of(&server);
    let newer = server.call("GET", "/metrics", &[OPENMETRICS], b"").text();
    assert!(newer.ends_with("\n# EOF\n"), "{newer}");
    let newer = Scrape::parse(&newer);
    let names = |counter: &dyn Fn(&str) -> String| -> BTreeMap<String, String> {
        let name = |kind, name: &str| match kind {
            Kind::Counter => counter(name),
            Kind::Gauge | Kind::Histogram => name.to_owned(),
        };
        FAMILIES
            .iter()
            .map(|family| (name(family.kind, family.name), family.kind.as_str().to_owned()))
            .collect()
    };
    assert_eq!(older.kinds, names(&str::to_owned));
    assert_eq!(newer.kinds, names(&|name| name.strip_suffix("_total").unwrap().to_owned()));
}

#[test]
fn accept_chooses_the_format() {
    let server = Server::simulated();
    for (accept, kind) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS.1, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ] {
        let answer = server.call("GET", "/metrics", &[("accept", accept)], b"");
        assert_eq!(answer.header("content-type"), Some(kind));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    server.delete("/metrics").assert_problem(405, "method_not_allowed");
}

#[test]
fn a_scrape_needs_a_token_where_tokens_exist() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    let token = "0123456789abcdef0123456789abcdef";
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let flags = ["--engine", "simulated", "--token-file", file.to_str().unwrap()];
    let server = Server::start(&flags, "", &[]);
    server.get("/metrics").assert_problem(401, "unauthorized");
    let bearer = format!("Bearer {token}");
    let answer = server.call("GET", "/metrics", &[("authorization", &bearer)], b"");
    let scrape = Scrape::parse(&answer.text());
    assert!(scrape.has("tidetable_auth_failures_total", &[("reason", "unauthorized")]));
    let refused = [("route", "other"), ("method", "GET"), ("code", "401")];
    assert!(scrape.has("tidetable_http_requests_total", &refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_paths_and_jobs_make_no_series() {
    let lab = Lab::new();
    let due_at = lab.handle.now() + chrono::Duration::days(300);
    let round = async |numbers: std::ops::Range<usize>| {
        for number in numbers.clone() {
            lab.call("GET", &format!("/{number:x}/{}", number * 7)).await;
            lab.call("GET", &format!("/job/{number:032x}")).await;
            lab.call(&format!("M{number}"), "/jobs").await;
        }
        let (lab, due_at) = (&lab, due_at);
        let submit = |number: usize| {
            let spec = json!({"queue": format!("q{number}"), "labels": {"n": number.to_string()}});
            let name = format!("image-{number}:{number}").parse().unwrap();
            let spec = serde_json::from_value(spec).unwrap();
            let request = JobRequest { name, spec, due_at, origin: Origin::Api };
            async move { lab.handle.submit(&Caller::anonymous(), request).await }
        };
        for submitted in futures::future::join_all(numbers.map(submit)).await {
            submitted.unwrap();
        }
        lab.call("GET", "/metrics").await;
        lab.scrape().await
    };
    let before = round(0..10).await;
    let after = round(10..10_010).await;
    let keys = |scrape: &Scrape| -> BTreeSet<_> {
        let is_call = |name: &str| name.starts_with("tidetable_engine_call");
        scrape.series.keys().filter(|(name, _)| !is_call(name)).cloned().collect()
    };
    assert_eq!(keys(&before), keys(&after));
    assert_eq!(after.sum("tidetable_jobs", &[("status", "scheduled")]), 10_010.0);
}

#[test]
fn each_outcome_is_counted() {
    let server = Server::simulated();
    let job = |more: serde_json::Value| {
        let mut job = json!({"job_name": "busybox", "date": "now"});
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.submit(job)
    };
    let later = job(json!({"date": "1h"}));
    assert_eq!(server.delete(&format!("/job/{later}")).status, 200);
    let long = job(json!({"command": ["sleep", "600"]}));
    server.until(&long, "running");
    assert_eq!(server.post_json(&format!("/job/{long}/stop"), &json!({})).status, 200);
    let others = [
        job(json!({"command": ["true"]})),
        job(json!({"command": ["false"]})),
        job(json!({"command": ["sleep", "600"], "timeout": "1s"})),
        job(json!({"command": ["no-such-command"]})),
    ];
    others.iter().chain([&long]).for_each(|id| drop(server.wait(id)));
    let scrape = Scrape::of(&server);
    for (outcome, reason) in [
        ("canceled", ""),
        ("stopped", ""),
        ("succeeded", ""),
        ("failed", "exit_nonzero"),
        ("failed", "command_not_found"),
        ("timed_out", "timeout"),
    ] {
        let labels = [("outcome", outcome), ("reason", reason), ("schedule", "")];
        let ended = scrape.sum("tidetable_jobs_ended_total", &labels);
        assert_eq!(ended, 1.0, "{outcome} {reason}: {scrape:#?}");
    }
    assert_eq!(scrape.sum("tidetable_jobs_ended_total", &[]), 6.0);
    assert_eq!(scrape.sum("tidetable_job_start_lateness_seconds_count", &[]), 4.0);
    let durations = "tidetable_job_duration_seconds_count";
    for outcome in ["stopped", "succeeded", "failed", "timed_out"] {
        assert_eq!(scrape.sum(durations, &[("outcome", outcome)]), 1.0, "{outcome}");
    }
}

#[test]
fn gauges_agree_with_the_lists() {
    let server = Server::start(&["--engine", "simulated"], "[queues.etl]\nmax_running = 1", &[]);
    let job = |command: &[&str], date: &str| {
        let job = json!({"job_name": "busybox", "date": date, "command": command, "queue": "etl"});
        server.submit(job)
    };
    server.wait(&job(&["true"], "now"));
    let running = job(&["sleep", "600"], "now");
    server.until(&running, "running");
    server.until(&job(&["true"], "now"), "queued");
    job(&["true"], "1h");
    let scrape = Scrape::of(&server);
    let jobs = server.get("/jobs").json();
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for map in ["scheduled", "running", "history"] {
        for job in jobs[map].as_object().unwrap().values() {
            *counts.entry(job["status"].as_str().unwrap()).or_default() += 1.0;
        }
    }
    assert_eq!(counts.values().sum::<f64>(), 4.0, "{jobs}");
    for ((_, labels), value) in
        scrape.series.iter().filter(|((name, _), _)| name == "tidetable_jobs")
    {
        let status = labels["status"].as_str();
        assert_eq!(counts.get(status).copied().unwrap_or_default(), *value, "{status}");
    }
    for (limit, most) in [("max_running", 256.0), ("queue:etl", 1.0)] {
        assert_eq!(scrape.sum("tidetable_limit", &[("limit", limit)]), most);
        assert_eq!(scrape.sum("tidetable_limit_used", &[("limit", limit)]), 1.0);
    }
    assert!(scrape.has("tidetable_oldest_due_job_age_seconds", &[("queue", "etl")]));
    assert!(scrape.has("tidetable_running_job_age_seconds", &[("schedule", "")]));
    let last = scrape.sum("tidetable_dispatcher_last_round_timestamp_seconds", &[]);
    assert!(last > scrape.sum("process_start_time_seconds", &[]) - 1.0, "{last}");
}

#[test]
fn schedules_have_their_gauges_and_ticks() {
    let server = Server::simulated();
    let put = |name: &str, schedule: serde_json::Value| {
        let answer = server.call(
            "PUT",
            &format!("/schedule/{name}"),
            &[("content-type", "application/json")],
            schedule.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 201, "{}", answer.text());
    };
    let spec = |command: &str| json!({"command": [command]});
    put("works", json!({"job_name": "busybox", "cron": "* * * * * *", "spec": spec("true")}));
    let fails = json!({"job_name": "busybox", "cron": "* * * * * *", "spec": spec("false"),
        "pause_on_failure": true});
    put("fails", fails);
    put("daily", json!({"job_name": "busybox", "cron": "@daily"}));
    let seconds = |scrape: &Scrape, what: &str, schedule: &str| {
        let labels = [("schedule", schedule)];
        let name = format!("tidetable_schedule_{what}_seconds");
        scrape.has(&name, &labels).then(|| scrape.sum(&name, &labels))
    };
    let scrape = eventually("one has run, and one is paused", || {
        let scrape = Scrape::of(&server);
        let paused = [("schedule", "fails"), ("by", "failure")];
        let ran = [("schedule", "works"), ("outcome", "ran")];
        let is_done = scrape.sum("tidetable_schedule_paused", &paused) == 1.0
            && scrape.sum("tidetable_schedule_ticks_total", &ran) >= 1.0
            && seconds(&scrape, "last_success_timestamp", "works") > Some(0.0);
        is_done.then_some(scrape)
    });
    assert_eq!(seconds(&scrape, "last_success_timestamp", "fails"), Some(0.0));
    assert_eq!(seconds(&scrape, "last_success_timestamp", "daily"), Some(0.0));
    assert_eq!(seconds(&scrape, "expected_interval", "daily"), Some(86_400.0));
    assert_eq!(seconds(&scrape, "expected_interval", "works"), Some(1.0));
    assert_eq!(seconds(&scrape, "next_due_timestamp", "fails"), None);
    assert!(seconds(&scrape, "next_due_timestamp", "daily") > Some(0.0));
    let failed = [("schedule", "fails"), ("outcome", "failed")];
    assert!(scrape.has("tidetable_schedule_last_end_timestamp_seconds", &failed));
    assert!(scrape.sum("tidetable_jobs_ended_total", &failed) >= 1.0);
    assert_eq!(scrape.sum("tidetable_schedule_paused", &[("by", "caller")]), 0.0);
}

#[test]
fn hidden_names_do_not_appear_in_a_scrape() {
    let config = "[metrics]\nnames = false\n[queues.payroll-queue]\nmax_running = 1\n
        [schedules.payroll]\njob_name = 'busybox'\ncron = '* * * * * *'";
    let server = Server::start(&["--engine", "simulated"], config, &[]);
    let text = eventually("a tick has run", || {
        let text = server.get("/metrics").text();
        text.contains("tidetable_schedule_ticks_total{").then_some(text)
    });
    assert!(!text.contains("payroll"), "{text}");
    assert!(text.contains("schedule=\"hidden-") && text.contains("limit=\"queue:hidden-"));
}

#[test]
fn an_unknown_metrics_key_is_refused() {
    let mut server = Server::simulated();
    server.kill();
    std::fs::write(server.dir().join("config.toml"), "[metrics]\nname = false").unwrap();
    let said = server.try_up().unwrap_err();
    assert!(said.contains("line 2") && said.contains("`names`"), "{said}");
}

// The documentation and the examples.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn example(name: &str) -> PathBuf {
    root().join("examples/monitoring").join(name)
}

const INTRODUCTION: &str = include_str!("metrics_introduction.md");

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("| family | type | labels | is | answers |\n|---|---|---|---|---|\n");
    for family in FAMILIES {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "—".to_owned() } else { labels.join(", ") };
        let (name, kind, help) = (family.name, family.kind.as_str(), family.help);
        writeln!(page, "| `{name}` | {kind} | {labels} | {help} | {} |", family.question).unwrap();
    }
    page
}

/// Compares `docs/metrics.md` with the table of the code; `UPDATE_DOCS=1` writes it.
#[test]
fn metrics_page_is_the_table_of_the_code() {
    let (path, page) = (root().join("docs/metrics.md"), page());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "docs/metrics.md is not what the code says: set UPDATE_DOCS=1");
}

/// Labels in the table are the ones of live series.
#[test]
fn live_series_have_the_documented_labels() {
    let server = Server::simulated();
    server.wait(&server.submit(json!({"job_name": "busybox", "date": "now"})));
    for (name, labels) in Scrape::of(&server).series.into_keys() {
        let family = FAMILIES.iter().find(|family| {
            let endings = ["", "_bucket", "_sum", "_count"];
            endings.iter().any(|ending| format!("{}{ending}", family.name) == name)
        });
        let documented: BTreeSet<&str> = family.unwrap().labels.iter().copied().collect();
        let found = labels.keys().map(String::as_str).filter(|label| *label != "le").collect();
        assert_eq!(documented, found, "{name}");
    }
}

/// Returns each word of a text that begins like the name of a family.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    text.split(|c: char| !is_name(c))
        .filter(|word| word.starts_with("tidetable_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn examples_name_families_that_exist() {
    let server = Server::simulated();
    let kinds = Scrape::of(&server).kinds;
    for file in ["alerts.yaml", "alerts_test.yaml", "dashboard.json"] {
        let text = std::fs::read_to_string(example(file)).unwrap();
        let names = names_in(&text);
        assert!(names.len() > 8, "{file}: {names:?}");
        for name in names {
            let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|ending| {
                let base = name.strip_suffix(ending).unwrap_or_default();
                kinds.get(base).is_some_and(|kind| kind == "histogram")
            });
            assert!(of_histogram || kinds.contains_key(&name), "{file} has {name}");
        }
    }
}

#[test]
fn every_alert_has_a_runbook_and_fires() {
    let rules = std::fs::read_to_string(example("alerts.yaml")).unwrap();
    let tests = std::fs::read_to_string(example("alerts_test.yaml")).unwrap();
    let pages = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 14, "{alerts:?}");
    for alert in alerts {
        assert!(pages.contains(&format!("### {alert}\n")), "no heading for {alert}");
        let url = format!("runbook_url: docs/operations.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&url), "{url}");
        let fires = format!("'ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"");
        assert!(tests.contains(&fires), "{alert} is never fired");
    }
}

fn promtool(arguments: &[&str], input: &str) {
    let path = std::env::var("TIDETABLE_TEST_PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let mut child = Command::new(path)
        .args(arguments)
        .current_dir(root().join("examples/monitoring"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there: run `make test`, or set TIDETABLE_TEST_PROMTOOL");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn promtool_accepts_scrape_rules_and_config() {
    let server = Server::simulated();
    server.wait(&server.submit(json!({"job_name": "busybox", "date": "now"})));
    promtool(&["check", "metrics"], &server.get("/metrics").text());
    promtool(&["check", "rules", "alerts.yaml"], "");
    promtool(&["check", "config", "--syntax-only", "prometheus.yaml"], "");
    promtool(&["test", "rules", "alerts_test.yaml"], "");
}

#[test]
fn dashboard_begins_with_the_answers() {
    let text = std::fs::read_to_string(example("dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let titles: Vec<&str> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|panel| panel["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles[..4], ["Ready", "Failed in 24 h", "Start lateness, p99", "Next due"]);
    assert!(dashboard["uid"].is_string() && dashboard["tags"].is_array());
}
