#pragma once
/* Time in which a thread was kept from its accesses. It spins nowhere there, and a host that takes the CPU away need not say so: what
 * can be noticed is a chunk that took far longer than chunks of its op do. One object belongs to one thread. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* A chunk from another memory, or beside others, takes three or four times as long as before: this is beyond any of them. */
    NF_ABSENCE_TIMES = 8,
    NF_ABSENCE_LEAST_NS = 5000, /* and this much more: an interrupt is no absence */
    /* Ops that have their own usual time, 4 MiB of them per thread; those behind know it from their own chunks only. */
    NF_ABSENCE_OPS_MAX = 1 << 20,
};
#define NF_ABSENCE_UNKNOWN UINT32_MAX

struct nf_absence {
    uint32_t *usual_ns;  /* of a chunk, by op: about the median of those so far, or NF_ABSENCE_UNKNOWN */
    size_t n_ops;
    uint32_t *usual;     /* of the op that runs */
    uint32_t stranger;   /* the same of an op without a place of its own */
    uint64_t suspect_ns; /* of the chunk before, where it was too long: the next one tells. 0: it was not */
};

/* n_ops: of all classes together. Every page is written now, so that none is faulted in where time counts. 0 or -ENOMEM (cause set). */
int nf_absence_init(struct nf_absence *a, uint64_t n_ops);
void nf_absence_deinit(struct nf_absence *a);

/* The chunks of op `at`, a number over all classes, follow. */
static inline void nf_absence_op(struct nf_absence *a, uint64_t at)
{
    a->stranger = NF_ABSENCE_UNKNOWN;
    a->usual = at < a->n_ops ? &a->usual_ns[at] : &a->stranger;
    a->suspect_ns = 0;
}

/* Of a chunk that is not as they usually are, or comes after one. */
uint64_t nf_absence_judge(struct nf_absence *a, uint64_t took_ns);

static inline bool nf_absence_too_long(uint64_t usual_ns, uint64_t took_ns)
{
    return took_ns > NF_ABSENCE_TIMES * usual_ns + NF_ABSENCE_LEAST_NS;
}

/* A step of an eighth up or down ends where as many are longer as are shorter. */
static inline void nf_absence_learn(struct nf_absence *a, uint64_t took_ns)
{
    uint64_t usual = *a->usual, next = took_ns > usual ? usual + usual / 8 + 1 : usual - usual / 8;

    *a->usual = next < NF_ABSENCE_UNKNOWN ? (uint32_t)next : NF_ABSENCE_UNKNOWN - 1;
}

/* A chunk's accesses took so long, waits not counted. Returns what was taken from the chunk before. */
static inline uint64_t nf_absence_chunk(struct nf_absence *a, uint64_t took_ns)
{
    uint64_t usual = *a->usual;

    if (__builtin_expect(usual == NF_ABSENCE_UNKNOWN || a->suspect_ns || nf_absence_too_long(usual, took_ns), 0))
        return nf_absence_judge(a, took_ns);
    nf_absence_learn(a, took_ns);
    return 0;
}

/* The op's last chunk is done. Returns what was taken from it. */
static inline uint64_t nf_absence_end(struct nf_absence *a)
{
    uint64_t suspect = a->suspect_ns;

    a->suspect_ns = 0;
    if (__builtin_expect(!suspect, 1))
        return 0;
    nf_absence_learn(a, suspect); /* should it be what is usual now, it is learnt in the end */
    return suspect - *a->usual;
}
