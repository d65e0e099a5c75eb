/* Before anything is measured: how much memory and time a replay takes, and what of this machine would spoil it. */
#include "replay/session-parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/spill.h"
#include "core/base/units.h"
#include "replay/memory.h"
#include "replay/spoilers.h"

/* --- memory --- */

uint64_t nf_session_near_bytes(const struct nf_session *s, const struct nf_trials_one *t)
{
    return nf_near_bytes(t->near_share, s->peak_bytes);
}

/* Arenas and ledger limits of a trial. The near arena holds as much as everything at once, although its ledger lets only
 * near_bytes of it be used: pages of a real tier need no contiguous run, so a policy that churns must not fail here for
 * want of one. n_tiers may be what the options ask for, before any tier is open. */
void nf_session_size_arenas(const struct nf_session *s, const struct nf_trials_one *t, uint32_t n_tiers,
                        struct nf_pool_config *pool)
{
    const struct nf_policy_ops *ops = s->trials.policies[t->policy].ops;
    bool all_near = nf_trials_is_all_near(ops), all_far = nf_trials_is_all_far(ops);

    for (uint32_t i = 0; i < n_tiers; i++) {
        bool used = i == 0 ? !all_far : i + 1 == n_tiers ? !all_near : !all_near && !all_far;

        pool->capacity[i] = UINT64_MAX;
        pool->arena_bytes[i] = used ? nf_memory_with_slack(s->peak_bytes) : 0;
    }
    if (!all_near)
        pool->capacity[0] = nf_session_near_bytes(s, t);
}

uint64_t nf_session_most_memory(const struct nf_session *s, uint32_t n_tiers)
{
    uint64_t most = 0;

    for (uint32_t i = 0; i < s->trials.n; i++) {
        struct nf_pool_config pool = {0};
        uint64_t sum = 0;

        nf_session_size_arenas(s, &s->trials.v[i], n_tiers, &pool);
        for (uint32_t t = 0; t < n_tiers; t++)
            sum += pool.arena_bytes[t];
        most = sum > most ? sum : most;
    }
    /* The effective LLC is known only once it was measured; its buffers are small beside an arena. */
    return most + nf_background_bytes(s->n_background ? s->n_background : s->o->hog, s->o->llc_bytes);
}

/* What the stream will still take: where it is read in batches, a batch. What of it is in memory already is no longer
 * available. */
static uint64_t stream_memory(const struct nf_session *s)
{
    return nf_spill_file_bytes() ? s->batch_bytes / 2 : 0;
}

/* The scale at which `need` would fit beside the stream, with a little to spare; 0: it fits as it is. < 0: at no scale. */
static double fitting_scale(const struct nf_session *s, uint64_t need)
{
    double usable = NF_MEMORY_SHARE * (double)nf_memory_available() - (double)stream_memory(s);

    if ((double)need <= usable)
        return 0;
    return usable > 0 ? 0.95 * s->o->scale * usable / (double)need : -1;
}

int nf_session_check_memory(const struct nf_session *s, uint64_t need)
{
    char want[NF_UNITS_TEXT], have[NF_UNITS_TEXT], peak[NF_UNITS_TEXT];
    double scale = fitting_scale(s, need);

    if (scale == 0)
        return 0;
    if (scale < 0)
        return nf_fail(-ENOMEM, "batches of the stream alone take %s, and this machine has %s available: replay with a "
                                "smaller --batch-bytes",
                       nf_format_bytes(want, (double)stream_memory(s)), nf_format_bytes(have, (double)nf_memory_available()));
    return nf_fail(-ENOMEM,
                   "the largest trial maps %s (peak live %s), and this machine has %s available; mend: nearfar replay %s "
                   "--scale %.3g",
                   nf_format_bytes(want, (double)need), nf_format_bytes(peak, (double)s->peak_bytes),
                   nf_format_bytes(have, (double)nf_memory_available()), nf_study_path(s->study), scale);
}

/* --- the dry run --- */

static void describe_counters(const struct nf_session *s, FILE *out)
{
    for (size_t i = 0; s->sources[i]; i++) {
        char why[256];
        int rc = s->sources[i]->probe("", why, sizeof why);

        fprintf(out, "counter %s: %s\n", s->sources[i]->name, rc ? why : "usable");
    }
}

