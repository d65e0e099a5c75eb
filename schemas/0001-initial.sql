-- The study: one file with captures, testbeds, replays and their provenance.
-- Numbers of closed vocabularies (role, phase, rw, pattern, evidence, ...) are those of core/model/words.h.
-- Times are nanoseconds, sizes bytes, latencies ns, bandwidths bytes per second.
-- rank and host are columns from the start: a capture may come from several of each.

CREATE TABLE name(
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE machine(
  id INTEGER PRIMARY KEY,
  host TEXT NOT NULL,
  cpu TEXT NOT NULL,
  cpus INTEGER NOT NULL,
  nodes INTEGER NOT NULL,
  memory_bytes INTEGER NOT NULL,
  llc_reported_bytes INTEGER NOT NULL,   -- what the CPU says; the effective one is measured: testbed.llc_effective_bytes
  kernel TEXT NOT NULL,
  hypervisor TEXT NOT NULL,              -- 'none', or its name; 'unknown' when it hides
  facts TEXT NOT NULL                    -- JSON: everything else worth keeping, missing values are "unknown"
) STRICT;

-- One row per nearfar command that wrote here.
CREATE TABLE invocation(
  id INTEGER PRIMARY KEY,
  machine_id INTEGER NOT NULL REFERENCES machine(id),
  started_utc TEXT NOT NULL,
  tool_version TEXT NOT NULL,
  command TEXT NOT NULL,                 -- JSON array
  status TEXT NOT NULL DEFAULT 'running' CHECK(status IN ('running', 'complete', 'failed')),
  message TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE capture(
  id INTEGER PRIMARY KEY,
  invocation_id INTEGER NOT NULL REFERENCES invocation(id),
  job TEXT NOT NULL,                     -- JSON array: the job's command line
  job_number INTEGER NOT NULL,           -- the 16 job bits of its regime ids
  framework TEXT NOT NULL DEFAULT 'unknown',
  language TEXT NOT NULL DEFAULT 'unknown',
  threads INTEGER NOT NULL DEFAULT 0,    -- 0: unknown
  status TEXT NOT NULL DEFAULT 'running' CHECK(status IN ('running', 'complete', 'partial')),
  message TEXT NOT NULL DEFAULT ''       -- what is missing, when partial
) STRICT;

CREATE TABLE pass(
  id INTEGER PRIMARY KEY,
  capture_id INTEGER NOT NULL REFERENCES capture(id),
  kind INTEGER NOT NULL CHECK(kind BETWEEN 1 AND 3),   -- bare, timing, access
  source TEXT NOT NULL,                  -- capture source that fed it
  access_evidence INTEGER NOT NULL,
  status TEXT NOT NULL DEFAULT 'running' CHECK(status IN ('running', 'complete', 'partial')),
  exit_status INTEGER,                   -- of the job: 0..255, 128 + signal; NULL while it runs
  wall_ns INTEGER NOT NULL DEFAULT 0,
  cpu_ns INTEGER NOT NULL DEFAULT 0,     -- user + system time of the job
  allocator_peak_bytes INTEGER NOT NULL DEFAULT 0,
  tracked_peak_bytes INTEGER NOT NULL DEFAULT 0,       -- of storages, exact order of events
  untracked_peak_bytes INTEGER NOT NULL DEFAULT 0,     -- part of it that was never an operand
  parameter_sha256 TEXT NOT NULL DEFAULT 'unknown',
  events INTEGER NOT NULL DEFAULT 0,
  lost_events INTEGER NOT NULL DEFAULT 0,
  unattributed_visits INTEGER NOT NULL DEFAULT 0,      -- visits whose address belonged to no known storage
  unattributed_bytes INTEGER NOT NULL DEFAULT 0,
  skipped_device_storages INTEGER NOT NULL DEFAULT 0,
  other_processes INTEGER NOT NULL DEFAULT 0,          -- that ran the hook but were not captured
  ops INTEGER NOT NULL DEFAULT 0,
  steps INTEGER NOT NULL DEFAULT 0,
  unmatched_steps INTEGER NOT NULL DEFAULT 0,          -- no step class of the same structure
  notes TEXT NOT NULL DEFAULT ''                       -- what the hook met and could not see
) STRICT;

CREATE TABLE step_class(
  id INTEGER PRIMARY KEY,
  capture_id INTEGER NOT NULL REFERENCES capture(id),
  number INTEGER NOT NULL,               -- dense, in order of appearance
  hash INTEGER NOT NULL,                 -- over ops, lifetimes and visits
  op_hash INTEGER NOT NULL,              -- over ops and storage sizes: what a timing pass sees
  allocation_hash INTEGER NOT NULL,      -- over storage sizes: what a bare pass sees
  rank INTEGER NOT NULL DEFAULT 0,
  ops INTEGER NOT NULL,
  visits INTEGER NOT NULL,
  visited_bytes INTEGER NOT NULL,
  peak_live_bytes INTEGER NOT NULL,      -- whole pages
  -- The correction from timing pass to bare step time: dur = timed × factor, then gap per op. 0 when unknown.
  bare_step_ns REAL NOT NULL DEFAULT 0,
  timing_step_ns REAL NOT NULL DEFAULT 0,
  timing_ops_ns REAL NOT NULL DEFAULT 0, -- sum of op durations in the timing pass
  correction_factor REAL NOT NULL DEFAULT 0,
  correction_gap_ns REAL NOT NULL DEFAULT 0,
  UNIQUE(capture_id, number)
) STRICT;

CREATE TABLE step(
  pass_id INTEGER NOT NULL REFERENCES pass(id),
  rank INTEGER NOT NULL,
  number INTEGER NOT NULL,
  class_id INTEGER REFERENCES step_class(id),   -- NULL: unmatched, or not known yet
  dur_ns INTEGER NOT NULL,
  allocation_hash INTEGER NOT NULL,
  host_id INTEGER NOT NULL REFERENCES machine(id),
  PRIMARY KEY(pass_id, rank, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE regime(
  capture_id INTEGER NOT NULL REFERENCES capture(id),
  id INTEGER NOT NULL,                   -- core/model/regime.h
  name_id INTEGER NOT NULL REFERENCES name(id),
  PRIMARY KEY(capture_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE op(
  class_id INTEGER NOT NULL REFERENCES step_class(id),
  number INTEGER NOT NULL,
  name_id INTEGER NOT NULL REFERENCES name(id),
  module_id INTEGER NOT NULL REFERENCES name(id),
  phase INTEGER NOT NULL,
  microbatch INTEGER NOT NULL,
  thread INTEGER NOT NULL,
  regime INTEGER NOT NULL,
  -- Uncorrected durations in the timing pass, over all its steps of this class.
  timed INTEGER NOT NULL DEFAULT 0,      -- how many
  dur_mean_ns REAL NOT NULL DEFAULT 0,
  dur_p10_ns REAL NOT NULL DEFAULT 0,
  dur_p50_ns REAL NOT NULL DEFAULT 0,
  dur_p90_ns REAL NOT NULL DEFAULT 0,
  dur_max_ns REAL NOT NULL DEFAULT 0,
  PRIMARY KEY(class_id, number)
) STRICT, WITHOUT ROWID;

-- One storage for one lifetime. Storages that live and die inside a step belong to its class; a storage that
-- outlives a step has class_id NULL and a carry slot.
CREATE TABLE tensor(
  id INTEGER PRIMARY KEY,
  capture_id INTEGER NOT NULL REFERENCES capture(id),
  class_id INTEGER REFERENCES step_class(id),
  carry_slot INTEGER,
  bytes INTEGER NOT NULL,
  dtype_id INTEGER NOT NULL REFERENCES name(id),
  shape_id INTEGER NOT NULL REFERENCES name(id),
  name_id INTEGER NOT NULL REFERENCES name(id),
  module_id INTEGER NOT NULL REFERENCES name(id),
  device TEXT NOT NULL DEFAULT 'cpu',
  rank INTEGER NOT NULL DEFAULT 0,
  birth_regime INTEGER NOT NULL,
  tracked INTEGER NOT NULL,              -- 0: never an operand
  CHECK((class_id IS NULL) = (carry_slot IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX tensor_carry ON tensor(capture_id, carry_slot) WHERE carry_slot IS NOT NULL;

-- A tensor as one step class sees it; `number` is what its visits name.
CREATE TABLE lifetime(
  class_id INTEGER NOT NULL REFERENCES step_class(id),
  number INTEGER NOT NULL,
  tensor_id INTEGER NOT NULL REFERENCES tensor(id),
  birth_op INTEGER NOT NULL,             -- -1: carried in
  death_op INTEGER NOT NULL,             -- inclusive; 2147483647: carried out
  carry_in INTEGER,
  carry_out INTEGER,
  address INTEGER NOT NULL,              -- in the first captured step of the class
  PRIMARY KEY(class_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE role_interval(
  class_id INTEGER NOT NULL,
  number INTEGER NOT NULL,               -- lifetime.number
  role INTEGER NOT NULL,
  from_op INTEGER NOT NULL,
  name_id INTEGER NOT NULL REFERENCES name(id),   -- as what: a tied weight has several
  -- After the key's columns: the integrity check of SQLite 3.40 takes a column between them for NULL.
  to_op INTEGER NOT NULL,
  PRIMARY KEY(class_id, number, role, from_op, name_id),
  FOREIGN KEY(class_id, number) REFERENCES lifetime(class_id, number)
) STRICT, WITHOUT ROWID;

-- Visits: a few thousand a row, columnar, zstd. See core/store/visit-codec.h; read them as rows through the
-- table-valued function visits(class_id).
CREATE TABLE visit_chunk(
  class_id INTEGER NOT NULL REFERENCES step_class(id),
  number INTEGER NOT NULL,
  first_op INTEGER NOT NULL,
  last_op INTEGER NOT NULL,
  visits INTEGER NOT NULL,
  codec INTEGER NOT NULL,
  crc32 INTEGER NOT NULL,                -- of the raw columns
  raw_bytes INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY(class_id, number)
) STRICT;

-- What nearfar measured about a machine's memory, under which conditions.
CREATE TABLE testbed(
  id INTEGER PRIMARY KEY,
  invocation_id INTEGER NOT NULL REFERENCES invocation(id),
  machine_id INTEGER NOT NULL REFERENCES machine(id),
  llc_effective_bytes INTEGER NOT NULL,
  page_bytes INTEGER NOT NULL,
  conditions TEXT NOT NULL               -- JSON: pinning, page size, prefetcher, working set
) STRICT;

CREATE TABLE tier(
  id INTEGER PRIMARY KEY,
  testbed_id INTEGER NOT NULL REFERENCES testbed(id),
  number INTEGER NOT NULL,               -- tier order; 0 is near
  name TEXT NOT NULL,
  provider TEXT NOT NULL,
  spec TEXT NOT NULL,                    -- provider options
  target_latency_ns REAL NOT NULL,       -- 0 where nothing is injected
  target_read_bps REAL NOT NULL,
  latency_ns REAL NOT NULL,              -- measured as replayed, injection included
  read_bps REAL NOT NULL,
  write_bps REAL NOT NULL,
  stream_parallelism REAL NOT NULL,      -- k of a streaming read on it: bandwidth × latency / 64
  gather_parallelism REAL NOT NULL,
  evidence INTEGER NOT NULL,
  UNIQUE(testbed_id, number)
) STRICT;

-- Raw measurements behind testbed and tier: nothing but kept runs.
CREATE TABLE tier_sample(
  id INTEGER PRIMARY KEY,
  testbed_id INTEGER NOT NULL REFERENCES testbed(id),
  tier_number INTEGER NOT NULL,
  what TEXT NOT NULL,                    -- 'chase', 'read', 'write', 'knee', ...
  working_set_bytes INTEGER NOT NULL,
  parallelism INTEGER NOT NULL,
  run INTEGER NOT NULL,
  value REAL NOT NULL,
  unit TEXT NOT NULL
) STRICT;

CREATE TABLE replay(
  id INTEGER PRIMARY KEY,
  invocation_id INTEGER NOT NULL REFERENCES invocation(id),
  capture_id INTEGER NOT NULL REFERENCES capture(id),
  testbed_id INTEGER NOT NULL REFERENCES testbed(id),
  seed INTEGER NOT NULL,
  scale REAL NOT NULL DEFAULT 1,         -- of every storage's bytes
  peak_live_bytes INTEGER NOT NULL,
  planned_trials INTEGER NOT NULL,
  blocks INTEGER NOT NULL,
  threads INTEGER NOT NULL,
  llc_filter_bytes INTEGER NOT NULL,     -- 0: unfiltered
  status TEXT NOT NULL DEFAULT 'running' CHECK(status IN ('running', 'complete', 'partial')),
  message TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE trial(
  id INTEGER PRIMARY KEY,
  replay_id INTEGER NOT NULL REFERENCES replay(id),
  block INTEGER NOT NULL,
  position INTEGER NOT NULL,             -- place in the block's random order
  policy TEXT NOT NULL,
  policy_options TEXT NOT NULL DEFAULT '',
  semantics TEXT NOT NULL,               -- as declared, see pool/policy.h
  near_share REAL NOT NULL,              -- of peak live; 1 for all-near, 0 for all-far
  near_bytes INTEGER NOT NULL,
  overlap INTEGER NOT NULL,              -- asap, full, none
  hog INTEGER NOT NULL DEFAULT 0,        -- 1: a bandwidth hog ran on another core
  parallelism_scale REAL NOT NULL DEFAULT 1,
  status TEXT NOT NULL CHECK(status IN ('ok', 'unsteady', 'failed', 'discarded')),
  message TEXT NOT NULL DEFAULT '',
  warmup_steps INTEGER NOT NULL,
  steps INTEGER NOT NULL,
  wall_ns INTEGER NOT NULL,              -- of the measured steps
  step_ns TEXT NOT NULL,                 -- JSON array, one per measured step
  policy_ns INTEGER NOT NULL,            -- CPU time inside the policy
  move_ns INTEGER NOT NULL,              -- spent moving tensors, inline
  stolen_ns INTEGER NOT NULL,            -- time in gaps the pacing loop itself saw (preemption)
  late_ns INTEGER NOT NULL,              -- past deadlines, overlap=full
  saturated INTEGER NOT NULL,            -- 1: deadlines were missed throughout
  floored_share REAL NOT NULL,           -- of compute time whose residual was below zero
  assumed_k_share REAL NOT NULL,         -- of far bytes injected under an assumed parallelism
  moves INTEGER NOT NULL,
  moved_bytes INTEGER NOT NULL,
  evidence INTEGER NOT NULL
) STRICT;
CREATE INDEX trial_replay ON trial(replay_id, block);

CREATE TABLE trial_tier(
  trial_id INTEGER NOT NULL REFERENCES trial(id),
  tier_number INTEGER NOT NULL,
  read_bytes INTEGER NOT NULL,           -- by visits, per trial's measured steps
  write_bytes INTEGER NOT NULL,
  charged_bytes INTEGER NOT NULL,        -- that passed the LLC filter of an emulated tier
  moved_in_bytes INTEGER NOT NULL,
  moved_out_bytes INTEGER NOT NULL,
  peak_bytes INTEGER NOT NULL,           -- moves in flight included
  achieved_latency_ns REAL NOT NULL,     -- Little's law over the charged lines; 0 when nothing was charged
  achieved_bps REAL NOT NULL,
  PRIMARY KEY(trial_id, tier_number)
) STRICT, WITHOUT ROWID;

-- The real job itself, alone or beside a hog: what a replay's prediction is held against.
CREATE TABLE live_run(
  id INTEGER PRIMARY KEY,
  invocation_id INTEGER NOT NULL REFERENCES invocation(id),
  capture_id INTEGER NOT NULL REFERENCES capture(id),
  repetition INTEGER NOT NULL,
  kind TEXT NOT NULL,                    -- 'alone', 'hog', ...
  exit_status INTEGER NOT NULL,
  steps INTEGER NOT NULL,
  step_ns TEXT NOT NULL,                 -- JSON array
  evidence INTEGER NOT NULL
) STRICT;
