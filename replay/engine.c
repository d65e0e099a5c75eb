#include "replay/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/base/error.h"
#include "core/base/text.h"
#include "replay/account.h"
#include "replay/pin.h"
#include "replay/team.h"
#include "replay/touches.h"
#include "replay/worker.h"

/* An op is late when it ends this share of its captured time after its deadline: five times the 1 % within which the
 * step ends must repeat. */
static const double LATE_SHARE = 0.05;
/* Near residency at two cycle ends that differ by less is steady (design, section 6). */
static const double STEADY_SHARE = 0.01;

struct engine {
    const struct nf_engine_config *config;
    struct nf_trial *out;
    struct nf_pool *pool;
    uint32_t n_tiers;
    struct nf_worker_rules rules;
    struct nf_worker_op running; /* the op that the team works on */
    bool counting;               /* the team is to look at its disturbances instead */
    struct nf_worker *workers;   /* the first is this thread */
    unsigned n_workers;
    int cpus[NF_TEAM_MAX];
    struct nf_team *team;
    int helper_cpu;
    bool helper_yields;

    struct nf_lives lives;
    const struct nf_pool_storage **storages; /* of the running op's operands */
    uint32_t *only_tier;                     /* of the same: n_tiers when split */
    uint32_t *op_handles;
    uint64_t *first_op; /* of each class, among the ops of all of them */
    struct nf_touches touches; /* for a policy that samples */
    struct nf_observed_visits seen; /* of the running op, where somebody watches */
    struct nf_homes homes;          /* where somebody watches storages that move */
    char **memory;                  /* what a watcher knows the running op's operands by */

    nf_regime regime;
    bool measuring;
    struct nf_account account;
    uint64_t op_start_ns; /* where the running op's schedule begins */
    double captured_ns, late_captured_ns; /* of ops; of late ops among them */
    uint64_t op_ns_n;
    uint64_t paused_ns;     /* of the running step: the clock stood still */
    uint64_t paused_ever_ns; /* of all */
    uint64_t paused_faults; /* page faults meanwhile, all steps */
};

const char *nf_trial_status_name(enum nf_trial_status status)
{
    static const char *const names[] = {"ok", "unsteady", "failed"};

    return names[status];
}

uint32_t nf_engine_cycle_steps(const struct nf_engine_config *config)
{
    return config->whole_sequence ? config->stream->n_sequence : 1;
}

uint32_t nf_engine_cycle_class(const struct nf_engine_config *config, uint32_t i)
{
    return config->whole_sequence ? config->stream->sequence[i] : config->pool.steady_class;
}

/* --- who watches --- */

static char *memory_of(const struct engine *e, uint32_t handle)
{
    return e->homes.base ? e->homes.of.v[handle] : nf_pool_storage(e->pool, handle)->piece[0].memory;
}

static int tell_storage(void *context, uint32_t class_index, uint32_t number, enum nf_arrival how)
{
    struct engine *e = context;
    const struct nf_replay_observer *o = e->config->observer;
    const struct nf_tensor *t = &e->config->stream->classes[class_index].tensors[number];
    uint32_t handle = e->lives.handles[class_index][number];
    int rc = e->homes.base && how != NF_ARRIVES_CARRIED ? nf_homes_take(&e->homes, handle, t->address, nf_page_bytes(t->bytes)) : 0;

    if (!rc)
        o->storage(o->context, t, number, memory_of(e, handle), how == NF_ARRIVES_CARRIED);
    return rc;
}

static void tell_gone(void *context, uint32_t handle)
{
    struct engine *e = context;
    const struct nf_replay_observer *o = e->config->observer;

    o->gone(o->context, memory_of(e, handle));
    if (e->homes.base)
        nf_homes_give(&e->homes, handle);
}

