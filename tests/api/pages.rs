//! The pages for a browser, as they are without scripts: their structure, their links and forms,
//! hostile text in every field, and the API's answers beside them.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::io::Write as _;

use scraper::{ElementRef, Html, Selector};
use serde_json::{Value, json};

use crate::support::{Answer, Server};

/// The `Accept` of a browser.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
/// The largest first view of `/jobs` with its assets, compressed, in bytes.
const FIRST_VIEW_BYTES: usize = 30 * 1024;

fn open(server: &Server, path: &str) -> Answer {
    server.call("GET", path, &[("accept", BROWSER)], b"")
}

fn page(server: &Server, path: &str) -> Html {
    let answer = open(server, path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    Html::parse_document(&answer.text())
}

/// Sends a form as a browser does.
fn send(server: &Server, path: &str, body: &str) -> Answer {
    let headers = [("accept", BROWSER), ("content-type", "application/x-www-form-urlencoded")];
    server.call("POST", path, &headers, body.as_bytes())
}

fn all<'h>(html: &'h Html, selector: &str) -> Vec<ElementRef<'h>> {
    html.select(&Selector::parse(selector).unwrap()).collect()
}

fn words(element: &ElementRef<'_>) -> String {
    element.text().collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Fills a server with a job of every kind. Returns the ids of a failed and of a waiting job.
fn filled(server: &Server) -> [String; 2] {
    let definition = json!({"image": "registry.example/etl:3", "command": "sh -c 'echo hello; echo no >&2; exit 3'", "labels": {"team": "harbour"}});
    let put = |path: &str, body: &Value| {
        let json = [("content-type", "application/json")];
        let answer = server.call("PUT", path, &json, body.to_string().as_bytes());
        assert!(answer.status < 300, "{}", answer.text());
    };
    put("/definition/etl", &definition);
    put("/schedule/nightly", &json!({"job_name": "etl", "cron": "30 2 * * *"}));
    put("/schedule/paused", &json!({"job_name": "busybox", "every": "1h", "paused": true}));
    let failed = server.submit(json!({"job_name": "etl", "date": "now"}));
    server.kept(&failed);
    let running = json!({"job_name": "busybox", "date": "now", "command": "sleep 3600"});
    let running = server.submit(running);
    server.until(&running, "running");
    [failed, server.submit(json!({"job_name": "busybox", "date": "1h"}))]
}

/// Returns the paths of all pages of a filled server.
fn paths([failed, waiting]: &[String; 2]) -> Vec<String> {
    let fixed = [
        "/jobs",
        "/jobs?state=failed",
        "/jobs?q=nothing-fits",
        "/job",
        "/schedules",
        "/schedule",
        "/schedule/nightly",
        "/schedule/nightly/edit",
        "/schedule/paused",
        "/definitions",
        "/definition/etl",
        "/forecast",
    ];
    let jobs = [failed, waiting].map(|id| format!("/job/{id}"));
    fixed.into_iter().map(str::to_owned).chain(jobs).collect()
}

/// Checks what holds for every page.
fn assert_sound(path: &str, html: &Html) {
    let mut ids = BTreeSet::new();
    for element in all(html, "[id]") {
        assert!(ids.insert(element.attr("id").unwrap()), "{path}: twice {:?}", element.attr("id"));
    }
    let mut level = 0;
    for heading in all(html, "h1, h2, h3, h4") {
        let next: usize = heading.value().name()[1..].parse().unwrap();
        assert!(next <= level + 1, "{path}: h{next} after h{level}");
        level = next;
    }
    assert_eq!(all(html, "h1").len(), 1, "{path}");
    assert_eq!(all(html, "main").len(), 1, "{path}");
    for field in all(html, "input:not([type=hidden]), select, textarea") {
        let id = field.attr("id").unwrap_or_default();
        let labels = all(html, &format!("label[for='{id}']")).len();
        let is_within =
            field.ancestors().filter_map(ElementRef::wrap).any(|it| it.value().name() == "label");
        assert!(labels == 1 || is_within, "{path}: no label for {id}");
    }
    for named in all(html, "[aria-labelledby], [aria-describedby]") {
        let wanted = named.attr("aria-labelledby").or(named.attr("aria-describedby")).unwrap();
        assert!(ids.contains(wanted), "{path}: {wanted}");
    }
    for pressed in all(html, "a, button") {
        let says = words(&pressed) + pressed.attr("aria-label").unwrap_or_default();
        assert!(!says.is_empty(), "{path}: {}", pressed.html());
    }
    assert_nothing_inline(path, html);
}

/// Checks that nothing in the page could run, or be styled, against the policy.
fn assert_nothing_inline(path: &str, html: &Html) {
    let scripts: Vec<_> = all(html, "script")
        .iter()
        .map(|it| it.attr("src").unwrap_or("inline").to_owned())
        .collect();
    assert!(
        matches!(scripts.as_slice(), [one] if one.contains("/assets/tide.")),
        "{path}: {scripts:?}"
    );
    assert!(all(html, "style, iframe, object, embed, base, img, [style]").is_empty(), "{path}");
    for element in all(html, "*") {
        for (name, value) in element.value().attrs() {
            assert!(!name.starts_with("on"), "{path}: {name}={value}");
            let is_address = matches!(name, "href" | "src" | "action" | "formaction");
            let is_own = value.starts_with('/') || value.starts_with('#') || value.is_empty();
            assert!(!is_address || (is_own && !value.starts_with("//")), "{path}: {value}");
        }
    }
}

#[test]
fn every_page_is_sound_empty_and_full() {
    let server = Server::simulated();
    for path in ["/jobs", "/schedules", "/definitions", "/forecast", "/job", "/schedule"] {
        assert_sound(path, &page(&server, path));
    }
    let ids = filled(&server);
    let mut links = BTreeSet::new();
    for path in paths(&ids) {
        let html = page(&server, &path);
        assert_sound(&path, &html);
        let found = all(&html, "a[href], link[href], script[src]");
        links.extend(
            found.iter().filter_map(|it| it.attr("href").or(it.attr("src"))).map(str::to_owned),
        );
    }
    for link in links.iter().filter(|link| link.starts_with('/')) {
        assert_eq!(open(&server, link).status, 200, "{link}");
    }
    let problem = open(&server, "/job/nothing");
    assert_eq!(problem.status, 404);
    assert_sound("/job/nothing", &Html::parse_document(&problem.text()));
    assert!(problem.text().contains("is not a job&#39;s id"), "{}", problem.text());
}

#[test]
fn pages_carry_a_strict_policy() {
    let server = Server::simulated();
    for (path, status) in [("/jobs", 200), ("/nothing", 404), ("/job/00000000", 404)] {
        let answer = open(&server, path);
        assert_eq!(answer.status, status);
        let policy = answer.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
        let varies = answer.headers.iter().filter(|(name, _)| name == "vary");
        assert!(varies.into_iter().any(|(_, value)| value.contains("accept")), "{path}");
    }
}

#[test]
fn json_stays_the_answer_for_other_callers() {
    let server = Server::simulated();
    let [failed, _] = filled(&server);
    for path in [
        "/jobs",
        "/schedules",
        "/schedule/nightly",
        "/definitions",
        "/definition/etl",
        "/forecast",
        &format!("/job/{failed}"),
    ] {
        let plain = server.get(path);
        assert_eq!(plain.header("content-type"), Some("application/json"), "{path}");
        for accept in ["*/*", "application/json", "text/*", "application/json, text/html;q=0.1"] {
            let answer = server.call("GET", path, &[("accept", accept)], b"");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{path} {accept}");
        }
        let page = open(&server, path);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        let is_said = |answer: &Answer| {
            answer.headers.iter().any(|(name, value)| name == "vary" && value == "accept")
        };
        assert!(is_said(&plain) && is_said(&page), "{path}");
    }
    server.get("/nothing").assert_problem(404, "no_such_path");
}

#[test]
fn forms_submit_stop_and_rerun_without_scripts() {
    let server = Server::simulated();
    let body =
        "job_name=busybox&date=now&command=sleep+3600&env=A%3D1%0D%0AB%3D2&memory=&priority=";
    let sent = send(&server, "/job", body);
    assert_eq!(sent.status, 303, "{}", sent.text());
    let job = sent.header("location").unwrap().to_owned();
    let id = job.strip_prefix("/job/").unwrap().to_owned();
    server.until(&id, "running");
    let html = page(&server, &job);
    assert!(words(&all(&html, "#evidence")[0]).contains(&id));
    assert!(
        words(&all(&html, "pre")[0]).contains("\"A\": \"1\""),
        "{}",
        words(&all(&html, "pre")[0])
    );
    let stop = all(&html, "form[action$='/stop']")[0].attr("action").unwrap().to_owned();
    assert_eq!(send(&server, &stop, "").header("location"), Some(job.as_str()));
    assert_eq!(server.wait(&id)["status"], "stopped");
    let again = send(&server, &format!("{job}/rerun"), "");
    assert_ne!(again.header("location"), Some(job.as_str()));
    let refused = send(&server, &format!("{job}/stop"), "");
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("nothing to stop"));
}

