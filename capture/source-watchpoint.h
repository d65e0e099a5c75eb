#pragma once
/* Hardware breakpoints on words of live tensors, drawn at random and moved at a set rate under a budget. */
#include "capture/source.h"

extern const struct nf_source_ops nf_source_watchpoint;