static int tell_op(struct engine *e, const struct nf_script *s, const struct nf_script_op *op)
{
    const struct nf_replay_observer *o = e->config->observer;
    struct nf_issued_log *logs[NF_TEAM_MAX];
    int rc = 0;

    for (unsigned i = 0; i < e->n_workers; i++)
        logs[i] = &e->workers[i].issued;
    for (uint32_t i = 0; i < op->operands.n && !rc; i++) {
        e->memory[i] = memory_of(e, e->op_handles[i]);
        if (e->only_tier[i] == e->n_tiers)
            rc = nf_fail(-EINVAL, "the policy splits a storage over tiers, and of parts the threads do not tell what they touched: only a "
                                  "policy that keeps storages whole can be watched");
    }
    if (!rc)
        rc = nf_observed_gather(s, op, e->memory, logs, e->n_workers, &e->seen);
    return rc ? rc : o->op_ends(o->context, (uint32_t)(op - s->ops), &e->seen);
}

/* --- ops --- */

/* Time the pool kept this thread on the policy's behalf so far: it is never hidden under compute. */
static uint64_t billed_ns(const struct engine *e)
{
    struct nf_pool_stats stats;

    nf_pool_stats(e->pool, &stats);
    return stats.stall_ns + stats.policy_ns;
}

/* The policy's time is an estimate that gets better, and may fall by a few ns. */
static uint64_t billed_since(const struct engine *e, uint64_t before)
{
    uint64_t now = billed_ns(e);

    return now > before ? now - before : 0;
}

/* The tier that holds all of it, or n_tiers when several do. */
static uint32_t only_tier(const struct nf_pool_storage *s, uint32_t n_tiers)
{
    uint32_t only = n_tiers;

    for (uint32_t i = 0; i < n_tiers; i++) {
        if (!s->piece[i].bytes)
            continue;
        if (only != n_tiers)
            return n_tiers;
        only = i;
    }
    return only;
}

static int open_op(struct engine *e, uint32_t class_index, uint32_t number)
{
    const struct nf_script *s = &e->config->scripts[class_index];
    const struct nf_script_op *op = &s->ops[number];
    nf_regime regime = s->of->ops[number].regime;
    int rc = regime != e->regime ? nf_pool_enter(e->pool, regime) : 0;

    if (rc)
        return rc;
    e->regime = regime;
    for (uint32_t i = 0; i < op->births.n; i++) {
        rc = nf_lives_bear(&e->lives, class_index, s->births[op->births.first + i], number);
        if (rc)
            return rc;
    }
    for (uint32_t i = 0; i < op->operands.n; i++) {
        e->op_handles[i] = e->lives.handles[class_index][s->operands[op->operands.first + i]];
        if (e->op_handles[i] == NF_NO_HANDLE)
            return nf_fail(-EBADMSG, "op %u visits tensor %u, which is not alive", number,
                           s->operands[op->operands.first + i]);
    }
    rc = nf_pool_begin(e->pool, nf_lives_seen_op(&e->lives, class_index, number), e->op_handles, s->operand_rw + op->operands.first, op->operands.n);
    for (uint32_t i = 0; i < op->operands.n && !rc; i++) {
        e->storages[i] = nf_pool_storage(e->pool, e->op_handles[i]);
        e->only_tier[i] = only_tier(e->storages[i], e->n_tiers);
    }
    return rc;
}

/* The next op's schedule begins where this one should have ended, unless it really ended later. */
static void close_op(struct engine *e, const struct nf_script_op *op, uint64_t end)
{
    uint64_t deadline = e->op_start_ns + (uint64_t)op->captured_ns;

    if (end <= deadline + NF_PACE_GAP_NS) {
        e->op_start_ns = deadline;
    } else {
        e->op_start_ns = end;
        if (e->measuring) {
            e->out->late_ns += end - deadline;
            e->late_captured_ns += (double)(end - deadline) > LATE_SHARE * op->captured_ns ? op->captured_ns : 0;
        }
    }
    e->captured_ns += e->measuring ? op->captured_ns : 0;
}

/* The visits of the op that is open, by the team. An op of one chunk is too small to be shared: a parallel loop would run
 * it on one thread, too. Returns when the op ended for the last of them (paced only). */
