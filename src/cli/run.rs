//! `tidetable run`: makes a job from the flags that `docker run` users type, and from a file.

use std::path::PathBuf;
use std::pin::pin;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use futures::future::{self, Either};
use serde_json::{Map, Value, json};

use super::display::{self, Display};
use super::errors::{Usage, WhileWaiting};
use super::wait::Outcome;
use super::{complete, exit, file, interrupt, jobs, mounts, text, wait};
use crate::client::Client;

/// The arguments of `tidetable run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Image or definition to run
    #[arg(
        value_name = "IMAGE|JOB",
        required_unless_present = "file",
        add = ArgValueCompleter::new(complete::definitions)
    )]
    name: Option<String>,
    /// Command to run in the container, with its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Delay until the job is due, such as 30s or "1h 30m"
    #[arg(long = "in", value_name = "DELAY", conflicts_with = "at", allow_hyphen_values = true)]
    delay: Option<String>,
    /// Date at which the job is due, such as "20-06-2021 13:25:28" or 13:25
    #[arg(long, value_name = "DATE")]
    at: Option<String>,
    /// Wait until the job is over, and exit with its exit code
    #[arg(long)]
    wait: bool,
    /// Print the output while the job runs, and wait
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    spec: SpecArgs,
}

/// The flags that become fields of the spec.
#[derive(Args, Debug)]
#[command(next_help_heading = "Fields of the job")]
struct SpecArgs {
    /// File with fields as JSON or TOML; flags go before it; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Environment variable; K alone takes its value from here; may be repeated
    #[arg(short = 'e', long = "env", value_name = "K=V")]
    env: Vec<String>,
    /// File with environment variables, K=V in each line; may be repeated
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Label; may be repeated
    #[arg(short = 'l', long = "label", value_name = "K=V")]
    label: Vec<String>,
    /// Secret of the server's config: NAME as a file, VARIABLE=NAME as a variable
    #[arg(long, value_name = "NAME")]
    secret: Vec<String>,
    /// Limit of memory, such as 512m or 1GiB
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit of processors, such as 1.5
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// Bind mount or volume, /HOST:/TARGET[:ro] or NAME:/TARGET[:ro]; may be repeated
    #[arg(short, long, value_name = "SOURCE:TARGET", value_parser = mounts::volume)]
    volume: Vec<Value>,
    /// Mount, type=bind,source=/HOST,target=/TARGET[,readonly]; may be repeated
    #[arg(long, value_name = "K=V,…", value_parser = mounts::mount)]
    mount: Vec<Value>,
    /// User of the process: user, uid or uid:gid
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Program to run in place of the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Network: bridge, none, host or a name
    #[arg(long, alias = "net", value_name = "NAME")]
    network: Option<String>,
    /// When to pull the image: always, missing or never
    #[arg(long, value_name = "WHEN")]
    pull: Option<String>,
    /// Longest time that the job may run, such as 5m
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Number of further attempts after a failure
    #[arg(long, value_name = "N")]
    retry: Option<u32>,
    /// Queue of the server's config
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Priority among jobs that wait; the highest goes first
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i32>,
}

pub(super) async fn run(client: &Client, args: RunArgs, display: &Display) -> anyhow::Result<u8> {
    let waits = args.wait || args.follow;
    let follows = args.follow;
    let order = order(args)?;
    if !waits {
        return jobs::done(&client.submit(&order).await?, display);
    }
    let mut pressed = pin!(interrupt::pressed());
    let done = match future::select(pressed.as_mut(), pin!(client.submit(&order))).await {
        Either::Left(((), _)) => return Ok(exit::INTERRUPTED),
        Either::Right((done, _)) => done.map_err(|error| WhileWaiting(error.into()))?,
    };
    if display.is_names() {
        display.one(&done, &done.id, String::new)?;
    } else if !display.is_json() {
        eprintln!("{}", text::clean(&done.message));
    }
    display::warnings(&done.warnings);
    match wait::attend(client, &done.id, follows, display, pressed).await {
        Ok(Outcome::Over(job)) => {
            if display.is_json() {
                display.json(&*job)?;
            }
            wait::exit_code(&job)
        }
        Ok(Outcome::Interrupted) => Ok(exit::INTERRUPTED),
        Err(error) => Err(WhileWaiting(error).into()),
    }
}

/// Builds the body of `POST /job`. The flags go before the fields of the file.
fn order(args: RunArgs) -> anyhow::Result<Value> {
    let mut order = match &args.spec.file {
        Some(file) => file::fields(file)?,
        None => Map::new(),
    };
    if let Some(date) = args.delay.or(args.at) {
        order.insert("date".to_owned(), json!(date));
    }
    order.entry("date").or_insert_with(|| json!("now"));
    let name = args.name.map(Value::from).or_else(|| order.get("job_name").cloned());
    let name = name.or_else(|| order.get("image").cloned()).ok_or_else(|| {
        Usage(
            "the file names neither `job_name` nor `image`: write IMAGE or JOB after `run`"
                .to_owned(),
        )
    })?;
    order.insert("job_name".to_owned(), name);
    if !args.command.is_empty() {
        order.insert("command".to_owned(), json!(args.command));
    }
    args.spec.lay_over(&mut order)?;
    Ok(Value::Object(order))
}

