-- Of a schedule that the config file declares: whether the file says that it is paused (0 or 1). Beside what a caller made of
-- it, so that only a change in the file outranks a caller. Nothing for a schedule of a caller.
ALTER TABLE schedules ADD COLUMN config_paused INTEGER;

-- Those that the file has declared.
CREATE INDEX schedules_declared ON schedules (name) WHERE config_paused IS NOT NULL;
