#include "replay/session.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/spill.h"
#include "core/store/records.h"
#include "core/store/testbeds.h"
#include "pool/mover.h"
#include "replay/ledger.h"
#include "replay/memory.h"
#include "replay/pin.h"
#include "replay/scale.h"
#include "replay/session-parts.h"

static const double NEAR_SHARES[] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0};
static const enum nf_overlap OVERLAPS[] = {NF_OVERLAP_FULL, NF_OVERLAP_NONE};
static const enum nf_overlap OVERLAPS_UNTIMED[] = {NF_OVERLAP_ASAP};

/* --- what is replayed --- */

static int find_peak(struct nf_session *s)
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

double nf_session_cycle_ns(const struct nf_session *s)
{
    double ns = 0;

    for (uint32_t i = 0; i < (s->o->whole_sequence ? s->stream->n_sequence : 1); i++) {
        const struct nf_step_class *c = &s->stream->classes[s->o->whole_sequence ? s->stream->sequence[i] : s->steady];

        for (uint32_t op = 0; op < c->n_ops; op++)
            ns += c->ops[op].dur_ns + c->ops[op].gap_ns;
    }
    return ns;
}

static int load(struct nf_session *s)
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
    s->timed = nf_session_cycle_ns(s) > 0;
    rc = find_peak(s);
    return rc || !s->o->profile_from ? rc : nf_stale_load(&s->stale, s->o->profile_from, s->o->scale, s->o->whole_sequence);
}

uint32_t nf_session_name_tiers(const struct nf_replay_options *o, struct nf_tier *tiers)
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
static int wish_background(struct nf_session *s)
{
    struct nf_tier named[NF_TIER_MAX] = {0};
    int rc;

    if (!s->o->background)
        return 0;
    rc = nf_background_parse(s->o->background, s->background, NF_BACKGROUND_MAX, &s->n_background);
    return rc ? rc : nf_background_check(s->background, s->n_background, named, nf_session_name_tiers(s->o, named));
}

/* Which factors can be varied here; what cannot is said. */
static uint32_t wish_factors(const struct nf_session *s)
{
    const struct nf_replay_options *o = s->o;
    uint32_t all = (1u << NF_FACTORS) - (1u << (NF_FACTOR_NONE + 1));
    char why[128];

    if (!o->sensitivity)
        return 0;
    if (nf_factors_pages_probe("", o->tiers, o->n_tiers, why, sizeof why))
        return all;
    nf_info("sensitivity: the page size is not varied: %s", why);
    return all & ~(1u << NF_FACTOR_PAGES);
}

static int wish(struct nf_session *s)
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
        .stale = o->profile_from,
        .migrate = o->migrate,
        .factors = wish_factors(s),
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

/* --- preparation --- */

int nf_session_check_movers(const struct nf_session *s, const struct nf_tier *tiers, uint32_t n_tiers)
{
    char why[512];

    for (uint32_t i = 0; i < s->trials.n_policies; i++) {
        const struct nf_policy_ops *ops = s->trials.policies[i].ops;
        int rc = nf_mover_probe((int)ops->semantics.mover, tiers, n_tiers, why, sizeof why);

        if (rc)
            return nf_fail(rc, "policy %s cannot work here: %s", ops->name, why);
    }
    return 0;
}

/* Which testbed's k by class of access counts: of a replay that is gone on with the one it began with, of a testbed that was asked for
 * its own, else the latest that was measured here (as nf_testbed_options.k_id has it). -errno (cause set). */
static int wish_k(const struct nf_session *s, int64_t *id)
{
    *id = s->o->resume_testbed;
    if (s->o->resume)
        *id = nf_ledger_k_testbed(s->study, s->o->resume);
    if (*id < 0)
        return (int)*id;
    if (s->o->resume && !*id)
        *id = -1;
    return 0;
}

