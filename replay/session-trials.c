/* The trials of a replay: one engine run each, in blocks of random order, recorded as they end. */
#include "replay/session-parts.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/base/units.h"
#include "replay/apart.h"
#include "replay/environment.h"
#include "replay/interference.h"
#include "replay/ledger.h"
#include "replay/memory.h"
#include "replay/predict.h"
#include "replay/rehearsal.h"
#include "replay/scale.h"
#include "replay/variant.h"

struct nf_engine_config nf_session_configure(const struct nf_session *s, const struct nf_trials_one *t, uint32_t block)
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
    nf_session_size_arenas(s, t, c.pool.n_tiers, &c.pool);
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
    if (t->stale)
        nf_stale_apply(&s->stale, &c);
    if (nf_batches_needed(&s->batches)) {
        c.between = nf_batches_between;
        c.between_ctx = (void *)&s->batches;
    }
    nf_factors_apply(&s->factors, t->variant, &c);
    return c;
}

/* --- trials --- */

static void report(const struct nf_session *s, const struct nf_trials_one *t)
{
    const struct nf_replay_result *r = s->result;
    char left[NF_UNITS_TEXT] = "unknown";
    double spent = (double)(nf_now_ns() - s->started_ns);

    if (s->o->quiet)
        return;
    if (r->done)
        nf_format_ns(left, spent / r->done * (r->planned - r->kept - r->done));
    nf_progress("trial %u of %u: %s, near %.0f %%, %s%s%s%s%s; %s left", r->kept + r->done + 1, r->planned,
                s->trials.policies[t->policy].ops->name, 100 * t->near_share, nf_overlap_name(t->overlap),
                t->hog ? ", beside a hog" : "", t->background ? ", under contention" : t->cold ? ", cold" : t->stale ? ", another capture's profile" : "",
                t->variant ? ", " : "", nf_factor_name(t->variant, s->o->store, &s->testbed), left);
}

static int start_background(const struct nf_session *s, const struct nf_trials_one *t, struct nf_background **out)
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

/* The stream without what the trial's policy does not hold. What it runs again needs room of its own, which may be more. */
static int vary(const struct nf_session *s, struct nf_engine_config *c, struct nf_variant *variant)
{
    const struct nf_variant_options o = {
        .llc_bytes = s->profiles[s->steady].llc_bytes,
        .burst_bytes = nf_scale_cache(s->testbed.llc_bytes, s->o->scale),
        .seed = s->o->seed,
        .steady = s->steady,
        .whole_sequence = s->o->whole_sequence,
    };
    int rc = nf_variant_init(variant, c, &o);

    for (uint32_t i = 0; !rc && i < c->pool.n_tiers; i++)
        if (c->pool.arena_bytes[i] && nf_memory_with_slack(variant->peak_bytes) > c->pool.arena_bytes[i])
            c->pool.arena_bytes[i] = nf_memory_with_slack(variant->peak_bytes);
    return rc;
}

/* What failed before anything ran. */
static void fail_trial(const struct nf_session *s, struct nf_trial *trial, const char *why)
{
    *trial = (struct nf_trial){.status = NF_TRIAL_FAILED, .threads = s->threads, .helper_cpu = -1, .moved_pages = NF_TRIAL_UNKNOWN, .steal_ns = NF_TRIAL_UNKNOWN};
    snprintf(trial->message, sizeof trial->message, "%s", why);
}

static int rehearse(void *context)
{
    return nf_rehearse(context);
}

/* What `trace` writes down of it, it writes in the trial. */
static int rehearse_quietly(void *context)
{
    return freopen("/dev/null", "w", stderr) ? nf_rehearse(context) : nf_fail(-errno, "no /dev/null: %s", strerror(errno));
}

/* A policy from outside failed the trial before it was one; -ETIMEDOUT is not waited for again. */
static void refuse(const struct nf_session *s, struct nf_trials_policy *policy, int rc, struct nf_trial *trial)
{
    if (rc == -ETIMEDOUT && !*policy->late)
        snprintf(policy->late, sizeof policy->late, "%s", nf_error_text(rc));
    fail_trial(s, trial, rc == -ETIMEDOUT ? policy->late : nf_error_text(rc));
}

/* It is rehearsed in a child before it is let into a trial. *out: it fails the trial, which says why. 0 or NF_REPLAY_E_STOPPED. */
static int keep_out(struct nf_session *s, const struct nf_trials_one *t, struct nf_engine_config *c, struct nf_trial *trial, bool *out)
{
    struct nf_trials_policy *policy = &s->trials.policies[t->policy];
    int (*work)(void *context) = policy->outside == policy->ops ? rehearse : rehearse_quietly;
    int rc = *policy->late ? -ETIMEDOUT : nf_guard(policy->outside, s->o->policy_limit_s, s->o->stop, work, c);

    *out = rc < 0;
    if (*out)
        refuse(s, policy, rc, trial);
    return rc == NF_GUARD_E_STOPPED ? NF_REPLAY_E_STOPPED : 0;
}

