-- What would spoil a trial, was there, and was gone on with at the user's word: names of spoilers, "load,thp"; '': nothing.
ALTER TABLE trial ADD COLUMN despite TEXT NOT NULL DEFAULT '';
