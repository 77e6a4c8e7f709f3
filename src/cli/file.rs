//! Reads the files for `apply`: one entry that is named on the command line, or several entries
//! under their names.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

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
) -> anyhow::Result<Vec<(String, Value)>> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("the standard input cannot be read")?;
    } else {
        text = std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
    }
    read(&text, name, section).with_context(|| format!("{} is not right", file.display()))
}

fn read(text: &str, name: Option<String>, section: &str) -> anyhow::Result<Vec<(String, Value)>> {
    let text = text.trim_start_matches('\u{feff}');
    let mut value: Value = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).context("it is not JSON")?,
        false => {
            toml::from_str(text).context("it is neither JSON (which begins with `{`) nor TOML")?
        }
    };
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
        _ => bail!(
            "say the NAME beside it, or write `{{\"NAME\": {{…}}}}` or `[{section}.NAME]` into it"
        ),
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
        assert!(refused.to_string().contains(said), "{refused}");
    }
}
