//! The schedules of the config file: syncs the store's config schedules with them before a round
//! looks at due jobs.
//!
//! The sync may run any number of times. A schedule that matches the file is not touched, so a
//! restart changes no period and no generation. A changed schedule takes effect from now on.
//!
//! A schedule that the file no longer declares is deleted, but only if the same file declared it.
//! Under another file, without a file, or while another server uses the file, schedules are set
//! aside (paused).
//!
//! If the file declares a name that a caller's schedule has, that schedule becomes the file's. In
//! the same way, a definition of the file overrides one in the store.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use tracing::{info, warn};

use super::handle::Handle;
use super::schedules::ScheduleError;
use crate::domain::names::actor::Actor;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::Schedule;
use crate::domain::schedule::record::{Change, ScheduleRecord};
use crate::domain::schedule::source::Source;
use crate::scheduler::resolve::Unresolved;
use crate::scheduler::{
    rules::{Catalog, Origin},
    timing::ROUND,
};
use crate::store::StoreError;

/// The number of schedule names that a notice lists.
const NAMES_SHOWN: usize = 8;

impl Handle {
    /// Syncs the store's config schedules with the config file. Sets the schedules of another file
    /// aside.
    ///
    /// # Errors
    /// A store that fails. Changes made before the failure stay, and another call makes the rest.
    pub(in crate::scheduler) async fn sync_config_schedules(
        &self,
        catalog: &Catalog,
    ) -> Result<(), StoreError> {
        let Origin { path, adopts, is_in_use } = &catalog.file;
        let mut aside = BTreeSet::new();
        let mut after = None;
        loop {
            let page = self.context.store.declared(after.as_ref(), ROUND).await?;
            let Some(last) = page.last() else { break };
            // Called only if there are config schedules: a start that finds all of them in sync
            // writes nothing.
            if after.is_none() && !path.is_empty() {
                self.own(path, *adopts, &page).await?;
            }
            after = Some(last.clone());
            for name in page {
                if *is_in_use || !self.is_of(&name, path).await? {
                    self.set_aside(&name).await?;
                    aside.insert(name);
                } else if !catalog.schedules.contains_key(&name) {
                    self.drop_declared(name).await?;
                }
            }
        }
        for (name, schedule) in &catalog.schedules {
            if *is_in_use {
                if self.context.store.schedule(name).await?.is_none() {
                    self.add(
                        &Actor::Config,
                        name,
                        &schedule.clone().with_paused(true),
                        Source::declared_aside(schedule, path),
                    )
                    .await?;
                }
                aside.insert(name.clone());
            } else if !aside.contains(name) {
                self.declare(name, schedule, catalog).await?;
            }
        }
        self.notice(&aside, &catalog.file);
        Ok(())
    }

    /// Assigns schedules without a known file to this file. If the file adopts, assigns other
    /// files' schedules too.
    async fn own(
        &self,
        path: &str,
        adopts: bool,
        first: &[ScheduleName],
    ) -> Result<(), StoreError> {
        let mut is_news = adopts;
        if let Some(name) = first.first() {
            let record = self.context.store.schedule(name).await?;
            is_news |= record
                .is_some_and(|record| matches!(record.source, Source::Config { file: None, .. }));
        }
        if is_news { self.context.store.assign_config_file(path, adopts).await } else { Ok(()) }
    }

    async fn is_of(&self, name: &ScheduleName, path: &str) -> Result<bool, StoreError> {
        let record = self.context.store.schedule(name).await?;
        Ok(record.is_none_or(|record| record.source == Source::Api || record.source.is_of(path)))
    }

    async fn set_aside(&self, name: &ScheduleName) -> Result<(), StoreError> {
        loop {
            let Some(record) = self.context.store.schedule(name).await? else { return Ok(()) };
            let Some((record, says)) = record.set_aside() else { return Ok(()) };
            if self.change(&Actor::Config, record, &Change::Put(Box::new(says))).await?.is_some() {
                return Ok(());
            }
        }
    }

