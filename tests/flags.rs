//! Flags and variables of clients, given to a server: none is taken for something that protects it.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{Server, binary};

#[test]
fn a_clients_token_does_not_start_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(binary());
    command.args([
        "serve",
        "--token",
        "abc",
        "--engine",
        "simulated",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    let ran = command.arg(dir.path().join("data")).current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("--token-file"), "{said}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn a_clients_variables_start_a_server_with_a_warning() {
    let variables =
        [("TIDETABLE_TOKEN", "0123456789abcdef"), ("TIDETABLE_SERVER", "http://127.0.0.1:1")];
    let server = Server::start(&["--engine", "simulated"], "", &variables);
    assert_eq!(server.get("/jobs").status, 200);
    let log = server.log();
    assert!(
        log.lines().any(|line| line.contains("WARN") && line.contains("TIDETABLE_TOKEN")),
        "{log}"
    );
}
