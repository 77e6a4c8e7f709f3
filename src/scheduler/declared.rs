//! The schedules of the config file: the store's are brought in line with them, before anything is looked at that is due.
//!
//! It may be done as often as one likes: what stands as the file says is not touched, so a restart moves no period and no
//! generation. What was changed counts from now on; what the file has no more is deleted. A caller's schedule of a name
//! that the file declares becomes the file's, as a definition of the file goes before one in the store.

use tracing::{info, warn};

use super::catalog::Unresolved;
use super::schedules::ScheduleError;
use super::{Catalog, Handle, ROUND};
use crate::domain::declared::Source;
use crate::domain::planned::{Change, ScheduleRecord};
use crate::domain::schedule::{Schedule, ScheduleName};
use crate::store::StoreError;

impl Handle {
    /// Makes the store's schedules of the config file those that it declares.
    ///
    /// # Errors
    /// A store that fails; what was done before stays done, and the rest is done by another call.
    pub(super) async fn bring_in_line(&self, catalog: &Catalog) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.shared.store.declared(after.as_ref(), ROUND).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            for name in page.into_iter().filter(|name| !catalog.schedules.contains_key(name)) {
                self.drop_declared(name).await?;
            }
        }
        for (name, schedule) in &catalog.schedules {
            self.declare(name, schedule, catalog).await?;
        }
        Ok(())
    }

    async fn drop_declared(&self, name: ScheduleName) -> Result<(), StoreError> {
        loop {
            match self.shared.store.schedule(&name).await? {
                Some(record) if record.source != Source::Api => {
                    if self.change(record, &Change::Delete).await?.is_some() {
                        info!(schedule = %name, "deleted: the config file has it no more");
                        return Ok(());
                    }
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    async fn declare(&self, name: &ScheduleName, schedule: &Schedule, catalog: &Catalog) -> Result<(), StoreError> {
        let source = Source::declared(schedule);
        let record = loop {
            let Some(record) = self.shared.store.schedule(name).await? else {
                match self.add(name, schedule, source).await? {
                    Some(record) => break record,
                    None => continue,
                }
            };
            let Some(wanted) = record.redeclared(schedule) else { return Ok(()) };
            let was = record.source;
            let change = Change::Put(Box::new(wanted));
            if let Some(Some(record)) = self.change(record.from_source(source), &change).await? {
                if was == Source::Api {
                    warn!(schedule = %name, "a caller's schedule has the name of one in the config file: it is the file's now");
                }
                break record;
            }
        };
        info!(schedule = %name, generation = record.generation.0, "as the config file says");
        self.warn_of_its_job(&record, catalog).await
    }

    /// A job that will not run is worth a word before it is due: here nobody is answered. The engine is not asked, for
    /// whatever is due would wait for that.
    async fn warn_of_its_job(&self, record: &ScheduleRecord, catalog: &Catalog) -> Result<(), StoreError> {
        let (name, own) = (record.schedule.job_name(), record.schedule.spec().clone());
        let why = match self.shared.resolve(catalog, name, own).await {
            Ok(spec) if spec.fields().image.is_none() => format!("`{name}` is neither a definition nor an image"),
            Ok(spec) => match catalog.secrets.check(&spec) {
                Ok(()) => return Ok(()),
                Err(unfit) => unfit.to_string(),
            },
            Err(Unresolved::Denied(denied)) => denied.to_string(),
            Err(Unresolved::Store(failure)) => return Err(failure),
        };
        warn!(schedule = %record.name, %why, "its job would not run as things are");
        Ok(())
    }

    /// Refuses a change of what the config file declares. To be asked after the record was read: the file's word is known
    /// before the store has it, so who reads the file's record finds it here.
    pub(super) fn is_not_declared(&self, name: &ScheduleName) -> Result<(), ScheduleError> {
        match self.shared.rules().catalog.schedules.contains_key(name) {
            true => Err(ScheduleError::InConfig),
            false => Ok(()),
        }
    }
}
