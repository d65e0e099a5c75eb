-- Where the real job ran: as its replay, on one CPU per thread of the capture.
ALTER TABLE live_run ADD COLUMN cpus TEXT NOT NULL DEFAULT 'unknown'; -- "0,1"
