-- Whether it was shown where the memory of a tier is, before and after each of its measurements.

ALTER TABLE tier ADD COLUMN proved INTEGER NOT NULL DEFAULT -1; -- 1; 0: nothing here can show it; -1: not said (older testbeds)
