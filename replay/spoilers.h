#pragma once
/* What about this machine would spoil a measurement, and the command that mends it. */
#include <stdbool.h>
#include <stddef.h>

struct nf_spoiler {
    char what[160]; /* one clause, with why it matters */
    char mend[120]; /* a command, or what to do; "" when nothing can be done */
    bool wrong;     /* numbers would be wrong, not only noisy */
};
enum { NF_SPOILERS_MAX = 16 };

/* Looks below `root` ("" for this machine) at /proc and /sys. Returns how many of out's NF_SPOILERS_MAX places were
 * filled. */
size_t nf_spoilers(const char *root, struct nf_spoiler *out);
