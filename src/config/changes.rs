//! Compares a reloaded config with the current one: keys that need a restart, and changes that
//! apply at once.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use super::resolve::Config;
use crate::scheduler::Settings;

impl Config {
    /// Returns the keys that differ in `new` and cannot change while the server runs.
    pub fn fixed_changes(&self, new: &Self) -> Vec<&'static str> {
        // Every field is listed, here and below, so that a new key has to be marked as fixed or
        // changeable.
        let Self {
            listen,
            data_dir,
            engine,
            zone,
            tokens,
            allowed_hosts,
            allow_anonymous,
            settings,
            show_names,
            shutdown_deadline,
            base_path,
            definitions: _,
            schedules: _,
            queues: _,
            policy: _,
            secrets: _,
            registries: _,
            adopt_config: _,
            file: _,
        } = self;
        let changed = [
            ("server.listen", *listen != new.listen),
            ("server.data_dir", *data_dir != new.data_dir),
            ("server.engine or [engines]", *engine != new.engine),
            ("server.time_zone", *zone != new.zone),
            ("server.token_file", *tokens != new.tokens),
            ("server.allowed_hosts", *allowed_hosts != new.allowed_hosts),
            ("server.allow_anonymous", *allow_anonymous != new.allow_anonymous),
            (
                "server.accept_new_engine",
                settings.accept_new_engine != new.settings.accept_new_engine,
            ),
            ("metrics.names", *show_names != new.show_names),
            ("server.shutdown_deadline", *shutdown_deadline != new.shutdown_deadline),
            ("server.base_path", *base_path != new.base_path),
        ];
        changed.into_iter().filter(|(_, is_changed)| *is_changed).map(|(key, _)| key).collect()
    }

    /// Returns the differences in `new` on one line: `+` is new, `~` changed, `-` removed. `None`
    /// if there are none.
    pub fn changes(&self, new: &Self) -> Option<String> {
        let Settings { max_running, max_starting, stage_ahead, accept_new_engine: _ } =
            self.settings;
        let parts = [
            entries("definitions", &self.definitions, &new.definitions),
            entries("schedules", &self.schedules, &new.schedules),
            entries("queues", &self.queues, &new.queues),
            entries("secrets", &self.secrets.0, &new.secrets.0),
            entries("registries", &self.registries, &new.registries),
            (self.policy != new.policy).then(|| "policies: ~default".to_owned()),
            number("limits.max_running", max_running, new.settings.max_running),
            number("limits.max_starting", max_starting, new.settings.max_starting),
            number("limits.stage_ahead", stage_ahead, new.settings.stage_ahead),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn entries<K: Ord + Display, V: PartialEq>(
    what: &str,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> Option<String> {
    let added = new.keys().filter(|name| !old.contains_key(name)).map(|name| format!(" +{name}"));
    let changed = new.iter().filter(|(name, value)| old.get(name).is_some_and(|old| old != *value));
    let changed = changed.map(|(name, _)| format!(" ~{name}"));
    let gone = old.keys().filter(|name| !new.contains_key(name)).map(|name| format!(" -{name}"));
    let all: String = added.chain(changed).chain(gone).collect();
    (!all.is_empty()).then(|| format!("{what}:{all}"))
}

fn number<T: PartialEq + Debug>(key: &str, old: T, new: T) -> Option<String> {
    (old != new).then(|| format!("{key} {old:?} → {new:?}"))
}

#[cfg(test)]
mod tests {
    use crate::config::{args::ServeArgs, resolve::Config};

    fn config(toml: &str) -> Config {
        Config::merge(ServeArgs::default(), toml::from_str(toml).expect("is TOML"), None)
            .expect("is right")
    }

    #[test]
    fn changes_are_listed_on_one_line() {
        let old = config(
            "[definitions.B]\nimage = 'b'\n[definitions.C]\nimage = 'c'\n[schedules.s]\njob_name = 'B'\ncron = '@daily'",
        );
        let new = config(
            "[definitions.A]\nimage = 'a'\n[definitions.B]\nimage = 'b:2'\n[secrets.pw]\nenv = 'PW'\n
             [policies.default]\nmax_pids = 3\n[limits]\nmax_running = 8\n[queues.batch]\nmax_running = 2",
        );
        assert_eq!(
            old.changes(&new).as_deref(),
            Some(
                "definitions: +A ~B -C; schedules: -s; queues: +batch; secrets: +pw; policies: ~default; limits.max_running 256 → 8"
            )
        );
        assert_eq!((old.changes(&old), old.fixed_changes(&new)), (None, vec![]));
    }

    #[test]
    fn changes_that_need_a_restart_are_named() {
        let old = config("");
        for (toml, key) in [
            ("[server]\nlisten = '127.0.0.1:1'", "server.listen"),
            ("[server]\ndata_dir = '/elsewhere'", "server.data_dir"),
            ("[server]\nengine = 'simulated'", "server.engine or [engines]"),
            ("[engines.docker]\nhost = 'tcp://x:1'", "server.engine or [engines]"),
            ("[engines.docker]\npull_stall = '1m'", "server.engine or [engines]"),
            ("[server]\nallowed_hosts = ['x']", "server.allowed_hosts"),
            ("[server]\nallow_anonymous = true", "server.allow_anonymous"),
            ("[server]\naccept_new_engine = true", "server.accept_new_engine"),
            ("[server]\nshutdown_deadline = '1s'", "server.shutdown_deadline"),
            ("[metrics]\nnames = false", "metrics.names"),
        ] {
            assert_eq!(old.fixed_changes(&config(toml)), [key], "{toml}");
        }
    }
}
