#include "replay/counters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/units.h"

/* DESIGN: "per-tier bytes must agree with the engine's own count within 10 %". */
static const double TOLERANCE = 0.1;
/* Readings that lag may miss as much at either end: that is to stay well below the tolerance. */
enum { RESOLUTIONS_LEAST = 40 };

const struct nf_counter_ops *const nf_counter_sources[] = {&nf_counter_imc, &nf_counter_cxl, &nf_counter_umc,
                                                           &nf_counter_pcm, NULL};

struct reading {
    struct nf_counter_traffic v[NF_COUNTER_PLACES];
    int n; /* < 0: it failed */
};

struct nf_counters {
    const struct nf_counter_ops *ops[NF_COUNTER_SOURCES_MAX];
    void *states[NF_COUNTER_SOURCES_MAX];
    size_t n;
    struct reading before[NF_COUNTER_SOURCES_MAX], after[NF_COUNTER_SOURCES_MAX];
    char names[128];
};

static void open_one(struct nf_counters *c, const struct nf_counter_ops *ops, const char *root)
{
    char why[256];

    if (ops->probe(root, why, sizeof why))
        return;
    if (ops->open(root, &c->states[c->n])) {
        nf_warn("counters %s do not open, and are left out: %s", ops->name, nf_error_text(0));
        return;
    }
    c->ops[c->n] = ops;
    snprintf(c->names + strlen(c->names), sizeof c->names - strlen(c->names), "%s%s", c->n ? ", " : "", ops->name);
    c->n++;
}

int nf_counters_open(const struct nf_counter_ops *const *sources, const char *root, struct nf_counters **out)
{
    struct nf_counters *c = calloc(1, sizeof *c);

    *out = NULL;
    if (!c)
        return nf_fail(-ENOMEM, "out of memory for counters");
    for (size_t i = 0; sources[i] && c->n < NF_COUNTER_SOURCES_MAX; i++) {
        if (sources[i] != &nf_counter_pcm || !c->n)
            open_one(c, sources[i], root);
    }
    nf_error_clear(); /* what is not there is no failure */
    if (c->n)
        *out = c;
    else
        nf_counters_close(c);
    return 0;
}

struct nf_counters *nf_counters_close(struct nf_counters *c)
{
    for (size_t i = 0; c && i < c->n; i++)
        c->ops[i]->close(c->states[i]);
    free(c);
    return NULL;
}

const char *nf_counters_names(const struct nf_counters *c)
{
    return c->names;
}

void nf_counters_measuring(void *ctx, bool begin)
{
    struct nf_counters *c = ctx;

    for (size_t i = 0; i < c->n; i++) {
        struct reading *r = begin ? &c->before[i] : &c->after[i];

        r->n = c->ops[i]->read(c->states[i], r->v);
    }
}

/* --- judging --- */

/* Of what the replay issued, caches keep some from the controller: at least what misses them by the filter's word passes it, at most all. */
struct range {
    double least, most;
};

/* Of strided runs, whole lines pass, which may be more than was issued of them. */
static void add(struct range *r, uint64_t missed, uint64_t issued, uint64_t moved)
{
    r->least += (double)missed + (double)moved;
    r->most += (double)(missed > issued ? missed : issued) + (double)moved;
}

static bool within(uint64_t counted, const struct range *r)
{
    return (double)counted >= (1 - TOLERANCE) * r->least && (double)counted <= (1 + TOLERANCE) * r->most;
}

static void mark(struct nf_trial *t, const char *what, uint64_t counted, const struct range *r)
{
    char a[NF_UNITS_TEXT], b[NF_UNITS_TEXT];
    size_t n = strlen(t->interference);

    snprintf(t->interference + n, sizeof t->interference - n, "%scounters saw %s %s, the replay %s", n ? "; " : "",
             nf_format_bytes(a, (double)counted), what, nf_format_bytes(b, (double)counted < r->least ? r->least : r->most));
}

void nf_counters_compare(const struct nf_counter_traffic *counted, const struct nf_tier *tiers, uint32_t n_tiers,
                         struct nf_trial *trial)
{
    struct range reads = {0}, writes = {0};
    double fetched;
    uint32_t here = 0, last = 0;

    for (uint32_t i = 0; i < n_tiers; i++) {
        int node = tiers[i].facts.node;

        if (node < 0 || node >= 64 || !(counted->nodes >> node & 1))
            continue;
        add(&reads, trial->tier[i].miss_read_bytes, trial->tier[i].read_bytes, trial->pool.tier[i].moved_out_bytes);
        add(&writes, trial->tier[i].miss_write_bytes, trial->tier[i].write_bytes, trial->pool.tier[i].moved_in_bytes);
        here++;
        last = i;
    }
    if (!here)
        return;
    /* Moves choose their stores by size, so they too may fetch or not. */
    fetched = trial->store == NF_STORE_NON_TEMPORAL ? 0 : writes.most;
    if (here == 1 && counted->has_read)
        trial->tier[last].counter_read_bytes = counted->read_bytes;
    if (here == 1 && counted->has_write)
        trial->tier[last].counter_write_bytes = counted->write_bytes;
    reads.most += fetched;
    if (counted->has_read && !within(counted->read_bytes, &reads))
        mark(trial, "read", counted->read_bytes, &reads);
    if (counted->has_write && !within(counted->write_bytes, &writes))
        mark(trial, "written", counted->write_bytes, &writes);
}

static bool same_places(const struct reading *a, const struct reading *b)
{
    for (int i = 0; i < a->n; i++)
        if (a->v[i].nodes != b->v[i].nodes)
            return false;
    return a->n == b->n && a->n > 0;
}

void nf_counters_judge(const struct nf_counters *c, const struct nf_tier *tiers, uint32_t n_tiers, struct nf_trial *trial)
{
    for (size_t i = 0; c && i < c->n && trial->status != NF_TRIAL_FAILED; i++) {
        const struct reading *a = &c->before[i], *b = &c->after[i];

        if (trial->wall_ns < RESOLUTIONS_LEAST * c->ops[i]->resolution_ns || !same_places(a, b))
            continue;
        for (int k = 0; k < a->n; k++) {
            struct nf_counter_traffic grown = b->v[k];

            if (b->v[k].read_bytes < a->v[k].read_bytes || b->v[k].write_bytes < a->v[k].write_bytes)
                continue; /* it was started anew */
            grown.read_bytes -= a->v[k].read_bytes;
            grown.write_bytes -= a->v[k].write_bytes;
            nf_counters_compare(&grown, tiers, n_tiers, trial);
        }
    }
}