static uint64_t issue(struct engine *e, const struct nf_script *s, const struct nf_script_op *op, bool paced)
{
    uint32_t parts = op->chunks > 1 ? e->n_workers : 1;
    uint64_t end = 0;

    e->running = (struct nf_worker_op){
        .script = s,
        .op = op,
        .storages = e->storages,
        .only_tier = e->only_tier,
        .start_ns = e->op_start_ns,
        .parts = parts,
        .chunks = (op->chunks + parts - 1) / parts,
        .at = e->first_op[s - e->config->scripts] + (uint64_t)(op - s->ops),
        .paced = paced,
        .measuring = e->measuring,
    };
    if (parts == 1)
        nf_worker_run(&e->workers[0], &e->rules, &e->running, 0);
    else
        nf_team_run(e->team);
    for (unsigned i = 0; i < parts; i++)
        end = e->workers[i].ended > end ? e->workers[i].ended : end;
    return end;
}

/* Waited so far by the driving thread, for tiers and for deadlines. */
static uint64_t waited_ns(const struct engine *e)
{
    return e->workers[0].injected_ns + e->workers[0].compute_ns;
}

/* As issue, and now and then it is timed. */
static uint64_t issue_accounted(struct engine *e, const struct nf_script *s, const struct nf_script_op *op, bool paced)
{
    const struct nf_pace *pace = &e->workers[0].pace;
    uint64_t start, waited, end;

    if (!e->measuring || !nf_account_next(&e->account, op->bytes))
        return issue(e, s, op, paced);
    waited = waited_ns(e);
    start = nf_pace_now(pace);
    end = issue(e, s, op, paced);
    nf_account_op(&e->account, op->bytes, nf_pace_now(pace) - start - (waited_ns(e) - waited));
    return end;
}

static void spend_residual(struct engine *e, uint64_t ns)
{
    struct nf_pace *pace = &e->workers[0].pace;
    uint64_t start = nf_pace_now(pace), end = nf_pace_until(pace, start + ns);

    e->account.compute_ns += e->measuring ? end - start : 0;
}

/* --- time that is nobody's --- */

struct pause {
    uint64_t began_ns, faults;
};

static uint64_t page_faults(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) ? 0 : (uint64_t)(usage.ru_minflt + usage.ru_majflt);
}

/* From here on neither ops nor moves go on, and nothing counts. */
static struct pause stop_clock(struct engine *e)
{
    struct pause pause = {.began_ns = nf_pace_now(&e->workers[0].pace), .faults = page_faults()};

    nf_pool_hold(e->pool, true);
    return pause;
}

static void start_clock(struct engine *e, struct pause pause)
{
    uint64_t took;

    nf_pool_hold(e->pool, false);
    e->paused_faults += page_faults() - pause.faults;
    took = nf_pace_now(&e->workers[0].pace) - pause.began_ns;
    e->paused_ns += took;
    e->paused_ever_ns += took;
    e->op_start_ns += took;
}

/* A PMU samples and an MMU faults beside the job: to do as they would costs time that no figure has. */
static int tell_touches(struct engine *e, const struct nf_script *s, const struct nf_script_op *op)
{
    struct pause pause = stop_clock(e);
    int rc = nf_touches_tell(&e->touches, e->pool, s, op, e->op_handles, e->workers, e->n_workers,
                             pause.began_ns - e->paused_ever_ns);

    start_clock(e, pause);
    return rc;
}

