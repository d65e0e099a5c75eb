#include "replay/observer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/base/error.h"

void nf_issued_log_add(struct nf_issued_log *log, uint32_t visit, uint64_t from, uint64_t to)
{
    struct nf_issued *last = log->a.n ? &log->a.v[log->a.n - 1] : NULL;

    if (last && last->visit == visit && last->to == from)
        last->to = to;
    else
        log->lost |= nf_array_push(&log->a, (struct nf_issued){visit, from, to}) != 0;
}

static int by_visit(const void *a, const void *b)
{
    const struct nf_issued *x = a, *y = b;

    if (x->visit != y->visit)
        return x->visit < y->visit ? -1 : 1;
    return (x->from > y->from) - (x->from < y->from);
}

static int add(struct nf_observed_visits *out, const struct nf_script_visit *v, char *memory, uint64_t at, uint64_t bytes, uint64_t run,
               uint64_t stride)
{
    return nf_array_push(&out->a, (struct nf_observed_visit){.memory = memory, .offset = v->offset + at,
                                                             .bytes = bytes, .run = run, .stride = stride, .rw = v->rw,
                                                             .pattern = v->pattern});
}

/* [from, to) of the walk, as the extents that nf_visit_walk touches for it. */
static int translate(struct nf_observed_visits *out, const struct nf_script_visit *v, char *memory, uint64_t from, uint64_t to)
{
    int rc = 0;

    if (v->run == v->bytes)
        return add(out, v, memory, from, to - from, to - from, to - from);
    if (from == 0 && to == v->bytes)
        return add(out, v, memory, 0, v->bytes, v->run, v->stride);
    while (from < to && !rc) {
        uint64_t row = from / v->run, in = from % v->run, n = v->run - in < to - from ? v->run - in : to - from;
        uint64_t rows = in || v->rows.n ? 0 : (to - from) / v->run;

        if (rows > 1) {
            n = rows * v->run;
            rc = add(out, v, memory, row * v->stride, n, v->run, v->stride);
        } else {
            rc = add(out, v, memory, (v->rows.n ? nf_rows_at(&v->rows, row) : row) * v->stride + in, n, n, n);
        }
        from += n;
    }
    return rc;
}

/* The issued stretches of one visit, sorted: joined where they touch or overlap, as those of later passes do. */
static int join(struct nf_observed_visits *out, const struct nf_script_visit *v, char *memory, const struct nf_issued *issued, size_t n)
{
    uint64_t from = issued[0].from, to = issued[0].to;
    int rc = 0;

    for (size_t i = 1; i < n && !rc; i++) {
        if (issued[i].from > to) {
            rc = translate(out, v, memory, from, to);
            from = issued[i].from;
            to = issued[i].to;
        } else if (issued[i].to > to) {
            to = issued[i].to;
        }
    }
    return rc ? rc : translate(out, v, memory, from, to);
}

int nf_observed_gather(const struct nf_script *s, const struct nf_script_op *op, char *const *memory,
                       struct nf_issued_log *const *logs, unsigned n_logs, struct nf_observed_visits *out)
{
    struct nf_issued_log all = {0};
    int rc = 0;

    out->a.n = 0;
    for (unsigned i = 0; i < n_logs; i++) {
        rc |= logs[i]->lost;
        for (size_t j = 0; j < logs[i]->a.n && !rc; j++)
            rc |= nf_array_push(&all.a, logs[i]->a.v[j]) != 0;
        logs[i]->a.n = 0;
    }
    if (!rc && all.a.n)
        qsort(all.a.v, all.a.n, sizeof *all.a.v, by_visit);
    for (size_t i = 0, end; i < all.a.n && !rc; i = end) {
        const struct nf_script_visit *v = &s->visits[all.a.v[i].visit];

        for (end = i; end < all.a.n && all.a.v[end].visit == all.a.v[i].visit; end++)
            ;
        rc = join(out, v, memory[v->operand], all.a.v + i, end - i) != 0;
    }
    nf_array_free(&all.a);
    return rc ? nf_fail(-ENOMEM, "out of memory for what op %u of the replay touched", (uint32_t)(op - s->ops)) : 0;
}

/* --- homes --- */

int nf_homes_init(struct nf_homes *h, size_t bytes)
{
    void *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    *h = (struct nf_homes){0};
    if (base == MAP_FAILED)
        return nf_fail(-ENOMEM, "no addresses for the %zu bytes that a watched replay has", bytes);
    h->base = base;
    h->bytes = bytes;
    return nf_arena_init(&h->arena, bytes / NF_PAGE_BYTES);
}

void nf_homes_deinit(struct nf_homes *h)
{
    if (h->base)
        munmap(h->base, h->bytes);
    nf_arena_deinit(&h->arena);
    nf_array_free(&h->of);
    *h = (struct nf_homes){0};
}

int nf_homes_take(struct nf_homes *h, uint32_t handle, uint64_t address, uint64_t bytes)
{
    uint32_t first = nf_arena_take(&h->arena, address, (uint32_t)(bytes / NF_PAGE_BYTES));
    int rc = first == NF_ARENA_NONE;

    while (!rc && h->of.n <= handle)
        rc = nf_array_push(&h->of, NULL);
    if (rc)
        return nf_fail(-ENOMEM, "no address for a storage of %llu bytes", (unsigned long long)bytes);
    h->of.v[handle] = h->base + (size_t)first * NF_PAGE_BYTES;
    return 0;
}

void nf_homes_give(struct nf_homes *h, uint32_t handle)
{
    nf_arena_give(&h->arena, (uint32_t)((size_t)(h->of.v[handle] - h->base) / NF_PAGE_BYTES));
}
