/* How long planning takes: the greedy planners on a made-up step of 100,000 tensors and 1,000,000 visits, from the profile to the
 * table of moves; the interval program on 100,000 stays, and on the steady steps of the example jobs where the folder jobs of the
 * folder given holds them, as ./bench makes them. Near is a fifth of peak live. The step: layers that run forward and then backward,
 * each with parameters that the step carries, activations that wait for backward and temporaries that do not. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/store/records.h"
#include "pool/bound.h"
#include "pool/policy.h"
#include "pool/step-uses.h"
#include "tests/bench/bench.h"

enum {
    TENSORS = 100000, USES = 10, OPS = 200000, /* so that planners see 1,000,000 visits */
    LP_TENSORS = 20000, LP_USES = 6, LP_OPS = 60000, /* 100,000 stays and a few more */
    LAYERS = 24,
    NEAR_SHARE = 5, /* a fifth */
};
static const double GREEDY_TARGET_S = 0.5, EXAMPLE_TARGET_S = 0.5, LP_TARGET_S = 10;

struct made {
    struct nf_step_class c;
    struct nf_profile profile;
};

struct planning {
    const struct nf_policy_ops *policy;
    struct nf_policy_env env;
    const struct nf_stays *stays;
    uint64_t capacity_pages;
};

/* Of this thread, which does all of it: others that want the CPU are no part of it. */
static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Alive over [birth, death], or carried: uses there are drawn from all ops. */
static struct nf_tensor draw_tensor(struct nf_rng *r, uint32_t number, uint32_t n_ops)
{
    struct nf_tensor t = {.bytes = (1 + nf_rng_below(r, 64)) * NF_PAGE_BYTES, .address = (number + 1ull) << 32, .carry_in = NF_CARRY_NONE,
                          .carry_out = NF_CARRY_NONE, .tracked = true};
    uint32_t half = n_ops / 2, at = (uint32_t)nf_rng_below(r, half);

    switch (nf_rng_below(r, 10)) {
    case 0:
        t.birth = NF_OP_BEFORE, t.death = NF_OP_AFTER;
        t.carry_in = t.carry_out = (int32_t)number;
        break;
    case 1: case 2: case 3: case 4:
        t.birth = (int32_t)at, t.death = (int32_t)(n_ops - 1 - at);
        break;
    default:
        at = (uint32_t)nf_rng_below(r, n_ops);
        t.birth = (int32_t)at, t.death = (int32_t)(at + 40 < n_ops ? at + 40 : n_ops - 1);
    }
    return t;
}

/* Uses cluster at a tensor's two ends, as those of activations do. */
static uint32_t draw_use(struct nf_rng *r, const struct nf_tensor *t, uint32_t n_ops)
{
    uint32_t first = t->birth < 0 ? 0 : (uint32_t)t->birth, last = t->death == NF_OP_AFTER ? n_ops - 1 : (uint32_t)t->death;
    uint32_t room = last - first + 1 < 50 ? last - first + 1 : 50, by = (uint32_t)nf_rng_below(r, room);

    if (t->birth < 0)
        return (uint32_t)nf_rng_below(r, n_ops);
    return nf_rng_below(r, 2) ? first + by : last - by;
}

static void made_deinit(struct made *m)
{
    nf_profile_deinit(&m->profile);
    free(m->c.ops);
    free(m->c.visits);
    free(m->c.tensors);
}

static int made_init(struct made *m, uint32_t n_tensors, uint32_t uses, uint32_t n_ops)
{
    uint32_t n = n_tensors * uses, *op_of = malloc(n * sizeof *op_of), *at = calloc(n_ops + (size_t)1, sizeof *at);
    struct nf_op *ops = calloc(n_ops, sizeof *ops);
    struct nf_visit *visits = calloc(n, sizeof *visits);
    struct nf_tensor *tensors = calloc(n_tensors, sizeof *tensors);
    struct nf_rng r = {11};
    int rc = op_of && at && ops && visits && tensors ? 0 : -1;

    *m = (struct made){.c = {.ops = ops, .visits = visits, .tensors = tensors, .n_ops = n_ops, .n_visits = n, .n_tensors = n_tensors}};
    for (uint32_t t = 0; !rc && t < n_tensors; t++) {
        tensors[t] = draw_tensor(&r, t, n_ops);
        for (uint32_t u = 0; u < uses; u++) {
            op_of[t * uses + u] = draw_use(&r, &tensors[t], n_ops);
            at[op_of[t * uses + u] + 1]++;
        }
    }
    for (uint32_t o = 0; !rc && o < n_ops; o++) {
        uint32_t layer = o < n_ops / 2 ? o * (2 * LAYERS) / n_ops : (n_ops - 1 - o) * (2 * LAYERS) / n_ops;

        ops[o] = (struct nf_op){.first_visit = at[o], .n_visits = at[o + 1], .dur_ns = 1000, .regime = 1 + layer + LAYERS * (o >= n_ops / 2)};
        at[o + 1] += at[o];
    }
    for (uint32_t i = 0; !rc && i < n; i++) {
        uint64_t bytes = tensors[i / uses].bytes;

        visits[at[op_of[i]]++] = (struct nf_visit){.op = op_of[i], .tensor = i / uses, .bytes = bytes, .run = bytes, .stride = bytes,
                                                   .touches_q8 = 256};
    }
    free(op_of);
    free(at);
    return rc ? rc : nf_profile_init(&m->profile, &m->c, 0, 1);
}

