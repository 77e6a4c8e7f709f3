//! The command line: exit codes, forms of output, ids, contexts, completions, and hostile text on a
//! terminal.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Server, binary, signal, terminal};

/// Returns what a command printed on stdout.
fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a command on a terminal, and returns what it showed and its exit code.
fn on_terminal(server: &Server, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(binary());
    let (shown, status) = terminal::run(command.args(["--server", server.url()]).args(arguments));
    (shown, status.code())
}

fn later(name: &str) -> Value {
    json!({"job_name": name, "date": "1h"})
}

#[test]
fn exit_codes_tell_failures_apart() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now", "command": ["true"]}));
    server.wait(&id);
    for (arguments, code) in [
        (&["preview", "61 * * * *"][..], 2),
        (&["ls", "--state", "nowhere"], 2),
        (&["inspect", "ffffffff"], 3),
        (&["schedule", "show", "nowhere"], 3),
        (&["rm", &id], 5),
        (&["ls", "--server", "http://127.0.0.1:1"], 6),
        (&["--context", "nowhere", "ls"], 2),
        (&["definition", "apply", "-f", "/nowhere/file"], 2),
        (&["wait", "ffffffff"], 125),
        (&["run", "busybox", "--wait", "--server", "http://127.0.0.1:1"], 125),
        (&["run", "busybox", "--wait", "--", "sh", "-c", "exit 7"], 7),
        (&["run", "busybox", "--follow", "--", "true"], 0),
    ] {
        let ran = server.cli(arguments, "");
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {}", stderr(&ran));
    }
}

#[test]
fn missing_token_gives_exit_code_4() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    std::fs::write(&file, "# of the server\n0123456789abcdef0123456789\n").unwrap();
    let file = file.to_str().unwrap();
    let server = Server::start(&["--engine", "simulated", "--token-file", file], "", &[]);
    assert_eq!(server.cli(&["ls"], "").status.code(), Some(4));
    assert_eq!(server.cli(&["ls", "--token", "wrong"], "").status.code(), Some(4));
    assert_eq!(server.cli(&["--token-file", file, "ls"], "").status.code(), Some(0));
    assert_eq!(server.cli(&["ls", "--token-file", "/nowhere"], "").status.code(), Some(1));
}

#[test]
fn job_without_exit_code_says_why() {
    let server = Server::simulated();
    let ran = server.cli(&["run", "busybox", "--wait", "--", "no-such-command"], "");
    let said = stderr(&ran);
    assert_eq!(ran.status.code(), Some(125), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("tidetable: ") && last.contains("failed"), "{said}");
    let id = server.submit(later("busybox"));
    server.delete(&format!("/job/{id}"));
    let waited = server.cli(&["wait", &id, "-o", "json"], "");
    assert_eq!(waited.status.code(), Some(125));
    assert_eq!(serde_json::from_slice::<Value>(&waited.stdout).unwrap()["status"], "canceled");
    assert_eq!(serde_json::from_slice::<Value>(&waited.stderr).unwrap()["code"], "canceled");
}

