#pragma once
/* What `nearfar tiers` finds: nodes, CXL devices, decoders, regions, dax devices, and how they hang together. */
#include <stdbool.h>

#include "core/base/table.h"

/* root: "" for this machine, or the folder of a recorded one (its sys/ and dev/). 0 or -errno (cause set). */
int nf_tiers_print_found(const char *root, bool tree, enum nf_table_format format);
