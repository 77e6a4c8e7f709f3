//! The reference page, written from the document: plain HTML that reads without a stylesheet.

use std::fmt::Write;

use serde_json::Value;

use super::problems::{KINDS, Kind};
use crate::domain::job::Status;
use crate::http::web::stylesheet;

/// The methods in the order of the page.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Returns the page for this document.
pub(super) fn render(document: &Value) -> String {
    let mut page = String::with_capacity(128 * 1024);
    put(
        &mut page,
        format_args!(
            concat!(
                "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
                "<meta name=\"color-scheme\" content=\"light dark\">\n",
                "<title>HTTP API · Tidetable</title>\n",
                "<link rel=\"stylesheet\" href=\"{}\">\n</head>\n<body>\n",
                "<header class=\"bar\"><a class=\"brand\" href=\"jobs\">Tidetable</a></header>\n",
                "<main>\n<h1>HTTP API</h1>\n",
                "<p>Every call of this server. The same as a document for programs: ",
                "<a href=\"openapi.json\">OpenAPI 3.1</a>.</p>\n",
            ),
            stylesheet()
        ),
    );
    contents(&mut page, document);
    for tag in list(&document["tags"]) {
        element(&mut page, "h2", text(&tag["name"]), &title(text(&tag["name"])));
        line(&mut page, "p", text(&tag["description"]));
        for (method, path, call) in
            calls(document).filter(|(_, _, call)| call["tags"][0] == tag["name"])
        {
            section(&mut page, document, method, path, call);
        }
    }
    schemas(&mut page, document);
    problems(&mut page);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Yields every call with its method and path, by path.
fn calls(document: &Value) -> impl Iterator<Item = (&'static str, &str, &Value)> {
    entries(&document["paths"]).flat_map(|(path, item)| {
        METHODS.into_iter().filter_map(move |method| Some((method, path, item.get(method)?)))
    })
}

fn contents(page: &mut String, document: &Value) {
    page.push_str("<nav aria-label=\"Calls\">\n<ul>\n");
    for (method, path, call) in calls(document) {
        let (id, head) = (text(&call["operationId"]), head(method, path));
        put(page, format_args!("<li><a href=\"#{id}\">{head}</a></li>\n"));
    }
    page.push_str("<li><a href=\"#problems\">Problems</a></li>\n</ul>\n</nav>\n");
}

fn head(method: &str, path: &str) -> String {
    format!("<code>{} {}</code>", method.to_uppercase(), escaped(path))
}

fn section(page: &mut String, document: &Value, method: &str, path: &str, call: &Value) {
    let id = text(&call["operationId"]);
    put(page, format_args!("<section>\n<h3 id=\"{id}\">{}</h3>\n", head(method, path)));
    line(page, "p", text(&call["summary"]));
    for sample in list(&call["x-codeSamples"]) {
        let source = escaped(text(&sample["source"]));
        put(page, format_args!("<pre><code>{source}</code></pre>\n"));
    }
    parameters(page, call);
    body(page, document, call);
    answers(page, call);
    page.push_str("</section>\n");
}

fn parameters(page: &mut String, call: &Value) {
    let mut parameters = list(&call["parameters"]).peekable();
    if parameters.peek().is_none() {
        return;
    }
    table(page, "Parameters", &["name", "in", "value", "meaning"]);
    for parameter in parameters {
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        let (value, doc) = (kind(&parameter["schema"]), text(&parameter["description"]));
        row(page, &[&code(name), place, &value, &prose(doc)]);
    }
    page.push_str("</tbody>\n</table>\n");
}

fn body(page: &mut String, document: &Value, call: &Value) {
    let body = &call["requestBody"];
    let Some(media) = body["content"].get("application/json") else { return };
    let name = text(&media["schema"]["$ref"]).rsplit('/').next().unwrap_or_default();
    let kinds: Vec<String> = entries(&body["content"]).map(|(kind, _)| code(kind)).collect();
    let need = if body["required"] == true { "required" } else { "optional" };
    put(page, format_args!("<h4>Body ({need})</h4>\n<p>{}: ", kinds.join(", ")));
    put(page, format_args!("<a href=\"#schema-{name}\">{name}</a></p>\n"));
    if document["components"]["schemas"].get(name).is_some() {
        let example = escaped(&media["example"].to_string());
        put(page, format_args!("<pre><code>{example}</code></pre>\n"));
    }
}

fn answers(page: &mut String, call: &Value) {
    table(page, "Answers", &["status", "content", "meaning"]);
    for (status, answer) in entries(&call["responses"]) {
        let content = entries(&answer["content"]).map(|(kind, media)| {
            match text(&media["schema"]["$ref"]).rsplit('/').next().filter(|name| !name.is_empty())
            {
                Some(name) => format!("{} <a href=\"#schema-{name}\">{name}</a>", code(kind)),
                None => code(kind),
            }
        });
        let content = content.collect::<Vec<_>>().join(", ");
        let codes = list(&answer["x-problems"]).map(|code| {
            let name = escaped(text(code));
            format!("<a href=\"#problem-{name}\"><code>{name}</code></a>")
        });
        let codes = codes.collect::<Vec<_>>().join(", ");
        let meaning = match text(&answer["description"]) {
            doc if doc.starts_with("A problem") => codes,
            doc if codes.is_empty() => prose(doc),
            doc => format!("{} {codes}", prose(doc)),
        };
        row(page, &[status, &content, &meaning]);
    }
    page.push_str("</tbody>\n</table>\n");
}

fn schemas(page: &mut String, document: &Value) {
    element(page, "h2", "schemas", "Bodies and answers");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        element(page, "h3", &format!("schema-{name}"), name);
        line(page, "p", text(&schema["description"]));
        let parts = std::iter::once(schema).chain(list(&schema["allOf"]));
        let fields: Vec<_> = parts.flat_map(|part| entries(&part["properties"])).collect();
        if fields.is_empty() {
            put(page, format_args!("<p>{}</p>\n", kind(schema)));
            continue;
        }
        table(page, "Fields", &["field", "value", "meaning"]);
        for (name, field) in fields {
            row(page, &[&code(name), &kind(field), &prose(text(&field["description"]))]);
        }
        page.push_str("</tbody>\n</table>\n");
    }
}

