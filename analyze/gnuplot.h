#pragma once
/* Runs gnuplot, the only foreign program a report needs. */

/* 0, or -ENOENT (cause set: how to get it) when it is not on PATH. */
int nf_gnuplot_probe(void);
/* Runs `gnuplot script` inside folder, without the user's own settings, for at most timeout_ms.
 * 0, -ENOENT, -ETIMEDOUT, -EIO with what gnuplot said, -errno; cause set in one sentence. */
int nf_gnuplot_run(const char *folder, const char *script, int timeout_ms);