/* A policy that cannot say what it makes again fails its trial, like one that places where it may not. */
static int run_varied(const struct nf_session *s, struct nf_engine_config *c, struct nf_trial *trial)
{
    struct nf_variant variant = {0};
    int rc = vary(s, c, &variant);

    if (!rc) {
        rc = nf_trial_run(c, trial);
        nf_variant_account(&variant, s->steady, trial);
    } else if (rc != -ENOMEM) {
        fail_trial(s, trial, nf_error_text(rc));
        rc = 0;
    }
    nf_variant_deinit(&variant);
    return rc;
}

/* A trial, and what was noticed beside it. */
struct attempt {
    struct nf_session *s;
    const struct nf_trials_one *t;
    struct nf_engine_config c;
};

/* What contended was not where it should be: the trial ran beside something else. */
static void refute(struct nf_trial *trial, const char *why)
{
    if (trial->status == NF_TRIAL_FAILED)
        return;
    trial->status = NF_TRIAL_FAILED;
    snprintf(trial->message, sizeof trial->message, "%s", why);
}

static int attempt(void *context, _Atomic uint32_t *asked, struct nf_trial *trial)
{
    struct attempt *a = context;
    struct nf_session *s = a->s;
    struct nf_engine_config *c = &a->c;
    size_t contenders = a->t->hog ? 1 : a->t->background ? s->n_background : 0;
    struct nf_background *background = NULL;
    struct nf_interference before, after;
    char speed[NF_UNITS_TEXT];
    const struct nf_batches *batches = a->t->variant == NF_FACTOR_UNFILTERED ? &s->factors.batches : &s->batches;
    unsigned reads = batches->reads;
    double bps = 0;
    int rc, stopped;

    nf_interference_read("", s->cpus, s->n_cpus, &before);
    c->pool.asked = asked;
    c->measuring = nf_counters_measuring;
    c->measuring_ctx = s->counters;
    rc = start_background(s, a->t, &background);
    if (!rc)
        rc = c->pool.policy->recompute ? run_varied(s, c, trial) : nf_trial_run(c, trial);
    stopped = nf_background_stop(background, &bps);
    if (!rc && stopped)
        refute(trial, nf_error_text(stopped));
    trial->background_bps = bps;
    trial->batches = batches->reads - reads;
    if (!rc && contenders && trial->status == NF_TRIAL_OK && !*trial->message)
        snprintf(trial->message, sizeof trial->message, "the %s moved %s/s", a->t->hog ? "hog" : "background",
                 nf_format_bytes(speed, bps));
    if (!rc) {
        nf_interference_read("", s->cpus, s->n_cpus, &after);
        after.load -= after.load > 0 ? (double)contenders + (trial->helper_cpu >= 0) : 0; /* asked for */
        nf_interference_judge(&before, &after, asked_pages(c->pool.policy, trial), s->peak_bytes / NF_PAGE_BYTES, trial);
        if (contenders)
            nf_counters_leave_out(s->testbed.n_tiers, "whoever contends moves bytes of its own, which nobody counts by tier", trial);
        else
            nf_counters_judge(s->counters, s->testbed.tiers, s->testbed.n_tiers, trial);
    }
    return rc;
}

static int run_trial(struct nf_session *s, const struct nf_trials_one *t, uint32_t block, struct nf_trial *trial)
{
    struct nf_trials_policy *policy = &s->trials.policies[t->policy];
    struct attempt a = {.s = s, .t = t, .c = nf_session_configure(s, t, block)};
    const struct nf_apart apart = {.outside = policy->outside, .limit_s = s->o->policy_limit_s, .stop = s->o->stop, .config = &a.c,
                                   .run = attempt, .context = &a};
    bool out;
    int refused, rc;

    *trial = (struct nf_trial){0};
    rc = keep_out(s, t, &a.c, trial, &out);
    if (rc || out)
        return rc;
    if (!policy->outside)
        return attempt(&a, NULL, trial);
    rc = nf_trial_apart(&apart, trial, &refused);
    if (refused)
        refuse(s, policy, refused, trial);
    return rc;
}

/* "thp" or "4k" where every arena has the same, "mixed" where not. */
static const char *page_of(const struct nf_tier *tiers, uint32_t n_tiers)
{
    uint32_t huge = 0;

    for (uint32_t i = 0; i < n_tiers; i++)
        huge += tiers[i].facts.huge;
    return !huge ? "4k" : huge == n_tiers ? "thp" : "mixed";
}