static int run_op(struct engine *e, uint32_t class_index, uint32_t number)
{
    const struct nf_script *s = &e->config->scripts[class_index];
    const struct nf_script_op *op = &s->ops[number];
    const struct nf_replay_observer *observer = e->config->observer;
    bool full = e->config->overlap == NF_OVERLAP_FULL;
    uint64_t billed = full ? billed_ns(e) : 0, end;
    int rc = open_op(e, class_index, number);

    if (rc)
        return rc;
    if (full)
        e->op_start_ns += billed_since(e, billed);
    if (observer)
        observer->op_begins(observer->context);
    end = issue_accounted(e, s, op, full);
    if (observer)
        rc = tell_op(e, s, op);
    if (rc)
        return rc;
    if (full)
        close_op(e, op, end);
    if (e->config->overlap == NF_OVERLAP_NONE && e->config->residual_ns)
        spend_residual(e, (uint64_t)e->config->residual_ns[class_index][number]);
    if (nf_pool_samples(e->pool))
        rc = tell_touches(e, s, op);
    billed = full ? billed_ns(e) : 0;
    if (!rc)
        rc = nf_pool_end(e->pool, nf_lives_seen_op(&e->lives, class_index, number));
    for (uint32_t i = 0; i < op->deaths.n; i++)
        nf_lives_end(&e->lives, class_index, s->deaths[op->deaths.first + i]);
    if (full)
        e->op_start_ns += billed_since(e, billed);
    return rc;
}

/* --- steps --- */

/* Lets others work while the clock stands still. */
static int pause_before(struct engine *e, uint32_t class_index, uint32_t op)
{
    struct pause pause;
    int rc;

    if (!e->config->between)
        return 0;
    pause = stop_clock(e);
    rc = e->config->between(e->config->between_ctx, class_index, op);
    start_clock(e, pause);
    return rc;
}

static int run_step(struct engine *e, uint32_t class_index, uint64_t *took_ns)
{
    const struct nf_script *s = &e->config->scripts[class_index];
    const bool *again = e->config->again ? e->config->again[class_index] : NULL;
    struct nf_pace *pace = &e->workers[0].pace;
    uint64_t start, before, now, paused, began;
    int rc;

    e->paused_ns = 0;
    nf_pace_sync(pace);
    for (unsigned i = 1; i < e->n_workers; i++) {
        e->workers[i].pace.base_ns = pace->base_ns;
        e->workers[i].pace.base_tick = pace->base_tick;
    }
    start = before = e->op_start_ns = nf_pace_now(pace);
    rc = nf_lives_enter(&e->lives, class_index);
    for (uint32_t i = 0; i < s->of->n_ops && !rc; i++) {
        paused = e->paused_ns;
        rc = pause_before(e, class_index, i);
        began = again && again[i] ? nf_pace_now(pace) - (e->paused_ns - paused) : 0;
        if (!rc)
            rc = run_op(e, class_index, i);
        if (began && e->measuring)
            e->out->recompute_ns += nf_pace_now(pace) - began - (e->paused_ns - paused);
        before += e->paused_ns - paused;
        if (e->measuring && e->config->op_ns && e->op_ns_n < e->config->op_ns_room) {
            now = nf_pace_now(pace);
            e->config->op_ns[e->op_ns_n++] = (double)(now - before);
            before = now;
        }
    }
    if (!rc) {
        nf_lives_leave(&e->lives, class_index);
        rc = nf_pool_tick(e->pool);
    }
    if (!rc && e->config->observer)
        rc = e->config->observer->step_ends(e->config->observer->context);
    *took_ns = nf_pace_now(pace) - start - e->paused_ns;
    return rc;
}

static bool stopped(const struct engine *e)
{
    return e->config->stop && *e->config->stop;
}

static bool within(uint64_t a, uint64_t b, double share)
{
    uint64_t larger = a > b ? a : b, smaller = a > b ? b : a;

    return (double)(larger - smaller) <= share * (double)larger;
}

static int warm_up(struct engine *e)
{
    const struct nf_engine_config *config = e->config;
    uint64_t near = 0, before, took;
    unsigned cycle;

    for (cycle = 1; cycle <= config->warmup_max; cycle++) {
        for (uint32_t i = 0; i < nf_engine_cycle_steps(config); i++) {
            int rc = run_step(e, nf_engine_cycle_class(config, i), &took);

            if (rc)
                return rc;
            e->out->warmup_steps++;
            if (stopped(e))
                return NF_TRIAL_E_STOPPED;
        }
        before = near;
        near = nf_pool_near_bytes(e->pool);
        if (cycle >= config->warmup_min && cycle > 1 && within(before, near, STEADY_SHARE))
            return 0;
    }
    if (config->warmup_max > 1) {
        e->out->status = NF_TRIAL_UNSTEADY;
        snprintf(e->out->message, sizeof e->out->message,
                 "near residency still moved by more than 1 %% after %u warm-up cycles: %llu, then %llu bytes",
                 config->warmup_max, (unsigned long long)before, (unsigned long long)near);
    }
    return 0;
}

