-- What a policy made again instead of holding it. All but recompute_ns are of one step; zeroes: nothing was.
ALTER TABLE trial ADD COLUMN recomputed INTEGER NOT NULL DEFAULT 0;          -- gaps in which a storage was not held
ALTER TABLE trial ADD COLUMN recomputed_ops INTEGER NOT NULL DEFAULT 0;      -- that ran again
ALTER TABLE trial ADD COLUMN unheld_bytes INTEGER NOT NULL DEFAULT 0;        -- of the storages in those gaps
ALTER TABLE trial ADD COLUMN unheld_byte_ns REAL NOT NULL DEFAULT 0;         -- times the captured time of each gap
ALTER TABLE trial ADD COLUMN reissued_bytes INTEGER NOT NULL DEFAULT 0;      -- that those ops touched
ALTER TABLE trial ADD COLUMN recompute_ns INTEGER NOT NULL DEFAULT 0;        -- that they took, in all measured steps
ALTER TABLE trial ADD COLUMN recompute_captured_ns REAL NOT NULL DEFAULT 0;  -- that their first runs took in the capture
ALTER TABLE trial ADD COLUMN variant_peak_bytes INTEGER NOT NULL DEFAULT 0;  -- peak live of what was replayed; 0: as captured
