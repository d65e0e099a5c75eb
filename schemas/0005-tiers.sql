-- What the memory of a testbed does under every condition that changes the answer: one row a figure, its conditions and every
-- sample beside it.
CREATE TABLE tier_figure(
  id INTEGER PRIMARY KEY,
  testbed_id INTEGER NOT NULL REFERENCES testbed(id),
  tier_number INTEGER NOT NULL,
  to_tier INTEGER NOT NULL DEFAULT -1,   -- of a copy or a migration; -1: none
  what TEXT NOT NULL,                    -- 'latency', 'bandwidth', 'loaded', 'copy', 'migrate'
  value REAL NOT NULL,                   -- median of the last window of samples
  unit TEXT NOT NULL,                    -- 'ns' per access or page, 'B/s'
  stable INTEGER NOT NULL,               -- 0: the gates were never passed; the value is what was seen all the same
  traffic TEXT NOT NULL,                 -- 'read', 'mixed', 'write': of the threads beside; '': none
  threads INTEGER NOT NULL,              -- that make the traffic
  offered REAL NOT NULL,                 -- share of the read bandwidth asked of each of them; 0: as fast as it goes
  traffic_bps REAL NOT NULL,             -- reached, read and written; 0: none
  page TEXT NOT NULL,                    -- '4k', '2m', 'as mapped'
  locality TEXT NOT NULL,                -- of a chase: 'tlb-local', 'random'; '': no chase
  working_set_bytes INTEGER NOT NULL,
  llc_bytes INTEGER NOT NULL,            -- effective
  parallelism INTEGER NOT NULL,          -- chains of a chase; 0: as the CPU does
  cpu INTEGER NOT NULL,                  -- pinned to; -1: none
  governor TEXT NOT NULL,                -- 'unknown' where the machine does not say
  samples TEXT NOT NULL                  -- JSON: all of them, in order
) STRICT;
