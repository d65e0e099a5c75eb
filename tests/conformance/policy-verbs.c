/* A policy with every verb there is writes down what it is called with: a step of two regimes, a profile read forwards, plans and their
 * epochs, pressure before a birth, and what the pool has counted at the end of a step. */
#include "tests/conformance/pool-fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"

enum { NEAR_PAGES = 8, FAR_PAGES = 64, REGIME_A = 0x1100, REGIME_B = 0x2200, REGIME_C = 0x3300 };
#define PAGES(n) ((n) * (uint64_t)NF_PAGE_BYTES)

static struct {
    struct nf_buf told;
    struct nf_policy_env env;
    struct nf_policy_counters counters;
    struct nf_policy_question question;
    struct nf_policy_move next; /* for whoever may move */
    bool move, again;
    int fails; /* of the next verb that may fail */
    uint32_t tier;
} seen;

static int done(struct nf_policy_moves *moves)
{
    int rc = seen.fails;

    if (moves && seen.move) {
        moves->v[moves->n++] = seen.next;
        seen.move = false;
    }
    seen.fails = 0;
    return rc ? (seen.env.fail)(rc, "it was told to") : 0; /* cmocka has a macro of that name */
}

static int init(const struct nf_policy_env *env, void **policy)
{
    seen.env = *env;
    *policy = &seen;
    return done(NULL);
}

/* What comes after it is the first that fails. */
static int init_then_fail(const struct nf_policy_env *env, void **policy)
{
    int rc = init(env, policy);

    seen.fails = -EPERM;
    return rc;
}

static void deinit(void *policy)
{
    assert_ptr_equal(policy, &seen);
    nf_buf_puts(&seen.told, "deinit");
}

static int load_profile(void *policy, struct nf_policy_reader *r)
{
    struct nf_policy_profiled t;
    struct nf_policy_use use;
    struct nf_policy_gap gap;
    struct nf_policy_op op;

    nf_buf_printf(&seen.told, "profile %u/%u%s ops:%u", r->step_class, r->n_step_classes, r->steady ? " steady" : "", r->n_ops);
    while (r->next_op(r, &op))
        nf_buf_printf(&seen.told, " %u=%llx", op.number, (unsigned long long)op.regime);
    nf_buf_printf(&seen.told, " tensors:%u peak=%llu", r->n_tensors, (unsigned long long)(r->peak_live_bytes / NF_PAGE_BYTES));
    while (r->next_tensor(r, &t))
        nf_buf_printf(&seen.told, " %u=%llup,%s,%d-%d,r%u,w%u,%llu", t.number, (unsigned long long)(t.bytes / NF_PAGE_BYTES),
                      nf_role_name(t.role), t.birth, t.death, t.reads, t.writes, (unsigned long long)t.read_bytes);
    nf_buf_puts(&seen.told, " gaps:");
    while (r->next_gap(r, &gap))
        nf_buf_printf(&seen.told, " %u=%u-%u,%llu", gap.tensor, gap.from_op, gap.to_op, (unsigned long long)gap.bytes);
    nf_buf_puts(&seen.told, " uses:");
    while (r->next_use(r, &use))
        nf_buf_printf(&seen.told, " %u@%u,%u,%llu,%llu", use.tensor, use.op, use.rw, (unsigned long long)use.bytes,
                      (unsigned long long)use.miss_bytes);
    assert_int_equal(r->next_op(r, &op) + r->next_tensor(r, &t) + r->next_gap(r, &gap) + r->next_use(r, &use), 0);
    nf_buf_puts(&seen.told, "\n");
    return done(NULL);
}

static int plan(void *policy, nf_regime regime, uint32_t epoch)
{
    nf_buf_printf(&seen.told, "plan %llx.%u\n", (unsigned long long)regime, epoch);
    return done(NULL);
}

