-- A named template. Each write is a row of its own with the next revision, which is never given twice: not to another
-- definition, and not to one of the same name that was removed and made again.
CREATE TABLE definitions (
    revision   INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL UNIQUE,
    spec       TEXT    NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
