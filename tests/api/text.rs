//! Bytes that are not UTF-8, everywhere the API takes text: the answer refuses them and names the
//! field, and no job is scheduled.

#![expect(clippy::unwrap_used, reason = "a test may")]

use crate::support::{Answer, Server};
use serde_json::json;

fn form(server: &Server, method: &str, path: &str, body: &[u8]) -> Answer {
    server.call(method, path, &[("content-type", "application/x-www-form-urlencoded")], body)
}

fn part(name: &[u8], more: &[u8], value: &[u8]) -> Vec<u8> {
    [
        b"--x\r\ncontent-disposition: form-data; name=\"",
        name,
        b"\"",
        more,
        b"\r\n\r\n",
        value,
        b"\r\n",
    ]
    .concat()
}

fn multipart(server: &Server, last: Vec<u8>) -> Answer {
    let parts = [
        part(b"job_name", b"", b"busybox"),
        part(b"date", b"", b"1h"),
        last,
        b"--x--\r\n".to_vec(),
    ];
    server.call(
        "POST",
        "/job",
        &[("content-type", "multipart/form-data; boundary=x")],
        &parts.concat(),
    )
}

fn assert_refused(answer: &Answer, field: &str) {
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["field"], field, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("UTF-8"), "{problem}");
}

#[test]
fn form_with_invalid_utf8_is_refused() {
    let server = Server::simulated();
    for (more, field) in [
        (&b"command=echo --format=\xe4"[..], "command"),
        (b"command=echo+--format=%ae", "command"),
        (b"env=A%3D%c3%28", "env"),
        (b"labels=a=%ED%A0%80", "labels"),
        (b"stop_grace=%ff", "stop_grace"),
        (b"%ff=1", "%ff"),
    ] {
        assert_refused(
            &form(&server, "POST", "/job", &[b"job_name=busybox&date=1h&", more].concat()),
            field,
        );
    }
    assert_refused(&form(&server, "POST", "/job", b"job_name=%ff&date=1h"), "job_name");
    assert_refused(&form(&server, "POST", "/job", b"job_name=busybox&date=%ff"), "date");
    assert_refused(&form(&server, "DELETE", "/job", b"job_id=%ff"), "job_id");
    assert_eq!(server.get("/jobs").json()["scheduled"], json!({}));
}

#[test]
fn multipart_with_invalid_utf8_is_refused() {
    let server = Server::simulated();
    assert_refused(&multipart(&server, part(b"command", b"", b"echo \xae")), "command");
    let file = b"; filename=\"a.txt\"\r\ncontent-type: text/plain; charset=iso-8859-1";
    assert_refused(&multipart(&server, part(b"command", file, b"echo \xe4")), "command");
    assert_eq!(multipart(&server, part(b"comm\xffand", b"", b"echo")).status, 400);
    assert_eq!(server.get("/jobs").json()["scheduled"], json!({}));
}

#[test]
fn non_ascii_text_is_accepted() {
    let server = Server::simulated();
    let mark = "\u{feff}echo ä".as_bytes();
    for answer in [
        form(&server, "POST", "/job", b"job_name=busybox&date=now&command=echo+%C3%A4"),
        form(&server, "POST", "/job", "job_name=busybox&date=now&command=echo ä".as_bytes()),
        multipart(&server, part(b"command", b"; filename=\"a.txt\"", mark)),
    ] {
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

#[test]
fn json_with_invalid_utf8_is_refused() {
    let server = Server::simulated();
    let post =
        |body: &[u8]| server.call("POST", "/job", &[("content-type", "application/json")], body);
    assert_refused(
        &post(b"{\"job_name\":\"busybox\",\"date\":\"1h\",\"command\":\"echo \xe4\"}"),
        "command",
    );
    assert_eq!(
        post(b"{\"job_name\":\"busybox\",\"date\":\"1h\",\"command\":\"echo \\ud800\"}").status,
        400
    );
    let put =
        server.call("PUT", "/schedule/s", &[], b"{\"job_name\":\"busybox\",\"cron\":\"\xff\"}");
    assert_refused(&put, "cron");
    let marked = post(b"\xef\xbb\xbf{\"job_name\":\"busybox\",\"date\":\"1h\"}")
        .assert_problem(400, "invalid_json");
    assert!(marked["detail"].as_str().unwrap().contains("byte order mark"), "{marked}");
}

#[test]
fn path_or_query_with_invalid_utf8_is_refused() {
    let server = Server::simulated();
    for (path, field) in [
        ("/schedule/%ff", "name"),
        ("/schedule/%ff/next", "name"),
        ("/definition/a%c3", "name"),
        ("/job/%ff", "id"),
        ("/job/%ff/logs", "id"),
        ("/jobs?job_name=%ff", "job_name"),
        ("/jobs?cursor=%ff", "cursor"),
        ("/jobs?label=a%3d%80", "label"),
        ("/schedules?cursor=%ff", "cursor"),
        ("/jobs?%ff=1", "%ff"),
    ] {
        assert_refused(&server.get(path), field);
    }
    assert_refused(&server.delete("/job?job_id=%ff"), "job_id");
}

#[test]
fn non_ascii_header_is_refused() {
    let server = Server::simulated();
    let key = server.call("POST", "/job", &[("idempotency-key", "ä")], b"job_name=busybox&date=1h");
    key.assert_problem(400, "invalid_header");
    server
        .call("DELETE", "/schedule/s", &[("if-match", "ä")], b"")
        .assert_problem(400, "invalid_header");
}

#[test]
fn argument_with_invalid_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let server = Server::simulated();
    let ran = std::process::Command::new(crate::support::binary())
        .args(["--server", server.url(), "run", "busybox", "--"])
        .arg(std::ffi::OsStr::from_bytes(b"echo\xe4"))
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(2), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn token_file_with_unsendable_token_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    for content in [
        &b"\xef\xbb\xbf0123456789abcdef"[..],
        b"0123456789abcdef\xff",
        "0123456789abcdefä".as_bytes(),
    ] {
        std::fs::write(&file, content).unwrap();
        let ran = std::process::Command::new(crate::support::binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--engine", "simulated", "--data-dir"])
            .arg(dir.path().join("data"))
            .arg("--token-file")
            .arg(&file)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(!ran.status.success() && said.contains("the token file"), "{said}");
    }
}
