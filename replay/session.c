#include "replay/session.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/base/spill.h"
#include "core/base/units.h"
#include "core/store/records.h"
#include "pool/mover.h"
#include "replay/background.h"
#include "replay/batches.h"
#include "replay/counters.h"
#include "replay/engine.h"
#include "replay/environment.h"
#include "replay/interference.h"
#include "replay/ledger.h"
#include "replay/memory.h"
#include "replay/pin.h"
#include "replay/residual.h"
#include "replay/scale.h"
#include "replay/spoilers.h"
#include "replay/stop-rule.h"
#include "replay/team.h"
#include "replay/testbed.h"
#include "replay/trials.h"

static const double NEAR_SHARES[] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0};
static const enum nf_overlap OVERLAPS[] = {NF_OVERLAP_FULL, NF_OVERLAP_NONE};
static const enum nf_overlap OVERLAPS_UNTIMED[] = {NF_OVERLAP_ASAP};

struct session {
    struct nf_study *study;
    const struct nf_replay_options *o;
    struct nf_replay_result *result;
    int cpu;
    unsigned threads;
    int cpus[NF_TEAM_MAX + 1]; /* of the threads; behind them the mover's, where it has one of its own */
    uint32_t n_cpus;           /* with it */
    int helper_cpu;            /* of a mover with a thread of its own; -1: no policy has one */
    int64_t capture, machine;
    struct nf_stream *stream;
    uint32_t steady;
    uint64_t peak_bytes;
    bool timed; /* the capture holds op times */
    struct nf_trials trials;
    struct nf_testbed testbed;
    struct nf_profile *profiles;
    struct nf_script *scripts;
    struct nf_residual residual;
    struct nf_stop_rule rule;
    bool *kept; /* [block][position]: a trial that a resumed replay has already */
    struct nf_background_spec background[NF_BACKGROUND_MAX];
    size_t n_background;
    uint64_t batch_bytes; /* half for arrays that stay in memory, half for the batch that is read in */
    struct nf_batches batches;
    struct nf_counters *counters; /* NULL: none works here */
    uint64_t started_ns;
};

/* --- what is replayed --- */

static int find_peak(struct session *s)
{
    for (uint32_t i = 0; i < s->stream->n_classes; i++) {
        uint64_t peak;
        int rc;

        if (i != s->steady && !s->o->whole_sequence)
            continue;
        rc = nf_step_class_peak(&s->stream->classes[i], &peak);
        if (rc)
            return rc;
        s->peak_bytes = peak > s->peak_bytes ? peak : s->peak_bytes;
    }
    return s->peak_bytes ? 0 : nf_fail(-EINVAL, "capture %lld allocated nothing", (long long)s->capture);
}

static double cycle_captured_ns(const struct session *s)
{
    double ns = 0;

    for (uint32_t i = 0; i < (s->o->whole_sequence ? s->stream->n_sequence : 1); i++) {
        const struct nf_step_class *c = &s->stream->classes[s->o->whole_sequence ? s->stream->sequence[i] : s->steady];

        for (uint32_t op = 0; op < c->n_ops; op++)
            ns += c->ops[op].dur_ns + c->ops[op].gap_ns;
    }
    return ns;
}

static int load(struct session *s)
{
    int rc;

    s->capture = nf_record_capture_find(s->study, s->o->capture);
    if (s->capture < 0)
        return (int)s->capture;
    nf_spill_limit(s->batch_bytes / 2);
    rc = nf_record_stream_load(s->study, s->capture, &s->stream);
    if (rc)
        return rc;
    if (!s->stream->n_classes || (s->o->whole_sequence && !s->stream->n_sequence))
        return nf_fail(-ENOENT, "capture %lld has no steps to replay", (long long)s->capture);
    rc = nf_stream_scale(s->stream, s->o->scale);
    if (rc)
        return rc;
    s->steady = nf_stream_steady_class(s->stream);
    for (uint32_t i = 0; i < s->stream->n_classes; i++) {
        if (i != s->steady && !s->o->whole_sequence) /* never replayed */
            nf_step_class_forget_visits(&s->stream->classes[i]);
    }
    s->timed = cycle_captured_ns(s) > 0;
    return find_peak(s);
}