/* Two warm-up cycles and the measured ones; the visited bytes at 10 GB/s where no time is known; a trial under delay
 * takes half as long again. An estimate for planning the night, no more. */
static double estimate_trial_ns(const struct nf_session *s, uint64_t arena_bytes)
{
    const double fault_bps = 2e9, visit_bps = 1e10, delayed = 1.5;
    double cycle = nf_session_cycle_ns(s), bytes = 0;
    const struct nf_step_class *c = &s->stream->classes[s->steady];

    for (uint32_t i = 0; i < c->n_visits; i++)
        bytes += (double)c->visits[i].bytes;
    if (!(cycle > 0))
        cycle = bytes / visit_bps * 1e9;
    return (2 + s->o->steps) * cycle * delayed + (double)arena_bytes / fault_bps * 1e9;
}

static const char *spec_of_tier(const struct nf_session *s, uint32_t number)
{
    return number < s->o->n_tiers ? s->o->tiers[number] : number ? "emulated" : "numa";
}

/* The NUMA node a tier's memory would be bound to, by its spec; -1: none (a file, a devdax, memory nobody binds). */
static int node_of_tier(const struct nf_session *s, uint32_t number)
{
    return nf_tier_wanted_node(nf_tier_unnamed(spec_of_tier(s, number)), nf_spoilers_node_of(s->o->root, s->cpu));
}

/* What the trials would bind to each node: the most of any. */
static void need_of_nodes(const struct nf_session *s, uint64_t *node_bytes)
{
    uint32_t n_tiers = s->o->n_tiers ? (uint32_t)s->o->n_tiers : 2;

    for (uint32_t i = 0; i < s->trials.n; i++) {
        uint64_t sum[NF_SPOILERS_NODES] = {0};
        struct nf_pool_config pool = {0};

        nf_session_size_arenas(s, &s->trials.v[i], n_tiers, &pool);
        for (uint32_t t = 0; t < n_tiers; t++) {
            int node = node_of_tier(s, t);

            if (node >= 0 && node < NF_SPOILERS_NODES)
                sum[node] += pool.arena_bytes[t];
        }
        for (int node = 0; node < NF_SPOILERS_NODES; node++)
            node_bytes[node] = sum[node] > node_bytes[node] ? sum[node] : node_bytes[node];
    }
}

/* --- policies that cannot work here --- */

/* What is known of a tier before it is open: whose it is, on which node, and whether it injects. */
static void wished_tier(const struct nf_session *s, uint32_t number, struct nf_tier *out)
{
    const char *spec = nf_tier_unnamed(spec_of_tier(s, number));
    const struct nf_tier_ops *provider = nf_tier_provider(spec);

    out->facts = (struct nf_tier_facts){.node = node_of_tier(s, number), .huge = strstr(spec, "page=thp") != NULL,
                                        .target_latency_ns = provider && provider->charge && provider->node ? 1 : 0};
}

int nf_session_check_policies(const struct nf_session *s)
{
    struct nf_tier tiers[NF_TIER_MAX] = {0};
    uint32_t n = nf_session_name_tiers(s->o, tiers);
    int rc;

    for (uint32_t i = 0; i < n; i++)
        wished_tier(s, i, &tiers[i]);
    rc = nf_session_check_recompute(s, nf_spill_file_bytes() > 0);
    return rc ? rc : nf_session_check_movers(s, tiers, n);
}

static size_t look(const struct nf_session *s, struct nf_spoiler *out)
{
    struct nf_spoilers_of of = {.root = s->o->root, .study = nf_study_path(s->study), .scale = s->o->scale, .cpus = s->cpus,
                                .n_cpus = s->threads};

    for (size_t i = 0; i < s->o->n_tiers; i++)
        of.huge |= strstr(s->o->tiers[i], "page=thp") != NULL;
    for (uint32_t i = 0; i < s->trials.n_policies; i++)
        of.kernel_moves |= s->trials.policies[i].ops->semantics.mover == NF_MOVER_KERNEL;
    need_of_nodes(s, of.node_bytes);
    return nf_spoilers(&of, out);
}

