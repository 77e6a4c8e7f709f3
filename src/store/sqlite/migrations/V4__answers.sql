-- What a request with an `Idempotency-Key` was answered; `request` is a hash of the caller and the key, `body` one of what
-- was asked for. Kept for a day.
CREATE TABLE answers (
    request BLOB    NOT NULL PRIMARY KEY CHECK (length(request) = 32),
    body    BLOB    NOT NULL CHECK (length(body) = 32),
    answer  TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which are the oldest.
CREATE INDEX answers_by_age ON answers (at);
