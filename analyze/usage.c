#include "analyze/usage.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/model/profile.h"
#include "core/model/stats.h"

static uint32_t first_op(const struct nf_tensor *t)
{
    return t->birth == NF_OP_BEFORE ? 0 : (uint32_t)t->birth;
}

static uint32_t last_op(const struct nf_tensor *t, uint32_t n_ops)
{
    return t->death == NF_OP_AFTER ? n_ops - 1 : (uint32_t)t->death;
}

/* Live bytes per role and op: rows of NF_ROLE_COUNT. */
static uint64_t *live_bytes(const struct nf_step_class *c)
{
    uint64_t *live = calloc(((size_t)c->n_ops + 1) * NF_ROLE_COUNT, sizeof *live);

    for (uint32_t i = 0; live && i < c->n_tensors; i++) {
        const struct nf_tensor *t = &c->tensors[i];

        live[first_op(t) * (size_t)NF_ROLE_COUNT + t->role] += nf_page_bytes(t->bytes);
        live[(last_op(t, c->n_ops) + (size_t)1) * NF_ROLE_COUNT + t->role] -= nf_page_bytes(t->bytes);
    }
    for (size_t i = NF_ROLE_COUNT; live && i < ((size_t)c->n_ops + 1) * NF_ROLE_COUNT; i++)
        live[i] += live[i - NF_ROLE_COUNT];
    return live;
}

static uint64_t total(const uint64_t *row)
{
    uint64_t sum = 0;

    for (int r = 0; r < NF_ROLE_COUNT; r++)
        sum += row[r];
    return sum;
}

static void sample_live(struct nf_usage *u, const struct nf_step_class *c, const uint64_t *live)
{
    double ns = 0;
    uint32_t op = 0, peak_op = 0;

    u->samples = c->n_ops < NF_USAGE_SAMPLES ? c->n_ops : NF_USAGE_SAMPLES;
    for (uint32_t s = 0; s < u->samples; s++) {
        uint32_t end = (uint32_t)((uint64_t)(s + 1) * c->n_ops / u->samples), most = op;

        u->ms[s] = (ns + c->ops[op].gap_ns) / 1e6;
        for (; op < end; op++) {
            if (total(&live[op * (size_t)NF_ROLE_COUNT]) > total(&live[most * (size_t)NF_ROLE_COUNT]))
                most = op;
            ns += c->ops[op].gap_ns + c->ops[op].dur_ns;
        }
        u->op[s] = most;
        for (int r = 0; r < NF_ROLE_COUNT; r++)
            u->roles[r].live[s] = live[most * (size_t)NF_ROLE_COUNT + (size_t)r];
        if (total(&live[most * (size_t)NF_ROLE_COUNT]) > total(&live[peak_op * (size_t)NF_ROLE_COUNT]))
            peak_op = most;
    }
    u->step_ns = ns;
    for (int r = 0; r < NF_ROLE_COUNT; r++) {
        u->roles[r].at_peak_bytes = live[peak_op * (size_t)NF_ROLE_COUNT + (size_t)r];
        for (uint32_t i = 0; i < c->n_ops; i++) {
            uint64_t v = live[i * (size_t)NF_ROLE_COUNT + (size_t)r];

            u->roles[r].peak_bytes = v > u->roles[r].peak_bytes ? v : u->roles[r].peak_bytes;
        }
    }
}

static void mark_phases(struct nf_usage *u, const struct nf_step_class *c)
{
    for (uint32_t i = 0; i < c->n_ops; i++) {
        if (i && c->ops[i].phase == c->ops[i - 1].phase)
            continue;
        if (u->n_phases == NF_USAGE_PHASES) {
            u->n_phases = 0;
            return;
        }
        u->phase_op[u->n_phases] = i;
        u->phase[u->n_phases++] = c->ops[i].phase;
    }
}

static int summarize_gaps(struct nf_usage *u, const struct nf_profile *p)
{
    const struct nf_step_class *c = p->of;
    double *bytes = malloc((p->n_gaps + (size_t)1) * sizeof *bytes), *ns = malloc((p->n_gaps + (size_t)1) * sizeof *ns);

    for (int r = 0; bytes && ns && r < NF_ROLE_COUNT; r++) {
        struct nf_role_usage *role = &u->roles[r];
        size_t n = 0;

        for (uint32_t i = 0; i < p->n_gaps; i++) {
            if (c->tensors[p->gaps[i].tensor].role == r) {
                bytes[n] = (double)p->gaps[i].bytes;
                ns[n++] = p->gaps[i].ns;
            }
        }
        role->gaps = (uint32_t)n;
        role->gap_bytes_p50 = n ? nf_quantile(bytes, n, 0.5) : NAN;
        role->gap_bytes_p90 = n ? nf_quantile(bytes, n, 0.9) : NAN;
        role->gap_share_p50 = n && u->step_ns > 0 ? nf_quantile(ns, n, 0.5) / u->step_ns : NAN;
    }
    u->n_gaps = p->n_gaps;
    free(ns);
    if (!bytes || !ns) {
        free(bytes);
        return -ENOMEM;
    }
    free(bytes);
    return 0;
}

static int summarize(struct nf_usage *u, const struct nf_step_class *c)
{
    uint64_t *live = live_bytes(c);
    struct nf_profile p = {0}, fine = {0};
    int rc = live ? nf_profile_init(&p, c, u->llc_bytes, 0) : -ENOMEM;

    if (!rc) /* every reuse with anything in between, for the histogram */
        rc = nf_profile_init(&fine, c, 0, 1);
    if (rc)
        goto out;
    sample_live(u, c, live);
    mark_phases(u, c);
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        struct nf_role_usage *role = &u->roles[c->tensors[i].role];

        role->tensors++;
        role->carried += c->tensors[i].carry_out != NF_CARRY_NONE;
        role->bytes += c->tensors[i].bytes;
        role->read_bytes += p.tensors[i].read_bytes;
        role->write_bytes += p.tensors[i].write_bytes;
        role->miss_bytes += p.tensors[i].miss_read_bytes + p.tensors[i].miss_write_bytes;
        role->bursts += p.tensors[i].n_bursts;
    }
    for (uint32_t i = 0; i < c->n_visits; i++) {
        u->visited_bytes += c->visits[i].bytes;
        u->evidence_bytes[c->visits[i].evidence] += c->visits[i].bytes;
    }
    for (uint32_t i = 0; i < fine.n_gaps; i++) {
        const struct nf_tensor *t = &c->tensors[fine.gaps[i].tensor];
        int bin = 63 - __builtin_clzll(fine.gaps[i].bytes | 1);

        u->roles[t->role].gap_histogram[bin < NF_USAGE_GAP_BINS ? bin : NF_USAGE_GAP_BINS - 1] += t->bytes;
    }
    rc = nf_step_class_peak(c, &u->peak_live_bytes);
    if (!rc)
        rc = summarize_gaps(u, &p);
out:
    nf_profile_deinit(&p);
    nf_profile_deinit(&fine);
    free(live);
    return rc == -ENOMEM ? nf_fail(rc, "out of memory for the profile") : rc;
}

int nf_usage_compute(struct nf_usage *u, const struct nf_stream *stream, const struct nf_step_class *c, uint64_t llc_bytes)
{
    int rc = nf_step_class_check(c, stream);

    *u = (struct nf_usage){.llc_bytes = llc_bytes,
                           .n_classes = stream->n_classes,
                           .n_ops = c->n_ops,
                           .n_visits = c->n_visits,
                           .n_tensors = c->n_tensors};
    return rc ? rc : summarize(u, c);
}