fn problems(page: &mut String) {
    element(page, "h2", "problems", "Problems");
    page.push_str("<p>An error is an <code>application/problem+json</code> object. Its ");
    page.push_str("<code>type</code> leads to one of these headings.</p>\n");
    for Kind { code, status, meaning, remedy } in KINDS {
        let codes: Vec<String> = match *code {
            "job_STATUS" => Status::ALL.iter().map(|status| format!("job_{status}")).collect(),
            code => vec![code.to_owned()],
        };
        for code in codes {
            element(page, "h3", &format!("problem-{code}"), &code);
            put(page, format_args!("<p>Status {status}: {}. ", prose(meaning)));
            put(page, format_args!("What to do: {}.</p>\n", prose(remedy)));
        }
    }
}

/// Returns a schema in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    let several = list(&schema["oneOf"]).map(kind).filter(|kind| !kind.is_empty());
    let several = several.collect::<Vec<_>>().join(" or ");
    if !several.is_empty() {
        return several;
    }
    let words = list(&schema["enum"]).chain(schema.get("const")).filter_map(Value::as_str);
    let words = words.map(code).collect::<Vec<_>>().join(", ");
    if !words.is_empty() {
        return words;
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        kind => text(kind).to_owned(),
    };
    match (kinds.as_str(), &schema["minimum"], &schema["maximum"]) {
        ("array", _, _) => format!("list of {}", kind(&schema["items"])),
        (_, Value::Number(least), Value::Number(most)) => format!("{kinds}, {least} to {most}"),
        _ => kinds,
    }
}

fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn table(page: &mut String, caption: &str, heads: &[&str]) {
    put(page, format_args!("<table>\n<caption>{caption}</caption>\n<thead><tr>"));
    for head in heads {
        put(page, format_args!("<th scope=\"col\">{head}</th>"));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
}

/// Adds a row of cells that are HTML already.
fn row(page: &mut String, cells: &[&str]) {
    page.push_str("<tr>");
    for cell in cells {
        put(page, format_args!("<td>{cell}</td>"));
    }
    page.push_str("</tr>\n");
}

fn element(page: &mut String, name: &str, id: &str, content: &str) {
    put(page, format_args!("<{name} id=\"{id}\">{}</{name}>\n", escaped(content)));
}

fn line(page: &mut String, name: &str, content: &str) {
    if !content.is_empty() {
        put(page, format_args!("<{name}>{}</{name}>\n", prose(content)));
    }
}

/// Returns text as HTML, with code between backticks.
fn prose(content: &str) -> String {
    let parts = content.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { code(part) } else { escaped(part) }).collect()
}

fn code(content: &str) -> String {
    format!("<code>{}</code>", escaped(content))
}

fn escaped(content: &str) -> String {
    let mut out = String::with_capacity(content.len());
    for c in content.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

fn put(page: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = page.write_fmt(content);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_escapes_text_and_marks_code() {
        assert_eq!(prose("a `b<c>` & d"), "a <code>b&lt;c&gt;</code> &amp; d");
    }

    #[test]
    fn page_has_a_heading_for_every_call_and_problem() {
        let document = crate::http::openapi::document::build();
        let page = render(&document);
        for (_, _, call) in calls(&document) {
            assert!(page.contains(&format!("id=\"{}\"", text(&call["operationId"]))));
            for code in list(&call["responses"]).flat_map(|answer| list(&answer["x-problems"])) {
                assert!(page.contains(&format!("id=\"problem-{}\"", text(code))), "{code}");
            }
        }
        assert!(page.contains("id=\"problem-job_running\""));
    }
}
