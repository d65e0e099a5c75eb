-- What else a replay that was captured again has to say.
ALTER TABLE recapture ADD COLUMN lost_bytes INTEGER NOT NULL DEFAULT 0;   -- captured and not replayed
ALTER TABLE recapture ADD COLUMN stray_bytes INTEGER NOT NULL DEFAULT 0;  -- replayed and not captured
ALTER TABLE recapture ADD COLUMN rw_bytes INTEGER NOT NULL DEFAULT 0;     -- in both, but read or written by one only
ALTER TABLE recapture ADD COLUMN reuse_distance_most REAL NOT NULL DEFAULT -1; -- of a tensor; -1: unknown
ALTER TABLE recapture ADD COLUMN scale REAL NOT NULL DEFAULT 1;           -- of every storage
ALTER TABLE recapture ADD COLUMN steps INTEGER NOT NULL DEFAULT 0;        -- of the replay that were watched
ALTER TABLE recapture ADD COLUMN equal_steps INTEGER NOT NULL DEFAULT 0;  -- of them like the first, the first included
ALTER TABLE recapture ADD COLUMN lost_samples INTEGER NOT NULL DEFAULT 0; -- by the kernel
ALTER TABLE recapture ADD COLUMN unattributed INTEGER NOT NULL DEFAULT 0; -- accesses to no tensor
ALTER TABLE recapture ADD COLUMN worst TEXT NOT NULL DEFAULT '';          -- the tensor that differs most; '': none does
