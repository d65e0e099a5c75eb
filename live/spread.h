#pragma once
/* A job whose pages a preloaded library deals over the tiers' nodes by weight, where the kernel has no rule for it or its table, which is
 * the whole machine's, is to be left alone. */
#include <stddef.h>
#include <stdint.h>

#include "live/binding.h"
#include "live/preloaded.h"

struct nf_live_spread {
    struct nf_live_preloaded preloaded;
};
/* binding: with weights. peak_bytes: of the job, as captured. library_folder: where preload/libnearfar-spreader.so is. 0, -ENOENT (it is
 * not there), -errno, with the cause set. Caller ends it in every case. */
int nf_live_spread_init(struct nf_live_spread *s, const struct nf_live_binding *binding, uint64_t peak_bytes, const char *library_folder);
void nf_live_spread_deinit(struct nf_live_spread *s);
/* For a child between fork and exec whose environment is set. 0 or -errno. */
int nf_live_spread_enter(const struct nf_live_spread *s);
/* What became of it, in words, into text. 0, -EPROTO (the job that trained was not spread, or ended too early to tell), -ENOSPC (it needs
 * more addresses than there are), -EXDEV (pages are on other nodes than they should be), with the cause set. */
int nf_live_spread_judge(const struct nf_live_spread *s, const struct nf_live_binding *binding, char *text, size_t size);
