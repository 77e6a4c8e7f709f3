//! Mounts as `docker run` takes them: `-v SOURCE:TARGET[:ro]` and `--mount K=V,…`.

use serde_json::{Map, Value, json};

/// Parses `-v`: a bind mount of a host path, or a volume.
pub(super) fn volume(text: &str) -> Result<Value, String> {
    let (source, target, options) = match text.split(':').collect::<Vec<_>>()[..] {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err("write /HOST:/TARGET, NAME:/TARGET, or one of these with :ro".to_owned()),
    };
    if source.starts_with(['.', '~']) || source.is_empty() {
        return Err(format!(
            "`{source}` is a path on this machine: write the full path on the engine's machine, or \
             the name of a volume"
        ));
    }
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    let mut mount = json!({"type": kind, "source": source, "target": target});
    match options {
        "" | "rw" => {}
        "ro" => mount["read_only"] = json!(true),
        _ => return Err(format!("`{options}` is no option of a mount: there are ro and rw")),
    }
    Ok(mount)
}

/// Parses `--mount`, with Docker's names of the keys.
pub(super) fn mount(text: &str) -> Result<Value, String> {
    let mut mount = Map::from_iter([("type".to_owned(), json!("volume"))]);
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let (key, value) = match key {
            "type" => ("type", json!(value)),
            "source" | "src" => ("source", json!(value)),
            "target" | "dst" | "destination" => ("target", json!(value)),
            "readonly" | "ro" | "read_only" => ("read_only", json!(is_yes(key, value)?)),
            "tmpfs-size" | "size" => ("size", json!(value)),
            _ => {
                return Err(format!(
                    "`{key}` is no key of a mount: there are type, source, target, readonly, size"
                ));
            }
        };
        mount.insert(key.to_owned(), value);
    }
    Ok(Value::Object(mount))
}

fn is_yes(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("`{key}` is true or false, not `{value}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_paths_or_names() {
        let bind = json!({"type": "bind", "source": "/a", "target": "/b", "read_only": true});
        assert_eq!(volume("/a:/b:ro"), Ok(bind));
        let named = json!({"type": "volume", "source": "a", "target": "/b"});
        assert_eq!(volume("a:/b:rw"), Ok(named));
        for wrong in ["/a", "./a:/b", "~/a:/b", ":/b", "a:/b:z", "a:b:c:d"] {
            assert!(volume(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mounts_take_the_keys_of_docker() {
        let bind = json!({"type": "bind", "source": "/a", "target": "/b", "read_only": true});
        assert_eq!(mount("type=bind,src=/a,dst=/b,readonly"), Ok(bind));
        let tmpfs = json!({"type": "tmpfs", "target": "/t", "size": "64MiB"});
        assert_eq!(mount("type=tmpfs,target=/t,tmpfs-size=64MiB"), Ok(tmpfs));
        assert!(mount("kind=bind").is_err_and(|error| error.contains("kind")));
        assert!(mount("readonly=perhaps").is_err());
    }
}