    fn notice(&self, aside: &BTreeSet<ScheduleName>, file: &Origin) {
        let names: Vec<&str> = aside.iter().map(ScheduleName::as_str).take(NAMES_SHOWN).collect();
        let more = if aside.len() > names.len() { ", …" } else { "" };
        let names = format!("{}{more}", names.join(", "));
        let notice = match (file.is_in_use, file.path.as_str()) {
            _ if aside.is_empty() => None,
            (true, path) => Some(format!(
                "another server that is up runs the schedules of {path}, so they are paused here: {names}; stop that server and start this one again, or start this one with --adopt-config to run them in both"
            )),
            (false, "") => Some(format!(
                "there is no config file, so the schedules of the one that was read before are paused: {names}; start the server with that file (--config FILE)"
            )),
            (false, path) => Some(format!(
                "{path} is another config file than the one that declared these schedules, so they are paused: {names}; start the server with that file, or with --adopt-config to give them to this one"
            )),
        };
        if let Some(notice) = &notice {
            warn!("{notice}");
        }
        *self.context.notices.lock().unwrap_or_else(PoisonError::into_inner) =
            notice.into_iter().collect();
    }

    async fn drop_declared(&self, name: ScheduleName) -> Result<(), StoreError> {
        loop {
            match self.context.store.schedule(&name).await? {
                Some(record) if record.source != Source::Api => {
                    if self.change(&Actor::Config, record, &Change::Delete).await?.is_some() {
                        info!(schedule = %name, "deleted: the config file no longer declares it");
                        return Ok(());
                    }
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    async fn declare(
        &self,
        name: &ScheduleName,
        schedule: &Schedule,
        catalog: &Catalog,
    ) -> Result<(), StoreError> {
        let source = Source::declared(schedule, &catalog.file.path);
        let record = loop {
            let Some(record) = self.context.store.schedule(name).await? else {
                match self.add(&Actor::Config, name, schedule, source.clone()).await? {
                    Some(record) => break record,
                    None => continue,
                }
            };
            let Some(wanted) = record.merge_config(schedule, &catalog.file.path) else {
                return Ok(());
            };
            let was = record.source.clone();
            let change = Change::Put(Box::new(wanted));
            if let Some(Some(record)) =
                self.change(&Actor::Config, record.from_source(source.clone()), &change).await?
            {
                if was == Source::Api {
                    warn!(schedule = %name, "a caller's schedule has the name of one in the config file: it is the file's now");
                }
                break record;
            }
        };
        info!(schedule = %name, generation = record.generation.0, "synced with the config file");
        self.warn_of_its_job(&record, catalog).await
    }

    /// Warns of a job that would not run as things are: nobody else reports that before it is due.
    /// Does not ask the engine, because all due jobs would wait for its answer.
    async fn warn_of_its_job(
        &self,
        record: &ScheduleRecord,
        catalog: &Catalog,
    ) -> Result<(), StoreError> {
        let (name, own) = (record.schedule.job_name(), record.schedule.spec().clone());
        let why = match self.context.resolve(catalog, name, own).await {
            Ok(spec) if spec.fields().image.is_none() => {
                format!("`{name}` is neither a definition nor an image")
            }
            Ok(spec) => match catalog.secrets.check(&spec) {
                Ok(()) => return Ok(()),
                Err(unfit) => unfit.to_string(),
            },
            Err(Unresolved::Denied(denied)) => denied.to_string(),
            Err(Unresolved::Store(failure)) => return Err(failure),
        };
        warn!(schedule = %record.name, %why, "its job could not run now");
        Ok(())
    }

    /// Refuses a change of a schedule that the config file declares. Call it after reading the
    /// record. New rules are known here before the sync writes them to the store. So a caller that
    /// read the file's record is refused.
    pub(in crate::scheduler) fn ensure_not_in_config(
        &self,
        name: &ScheduleName,
    ) -> Result<(), ScheduleError> {
        match self.context.rules().catalog.schedules.contains_key(name) {
            true => Err(ScheduleError::InConfig),
            false => Ok(()),
        }
    }
}
