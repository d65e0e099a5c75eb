#include "replay/visit-walk.h"

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