static int run_and_record(struct nf_session *s, uint32_t block, uint32_t position, uint32_t number)
{
    const struct nf_trials_one *t = &s->trials.v[number];
    struct nf_ledger_trial row = {
        .block = block,
        .position = position,
        .policy = &s->trials.policies[t->policy],
        .plan = t,
        .near_bytes = nf_session_near_bytes(s, t),
        .parallelism_scale = nf_session_configure(s, t, block).parallelism_scale,
        .floored_share = s->residual.floored_share,
        .evidence = nf_testbed_evidence(&s->testbed),
        .n_tiers = s->testbed.n_tiers,
        .variant = t->stale ? "stale-profile" : nf_factor_name(t->variant, s->o->store, &s->testbed),
        .profile_from = t->stale ? s->stale.source : "",
        .profile_matched = t->stale ? nf_stale_share(&s->stale, s->steady) : 1,
        .page = t->variant == NF_FACTOR_PAGES ? page_of(s->factors.paged, s->factors.n_tiers)
                                               : page_of(s->testbed.tiers, s->testbed.n_tiers),
        .background = t->background ? s->o->background : "",
        .despite = s->despite,
    };
    struct nf_buf before = {0}, after = {0};
    struct nf_trial trial;
    int rc;

    report(s, t);
    nf_environment_json("", s->cpu, &before);
    rc = run_trial(s, t, block, &trial);
    nf_environment_json("", s->cpu, &after);
    row.before = before.failed ? "{}" : before.data;
    row.after = after.failed ? "{}" : after.data;
    if (!rc)
        rc = nf_ledger_add(s->study, s->result->replay, &row, &trial);
    if (!rc) {
        s->result->done++;
        if (trial.status == NF_TRIAL_FAILED && !s->result->failed)
            snprintf(s->result->first_failure, sizeof s->result->first_failure, "%s at %.3g %% near, overlap %s, block %u: %s",
                     row.policy->ops->name, 100 * t->near_share, nf_overlap_name(t->overlap), block, trial.message);
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
    struct nf_session *s;
    uint32_t *order;
};

static void keep(void *context, uint32_t block, uint32_t position, double step_ns)
{
    struct done *d = context;
    struct nf_session *s = d->s;

    if (block >= s->o->blocks || position >= s->trials.n)
        return;
    nf_trials_order(&s->trials, s->o->seed, block, d->order);
    nf_stop_rule_add(&s->rule, block, d->order[position], step_ns);
    s->kept[(size_t)block * s->trials.n + position] = true;
    s->result->kept++;
}

/* The interval rule, after whole blocks only: a block that is cut short favours what came first in it. */
static bool enough(struct nf_session *s, uint32_t blocks)
{
    s->result->blocks = blocks;
    if (!(s->o->until_width > 0) || blocks < NF_REPLAY_BLOCKS_MIN)
        return false;
    s->result->width = nf_stop_rule_width(&s->rule, blocks, s->o->seed);
    return s->result->width <= s->o->until_width; /* false for NAN */
}

static int run_blocks(struct nf_session *s)
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

int nf_session_replay(struct nf_session *s)
{
    struct nf_ledger_replay row = {
        .invocation = s->o->invocation,
        .capture = s->capture,
        .testbed = s->testbed.id,
        .k_testbed = s->testbed.k_id,
        .seed = s->o->seed,
        .peak_live_bytes = s->peak_bytes,
        .llc_filter_bytes = s->o->unfiltered ? 0 : nf_scale_cache(s->testbed.llc_bytes, s->o->scale),
        .scale = s->o->scale,
        .planned_trials = s->trials.n * s->o->blocks,
        .blocks = s->o->blocks,
        .threads = s->threads,
        .until_width = s->o->until_width,
        .batch_bytes = nf_batches_needed(&s->batches) ? s->batch_bytes : 0,
        .counters = nf_counters_said(s->counters),
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
        s->result->replay = nf_ledger_begin(s->study, &row, &s->residual, s->stream);
    }
    if (s->result->replay < 0)
        return (int)s->result->replay;
    rc = run_blocks(s);
    if (!rc)
        rc = nf_session_predict(s);
    if (rc)
        snprintf(why, sizeof why, "%s", rc > 0 ? "stopped" : nf_error_text(rc));
    ended = nf_ledger_end(s->study, s->result->replay, rc ? "partial" : "complete", why);
    if (rc < 0)
        return nf_fail(rc, "%s", why);
    return rc ? rc : ended;
}