static double plan(void *state, unsigned contender)
{
    struct planning *p = state;
    double begun = cpu_s();
    void *policy;
    int rc = p->policy->init(&p->env, &policy);

    if (rc) {
        printf("plan: %s: %s\n", p->policy->name, nf_error_text(rc));
        return -1;
    }
    begun = cpu_s() - begun;
    p->policy->deinit(policy);
    return begun;
}

static double program(void *state, unsigned contender)
{
    struct planning *p = state;
    double begun = cpu_s(), saved;
    int rc = nf_bound_lp(p->stays, p->capacity_pages, &saved, NULL);

    if (rc) {
        printf("plan: %s\n", nf_error_text(rc));
        return -1;
    }
    return cpu_s() - begun;
}

static int greedy(struct bench *b)
{
    static const char *const names[] = {"gap-greedy", "regime-plan", "lifetime-density"};
    struct made m;
    uint64_t peak;
    int rc = b->smoke ? made_init(&m, TENSORS / 1000, USES, OPS / 1000) : made_init(&m, TENSORS, USES, OPS);

    if (!rc)
        rc = nf_step_class_peak(&m.c, &peak);
    for (size_t i = 0; !rc && i < sizeof names / sizeof *names; i++) {
        char name[64];
        struct bench_row row = {.name = name, .unit = "s", .target = b->smoke ? 0 : GREEDY_TARGET_S, .lower_is_better = true, .run = plan,
                                .contender = {names[i]}};
        struct planning p = {.policy = nf_policy_find(names[i])};
        void *options;

        snprintf(name, sizeof name, "%s, %u visits", names[i], m.c.n_visits);
        rc = nf_policy_configure(p.policy, NULL, &options);
        p.env = (struct nf_policy_env){.n_tiers = 2, .capacity = {peak / NEAR_SHARE, UINT64_MAX}, .profiles = &m.profile, .n_profiles = 1,
                                       .options = options};
        if (!rc)
            rc = bench_row(b, &row, &p);
        free(options);
    }
    made_deinit(&m);
    return rc;
}

/* The bound alone: what else a plan of it takes is what the greedy planners take. */
static int solve(struct bench *b, const char *name, const struct nf_profile *profile, double target)
{
    struct bench_row row = {.unit = "s", .target = target, .lower_is_better = true, .run = program, .contender = {"CLP, from the greedy choice"}};
    struct nf_step_uses uses;
    struct nf_stays stays = {0};
    char text[96];
    uint64_t peak;
    int rc = nf_step_uses_init(&uses, profile->of, 0);

    if (!rc)
        rc = nf_stays_init_apart(&stays, profile, &uses);
    if (!rc)
        rc = nf_step_class_peak(profile->of, &peak);
    if (!rc) {
        struct planning p = {.stays = &stays, .capacity_pages = peak / NEAR_SHARE / NF_PAGE_BYTES};

        snprintf(text, sizeof text, "interval LP, %s, %u stays", name, stays.n);
        row.name = text;
        rc = bench_row(b, &row, &p);
    }
    nf_stays_deinit(&stays);
    nf_step_uses_deinit(&uses);
    return rc;
}

static int solve_job(struct bench *b, const char *path)
{
    const char *base = strrchr(path, '/');
    struct nf_study *study = NULL;
    struct nf_stream *stream = NULL;
    struct nf_profile profile = {0};
    char name[64];
    int64_t capture = -1;
    int rc = nf_study_open(path, NF_STUDY_READ, &study);

    snprintf(name, sizeof name, "%s", base ? base + 1 : path);
    name[strcspn(name, ".")] = '\0';
    if (!rc)
        capture = nf_record_capture_find(study, 0);
    if (!rc)
        rc = capture < 0 ? (int)capture : nf_record_stream_load(study, capture, &stream);
    if (!rc)
        rc = nf_profile_init(&profile, &stream->classes[nf_stream_steady_class(stream)], 0, 1);
    if (!rc)
        rc = solve(b, name, &profile, EXAMPLE_TARGET_S);
    else
        printf("plan: %s: %s\n", path, nf_error_text(rc));
    nf_profile_deinit(&profile);
    nf_stream_free(stream);
    if (study)
        nf_study_close(study);
    return rc;
}

int bench_plan(struct bench *b)
{
    char text[4096];
    glob_t found = {0};
    struct made m = {0};
    int rc = greedy(b);

    if (!rc && nf_bound_lp_probe(text, sizeof text)) {
        printf("plan: no interval program: %s\n", text);
        return 0;
    }
    snprintf(text, sizeof text, "%s/jobs/*.nf", b->folder);
    if (!rc && (glob(text, 0, NULL, &found) || !found.gl_pathc) && !b->smoke)
        printf("plan: no studies in %s/jobs; ./bench plan captures the example jobs\n", b->folder);
    for (size_t i = 0; i < found.gl_pathc && !rc; i++)
        rc = solve_job(b, found.gl_pathv[i]);
    globfree(&found);
    if (!rc)
        rc = b->smoke ? made_init(&m, LP_TENSORS / 100, LP_USES, LP_OPS / 100) : made_init(&m, LP_TENSORS, LP_USES, LP_OPS);
    if (!rc)
        rc = solve(b, "made up", &m.profile, LP_TARGET_S);
    made_deinit(&m);
    return rc;
}
