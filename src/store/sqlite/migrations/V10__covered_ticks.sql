-- Whether the job of a row is that of a later tick. Such rows share the outcome and the reason of that job.
ALTER TABLE ledger ADD COLUMN covered INTEGER NOT NULL DEFAULT 0;
CREATE INDEX ledger_covered ON ledger (job) WHERE covered = 1;

UPDATE ledger SET covered = 1 WHERE outcome = 'caught_up' AND reason = 'caught_up' AND job IS NOT NULL;
-- They were told as caught up when the job was made. What became of the job is in the row of its own tick.
UPDATE ledger SET (outcome, reason) = (
        SELECT CASE WHEN own.outcome IN ('ran', 'caught_up') THEN 'caught_up' ELSE own.outcome END,
               CASE WHEN own.outcome IN ('ran', 'caught_up') THEN 'caught_up' ELSE own.reason END
        FROM jobs JOIN ledger AS own ON own.schedule = jobs.schedule AND own.generation = jobs.generation
            AND own.first = jobs.nominal
        WHERE jobs.id = ledger.job)
    WHERE covered = 1;
