#include "replay/again.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/units.h"
#include "core/store/records.h"
#include "replay/engine.h"
#include "replay/memory.h"
#include "replay/scale.h"

/* --- what is replayed --- */

int nf_again_load(struct nf_again *a, struct nf_study *study, int64_t capture, double scale)
{
    struct nf_step_class *c;
    uint64_t peak;
    int rc;

    *a = (struct nf_again){.scale = scale};
    if (!(scale > 0 && scale <= 1))
        return nf_fail(-EINVAL, "the scale is above 0 and at most 1, not %g", scale);
    a->capture = nf_record_capture_find(study, capture);
    if (a->capture < 0)
        return (int)a->capture;
    rc = nf_record_stream_load(study, a->capture, &a->stream);
    if (!rc && !a->stream->n_classes)
        rc = nf_fail(-ENOENT, "capture %lld has no steps to replay", (long long)a->capture);
    if (!rc)
        rc = nf_stream_scale(a->stream, scale);
    if (rc)
        return rc;
    a->steady = nf_stream_steady_class(a->stream);
    for (uint32_t i = 0; i < a->stream->n_classes; i++)
        if (i != a->steady)
            nf_step_class_forget_visits(&a->stream->classes[i]);
    c = &a->stream->classes[a->steady];
    rc = nf_step_class_peak(c, &peak);
    if (!rc && !c->n_visits)
        rc = nf_fail(-ENOENT, "capture %lld holds no visits to replay", (long long)a->capture);
    a->arena_bytes = rc ? 0 : nf_memory_with_slack(peak);
    a->near_bytes = peak;
    return rc;
}

int nf_again_take_policy(struct nf_again *a, const char *policy, double near_share)
{
    size_t n = strcspn(policy, ":"), length = strlen(policy);
    const struct nf_policy_ops *p;

    if (length >= sizeof a->policy_name)
        return nf_fail(-EINVAL, "no policy has a name of %zu characters", length);
    memcpy(a->policy_name, policy, length + 1);
    a->policy_options = a->policy_name[n] ? a->policy_name + n + 1 : "";
    a->policy_name[n] = '\0';
    p = nf_policy_find(a->policy_name);
    if (!p)
        return -EINVAL;
    if (p->semantics.samples || p->semantics.mover == NF_MOVER_KERNEL || p->recompute)
        return nf_fail(-EINVAL, "policy %s samples, recomputes or leaves its pages to the kernel: what it makes of a step depends on more than "
                       "the step, and cannot be held against the capture", p->name);
    a->policy = p;
    a->near_share = near_share;
    a->near_bytes = nf_near_bytes(near_share, a->near_bytes);
    return 0;
}

void nf_again_deinit(struct nf_again *a)
{
    nf_stream_free(a->stream);
    *a = (struct nf_again){0};
}

int nf_again_check_memory(const struct nf_again *a, double times)
{
    double need = times * (a->policy ? 2 : 1) * (double)a->arena_bytes, have = (double)nf_memory_available(), usable = NF_MEMORY_SHARE * have;
    char want[NF_UNITS_TEXT], there[NF_UNITS_TEXT];

    if (need <= usable)
        return 0;
    return nf_fail(-ENOMEM, "the replay that is watched takes %s, and this machine has %s available: watch it smaller, with "
                   "--scale %.3g", nf_format_bytes(want, need), nf_format_bytes(there, have), 0.95 * a->scale * usable / need);
}

/* --- the tier that the observer gives --- */

static int probe(char *why, size_t size)
{
    snprintf(why, size, "usable");
    return 0;
}

static int open_tier(const void *options, const struct nf_tier_local *local, void **tier)
{
    *tier = NULL;
    return 0;
}

static void close_tier(void *tier)
{
}

static void facts(const void *tier, struct nf_tier_facts *out)
{
    *out = (struct nf_tier_facts){.evidence = NF_EVIDENCE_UNKNOWN, .node = -1, .target_node = -1};
}

static int map(void *tier, size_t bytes, void **memory)
{
    const struct nf_replay_observer *o = tier;
    int rc = o->map(o->context, bytes, memory);

    for (size_t i = 0; !rc && i < bytes; i += NF_PAGE_BYTES)
        *((volatile char *)*memory + i) = 0;
    return rc;
}

