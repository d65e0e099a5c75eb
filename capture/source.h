#pragma once
/* Capture sources: where the knowledge of accesses comes from. */
#include <stddef.h>

#include "core/model/words.h"

enum { NF_SOURCE_ABI = 1 };

struct nf_source_ops {
    unsigned abi; /* NF_SOURCE_ABI */
    const char *name, *about;
    enum nf_access_evidence evidence;
    /* Required. 0, or -errno with why it cannot work here and what would mend it. */
    int (*probe)(char *why, size_t size);
    /* Required. Environment changes for the job in the passes that need the source; see nf_job_options.environment.
     * Writes at most max pointers to static or thread-lifetime text. Returns how many. */
    size_t (*environment)(enum nf_pass_kind pass, const char *ring_path, const char **out, size_t max);
};

extern const struct nf_source_ops *const nf_sources[]; /* NULL-terminated */
/* NULL with the cause set to the list of names when there is none of that name. */
const struct nf_source_ops *nf_source_find(const char *name);
