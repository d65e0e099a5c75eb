-- Why hardware counters say nothing of a tier, and what each source of them said.

ALTER TABLE trial_tier ADD COLUMN uncounted TEXT NOT NULL DEFAULT ''; -- why counter_*_bytes are -1; '': they are not, or an older trial
ALTER TABLE replay ADD COLUMN counters TEXT NOT NULL DEFAULT '';      -- 'imc: usable; pcm: ...' when it began; '': an older replay