static int open_testbed(struct nf_session *s)
{
    const struct nf_replay_options *o = s->o;
    struct nf_testbed_options t = {
        .specs = o->tiers,
        .n_specs = o->n_tiers,
        .far_latency_x = o->far_latency_x,
        .far_bandwidth_x = o->far_bandwidth_x,
        .cpu = s->cpu,
        .llc_bytes = o->llc_bytes,
        .reuse = o->reuse_testbed || o->resume || o->resume_testbed ? s->study : NULL,
        .reuse_id = o->resume_testbed,
        .machine = s->machine,
        .k_from = s->study,
        .quiet = o->quiet,
    };
    int rc = wish_k(s, &t.k_id);

    if (!rc)
        rc = nf_testbed_init(&s->testbed, &t);
    if (!rc && s->testbed.k_id)
        nf_info("where a visit does not know its parallelism, that of its class of access is assumed, as testbed %lld measured it",
                (long long)s->testbed.k_id);
    if (!rc)
        rc = nf_session_check_movers(s, s->testbed.tiers, s->testbed.n_tiers);
    return rc ? rc : nf_testbed_record(&s->testbed, s->study, o->invocation, s->machine);
}

int nf_session_check_recompute(const struct nf_session *s, bool batches)
{
    for (uint32_t i = 0; i < s->trials.n_policies && batches; i++)
        if (s->trials.policies[i].ops->recompute)
            return nf_fail(-ENODEV, "policy %s changes the stream, which is larger than memory here and read in batches: leave it out, "
                           "or give more by --batch-bytes", s->trials.policies[i].ops->name);
    return 0;
}

static int prepare_classes(struct nf_session *s)
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
    if (!rc)
        rc = nf_session_check_recompute(s, nf_batches_needed(&s->batches));
    if (!rc && s->stale.stream)
        rc = nf_stale_match(&s->stale, s->stream, s->steady, llc, cache);
    if (!rc && s->o->sensitivity)
        rc = nf_factors_init(&s->factors, s->stream, cache, s->o->seed, &s->testbed, s->batch_bytes / 2);
    return rc ? rc : nf_spill_settle();
}

/* CPUs that the replay's threads must leave to who contends. */
static size_t contenders_cpus(const struct nf_session *s)
{
    return s->n_background > s->o->hog ? s->n_background : s->o->hog;
}

static bool has_helper(const struct nf_session *s)
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
static void choose_helper(struct nf_session *s)
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

/* Where nothing else is asked for: the CPU that the tiers' numbers are of, which a replay that is taken up again has to have. */
static int choose_cpu(struct nf_session *s)
{
    const struct nf_replay_options *o = s->o;
    int known = o->resume_testbed || o->reuse_testbed ? nf_record_testbed_cpu(s->study, o->resume_testbed) : -1;

    s->cpu = nf_pin_first(o->cpu, known);
    if (o->resume_testbed && known >= 0 && o->cpu >= 0 && o->cpu != known)
        return nf_fail(-EINVAL, "testbed %lld was measured on CPU %d, and counts there: --cpu %d", (long long)o->resume_testbed, known, known);
    if (o->resume_testbed && known >= 0 && !nf_pin_allows(known))
        return nf_fail(-ENODEV, "testbed %lld was measured on CPU %d, where this process may not run (taskset -p $$)",
                       (long long)o->resume_testbed, known);
    return 0;
}

/* The same number in every trial, also where nobody contends: trials are compared with each other. */
static int choose_threads(struct nf_session *s)
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

/* Once for all trials of a replay: also of one that is taken up again. */
static int take_back(struct nf_session *s)
{
    unsigned threads = 0;
    int rc = nf_ledger_residual(s->study, s->o->resume, s->stream, &s->residual, &threads);

    return rc || threads == s->threads ? rc : nf_fail(-ENODEV, "replay %lld ran on %u threads, and here it would on %u: take it up where it "
                                                      "has the same CPUs", (long long)s->o->resume, threads, s->threads);
}

