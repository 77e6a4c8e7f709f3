-- The named queue that a job is in, as its spec says.
ALTER TABLE jobs ADD COLUMN queue TEXT;
-- What a queued job is held back by, as JSON; nothing where it only wants a slot.
ALTER TABLE jobs ADD COLUMN hold TEXT;

UPDATE jobs SET hold = json_object('schedule', schedule),
        detail = json_set(detail, '$.hold', json_object('schedule', schedule))
    WHERE status = 'queued' AND schedule IS NOT NULL AND json_extract(detail, '$.reason') = 'overlap';

-- What is due and waits for a slot alone, in the order in which it goes.
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (priority DESC, due_at, id) WHERE status = 'queued' AND hold IS NULL;
-- What is held back, in the same order under each hold.
CREATE INDEX jobs_held ON jobs (hold, priority DESC, due_at, id) WHERE status = 'queued' AND hold IS NOT NULL;

-- How many run, of each queue and of each name.
CREATE INDEX jobs_running_in_queue ON jobs (queue)
    WHERE queue IS NOT NULL AND status IN ('pulling', 'starting', 'running', 'stopping');
CREATE INDEX jobs_running_by_name ON jobs (name) WHERE status IN ('pulling', 'starting', 'running', 'stopping');