/* The names that the tiers will have once they are open: "name=provider:...", or by their order. */
static uint32_t name_tiers(const struct nf_replay_options *o, struct nf_tier *tiers)
{
    uint32_t n = o->n_tiers ? (uint32_t)o->n_tiers : 2;

    n = n < NF_TIER_MAX ? n : NF_TIER_MAX;
    for (uint32_t i = 0; i < n; i++) {
        const char *spec = i < o->n_tiers ? o->tiers[i] : "";
        size_t given = strcspn(spec, "=:");

        if (spec[given] == '=')
            snprintf(tiers[i].name, sizeof tiers[i].name, "%.*s", (int)given, spec);
        else if (i < 2)
            snprintf(tiers[i].name, sizeof tiers[i].name, "%s", i ? "far" : "near");
        else
            snprintf(tiers[i].name, sizeof tiers[i].name, "far%u", i);
    }
    return n;
}

/* Found out before anything is measured. */
static int wish_background(struct session *s)
{
    struct nf_tier named[NF_TIER_MAX] = {0};
    int rc;

    if (!s->o->background)
        return 0;
    rc = nf_background_parse(s->o->background, s->background, NF_BACKGROUND_MAX, &s->n_background);
    return rc ? rc : nf_background_check(s->background, s->n_background, named, name_tiers(s->o, named));
}

static int wish(struct session *s)
{
    const struct nf_replay_options *o = s->o;
    struct nf_trials_wish w = {
        .policies = o->policies,
        .n_policies = o->n_policies,
        .near_shares = o->n_near_shares ? o->near_shares : NEAR_SHARES,
        .n_near_shares = o->n_near_shares ? o->n_near_shares : sizeof NEAR_SHARES / sizeof *NEAR_SHARES,
        .overlaps = o->n_overlaps ? o->overlaps : OVERLAPS,
        .n_overlaps = o->n_overlaps ? o->n_overlaps : sizeof OVERLAPS / sizeof *OVERLAPS,
        .hog = o->hog,
        .background = o->background,
        .cold = o->cold,
    };
    int rc = wish_background(s);

    if (rc)
        return rc;
    for (size_t i = 0; i < o->n_overlaps && o->overlaps_asked && !s->timed; i++)
        if (o->overlaps[i] != NF_OVERLAP_ASAP)
            return nf_fail(-EINVAL, "capture %lld holds no op times, and %s paces by them: --mode asap replays its memory "
                           "accesses alone", (long long)s->capture, nf_overlap_name(o->overlaps[i]));
    if (!s->timed) {
        w.overlaps = OVERLAPS_UNTIMED;
        w.n_overlaps = sizeof OVERLAPS_UNTIMED / sizeof *OVERLAPS_UNTIMED;
        if (!o->overlaps_asked)
            nf_info("capture %lld holds no op times: its memory accesses alone are replayed (overlap asap), and there is "
                    "no slowdown of the job to state", (long long)s->capture);
    }
    rc = nf_trials_init(&s->trials, &w);
    return rc;
}

/* --- memory --- */

static uint64_t near_bytes(const struct session *s, const struct nf_trials_one *t)
{
    return (uint64_t)(t->near_share * (double)s->peak_bytes) & ~(uint64_t)(NF_PAGE_BYTES - 1);
}

/* Arenas and ledger limits of a trial. The near arena holds as much as everything at once, although its ledger lets only
 * near_bytes of it be used: pages of a real tier need no contiguous run, so a policy that churns must not fail here for
 * want of one. n_tiers may be what the options ask for, before any tier is open. */
static void size_arenas(const struct session *s, const struct nf_trials_one *t, uint32_t n_tiers,
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
        pool->capacity[0] = near_bytes(s, t);
}

static uint64_t most_memory(const struct session *s, uint32_t n_tiers)
{
    uint64_t most = 0;

    for (uint32_t i = 0; i < s->trials.n; i++) {
        struct nf_pool_config pool = {0};
        uint64_t sum = 0;

        size_arenas(s, &s->trials.v[i], n_tiers, &pool);
        for (uint32_t t = 0; t < n_tiers; t++)
            sum += pool.arena_bytes[t];
        most = sum > most ? sum : most;
    }
    /* The effective LLC is known only once it was measured; its buffers are small beside an arena. */
    return most + nf_background_bytes(s->n_background ? s->n_background : s->o->hog, s->o->llc_bytes);
}