static int on_alloc(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions, struct nf_placement *out)
{
    nf_buf_printf(&seen.told, "alloc %llu in %llx\n", (unsigned long long)(t->bytes / NF_PAGE_BYTES), (unsigned long long)t->regime);
    out->bytes[seen.tier] = t->bytes;
    return done(evictions);
}

static int on_op(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                 struct nf_policy_moves *moves)
{
    nf_buf_printf(&seen.told, "op %u in %llx:%zu,%u\n", op, (unsigned long long)regime, n, rw[0]);
    return done(moves);
}

static int on_access(void *policy, const struct nf_policy_touches *t)
{
    nf_buf_printf(&seen.told, "access %zu", t->n);
    for (size_t i = 0; i < t->n; i++)
        nf_buf_printf(&seen.told, " %u+%llu", t->v[i].rw, (unsigned long long)(t->v[i].span / NF_PAGE_BYTES));
    nf_buf_puts(&seen.told, "\n");
    return done(NULL);
}

static int on_op_end(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    nf_buf_printf(&seen.told, "end %u\n", op);
    return done(moves);
}

static void on_free(void *policy, uint32_t handle)
{
    nf_buf_puts(&seen.told, "free\n");
}

static int on_regime(void *policy, nf_regime regime, uint32_t epoch, struct nf_policy_moves *moves)
{
    nf_buf_printf(&seen.told, "regime %llx.%u\n", (unsigned long long)regime, epoch);
    return done(moves);
}

static int on_pressure(void *policy, uint32_t tier, uint64_t bytes, struct nf_policy_moves *moves)
{
    nf_buf_printf(&seen.told, "pressure %u for %llu\n", tier, (unsigned long long)(bytes / NF_PAGE_BYTES));
    return done(moves);
}

static int tick(void *policy, const struct nf_policy_counters *c, struct nf_policy_moves *moves)
{
    int rc = done(moves);

    nf_buf_printf(&seen.told, "tick %llu ops=%llu\n", (unsigned long long)c->ticks, (unsigned long long)c->ops);
    seen.counters = *c;
    return rc ? rc : seen.again ? NF_POLICY_PLAN_AGAIN : 0;
}

static int explain(void *policy, const struct nf_policy_question *q, char *text, size_t size)
{
    seen.question = *q;
    return snprintf(text, size, "because of %u", q->op) > 0;
}

static const struct nf_policy_ops every_verb = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_LOAD_PROFILE | NF_POLICY_HAS_PLAN | NF_POLICY_HAS_ON_OP | NF_POLICY_HAS_ON_ACCESS |
                        NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE | NF_POLICY_HAS_ON_REGIME | NF_POLICY_HAS_ON_PRESSURE |
                        NF_POLICY_HAS_TICK | NF_POLICY_HAS_EXPLAIN),
    .name = "every-verb",
    .about = "writes down what it is called with",
    .semantics = {.mover = NF_MOVER_COPY, .sees_profile = true, .sees_future = true, .samples = true},
    .init = init,
    .deinit = deinit,
    .load_profile = load_profile,
    .plan = plan,
    .on_alloc = on_alloc,
    .on_op = on_op,
    .on_access = on_access,
    .on_op_end = on_op_end,
    .on_free = on_free,
    .on_regime = on_regime,
    .on_pressure = on_pressure,
    .tick = tick,
    .explain = explain,
};

/* --- two step classes; the second is the steady one: regimes A, B, A --- */

