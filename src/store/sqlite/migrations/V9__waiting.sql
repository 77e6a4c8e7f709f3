-- How many jobs wait: counted with each commit, so that a start need not count a million of them.
INSERT INTO meta (key, value) SELECT 'waiting', count(*) FROM jobs WHERE status IN ('scheduled', 'queued', 'retrying');