#[test]
fn interrupted_run_leaves_the_job_running() {
    let server = Server::simulated();
    let mut run = Command::new(binary())
        .args(["--server", server.url(), "run", "busybox", "--wait", "sleep", "600"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    signal(run.id(), "INT");
    assert_eq!(run.wait().unwrap().code(), Some(130));
    line.clear();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("the job goes on: "), "{line}");
    let id = stdout(&server.cli(&["ls", "-q"], ""));
    server.until(id.trim(), "running");
}

#[test]
fn wait_ends_with_124_at_timeout() {
    let server = Server::simulated();
    let id = server.submit(later("busybox"));
    let waited = server.cli(&["wait", &id, "--timeout", "1ms"], "");
    assert_eq!(waited.status.code(), Some(124), "{}", stderr(&waited));
    assert!(stderr(&waited).contains("not over after 1ms"));
}

#[test]
fn wait_takes_any_or_all_jobs() {
    let server = Server::simulated();
    let never = server.submit(later("busybox"));
    let run = |code: &str| {
        let command = ["sh", "-c", &format!("exit {code}")].map(str::to_owned);
        server.submit(json!({"job_name": "busybox", "date": "now", "command": command}))
    };
    let (good, bad) = (run("0"), run("9"));
    server.wait(&good);
    let any = server.cli(&["wait", "--any", &never, &good], "");
    assert_eq!(any.status.code(), Some(0), "{}", stderr(&any));
    let all = server.cli(&["wait", "-q", &good, &bad], "");
    assert_eq!(all.status.code(), Some(9));
    let mut ids: Vec<String> = stdout(&all).lines().map(str::to_owned).collect();
    ids.sort();
    let mut expected = vec![good, bad];
    expected.sort();
    assert_eq!(ids, expected);
}

#[test]
fn ids_are_taken_by_their_end() {
    let server = Server::simulated();
    let ids: Vec<String> = (0..3).map(|_| server.submit(later("busybox"))).collect();
    let shown = server.cli(&["inspect", &ids[1][22..], "-q"], "");
    assert_eq!(stdout(&shown).trim(), ids[1], "{}", stderr(&shown));
    assert_eq!(server.cli(&["inspect", &ids[1][..4]], "").status.code(), Some(5));
    assert_eq!(server.cli(&["inspect", &ids[1][29..]], "").status.code(), Some(3));
}

#[test]
fn errors_are_problem_documents_with_json() {
    let server = Server::simulated();
    let missing = server.cli(&["inspect", "ffffffff", "-o", "json"], "");
    let problem: Value = serde_json::from_slice(&missing.stderr).unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&json!("no_such_job"), &json!(404)));
    let nowhere = server.cli(&["--json", "ls", "--server", "http://127.0.0.1:1"], "");
    let problem: Value = serde_json::from_slice(&nowhere.stderr).unwrap();
    assert_eq!(problem["code"], "unreachable");
    let in_words = server.cli(&["stop", &server.submit(later("busybox"))], "");
    assert!(stderr(&in_words).contains("`tidetable rm "), "{}", stderr(&in_words));
}

#[test]
fn lists_have_forms_for_programs() {
    let server = Server::simulated();
    let (first, second) = (server.submit(later("busybox")), server.submit(later("alpine:3")));
    let said = |arguments: &[&str]| stdout(&server.cli(arguments, ""));
    assert_eq!(said(&["ls", "-q"]), format!("{second}\n{first}\n"));
    assert_eq!(said(&["-o", "name", "ps"]), said(&["list", "--quiet"]));
    assert_eq!(said(&["ls", "-q", "-n", "1"]), format!("{second}\n"));
    let lines = said(&["ls", "-o", "ndjson"]);
    let jobs: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&jobs[0]["id"], &jobs[1]["id"]), (&json!(second), &json!(first)));
    let maps: Value = serde_json::from_str(&said(&["ls", "--json"])).unwrap();
    assert_eq!(maps["scheduled"].as_object().unwrap().len(), 2);
    let tsv = said(&["ls"]);
    assert_eq!(tsv.lines().next(), Some("ID\tJOB\tSTATUS\tDUE\tSTARTED\tEXIT\tREASON"));
    let due = tsv.lines().nth(1).unwrap().split('\t').nth(3).unwrap();
    assert!(due.ends_with('Z') && due.contains('T'), "{due}");
    assert_eq!(said(&["cancel", &first, "-q"]), format!("{first}\n"));
}

#[test]
fn ls_filters_by_name_label_and_state() {
    let server = Server::simulated();
    let mut labelled = later("busybox");
    labelled["labels"] = json!({"team": "a", "tier": "1"});
    let labelled = server.submit(labelled);
    let other = server.submit(later("alpine:3"));
    server.delete(&format!("/job/{other}"));
    let said = |arguments: &[&str]| stdout(&server.cli(&[&["ls", "-q"], arguments].concat(), ""));
    let labelled = format!("{labelled}\n");
    assert_eq!(said(&["--label", "team=a", "-l", "tier"]), labelled);
    assert_eq!(said(&["--label", "team=b"]), "");
    assert_eq!(said(&["--name", "busybox"]), labelled);
    assert_eq!(said(&["--name", "alpine:3"]), "");
    assert_eq!(said(&["--state", "failed,canceled"]), format!("{other}\n"));
    assert_eq!(said(&["-a", "--since", "1h"]).lines().count(), 2);
    assert_eq!(said(&["-a", "--since", "2099-01-01T00:00:00Z"]), "");
    assert_eq!(server.cli(&["ls", "--since", "soon"], "").status.code(), Some(2));
}

