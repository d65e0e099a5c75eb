-- The job itself under a plan that moves its storages when operators begin.

ALTER TABLE live_run ADD COLUMN boundaries INTEGER NOT NULL DEFAULT 0;     -- operators whose beginning the job said; 0: it was not asked
ALTER TABLE live_run ADD COLUMN due_moves INTEGER NOT NULL DEFAULT 0;      -- planned for the operators that began
ALTER TABLE live_run ADD COLUMN absent_moves INTEGER NOT NULL DEFAULT 0;   -- of them: no block of their storage was there
ALTER TABLE live_run ADD COLUMN followed_steps INTEGER NOT NULL DEFAULT 0; -- moved through to their end
ALTER TABLE live_run ADD COLUMN right_pages INTEGER NOT NULL DEFAULT 0;    -- at the end of one of them: on the node of their tier
ALTER TABLE live_run ADD COLUMN wrong_pages INTEGER NOT NULL DEFAULT 0;    -- not
ALTER TABLE live_run ADD COLUMN deviation TEXT NOT NULL DEFAULT '';        -- of the job from the planned step: from there on nothing moved
