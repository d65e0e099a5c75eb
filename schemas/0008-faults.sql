-- What a policy that moves pages charges for page tables that are not really changed.
ALTER TABLE trial ADD COLUMN fault_ns INTEGER NOT NULL DEFAULT -1; -- of stall_ns: faults and unmapping, by the policy's options; -1: unknown, an older trial
