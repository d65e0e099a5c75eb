/* Policy `soar`: objects ranked by what their misses cost, not by how many they are; the best ones stay near for good.
 * Rule: over windows of time, an object's score is the sum of (its misses / all misses) · stall share ÷ (24.67 / AOL + 0.87), AOL
 * being the latency of a miss amortized over the misses outstanding with it, in cycles; near goes to objects by score per byte
 * until it is full. Liu, Hadian, Xu, Li: Tiered Memory Management Beyond Hotness, OSDI 2025, the sections on AOL and on SOAR.
 * Here an object is a tensor, a window an op. Misses and parallelism come from the profile; latency is near's as measured; the stall
 * of an op is modelled, its misses · AOL, at most its captured time: PMU cycles of the job are not in a study.
 * Semantics: in place, insert near what is in the plan, no moves. Sees the profile.
 * Fails where tensors live one after the other: the rank knows no lifetimes, so each planned byte is taken for the whole step and near
 * stays partly empty (policy `lifetime-density` is the remedy). */
#include "pool/policy-soar.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "pool/policies.h"
#include "pool/timetable.h"

/* The model's two constants, as published. */
static const double AOL_SCALE = 24.67, AOL_OFFSET = 0.87;
/* Near's latency where it is not measured. */
static const double LATENCY_NS_ASSUMED = 100;
/* Outstanding misses of one core where a visit does not know: a stream keeps at least the dozen fill buffers of its L1 busy,
 * rows chosen by an index a third of them. */
static const double STREAM_K_ASSUMED = 12, GATHER_K_ASSUMED = 4;

struct options {
    double ghz;
};

static const struct nf_option table[] = {
    {"ghz", 0, NF_OPTION_F64, offsetof(struct options, ghz), "GHZ",
     "clock that turns latencies into cycles (default 2.2, assumed)"},
    {NULL},
};
/* The model's constants were fitted on servers of this clock. */
static const struct options defaults = {.ghz = 2.2};

double nf_soar_score(const struct nf_soar_window *w, double object_misses)
{
    if (!(w->misses > 0) || !(w->aol_cycles > 0))
        return 0;
    return object_misses / w->misses * w->stall_share / (AOL_SCALE / w->aol_cycles + AOL_OFFSET);
}

/* Tensors of one carry slot are one object: item_of names the first of them. */
struct object {
    uint32_t tensor;
    uint64_t bytes;
    double score;
};

static double parallelism_of(const struct nf_visit *v)
{
    if (v->parallelism)
        return v->parallelism;
    return v->pattern == NF_PATTERN_STRIDED || v->pattern == NF_PATTERN_GATHER ? GATHER_K_ASSUMED : STREAM_K_ASSUMED;
}

/* Latency over parallelism, weighed by misses. */
static struct nf_soar_window window_of(const struct nf_profile *p, const struct nf_op *op, double latency_ns, double *stall_ns)
{
    struct nf_soar_window w = {0};
    double aol_ns = 0;

    for (uint32_t i = op->first_visit; i < op->first_visit + op->n_visits; i++) {
        double misses = (double)p->visit_miss_bytes[i] / NF_LINE_BYTES;

        w.misses += misses;
        aol_ns += misses * latency_ns / parallelism_of(&p->of->visits[i]);
    }
    *stall_ns = aol_ns;
    if (op->dur_ns > 0 && aol_ns > op->dur_ns)
        *stall_ns = op->dur_ns;
    w.aol_cycles = w.misses > 0 ? aol_ns / w.misses : 0; /* still in ns */
    return w;
}

static void score_objects(const struct nf_policy_env *env, const uint32_t *object_of, struct object *objects)
{
    const struct nf_profile *p = &env->profiles[env->steady_class];
    const struct options *o = env->options;
    const struct nf_step_class *c = p->of;
    double latency_ns = env->latency_ns[0] > 0 ? env->latency_ns[0] : LATENCY_NS_ASSUMED, time_ns = 0, stall_ns;

    for (uint32_t i = 0; i < c->n_ops; i++)
        time_ns += c->ops[i].dur_ns + c->ops[i].gap_ns;
    if (!(time_ns > 0)) /* no times captured: all time is stall */
        for (uint32_t i = 0; i < c->n_ops; i++) {
            window_of(p, &c->ops[i], latency_ns, &stall_ns);
            time_ns += stall_ns;
        }
    for (uint32_t i = 0; i < c->n_ops; i++) {
        const struct nf_op *op = &c->ops[i];
        struct nf_soar_window w = window_of(p, op, latency_ns, &stall_ns);

        w.stall_share = time_ns > 0 ? stall_ns / time_ns : 0;
        w.aol_cycles *= o->ghz;
        for (uint32_t v = op->first_visit; v < op->first_visit + op->n_visits; v++)
            objects[object_of[c->visits[v].tensor]].score +=
                nf_soar_score(&w, (double)p->visit_miss_bytes[v] / NF_LINE_BYTES);
    }
}

