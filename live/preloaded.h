#pragma once
/* A library of ours in a job, behind the one that is preloaded already and finds it by its symbol: a file both map tells it what to do
 * and holds what it counts. */
#include <stddef.h>

struct nf_live_preloaded {
    char path[64], library[4200];
    const char *variable; /* of the job's environment: names the file */
    void *file;           /* mapped */
    size_t size;
};
/* folder: where preload/ is; library: the name of its file there. data: of the new file; borrowed for the call, as variable is for
 * good. 0, -ENOENT (the library is not there), -errno, with the cause set. Caller ends it in every case. */
int nf_live_preloaded_init(struct nf_live_preloaded *p, const char *folder, const char *library, const char *variable, const void *data,
                           size_t size);
/* A zeroed one is fine. */
void nf_live_preloaded_deinit(struct nf_live_preloaded *p);
/* For a child between fork and exec whose environment is set. 0 or -errno. */
int nf_live_preloaded_enter(const struct nf_live_preloaded *p);
