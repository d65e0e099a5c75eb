#pragma once
/* Messages and the one progress line, both on stderr: stdout belongs to data. */
#include <stdint.h>

void nf_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void nf_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A progress line. On a terminal it is redrawn in place at most ten times a second; elsewhere a plain line is
 * printed when the text changes, at most every five seconds. Nothing is shown in the first second. */
void nf_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Clears the line (terminal) so that other output starts on a clean one. */
void nf_progress_end(void);

/* Monotonic nanoseconds. */
uint64_t nf_now_ns(void);
