#pragma once
/* A stream made smaller, for machines that cannot hold it: every storage, extent and time times one factor. */
#include "core/model/stream.h"

/* 0 < factor <= 1; at 1 nothing changes. Storages keep at least one line, and visits stay inside them; runs keep
 * their length and become fewer. Times shrink with the bytes, so that their ratio stays. Recomputes peaks.
 * 0 or -ENOMEM. */
int nf_stream_scale(struct nf_stream *s, double factor);
