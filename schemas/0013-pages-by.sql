-- Who chose the node of each page: the kernel's own rule, or the pool, page by page as the rule would.

ALTER TABLE trial ADD COLUMN pages_by TEXT NOT NULL DEFAULT 'unknown';    -- 'pool', 'kernel' (its tiering moves them); 'unknown': an older trial
ALTER TABLE live_run ADD COLUMN pages_by TEXT NOT NULL DEFAULT 'unknown'; -- 'kernel', 'plan' (the preloaded placer)
