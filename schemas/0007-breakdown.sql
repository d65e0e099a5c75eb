-- Where a trial's time went, on the thread that drives the replay; with policy_ns, what is missing to wall_ns is dispatch.
-- -1: not known, the trial is older.
ALTER TABLE trial ADD COLUMN memory_ns INTEGER NOT NULL DEFAULT -1;    -- accesses; of ops below 256 KiB one in 16 is timed
ALTER TABLE trial ADD COLUMN injected_ns INTEGER NOT NULL DEFAULT -1;  -- waits of accesses that injected tiers asked for
ALTER TABLE trial ADD COLUMN compute_ns INTEGER NOT NULL DEFAULT -1;   -- captured compute time, waited out
ALTER TABLE trial ADD COLUMN stall_ns INTEGER NOT NULL DEFAULT -1;     -- stood still for moves, injection included