/* What the stream will still take: where it is read in batches, a batch. What of it is in memory already is no longer
 * available. */
static uint64_t stream_memory(const struct session *s)
{
    return nf_spill_file_bytes() ? s->batch_bytes / 2 : 0;
}

/* The scale at which `need` would fit beside the stream, with a little to spare; 0: it fits as it is. < 0: at no scale. */
static double fitting_scale(const struct session *s, uint64_t need)
{
    double usable = NF_MEMORY_SHARE * (double)nf_memory_available() - (double)stream_memory(s);

    if ((double)need <= usable)
        return 0;
    return usable > 0 ? 0.95 * s->o->scale * usable / (double)need : -1;
}

static int check_memory(const struct session *s, uint64_t need)
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
                   "the largest trial maps %s (peak live %s), and this machine has %s available: replay it smaller, "
                   "with --scale %.3g",
                   nf_format_bytes(want, (double)need), nf_format_bytes(peak, (double)s->peak_bytes),
                   nf_format_bytes(have, (double)nf_memory_available()), scale);
}

/* --- the dry run --- */

static void describe_counters(FILE *out)
{
    for (size_t i = 0; nf_counter_sources[i]; i++) {
        char why[256];
        int rc = nf_counter_sources[i]->probe("", why, sizeof why);

        fprintf(out, "counter %s: %s\n", nf_counter_sources[i]->name, rc ? why : "usable");
    }
}

/* Two warm-up cycles and the measured ones; the visited bytes at 10 GB/s where no time is known; a trial under delay
 * takes half as long again. An estimate for planning the night, no more. */
static double estimate_trial_ns(const struct session *s, uint64_t arena_bytes)
{
    const double fault_bps = 2e9, visit_bps = 1e10, delayed = 1.5;
    double cycle = cycle_captured_ns(s), bytes = 0;
    const struct nf_step_class *c = &s->stream->classes[s->steady];

    for (uint32_t i = 0; i < c->n_visits; i++)
        bytes += (double)c->visits[i].bytes;
    if (!(cycle > 0))
        cycle = bytes / visit_bps * 1e9;
    return (2 + s->o->steps) * cycle * delayed + (double)arena_bytes / fault_bps * 1e9;
}

static void describe(const struct session *s, uint64_t need)
{
    FILE *out = s->o->out ? s->o->out : stdout;
    struct nf_spoiler spoilers[NF_SPOILERS_MAX];
    size_t n = nf_spoilers("", spoilers);
    char text[NF_UNITS_TEXT];
    uint64_t trials = (uint64_t)s->trials.n * s->o->blocks;
    double scale = fitting_scale(s, need);

    fprintf(out, "capture %lld: peak live %s", (long long)s->capture, nf_format_bytes(text, (double)s->peak_bytes));
    fprintf(out, ", captured cycle %s\n", s->timed ? nf_format_ns(text, cycle_captured_ns(s)) : "unknown");
    fprintf(out, "trials: %llu (%u a block, %u blocks), %u policies\n", (unsigned long long)trials, s->trials.n,
            s->o->blocks, s->trials.n_policies);
    fprintf(out, "threads: %u\n", s->threads);
    if (s->helper_cpu >= 0)
        fprintf(out, "mover: its own thread, on CPU %d%s\n", s->helper_cpu,
                s->n_cpus > s->threads ? "" : ", which it shares with the replay: fewer --threads would leave it one");
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
    describe_counters(out);
    fprintf(out, n || scale > 0 ? "on this machine:\n" : "on this machine: nothing known that would spoil it\n");
    if (scale > 0)
        fprintf(out, "  the largest trial does not fit into memory; mend: nearfar replay %s --scale %.3g\n",
                nf_study_path(s->study), scale);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "  %s%s%s\n", spoilers[i].what, *spoilers[i].mend ? "; mend: " : "", spoilers[i].mend);
}

