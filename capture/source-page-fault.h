#pragma once
/* The MMU says who touches what, without a PMU: tensors live in the arena of the preloaded library, their pages are dropped
 * from the page table at op boundaries, and the kernel reports each first touch with its address. */
#include "capture/source.h"

extern const struct nf_source_ops nf_source_page_fault;
