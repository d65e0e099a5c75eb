#pragma once
/* The framework itself says who touches what: a PyTorch hook and an interposed allocator, injected by environment. */
#include "capture/source.h"

extern const struct nf_source_ops nf_source_framework;

/* The folder that holds preload/, hook/ and exact/: NEARFAR_LIBDIR, beside the program in its build tree, or installed.
 * Empty when nowhere. */
const char *nf_source_library_folder(void);