/* Page faults and involuntary switches of this thread so far. */
static void look(struct nf_worker *w)
{
    struct rusage usage;
    bool known = !getrusage(RUSAGE_THREAD, &usage);

    w->faults = known ? (uint64_t)(usage.ru_minflt + usage.ru_majflt) : 0;
    w->switches = known ? (uint64_t)usage.ru_nivcsw : 0;
}

static void work(void *context, unsigned index)
{
    struct engine *e = context;

    if (e->counting)
        look(&e->workers[index]);
    else
        nf_worker_run(&e->workers[index], &e->rules, &e->running, index);
}

/* What disturbed the team since the last look; add: counts for the trial. */
static void disturbances(struct engine *e, bool add)
{
    uint64_t faults = 0, switches = 0;

    for (unsigned i = 0; i < e->n_workers; i++) {
        faults -= e->workers[i].faults;
        switches -= e->workers[i].switches;
    }
    e->counting = true;
    nf_team_run(e->team);
    e->counting = false;
    for (unsigned i = 0; i < e->n_workers; i++) {
        faults += e->workers[i].faults;
        switches += e->workers[i].switches;
    }
    if (add) {
        e->out->page_faults += faults - e->paused_faults;
        e->out->switches += switches;
    }
    e->paused_faults = 0;
}

/* Nothing runs and no step is timed meanwhile, nor does a move go on. */
static int prove(struct engine *e, const char *when)
{
    int rc;

    nf_pool_hold(e->pool, true);
    rc = nf_pool_verify(e->pool);
    nf_pool_hold(e->pool, false);

    e->out->proofs += !rc;
    return rc ? nf_fail_in(rc, "%s", when) : 0;
}

static int measure(struct engine *e)
{
    const struct nf_engine_config *config = e->config;
    uint64_t took;
    int rc = prove(e, "before the measured steps");

    if (rc)
        return rc;
    if (config->cold)
        nf_pool_evict_caches(e->pool);
    nf_pool_stats_reset(e->pool);
    for (unsigned i = 0; i < e->n_workers; i++) {
        e->workers[i].pace.stolen_ns = 0;
        memset(e->workers[i].due, 0, sizeof e->workers[i].due);
    }
    e->measuring = true;
    if (config->observer)
        rc = config->observer->measuring(config->observer->context);
    if (rc)
        return rc;
    if (config->measuring)
        config->measuring(config->measuring_ctx, true);
    disturbances(e, false);
    for (unsigned cycle = 0; cycle < config->cycles; cycle++) {
        for (uint32_t i = 0; i < nf_engine_cycle_steps(config); i++) {
            rc = run_step(e, nf_engine_cycle_class(config, i), &took);
            if (rc)
                return rc;
            e->out->step_ns[e->out->steps++] = (double)took;
            e->out->wall_ns += took;
            if (stopped(e))
                return NF_TRIAL_E_STOPPED;
        }
        /* A page that is away for a while and back at the end is found between. The proof's own faults and switches
         * count for nobody. */
        disturbances(e, true);
        if (cycle + 1 < config->cycles)
            rc = prove(e, "at a checkpoint between measured steps");
        if (rc)
            return rc;
        disturbances(e, false);
    }
    e->measuring = false;
    if (config->measuring)
        config->measuring(config->measuring_ctx, false);
    nf_pool_stats(e->pool, &e->out->pool);
    return prove(e, "after the measured steps");
}

static void merge_lateness(struct nf_lateness *into, const struct nf_lateness *from)
{
    for (unsigned i = 0; i < NF_LATENESS_BUCKETS; i++)
        into->count[i] += from->count[i];
    into->n += from->n;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
}

