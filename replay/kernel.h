#pragma once
/* Access kernels: what a visit does to memory, as real loads and stores of exactly the bytes it names.
 * The widest variant the running CPU knows is chosen once; nothing depends on the machine that compiled it. Stores
 * are regular ones: a captured plain store replayed as non-temporal would skip the fetch it paid for. */
#include <stddef.h>
#include <stdint.h>

#include "core/model/words.h"

enum nf_kernel_isa { NF_KERNEL_PORTABLE, NF_KERNEL_AVX2, NF_KERNEL_AVX512, NF_KERNEL_ISA_COUNT };

/* How a visit's stores are made. What the job did is not known from a capture: regular is replayed, and a sensitivity
 * run with non-temporal stores says how much depends on it. */
enum nf_store { NF_STORE_REGULAR, NF_STORE_NON_TEMPORAL };
/* "regular", "non-temporal". */
const char *nf_store_name(enum nf_store store);

/* Touches `runs` runs of `run` bytes, their starts `stride` bytes apart, in ascending order. */
typedef void nf_kernel_fn(char *at, size_t run, size_t stride, size_t runs);
/* The same of runs number from, from + 1, ... (`runs` of them) in the order of `rows`. */
struct nf_rows;
typedef void nf_kernel_rows_fn(char *at, size_t run, size_t stride, const struct nf_rows *rows, uint64_t from, size_t runs);

struct nf_kernels {
    const char *name; /* "avx512", for the study */
    nf_kernel_fn *touch[NF_RW_COUNT]; /* read: sums; write: stores; update: loads, adds one, stores */
    nf_kernel_fn *stream_out;         /* writes whole lines past the caches, without fetching them; ends of runs as write */
    nf_kernel_rows_fn *touch_rows[NF_RW_COUNT]; /* as touch, in an order of rows */
    nf_kernel_rows_fn *stream_out_rows;
};

/* The kernels of one instruction set; NULL where this CPU cannot run them. */
const struct nf_kernels *nf_kernels_of(enum nf_kernel_isa isa);
/* The same kernels with stores of this kind. An update stays one: it has fetched the line. */
struct nf_kernels nf_kernels_storing(const struct nf_kernels *k, enum nf_store store);
/* The widest this CPU runs. Never NULL. */
const struct nf_kernels *nf_kernels_best(void);

/* A seeded permutation of [0, n): the row order of a gather. Computed, not stored, so that looking up the order
 * touches no memory. */
struct nf_rows {
    uint64_t n, mask, seed;
    unsigned shift;
};
void nf_rows_init(struct nf_rows *r, uint64_t n, uint64_t seed);
#define NF_ROWS_FIRST 0x9e3779b97f4a7c15ull
#define NF_ROWS_SECOND 0xd6e8feb86659fd93ull
/* One to one on [0, mask]. */
static inline uint64_t nf_rows_next(const struct nf_rows *r, uint64_t i)
{
    /* Xor-shifts and odd multiplications modulo a power of two are one-to-one. */
    i = (i * NF_ROWS_FIRST + r->seed) & r->mask;
    i ^= i >> r->shift;
    i = (i * NF_ROWS_SECOND) & r->mask;
    return i ^ i >> r->shift;
}
/* i < n. Values beyond n walk on along their cycle (fewer than two rounds expected, as the power of two is below 2n). */
static inline uint64_t nf_rows_at(const struct nf_rows *r, uint64_t i)
{
    do {
        i = nf_rows_next(r, i);
    } while (i >= r->n);
    return i;
}
