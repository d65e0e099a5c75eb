-- Moves of a job that says no operators are made at the allocator's events that stand for them: how far before them those lie, over the
-- moves of a planned step. All 0 where the job says its operators itself, and where nothing moves.

ALTER TABLE live_run ADD COLUMN early_moves INTEGER NOT NULL DEFAULT 0;  -- of a step: made at an earlier operator's event
ALTER TABLE live_run ADD COLUMN early_ops REAL NOT NULL DEFAULT 0;       -- median over all moves of a step
ALTER TABLE live_run ADD COLUMN early_ops_max INTEGER NOT NULL DEFAULT 0;
ALTER TABLE live_run ADD COLUMN early_ns REAL NOT NULL DEFAULT 0;        -- the same in captured time
ALTER TABLE live_run ADD COLUMN early_ns_max REAL NOT NULL DEFAULT 0;
