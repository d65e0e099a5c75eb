#include "replay/absence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

enum { UNKNOWN_BYTE = 0xff }; /* of NF_ABSENCE_UNKNOWN */

int nf_absence_init(struct nf_absence *a, uint64_t n_ops)
{
    size_t n = n_ops < NF_ABSENCE_OPS_MAX ? (size_t)n_ops : NF_ABSENCE_OPS_MAX;

    *a = (struct nf_absence){0};
    a->usual_ns = malloc((n + 1) * sizeof *a->usual_ns);
    if (!a->usual_ns)
        return nf_fail(-ENOMEM, "out of memory for the times of %zu ops", n);
    memset(a->usual_ns, UNKNOWN_BYTE, (n + 1) * sizeof *a->usual_ns);
    a->n_ops = n;
    return 0;
}

void nf_absence_deinit(struct nf_absence *a)
{
    free(a->usual_ns);
    *a = (struct nf_absence){0};
}

uint64_t nf_absence_judge(struct nf_absence *a, uint64_t took_ns)
{
    uint64_t suspect = a->suspect_ns, usual = *a->usual;
    bool too_long = usual != NF_ABSENCE_UNKNOWN && nf_absence_too_long(usual, took_ns);

    a->suspect_ns = 0;
    if (usual == NF_ABSENCE_UNKNOWN || (suspect && too_long)) {
        /* Nobody is away twice in a row as a rule: it is the memory. */
        took_ns = suspect && suspect < took_ns ? suspect : took_ns;
        *a->usual = took_ns < NF_ABSENCE_UNKNOWN ? (uint32_t)took_ns : NF_ABSENCE_UNKNOWN - 1;
        return 0;
    }
    if (too_long) {
        a->suspect_ns = took_ns;
        return 0;
    }
    nf_absence_learn(a, took_ns);
    return suspect ? suspect - usual : 0;
}