static int by_score_per_byte(const void *a, const void *b)
{
    const struct object *x = a, *y = b;
    double left = x->score * (double)y->bytes, right = y->score * (double)x->bytes;

    if (left != right)
        return left > right ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* All objects start far; the first that fit, by rank, are near. */
static void fill(struct nf_timetable *t, const uint32_t *object_of, struct object *objects, uint32_t n)
{
    uint64_t left = t->env->capacity[0];
    bool *near = calloc(n + (size_t)1, sizeof *near);

    for (uint32_t i = 0; i < t->of->n_tensors; i++)
        t->near_at_birth[i] = 0;
    if (!near)
        return; /* all far: legal, and slow */
    for (uint32_t i = 0; i < n; i++)
        objects[i].tensor = i;
    qsort(objects, n, sizeof *objects, by_score_per_byte);
    for (uint32_t i = 0; i < n; i++) {
        if (!(objects[i].score > 0) || objects[i].bytes > left)
            continue;
        left -= objects[i].bytes;
        near[objects[i].tensor] = true;
    }
    for (uint32_t i = 0; i < t->of->n_tensors; i++)
        t->near_at_birth[i] = near[object_of[i]] ? NF_TIMETABLE_ALL : 0;
    free(near);
}

static int rank(struct nf_timetable *t)
{
    const struct nf_step_class *c = t->of;
    uint32_t *object_of = malloc((c->n_tensors + (size_t)1) * sizeof *object_of), n = 0;
    struct object *objects = calloc(c->n_tensors + (size_t)1, sizeof *objects);
    int rc = object_of && objects ? 0 : nf_fail(-ENOMEM, "no memory to rank %u tensors", c->n_tensors);

    for (uint32_t i = 0; !rc && i < c->n_tensors; i++) {
        int32_t slot = nf_timetable_slot(&c->tensors[i]);
        uint32_t last = slot == NF_CARRY_NONE ? i : t->tensor_of_slot[slot]; /* the slot's last one stands for all */

        object_of[i] = last == i ? n++ : NF_TIMETABLE_NONE;
    }
    for (uint32_t i = 0; !rc && i < c->n_tensors; i++) {
        uint64_t bytes = nf_page_bytes(c->tensors[i].bytes);

        if (object_of[i] == NF_TIMETABLE_NONE)
            object_of[i] = object_of[t->tensor_of_slot[nf_timetable_slot(&c->tensors[i])]];
        if (bytes > objects[object_of[i]].bytes)
            objects[object_of[i]].bytes = bytes;
    }
    if (!rc) {
        score_objects(t->env, object_of, objects);
        fill(t, object_of, objects, n);
    }
    free(object_of);
    free(objects);
    return rc;
}

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    const struct options *o = env->options;
    struct nf_timetable *t;
    int rc;

    if (!(o->ghz > 0))
        return nf_fail(-EINVAL, "ghz=%g: a clock is above 0", o->ghz);
    t = malloc(sizeof *t);
    if (!t)
        return nf_fail(-ENOMEM, "no memory");
    rc = nf_timetable_init(t, env, false);
    t->unplanned_far = true;
    if (!rc && t->of)
        rc = rank(t);
    if (rc) {
        nf_timetable_close(t);
        return rc;
    }
    *policy = t;
    return 0;
}

const struct nf_policy_ops nf_policy_soar = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_FREE),
    .name = "soar",
    .about = "tensors ranked by the stalls their misses cost, per byte; the first ones stay near for good",
    .source = "Liu et al., Tiered Memory Management Beyond Hotness, OSDI 2025",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER,
                  .mover = NF_MOVER_NONE, .sees_profile = true},
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = open_policy,
    .deinit = nf_timetable_close,
    .on_alloc = nf_timetable_place,
    .on_free = nf_timetable_freed,
};
