-- Words that a source watched access by access: what it could have seen, beside the samples that say what it saw.

-- One word from arming to disarming, without a gap. Its accesses are the samples of the observation with its address and
-- a time from from_ns to to_ns.
CREATE TABLE watch(
  observation_id INTEGER NOT NULL REFERENCES observation(id),
  number INTEGER NOT NULL,
  address INTEGER NOT NULL,              -- of an aligned word of 8 bytes
  from_ns INTEGER NOT NULL,              -- CLOCK_MONOTONIC
  to_ns INTEGER NOT NULL,
  hits INTEGER NOT NULL,                 -- reads + writes
  reads INTEGER NOT NULL,
  writes INTEGER NOT NULL,               -- instructions that read and write are here
  threads INTEGER NOT NULL,              -- of the job, all watched
  ended INTEGER NOT NULL CHECK(ended BETWEEN 0 AND 5),
  hit_ns INTEGER NOT NULL,               -- what a hit cost the job, as measured on this machine
  PRIMARY KEY(observation_id, number),
  CHECK(to_ns >= from_ns AND hits = reads + writes)
) STRICT, WITHOUT ROWID;

-- The part of a watch that fell into one step, and the tensor that lived there then.
CREATE TABLE watch_part(
  observation_id INTEGER NOT NULL,
  number INTEGER NOT NULL,
  step INTEGER NOT NULL,                 -- number in its pass
  class_id INTEGER NOT NULL REFERENCES step_class(id),
  tensor INTEGER NOT NULL,               -- number in its class
  offset INTEGER NOT NULL,               -- of the word, from the tensor's start
  step_from_ns INTEGER NOT NULL,
  step_to_ns INTEGER NOT NULL,
  life_from_ns INTEGER NOT NULL,         -- of the tensor, within the step
  life_to_ns INTEGER NOT NULL,
  from_ns INTEGER NOT NULL,              -- of the watch, within the step
  to_ns INTEGER NOT NULL,
  reads INTEGER NOT NULL,
  writes INTEGER NOT NULL,
  PRIMARY KEY(observation_id, number, step),
  FOREIGN KEY(observation_id, number) REFERENCES watch(observation_id, number),
  CHECK(from_ns <= to_ns AND step_from_ns <= from_ns AND to_ns <= step_to_ns)
) STRICT, WITHOUT ROWID;
