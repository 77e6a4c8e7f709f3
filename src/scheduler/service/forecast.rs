//! The forecast: reads its data from one snapshot of the store.

use std::collections::HashMap;

use chrono::TimeDelta;

use super::handle::Handle;
use crate::domain::forecast::{Draft, Forecast, Known, MAX_ENTRIES, RUNS_LOOKED_AT, typical};
use crate::domain::job::{Job, Map, Status};
use crate::domain::names::id::Timestamp;
use crate::domain::names::image::JobName;
use crate::domain::schedule::record::ScheduleRecord;
use crate::store::{Filter, MAX_PAGE, Snapshot, StoreError};

impl Handle {
    /// Returns the runs expected over the next hours, and where they pile up, as of this snapshot.
    /// Reads only the jobs and runs that the forecast needs, and the schedules one page at a time.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn forecast(
        &self,
        hours: u16,
        mut snapshot: Box<dyn Snapshot>,
    ) -> Result<Forecast, StoreError> {
        let now = self.now();
        let horizon = now.checked_add_signed(TimeDelta::hours(hours.into())).unwrap_or(now);
        self.forecast_until(horizon, &mut *snapshot, |_| {}, |_| {}).await
    }

    /// Returns the forecast up to `horizon`. Shows each running job to `running` and each schedule
    /// to `schedules`, so that a caller needs no second read.
    ///
    /// # Errors
    /// A store that fails.
    pub(super) async fn forecast_until(
        &self,
        horizon: Timestamp,
        snapshot: &mut dyn Snapshot,
        mut running: impl FnMut(&Job),
        mut schedules: impl FnMut(&ScheduleRecord),
    ) -> Result<Forecast, StoreError> {
        let mut draft = Draft::new(self.now(), horizon, MAX_ENTRIES);
        let queued = Filter { statuses: vec![Status::Queued], ..Filter::default() };
        each(snapshot, Map::Running, &Filter::default(), |job| {
            draft.add_running(job);
            running(job);
        })
        .await?;
        each(snapshot, Map::Scheduled, &queued, |job| draft.add_waiting(job)).await?;
        snapshot.due(horizon, MAX_ENTRIES + 1).await?.iter().for_each(|job| draft.add_waiting(job));
        let mut after = None;
        loop {
            let page = snapshot.schedules(after.as_ref(), MAX_PAGE).await?;
            for record in &page {
                draft.schedule(record);
                schedules(record);
            }
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
        }
        let names: Vec<JobName> = draft.names().into_iter().collect();
        let runs = snapshot.runs(&names, RUNS_LOOKED_AT).await?;
        let rules = self.rules();
        let mut known = HashMap::with_capacity(names.len());
        for (name, runs) in names.into_iter().zip(runs) {
            let definition =
                self.definition(&name).await?.map(|defined| defined.spec).unwrap_or_default();
            known.insert(name, Known { expected: typical(runs), definition });
        }
        Ok(draft.finish(&known, rules.max_running(), &rules.catalog.queues))
    }
}

/// Visits the jobs of a map. Stops one job beyond the forecast's limit, so that the forecast
/// notices that there are too many.
async fn each(
    snapshot: &mut dyn Snapshot,
    map: Map,
    filter: &Filter,
    mut take: impl FnMut(&Job),
) -> Result<(), StoreError> {
    let (mut after, mut left) = (None, MAX_ENTRIES + 1);
    while left > 0 {
        let jobs = snapshot.page(map, filter, after, left.min(MAX_PAGE)).await?;
        jobs.iter().for_each(&mut take);
        left -= jobs.len();
        let Some(last) = jobs.last() else { break };
        after = Some(last.id);
    }
    Ok(())
}
