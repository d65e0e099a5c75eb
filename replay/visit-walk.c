#include "replay/visit-walk.h"

/* More outstanding fetches than a core has buffers are no limit. */
enum { CHAINS_MAX = 64 };

/* Touches what of [at, at + n) of a split storage lies on the tier. Returns how much that was. */
static uint64_t touch_split(const struct nf_pool_storage *s, uint32_t tier, uint64_t at, uint64_t n,
                            nf_kernel_fn *touch)
{
    uint64_t touched = 0;

    while (n) {
        uint32_t on;
        uint64_t run;
        char *memory = nf_pool_locate(s, at, &on, &run);

        run = run < n ? run : n;
        if (on == tier) {
            touch(memory, run, run, 1);
            touched += run;
        }
        at += run;
        n -= run;
    }
    return touched;
}

/* Read where it is used, so that no compiler knows what an address that it was added to comes to. */
static volatile uint64_t nothing;

/* Rows of a gather, piece by piece: what of them lies on one tier. */
struct rows {
    const struct nf_script_visit *v;
    const struct nf_pool_storage *s; /* NULL: all of it is in one piece at memory */
    char *memory;
    uint32_t tier;
    uint64_t row, in, from, to; /* the next one, and within its walk */
};

/* The next piece's place and length; NULL: there is none. */
static inline char *next_piece(struct rows *r, uint64_t *n)
{
    while (r->from < r->to) {
        uint64_t at = nf_rows_at(&r->v->rows, r->row) * r->v->stride + r->in, run = UINT64_MAX;
        uint32_t on = r->tier;
        char *memory = r->s ? nf_pool_locate(r->s, r->v->offset + at, &on, &run) : r->memory + at;

        *n = r->v->run - r->in < r->to - r->from ? r->v->run - r->in : r->to - r->from;
        if (run < *n)
            *n = run;
        r->from += *n;
        r->in += *n;
        if (r->in == r->v->run) {
            r->in = 0;
            r->row++;
        }
        if (on == r->tier)
            return memory;
    }
    return NULL;
}

/* One piece of each chain at a time: first where they are, then the word by which its next one waits, of all chains, then the pieces
 * themselves. The words lie so close in the program that the CPU has all of them under way, whatever finding and touching a row costs in
 * instructions. */
static uint64_t walk_chains(nf_kernel_fn *touch, struct rows *r)
{
    uint64_t loaded[CHAINS_MAX] = {0}, n[CHAINS_MAX], mask = nothing, touched = 0;
    char *at[CHAINS_MAX], *next = NULL;
    unsigned chains;

    do {
        for (chains = 0; chains < r->v->parallelism && (next = next_piece(r, &n[chains])); chains++)
            at[chains] = next;
        for (unsigned i = 0; i < chains; i++) {
            at[i] += loaded[i] & mask;
            loaded[i] = *(volatile unsigned char *)at[i];
        }
        for (unsigned i = 0; i < chains; i++) {
            touch(at[i], n[i], n[i], 1);
            touched += n[i];
        }
    } while (next);
    return touched;
}

uint64_t nf_visit_walk(const struct nf_kernels *kernels, const struct nf_script_visit *v, const struct nf_pool_storage *s,
                       uint32_t tier, bool whole, uint64_t from, uint64_t to)
{
    nf_kernel_fn *touch = kernels->touch[v->rw];
    char *memory = s->piece[tier].memory + v->offset;
    uint64_t touched = 0;

    if (whole && v->run == v->bytes) {
        touch(memory + from, to - from, to - from, 1);
        return to - from;
    }
    if (v->rows.n && v->parallelism && v->parallelism <= CHAINS_MAX)
        return walk_chains(touch, &(struct rows){v, whole ? NULL : s, memory, tier, from / v->run, from % v->run, from, to});
    while (from < to) {
        uint64_t row = from / v->run, in = from % v->run;
        uint64_t n = v->run - in < to - from ? v->run - in : to - from;
        uint64_t rows = (to - from) / v->run, at;

        if (whole && !v->rows.n && !in && rows) {
            touch(memory + row * v->stride, v->run, v->stride, rows);
            touched += rows * v->run;
            from += rows * v->run;
            continue;
        }
        if (whole && v->rows.n && !in && rows) {
            kernels->touch_rows[v->rw](memory, v->run, v->stride, &v->rows, row, rows);
            touched += rows * v->run;
            from += rows * v->run;
            continue;
        }
        if (v->rows.n)
            row = nf_rows_at(&v->rows, row);
        at = row * v->stride + in;
        if (whole) {
            touch(memory + at, n, n, 1);
            touched += n;
        } else {
            touched += touch_split(s, tier, v->offset + at, n, touch);
        }
        from += n;
    }
    return touched;
}
