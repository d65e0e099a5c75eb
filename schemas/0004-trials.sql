-- What a trial, a live run and a replay that was captured again have to say so that they can be believed.
-- 'unknown' is a word, -1 an unknown number: nothing is absent.

ALTER TABLE capture ADD COLUMN job_cpus INTEGER NOT NULL DEFAULT 0;  -- CPUs the job might run on; 0: unknown

ALTER TABLE replay ADD COLUMN until_width REAL NOT NULL DEFAULT 0;   -- stop rule: relative width of intervals; 0: none
ALTER TABLE replay ADD COLUMN resumed INTEGER NOT NULL DEFAULT 0;    -- how often it was taken up again, by its invocation's command
ALTER TABLE replay ADD COLUMN batch_bytes INTEGER NOT NULL DEFAULT 0; -- streams beyond it are read in batches; 0: whole

ALTER TABLE trial ADD COLUMN threads INTEGER NOT NULL DEFAULT 1;
ALTER TABLE trial ADD COLUMN cpus TEXT NOT NULL DEFAULT 'unknown';   -- "0,1": of the threads, in their order
ALTER TABLE trial ADD COLUMN variant TEXT NOT NULL DEFAULT '';       -- sensitivity: 'k/2', '2k', 'unfiltered', ...
ALTER TABLE trial ADD COLUMN cold INTEGER NOT NULL DEFAULT 0;        -- 1: no warm-up, caches emptied before
ALTER TABLE trial ADD COLUMN page TEXT NOT NULL DEFAULT 'unknown';   -- of the arenas: '4k', 'thp'
ALTER TABLE trial ADD COLUMN store TEXT NOT NULL DEFAULT 'regular';  -- or 'non-temporal'
ALTER TABLE trial ADD COLUMN scheduled_ns REAL NOT NULL DEFAULT 0;   -- captured time the deadlines were made from
ALTER TABLE trial ADD COLUMN deadlines INTEGER NOT NULL DEFAULT 0;   -- chunks with one (overlap full)
ALTER TABLE trial ADD COLUMN late_p50_ns INTEGER NOT NULL DEFAULT 0; -- past them, each chunk
ALTER TABLE trial ADD COLUMN late_p99_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE trial ADD COLUMN late_max_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE trial ADD COLUMN wait_ns INTEGER NOT NULL DEFAULT 0;     -- ops stood still for moves under way (sync helper)
ALTER TABLE trial ADD COLUMN forgiven_ns INTEGER NOT NULL DEFAULT 0; -- lateness of moves and injected waits beyond what is caught up
ALTER TABLE trial ADD COLUMN helper_cpu INTEGER NOT NULL DEFAULT -1; -- of the asynchronous mover; -1: none ran
ALTER TABLE trial ADD COLUMN helper_shares INTEGER NOT NULL DEFAULT 0; -- 1: it shared a CPU with the replay
ALTER TABLE trial ADD COLUMN proofs INTEGER NOT NULL DEFAULT 0;      -- times the whole placement was proved
ALTER TABLE trial ADD COLUMN batches INTEGER NOT NULL DEFAULT 0;     -- of the stream, read while the clock stood still
ALTER TABLE trial ADD COLUMN page_faults INTEGER NOT NULL DEFAULT 0; -- in the measured steps
ALTER TABLE trial ADD COLUMN switches INTEGER NOT NULL DEFAULT 0;    -- involuntary context switches in them
ALTER TABLE trial ADD COLUMN moved_pages INTEGER NOT NULL DEFAULT -1; -- by the kernel, unasked, machine-wide
ALTER TABLE trial ADD COLUMN interference TEXT NOT NULL DEFAULT '';  -- what came between, in words; '': nothing noticed
ALTER TABLE trial ADD COLUMN background TEXT NOT NULL DEFAULT '';    -- contention asked for: "read:50%@far"
ALTER TABLE trial ADD COLUMN background_bps REAL NOT NULL DEFAULT 0; -- that it (or the hog) reached
ALTER TABLE trial ADD COLUMN before TEXT NOT NULL DEFAULT '{}';      -- JSON: the machine's state
ALTER TABLE trial ADD COLUMN after TEXT NOT NULL DEFAULT '{}';

-- Whole-tier byte counts of the hardware beside the engine's own; -1: no counter here.
ALTER TABLE trial_tier ADD COLUMN moves_charged_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE trial_tier ADD COLUMN counter_read_bytes INTEGER NOT NULL DEFAULT -1;
ALTER TABLE trial_tier ADD COLUMN counter_write_bytes INTEGER NOT NULL DEFAULT -1;

ALTER TABLE live_run ADD COLUMN binding TEXT NOT NULL DEFAULT '';    -- kind 'bind': the tiers' nodes and the rule
ALTER TABLE live_run ADD COLUMN policy TEXT NOT NULL DEFAULT '';     -- kind 'policy'
ALTER TABLE live_run ADD COLUMN policy_options TEXT NOT NULL DEFAULT '';
ALTER TABLE live_run ADD COLUMN near_share REAL NOT NULL DEFAULT 1;
ALTER TABLE live_run ADD COLUMN near_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE live_run ADD COLUMN near_peak_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE live_run ADD COLUMN placed INTEGER NOT NULL DEFAULT 0;   -- allocations that followed the plan
ALTER TABLE live_run ADD COLUMN unplaced INTEGER NOT NULL DEFAULT 0; -- allocations the plan did not know
ALTER TABLE live_run ADD COLUMN moves INTEGER NOT NULL DEFAULT 0;
ALTER TABLE live_run ADD COLUMN moved_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE live_run ADD COLUMN background_bps REAL NOT NULL DEFAULT 0;
ALTER TABLE live_run ADD COLUMN parameter_sha256 TEXT NOT NULL DEFAULT 'unknown';
ALTER TABLE live_run ADD COLUMN message TEXT NOT NULL DEFAULT '';

-- A replay that was itself captured, held against the capture it replayed: one row per step class and source.
CREATE TABLE recapture(
  id INTEGER PRIMARY KEY,
  invocation_id INTEGER NOT NULL REFERENCES invocation(id),
  capture_id INTEGER NOT NULL REFERENCES capture(id),    -- that was replayed
  class_id INTEGER NOT NULL REFERENCES step_class(id),
  source TEXT NOT NULL,                  -- that watched the replay
  tensors INTEGER NOT NULL,              -- of the class that are visited
  same_extents INTEGER NOT NULL,         -- of them: the same extents in the same order
  captured_bytes INTEGER NOT NULL,       -- by visits
  replayed_bytes INTEGER NOT NULL,
  resolution_bytes INTEGER NOT NULL,     -- both sides rounded to it
  reuse_distance_emd REAL NOT NULL,      -- earth mover's distance of reuse-distance histograms, in octaves
  message TEXT NOT NULL DEFAULT ''
) STRICT;
