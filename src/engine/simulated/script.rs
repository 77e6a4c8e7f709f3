//! The commands of a simulated container: a small part of a shell, turned into a plan of timed
//! events.
//!
//! Known commands are `true`, `false`, `echo`, `printf`, `sleep`, `exit`, `env` and `trap '' TERM`.
//! `sh -c '…'` runs them one after another, with `;` or `&&`, with `$NAME` from the environment,
//! and with `>&2`. Any other command is not found, as in an image that does not contain it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::names::image::ImageRef;
use crate::domain::output::Channel;

/// The run time of a container without a command.
const IDLE: Duration = Duration::from_millis(100);

/// The course of a process, unless it is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) output: Vec<Written>,
    /// The run time of the process.
    pub(super) runs: Duration,
    pub(super) code: i32,
    /// The number of writes in `output` without a line end.
    pub(super) unfinished: usize,
    /// True if the process ignores the signal that asks it to stop.
    pub(super) ignores_term: bool,
}

/// A write of a process, `after` its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) after: Duration,
    pub(super) channel: Channel,
    pub(super) text: String,
    pub(super) complete: bool,
}

/// The name of a command that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotFound(pub(super) String);

/// Returns the plan of this command in this environment.
pub(super) fn plan(
    command: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<Plan, NotFound> {
    let mut plan = Plan::default();
    match command {
        [] => plan.runs = IDLE,
        [shell, flag, script, ..] if is_shell(shell) && flag == "-c" => {
            run_script(&mut plan, script, environment)
        }
        [shell] if is_shell(shell) => {}
        words => {
            if !is_known(&words[0]) {
                return Err(NotFound(words[0].clone()));
            }
            run_words(&mut plan, Channel::Stdout, words, environment);
        }
    }
    Ok(plan)
}

fn is_shell(word: &str) -> bool {
    matches!(word, "sh" | "/bin/sh" | "ash")
}

fn is_known(word: &str) -> bool {
    matches!(
        word.trim_start_matches("/bin/"),
        "true" | "false" | "echo" | "printf" | "sleep" | "exit" | "env" | "trap"
    )
}

/// Runs a script's commands one after another, until one exits. After a failure, the rest of a
/// statement with `&&` is skipped.
fn run_script(plan: &mut Plan, script: &str, environment: &BTreeMap<String, String>) {
    for statement in split_outside_quotes(script, ";") {
        for part in split_outside_quotes(&statement, "&&") {
            let (channel, part) = redirected(&part);
            let Ok(words) = shell_words::split(&expand(part, environment)) else {
                plan.code = 2;
                return;
            };
            if words.is_empty() {
                continue;
            }
            let exits = words[0] == "exit";
            run_words(plan, channel, &words, environment);
            if exits {
                return;
            }
            if plan.code != 0 {
                break;
            }
        }
    }
}

/// Returns the channel that a command writes to, and the command without the redirection.
fn redirected(part: &str) -> (Channel, &str) {
    match part.trim_end().strip_suffix(">&2") {
        Some(before) => (Channel::Stderr, before.strip_suffix(" 1").unwrap_or(before)),
        None => (Channel::Stdout, part),
    }
}

fn run_words(
    plan: &mut Plan,
    channel: Channel,
    words: &[String],
    environment: &BTreeMap<String, String>,
) {
    let Some((name, arguments)) = words.split_first() else { return };
    plan.code = 0;
    match name.trim_start_matches("/bin/") {
        "true" => {}
        "false" => plan.code = 1,
        "exit" => plan.code = arguments.first().and_then(|code| code.parse().ok()).unwrap_or(0),
        "sleep" => plan.runs = plan.runs.saturating_add(seconds(arguments.first())),
        "trap" => plan.ignores_term = arguments.first().is_some_and(String::is_empty),
        "echo" => put(plan, channel, arguments.join(" "), true),
        "printf" => print(plan, channel, arguments.first().map(String::as_str).unwrap_or_default()),
        "env" => environment
            .iter()
            .for_each(|(name, value)| put(plan, channel, format!("{name}={value}"), true)),
        other => {
            put(plan, Channel::Stderr, format!("sh: {other}: not found"), true);
            plan.code = 127;
        }
    }
}

/// Writes a line, or only its beginning. Continues an unfinished line of the same channel, which
/// then counts as written at the later time.
fn put(plan: &mut Plan, channel: Channel, text: String, complete: bool) {
    // The search is left out for the many lines of a long output.
    let mut writes = plan.output.iter();
    let begun = match plan.unfinished {
        0 => None,
        _ => writes.position(|w| w.channel == channel && !w.complete),
    };
    plan.unfinished += usize::from(!complete);
    plan.unfinished -= usize::from(begun.is_some());
    let beginning = begun.map(|at| plan.output.remove(at).text).unwrap_or_default();
    plan.output.push(Written { after: plan.runs, channel, text: beginning + &text, complete });
}

/// Writes lines. The last one may be unfinished.
fn print(plan: &mut Plan, channel: Channel, text: &str) {
    let text = text.replace("\\n", "\n");
    for line in text.split_inclusive('\n') {
        put(plan, channel, line.trim_end_matches('\n').to_owned(), line.ends_with('\n'));
    }
}

fn seconds(text: Option<&String>) -> Duration {
    let seconds = text
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|s| s.is_finite() && *s >= 0.0)
        .unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Replaces `$NAME` and `${NAME}` outside single quotes. Escapes characters of a value that would
/// end or begin a quote.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        quote = quoted_after(quote, c);
        if c != '$' || quote == Some('\'') {
            out.push(c);
            continue;
        }
        let body = rest.strip_prefix('{').unwrap_or(rest);
        let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
        let (name, after) = body.split_at(end);
        rest = after.strip_prefix('}').filter(|_| rest.starts_with('{')).unwrap_or(after);
        if name.is_empty() {
            out.push(c);
        }
        for c in environment.get(name).map_or("", String::as_str).chars() {
            if matches!(c, '\\' | '"') || (c == '\'' && quote.is_none()) {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out
}

/// Returns the quote that is open after this character.
fn quoted_after(open: Option<char>, c: char) -> Option<char> {
    match open {
        None if c == '\'' || c == '"' => Some(c),
        Some(quote) if quote == c => None,
        None | Some(_) => open,
    }
}

fn split_outside_quotes(text: &str, separator: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if quote.is_none() && rest.starts_with(separator) {
            parts.push(String::new());
            rest = &rest[separator.len()..];
            continue;
        }
        quote = quoted_after(quote, c);
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    parts
}

/// Returns whether the last component of a repository's name begins with `prefix`. This prefix
/// decides the fate of its images.
pub(super) fn begins(image: &ImageRef, prefix: &str) -> bool {
    image.as_str().rsplit('/').next().unwrap_or_default().starts_with(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(command: &[&str]) -> Plan {
        let environment = BTreeMap::from([("K".to_owned(), "V".to_owned())]);
        let words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        plan(&words, &environment).expect("it is known")
    }

    #[test]
    fn script_runs_one_command_after_another() {
        let plan = planned(&[
            "sh",
            "-c",
            "echo one $K; sleep 2 && echo two >&2; printf 'no end'; exit 7; echo never",
        ]);
        assert_eq!((plan.runs, plan.code), (Duration::from_secs(2), 7));
        let said: Vec<(&str, Channel, u64, bool)> = plan
            .output
            .iter()
            .map(|w| (w.text.as_str(), w.channel, w.after.as_secs(), w.complete))
            .collect();
        assert_eq!(
            said,
            [
                ("one V", Channel::Stdout, 0, true),
                ("two", Channel::Stderr, 2, true),
                ("no end", Channel::Stdout, 2, false)
            ]
        );
    }

    #[test]
    fn failure_skips_the_rest_of_its_and_chain() {
        let plan = planned(&["sh", "-c", "false && echo no; echo yes"]);
        assert_eq!(plan.output.iter().map(|w| w.text.as_str()).collect::<Vec<_>>(), ["yes"]);
    }

    #[test]
    fn unknown_command_is_not_found() {
        assert_eq!(
            plan(&["frobnicate".to_owned()], &BTreeMap::new()),
            Err(NotFound("frobnicate".to_owned()))
        );
        assert_eq!(planned(&["sh", "-c", "frobnicate"]).code, 127);
    }

    fn said(script: &str) -> Vec<(String, bool)> {
        let environment = BTreeMap::from([("Q".to_owned(), "it's \"so\" \\ $K".to_owned())]);
        let plan = plan(&["sh".to_owned(), "-c".to_owned(), script.to_owned()], &environment)
            .expect("it is known");
        plan.output.into_iter().map(|w| (w.text, w.complete)).collect()
    }

    #[test]
    fn variable_is_expanded_without_changes() {
        for script in ["echo $Q", "echo \"$Q\"", "echo ${Q}"] {
            assert_eq!(said(script), [("it's \"so\" \\ $K".to_owned(), true)], "{script}");
        }
        assert_eq!(said("echo '$Q' \"it's\" $"), [("$Q it's $".to_owned(), true)]);
    }

    #[test]
    fn redirection_needs_no_space_and_quoted_is_text() {
        let channels = |script: &str| {
            planned(&["sh", "-c", script]).output.iter().map(|w| w.channel).collect::<Vec<_>>()
        };
        assert_eq!(
            channels("echo hi>&2; echo ho 1>&2; echo '>&2'"),
            [Channel::Stderr, Channel::Stderr, Channel::Stdout]
        );
    }

    #[test]
    fn line_written_in_parts_is_one_line() {
        assert_eq!(
            said("printf a; echo b; printf c"),
            [("ab".to_owned(), true), ("c".to_owned(), false)]
        );
    }

    #[test]
    fn endless_sleep_is_not_overflowed_by_another() {
        assert_eq!(
            planned(&["sh", "-c", "sleep 99999999999999999999; sleep 1"]).runs,
            Duration::MAX
        );
    }
}