#[test]
fn form_errors_are_shown_at_their_field() {
    let server = Server::simulated();
    let answer = send(&server, "/job", "job_name=busybox&date=soonish&memory=64m");
    assert_eq!(answer.status, 400);
    let html = Html::parse_document(&answer.text());
    let field = all(&html, "#date[aria-invalid=true]")[0];
    assert_eq!(field.attr("value"), Some("soonish"));
    assert!(words(&all(&html, "#about-date")[0]).contains("is not a date"));
    assert_eq!(all(&html, "#memory")[0].attr("value"), Some("64m"));
    let preview = send(&server, "/job", "job_name=JOB_B&date=1h&do=preview");
    let html = Html::parse_document(&preview.text());
    let said = words(&all(&html, "#preview")[0]);
    assert!(said.contains("in 59 min") || said.contains("in 1 h"), "{said}");
    assert!(said.contains("neither a definition nor an image"), "{said}");
    assert_eq!(server.get("/jobs").json()["scheduled"], json!({}), "a preview stores nothing");
}

#[test]
fn all_starts_are_paused_and_resumed_by_form() {
    let server = Server::simulated();
    assert_eq!(send(&server, "/pause", "until=&why=upgrade").status, 303);
    assert_eq!(server.get("/summary").json()["paused"]["why"], "upgrade");
    let page = server.call("GET", "/jobs", &[("accept", "text/html")], b"").text();
    assert!(page.contains("Resume all starts"));
    assert_eq!(send(&server, "/resume", "").status, 303);
    assert_eq!(server.get("/summary").json()["paused"], json!(null));
}

