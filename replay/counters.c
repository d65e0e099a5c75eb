#include "replay/counters.h"

#include <errno.h>
#include <stdarg.h>
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
    char said[1536];
};

static void say(struct nf_counters *c, const char *source, const char *what)
{
    size_t n = strlen(c->said);

    snprintf(c->said + n, sizeof c->said - n, "%s%s: %s", n ? "; " : "", source, what);
}

static void open_one(struct nf_counters *c, const struct nf_counter_ops *ops, const char *root)
{
    char why[256];

    if (ops->probe(root, why, sizeof why)) {
        say(c, ops->name, why);
        return;
    }
    if (ops->open(root, &c->states[c->n])) {
        nf_warn("counters %s do not open, and are left out: %s", ops->name, nf_error_text(0));
        say(c, ops->name, nf_error_text(0));
        return;
    }
    say(c, ops->name, "usable");
    c->ops[c->n++] = ops;
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
        else
            say(c, sources[i]->name, "left alone: it would take the hardware away from the kernel's counters");
    }
    nf_error_clear(); /* what is not there is no failure */
    *out = c;
    return 0;
}

struct nf_counters *nf_counters_close(struct nf_counters *c)
{
    for (size_t i = 0; c && i < c->n; i++)
        c->ops[i]->close(c->states[i]);
    free(c);
    return NULL;
}

const char *nf_counters_said(const struct nf_counters *c)
{
    return c->said;
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

/* Of a tier that nothing has counted yet. */
__attribute__((format(printf, 2, 3))) static void uncounted(struct nf_trial_tier *t, const char *fmt, ...)
{
    va_list args;

    if (t->counter_read_bytes != NF_TRIAL_UNKNOWN && t->counter_write_bytes != NF_TRIAL_UNKNOWN)
        return;
    va_start(args, fmt);
    vsnprintf(t->uncounted, sizeof t->uncounted, fmt, args);
    va_end(args);
}

void nf_counters_leave_out(uint32_t n_tiers, const char *why, struct nf_trial *trial)
{
    for (uint32_t i = 0; i < n_tiers; i++)
        uncounted(&trial->tier[i], "%s", why);
}

/* The node that its memory is counted as; -1 unknown. */
static int counted_node(const struct nf_tier *tier)
{
    return tier->facts.node >= 0 ? tier->facts.node : tier->facts.target_node;
}

static bool is_of(const struct nf_counter_traffic *counted, const struct nf_tier *tier)
{
    int node = counted_node(tier);

    return node >= 0 && node < 64 && counted->nodes >> node & 1;
}

/* The first tier of the place but this one. */
static const char *shared_with(const struct nf_counter_traffic *counted, const struct nf_tier *tiers, uint32_t n_tiers, uint32_t but)
{
    for (uint32_t i = 0; i < n_tiers; i++)
        if (i != but && is_of(counted, &tiers[i]))
            return tiers[i].name;
    return NULL;
}

static void take(const struct nf_counter_traffic *counted, struct nf_trial_tier *t)
{
    if (counted->has_read)
        t->counter_read_bytes = counted->read_bytes;
    if (counted->has_write)
        t->counter_write_bytes = counted->write_bytes;
    *t->uncounted = '\0';
    uncounted(t, "its %s are not counted", counted->has_read ? "writes" : "reads");
}

void nf_counters_compare(const struct nf_counter_traffic *counted, const struct nf_tier *tiers, uint32_t n_tiers,
                         struct nf_trial *trial)
{
    struct range reads = {0}, writes = {0};
    double fetched;
    uint32_t here = 0;

    for (uint32_t i = 0; i < n_tiers; i++) {
        struct nf_trial_tier *t = &trial->tier[i];
        const char *other = shared_with(counted, tiers, n_tiers, i);

        if (!is_of(counted, &tiers[i]))
            continue;
        add(&reads, t->miss_read_bytes, t->read_bytes, trial->pool.tier[i].moved_out_bytes);
        add(&writes, t->miss_write_bytes, t->write_bytes, trial->pool.tier[i].moved_in_bytes);
        here++;
        if (other)
            uncounted(t, "counted together with tier '%s': both are on one node", other);
        else
            take(counted, t);
    }
    if (!here)
        return;
    /* Moves choose their stores by size, so they too may fetch or not. */
    fetched = trial->store == NF_STORE_NON_TEMPORAL ? 0 : writes.most;
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

/* One source's two readings. */
static void judge_source(const struct nf_counter_ops *ops, const struct reading *a, const struct reading *b,
                         const struct nf_tier *tiers, uint32_t n_tiers, struct nf_trial *trial)
{
    char why[96];

    *why = '\0';
    if (trial->wall_ns < RESOLUTIONS_LEAST * ops->resolution_ns)
        snprintf(why, sizeof why, "its readings (%s) are up to %.1f s old: too old for a trial under %.0f s", ops->name,
                 (double)ops->resolution_ns / 1e9, RESOLUTIONS_LEAST * (double)ops->resolution_ns / 1e9);
    else if (!same_places(a, b))
        snprintf(why, sizeof why, "%s could not be read", ops->name);
    for (uint32_t i = 0; *why && i < n_tiers; i++)
        if (counted_node(&tiers[i]) >= 0)
            uncounted(&trial->tier[i], "%s", why);
    if (*why)
        return;
    for (int k = 0; k < a->n; k++) {
        struct nf_counter_traffic grown = b->v[k];
        bool anew = b->v[k].read_bytes < a->v[k].read_bytes || b->v[k].write_bytes < a->v[k].write_bytes;

        grown.read_bytes -= a->v[k].read_bytes;
        grown.write_bytes -= a->v[k].write_bytes;
        if (!anew)
            nf_counters_compare(&grown, tiers, n_tiers, trial);
        for (uint32_t i = 0; anew && i < n_tiers; i++)
            if (is_of(&grown, &tiers[i]))
                uncounted(&trial->tier[i], "%s was started anew meanwhile", ops->name);
    }
}

void nf_counters_judge(const struct nf_counters *c, const struct nf_tier *tiers, uint32_t n_tiers, struct nf_trial *trial)
{
    for (uint32_t i = 0; i < n_tiers; i++) {
        if (trial->status == NF_TRIAL_FAILED)
            uncounted(&trial->tier[i], "the trial failed");
        else if (!c->n)
            uncounted(&trial->tier[i], "no counter works here");
        else if (counted_node(&tiers[i]) < 0)
            uncounted(&trial->tier[i], "its memory is on no node that is known");
        else
            uncounted(&trial->tier[i], "no counter here counts node %d", counted_node(&tiers[i]));
    }
    for (size_t i = 0; i < c->n && trial->status != NF_TRIAL_FAILED; i++)
        judge_source(c->ops[i], &c->before[i], &c->after[i], tiers, n_tiers, trial);
}
