-- What hardware, the MMU or another recorder saw of a capture, beside what the framework said.

-- How the capture knows its lifetimes, phases and durations; an import says here what its format could not tell.
ALTER TABLE capture ADD COLUMN lifetimes TEXT NOT NULL DEFAULT 'observed' CHECK(lifetimes IN ('observed', 'inferred'));
ALTER TABLE capture ADD COLUMN phases TEXT NOT NULL DEFAULT 'observed' CHECK(phases IN ('observed', 'inferred'));
ALTER TABLE capture ADD COLUMN durations TEXT NOT NULL DEFAULT 'timed' CHECK(durations IN ('timed', 'imported', 'unknown'));

-- One source in one pass.
CREATE TABLE observation(
  id INTEGER PRIMARY KEY,
  pass_id INTEGER NOT NULL REFERENCES pass(id),
  source TEXT NOT NULL,
  options TEXT NOT NULL DEFAULT '',
  evidence INTEGER NOT NULL,             -- access evidence
  validated INTEGER NOT NULL,            -- 0: this source has never been tried on such hardware
  resolution_bytes INTEGER NOT NULL,     -- the smallest extent it tells from its neighbour
  boundary_ops INTEGER NOT NULL,         -- a page seen once is seen again after so many ops; 0: not by boundaries
  rw TEXT NOT NULL CHECK(rw IN ('observed', 'inferred', 'unknown')),   -- how reads are told from writes
  samples INTEGER NOT NULL DEFAULT 0,    -- delivered by the source: samples, faults, or exact accesses
  attributed INTEGER NOT NULL DEFAULT 0, -- to a tensor and an op
  between_ops INTEGER NOT NULL DEFAULT 0,       -- of the attributed: touched before the op began, after the one before
  unattributed INTEGER NOT NULL DEFAULT 0,      -- to an address where no tensor lived
  out_of_arena INTEGER NOT NULL DEFAULT 0,      -- outside the memory the source watches
  other_process INTEGER NOT NULL DEFAULT 0,     -- of a child that is not captured
  outside_steps INTEGER NOT NULL DEFAULT 0,     -- before training began or after its last step
  lost INTEGER NOT NULL DEFAULT 0,       -- said to be lost by the kernel
  throttled INTEGER NOT NULL DEFAULT 0,  -- times the kernel throttled an event
  undecoded INTEGER NOT NULL DEFAULT 0,  -- records that contradict their format
  arena_base INTEGER NOT NULL DEFAULT 0, -- the memory it watches, of which tensors outside are not seen
  arena_bytes INTEGER NOT NULL DEFAULT 0,       -- 0: all memory
  notes TEXT NOT NULL DEFAULT ''
) STRICT;

-- What the event numbers of an observation's samples mean.
CREATE TABLE sample_event(
  observation_id INTEGER NOT NULL REFERENCES observation(id),
  number INTEGER NOT NULL,
  name TEXT NOT NULL,
  type INTEGER NOT NULL,                 -- perf_event_attr
  config INTEGER NOT NULL,
  config1 INTEGER NOT NULL,
  config2 INTEGER NOT NULL,
  period INTEGER NOT NULL,               -- 0: by frequency; each sample tells its own
  precise INTEGER NOT NULL,
  rw INTEGER NOT NULL,                   -- 0 read, 1 write, 2 update; 255 unknown
  meaning TEXT NOT NULL,
  PRIMARY KEY(observation_id, number)
) STRICT, WITHOUT ROWID;

-- Samples: a few thousand a row, columnar, zstd. See core/store/sample-codec.h; read them as rows through the
-- table-valued function samples(observation_id).
CREATE TABLE sample_chunk(
  observation_id INTEGER NOT NULL REFERENCES observation(id),
  number INTEGER NOT NULL,
  samples INTEGER NOT NULL,
  codec INTEGER NOT NULL,
  crc32 INTEGER NOT NULL,                -- of the raw columns
  raw_bytes INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY(observation_id, number)
) STRICT;

-- What an observation that sees everything (page-fault, exact) saw of a step class: the extents each op touched, in the
-- form of visits and with their codec. Of the first step of the class; how many later ones agreed stands beside it.
CREATE TABLE sighting(
  observation_id INTEGER NOT NULL REFERENCES observation(id),
  class_id INTEGER NOT NULL REFERENCES step_class(id),
  sightings INTEGER NOT NULL,
  hash INTEGER NOT NULL,                 -- over op, tensor, offset, bytes and rw of each
  steps INTEGER NOT NULL,                -- seen of this class
  equal_steps INTEGER NOT NULL,          -- of them with the same hash, the first included
  PRIMARY KEY(observation_id, class_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE sighting_chunk(
  observation_id INTEGER NOT NULL,
  class_id INTEGER NOT NULL,
  number INTEGER NOT NULL,
  first_op INTEGER NOT NULL,
  last_op INTEGER NOT NULL,
  visits INTEGER NOT NULL,
  codec INTEGER NOT NULL,                -- NF_VISIT_CODEC
  crc32 INTEGER NOT NULL,
  raw_bytes INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY(observation_id, class_id, number),
  FOREIGN KEY(observation_id, class_id) REFERENCES sighting(observation_id, class_id)
) STRICT;
