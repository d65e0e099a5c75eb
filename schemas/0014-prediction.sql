-- What a model says of a replayed policy before it is set beside what was measured (replay/forecast.h). Times are of a step, modelled:
-- of each op the longest of its captured time, its near bytes / bandwidth and its far bytes / bandwidth.
CREATE TABLE prediction(
  replay_id INTEGER NOT NULL REFERENCES replay(id),
  policy TEXT NOT NULL,
  policy_options TEXT NOT NULL,
  near_share REAL NOT NULL,
  step_ns REAL,             -- NULL: why says why not
  exposed_ns REAL,          -- part of it: moves that the step waits for
  far_bytes REAL,           -- past the LLC, while far
  fetched_bytes REAL,       -- moved near
  why TEXT NOT NULL DEFAULT '',
  PRIMARY KEY(replay_id, policy, policy_options, near_share)
) STRICT, WITHOUT ROWID;
-- The least that any policy leaves to far at this near capacity, used there or fetched, by bounds (pool/bound.h).
CREATE TABLE far_bound(
  replay_id INTEGER NOT NULL REFERENCES replay(id),
  near_share REAL NOT NULL,
  lp_bytes REAL,            -- interval linear program; NULL: why says why not
  pfoo_bytes REAL,          -- PFOO-L
  static_lp_bytes REAL,     -- where nothing moves
  belady_bytes REAL,        -- what Belady's rule with bypass leaves: no bound unless all are of one size
  why TEXT NOT NULL DEFAULT '',
  PRIMARY KEY(replay_id, near_share)
) STRICT, WITHOUT ROWID;
