//! Architecture rules: a module uses only modules below it, and every file states in its header
//! what it owns.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules, each with the modules that it may use. All other uses are forbidden.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("sync", &[]),
    ("store", &["domain"]),
    ("engine", &["domain", "clock", "sync"]),
    ("scheduler", &["domain", "clock", "sync", "store", "engine"]),
    ("config", &["domain", "scheduler"]),
    ("api", &["domain", "scheduler", "store"]),
    ("client", &["api"]),
    ("supervise", &[]),
    ("notify", &["domain", "clock", "store"]),
    ("reload", &["config", "store"]),
    (
        "app",
        &[
            "domain",
            "clock",
            "config",
            "store",
            "engine",
            "scheduler",
            "api",
            "supervise",
            "notify",
            "reload",
        ],
    ),
    ("cli", &["api", "app", "client", "clock", "config", "store", "supervise"]),
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn all() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let room = |path: &Path| {
        path.strip_prefix(&root)
            .unwrap()
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned()
    };
    sources(&root)
        .into_iter()
        .map(|path| (room(&path), path.clone(), fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn modules_use_only_modules_below_them() {
    for (room, path, text) in all() {
        if matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let (_, allowed) = ROOMS
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("{} is in no listed module", path.display()));
        for used in text.split("crate::").skip(1) {
            let used: String =
                used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let is_a_room = ROOMS.iter().any(|(name, _)| *name == used);
            assert!(
                !is_a_room || used == room || allowed.contains(&used.as_str()),
                "{}: {room} must not use {used}",
                path.display()
            );
        }
    }
}

#[test]
fn domain_has_no_clock_rng_or_runtime() {
    for (_, path, text) in all().into_iter().filter(|(room, ..)| room == "domain") {
        for forbidden in [
            "tokio",
            "Utc::now",
            "Instant::now",
            "SystemTime::now",
            "std::fs",
            "std::net::Tcp",
            "rand::",
        ] {
            assert!(!text.contains(forbidden), "{} has {forbidden}", path.display());
        }
    }
}

#[test]
fn only_the_clock_module_reads_the_time() {
    for (_, path, text) in all() {
        assert!(path.ends_with("clock.rs") || !text.contains("Utc::now()"), "{}", path.display());
    }
}

#[test]
fn every_file_has_a_header_and_readable_length() {
    for (_, path, text) in all() {
        assert!(text.starts_with("//!"), "{} does not say what it owns", path.display());
        // Readers look up single entries in tables of cases and in the model, so their length does
        // not matter.
        if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "model") {
            continue;
        }
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        assert!(lines <= 480, "{} has {lines} lines: does it own two things?", path.display());
    }
}

/// Requires `biased`: without it, `select!` draws random numbers of its own, and one seed would no
/// longer give one run.
#[test]
fn every_select_is_biased() {
    for (_, path, text) in all() {
        for choice in text.split("tokio::select! {").skip(1) {
            assert!(
                choice.trim_start().starts_with("biased;"),
                "{}: a `select!` without `biased;`",
                path.display()
            );
        }
    }
}

/// Requires a network namespace: a dockerd without a bridge deletes any `docker0` that it finds on
/// its network.
#[test]
fn every_dockerd_starts_in_its_own_network() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = [sources(&root.join("tests")), sources(&root.join("benches"))].concat();
    files.extend(fs::read_dir(root.join("scripts")).unwrap().map(|entry| entry.unwrap().path()));
    let mut starts = 0;
    for path in files.into_iter().filter(|path| !path.ends_with("house.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("//") && !line.starts_with('#'))
        {
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            let (starts_one, apart) = if is_rust {
                (
                    line.contains("command(\"dockerd\")")
                        || line.contains("Command::new(\"dockerd"),
                    "apart.command(",
                )
            } else {
                (line.contains(" dockerd \\"), "\"${APART[@]}\" dockerd")
            };
            assert!(!starts_one || line.contains(apart), "{}: {line}", path.display());
            starts += usize::from(starts_one);
            assert!(
                !line.contains("netns exec"),
                "{}: it mounts another /sys: {line}",
                path.display()
            );
            let may = path.ends_with("engine.sh") && line.starts_with("try_start");
            assert!(!line.contains("--bridge=none") || may, "{}: {line}", path.display());
        }
    }
    assert_eq!(starts, 2, "those of `make test`, and those of the tests");
}
