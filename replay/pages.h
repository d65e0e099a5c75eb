#pragma once
/* Tiers again with pages of another size: what page size is worth, in figures and as a factor of a replay. */
#include <stdbool.h>

#include "pool/tier.h"

/* Whether the provider has a choice of pages. */
bool nf_pages_has(const struct nf_tier_ops *provider);
/* The other of the two that there are: "4k" where huge pages are asked for, else "thp". */
const char *nf_pages_other(const struct nf_tier *t);
/* Opens the tier a second time: its options without their page, and `page` ("4k", "thp") instead. local: as it was opened with.
 * 0 or -errno (cause set; -EINVAL where the kernel has no such pages). Caller closes *out in every case. */
int nf_pages_open(const struct nf_tier *t, const char *page, const struct nf_tier_local *local, struct nf_tier *out);