static void conclude(struct engine *e)
{
    struct nf_trial *out = e->out;
    uint64_t charged = 0, assumed = 0, by_class = 0;

    out->scheduled_ns = e->captured_ns;
    out->injected_ns = e->workers ? e->workers[0].injected_ns : 0;
    out->compute_ns = e->account.compute_ns + (e->workers ? e->workers[0].compute_ns : 0);
    out->memory_ns = nf_account_memory_ns(&e->account, out->wall_ns, out->injected_ns + out->compute_ns + out->pool.stall_ns +
                                                                         out->pool.policy_ns);
    out->saturated = e->captured_ns > 0 && e->late_captured_ns > e->captured_ns / 2;
    for (unsigned i = 0; e->workers && i < e->n_workers; i++) {
        out->stolen_ns += e->workers[i].pace.stolen_ns;
        assumed += e->workers[i].assumed_bytes;
        by_class += e->workers[i].class_bytes;
        out->forgiven_ns += e->workers[i].forgiven_ns;
        merge_lateness(&out->lateness, &e->workers[i].lateness);
    }
    for (uint32_t tier = 0; e->workers && tier < e->n_tiers; tier++) {
        struct nf_trial_tier *t = &out->tier[tier];
        double ns = 0, k_ns = 0, miss_reads = 0, miss_writes = 0;

        for (unsigned i = 0; i < e->n_workers; i++) {
            const struct nf_worker_tier *one = &e->workers[i].tier[tier];

            t->read_bytes += one->read_bytes;
            t->write_bytes += one->write_bytes;
            t->charged_bytes += one->charged_bytes;
            t->charged_lines += one->charged_lines;
            miss_reads += one->miss_read_lines;
            miss_writes += one->miss_write_lines;
            ns += one->charged_ns;
            k_ns += one->charged_k_ns;
        }
        t->miss_read_bytes = (uint64_t)(miss_reads * NF_LINE_BYTES);
        t->miss_write_bytes = (uint64_t)(miss_writes * NF_LINE_BYTES);
        charged += t->charged_bytes;
        if (t->charged_lines && ns > 0) {
            t->achieved_latency_ns = k_ns / (double)t->charged_lines;
            t->achieved_bps = (double)t->charged_bytes / ns * 1e9;
        }
    }
    out->assumed_k_share = charged ? (double)assumed / (double)charged : 0;
    out->class_k_share = charged ? (double)by_class / (double)charged : 0;
}

/* --- a trial --- */

static void engine_deinit(struct engine *e)
{
    nf_team_stop(e->team);
    for (unsigned i = 0; e->workers && i < e->n_workers; i++) {
        nf_array_free(&e->workers[i].issued.a);
        nf_absence_deinit(&e->workers[i].absence);
    }
    nf_array_free(&e->seen.a);
    free(e->workers);
    nf_pool_close(e->pool);
    nf_lives_deinit(&e->lives);
    free(e->storages);
    free(e->only_tier);
    free(e->op_handles);
    free(e->first_op);
    free(e->memory);
    nf_homes_deinit(&e->homes);
    nf_touches_deinit(&e->touches);
}

static void assume_parallelism(struct engine *e)
{
    const struct nf_engine_config *config = e->config;

    for (uint32_t i = 0; i < e->n_tiers; i++) {
        struct nf_tier_facts facts = config->pool.tiers[i].facts;

        e->rules.injects[i] = facts.target_latency_ns > 0 || facts.target_bps > 0;
        for (unsigned pattern = 0; pattern < NF_PATTERN_COUNT; pattern++)
            for (unsigned rw = 0; rw < NF_RW_COUNT; rw++)
                e->rules.k[i][pattern][rw] = config->parallelism_scale * nf_parallelism_of(&config->parallelism[i], pattern, rw,
                                                                                           &e->rules.by_class[i][pattern][rw]);
    }
}

static unsigned threads_of(const struct nf_engine_config *config, const cpu_set_t *allowed)
{
    unsigned wanted = config->threads ? config->threads : config->stream->threads, most = (unsigned)CPU_COUNT(allowed);

    wanted = wanted ? wanted : 1;
    most = most < NF_TEAM_MAX ? most : NF_TEAM_MAX;
    return wanted < most ? wanted : most;
}