static int calibrate(struct nf_session *s)
{
    struct nf_trials_one all_near = {.near_share = 1, .overlap = NF_OVERLAP_ASAP};
    struct nf_engine_config c = nf_session_configure(s, &all_near, 0);

    if (s->o->resume)
        return take_back(s);
    if (!s->o->quiet)
        nf_progress("calibrating the compute time of each op");
    return nf_residual_init(&s->residual, &c);
}

/* --- the command --- */

static int check_options(const struct nf_replay_options *o)
{
    const struct nf_testbed_options tiers = {.n_specs = o->n_tiers, .far_latency_x = o->far_latency_x, .far_bandwidth_x = o->far_bandwidth_x};

    if (!o->blocks || !o->steps)
        return nf_fail(-EINVAL, "a replay needs at least one block of one step");
    if (!(o->until_width >= 0) || (o->until_width > 0 && o->blocks < NF_REPLAY_BLOCKS_MIN))
        return nf_fail(-EINVAL, "a stop rule needs room for at least %d blocks, not %u", NF_REPLAY_BLOCKS_MIN, o->blocks);
    if (!(o->scale > 0 && o->scale <= 1))
        return nf_fail(-EINVAL, "the scale is above 0 and at most 1, not %g", o->scale);
    if (o->sensitivity && (o->unfiltered || o->parallelism_scale != 1))
        return nf_fail(-EINVAL, "the sensitivity varies the parallelism and the cache filter itself, from the assumed ones");
    if (!(o->parallelism_scale > 0))
        return nf_fail(-EINVAL, "the parallelism scale is above 0, not %g", o->parallelism_scale);
    for (size_t i = 0; i < o->n_near_shares; i++) {
        if (!(o->near_shares[i] > 0 && o->near_shares[i] <= 1))
            return nf_fail(-EINVAL, "a near share lies above 0 %% and at most at 100 %%, not at %g %%",
                           100 * o->near_shares[i]);
    }
    return nf_testbed_check(&tiers);
}

static int run(struct nf_session *s)
{
    uint32_t n_tiers = s->o->n_tiers ? (uint32_t)s->o->n_tiers : 2;
    int rc = check_options(s->o);

    if (!rc)
        rc = load(s);
    if (!rc)
        rc = wish(s);
    if (!rc)
        rc = choose_cpu(s);
    if (!rc)
        rc = choose_threads(s);
    if (!rc)
        rc = nf_session_check_policies(s);
    if (rc)
        return rc;
    if (s->o->dry_run) {
        nf_session_describe(s, nf_session_most_memory(s, n_tiers));
        rc = nf_session_check_memory(s, nf_session_most_memory(s, n_tiers));
        return rc ? rc : nf_session_check_spoilers(s);
    }
    rc = nf_session_check_memory(s, nf_session_most_memory(s, n_tiers));
    if (!rc)
        rc = nf_session_check_spoilers(s);
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
        rc = nf_counters_open(s->sources, "", &s->counters);
    return rc ? rc : nf_session_replay(s);
}

static void session_deinit(struct nf_session *s)
{
    for (uint32_t i = 0; s->stream && i < s->stream->n_classes; i++) {
        if (s->scripts)
            nf_script_deinit(&s->scripts[i]);
        if (s->profiles)
            nf_profile_deinit(&s->profiles[i]);
    }
    nf_counters_close(s->counters);
    nf_batches_deinit(&s->batches);
    nf_stale_deinit(&s->stale);
    nf_factors_deinit(&s->factors);
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
    struct nf_session s = {.study = study, .o = options, .result = result};
    int rc;

    *result = (struct nf_replay_result){0};
    s.sources = options->counters ? options->counters : nf_counter_sources;
    s.batch_bytes = options->batch_bytes ? options->batch_bytes : nf_memory_available() / 4;
    rc = run(&s);
    session_deinit(&s);
    nf_progress_end();
    return rc;
}
