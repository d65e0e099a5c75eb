#pragma once
/* What tier providers and policies share: options from text. */
#include <stddef.h>

#include "core/base/option.h"

/* A struct of `size` bytes that starts as `defaults` (NULL: zeroes) and takes "key=value,..." from text (NULL or "":
 * nothing). The strings it borrows live behind it in the same block. *out is NULL when size is 0.
 * 0, -EINVAL (cause set), -ENOMEM. Caller frees with free(). */
int nf_plugin_configure(const struct nf_option *table, size_t size, const void *defaults, const char *text, void **out);