impl SpecArgs {
    /// Writes the flags over these fields. Pairs and lists are added to those that are there.
    fn lay_over(self, order: &mut Map<String, Value>) -> anyhow::Result<()> {
        let mut env = Vec::new();
        for file in &self.env_file {
            env.extend(file::variables(file)?);
        }
        env.extend(self.env);
        let env = env.into_iter().filter_map(|variable| match variable.contains('=') {
            true => Some(variable),
            false => std::env::var(&variable).ok().map(|value| format!("{variable}={value}")),
        });
        add_pairs(order, "env", env)?;
        add_pairs(order, "labels", self.label.into_iter())?;
        add(order, "secrets", self.secret.into_iter().map(Value::from).collect())?;
        add(order, "mounts", [self.volume, self.mount].concat())?;
        let fields = [
            ("memory", self.memory.map(Value::from)),
            ("cpus", self.cpus.map(|cpus| json!(cpus))),
            ("user", self.user.map(Value::from)),
            ("workdir", self.workdir.map(Value::from)),
            ("entrypoint", self.entrypoint.map(|program| json!([program]))),
            ("network", self.network.map(Value::from)),
            ("pull", self.pull.map(Value::from)),
            ("timeout", self.timeout.map(Value::from)),
            ("retry", self.retry.map(|attempts| json!({ "attempts": attempts }))),
            ("queue", self.queue.map(Value::from)),
            ("priority", self.priority.map(Value::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                order.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }
}

/// Adds `K=V` pairs to a field that holds an object or a list of such pairs.
fn add_pairs(
    order: &mut Map<String, Value>,
    field: &str,
    pairs: impl Iterator<Item = String>,
) -> Result<(), Usage> {
    let pairs: Vec<String> = pairs.collect();
    match order.get_mut(field) {
        Some(Value::Object(there)) => {
            for pair in pairs {
                let (key, value) = pair.split_once('=').ok_or_else(|| {
                    Usage(format!("`{pair}` is no pair for `{field}`: write K=V"))
                })?;
                there.insert(key.to_owned(), json!(value));
            }
            Ok(())
        }
        _ => add(order, field, pairs.into_iter().map(Value::from).collect()),
    }
}

/// Adds entries to a field that is a list.
fn add(order: &mut Map<String, Value>, field: &str, entries: Vec<Value>) -> Result<(), Usage> {
    if entries.is_empty() {
        return Ok(());
    }
    match order.entry(field).or_insert_with(|| json!([])) {
        Value::Array(there) => {
            there.extend(entries);
            Ok(())
        }
        _ => Err(Usage(format!("the file's `{field}` is no list, so a flag cannot add to it"))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn ordered(line: &str) -> Value {
        let words = shell_words::split(line).expect("a line");
        order(Line::try_parse_from(words).expect("is right").run).expect("an order")
    }

    #[test]
    fn flags_of_docker_run_become_fields() {
        let order = ordered(
            "run -m 512m --cpus 1.5 -v /in:/in:ro -v cache:/cache -u 1:1 --network none -w /srv \
             --pull always --entrypoint /e --retry 2 -e A=1 -l t=a --secret db --timeout 5m \
             --queue etl --priority -3 busybox sh -c 'echo hi'",
        );
        assert_eq!(
            order,
            json!({
                "job_name": "busybox", "date": "now", "command": ["sh", "-c", "echo hi"],
                "memory": "512m", "cpus": 1.5, "user": "1:1", "network": "none",
                "workdir": "/srv", "pull": "always", "entrypoint": ["/e"],
                "retry": {"attempts": 2}, "env": ["A=1"], "labels": ["t=a"], "secrets": ["db"],
                "timeout": "5m", "queue": "etl", "priority": -3,
                "mounts": [
                    {"type": "bind", "source": "/in", "target": "/in", "read_only": true},
                    {"type": "volume", "source": "cache", "target": "/cache"},
                ],
            })
        );
    }

    #[test]
    fn command_may_follow_two_dashes() {
        let order = ordered("run busybox --in 1h -- ls -l --wait");
        assert_eq!(order["command"], json!(["ls", "-l", "--wait"]));
        assert_eq!(order["date"], "1h");
        assert_eq!(ordered("run busybox ls -l")["command"], json!(["ls", "-l"]));
    }

    #[test]
    fn flags_go_before_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("job.toml");
        let fields =
            "image = 'busybox'\ntimeout = '1m'\ncommand = ['a']\n[env]\nA = '1'\nB = '2'\n";
        std::fs::write(&file, fields).expect("a file");
        let order = ordered(&format!("run --timeout 2m -e B=3 -f {}", file.display()));
        assert_eq!(
            order,
            json!({
                "job_name": "busybox", "image": "busybox", "date": "now", "command": ["a"],
                "timeout": "2m", "env": {"A": "1", "B": "3"},
            })
        );
    }
}
