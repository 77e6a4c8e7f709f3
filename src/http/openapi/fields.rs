//! The schemas of a spec, made from the reference of its fields.
//!
//! A schema accepts the usual ways to write a value. The server also reads some rarer ones, such as
//! durations in words, which `docs/spec.md` lists.

use serde_json::{Map, Value, json};

use crate::domain::job::{Reason, Status};
use crate::domain::spec::{FieldReference, SpecFields};

/// A size such as `64MiB`.
const SIZE: &str = "^[1-9][0-9]{0,2}(MiB|GiB|m|g)$";
/// A duration such as `1h 30m`.
pub(super) const SPAN: &str = "^[1-9][0-9]{0,3}(s|m|h|d)( [1-9][0-9]?s)?$";
/// A name of a volume, a secret or a network.
const WORD: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$";
const ABSOLUTE: &str = "^(/[A-Za-z0-9_-]{1,20}){1,4}$";
const IMAGE: &str = "^[a-z0-9]{1,30}(/[a-z0-9]{1,30}){0,2}(:[a-z0-9]{1,20})?$";
/// A text without a NUL, of which no process can be given any.
const NO_NUL: &str = "^[^\\u0000]*$";
/// A command in one text without quotes, backslashes and NUL.
const PLAIN_COMMAND: &str = "^[^\\u0000\"'\\\\]*[A-Za-z0-9][^\\u0000\"'\\\\]*$";

/// Returns the schema of a spec's fields by name.
pub(super) fn properties() -> Map<String, Value> {
    let field = |field: &FieldReference| (field.name.to_owned(), described(field));
    let all = SpecFields::REFERENCE.iter().filter(|field| field.name != "env_file");
    all.map(field).map(|(name, schema)| (name, or_null(schema))).collect()
}

/// Returns the conditions that concern several fields.
pub(super) fn conditions() -> Value {
    let needs = |field: &str, other: &str, value: Value| {
        json!({
            "if": {"required": [field], "properties": {field: {"not": {"type": "null"}}}},
            "then": {"required": [other], "properties": {other: value}},
        })
    };
    json!([
        needs("memory_swap", "memory", json!({"type": "string"})),
        needs("aim_tolerance", "aim", json!({"const": true})),
    ])
}

/// Returns a schema that also accepts null, which means that the field is not written.
pub(super) fn or_null(mut schema: Value) -> Value {
    if let Some(kinds) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        kinds.push(json!({"type": "null"}));
    } else if schema["type"].is_string() {
        schema["type"] = json!([schema["type"], "null"]);
    }
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    schema
}

/// Returns a schema for a form, in which no value is null.
pub(super) fn never_null(mut schema: Value) -> Value {
    if let Some(kind) = schema["type"].as_array().and_then(|kinds| kinds.first()).cloned() {
        schema["type"] = kind;
    }
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
    schema
}

/// Returns a schema for answers. The server shows some values in another form than it reads, such
/// as `1day`, so the schema has the types but no patterns.
pub(super) fn relaxed(schema: &Value) -> Value {
    const ONLY_OF_REQUESTS: [&str; 9] = [
        "pattern",
        "enum",
        "minimum",
        "maximum",
        "maxItems",
        "propertyNames",
        "required",
        "allOf",
        "additionalProperties",
    ];
    match schema {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !ONLY_OF_REQUESTS.contains(&key.as_str()));
            let kept = kept.filter(|(key, _)| *key != "oneOf");
            kept.map(|(key, value)| (key.clone(), relaxed(value))).collect()
        }
        Value::Array(list) => list.iter().map(relaxed).collect(),
        other => other.clone(),
    }
}

fn described(field: &FieldReference) -> Value {
    let mut schema = schema(field);
    let doc: Vec<&str> = field.doc.lines().map(str::trim).collect();
    let default = match field.default {
        "—" => String::new(),
        default => format!(" Default: {default}."),
    };
    let policy = match field.policy {
        "" => String::new(),
        policy => format!(" Policy: {policy}."),
    };
    schema["description"] = format!("{}{default}{policy}", doc.join(" ").trim()).into();
    if let Ok(example) = serde_json::from_str::<Value>(field.example) {
        schema["examples"] = json!([example]);
    }
    schema
}

