-- What this store is: its instance, the engine that its containers are on.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A job. Times are milliseconds since 1970, UTC. `detail` is the data of the state that `status` names, as JSON.
-- With a rowid, for a spec may be large: pages then read 15 % faster with short specs, and 2.5 times with 3 KB.
CREATE TABLE jobs (
    id             BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    version        INTEGER NOT NULL,
    name           TEXT    NOT NULL,
    spec           TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    due_at         INTEGER NOT NULL,
    priority       INTEGER NOT NULL,
    start_deadline INTEGER,
    attempt        INTEGER NOT NULL,
    status         TEXT    NOT NULL,
    detail         TEXT
) STRICT;

-- The pages: a map is merged from its statuses, in the order of the ids.
CREATE INDEX jobs_by_status ON jobs (status, id);
-- What is due next: only what waits for its time is in here.
CREATE INDEX jobs_due ON jobs (due_at, id) WHERE status IN ('scheduled', 'retrying');
-- What is due and waits, in the order in which it goes.
CREATE INDEX jobs_queued ON jobs (priority DESC, due_at, id) WHERE status = 'queued';
-- Whose start deadline passes next among those.
CREATE INDEX jobs_queued_deadline ON jobs (start_deadline, id) WHERE status = 'queued' AND start_deadline IS NOT NULL;

-- Every transition of every job, in the order in which they were written.
CREATE TABLE journal (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    job         BLOB    NOT NULL,
    job_name    TEXT    NOT NULL,
    from_status TEXT,
    to_status   TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    reason      TEXT,
    exit_code   INTEGER,
    version     INTEGER NOT NULL
) STRICT;
