#pragma once
/* The built-in tier providers, for the table. */
#include "pool/tier.h"

extern const struct nf_tier_ops nf_tier_numa, nf_tier_dax, nf_tier_file, nf_tier_emulated, nf_tier_null, nf_tier_trace;
