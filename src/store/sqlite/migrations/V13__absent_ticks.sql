-- The ticks that did not run, by time, over all schedules. Most ticks run, so the index is small.
CREATE INDEX ledger_absent ON ledger (last, first) WHERE outcome IN ('skipped', 'missed');
