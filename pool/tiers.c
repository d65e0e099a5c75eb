/* The table of tier providers. One line each; see tier.h for what a provider is. */
#include "pool/tiers.h"

const struct nf_tier_ops *const nf_tier_providers[] = {
    &nf_tier_numa,
    &nf_tier_dax,
    &nf_tier_file,
    &nf_tier_emulated,
    &nf_tier_null,
    &nf_tier_trace,
    NULL,
};