#[test]
fn tables_fit_the_terminal() {
    let server = Server::simulated();
    let fields = json!({"job_name": "registry.example.com/a/very/long/name/of/an/image:2026-06-20",
        "cron": "30 2 * * *", "time_zone": "Europe/Berlin"});
    let put = server.cli(&["schedule", "apply", "nightly", "-f", "-"], &fields.to_string());
    assert!(put.status.success(), "{put:?}");
    for arguments in [&["ls"][..], &["schedule", "ls"], &["forecast"], &["definition", "ls"]] {
        let (shown, code) = on_terminal(&server, &[arguments, &["--color", "never"]].concat());
        assert_eq!(code, Some(0), "{shown}");
        let longest = shown.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 80, "{longest} columns:\n{shown}");
    }
    let (full, _) = on_terminal(&server, &["ls", "--full"]);
    assert!(full.contains("an/image:2026-06-20"), "{full}");
}

#[test]
fn terminal_shows_short_ids_and_words() {
    let server = Server::simulated();
    let id = server.submit(later("busybox"));
    let (shown, _) = on_terminal(&server, &["ls", "--color", "never"]);
    assert!(!shown.contains(&id[..20]) && shown.contains(&id[28..]), "{shown}");
    assert!(shown.contains("in 60 min") || shown.contains("in 59 min"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    server.delete(&format!("/job/{id}"));
    let (coloured, _) = on_terminal(&server, &["ls", "-a"]);
    assert!(coloured.contains("\u{1b}[") && coloured.contains("canceled"), "{coloured}");
}

#[test]
fn terminal_output_keeps_only_colours() {
    let server = Server::simulated();
    let hostile = "\u{1b}]0;title\u{7}\u{1b}[31mred\u{1b}[0m\u{1b}[2J end";
    let id =
        server.submit(json!({"job_name": "busybox", "date": "now", "command": ["echo", hostile]}));
    server.kept(&id);
    assert_eq!(stdout(&server.cli(&["logs", &id], "")), format!("{hostile}\n"));
    let (shown, _) = on_terminal(&server, &["logs", &id]);
    assert_eq!(shown, "\u{1b}[31mred\u{1b}[0m end\n");
    let (plain, _) = on_terminal(&server, &["logs", &id, "--color", "never"]);
    assert_eq!(plain, "red end\n");
    let (raw, _) = on_terminal(&server, &["logs", &id, "--raw"]);
    assert_eq!(raw, format!("{hostile}\n"));
    let lines = stdout(&server.cli(&["logs", &id, "-o", "ndjson"], ""));
    assert_eq!(serde_json::from_str::<Value>(&lines).unwrap()["text"], hostile);
}

#[test]
fn hostile_labels_are_escaped_in_tables() {
    let server = Server::simulated();
    let mut job = later("busybox");
    job["labels"] = json!({"a": "\u{1b}[2J\u{202e}b"});
    server.submit(job);
    let (shown, _) = on_terminal(&server, &["ls", "-o", "wide", "--color", "never"]);
    assert!(shown.contains("a=\\u{1b}[2J\\u{202e}b"), "{shown}");
    let json = stdout(&server.cli(&["ls", "--json"], ""));
    assert!(json.contains("\\u202e") && !json.contains('\u{202e}'), "{json}");
}

#[test]
fn current_context_names_the_server() {
    let server = Server::simulated();
    let id = server.submit(later("busybox"));
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.env_remove("TIDETABLE_SERVER").env("XDG_CONFIG_HOME", home.path());
        command.args(arguments).output().unwrap()
    };
    assert!(run(&["context", "set", "here", "--server", server.url()]).status.success());
    assert!(run(&["context", "set", "gone", "--server", "127.0.0.1:1"]).status.success());
    assert!(run(&["context", "use", "here"]).status.success());
    assert_eq!(stdout(&run(&["ls", "-q"])), format!("{id}\n"));
    assert_eq!(run(&["--context", "gone", "ls"]).status.code(), Some(6));
    assert_eq!(stdout(&run(&["context", "ls", "-q"])), "gone\nhere\n");
    assert!(run(&["context", "rm", "here"]).status.success());
    assert_eq!(run(&["context", "use", "here"]).status.code(), Some(2));
}

#[test]
fn definitions_and_schedules_are_shown() {
    let server = Server::simulated();
    let config = "[definitions.report]\nimage = 'busybox'\n[schedules.s]\njob_name = 'report'\ncron = '@daily'";
    for kind in ["definition", "schedule"] {
        assert!(server.cli(&[kind, "apply", "-f", "-"], config).status.success());
    }
    let definition = stdout(&server.cli(&["definition", "show", "report"], ""));
    assert_eq!(serde_json::from_str::<Value>(&definition).unwrap()["image"], "busybox");
    let schedule = stdout(&server.cli(&["schedule", "show", "s", "--json"], ""));
    assert_eq!(serde_json::from_str::<Value>(&schedule).unwrap()["job_name"], "report");
}

#[test]
fn status_tells_what_the_server_does() {
    let server = Server::simulated();
    server.submit(later("busybox"));
    let long = stdout(&server.cli(&["status"], ""));
    assert!(long.starts_with("running 0 of 256, waiting 1, backlog 0\nnext run in "), "{long}");
    assert!(long.contains("engine simulated"), "{long}");
    let short = stdout(&server.cli(&["status", "--short"], ""));
    assert!(short.starts_with("0 running, next "), "{short}");
    let json = stdout(&server.cli(&["status", "--json"], ""));
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["jobs"]["scheduled"], 1);
}

