#pragma once
/* The profile of another capture for policies to plan on: trained on one, tested on the other. Tensors and ops of the replayed
 * classes are told to the policy by those they match there (core/model/match.h); what matches none is not profiled. */
#include <stdint.h>

#include "core/model/match.h"
#include "core/model/profile.h"
#include "replay/engine.h"

struct nf_stale {
    struct nf_stream *stream; /* of the other capture, as large as it was */
    struct nf_profile *profiles;
    uint32_t n_profiles, steady;
    struct nf_match *matches; /* per class that is replayed */
    struct nf_seen_as *seen;  /* the same, for the engine */
    uint32_t n_classes;
    char source[96];          /* "other.db, capture 1" */
};

/* The latest capture of the study at `path`. scale: of every storage. 0; -ENOENT, -EBADMSG, -EINVAL, -errno (cause set). Caller deinits
 * in every case. */
int nf_stale_load(struct nf_stale *s, const char *path, double scale, bool whole_sequence);
/* llc_bytes, burst_bytes: of the profile; replayed: the stream, whose steady class is matched with the other's, and its other classes
 * with those of the same structure there, else with its steady one. 0 or -ENOMEM (cause set). */
int nf_stale_match(struct nf_stale *s, const struct nf_stream *replayed, uint32_t steady, uint64_t llc_bytes, uint64_t burst_bytes);
void nf_stale_deinit(struct nf_stale *s);
/* Of the bytes of the replayed steady step's tensors: those the policy finds in its profile. */
double nf_stale_share(const struct nf_stale *s, uint32_t steady);
/* The policy of c plans on the other profile. */
void nf_stale_apply(const struct nf_stale *s, struct nf_engine_config *c);