#[test]
fn schedule_is_made_changed_paused_and_deleted() {
    let server = Server::simulated();
    let body = "name=nightly&job_name=busybox&cron=30+2+*+*+*&time_zone=Europe%2FBerlin&overlap=skip&catch_up=last&command=true";
    let preview = send(&server, "/schedule", &format!("{body}&do=preview"));
    assert!(preview.text().contains("At 02:30 every day"), "{}", preview.text());
    assert_eq!(send(&server, "/schedule", body).header("location"), Some("/schedule/nightly"));
    let again = send(&server, "/schedule", body);
    assert_eq!(again.status, 409);
    assert!(again.text().contains("there is a schedule `nightly` already"));
    let html = page(&server, "/schedule/nightly/edit");
    let generation = all(&html, "[name=generation]")[0].attr("value").unwrap().to_owned();
    assert_eq!(all(&html, "#cron")[0].attr("value"), Some("30 2 * * *"));
    let changed = format!("{}&generation={generation}", body.replace("30+2", "45+3"));
    assert_eq!(send(&server, "/schedule", &changed).status, 303);
    assert_eq!(server.get("/schedule/nightly").json()["cron"], "45 3 * * *");
    assert_eq!(send(&server, "/schedule", &changed).status, 409, "the form is outdated");
    assert_eq!(send(&server, "/schedule/nightly/pause", "").status, 303);
    assert_eq!(server.get("/schedule/nightly").json()["paused"], true);
    assert_eq!(send(&server, "/schedule/nightly/resume", "").status, 303);
    let run = send(&server, "/schedule/nightly/trigger", "");
    assert!(run.header("location").unwrap().starts_with("/job/"));
    assert_eq!(
        send(&server, "/schedule/nightly/delete", "").header("location"),
        Some("/schedules")
    );
    server.get("/schedule/nightly").assert_problem(404, "no_such_schedule");
}

