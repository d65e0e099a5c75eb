#pragma once
/* Can this machine's kernel deliver perf samples to us? Asked through libperf, the way the sampling sources will. */
#include <stddef.h>

/* Opens a software page-fault event on this thread, touches pages, and reads the samples back.
 * 0 and what it saw in words, or -errno with why not and what would mend it. */
int nf_perf_probe(char *text, size_t size);
