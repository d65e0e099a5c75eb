-- Policies may plan on the profile of another capture (variant 'stale-profile').
ALTER TABLE trial ADD COLUMN profile_from TEXT NOT NULL DEFAULT '';       -- "study, capture"; empty: of what was replayed
ALTER TABLE trial ADD COLUMN profile_matched REAL NOT NULL DEFAULT 1;     -- share of the step's bytes found there
