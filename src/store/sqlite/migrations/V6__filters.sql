-- The pages of a name, of a schedule: each of their statuses in the order of the ids.
CREATE INDEX jobs_by_name ON jobs (name, status, id);
CREATE INDEX jobs_by_schedule ON jobs (schedule, status, id) WHERE schedule IS NOT NULL;

-- In which map a job is shown. It changes twice in the life of most, and their status five times.
ALTER TABLE jobs ADD COLUMN map TEXT NOT NULL GENERATED ALWAYS AS (CASE
    WHEN status IN ('scheduled', 'queued', 'retrying') THEN 'scheduled'
    WHEN status IN ('pulling', 'starting', 'running', 'stopping') THEN 'running'
    ELSE 'history' END) VIRTUAL;

-- An index over labels, of which a job has many and an index's entry holds one. Triggers keep it, as SQLite keeps an index:
-- nothing that writes a job has to remember it. A job without labels costs a look for the word.
CREATE TABLE job_labels (
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    map   TEXT NOT NULL,
    job   BLOB NOT NULL,
    PRIMARY KEY (key, value, map, job)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER label_new_job AFTER INSERT ON jobs WHEN instr(NEW.spec, '"labels"')
BEGIN
    INSERT INTO job_labels SELECT key, value, NEW.map, NEW.id
        FROM json_each(iif(json_valid(NEW.spec), NEW.spec, '{}'), '$.labels') WHERE type = 'text';
END;

CREATE TRIGGER label_moved_job AFTER UPDATE OF status, spec ON jobs
    WHEN (OLD.map <> NEW.map OR OLD.spec <> NEW.spec) AND (instr(OLD.spec, '"labels"') OR instr(NEW.spec, '"labels"'))
BEGIN
    DELETE FROM job_labels WHERE (key, value, map, job) IN (SELECT key, value, OLD.map, OLD.id
        FROM json_each(iif(json_valid(OLD.spec), OLD.spec, '{}'), '$.labels') WHERE type = 'text');
    INSERT INTO job_labels SELECT key, value, NEW.map, NEW.id
        FROM json_each(iif(json_valid(NEW.spec), NEW.spec, '{}'), '$.labels') WHERE type = 'text';
END;

CREATE TRIGGER unlabel_gone_job AFTER DELETE ON jobs WHEN instr(OLD.spec, '"labels"')
BEGIN
    DELETE FROM job_labels WHERE (key, value, map, job) IN (SELECT key, value, OLD.map, OLD.id
        FROM json_each(iif(json_valid(OLD.spec), OLD.spec, '{}'), '$.labels') WHERE type = 'text');
END;

-- The jobs there are.
INSERT INTO job_labels SELECT label.key, label.value, jobs.map, jobs.id
    FROM jobs, json_each(iif(json_valid(jobs.spec), jobs.spec, '{}'), '$.labels') AS label
    WHERE instr(jobs.spec, '"labels"') AND label.type = 'text';