static struct nf_tensor tensors[] = {
    {.bytes = 5 * NF_PAGE_BYTES - 7, .birth = 0, .death = 2, .carry_in = NF_CARRY_NONE, .carry_out = NF_CARRY_NONE, .role = NF_ROLE_SAVED},
    {.bytes = 2 * NF_PAGE_BYTES, .birth = NF_OP_BEFORE, .death = NF_OP_AFTER, .carry_in = 0, .carry_out = 0, .role = NF_ROLE_PARAMETER},
};
static struct nf_op steady_ops[] = {
    {.regime = REGIME_A, .first_visit = 0, .n_visits = 1}, {.regime = REGIME_B, .first_visit = 1, .n_visits = 1},
    {.regime = REGIME_A, .first_visit = 2, .n_visits = 1},
};
static struct nf_visit visits[] = {
    {.op = 0, .tensor = 0, .bytes = 8192, .run = 8192, .stride = 8192, .rw = NF_RW_WRITE, .touches_q8 = 256},
    {.op = 1, .tensor = 1, .bytes = 4096, .run = 4096, .stride = 4096, .rw = NF_RW_READ, .touches_q8 = 256},
    {.op = 2, .tensor = 0, .bytes = 4096, .run = 4096, .stride = 4096, .rw = NF_RW_READ, .touches_q8 = 256},
};
static struct nf_op first_op[] = {{.regime = REGIME_B}};
static const struct nf_step_class classes[] = {
    {.ops = first_op, .n_ops = 1, .tensors = tensors, .n_tensors = 0},
    {.ops = steady_ops, .n_ops = 3, .tensors = tensors, .n_tensors = 2, .visits = visits, .n_visits = 3},
};
static struct nf_profile profiles[2];
static struct fixture f;

static void told(const char *wanted)
{
    assert_string_equal(seen.told.data ? seen.told.data : "", wanted);
    nf_buf_clear(&seen.told);
}

static int start(void **state)
{
    nf_buf_deinit(&seen.told);
    memset(&seen, 0, sizeof seen);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(nf_profile_init(&profiles[i], &classes[i], 0, 1), 0);
    return 0;
}

static int stop(void **state)
{
    for (size_t i = 0; i < 2; i++)
        nf_profile_deinit(&profiles[i]);
    nf_buf_deinit(&seen.told);
    return 0;
}

static int open_with(const struct nf_policy_ops *ops, bool profiled)
{
    uint64_t capacity[2] = {NEAR_PAGES, FAR_PAGES};

    return fixture_open(&f, ops, "", 2, capacity, profiled ? profiles : NULL, profiled ? 2 : 0, 9);
}

static uint32_t put(uint64_t pages, uint32_t tier)
{
    struct nf_pool_alloc a = {.bytes = PAGES(pages), .number = UINT32_MAX};
    uint32_t index;

    seen.tier = tier;
    assert_int_equal(fixture_allocate(&f, &a, &index), 0);
    return index;
}

/* The profiles come first, one by one; then each regime once, in order of its first op. */
static void test_profile_and_plans(void **state)
{
    assert_int_equal(open_with(&every_verb, true), 0);
    told("profile 0/2 steady ops:1 0=2200 tensors:0 peak=0 gaps: uses:\n"
         "profile 1/2 ops:3 0=1100 1=2200 2=1100 tensors:2 peak=7 0=5p,saved activation,0-2,r1,w1,4096"
         " 1=2p,parameter,-1-2147483647,r1,w0,4096 gaps: 0=0-2,4096 1=1-1,12288 uses: 0@0,1,8192,8192 1@1,0,4096,4096 0@2,0,4096,4096\n"
         "plan 2200.1\nplan 1100.1\n");
    assert_int_equal(seen.env.n_tiers, 2);
    assert_int_equal(seen.env.seed, 9);
    assert_int_equal(seen.env.n_profiles, 2);
    assert_int_equal(seen.env.capacity[0], PAGES(NEAR_PAGES));
    assert_int_equal(seen.env.node[1], 1);
    assert_string_equal(seen.env.tier_name[1], "witness");
    fixture_close(&f);
    told("deinit");
}

