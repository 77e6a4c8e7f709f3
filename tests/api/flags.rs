//! Flags: client flags and variables given to a server, which takes none of them for its own
//! protection; and output into a pipe that its reader closes.

#![expect(clippy::unwrap_used, reason = "a test may")]

use crate::support::{Server, binary};

#[test]
fn client_token_flag_is_refused_by_serve() {
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
fn client_variables_only_warn_a_server() {
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

/// A reader such as `head` closes the pipe after its first lines.
#[test]
fn closed_pipe_ends_a_command_quietly() {
    let server = Server::simulated();
    for arguments in [&["completions", "bash"][..], &["ls", "-a"], &["preview", "* * * * *"]] {
        let mut command = std::process::Command::new(binary());
        command.args(arguments).env("TIDETABLE_SERVER", server.url());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {said}");
    }
}
