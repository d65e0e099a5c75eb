#pragma once
/* The feature sections of a perf.data file: who recorded what, where. */
#include "capture/perf-data.h"

/* Reads one section into facts and the events' names. Sections that say nothing of use are not looked into.
 * 0, -EBADMSG when it does not hold what it counts (no cause set), -ENOMEM. */
int nf_perf_feature_read(unsigned feature, const uint8_t *data, size_t n, struct nf_perf_facts *facts,
                         struct nf_perf_event *events, size_t n_events);
bool nf_perf_feature_wanted(unsigned feature);
const char *nf_perf_feature_name(unsigned feature); /* as perf calls it; "unknown" */
/* Text of at most n bytes from a file, for terminals and studies: ends at a NUL, is cut to fit; control characters become
 * spaces, what is not UTF-8 question marks. */
void nf_perf_text(char *out, size_t size, const void *text, size_t n);
