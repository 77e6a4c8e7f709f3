-- The journal tells of more than jobs. A row of another kind (`schedule`, `definition`, `engine`, `server`) has its name in
-- `job_name`, its change in `to_status`, and no job (an empty blob), attempt 0, version 0.
ALTER TABLE journal ADD COLUMN kind TEXT NOT NULL DEFAULT 'job';
-- Who caused the change: a caller, `scheduler`, `schedule:NAME`, `config`. Nothing in rows of earlier versions.
ALTER TABLE journal ADD COLUMN by TEXT;
-- The sentence of a failure, as the job has it at that moment.
ALTER TABLE journal ADD COLUMN error TEXT;
-- The schedule of the job.
ALTER TABLE journal ADD COLUMN schedule TEXT;
-- The story of one job.
CREATE INDEX journal_by_job ON journal (job, seq) WHERE kind = 'job';

-- Who submitted the job, and the job that it runs again.
ALTER TABLE jobs ADD COLUMN submitted_by TEXT;
ALTER TABLE jobs ADD COLUMN rerun_of BLOB;
-- When the process of the present or last attempt began, and when the job ended. Both are in `detail` as well; here they are
-- for the index.
ALTER TABLE jobs ADD COLUMN started_at INTEGER;
ALTER TABLE jobs ADD COLUMN ended_at INTEGER;
UPDATE jobs SET
    started_at = CAST(round(unixepoch(coalesce(detail ->> '$.run.started_at', detail ->> '$.started_at',
        detail ->> '$.held.run.started_at'), 'subsec') * 1000) AS INTEGER),
    ended_at = CAST(round(unixepoch(detail ->> '$.at', 'subsec') * 1000) AS INTEGER)
    WHERE status IN ('succeeded', 'failed', 'timed_out', 'stopped', 'canceled', 'missed', 'unknown') AND json_valid(detail);
UPDATE jobs SET
    started_at = CAST(round(unixepoch(coalesce(detail ->> '$.started_at', detail ->> '$.held.run.started_at'), 'subsec') * 1000)
        AS INTEGER)
    WHERE status IN ('running', 'stopping') AND json_valid(detail);

-- What ended when: what the chart and the summary read, without the rows themselves.
CREATE INDEX jobs_ended ON jobs (ended_at, started_at, due_at, status, name, schedule, id) WHERE ended_at IS NOT NULL;