#[test]
fn log_has_numbered_lines_and_a_search() {
    let server = Server::simulated();
    let [failed, _] = filled(&server);
    let html = page(&server, &format!("/job/{failed}"));
    let lines = all(&html, "#log p");
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1].attr("id"), Some("L2"));
    assert_eq!(all(&html, "#L2 > a")[0].attr("href"), Some("#L2"));
    assert!(words(&lines[1]).ends_with("err no"), "{}", words(&lines[1]));
    let found = page(&server, &format!("/job/{failed}?grep=hell"));
    assert_eq!(all(&found, "#log p").len(), 1);
    let none = page(&server, &format!("/job/{failed}?grep=zzz"));
    assert_eq!(words(&all(&none, "#log")[0]), "No line has this text.");
    let follow = open(&server, &format!("/job/{failed}?part=log&from=2"));
    assert_eq!(follow.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(follow.text().starts_with("<p id=\"L2\""), "{}", follow.text());
}

#[test]
fn every_address_is_below_the_base_path() {
    let config = "[server]\nbase_path = \"/tide/\"\n";
    let server = Server::start(&["--engine", "simulated"], config, &[]);
    let ids = filled(&server);
    for path in paths(&ids) {
        // A proxy may pass the base path on or remove it.
        for path in [path.clone(), format!("/tide{path}")] {
            let html = page(&server, &path);
            for element in all(&html, "[href], [src], [action]") {
                let address =
                    ["href", "src", "action"].iter().find_map(|name| element.attr(name)).unwrap();
                let is_below =
                    address.starts_with("/tide/") || address.starts_with('#') || address.is_empty();
                assert!(is_below, "{path}: {address}");
            }
        }
    }
    let css = all(&page(&server, "/tide/jobs"), "link[rel=stylesheet]")[0]
        .attr("href")
        .unwrap()
        .to_owned();
    assert_eq!(server.get(&css).status, 200);
    let sent = send(&server, "/tide/job", "job_name=busybox&date=1h");
    assert!(sent.header("location").unwrap().starts_with("/tide/job/"));
    assert_eq!(server.get("/tide/jobs").json(), server.get("/jobs").json());
    assert_eq!(server.get("/tidetable").status, 404);
}

#[test]
fn base_path_has_to_be_a_path() {
    for bad in ["tide", "/a//b", "/../x", "/a b", "http://x"] {
        let config = format!("[server]\nbase_path = \"{bad}\"\n");
        let file = tempfile::tempdir().unwrap();
        let path = file.path().join("config.toml");
        std::fs::write(&path, config).unwrap();
        let mut command = std::process::Command::new(crate::support::binary());
        command.args(["serve", "--engine", "simulated", "--config"]).arg(&path);
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{bad}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("`base_path` is"), "{bad}");
    }
}

fn gzipped(bytes: &[u8]) -> usize {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().len()
}

