#pragma once
/* The framework itself says who touches what: a PyTorch hook and an interposed allocator, injected by environment. */
#include "capture/source.h"

extern const struct nf_source_ops nf_source_framework;
