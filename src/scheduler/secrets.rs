//! Secrets and env files: the values that a container gets from this machine. They are read when
//! the container is created, and kept nowhere.
//!
//! Each error has two messages. The job's message says which secret is missing; the log also says
//! where it was looked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::warn;

use crate::domain::job::Reason;
use crate::domain::job::transition::Failure;
use crate::domain::spec::command::env_file;
use crate::domain::spec::secret::Secret;
use crate::domain::spec::{BadSpec, JobSpec};
use crate::engine::SecretFile;

/// The longest time to read a file, which may be on another machine that is down.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest size in bytes of a secret or an env file.
const MAX_BYTES: u64 = 1024 * 1024;

/// The place from which a secret's value is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    File(PathBuf),
    /// A variable of the server's own environment.
    Variable(String),
}

/// The secrets that the config file declares.
#[derive(Clone, Debug, Default)]
pub struct SecretSources(pub BTreeMap<String, SecretSource>);

impl SecretSources {
    /// Checks that all secrets named by a spec are declared. Whether they can be read shows only
    /// when they are read.
    ///
    /// # Errors
    /// [`BadSpec`] names the first undeclared secret.
    pub fn check(&self, spec: &JobSpec) -> Result<(), BadSpec> {
        let declared = |name: &&str| self.0.contains_key(*name);
        match spec
            .fields()
            .secrets
            .iter()
            .flat_map(|secrets| secrets.names())
            .find(|name| !declared(name))
        {
            None => Ok(()),
            Some(name) => Err(BadSpec {
                field: "secrets",
                detail: format!(
                    "there is no secret `{name}`: the server's config file would have it as `[secrets.{name}]`"
                ),
            }),
        }
    }

    /// Returns the variables from a spec's env files and secrets, without the env file variables
    /// that the spec's `env` overrides.
    pub(super) async fn variables(&self, spec: &JobSpec) -> Result<Vec<(String, Secret)>, Failure> {
        let fields = spec.fields();
        let mut all = BTreeMap::new();
        for path in fields.env_file.iter().flat_map(|files| &files.0) {
            all.extend(read_env_file(Path::new(path)).await?);
        }
        all.retain(|name, _| !fields.env.as_ref().is_some_and(|env| env.0.contains_key(name)));
        for (variable, name) in fields.secrets.iter().flat_map(|secrets| secrets.variables()) {
            let value = self.read(name).await?;
            let text = value
                .as_variable()
                .ok_or_else(|| missing(name, "is not text, and a variable has to be"))?;
            all.insert(variable.to_owned(), Secret::new(text.into()));
        }
        Ok(all.into_iter().collect())
    }

    /// Returns the files from a spec's secrets.
    pub(super) async fn files(&self, spec: &JobSpec) -> Result<Vec<SecretFile>, Failure> {
        let mut files = Vec::new();
        for (file, name) in spec.fields().secrets.iter().flat_map(|secrets| secrets.files()) {
            files.push(SecretFile { name: file.to_owned(), content: self.read(name).await? });
        }
        Ok(files)
    }

    async fn read(&self, name: &str) -> Result<Secret, Failure> {
        let read = match self.0.get(name) {
            None => Err("the config file has none of that name".to_owned()),
            Some(SecretSource::Variable(variable)) => std::env::var_os(variable)
                .map(std::os::unix::ffi::OsStringExt::into_vec)
                .ok_or_else(|| format!("the server has no variable {variable}")),
            Some(SecretSource::File(path)) => read_file(path).await,
        };
        read.map(Secret::new).map_err(|why| {
            warn!(secret = name, %why, "a secret cannot be read");
            missing(name, "cannot be had; the server's log says why")
        })
    }
}

fn missing(name: &str, what: &str) -> Failure {
    Failure::new(Reason::SecretMissing, format!("the secret `{name}` {what}"))
}