/* What is not declared is not read. */
static void test_hidden(void **state)
{
    struct nf_policy_ops ops = every_verb;

    ops.semantics.sees_future = false;
    assert_int_equal(open_with(&ops, true), 0);
    assert_non_null(strstr(seen.told.data, "gaps: 0=0-2,4096"));
    assert_non_null(strstr(seen.told.data, "uses:\n"));
    assert_null(strstr(seen.told.data, "0@0"));
    fixture_close(&f);
    nf_buf_clear(&seen.told);

    ops.semantics.sees_profile = false;
    ops.load_profile = NULL;
    ops.capabilities &= ~(uint64_t)NF_POLICY_HAS_LOAD_PROFILE;
    assert_int_equal(open_with(&ops, true), 0);
    told("plan 0.1\n");
    assert_int_equal(nf_pool_enter(f.pool, REGIME_A), 0);
    told("plan 1100.1\nregime 1100.1\n");
    assert_true(nf_pool_explain(f.pool, &(struct nf_policy_question){.handle = 3, .step_class = 1, .number = 4, .op = 5}, (char[32]){0}, 32));
    assert_int_equal(seen.question.number, UINT32_MAX);
    assert_int_equal(seen.question.step_class, 0);
    fixture_close(&f);
}

/* Each change of regime once; a regime that nobody knew is planned first; a tick may ask for the next epochs. */
static void test_regimes_and_epochs(void **state)
{
    assert_int_equal(open_with(&every_verb, true), 0);
    nf_buf_clear(&seen.told);
    assert_int_equal(nf_pool_enter(f.pool, REGIME_A), 0);
    assert_int_equal(nf_pool_enter(f.pool, REGIME_A), 0);
    assert_int_equal(nf_pool_enter(f.pool, REGIME_B), 0);
    assert_int_equal(nf_pool_enter(f.pool, REGIME_C), 0);
    told("regime 1100.1\nregime 2200.1\nplan 3300.1\nregime 3300.1\n");
    seen.again = true;
    assert_int_equal(nf_pool_tick(f.pool), 0);
    told("tick 0 ops=0\nplan 2200.2\nplan 1100.2\nplan 3300.2\n");
    seen.again = false;
    assert_int_equal(nf_pool_enter(f.pool, REGIME_A), 0);
    assert_int_equal(nf_pool_tick(f.pool), 0);
    told("regime 1100.2\ntick 1 ops=0\n");
    fixture_close(&f);
}

/* The whole of an op, the batch of its accesses, and the counts at the step's end. */
static void test_ops_and_ticks(void **state)
{
    uint8_t rw[2] = {NF_RW_READ, NF_RW_UPDATE};
    uint32_t both[2];

    assert_int_equal(open_with(&every_verb, false), 0);
    told("plan 0.1\n");
    both[0] = put(2, 0);
    both[1] = put(3, 1);
    assert_int_equal(fixture_op(&f, both, rw, 2), 0);
    told("alloc 2 in 0\nalloc 3 in 0\nop 0 in 0:2,0\naccess 2 0+2 2+3\nend 0\n");
    seen.next = (struct nf_policy_move){f.live[both[0]].handle, 1};
    seen.move = true;
    assert_int_equal(fixture_op(&f, &both[1], rw, 1), 0); /* it moves the other one */
    assert_int_equal(nf_pool_tick(f.pool), 0);
    assert_int_equal(seen.counters.ops, 2);
    assert_int_equal(seen.counters.tier[0].live_bytes, 0);
    assert_int_equal(seen.counters.tier[0].free_bytes, PAGES(NEAR_PAGES));
    assert_int_equal(seen.counters.tier[0].moved_out_bytes, PAGES(2));
    assert_int_equal(seen.counters.tier[1].moved_in_bytes, PAGES(2));
    assert_int_equal(seen.counters.tier[1].live_bytes, PAGES(5));
    assert_true(seen.counters.stall_ns > 0 && seen.counters.policy_ns > 0);
    seen.next.to_tier = 0;
    seen.move = true; /* by the tick itself: counted by the next one */
    assert_int_equal(nf_pool_tick(f.pool), 0);
    assert_int_equal(seen.counters.ticks, 1);
    assert_int_equal(seen.counters.ops + seen.counters.tier[0].moved_in_bytes + seen.counters.tier[0].moved_out_bytes, 0);
    nf_pool_stats_reset(f.pool); /* as after a warm-up */
    memset(f.peak, 0, sizeof f.peak);
    assert_int_equal(nf_pool_tick(f.pool), 0);
    assert_int_equal(seen.counters.tier[0].live_bytes, PAGES(2));
    assert_int_equal(seen.counters.tier[0].moved_in_bytes, 0);
    fixture_check(&f, true);
    fixture_close(&f);
}

