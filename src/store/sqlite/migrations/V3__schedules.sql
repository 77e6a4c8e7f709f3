-- Where a job comes from: the schedule, its generation, and the nominal time of its tick (nothing for one that was triggered).
ALTER TABLE jobs ADD COLUMN schedule TEXT;
ALTER TABLE jobs ADD COLUMN generation INTEGER;
ALTER TABLE jobs ADD COLUMN nominal INTEGER;

-- The jobs of a schedule that are not over.
CREATE INDEX jobs_of_schedule ON jobs (schedule, id) WHERE schedule IS NOT NULL
    AND status IN ('scheduled', 'queued', 'retrying', 'pulling', 'starting', 'running', 'stopping');

-- A schedule and how far it has come. `fields` is what it says, as JSON; `settled` is the nominal time up to which every
-- tick is accounted for; `ahead` is the tick after that, whose job is there.
CREATE TABLE schedules (
    name        TEXT    NOT NULL PRIMARY KEY,
    version     INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    fields      TEXT    NOT NULL,
    accepted_at INTEGER NOT NULL,
    settled     INTEGER NOT NULL,
    ahead       INTEGER,
    ahead_job   BLOB,
    look_at     INTEGER,
    runs        INTEGER NOT NULL,
    failed      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which has to be looked at next.
CREATE INDEX schedules_to_look_at ON schedules (look_at, name) WHERE look_at IS NOT NULL;

-- What a schedule said in each of its generations, also when it is gone: with it, the ticks of a row can be listed.
CREATE TABLE generations (
    schedule    TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    fields      TEXT    NOT NULL,
    accepted_at INTEGER NOT NULL,
    PRIMARY KEY (schedule, generation)
) STRICT, WITHOUT ROWID;

-- What became of each tick. A row may stand for consecutive ones. Without an outcome while its job waits.
CREATE TABLE ledger (
    schedule   TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    late       INTEGER NOT NULL,
    outcome    TEXT,
    reason     TEXT,
    job        BLOB,
    PRIMARY KEY (schedule, generation, first)
) STRICT, WITHOUT ROWID;

-- As it is read: by time.
CREATE INDEX ledger_by_time ON ledger (schedule, first, generation) WHERE outcome IS NOT NULL;
