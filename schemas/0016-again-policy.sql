-- A replay captured again under a policy that places and moves storages.

ALTER TABLE recapture ADD COLUMN policy TEXT NOT NULL DEFAULT 'all-near'; -- 'NAME:options'
ALTER TABLE recapture ADD COLUMN near_share REAL NOT NULL DEFAULT 1;
ALTER TABLE recapture ADD COLUMN moves INTEGER NOT NULL DEFAULT 0;        -- of storages, in the steps that were watched