#[test]
fn pause_and_resume_hold_starts_back() {
    let server = Server::simulated();
    let paused = server.cli(&["pause", "--until", "2h", "--why", "upgrade"], "");
    assert!(stdout(&paused).starts_with("nothing new is started until 20"), "{paused:?}");
    let now = json!({"job_name": "busybox", "date": "now", "command": ["true"]});
    let id = server.submit(now);
    assert_eq!(server.until(&id, "queued")["reason"], "paused");
    assert!(server.cli(&["resume"], "").status.success());
    assert_eq!(server.wait(&id)["status"], "succeeded");
}

#[test]
fn events_tell_past_and_coming_changes() {
    let server = Server::simulated();
    let id = server.submit(json!({"job_name": "busybox", "date": "now", "command": ["true"]}));
    server.wait(&id);
    let events = server.cli(&["events", "--kind", "job", "--job", &id], "");
    let tsv = stdout(&events);
    let last: Vec<&str> = tsv.lines().last().unwrap().split('\t').collect();
    assert_eq!(
        (last[2], last[3], last[4], last[6]),
        ("job", "busybox", &*id, "succeeded"),
        "{tsv}"
    );
    let (shown, _) = on_terminal(&server, &["events", "--color", "never"]);
    assert!(shown.contains(&format!("job {} busybox", &id[24..])), "{shown}");
    let mut watch = Command::new(binary())
        .args(["--server", server.url(), "ls", "--watch", "-q"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let first = server.submit(later("busybox"));
    let mut line = String::new();
    let mut lines = BufReader::new(watch.stdout.take().unwrap());
    // The first list may already hold the job.
    lines.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), first);
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn config_check_finds_mistakes_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        Command::new(binary()).args(["config", "check"]).arg(&file).output().unwrap()
    };
    assert!(check("[server]\nlisten = '127.0.0.1:0'").status.success());
    let wrong = check("[server]\nlissen = '127.0.0.1:0'");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("lissen"), "{}", stderr(&wrong));
}

#[test]
fn man_writes_a_page_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let ran = Command::new(binary()).arg("man").arg(dir.path().join("man1")).output().unwrap();
    assert!(ran.status.success(), "{}", stderr(&ran));
    let page = std::fs::read_to_string(dir.path().join("man1/tidetable-schedule-ls.1")).unwrap();
    assert!(page.contains("List schedules"), "{page}");
}

#[test]
fn completions_know_schedules_and_ids() {
    let server = Server::simulated();
    let id = server.submit(later("busybox"));
    let schedule = json!({"job_name": "busybox", "cron": "@daily"}).to_string();
    server.cli(&["schedule", "apply", "nightly", "-f", "-"], &schedule);
    let completed = |words: &[&str], url: &str| {
        let mut command = Command::new(binary());
        command.env("TIDETABLE_COMPLETE", "fish").env("TIDETABLE_SERVER", url);
        stdout(&command.args(["--", "tidetable"]).args(words).output().unwrap())
    };
    let names = completed(&["schedule", "show", "n"], server.url());
    assert!(names.starts_with("nightly\t"), "{names}");
    let ids = completed(&["inspect", &id[28..30]], server.url());
    assert!(ids.contains(&id[28..]), "{ids}");
    assert_eq!(completed(&["schedule", "show", "n"], "http://127.0.0.1:1").trim(), "");
    let script = Command::new(binary()).args(["completions", "bash"]).output().unwrap();
    assert!(stdout(&script).contains("TIDETABLE_COMPLETE"));
}
