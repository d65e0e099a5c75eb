#include "replay/again.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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
    return rc;
}

void nf_again_deinit(struct nf_again *a)
{
    nf_stream_free(a->stream);
    *a = (struct nf_again){0};
}

int nf_again_check_memory(const struct nf_again *a, double times)
{
    double need = times * (double)a->arena_bytes, have = (double)nf_memory_available(), usable = NF_MEMORY_SHARE * have;
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
    *out = (struct nf_tier_facts){.evidence = NF_EVIDENCE_UNKNOWN, .node = -1};
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

static int run(const struct nf_again *a, const struct nf_again_options *o, const struct nf_replay_observer *observer,
               struct nf_script *scripts)
{
    struct nf_tier_ops filled;
    struct nf_tier tier = {.ops = &filled, .state = (void *)observer, .name = "watched", .spec = "watched"};
    struct nf_engine_config c = NF_ENGINE_CONFIG_INIT;
    struct nf_trial trial;
    int rc = nf_tier_check(&watched_memory, &filled);

    if (rc)
        return rc;
    facts(NULL, &tier.facts);
    c.stream = a->stream;
    c.scripts = scripts;
    c.pool = (struct nf_pool_config){.tiers = &tier, .n_tiers = 1, .capacity = {UINT64_MAX}, .arena_bytes = {a->arena_bytes},
                                     .policy = nf_policy_find("all-near"), .policy_options = "", .steady_class = a->steady,
                                     .seed = o->seed};
    c.warmup_min = c.warmup_max = 1;
    c.cycles = o->steps;
    c.threads = o->threads;
    c.cpu = o->cpu;
    c.observer = observer;
    rc = nf_trial_run(&c, &trial);
    if (!rc && trial.status == NF_TRIAL_FAILED)
        rc = nf_fail(-EIO, "the replay failed: %s", trial.message);
    nf_trial_deinit(&trial);
    return rc;
}

int nf_again_replay(const struct nf_again *a, const struct nf_again_options *o, const struct nf_replay_observer *observer)
{
    uint32_t n = a->stream->n_classes;
    struct nf_script *scripts = calloc(n + (size_t)1, sizeof *scripts);
    struct nf_profile profile = {0};
    int rc = scripts ? 0 : nf_fail(-ENOMEM, "out of memory for %u step classes", n);

    /* No tier injects anything: what the cache filter would let through does not matter. */
    if (!rc)
        rc = nf_profile_init(&profile, &a->stream->classes[a->steady], 0, 1);
    if (!rc)
        rc = nf_script_init(&scripts[a->steady], &profile, o->seed);
    if (!rc)
        rc = run(a, o, observer, scripts);
    if (scripts)
        nf_script_deinit(&scripts[a->steady]);
    nf_profile_deinit(&profile);
    free(scripts);
    return rc;
}