/// Returns the schema for the values of a field: its own, else one for its kind.
fn schema(field: &FieldReference) -> Value {
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let list = |items: Value| json!({"type": "array", "items": items, "maxItems": 8});
    match field.name {
        "image" => text(IMAGE),
        "command" | "entrypoint" => {
            let least = usize::from(field.name == "entrypoint");
            json!({"oneOf": [
                {"type": "array", "items": text(NO_NUL), "minItems": least},
                text(PLAIN_COMMAND),
            ]})
        }
        "env" | "labels" => pairs(field.name),
        "secrets" => json!({"oneOf": [
            list(text("^[A-Za-z_][A-Za-z0-9_]{0,30}(=[A-Za-z0-9][A-Za-z0-9_.-]{0,30})?$")),
            {
                "type": "object",
                "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,30}$"},
                "additionalProperties": text(WORD),
            },
        ]}),
        "workdir" => text(ABSOLUTE),
        "user" => text("^[a-z0-9_-]{1,30}(:[a-z0-9_-]{1,30})?$"),
        "hostname" => text("^[A-Za-z0-9]([A-Za-z0-9-]{0,60}[A-Za-z0-9])?$"),
        "network" => text("^(bridge|none|host)$"),
        "extra_hosts" => list(text("^[a-z][a-z0-9]{0,20}:10\\.0\\.[0-9]\\.[1-9]$")),
        "dns" => list(text("^10\\.0\\.[0-9]\\.[1-9]$")),
        "memory" => text("^[1-9][0-9]{1,2}(MiB|m)$"),
        "memory_swap" => text("^[1-9][0-9]{0,2}(GiB|g)$"),
        "cpus" => json!({"type": "number", "minimum": 0.01, "maximum": 4096}),
        "pids" => json!({"type": "integer", "minimum": 1, "maximum": 4_194_304}),
        "priority" => json!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}),
        "max_parallel" => json!({"type": "integer", "minimum": 1, "maximum": 1_000_000}),
        "gpus" => json!({"oneOf": [
            {"type": "string", "enum": ["all"]},
            {"type": "integer", "minimum": 1, "maximum": 64},
            {"type": "array", "items": text(WORD), "minItems": 1},
        ]}),
        "platform" => text("^[a-z0-9]{1,20}/[a-z0-9]{1,20}$"),
        "pull" => json!({"type": "string", "enum": ["missing", "always", "never"]}),
        "stop_signal" => text("^(SIG)?(TERM|INT|HUP|QUIT|KILL|USR1|USR2)$"),
        "cap_add" | "cap_drop" => list(text("^(ALL|CHOWN|KILL|NET_ADMIN|NET_RAW|SYS_TIME)$")),
        "security_opt" => list(json!({"type": "string", "enum": ["no-new-privileges"]})),
        "aim_tolerance" => text("^[1-9][0-9]?ms$"),
        "queue" => text("^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"),
        "mounts" => mounts(),
        "ulimits" => ulimits(),
        "retry" => retry(),
        "notify" => notify(),
        _ => of_kind(field),
    }
}

fn of_kind(field: &FieldReference) -> Value {
    match field.json {
        "true or false" => json!({"type": "boolean"}),
        "number" => json!({"type": "number"}),
        "size" => json!({"type": "string", "pattern": SIZE}),
        "duration" => json!({"type": "string", "pattern": SPAN}),
        "text" => json!({"type": "string"}),
        "list of texts" => json!({"type": "array", "items": {"type": "string"}}),
        "list of objects" => json!({"type": "array", "items": {"type": "object"}}),
        "object" => json!({"type": "object"}),
        _ => json!({}),
    }
}

fn pairs(field: &str) -> Value {
    let prefix = if field == "labels" { "l_" } else { "" };
    let name = format!("^{prefix}[A-Za-z_][A-Za-z0-9_]{{0,30}}");
    json!({"oneOf": [
        {
            "type": "object",
            "propertyNames": {"pattern": format!("{name}$")},
            "additionalProperties": {"type": "string", "pattern": NO_NUL},
        },
        {
            "type": "array",
            "items": {"type": "string", "pattern": format!("{name}=[^\\u0000]*$")},
        },
    ]})
}

fn mounts() -> Value {
    let mount = |kind: &str, required: &[&str], properties: Value| {
        let mut all = properties;
        all["type"] = json!({"const": kind});
        json!({
            "type": "object", "properties": all, "required": required,
            "additionalProperties": false,
        })
    };
    let path = json!({"type": "string", "pattern": ABSOLUTE});
    let flag = json!({"type": "boolean"});
    let name = json!({"type": "string", "pattern": WORD});
    let size = json!({"type": "string", "pattern": SIZE});
    json!({
        "type": "array",
        "maxItems": 1,
        "items": {"oneOf": [
            mount(
                "bind",
                &["type", "source", "target"],
                json!({"source": path, "target": path, "read_only": flag}),
            ),
            mount(
                "volume",
                &["type", "source", "target"],
                json!({"source": name, "target": path, "read_only": flag}),
            ),
            mount("tmpfs", &["type", "target"], json!({"target": path, "size": size})),
        ]},
    })
}

fn ulimits() -> Value {
    json!({
        "type": "array",
        "maxItems": 1,
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "enum": ["nofile", "nproc", "core", "memlock", "stack"]},
                "soft": {"type": "integer", "minimum": 0, "maximum": 1024},
                "hard": {"type": "integer", "minimum": 1024, "maximum": 1_048_576},
            },
            "required": ["name", "soft", "hard"],
            "additionalProperties": false,
        },
    })
}

fn retry() -> Value {
    let mut on: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    on.push("unknown");
    json!({
        "type": "object",
        "properties": {
            "attempts": {"type": "integer", "minimum": 0, "maximum": 1000},
            "delay": {"type": "string", "pattern": SPAN},
            "on": {"type": "array", "items": {"oneOf": [
                {"type": "integer", "minimum": 0, "maximum": 255},
                {"type": "string", "enum": on},
            ]}},
        },
        "additionalProperties": false,
    })
}

fn notify() -> Value {
    use crate::domain::job::Map;
    let ends = Status::ALL.iter().filter(|status| status.map() == Map::History);
    let ends: Vec<&str> = ends.map(|status| status.as_str()).collect();
    let notice = json!({
        "type": "object",
        "properties": {
            "url": {"type": "string", "pattern": "^https?://[a-z]{1,20}\\.example(/[a-z]{1,20})?$"},
            "on": {"type": "array", "items": {"type": "string", "enum": ends}},
        },
        "required": ["url"],
        "additionalProperties": false,
    });
    json!({"oneOf": [notice, {"type": "array", "items": notice, "maxItems": 8}]})
}