/* What would make the numbers wrong is refused where nothing is lost by it; a replay itself is warned, as its proofs of
 * placement find out what really happens. */
static int check_spoilers(bool refuse)
{
    struct nf_spoiler v[NF_SPOILERS_MAX];
    size_t n = nf_spoilers("", v);

    for (size_t i = 0; i < n; i++) {
        if (v[i].wrong && refuse)
            return nf_fail(-ENODEV, "a replay on this machine may be wrong: %s; mend: %s", v[i].what, v[i].mend);
        if (v[i].wrong)
            nf_warn("%s; mend: %s", v[i].what, v[i].mend);
    }
    return 0;
}

/* --- preparation --- */

/* Found out now rather than as failed trials. */
static int check_movers(const struct session *s)
{
    char why[512];

    for (uint32_t i = 0; i < s->trials.n_policies; i++) {
        const struct nf_policy_ops *ops = s->trials.policies[i].ops;
        int rc = nf_mover_probe((int)ops->semantics.mover, s->testbed.tiers, s->testbed.n_tiers, why, sizeof why);

        if (rc)
            return nf_fail(rc, "policy %s cannot work here: %s", ops->name, why);
    }
    return 0;
}

static int open_testbed(struct session *s)
{
    const struct nf_replay_options *o = s->o;
    struct nf_testbed_options t = {
        .specs = o->tiers,
        .n_specs = o->n_tiers,
        .far_latency_x = o->far_latency_x,
        .far_bandwidth_x = o->far_bandwidth_x,
        .cpu = s->cpu,
        .llc_bytes = o->llc_bytes,
        .reuse = o->reuse_testbed || o->resume ? s->study : NULL,
        .reuse_id = o->resume_testbed,
        .machine = s->machine,
        .quiet = o->quiet,
    };
    int rc = nf_testbed_init(&s->testbed, &t);

    if (!rc)
        rc = check_movers(s);
    return rc ? rc : nf_testbed_record(&s->testbed, s->study, o->invocation, s->machine);
}

static int prepare_classes(struct session *s)
{
    uint64_t cache = nf_scale_cache(s->testbed.llc_bytes, s->o->scale), llc = s->o->unfiltered ? 0 : cache;
    uint32_t n = s->stream->n_classes;
    int rc = 0;

    s->profiles = calloc(n, sizeof *s->profiles);
    s->scripts = calloc(n, sizeof *s->scripts);
    if (!s->profiles || !s->scripts)
        return nf_fail(-ENOMEM, "out of memory for %u step classes", n);
    for (uint32_t i = 0; i < n && !rc; i++) {
        if (!s->o->quiet)
            nf_progress("preparing step class %u of %u", i + 1, n);
        /* Unfiltered, bursts are still those of the real cache. */
        rc = nf_profile_init(&s->profiles[i], &s->stream->classes[i], llc, cache);
        if (!rc)
            rc = nf_script_init(&s->scripts[i], &s->profiles[i], s->o->seed);
    }
    if (!rc)
        rc = nf_batches_init(&s->batches, s->scripts, n, s->batch_bytes / 2);
    return rc ? rc : nf_spill_settle();
}

static struct nf_engine_config configure(const struct session *s, const struct nf_trials_one *t, uint32_t block)
{
    const struct nf_trials_policy *policy = &s->trials.policies[t->policy];
    struct nf_engine_config c = NF_ENGINE_CONFIG_INIT;

    c.stream = s->stream;
    c.scripts = s->scripts;
    c.pool.tiers = (struct nf_tier *)s->testbed.tiers;
    c.pool.n_tiers = s->testbed.n_tiers;
    c.pool.policy = policy->ops;
    c.pool.policy_options = policy->options;
    c.pool.profiles = s->profiles;
    c.pool.n_profiles = s->stream->n_classes;
    c.pool.steady_class = s->steady;
    c.pool.seed = nf_hash_add(s->o->seed, block);
    size_arenas(s, t, c.pool.n_tiers, &c.pool);
    for (uint32_t i = 0; i < c.pool.n_tiers; i++) {
        c.pool.latency_ns[i] = s->testbed.measured[i].latency_ns;
        c.pool.read_bps[i] = s->testbed.measured[i].read_bps;
        c.parallelism[i] = s->testbed.measured[0].parallelism; /* calibrated on local memory */
    }
    c.parallelism_scale = s->o->parallelism_scale;
    c.overlap = t->overlap;
    c.residual_ns = (const double *const *)s->residual.op_ns;
    c.whole_sequence = s->o->whole_sequence;
    c.cycles = t->cold ? 1 : s->o->steps; /* the second would not be cold */
    c.cold = t->cold;
    c.cpu = s->cpu;
    c.helper_cpu = s->helper_cpu;
    c.threads = s->threads;
    c.store = s->o->store;
    c.stop = s->o->stop;
    if (nf_batches_needed(&s->batches)) {
        c.between = nf_batches_between;
        c.between_ctx = (void *)&s->batches;
    }
    return c;
}