unsigned nf_engine_threads(const struct nf_engine_config *config)
{
    cpu_set_t mine;

    CPU_ZERO(&mine);
    if (!config->allowed)
        sched_getaffinity(0, sizeof mine, &mine);
    return threads_of(config, config->allowed ? config->allowed : &mine);
}

/* The team, before anything is timed. All read one clock: their counters run together, and each one's base is the first's. */
static int start_team(struct engine *e, const struct nf_pin *pin)
{
    const cpu_set_t *allowed = e->config->allowed ? e->config->allowed : &pin->before;
    uint32_t n_classes = e->config->stream->n_classes;
    unsigned length = 0;
    int rc = 0;

    e->n_workers = nf_pin_team("", allowed, pin->cpu, threads_of(e->config, allowed), e->cpus);
    e->workers = calloc(e->n_workers, sizeof *e->workers);
    if (!e->workers)
        return nf_fail(-ENOMEM, "out of memory for %u threads", e->n_workers);
    nf_pace_init(&e->workers[0].pace);
    for (unsigned i = 0; i < e->n_workers && !rc; i++) {
        e->workers[i].pace = e->workers[0].pace;
        rc = nf_absence_init(&e->workers[i].absence, e->first_op[n_classes]);
        length += (unsigned)snprintf(e->out->cpus + length, sizeof e->out->cpus - length, "%s%d", i ? "," : "", e->cpus[i]);
        length = length < sizeof e->out->cpus ? length : sizeof e->out->cpus - 1;
    }
    e->out->threads = e->n_workers;
    e->out->store = e->config->store;
    return rc ? rc : nf_team_start(e->n_workers, e->cpus, work, e, &e->team);
}

/* Where a mover's own thread runs: beside the team, or on the last one's CPU when there is no other. */
static void place_helper(struct engine *e, const struct nf_pin *pin)
{
    const struct nf_policy_semantics *s = &e->config->pool.policy->semantics;
    const cpu_set_t *allowed = e->config->allowed ? e->config->allowed : &pin->before;
    int cpus[NF_TEAM_MAX + 1];

    e->helper_cpu = -1;
    if (s->sync != NF_SYNC_HELPER || s->mover == NF_MOVER_KERNEL)
        return;
    e->helper_cpu = e->config->helper_cpu;
    if (e->helper_cpu < 0)
        e->helper_cpu = nf_pin_team("", allowed, pin->cpu, e->n_workers + 1, cpus) > e->n_workers ? cpus[e->n_workers]
                                                                                              : e->cpus[e->n_workers - 1];
    for (unsigned i = 0; i < e->n_workers; i++)
        e->helper_yields |= e->cpus[i] == e->helper_cpu;
    e->out->helper_cpu = e->helper_cpu;
    e->out->helper_shares = nf_pin_shares_core("", e->helper_cpu, e->cpus, e->n_workers);
}

static int open_pool(struct engine *e)
{
    struct nf_pool_config pool = e->config->pool;
    int rc;

    pool.helper_cpu = e->helper_cpu >= 0 ? &e->helper_cpu : NULL;
    pool.helper_shares = e->helper_yields;
    if (e->config->seen)
        pool.steady_class = e->config->planned_class;
    rc = nf_pool_open(&pool, &e->pool);
    e->lives.pool = e->pool;
    return rc;
}

static int engine_init(struct engine *e, const struct nf_engine_config *config, const struct nf_pin *pin,
                       struct nf_trial *out)
{
    const struct nf_stream *stream = config->stream;
    const struct nf_lives_watch watch = {.context = e, .arrives = tell_storage, .leaves = tell_gone};
    size_t steps = (size_t)nf_engine_cycle_steps(config) * config->cycles;
    uint32_t operands = 1;
    int rc;