#[test]
fn first_view_of_jobs_is_light() {
    let server = Server::simulated();
    for index in 0..50 {
        server.submit(json!({"job_name": "busybox", "date": format!("{}h", index + 1)}));
        let id = server.submit(json!({"job_name": "busybox", "date": "now", "command": "true"}));
        server.wait(&id);
    }
    let html = open(&server, "/jobs");
    let parsed = Html::parse_document(&html.text());
    let mut bytes = gzipped(&html.body);
    for asset in all(&parsed, "link[rel=stylesheet], script[src]") {
        let path = asset.attr("href").or(asset.attr("src")).unwrap();
        let answer = server.get(path);
        let kept = answer.header("cache-control").unwrap();
        assert!(kept.contains("immutable"), "{path}: {kept}");
        bytes += gzipped(&answer.body);
    }
    assert!(bytes <= FIRST_VIEW_BYTES, "{bytes}");
}

/// Returns two hundred texts that would be markup, script or terminal control somewhere.
fn hostile() -> Vec<String> {
    let cores = [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "javascript:alert(1)",
        "<a href=javascript:alert(1)>x</a>",
        "{{7*7}}${7*7}<%=7*7%>",
        "</pre></td><h1>x</h1>",
        "<iframe src=//evil.example></iframe>",
        "&lt;b&gt;&#60;b&#62;",
        "\u{202e}txt.exe\u{2066}",
        "\u{1b}[31mred\u{1b}]8;;http://evil.example\u{7}x\u{1b}]8;;\u{7}",
        "<base href=//evil.example>",
        "<meta http-equiv=refresh content=0>",
        "<style>*{display:none}</style>",
        "<form action=//evil.example><button>x",
        "<!--",
        "-->",
        "<!--log-->",
        "]]>",
        "<textarea>",
    ];
    let wraps: [fn(&str) -> String; 10] = [
        |core| core.to_owned(),
        |core| format!("\"{core}"),
        |core| format!("'{core}"),
        |core| format!("\">{core}"),
        |core| format!("'>{core}<'"),
        |core| format!("</title></textarea></script>{core}"),
        |core| format!("x\" autofocus onfocus=alert(1) {core}"),
        |core| format!("`{core}`"),
        |core| format!("{core}\u{feff}\u{0}x").replace('\u{0}', ""),
        |core| core.to_uppercase(),
    ];
    wraps.iter().flat_map(|wrap| cores.iter().map(|core| wrap(core))).collect()
}

#[test]
fn hostile_text_stays_text_in_every_field() {
    let server = Server::simulated();
    let all_hostile = hostile();
    assert_eq!(all_hostile.len(), 200);
    let paths = [
        "/jobs?q=",
        "/jobs?state=",
        "/jobs?label=",
        "/schedules?q=",
        "/job?job_name=",
        "/schedule?job_name=",
    ];
    for (index, text) in all_hostile.iter().enumerate() {
        let job = json!({
            "job_name": "busybox", "date": "now", "command": ["echo", text], "env": {"TEXT": text},
            "labels": {"text": text}
        });
        // Some fields refuse some of these texts. What is accepted has to be harmless.
        let answer = server.post_json("/job", &job);
        if answer.status == 201 {
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            server.wait(&id);
            let html = page(&server, &format!("/job/{id}"));
            assert_nothing_inline(text, &html);
            assert_eq!(all(&html, "h1, form, main").len(), 4, "{text}");
        }
        let answer = open(&server, &format!("{}{}", paths[index % paths.len()], encoded(text)));
        assert_nothing_inline(text, &Html::parse_document(&answer.text()));
        let (path, form) = match index % 2 {
            0 => ("/job", format!("job_name={0}&date={0}&env={0}&memory={0}", encoded(text))),
            _ => (
                "/schedule",
                format!("name={0}&job_name={0}&cron={0}&time_zone={0}", encoded(text)),
            ),
        };
        assert_nothing_inline(text, &Html::parse_document(&send(&server, path, &form).text()));
    }
}