/* CPUs that the replay's threads must leave to who contends. */
static size_t contenders_cpus(const struct session *s)
{
    return s->n_background > s->o->hog ? s->n_background : s->o->hog;
}

static bool has_helper(const struct session *s)
{
    for (uint32_t i = 0; i < s->trials.n_policies; i++) {
        const struct nf_policy_semantics *semantics = &s->trials.policies[i].ops->semantics;

        if (semantics->sync == NF_SYNC_HELPER && semantics->mover != NF_MOVER_KERNEL)
            return true;
    }
    return false;
}

/* A mover with a thread of its own comes after the job's threads and whoever contends: it gets a CPU where one is left, or
 * shares the last thread's. */
static void choose_helper(struct session *s)
{
    bool one_is_left = (size_t)nf_pin_cpus() > s->threads + contenders_cpus(s);

    s->n_cpus = s->threads;
    s->helper_cpu = -1;
    if (!has_helper(s))
        return;
    if (one_is_left)
        s->n_cpus = nf_pin_team("", NULL, s->cpu, s->threads + 1, s->cpus);
    s->helper_cpu = s->cpus[s->n_cpus - 1];
    if (s->n_cpus == s->threads)
        nf_info("no CPU is left for the mover's own thread: it shares CPU %d with the replay", s->helper_cpu);
}

/* The same number in every trial, also where nobody contends: trials are compared with each other. */
static int choose_threads(struct session *s)
{
    size_t others = contenders_cpus(s);
    unsigned wanted = s->o->threads ? s->o->threads : s->stream->threads, all = (unsigned)nf_pin_cpus();
    unsigned most = all > others ? all - (unsigned)others : 1;

    wanted = wanted ? wanted : 1;
    if (s->o->threads > most)
        return nf_fail(-ENODEV, "%u replay threads beside %zu that contend want a CPU each, and this process "
                       "may use %u", wanted, others, all);
    if (wanted > most)
        nf_info("the job ran on %u threads, its replay does on %u: there are no more CPUs", wanted, most);
    s->threads = wanted < most ? wanted : most;
    s->threads = nf_pin_team("", NULL, s->cpu, s->threads, s->cpus);
    if (others && nf_background_probe(others, s->threads))
        return -ENODEV;
    choose_helper(s);
    return 0;
}

static int calibrate(struct session *s)
{
    struct nf_trials_one all_near = {.near_share = 1, .overlap = NF_OVERLAP_ASAP};
    struct nf_engine_config c = configure(s, &all_near, 0);

    if (!s->o->quiet)
        nf_progress("calibrating the compute time of each op");
    return nf_residual_init(&s->residual, &c);
}

/* --- trials --- */

static void report(const struct session *s, const struct nf_trials_one *t)
{
    const struct nf_replay_result *r = s->result;
    char left[NF_UNITS_TEXT] = "unknown";
    double spent = (double)(nf_now_ns() - s->started_ns);

    if (s->o->quiet)
        return;
    if (r->done)
        nf_format_ns(left, spent / r->done * (r->planned - r->kept - r->done));
    nf_progress("trial %u of %u: %s, near %.0f %%, %s%s%s; %s left", r->kept + r->done + 1, r->planned,
                s->trials.policies[t->policy].ops->name, 100 * t->near_share, nf_overlap_name(t->overlap),
                t->hog ? ", beside a hog" : "", t->background ? ", under contention" : t->cold ? ", cold" : "", left);
}