    *e = (struct engine){.config = config, .out = out, .n_tiers = config->pool.n_tiers};
    e->rules = (struct nf_worker_rules){.tiers = config->pool.tiers, .n_tiers = config->pool.n_tiers,
                                        .kernels = nf_kernels_storing(nf_kernels_best(), config->store),
                                        .store = config->store, .parallelism_scale = config->parallelism_scale,
                                        .observed = config->observer};
    out->step_ns = calloc(steps + 1, sizeof *out->step_ns);
    if (!out->step_ns)
        return nf_fail(-ENOMEM, "out of memory for the trial");
    rc = nf_lives_init(&e->lives, stream, config->seen, config->observer ? &watch : NULL);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < stream->n_classes; i++)
        operands = config->scripts[i].operands_max > operands ? config->scripts[i].operands_max : operands;
    e->storages = calloc(operands, sizeof *e->storages);
    e->only_tier = calloc(operands, sizeof *e->only_tier);
    e->op_handles = calloc(operands, sizeof *e->op_handles);
    e->memory = calloc(operands, sizeof *e->memory);
    e->first_op = calloc(stream->n_classes + (size_t)1, sizeof *e->first_op);
    if (!e->storages || !e->only_tier || !e->op_handles || !e->memory || !e->first_op)
        return nf_fail(-ENOMEM, "out of memory for %u operands", operands);
    for (uint32_t i = 0; i < stream->n_classes; i++)
        e->first_op[i + 1] = e->first_op[i] + stream->classes[i].n_ops;
    assume_parallelism(e);
    rc = config->observer && e->n_tiers > 1 ? nf_homes_init(&e->homes, config->pool.arena_bytes[0]) : 0;
    if (!rc)
        rc = start_team(e, pin);
    if (!rc)
        place_helper(e, pin);
    return rc;
}

/* What the machine counts as moved includes what was under way in the end. */
static void count_pages(struct engine *e)
{
    struct nf_pool_stats stats;

    nf_pool_settle(e->pool); /* a failure is the trial's already, or too late to be */
    nf_pool_stats(e->pool, &stats);
    e->out->pool.moved_pages_ever = stats.moved_pages_ever;
}

int nf_trial_run(const struct nf_engine_config *config, struct nf_trial *out)
{
    struct engine e;
    struct nf_pin pin = {.cpu = -1};
    int rc;

    *out = (struct nf_trial){.status = NF_TRIAL_OK, .threads = 1, .helper_cpu = -1, .moved_pages = NF_TRIAL_UNKNOWN, .steal_ns = NF_TRIAL_UNKNOWN};
    for (uint32_t i = 0; i < NF_TIER_MAX; i++)
        out->tier[i].counter_read_bytes = out->tier[i].counter_write_bytes = NF_TRIAL_UNKNOWN;
    rc = nf_pin_init(&pin, config->cpu);
    if (rc)
        return rc;
    rc = engine_init(&e, config, &pin, out);
    if (rc)
        goto end;
    out->cold = config->cold;
    nf_text_fetch(); /* what runs first after the last step counts as its page fault otherwise */
    rc = open_pool(&e);
    if (!rc && !config->cold)
        rc = warm_up(&e);
    if (!rc)
        rc = measure(&e);
    conclude(&e);
    if (e.pool)
        count_pages(&e);
    if (rc < 0) {
        out->status = NF_TRIAL_FAILED;
        snprintf(out->message, sizeof out->message, "%s", nf_error_text(rc));
        rc = 0;
    } else if (!rc && out->page_faults && out->status == NF_TRIAL_OK) {
        snprintf(out->message, sizeof out->message, "%llu page faults in the measured steps",
                 (unsigned long long)out->page_faults);
    } else if (!rc && out->helper_shares && out->status == NF_TRIAL_OK) {
        snprintf(out->message, sizeof out->message, "the mover's thread shared a core with the replay (CPU %d)",
                 out->helper_cpu);
    }
end:
    engine_deinit(&e);
    nf_pin_deinit(&pin);
    return rc;
}

void nf_trial_deinit(struct nf_trial *t)
{
    free(t->step_ns);
    t->step_ns = NULL;
}
