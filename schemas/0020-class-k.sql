-- A visit that does not know its parallelism k can be charged by the one that was measured of its class of access (tier_figure, what = 'k').

ALTER TABLE trial ADD COLUMN class_k_share REAL NOT NULL DEFAULT 0;              -- of charged bytes, among assumed_k_share: by its class
ALTER TABLE replay ADD COLUMN k_testbed_id INTEGER REFERENCES testbed(id);       -- whose figures those are; NULL: no testbed's