void nf_session_describe(const struct nf_session *s, uint64_t need)
{
    FILE *out = s->o->out ? s->o->out : stdout;
    struct nf_spoiler spoilers[NF_SPOILERS_MAX];
    size_t n = look(s, spoilers);
    char text[NF_UNITS_TEXT];
    uint64_t trials = (uint64_t)s->trials.n * s->o->blocks;
    double scale = fitting_scale(s, need);

    fprintf(out, "capture %lld: peak live %s", (long long)s->capture, nf_format_bytes(text, (double)s->peak_bytes));
    fprintf(out, ", captured cycle %s\n", s->timed ? nf_format_ns(text, nf_session_cycle_ns(s)) : "unknown");
    fprintf(out, "trials: %llu (%u a block, %u blocks), %u policies\n", (unsigned long long)trials, s->trials.n,
            s->o->blocks, s->trials.n_policies);
    fprintf(out, "threads: %u\n", s->threads);
    if (s->helper_cpu >= 0)
        fprintf(out, "mover: its own thread, on CPU %d%s\n", s->helper_cpu,
                s->n_cpus > s->threads ? "" : ", which it shares with the replay: fewer --threads would leave it one");
    if (s->stale.stream)
        fprintf(out, "stale profile: policies that see one also plan on that of %s\n", s->stale.source);
    if (s->o->sensitivity)
        fprintf(out, "sensitivity: every trial also at k/2 and 2k, unfiltered, with other stores%s\n",
                s->trials.varied >> NF_FACTOR_PAGES & 1 ? ", with other pages" : "");
    if (s->o->cold)
        fprintf(out, "cold: every trial also from empty caches, one step each without warm-up\n");
    fprintf(out, "time: about %s\n", nf_format_ns(text, (double)trials * estimate_trial_ns(s, need)));
    fprintf(out, "memory: %s", nf_format_bytes(text, (double)need));
    fprintf(out, " of %s available", nf_format_bytes(text, (double)nf_memory_available()));
    if (stream_memory(s))
        fprintf(out, ", beside %s for a batch of the stream", nf_format_bytes(text, (double)stream_memory(s)));
    fprintf(out, "\n");
    if (nf_spill_file_bytes())
        fprintf(out, "stream: beyond %s, read in batches from files\n", nf_format_bytes(text, (double)s->batch_bytes));
    if (s->o->background)
        fprintf(out, "contention: %s, in every second trial\n", s->o->background);
    describe_counters(s, out);
    fprintf(out, n || scale > 0 ? "on this machine:\n" : "on this machine: nothing known that would spoil it\n");
    if (scale > 0)
        fprintf(out, "  the largest trial does not fit into memory; mend: nearfar replay %s --scale %.3g\n",
                nf_study_path(s->study), scale);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "  %s%s%s\n", spoilers[i].what, *spoilers[i].mend ? "; mend: " : "", spoilers[i].mend);
}

/* Whether a list "load,thp" names it. */
static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : "") {
        if (!strncmp(p, name, n) && (!p[n] || p[n] == ','))
            return true;
    }
    return false;
}

static void append(char *list, size_t size, const char *name)
{
    size_t n = strlen(list);

    if (!listed(list, name))
        snprintf(list + n, size - n, "%s%s", n ? "," : "", name);
}

int nf_session_check_spoilers(struct nf_session *s)
{
    struct nf_spoiler v[NF_SPOILERS_MAX];
    char refused[sizeof s->despite] = "";
    size_t n = look(s, v);

    *s->despite = '\0';
    for (size_t i = 0; i < n; i++) {
        bool despite = v[i].wrong && listed(s->o->despite, v[i].name);

        if (!v[i].wrong)
            continue;
        nf_warn("%s%s%s%s", despite ? "going on although " : "", v[i].what, *v[i].mend ? "; mend: " : "", v[i].mend);
        append(despite ? s->despite : refused, sizeof refused, v[i].name);
    }
    if (!*refused)
        return 0;
    return nf_fail(-ENODEV, "a replay on this machine as it is now would be wrong: mend what is named above, or go on with "
                            "--despite %s and have every trial say so", refused);
}
