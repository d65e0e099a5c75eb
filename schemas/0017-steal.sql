-- What the host says it took from a trial's CPUs, beside what its threads noticed themselves (stolen_ns).
ALTER TABLE trial ADD COLUMN steal_ns INTEGER NOT NULL DEFAULT -1; -- of all CPUs together, warm-up included; -1: unknown