static int start_background(const struct session *s, const struct nf_trials_one *t, struct nf_background **out)
{
    double read_bps[NF_TIER_MAX];
    struct nf_background_where where = {
        .tiers = s->testbed.tiers,
        .read_bps = read_bps,
        .n_tiers = s->testbed.n_tiers,
        .taken = s->cpus,
        .n_taken = s->n_cpus,
        .llc_bytes = s->testbed.llc_bytes,
    };

    for (uint32_t i = 0; i < s->testbed.n_tiers; i++)
        read_bps[i] = s->testbed.measured[i].read_bps;
    if (t->hog)
        return nf_background_start_hog(s->cpus, s->n_cpus, s->testbed.llc_bytes, out);
    return t->background ? nf_background_start(s->background, s->n_background, &where, out) : 0;
}

/* Pages that were moved on the policy's behalf, of those that the machine counts: all, where it leaves them to the kernel. */
static uint64_t asked_pages(const struct nf_policy_ops *policy, const struct nf_trial *trial)
{
    return policy->semantics.mover == NF_MOVER_KERNEL ? UINT64_MAX : trial->pool.moved_pages_ever;
}

/* *bps: traffic of the hog or the background per second; 0: there was none. */
static int run_trial(struct session *s, const struct nf_trials_one *t, uint32_t block, struct nf_trial *trial, double *bps)
{
    struct nf_engine_config c = configure(s, t, block);
    size_t contenders = t->hog ? 1 : t->background ? s->n_background : 0;
    struct nf_background *background = NULL;
    struct nf_interference before, after;
    char speed[NF_UNITS_TEXT];
    unsigned reads = s->batches.reads;
    int rc;

    *bps = 0;
    *trial = (struct nf_trial){0};
    nf_interference_read("", s->cpu, &before);
    c.measuring = s->counters ? nf_counters_measuring : NULL;
    c.measuring_ctx = s->counters;
    rc = start_background(s, t, &background);
    if (!rc)
        rc = nf_trial_run(&c, trial);
    nf_background_stop(background, bps);
    trial->batches = s->batches.reads - reads;
    if (!rc && contenders && trial->status == NF_TRIAL_OK && !*trial->message)
        snprintf(trial->message, sizeof trial->message, "the %s moved %s/s", t->hog ? "hog" : "background",
                 nf_format_bytes(speed, *bps));
    if (!rc) {
        nf_interference_read("", s->cpu, &after);
        after.load -= after.load > 0 ? (double)contenders + (trial->helper_cpu >= 0) : 0; /* asked for */
        nf_interference_judge(&before, &after, asked_pages(c.pool.policy, trial), s->peak_bytes / NF_PAGE_BYTES, trial);
        /* What contends moves bytes of its own, which nobody counts by tier. */
        if (!contenders)
            nf_counters_judge(s->counters, s->testbed.tiers, s->testbed.n_tiers, trial);
    }
    return rc;
}

/* "thp" or "4k" where every arena has the same, "mixed" where not. */
static const char *page_of(const struct nf_testbed *t)
{
    uint32_t huge = 0;

    for (uint32_t i = 0; i < t->n_tiers; i++)
        huge += strstr(t->tiers[i].spec, "page=thp") != NULL;
    return !huge ? "4k" : huge == t->n_tiers ? "thp" : "mixed";
}

