//! Reads the files of commands: for `apply` one entry that is named on the command line, or several
//! under their names; for `run` the fields of a job, and environment variables.

use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::errors::Usage;

/// Reads a JSON or TOML file and returns its entries by name; `-` is standard input. Without a
/// `name`, the file holds an object of names, at its top or under `section`. A config file and the
/// answer to a list call therefore work as well.
///
/// # Errors
/// Fails with a sentence when the file cannot be read or has another form.
pub(super) fn entries(
    file: &Path,
    name: Option<String>,
    section: &str,
) -> Result<Vec<(String, Value)>, Usage> {
    read(&text_of(file)?, name, section).map_err(|why| wrong(file, &why))
}

/// Reads a JSON or TOML file with the fields of one job.
///
/// # Errors
/// Fails with a sentence when the file cannot be read or has another form.
pub(super) fn fields(file: &Path) -> Result<Map<String, Value>, Usage> {
    match parse(&text_of(file)?).map_err(|why| wrong(file, &why))? {
        Value::Object(fields) => Ok(fields),
        _ => Err(wrong(file, "it holds no fields")),
    }
}

/// Reads a file with environment variables, as `docker run --env-file` does: `K=V` or `K` in each
/// line, without quotes; `#` begins a comment.
///
/// # Errors
/// Fails with a sentence when the file cannot be read.
pub(super) fn variables(file: &Path) -> Result<Vec<String>, Usage> {
    let text = text_of(file)?;
    let lines = text.lines().map(str::trim_start);
    Ok(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

fn text_of(file: &Path) -> Result<String, Usage> {
    if file != Path::new("-") {
        return std::fs::read_to_string(file)
            .map_err(|error| Usage(format!("{} cannot be read: {error}", file.display())));
    }
    let mut text = String::new();
    match std::io::stdin().read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Usage(format!("the standard input cannot be read: {error}"))),
    }
}

fn wrong(file: &Path, why: &str) -> Usage {
    Usage(format!("{} is not right: {why}", file.display()))
}

fn parse(text: &str) -> Result<Value, String> {
    let text = text.trim_start_matches('\u{feff}');
    match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}")),
        false => toml::from_str(text).map_err(|error| {
            format!("it is neither JSON (which begins with `{{`) nor TOML: {error}")
        }),
    }
}

fn read(text: &str, name: Option<String>, section: &str) -> Result<Vec<(String, Value)>, String> {
    let mut value = parse(text)?;
    if let Some(name) = name {
        return Ok(vec![(name, value)]);
    }
    if let Some(inner) = value.get_mut(section) {
        value = inner.take();
    }
    match value {
        Value::Object(all) if !all.is_empty() && all.values().all(Value::is_object) => {
            Ok(all.into_iter().collect())
        }
        _ => Err(format!(
            "say the NAME beside it, or write `{{\"NAME\": {{…}}}}` or `[{section}.NAME]` into it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::one_json(r#"{"cron": "@daily"}"#, Some("a"))]
    #[case::after_a_byte_order_mark("\u{feff}{\"cron\": \"@daily\"}", Some("a"))]
    #[case::one_toml("cron = '@daily'", Some("a"))]
    #[case::several(r#"{"a": {"cron": "@daily"}}"#, None)]
    #[case::a_list(r#"{"schedules": {"a": {"cron": "@daily"}}, "next": null}"#, None)]
    #[case::a_config_file("[server]\nlisten = '[::1]:0'\n[schedules.a]\ncron = '@daily'", None)]
    fn a_file_holds_one_or_several_entries(#[case] text: &str, #[case] name: Option<&str>) {
        let read = read(text, name.map(str::to_owned), "schedules").expect("is right");
        assert_eq!(read, [("a".to_owned(), json!({"cron": "@daily"}))]);
    }

    #[rstest]
    #[case::without_a_name(r#"{"cron": "@daily"}"#, "say the NAME beside it")]
    #[case::nothing("", "say the NAME beside it")]
    #[case::no_json("{cron", "it is not JSON")]
    #[case::neither("cron: daily", "neither JSON")]
    fn files_of_another_form_are_refused(#[case] text: &str, #[case] said: &str) {
        let refused = read(text, None, "schedules").expect_err("is not right");
        assert!(refused.contains(said), "{refused}");
    }
}