async fn read_env_file(path: &Path) -> Result<Vec<(String, Secret)>, Failure> {
    let pairs = read_file(path).await.and_then(|bytes| {
        let text = String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        env_file(&text).map_err(|line| format!("line {line} is not `NAME=value`"))
    });
    let secret = |(name, value): (String, String)| (name, Secret::new(value.into()));
    pairs.map(|pairs| pairs.into_iter().map(secret).collect()).map_err(|why| {
        warn!(file = %path.display(), %why, "an env file cannot be used");
        Failure::new(
            Reason::SecretMissing,
            "an `env_file` of its definition cannot be used; the server's log says why",
        )
    })
}

/// Reads a plain file. A pipe or a device could block the reader forever, so it is refused.
async fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let read = async {
        let about = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?;
        match about.len() {
            _ if !about.is_file() => Err("it is not a file".to_owned()),
            size if size > MAX_BYTES => Err(format!("it is larger than {} KiB", MAX_BYTES / 1024)),
            _ => tokio::fs::read(path).await.map_err(|error| error.to_string()),
        }
    };
    let read = tokio::time::timeout(READ_TIMEOUT, read).await;
    read.unwrap_or_else(|_| Err("it could not be read in time".to_owned()))
        .map_err(|why| format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> JobSpec {
        serde_json::from_str(json).expect("a right spec")
    }

    fn sources(dir: &Path) -> SecretSources {
        std::fs::write(dir.join("pw"), "hunter2\n").expect("a file");
        std::fs::write(dir.join("binary"), [0, 255]).expect("a file");
        SecretSources(BTreeMap::from([
            ("pw".to_owned(), SecretSource::File(dir.join("pw"))),
            ("binary".to_owned(), SecretSource::File(dir.join("binary"))),
            ("gone".to_owned(), SecretSource::File(dir.join("gone"))),
            ("folder".to_owned(), SecretSource::File(dir.to_owned())),
            (
                "unset".to_owned(),
                SecretSource::Variable("TIDETABLE_TEST_NO_SUCH_VARIABLE".to_owned()),
            ),
            ("path".to_owned(), SecretSource::Variable("PATH".to_owned())),
        ]))
    }

    #[tokio::test]
    async fn variables_drop_the_line_end_and_files_keep_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let spec = spec(r#"{"secrets":["A=pw","P=path","/run/secrets/key=binary","pw"]}"#);
        let sources = sources(dir.path());
        let variables = sources.variables(&spec).await.expect("all are there");
        assert_eq!(variables[0], ("A".to_owned(), Secret::new(b"hunter2".to_vec())));
        assert_eq!(variables.len(), 2);
        let files: Vec<_> = sources.files(&spec).await.expect("all are there");
        let files: Vec<_> =
            files.iter().map(|file| (file.name.as_str(), file.content.expose())).collect();
        assert_eq!(files, [("key", &[0, 255][..]), ("pw", b"hunter2\n")]);
    }

    #[tokio::test]
    async fn a_missing_secret_is_named_without_its_path() {
        let dir = tempfile::tempdir().expect("a folder");
        let sources = sources(dir.path());
        for name in ["gone", "folder", "unset", "undeclared", "binary"] {
            let spec = spec(&format!(r#"{{"secrets":["A={name}"]}}"#));
            let failure = sources.variables(&spec).await.expect_err("cannot be had");
            assert_eq!(failure.reason, Reason::SecretMissing);
            assert!(
                failure.error.contains(name) && !failure.error.contains("tmp"),
                "{}",
                failure.error
            );
        }
    }

    #[tokio::test]
    async fn env_and_secrets_override_an_env_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("env");
        std::fs::write(&path, "A=file\nB=file\nC=file\n").expect("a file");
        let spec = spec(&format!(
            r#"{{"env_file":"{}","env":{{"B":"spec"}},"secrets":["C=pw"]}}"#,
            path.display()
        ));
        let variables = sources(dir.path()).variables(&spec).await.expect("all are there");
        let expected = [("A", "file"), ("C", "hunter2")];
        assert_eq!(
            variables,
            expected.map(|(name, value)| (name.to_owned(), Secret::new(value.into())))
        );
        std::fs::write(&path, "A=1\nno name\n").expect("a file");
        let failure = sources(dir.path()).variables(&spec).await.expect_err("is not right");
        assert_eq!(failure.reason, Reason::SecretMissing);
    }
}