/* Told before the birth, and only where near is short; what it moves is gone by then. */
static void test_pressure(void **state)
{
    uint32_t first;

    assert_int_equal(open_with(&every_verb, false), 0);
    nf_buf_clear(&seen.told);
    first = put(NEAR_PAGES - 2, 0);
    put(2, 0);
    told("alloc 6 in 0\nalloc 2 in 0\n");
    seen.next = (struct nf_policy_move){f.live[first].handle, 1};
    seen.move = true;
    put(4, 0);
    told("pressure 0 for 4\nalloc 4 in 0\n");
    assert_int_equal(nf_pool_storage(f.pool, f.live[first].handle)->piece[1].bytes, PAGES(6));
    fixture_close(&f);
}

static void test_explains(void **state)
{
    struct nf_policy_question q = {.what = NF_POLICY_WHY_USED, .handle = 3, .op = 17, .step_class = 1, .number = 4, .near_share = 0.5};
    char text[64];

    assert_int_equal(open_with(&every_verb, true), 0);
    assert_true(nf_pool_explain(f.pool, &q, text, sizeof text));
    assert_string_equal(text, "because of 17");
    assert_memory_equal(&seen.question, &q, sizeof q);
    assert_true(nf_pool_explain(f.pool, &q, text, 5)); /* cut, and ended */
    assert_string_equal(text, "beca");
    fixture_close(&f);
}

/* A verb that fails, fails what called it, in the policy's words and by its name. */
static void test_failures(void **state)
{
    for (int verb = 0; verb < 4; verb++) {
        int rc;

        assert_int_equal(open_with(&every_verb, true), 0);
        seen.fails = verb < 3 ? -EPERM : 0;
        rc = verb == 0 ? nf_pool_enter(f.pool, REGIME_A) : verb == 1 ? nf_pool_enter(f.pool, REGIME_C) : verb == 2 ? nf_pool_tick(f.pool) : 0;
        if (verb == 3) {
            put(NEAR_PAGES, 0);
            seen.fails = -EPERM; /* of the pressure; the birth that follows is void */
            rc = nf_pool_allocate(f.pool, &(struct nf_pool_alloc){.bytes = 1, .number = UINT32_MAX}, &(uint32_t){0});
        }
        assert_int_equal(rc, -EPERM);
        assert_non_null(strstr(nf_error_text(rc), "every-verb"));
        assert_non_null(strstr(nf_error_text(rc), "it was told to"));
        fixture_close(&f);
    }
    for (int verb = 0; verb < 3; verb++) { /* init, load_profile, plan: the pool does not open, and nothing leaks */
        struct nf_policy_ops ops = every_verb;

        nf_buf_clear(&seen.told);
        if (verb == 2) {
            ops.load_profile = NULL;
            ops.capabilities &= ~(uint64_t)NF_POLICY_HAS_LOAD_PROFILE;
        }
        seen.env.fail = nf_fail;
        seen.fails = verb ? 0 : -EPERM;
        if (verb)
            ops.init = init_then_fail;
        assert_int_equal(open_with(&ops, true), -EPERM);
        assert_non_null(strstr(nf_error_text(-EPERM), "every-verb"));
        if (verb)
            assert_non_null(strstr(seen.told.data, "deinit"));
    }
}

#define VERB(t) cmocka_unit_test_setup_teardown(t, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        VERB(test_profile_and_plans), VERB(test_hidden), VERB(test_regimes_and_epochs), VERB(test_ops_and_ticks),
        VERB(test_pressure), VERB(test_explains), VERB(test_failures),
    };

    return cmocka_run_group_tests_name("verbs", tests, NULL, NULL);
}
