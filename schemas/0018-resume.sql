-- What a replay that is taken up again has to have in common with itself: the CPU and the memory its tiers were measured on, and the
-- compute time of each op, which is calibrated once.

ALTER TABLE testbed ADD COLUMN cpu INTEGER NOT NULL DEFAULT -1; -- it was measured on, and replays run on first; -1: unknown
UPDATE testbed SET cpu = CASE WHEN json_valid(conditions) THEN
  CASE WHEN json_type(conditions, '$.cpu') = 'integer' THEN json_extract(conditions, '$.cpu') ELSE -1 END ELSE -1 END;

ALTER TABLE tier ADD COLUMN node INTEGER NOT NULL DEFAULT -1;   -- NUMA node of its memory, as found; -1: none, or unknown (older rows)

ALTER TABLE replay ADD COLUMN captured_ns REAL NOT NULL DEFAULT -1; -- of one cycle; -1: an older replay, which kept no compute times
ALTER TABLE replay ADD COLUMN asap_ns REAL NOT NULL DEFAULT -1;     -- all near, as fast as possible, as calibrated
ALTER TABLE replay ADD COLUMN floored_share REAL NOT NULL DEFAULT -1;

-- The compute time of each op of a class, as overlap=none spends it: 0 throughout for classes without a row.
CREATE TABLE residual(
  replay_id INTEGER NOT NULL REFERENCES replay(id),
  class_id INTEGER NOT NULL REFERENCES step_class(id),
  op_ns BLOB NOT NULL,                   -- one little-endian double per op, in order
  PRIMARY KEY(replay_id, class_id)
) STRICT, WITHOUT ROWID;