static int run_and_record(struct session *s, uint32_t block, uint32_t position, uint32_t number)
{
    const struct nf_trials_one *t = &s->trials.v[number];
    struct nf_ledger_trial row = {
        .block = block,
        .position = position,
        .policy = &s->trials.policies[t->policy],
        .plan = t,
        .near_bytes = near_bytes(s, t),
        .parallelism_scale = s->o->parallelism_scale,
        .floored_share = s->residual.floored_share,
        .evidence = s->testbed.tiers[s->testbed.n_tiers - 1].facts.evidence,
        .n_tiers = s->testbed.n_tiers,
        .variant = "",
        .page = page_of(&s->testbed),
        .background = t->background ? s->o->background : "",
    };
    struct nf_buf before = {0}, after = {0};
    struct nf_trial trial;
    int rc;

    report(s, t);
    nf_environment_json("", s->cpu, &before);
    rc = run_trial(s, t, block, &trial, &row.background_bps);
    nf_environment_json("", s->cpu, &after);
    row.before = before.failed ? "{}" : before.data;
    row.after = after.failed ? "{}" : after.data;
    if (!rc)
        rc = nf_ledger_add(s->study, s->result->replay, &row, &trial);
    if (!rc) {
        s->result->done++;
        s->result->failed += trial.status == NF_TRIAL_FAILED;
        s->result->unsteady += trial.status == NF_TRIAL_UNSTEADY;
        s->result->disturbed += *trial.interference != '\0';
        if (trial.status != NF_TRIAL_FAILED && trial.steps)
            nf_stop_rule_add(&s->rule, block, number, (double)trial.wall_ns / trial.steps);
    }
    nf_buf_deinit(&before);
    nf_buf_deinit(&after);
    nf_trial_deinit(&trial);
    return rc;
}

/* --- blocks --- */

struct done {
    struct session *s;
    uint32_t *order;
};

static void keep(void *context, uint32_t block, uint32_t position, double step_ns)
{
    struct done *d = context;
    struct session *s = d->s;

    if (block >= s->o->blocks || position >= s->trials.n)
        return;
    nf_trials_order(&s->trials, s->o->seed, block, d->order);
    nf_stop_rule_add(&s->rule, block, d->order[position], step_ns);
    s->kept[(size_t)block * s->trials.n + position] = true;
    s->result->kept++;
}

/* The interval rule, after whole blocks only: a block that is cut short favours what came first in it. */
static bool enough(struct session *s, uint32_t blocks)
{
    s->result->blocks = blocks;
    if (!(s->o->until_width > 0) || blocks < NF_REPLAY_BLOCKS_MIN)
        return false;
    s->result->width = nf_stop_rule_width(&s->rule, blocks, s->o->seed);
    return s->result->width <= s->o->until_width; /* false for NAN */
}

static int run_blocks(struct session *s)
{
    uint32_t *order = calloc(s->trials.n + (size_t)1, sizeof *order);
    int rc = order ? 0 : nf_fail(-ENOMEM, "out of memory for the order of trials");
    struct done done = {s, order};

    s->started_ns = nf_now_ns();
    s->kept = calloc((size_t)s->o->blocks * s->trials.n + 1, sizeof *s->kept);
    if (!rc && !s->kept)
        rc = nf_fail(-ENOMEM, "out of memory for %u blocks", s->o->blocks);
    if (!rc)
        rc = nf_stop_rule_init(&s->rule, &s->trials, s->o->blocks);
    if (!rc && s->o->resume)
        rc = nf_ledger_done(s->study, s->o->resume, keep, &done);
    for (uint32_t block = 0; block < s->o->blocks && !rc; block++) {
        nf_trials_order(&s->trials, s->o->seed, block, order);
        for (uint32_t i = 0; i < s->trials.n && !rc; i++) {
            if (!s->kept[(size_t)block * s->trials.n + i])
                rc = run_and_record(s, block, i, order[i]);
        }
        if (!rc && enough(s, block + 1))
            break;
    }
    free(order);
    return rc;
}

static int replay(struct session *s)
{
    struct nf_ledger_replay row = {
        .invocation = s->o->invocation,
        .capture = s->capture,
        .testbed = s->testbed.id,
        .seed = s->o->seed,
        .peak_live_bytes = s->peak_bytes,
        .llc_filter_bytes = s->o->unfiltered ? 0 : nf_scale_cache(s->testbed.llc_bytes, s->o->scale),
        .scale = s->o->scale,
        .planned_trials = s->trials.n * s->o->blocks,
        .blocks = s->o->blocks,
        .threads = s->threads,
        .until_width = s->o->until_width,
        .batch_bytes = nf_batches_needed(&s->batches) ? s->batch_bytes : 0,
    };
    char why[256] = "";
    int rc, ended;

    s->result->planned = row.planned_trials;
    s->result->width = NAN;
    if (s->o->resume) {
        s->result->replay = s->o->resume;
        rc = nf_ledger_resume(s->study, s->o->resume);
        if (rc)
            return rc;
    } else {
        s->result->replay = nf_ledger_begin(s->study, &row);
    }
    if (s->result->replay < 0)
        return (int)s->result->replay;
    rc = run_blocks(s);
    if (rc)
        snprintf(why, sizeof why, "%s", rc > 0 ? "stopped" : nf_error_text(rc));
    ended = nf_ledger_end(s->study, s->result->replay, rc ? "partial" : "complete", why);
    if (rc < 0)
        return nf_fail(rc, "%s", why);
    return rc ? rc : ended;
}

