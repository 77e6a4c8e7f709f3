-- What is to be told of jobs that have ended, written together with the end. Gone when it was told, or given up. `receiver` is
-- the host of `url`; a letter is sent no earlier than `due_at`, and for so long after `made_at` as is worth it.
CREATE TABLE outbox (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver TEXT    NOT NULL,
    url      TEXT    NOT NULL,
    job      BLOB    NOT NULL,
    seq      INTEGER NOT NULL,
    body     TEXT    NOT NULL,
    made_at  INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    due_at   INTEGER NOT NULL
) STRICT;

-- What one receiver is sent next.
CREATE INDEX outbox_by_receiver ON outbox (receiver, due_at, id);