static void unmap(void *tier, void *memory, size_t bytes)
{
    const struct nf_replay_observer *o = tier;

    o->unmap(o->context, memory, bytes);
}

static const struct nf_tier_ops watched_memory = {
    .abi = NF_TIER_ABI,
    .name = "watched",
    .about = "memory of whoever watches the replay",
    .probe = probe,
    .open = open_tier,
    .close = close_tier,
    .facts = facts,
    .map = map,
    .unmap = unmap,
};

/* --- the replay --- */

/* A device that is as far as twice near's latency and half its bandwidth, for policies that weigh what they move. */
static const double LATENCY_NS[] = {100, 200}, READ_BPS[] = {2e10, 1e10};

static int run(const struct nf_again *a, const struct nf_again_options *o, const struct nf_replay_observer *observer,
               struct nf_script *scripts, struct nf_profile *profiles, uint64_t *moves)
{
    struct nf_tier_ops filled;
    struct nf_tier tier = {.ops = &filled, .state = (void *)observer, .name = "watched", .spec = "watched"};
    struct nf_tier tiers[2];
    struct nf_policy_ops policy = a->policy ? *a->policy : *nf_policy_find("all-near");
    struct nf_engine_config c = NF_ENGINE_CONFIG_INIT;
    struct nf_trial trial;
    int rc = nf_tier_check(&watched_memory, &filled);

    if (rc)
        return rc;
    facts(NULL, &tier.facts);
    tiers[0] = tiers[1] = tier;
    /* There are no nodes to migrate between. */
    if (policy.semantics.mover == NF_MOVER_MOVE_PAGES)
        policy.semantics.mover = NF_MOVER_COPY;
    c.stream = a->stream;
    c.scripts = scripts;
    c.pool = (struct nf_pool_config){.tiers = tiers, .n_tiers = a->policy ? 2 : 1,
                                     .capacity = {a->policy ? a->near_bytes : UINT64_MAX, UINT64_MAX},
                                     .arena_bytes = {a->arena_bytes, a->arena_bytes}, .policy = &policy,
                                     .policy_options = a->policy ? a->policy_options : "", .profiles = profiles,
                                     .n_profiles = a->stream->n_classes, .steady_class = a->steady, .seed = o->seed,
                                     .latency_ns = {LATENCY_NS[0], LATENCY_NS[1]}, .read_bps = {READ_BPS[0], READ_BPS[1]}};
    c.warmup_min = 1;
    c.warmup_max = a->policy ? c.warmup_max : 1;
    c.cycles = o->steps;
    c.threads = o->threads;
    c.cpu = o->cpu;
    c.observer = observer;
    rc = nf_trial_run(&c, &trial);
    if (!rc && trial.status == NF_TRIAL_FAILED)
        rc = nf_fail(-EIO, "the replay failed: %s", trial.message);
    *moves = trial.pool.moves;
    nf_trial_deinit(&trial);
    return rc;
}

int nf_again_replay(const struct nf_again *a, const struct nf_again_options *o, const struct nf_replay_observer *observer, uint64_t *moves)
{
    uint32_t n = a->stream->n_classes;
    struct nf_script *scripts = calloc(n + (size_t)1, sizeof *scripts);
    struct nf_profile *profiles = calloc(n + (size_t)1, sizeof *profiles);
    int rc = scripts && profiles ? 0 : nf_fail(-ENOMEM, "out of memory for %u step classes", n);

    *moves = 0;
    /* No tier injects anything: what the cache filter would let through does not matter. */
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = nf_profile_init(&profiles[i], &a->stream->classes[i], 0, 1);
    if (!rc)
        rc = nf_script_init(&scripts[a->steady], &profiles[a->steady], o->seed);
    if (!rc)
        rc = run(a, o, observer, scripts, profiles, moves);
    if (scripts)
        nf_script_deinit(&scripts[a->steady]);
    for (uint32_t i = 0; profiles && i < n; i++)
        nf_profile_deinit(&profiles[i]);
    free(profiles);
    free(scripts);
    return rc;
}
