//! The architecture: a module uses only modules below it, no files form a circle, and every file has
//! a header.
//!
//! Each file is parsed, and its `use` items and paths are resolved to files (`uses`). Test code is
//! left out.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// The top modules, each with the others that it may use.
const MODULES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("sync", &[]),
    ("metrics", &["domain"]),
    ("store", &["domain", "metrics"]),
    ("engine", &["domain", "clock", "sync", "metrics"]),
    ("scheduler", &["domain", "clock", "sync", "metrics", "store", "engine"]),
    ("config", &["domain", "scheduler"]),
    ("http", &["domain", "metrics", "scheduler", "store"]),
    ("client", &["http"]),
    ("supervise", &[]),
    ("notify", &["domain", "clock", "metrics", "store"]),
    ("reload", &["config", "store"]),
    (
        "app",
        &[
            "domain",
            "clock",
            "config",
            "metrics",
            "store",
            "engine",
            "scheduler",
            "http",
            "supervise",
            "notify",
            "reload",
        ],
    ),
    ("cli", &["http", "app", "client", "clock", "config", "store", "supervise"]),
];

/// The wings of the domain from the bottom up; each uses only wings before it.
const WINGS: &[&str] = &[
    "text",
    "names",
    "container",
    "output",
    "precondition",
    "spec",
    "recurrence",
    "job",
    "protocol",
    "admission",
    "schedule",
    "forecast",
    "tide",
];

/// A module's path, without `crate`.
type Module = Vec<String>;

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

/// Returns every source file with its module and its text.
fn all() -> Vec<(Module, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let module = |path: &Path| -> Module {
        let path = path.strip_prefix(&root).unwrap().with_extension("");
        let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
        parts.filter(|part| !matches!(part.as_str(), "mod" | "lib" | "main")).collect()
    };
    sources(&root)
        .into_iter()
        .map(|path| (module(&path), path.clone(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Collects the paths in one file, as modules.
struct Paths<'a> {
    /// The module of the code that is visited: the file's own, or one nested in it.
    here: Module,
    /// The child modules that the file declares.
    children: BTreeSet<String>,
    modules: &'a BTreeSet<Module>,
    used: BTreeSet<Module>,
}

impl Paths<'_> {
    /// Notes the file that a path leads to, if it is one of ours.
    fn note(&mut self, path: &[String]) {
        let Some(first) = path.first() else { return };
        let mut full = match first.as_str() {
            "crate" => path[1..].to_vec(),
            "self" => [&self.here, &path[1..]].concat(),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                [&self.here[..self.here.len().saturating_sub(ups)], &path[ups..]].concat()
            }
            child if self.children.contains(child) => [&self.here, path].concat(),
            _ => return,
        };
        while !self.modules.contains(&full) {
            if full.pop().is_none() {
                return;
            }
        }
        self.used.insert(full);
    }

    fn note_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.note_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.note(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.note(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.note(before),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.note_tree(before, tree));
            }
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|ident| ident == "test")
    })
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.note_tree(&[], &item.tree);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) && item.content.is_some() {
            self.here.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.here.pop();
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 {
            self.note(&parts);
        }
        syn::visit::visit_path(self, path);
    }

    /// `pub(in crate::module)` is no use of that module.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

/// Returns for each file the files that it uses.
fn uses() -> BTreeMap<Module, BTreeSet<Module>> {
    let files = all();
    let modules: BTreeSet<Module> = files.iter().map(|(module, ..)| module.clone()).collect();
    let test_modules = |items: &[syn::Item]| -> Vec<String> {
        let modules = items.iter().filter_map(|item| match item {
            syn::Item::Mod(item) if is_test(&item.attrs) => Some(item.ident.to_string()),
            _ => None,
        });
        modules.collect()
    };
    let (mut found, mut tests) = (BTreeMap::new(), Vec::new());
    for (module, path, text) in &files {
        let file =
            syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        tests.extend(
            test_modules(&file.items).into_iter().map(|name| [&module[..], &[name]].concat()),
        );
        let children = file.items.iter().filter_map(|item| match item {
            syn::Item::Mod(item) if item.content.is_none() => Some(item.ident.to_string()),
            _ => None,
        });
        let mut paths = Paths {
            here: module.clone(),
            children: children.collect(),
            modules: &modules,
            used: BTreeSet::new(),
        };
        paths.visit_file(&file);
        paths.used.remove(module);
        found.insert(module.clone(), paths.used);
    }
    let is_test = |module: &Module| tests.iter().any(|test| module.starts_with(test));
    found.retain(|module, _| !is_test(module));
    found
}

/// Returns a circle of files that begins at `from`, if there is one.
fn circle(uses: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> Option<Vec<Module>> {
    let (mut paths, mut seen) = (vec![vec![from.clone()]], BTreeSet::new());
    while let Some(path) = paths.pop() {
        for next in uses.get(path.last().unwrap()).into_iter().flatten() {
            if next == from {
                return Some(path);
            }
            if seen.insert(next.clone()) {
                paths.push([&path[..], std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

#[test]
fn modules_use_only_modules_below_them() {
    for (module, used) in uses() {
        let Some(top) = module.first().filter(|top| *top != "lib") else { continue };
        let (_, allowed) = MODULES
            .iter()
            .find(|(name, _)| name == top)
            .unwrap_or_else(|| panic!("{} is in no listed module", module.join("::")));
        for used in used.iter().filter_map(|used| used.first()) {
            assert!(
                used == top || allowed.contains(&used.as_str()),
                "{} must not use {used}",
                module.join("::")
            );
        }
    }
}

#[test]
fn wings_of_the_domain_use_only_lower_wings() {
    let floor = |module: &Module| {
        let wing = module.get(1)?;
        let floor = WINGS.iter().position(|name| name == wing);
        Some(floor.unwrap_or_else(|| panic!("{} is in no listed wing", module.join("::"))))
    };
    for (module, used) in
        uses().into_iter().filter(|(module, _)| module.first().is_some_and(|top| top == "domain"))
    {
        let Some(own) = floor(&module) else { continue };
        for used in used {
            assert!(
                floor(&used).is_some_and(|other| other <= own),
                "{} must not use {}",
                module.join("::"),
                used.join("::")
            );
        }
    }
}

#[test]
fn no_files_form_a_circle() {
    let uses = uses();
    for module in uses.keys() {
        if let Some(circle) = circle(&uses, module) {
            let circle: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            panic!("a circle of files: {}", circle.join(" → "));
        }
    }
}

/// The check of the checks: it knows the uses that are there.
#[test]
fn uses_are_found() {
    let uses = uses();
    let module = |path: &str| -> Module { path.split("::").map(str::to_owned).collect() };
    let of = |path: &str| uses.get(&module(path)).unwrap_or_else(|| panic!("no file {path}"));
    assert!(of("domain::protocol::step").contains(&module("domain::job")));
    assert!(of("scheduler::tasks").contains(&module("scheduler::context")));
    assert!(of("http::router").contains(&module("http::api::jobs")));
    assert!(!uses.keys().any(|module| module.contains(&"model".to_owned())));
}

#[test]
fn domain_has_no_clock_rng_or_runtime() {
    for (_, path, text) in
        all().into_iter().filter(|(module, ..)| module.first().is_some_and(|top| top == "domain"))
    {
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
    for path in files.into_iter().filter(|path| !path.ends_with("architecture.rs")) {
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
