//! The documentation: every command in it prints what the page shows, and the reference of the spec
//! is the one that the code gives.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tidetable::domain::spec::{FieldReference, Form, JobSpec, SpecFields};

use crate::support::binary;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the pages, for users and for developers.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for folder in ["docs", "docs/internals"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        pages.extend(entries.map(|entry| entry.unwrap().path()));
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

#[test]
fn documented_commands_print_what_the_pages_show() {
    let ran = Command::new("python3")
        .arg(root().join("scripts/run_docs.py"))
        .arg(binary())
        .args(pages())
        .output()
        .unwrap();
    let (said, why) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}{why}");
    let commands: usize =
        said.lines().filter_map(|line| line.split(' ').nth(1)?.parse::<usize>().ok()).sum();
    assert!(commands > 100, "the pages show only {commands} commands: {said}");
}

#[test]
fn links_between_pages_lead_to_files() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") || path.contains(' ') {
                continue;
            }
            let file = page.parent().unwrap().join(path);
            assert!(file.exists(), "{}: there is no {link}", page.display());
        }
    }
}

#[test]
fn every_example_in_the_reference_is_valid() {
    for field in SpecFields::REFERENCE {
        let example: Value = serde_json::from_str(field.example).unwrap();
        let mut spec = json!({ field.name: example });
        if field.name == "memory_swap" {
            spec["memory"] = json!("512MiB");
        }
        if field.name == "aim_tolerance" {
            spec["aim"] = json!(true);
        }
        let read: Result<JobSpec, _> = serde_json::from_value(spec);
        assert!(read.is_ok(), "{}: {read:?}", field.name);
    }
}

/// Compares `docs/spec.md` with the reference; `UPDATE_DOCS=1` writes it.
#[test]
fn spec_page_is_the_reference_of_the_code() {
    let path = root().join("docs/spec.md");
    let page = spec_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(page.lines()).find(|(found, page)| found != page);
    assert!(
        found == page,
        "docs/spec.md is not what the code says: run the tests with UPDATE_DOCS=1; first: {differs:?}"
    );
}

const INTRODUCTION: &str = "\
# The spec of a job

A spec says what container to run. The same fields stand in three places:

- beside `job_name` and `date` in `POST /job`, and in the `spec` of a schedule;
- in a definition (`PUT /definition/NAME`), which a job names with `job_name`;
- in a definition of the config file (`[definitions.NAME]`).

A job's fields override the fields of its definition. `env`, `secrets` and `labels` are merged key
by key. An unknown field is refused by name.

Sizes are texts such as `512MiB` or `1.5 GB` (a bare number is bytes). Durations are texts such as
`30s` or `1h 30m`. A form (`curl --form`) gives lists and pairs by repeating the field.

The last column names the settings of a policy that restrict the field: see
[the config reference](config.md). This page is made from the code
(`src/domain/spec/fields.rs`), and a test compares the two.

";

fn spec_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("| field | JSON | without it | in a form | policy |\n|---|---|---|---|---|\n");
    for field in SpecFields::REFERENCE {
        let FieldReference { name, json, default, policy, .. } = field;
        let (form, policy) = (form(field.form), code(policy));
        writeln!(page, "| [`{name}`](#{name}) | {json} | {default} | {form} | {policy} |").unwrap();
    }
    for field in SpecFields::REFERENCE {
        let FieldReference { name, doc, example, .. } = field;
        let doc: Vec<&str> = doc.lines().map(str::trim).collect();
        let doc = doc.join("\n");
        write!(
            page,
            "\n## `{name}`\n\n{}\n\n```json\n{{\"{name}\": {example}}}\n```\n",
            doc.trim()
        )
        .unwrap();
    }
    page
}

fn form(form: Form) -> &'static str {
    match form {
        Form::Text => "text",
        Form::Number => "number",
        Form::Flag => "`true` or `false`",
        Form::List => "one entry each time",
        Form::Pairs => "one `K=V` each time",
        Form::None => "JSON only",
    }
}

/// Returns each setting of a list in backquotes.
fn code(policy: &str) -> String {
    match policy {
        "" => "—".to_owned(),
        words if words.contains(' ') && !words.contains(',') => words.to_owned(),
        settings => {
            let all: Vec<String> = settings.split(", ").map(|name| format!("`{name}`")).collect();
            all.join(", ")
        }
    }
}
