#include "replay/touches.h"

#include <errno.h>

#include "core/base/error.h"

/* Every pass after the first misses as the model of the caches says it does. */
static double lines_of(const struct nf_script_visit *v)
{
    uint64_t first = v->total < v->bytes ? v->total : v->bytes;

    return (double)first * v->miss_first + (double)(v->total - first) * v->miss_again;
}

static uint64_t span_of(const struct nf_script_visit *v)
{
    uint64_t runs = v->run ? (v->bytes + v->run - 1) / v->run : 0;

    return runs > 1 && !v->rows.n ? (runs - 1) * v->stride + v->run : v->rows.n ? v->rows.n * v->stride : v->bytes;
}

/* Only tiers that inject know what they charged, and only while steps are measured. */
static void observe_latency(struct nf_touches *t, const struct nf_worker *workers, unsigned n)
{
    for (uint32_t i = 0; i < NF_TIER_MAX; i++) {
        double k_ns = 0;
        uint64_t lines = 0;

        for (unsigned w = 0; w < n; w++) {
            k_ns += workers[w].tier[i].charged_k_ns;
            lines += workers[w].tier[i].charged_lines;
        }
        if (lines > t->before[i].lines)
            t->latency_ns[i] = (k_ns - t->before[i].k_ns) / (double)(lines - t->before[i].lines);
        t->before[i].k_ns = k_ns;
        t->before[i].lines = lines;
    }
}

int nf_touches_tell(struct nf_touches *t, struct nf_pool *pool, const struct nf_script *s, const struct nf_script_op *op,
                    const uint32_t *handles, const struct nf_worker *workers, unsigned n_workers, uint64_t now_ns)
{
    if (nf_array_reserve(&t->v, op->visits.n))
        return nf_fail(-ENOMEM, "no memory for %u visits", op->visits.n);
    t->v.n = 0;
    for (uint32_t i = op->visits.first; i < op->visits.first + op->visits.n; i++) {
        const struct nf_script_visit *v = &s->visits[i];

        if (!v->bytes) /* it touches nothing, and no operand is there for it */
            continue;
        t->v.v[t->v.n++] = (struct nf_policy_touch){
            .handle = handles[v->operand],
            .rw = v->rw,
            .offset = v->offset,
            .span = span_of(v),
            .lines = lines_of(v),
        };
    }
    observe_latency(t, workers, n_workers);
    return nf_pool_touched(pool, t->v.v, t->v.n, now_ns, t->latency_ns);
}

void nf_touches_deinit(struct nf_touches *t)
{
    nf_array_free(&t->v);
}
