#include "replay/worker.h"

#include "replay/visit-walk.h"

/* A preempted thread catches up at most this much, as the mover does: gaps of up to 2 ms were seen on a quiet guest. */
enum { CATCH_UP_NS = 1000000 };

/* Charges the lines due for `bytes` just walked and waits until the tier lets them end. */
static void charge(struct nf_worker *w, const struct nf_worker_rules *r, const struct nf_worker_op *o, const struct nf_script_visit *v,
                   uint32_t tier, double lines, uint64_t bytes, uint64_t start_ns)
{
    struct nf_tier *t = &r->tiers[tier];
    struct nf_worker_tier *count = &w->tier[tier];
    double k = v->parallelism ? v->parallelism * r->parallelism_scale : r->k[tier][v->pattern][v->rw];
    struct nf_tier_charge c;
    uint64_t n, end, deadline;

    w->due[tier] += lines * (double)bytes;
    n = (uint64_t)w->due[tier];
    if (!n) {
        w->carried_ns = 0;
        return;
    }
    w->due[tier] -= (double)n;
    c = (struct nf_tier_charge){
        .read_bytes = n * NF_LINE_BYTES,
        .write_bytes = v->rw == NF_RW_READ ? 0 : n * NF_LINE_BYTES,
        .lines = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX,
        .parallelism = k,
    };
    /* A plain store fetches its line first; one past the caches does not, and nobody waits for it. */
    if (v->rw == NF_RW_WRITE && r->store == NF_STORE_NON_TEMPORAL)
        c.read_bytes = c.lines = 0;
    deadline = t->ops->charge(t->state, &c, start_ns);
    end = nf_pace_until(&w->pace, deadline);
    w->waited_ns += end - w->pace.began_ns;
    /* A stretch that took longer by itself than the tier asked for carries nothing: what is late stays late. One that waited
     * and was kept from running is caught up, as far as a link would have gone on meanwhile with what was asked of it. */
    w->carried_ns = w->pace.waited ? deadline : 0;
    if (w->carried_ns && end - deadline > CATCH_UP_NS) {
        w->carried_ns = end - CATCH_UP_NS;
        w->forgiven_ns += o->measuring ? end - deadline - CATCH_UP_NS : 0;
    }
    if (!o->measuring)
        return;
    w->injected_ns += end - w->pace.began_ns;
    count->charged_bytes += c.read_bytes + c.write_bytes;
    count->charged_lines += n;
    count->charged_ns += (double)(end - start_ns) / o->parts;
    count->charged_k_ns += (double)(end - start_ns) * k;
    if (v->parallelism)
        return;
    w->assumed_bytes += c.read_bytes + c.write_bytes;
    if (r->by_class[tier][v->pattern][v->rw])
        w->class_bytes += c.read_bytes + c.write_bytes;
}

/* [from, to) of the walk of a visit on one tier, pass by pass. */
static void issue_on(struct nf_worker *w, const struct nf_worker_rules *r, const struct nf_worker_op *o,
                     const struct nf_script_visit *v, const struct nf_pool_storage *s, uint32_t tier, bool whole, uint64_t from,
                     uint64_t to)
{
    bool measuring = o->measuring;
    uint64_t pass = from / v->bytes, begin = from % v->bytes;

    while (from < to) {
        uint64_t n = v->bytes - begin < to - from ? v->bytes - begin : to - from, start, bytes;
        double lines = pass ? v->miss_again : v->miss_first;

        start = !r->injects[tier] ? 0 : w->carried_ns ? w->carried_ns : nf_pace_now(&w->pace);
        bytes = nf_visit_walk(&r->kernels, v, s, tier, whole, begin, begin + n);
        if (__builtin_expect(r->observed, 0))
            nf_issued_log_add(&w->issued, (uint32_t)(v - o->script->visits), begin, begin + bytes);
        if (r->injects[tier] && bytes)
            charge(w, r, o, v, tier, lines, bytes, start);
        else
            w->carried_ns = 0;
        if (measuring) {
            w->tier[tier].read_bytes += v->rw == NF_RW_WRITE ? 0 : bytes;
            w->tier[tier].write_bytes += v->rw == NF_RW_READ ? 0 : bytes;
            w->tier[tier].miss_read_lines += v->rw == NF_RW_WRITE ? 0 : lines * (double)bytes;
            w->tier[tier].miss_write_lines += v->rw == NF_RW_READ ? 0 : lines * (double)bytes;
        }
        from += n;
        begin = 0;
        pass++;
    }
}

/* Chunk j of all parts' chunks: contiguous parts in the order of threads, as a static schedule shares out a loop. */
static void issue_chunk(struct nf_worker *w, const struct nf_worker_rules *r, const struct nf_worker_op *o, uint32_t j)
{
    const struct nf_script_op *op = o->op;
    uint32_t chunks = o->chunks * o->parts;

    for (uint32_t i = op->visits.first; i < op->visits.first + op->visits.n; i++) {
        const struct nf_script_visit *v = &o->script->visits[i];
        const struct nf_pool_storage *storage = o->storages[v->operand];
        uint32_t only = o->only_tier[v->operand];
        uint64_t from = nf_script_bound(v, j, chunks), to = nf_script_bound(v, j + 1, chunks);

        if (from == to)
            continue;
        if (only < r->n_tiers) {
            issue_on(w, r, o, v, storage, only, true, from, to);
            continue;
        }
        /* Tier by tier: what a chunk has on one is charged together. */
        for (uint32_t tier = 0; tier < r->n_tiers; tier++) {
            if (storage->piece[tier].bytes)
                issue_on(w, r, o, v, storage, tier, false, from, to);
        }
    }
}

/* Waits until chunk j may end. Returns when it did. */
static uint64_t await_deadline(struct nf_worker *w, const struct nf_worker_op *o, uint32_t j)
{
    uint64_t deadline = o->start_ns + (uint64_t)(o->op->captured_ns * ((double)(j + 1) / (double)o->chunks));
    uint64_t end = nf_pace_until(&w->pace, deadline);

    w->ended = w->pace.waited ? deadline : end;
    if (o->measuring) {
        w->compute_ns += end - w->pace.began_ns;
        nf_lateness_add(&w->lateness, end - deadline);
    }
    return end;
}

void nf_worker_run(struct nf_worker *w, const struct nf_worker_rules *r, const struct nf_worker_op *o, uint32_t part)
{
    uint64_t began = nf_pace_glance(&w->pace);

    w->carried_ns = 0;
    nf_absence_op(&w->absence, o->at);
    for (uint32_t j = 0; j < o->chunks; j++) {
        uint64_t waited = w->waited_ns, end, next;

        issue_chunk(w, r, o, part * o->chunks + j);
        next = o->paced ? await_deadline(w, o, j) : nf_pace_glance(&w->pace);
        end = o->paced ? w->pace.began_ns : next;
        began += w->waited_ns - waited;
        w->pace.stolen_ns += nf_absence_chunk(&w->absence, end > began ? end - began : 0);
        began = next;
    }
    w->pace.stolen_ns += nf_absence_end(&w->absence);
}
