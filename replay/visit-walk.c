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

struct piece {
    char *at;
    uint64_t n;
};

/* The next pieces, at most so many. Of whole rows of a storage in one piece, as most are, no more than their places. */
static unsigned list_pieces(struct rows *r, struct piece *p, unsigned most)
{
    const uint64_t run = r->v->run, stride = r->v->stride, rows = r->s || r->in ? 0 : (r->to - r->from) / run;
    const struct nf_rows order = r->v->rows;
    unsigned n = 0;

    for (; n < rows && n < most; n++)
        p[n] = (struct piece){r->memory + nf_rows_at(&order, r->row + n) * stride, run};
    r->row += n;
    r->from += n * run;
    while (n < most && (p[n].at = next_piece(r, &p[n].n)))
        n++;
    return n;
}

typedef uint64_t word __attribute__((may_alias));
/* Of all CPUs: wider ones are taken apart on the stack, where sums that wait for memory fill the queue of stores. */
typedef uint64_t pair __attribute__((vector_size(16), may_alias));
_Static_assert(NF_LINE_BYTES == 4 * sizeof(pair), "a line has four");

/* What a chain waits by: the word that it loaded last, of which nothing reaches an address. */
struct chains {
    word loaded[CHAINS_MAX], nothing;
    unsigned k;
};

/* Lines are read without a call: what one costs in instructions stands between a chain's next word and the one before. */
static void read_lines(struct chains *c, const struct piece *p, unsigned n)
{
    const word mask = c->nothing;
    pair sum[4] = {{0}, {0}, {0}, {0}};

    for (unsigned i = 0, chain = 0; i < n; i++, chain = chain + 1 < c->k ? chain + 1 : 0) {
        const char *at = p[i].at + (c->loaded[chain] & mask);

        c->loaded[chain] = *(const volatile word *)at;
        sum[0] += ((const pair *)at)[0];
        sum[1] += ((const pair *)at)[1];
        sum[2] += ((const pair *)at)[2];
        sum[3] += ((const pair *)at)[3];
    }
    sum[0] += sum[1] + sum[2] + sum[3];
    __asm__ volatile("" : : "r"(sum[0][0] + sum[0][1]));
}

/* One piece of each chain at a time: first the word by which its next one waits, of all chains, then the pieces themselves. The words lie
 * so close in the program that the CPU has all of them under way, whatever touching a row costs in instructions. */
static void touch_pieces(struct chains *c, struct piece *p, unsigned n, nf_kernel_fn *touch)
{
    for (unsigned first = 0; first < n; first += c->k, p += c->k) {
        const unsigned chains = c->k < n - first ? c->k : n - first;

        for (unsigned i = 0; i < chains; i++) {
            p[i].at += c->loaded[i] & c->nothing;
            c->loaded[i] = *(volatile unsigned char *)p[i].at;
        }
        for (unsigned i = 0; i < chains; i++)
            touch(p[i].at, p[i].n, p[i].n, 1);
    }
}

static uint64_t walk_chains(nf_kernel_fn *touch, struct rows *r)
{
    enum { PIECES = 512 };
    const struct nf_script_visit *v = r->v;
    const unsigned most = PIECES / v->parallelism * v->parallelism;
    const bool lines = v->rw == NF_RW_READ && !r->s && v->run == NF_LINE_BYTES && !r->in && !((r->to - r->from) % NF_LINE_BYTES) &&
                       !((uintptr_t)r->memory % NF_LINE_BYTES) && !(v->stride % NF_LINE_BYTES);
    struct chains c = {.nothing = nothing, .k = v->parallelism};
    struct piece piece[PIECES];
    uint64_t touched = 0;
    unsigned n;

    do {
        n = list_pieces(r, piece, most);
        for (unsigned i = 0; i < n; i++)
            touched += piece[i].n;
        if (lines)
            read_lines(&c, piece, n);
        else
            touch_pieces(&c, piece, n, touch);
    } while (n == most);
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
