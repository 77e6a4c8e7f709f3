-- Of a schedule that a config file declares: the path of that file. Nothing where an earlier version wrote it; the first
-- file that is read then takes it as its own.
ALTER TABLE schedules ADD COLUMN config_file TEXT;
-- Of one whose file is not the one that is read now: whether it was paused before it was paused for that (0 or 1).
ALTER TABLE schedules ADD COLUMN config_aside INTEGER;
