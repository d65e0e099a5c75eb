#pragma once
/* A stream made smaller, for machines that cannot hold it: every storage, extent and time times one factor. */
#include "core/model/stream.h"

/* 0 < factor <= 1; at 1 nothing changes. Storages keep at least one line, and visits stay inside them; runs keep
 * their length and become fewer. Times shrink with the bytes, so that their ratio stays. Recomputes peaks.
 * 0 or -ENOMEM. */
int nf_stream_scale(struct nf_stream *s, double factor);

/* The cache that a scaled stream is filtered through, and its bursts are told by: as many of its storages fit as of the
 * real ones in the real cache. 0 stays 0, everything else above it. */
uint64_t nf_scale_cache(uint64_t llc_bytes, double factor);