/* --- the command --- */

static int check_options(const struct nf_replay_options *o)
{
    if (!o->blocks || !o->steps)
        return nf_fail(-EINVAL, "a replay needs at least one block of one step");
    if (!(o->until_width >= 0) || (o->until_width > 0 && o->blocks < NF_REPLAY_BLOCKS_MIN))
        return nf_fail(-EINVAL, "a stop rule needs room for at least %d blocks, not %u", NF_REPLAY_BLOCKS_MIN, o->blocks);
    if (!(o->scale > 0 && o->scale <= 1))
        return nf_fail(-EINVAL, "the scale is above 0 and at most 1, not %g", o->scale);
    if (!(o->parallelism_scale > 0))
        return nf_fail(-EINVAL, "the parallelism scale is above 0, not %g", o->parallelism_scale);
    for (size_t i = 0; i < o->n_near_shares; i++) {
        if (!(o->near_shares[i] > 0 && o->near_shares[i] <= 1))
            return nf_fail(-EINVAL, "a near share lies above 0 %% and at most at 100 %%, not at %g %%",
                           100 * o->near_shares[i]);
    }
    return 0;
}

static int run(struct session *s)
{
    uint32_t n_tiers = s->o->n_tiers ? (uint32_t)s->o->n_tiers : 2;
    int rc = check_options(s->o);

    if (!rc)
        rc = load(s);
    if (!rc)
        rc = wish(s);
    if (!rc)
        rc = choose_threads(s);
    if (rc)
        return rc;
    if (s->o->dry_run) {
        describe(s, most_memory(s, n_tiers));
        rc = check_memory(s, most_memory(s, n_tiers));
        return rc ? rc : check_spoilers(true);
    }
    rc = check_memory(s, most_memory(s, n_tiers));
    if (!rc)
        rc = check_spoilers(false);
    if (!rc)
        rc = nf_ledger_mark_dead(s->study);
    if (rc)
        return rc;
    s->machine = nf_record_machine(s->study);
    if (s->machine < 0)
        return (int)s->machine;
    rc = open_testbed(s);
    s->result->testbed = s->testbed.id;
    if (!rc)
        rc = prepare_classes(s);
    if (!rc)
        rc = calibrate(s);
    if (!rc)
        rc = nf_counters_open("", &s->counters);
    return rc ? rc : replay(s);
}

static void session_deinit(struct session *s)
{
    for (uint32_t i = 0; s->stream && i < s->stream->n_classes; i++) {
        if (s->scripts)
            nf_script_deinit(&s->scripts[i]);
        if (s->profiles)
            nf_profile_deinit(&s->profiles[i]);
    }
    nf_counters_close(s->counters);
    nf_batches_deinit(&s->batches);
    free(s->scripts);
    free(s->profiles);
    nf_residual_deinit(&s->residual);
    nf_stop_rule_deinit(&s->rule);
    free(s->kept);
    nf_testbed_deinit(&s->testbed);
    nf_trials_deinit(&s->trials);
    nf_stream_free(s->stream);
    nf_spill_limit(UINT64_MAX);
}

int nf_replay_run(struct nf_study *study, const struct nf_replay_options *options, struct nf_replay_result *result)
{
    struct session s = {.study = study, .o = options, .result = result};
    int rc;

    *result = (struct nf_replay_result){0};
    s.cpu = options->cpu >= 0 ? options->cpu : sched_getcpu();
    s.batch_bytes = options->batch_bytes ? options->batch_bytes : nf_memory_available() / 4;
    rc = run(&s);
    session_deinit(&s);
    nf_progress_end();
    return rc;
}
