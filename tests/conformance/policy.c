/* One suite for every placement policy in the table: whatever a policy decides, capacities hold, storages are where the
 * pool says, payload survives moves, decisions repeat by seed, and nothing is left behind. */
#include "tests/conformance/pool-fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/array.h"
#include "core/base/buf.h"
#include "core/base/error.h"

enum { LAYERS = 12, STEPS = 4, PLENTY = 4096 /* pages */ };

/* --- a step of training in small: parameters carried, activations live from forward to backward --- */

struct job {
    struct nf_step_class c;
    struct nf_profile profile;
    NF_ARRAY(struct nf_op) ops;
    NF_ARRAY(struct nf_visit) visits;
    NF_ARRAY(struct nf_tensor) tensors;
    uint64_t peak_pages;
};

static uint32_t add_tensor(struct job *j, enum nf_role role, uint64_t pages, int32_t birth, int32_t death, int32_t slot)
{
    struct nf_tensor t = {.bytes = pages * NF_PAGE_BYTES - 100, .address = 0x10000000ull + j->tensors.n * 0x1000000ull,
                          .birth = birth, .death = death, .role = (uint8_t)role, .tracked = true,
                          .carry_in = birth == NF_OP_BEFORE ? slot : NF_CARRY_NONE,
                          .carry_out = death == NF_OP_AFTER ? slot : NF_CARRY_NONE};

    assert_int_equal(nf_array_push(&j->tensors, t), 0);
    return (uint32_t)j->tensors.n - 1;
}

static void add_visit(struct job *j, uint32_t tensor, enum nf_rw rw)
{
    uint64_t bytes = j->tensors.v[tensor].bytes;
    struct nf_visit v = {.bytes = bytes, .run = bytes, .stride = bytes, .op = (uint32_t)j->ops.n, .tensor = tensor,
                         .touches_q8 = 256, .rw = (uint8_t)rw};

    assert_int_equal(nf_array_push(&j->visits, v), 0);
}

static void end_op(struct job *j, enum nf_phase phase)
{
    uint32_t first = j->ops.n ? j->ops.v[j->ops.n - 1].first_visit + j->ops.v[j->ops.n - 1].n_visits : 0;
    struct nf_op op = {.phase = (uint8_t)phase, .first_visit = first, .n_visits = (uint32_t)j->visits.n - first,
                       .dur_ns = 1000};

    assert_int_equal(nf_array_push(&j->ops, op), 0);
}

static void job_init(struct job *j)
{
    uint32_t parameter[LAYERS], state[LAYERS], saved[LAYERS], gradient[LAYERS];

    memset(j, 0, sizeof *j);
    for (int32_t i = 0; i < LAYERS; i++) {
        parameter[i] = add_tensor(j, i % 3 ? NF_ROLE_PARAMETER : NF_ROLE_FROZEN, 4 + (uint64_t)i % 5, NF_OP_BEFORE,
                                  NF_OP_AFTER, 2 * i);
        state[i] = add_tensor(j, NF_ROLE_OPTIMIZER, 8, NF_OP_BEFORE, NF_OP_AFTER, 2 * i + 1);
        saved[i] = add_tensor(j, i % 4 ? NF_ROLE_SAVED : NF_ROLE_CHECKPOINT, 10 + (uint64_t)i % 7, i,
                              2 * LAYERS - 1 - i, NF_CARRY_NONE);
    }
    for (int32_t i = 0; i < LAYERS; i++) {
        add_visit(j, parameter[i], NF_RW_READ);
        if (i)
            add_visit(j, saved[i - 1], NF_RW_READ);
        add_visit(j, saved[i], NF_RW_WRITE);
        end_op(j, NF_PHASE_FORWARD);
    }
    for (int32_t i = LAYERS - 1; i >= 0; i--) {
        int32_t op = (int32_t)j->ops.n;
        uint32_t temporary = add_tensor(j, NF_ROLE_BACKWARD_TEMP, 6, op, op, NF_CARRY_NONE);

        gradient[i] = add_tensor(j, NF_ROLE_GRADIENT, 4, op, 2 * LAYERS + i, NF_CARRY_NONE);
        add_visit(j, parameter[i], NF_RW_READ);
        add_visit(j, saved[i], NF_RW_READ);
        add_visit(j, temporary, NF_RW_UPDATE);
        add_visit(j, gradient[i], NF_RW_WRITE);
        end_op(j, NF_PHASE_BACKWARD);
    }
    for (int32_t i = 0; i < LAYERS; i++) {
        add_visit(j, parameter[i], NF_RW_UPDATE);
        add_visit(j, state[i], NF_RW_UPDATE);
        add_visit(j, gradient[i], NF_RW_READ);
        end_op(j, NF_PHASE_OPTIMIZER);
    }
    j->c = (struct nf_step_class){.ops = j->ops.v, .visits = j->visits.v, .tensors = j->tensors.v,
                                  .n_ops = (uint32_t)j->ops.n, .n_visits = (uint32_t)j->visits.n,
                                  .n_tensors = (uint32_t)j->tensors.n};
    assert_int_equal(nf_step_class_peak(&j->c, &j->c.peak_live_bytes), 0);
    j->peak_pages = j->c.peak_live_bytes / NF_PAGE_BYTES;
    assert_int_equal(nf_profile_init(&j->profile, &j->c, 0, 0), 0);
}

static void job_deinit(struct job *j)
{
    nf_profile_deinit(&j->profile);
    nf_array_free(&j->ops);
    nf_array_free(&j->visits);
    nf_array_free(&j->tensors);
}

static uint32_t live_index(const struct fixture *f, uint32_t handle)
{
    for (uint32_t i = 0; i < f->n_live; i++)
        if (f->live[i].handle == handle)
            return i;
    fail_msg("storage %u is not live", handle);
    return 0;
}

static int job_allocate(struct job *j, struct fixture *f, uint32_t number, uint32_t op, uint32_t *handle)
{
    const struct nf_tensor *t = &j->c.tensors[number];
    struct nf_pool_alloc a = {.bytes = t->bytes, .address = t->address, .op = op, .number = number, .role = t->role};
    uint32_t index;
    int rc = fixture_allocate(f, &a, &index);

    if (!rc)
        handle[number] = f->live[index].handle;
    return rc;
}

/* Steps of the job; extra: a storage no profile knows about stays alive in every step. */
static int job_run(struct job *j, struct fixture *f, bool extra)
{
    uint32_t handle[256], index[8];
    uint8_t rw[8];
    int rc = 0;

    assert_true(j->c.n_tensors <= 256);
    for (uint32_t i = 0; i < j->c.n_tensors && !rc; i++)
        if (j->c.tensors[i].birth == NF_OP_BEFORE)
            rc = job_allocate(j, f, i, 0, handle);
    for (int step = 0; step < STEPS && !rc; step++) {
        uint32_t unknown = UINT32_MAX;

        if (extra) {
            struct nf_pool_alloc a = {.bytes = 7 * NF_PAGE_BYTES, .number = UINT32_MAX};

            rc = fixture_allocate(f, &a, &unknown);
            if (rc)
                return rc;
            unknown = f->live[unknown].handle;
        }
        for (uint32_t op = 0; op < j->c.n_ops && !rc; op++) {
            const struct nf_op *o = &j->c.ops[op];

            nf_pool_enter(f->pool, nf_regime_pack(&(struct nf_regime_parts){.job = 1, .phase = o->phase}));
            for (uint32_t i = 0; i < j->c.n_tensors && !rc; i++)
                if (j->c.tensors[i].birth == (int32_t)op)
                    rc = job_allocate(j, f, i, op, handle);
            if (rc)
                break;
            for (uint32_t v = 0; v < o->n_visits; v++) {
                index[v] = live_index(f, handle[j->c.visits[o->first_visit + v].tensor]);
                rw[v] = j->c.visits[o->first_visit + v].rw;
            }
            rc = fixture_op(f, index, rw, o->n_visits);
            for (uint32_t i = 0; i < j->c.n_tensors && !rc; i++)
                if (j->c.tensors[i].death == (int32_t)op)
                    fixture_free(f, live_index(f, handle[i]));
        }
        if (extra && !rc)
            fixture_free(f, live_index(f, unknown));
    }
    return rc;
}

/* --- random workloads --- */

/* may_run_out: going on after -ENOSPC is part of the test; otherwise it is what comes back. */
static int random_run(struct fixture *f, uint64_t seed, unsigned actions, uint64_t live_pages_max, bool may_run_out)
{
    struct nf_rng r = {seed};
    uint64_t live_pages = 0;

    for (unsigned n = 0; n < actions; n++) {
        unsigned dice = (unsigned)nf_rng_below(&r, 10);

        if (n % 32 == 0)
            fixture_check(f, true);
        if (dice < 4) {
            /* Mostly small, sometimes larger than any near tier here, sometimes nothing at all. */
            uint64_t pages = nf_rng_below(&r, nf_rng_below(&r, 8) ? 12 : 80);
            struct nf_pool_alloc a = {.bytes = pages ? pages * NF_PAGE_BYTES - nf_rng_below(&r, NF_PAGE_BYTES) : 0,
                                      .address = 0x1000 * nf_rng_below(&r, 64), .op = f->next_op,
                                      .number = UINT32_MAX, .role = (enum nf_role)nf_rng_below(&r, NF_ROLE_COUNT)};
            uint32_t index;
            int rc;

            if (live_pages + pages > live_pages_max)
                continue;
            rc = fixture_allocate(f, &a, &index);
            if (rc == -ENOSPC && may_run_out)
                continue;
            if (rc)
                return rc;
            live_pages += pages;
        } else if (dice < 6 && f->n_live) {
            uint32_t index = (uint32_t)nf_rng_below(&r, f->n_live);

            live_pages -= f->live[index].bytes / NF_PAGE_BYTES;
            fixture_free(f, index);
        } else if (f->n_live) {
            uint32_t index[8], first = (uint32_t)nf_rng_below(&r, f->n_live);
            size_t operands = 1 + nf_rng_below(&r, f->n_live < 4 ? f->n_live : 4);
            uint8_t rw[8];
            int rc;

            for (size_t i = 0; i < operands; i++) {
                index[i] = (first + (uint32_t)i) % f->n_live;
                rw[i] = (uint8_t)nf_rng_below(&r, NF_RW_COUNT);
            }
            rc = fixture_op(f, index, rw, operands);
            if (rc)
                return rc;
        }
    }
    return 0;
}

/* --- the tests; the state of each is the policy --- */

/* A policy that loops is named, and the others' results are not waited for in vain: the slowest test takes 2 s, 10 under a sanitizer. */
enum { LIMIT_S = 60 };
static const char *running = "";

static void out_of_time(int signal)
{
    static const char text[] = ": this policy does not end\n";

    (void)!write(STDERR_FILENO, running, strlen(running));
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(1);
}

static const struct nf_policy_ops *policy_of(void **state)
{
    const struct nf_policy_ops *p = *state;

    running = p->name;
    signal(SIGALRM, out_of_time);
    alarm(LIMIT_S);
    return p;
}

/* trace writes, and wraps something that moves. */
static const char *options_of(const struct nf_policy_ops *p)
{
    static const struct {
        const char *policy, *options;
    } special[] = {
        {"trace", "inner=lru,file=/dev/null"},
        /* Storages here are of a few pages, and a test of a few hundred ops. */
        {"hemem", "page=4K,period=16,unmap-ns=10"},
        {"colloid", "page=4K,period=16,unmap-ns=10"},
        {"memtis", "page=8K,period=4,speed=1000,unmap-ns=10"},
        {"tpp", "watermark=10,speed=100,fault-ns=10,unmap-ns=10"},
        {"nbt", "watermark=10,speed=100,fault-ns=10,unmap-ns=10"},
    };

    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (!strcmp(p->name, special[i].policy))
            return special[i].options;
    return "";
}

static bool needs_room_near(const struct nf_policy_ops *p)
{
    return !strcmp(p->name, "all-near");
}

static void test_declares(void **state)
{
    const struct nf_policy_ops *p = policy_of(state);
    struct nf_policy_ops filled;
    char text[128], why[128] = "";

    assert_int_equal(nf_policy_check(p, &filled), 0);
    assert_non_null(filled.probe);
    assert_non_null(filled.on_op);
    assert_non_null(filled.on_op_end);
    assert_non_null(filled.on_free);
    assert_true(strlen(p->about) > 0);
    assert_ptr_equal(nf_policy_find(p->name), p);
    assert_true(filled.probe(why, sizeof why) == 0 || p->semantics.mover == NF_MOVER_KERNEL);
    assert_true(strlen(why) > 0);
    assert_true(!p->source || strlen(p->source) > 3);
    assert_ptr_equal(nf_policy_semantics_text(&p->semantics, text, sizeof text), text);
    assert_true(strlen(text) > 10);
    for (const struct nf_option *o = p->options; o && o->name; o++)
        assert_true(o->about && o->offset < p->options_size);
}

static void test_random(void **state)
{
    static const uint64_t capacities[][4] = {
        /* tiers, then pages each */
        {1, PLENTY}, {2, 0, PLENTY}, {2, 1, PLENTY}, {2, 7, PLENTY}, {2, 40, PLENTY}, {2, 200, PLENTY},
        {2, PLENTY, PLENTY}, {3, 10, 20, PLENTY}, {3, 40, 0, PLENTY}, {3, 0, 100, PLENTY},
    };
    const struct nf_policy_ops *p = policy_of(state);

    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++)
        for (uint64_t seed = 1; seed <= 3; seed++) {
            struct fixture f;

            assert_int_equal(fixture_open(&f, p, options_of(p), (uint32_t)capacities[i][0], capacities[i] + 1, NULL, 0,
                                          seed), 0);
            assert_int_equal(random_run(&f, seed * 977 + i, 600, 400, needs_room_near(p)), 0);
            /* A plan of moves has none for what it was never told of; what is traced plans none. */
            if (p->semantics.mover != NF_MOVER_NONE && (!p->semantics.sees_future || !strcmp(p->name, "trace")) &&
                capacities[i][0] > 1 && capacities[i][1] > 10)
                assert_true(f.moves_seen > 20 || capacities[i][1] > 400);
            fixture_close(&f);
        }
}

/* Every tier is short: running out is allowed, breaking a rule is not. */
static void test_tight(void **state)
{
    const struct nf_policy_ops *p = policy_of(state);

    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct nf_rng r = {seed};
        uint64_t capacity[3] = {nf_rng_below(&r, 60), nf_rng_below(&r, 60), nf_rng_below(&r, 60)};
        struct fixture f;

        assert_int_equal(fixture_open(&f, p, options_of(p), 2 + seed % 2, capacity, NULL, 0, seed), 0);
        assert_int_equal(random_run(&f, seed, 600, UINT64_MAX / 2, true), 0);
        fixture_close(&f);
    }
}

static void test_job(void **state)
{
    static const unsigned near_percent[] = {0, 1, 5, 10, 20, 30, 50, 75, 90, 100};
    const struct nf_policy_ops *p = policy_of(state);
    uint64_t moves = 0;
    struct job j;

    job_init(&j);
    for (size_t i = 0; i < sizeof near_percent / sizeof *near_percent; i++)
        for (uint32_t n_tiers = 2; n_tiers <= 3; n_tiers++)
            for (int extra = 0; extra < 2; extra++) {
                uint64_t near = j.peak_pages * near_percent[i] / 100;
                uint64_t capacity[3] = {near, n_tiers == 2 ? PLENTY : near / 2 + 1, PLENTY};
                struct fixture f;
                int rc;

                assert_int_equal(fixture_open(&f, p, options_of(p), n_tiers, capacity, &j.profile, 1, 1), 0);
                rc = job_run(&j, &f, extra);
                /* Only all-near may say that near is too small, and it must. */
                assert_int_equal(rc, needs_room_near(p) && near < j.peak_pages + 7 * (uint64_t)extra ? -ENOSPC : 0);
                moves += f.moves_seen;
                fixture_close(&f);
            }
    if (p->semantics.mover == NF_MOVER_NONE)
        assert_int_equal(moves, 0);
    else if (strcmp(p->name, "trace"))
        assert_true(moves > 20);
    job_deinit(&j);
}

static void read_trace(const struct nf_policy_ops *p, struct job *j, const char *path, struct nf_buf *text)
{
    uint64_t capacity[3] = {j->peak_pages / 4, 30, PLENTY};
    struct fixture f;
    char inner[128], options[256];

    nf_buf_clear(text);
    snprintf(inner, sizeof inner, "%s", options_of(p));
    for (char *c = inner; *c; c++)
        *c = *c == ',' ? ';' : *c;
    snprintf(options, sizeof options, "inner=%s,file=%s%s%s", p->name, path, *inner ? ",inner-options=" : "", inner);
    assert_int_equal(fixture_open(&f, nf_policy_find("trace"), options, 3, capacity, &j->profile, 1, 42), 0);
    if (job_run(j, &f, true) == 0)
        assert_int_equal(random_run(&f, 42, 500, 300, true), 0);
    fixture_close(&f);
    assert_int_equal(nf_buf_read_file(text, path, 64 << 20), 0);
}

static void test_repeats(void **state)
{
    const struct nf_policy_ops *p = policy_of(state);
    struct nf_buf first = {0}, second = {0};
    char path[] = "/tmp/nearfar-trace-XXXXXX";
    struct job j;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    close(fd);
    job_init(&j);
    read_trace(p, &j, path, &first);
    read_trace(p, &j, path, &second);
    assert_true(first.n > 100);
    assert_string_equal(first.data, second.data);
    nf_buf_deinit(&first);
    nf_buf_deinit(&second);
    job_deinit(&j);
    unlink(path);
}

static void test_options(void **state)
{
    const struct nf_policy_ops *p = policy_of(state);
    uint64_t capacity[2] = {10, 10};
    struct fixture f;

    assert_int_equal(fixture_open(&f, p, "no-such-option=1", 2, capacity, NULL, 0, 1), -EINVAL);
    assert_non_null(strstr(nf_error_text(-EINVAL), p->name));
    assert_null(f.witness[0].memory);
}

/* Numbers that no rule was written for: refused in words, or worked with by every rule of the pool. */
static void test_extremes(void **state)
{
    static const char *const ends[] = {"0", "-1", "1e-300", "1e-4", "1e300", "nan", "inf", "18446744073709551615"};
    const struct nf_policy_ops *p = policy_of(state);
    uint64_t capacity[2] = {40, PLENTY};

    for (const struct nf_option *o = p->options; o && o->name; o++) {
        if (o->kind != NF_OPTION_F64 && o->kind != NF_OPTION_U64 && o->kind != NF_OPTION_BYTES)
            continue;
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
            struct fixture f;
            char options[160];
            int rc;

            snprintf(options, sizeof options, "%s%s%s=%s", options_of(p), *options_of(p) ? "," : "", o->name, ends[i]);
            rc = fixture_open(&f, p, options, 2, capacity, NULL, 0, 5);
            if (rc) {
                assert_int_equal(rc, -EINVAL);
                assert_true(strlen(nf_error_text(-EINVAL)) > 10);
                continue;
            }
            assert_int_equal(random_run(&f, 11, 100, 400, true), 0);
            fixture_close(&f);
        }
    }
}

/* --- how moves are made: policies that move, with every mover that can work anywhere --- */

static const struct {
    const char *policy, *how;
    int mover, sync;
} movers[] = {
    {"lru", "copied by a helper", NF_MOVER_COPY, NF_SYNC_HELPER},
    {"lru", "migrated inline", NF_MOVER_MOVE_PAGES, NF_SYNC_INLINE},
    {"lru", "migrated by a helper", NF_MOVER_MOVE_PAGES, NF_SYNC_HELPER},
    {"s3-fifo", "copied by a helper", NF_MOVER_COPY, NF_SYNC_HELPER},
    {"promote", "copied inline", NF_MOVER_COPY, NF_SYNC_INLINE},
    {"promote", "migrated inline", NF_MOVER_MOVE_PAGES, NF_SYNC_INLINE},
    {"promote", "migrated by a helper", NF_MOVER_MOVE_PAGES, NF_SYNC_HELPER},
};

/* A policy's rule, its moves made otherwise. */
static struct nf_policy_ops moved_by(size_t i)
{
    struct nf_policy_ops ops = *nf_policy_find(movers[i].policy);

    ops.semantics.mover = movers[i].mover;
    ops.semantics.sync = movers[i].sync;
    return ops;
}

/* What inline and beside the ops, copied and in place is decided, moves and ends alike: where it does not depend on how
 * fast moves are. */
static void test_movers_agree(void **state)
{
    uint64_t moves[sizeof movers / sizeof *movers];
    struct job j;

    job_init(&j);
    for (size_t i = 0; i < sizeof movers / sizeof *movers; i++) {
        struct nf_policy_ops ops = moved_by(i);
        uint64_t capacity[2] = {j.peak_pages / 2, PLENTY};
        struct nf_pool_stats stats;
        struct fixture f;

        assert_int_equal(fixture_open(&f, &ops, "", 2, capacity, &j.profile, 1, 1), 0);
        assert_int_equal(job_run(&j, &f, false), 0);
        assert_int_equal(nf_pool_settle(f.pool), 0);
        nf_pool_stats(f.pool, &stats);
        moves[i] = stats.moves;
        assert_true(moves[i] > 10);
        fixture_close(&f);
    }
    assert_int_equal(moves[5], moves[4]);
    assert_true(moves[6] <= moves[4]); /* an op may free what is on its way */
    job_deinit(&j);
}

/* --- not per policy --- */

static void test_find_lists(void **state)
{
    assert_null(nf_policy_find("no-such"));
    for (const struct nf_policy_ops *const *p = nf_policies; *p; p++)
        assert_non_null(strstr(nf_error_text(-EINVAL), (*p)->name));
    assert_null(nf_policy_find("./no-such.so"));
    assert_non_null(strstr(nf_error_text(-EINVAL), "no-such.so"));
}

static void test_order(void **state)
{
    static const char *const names[] = {"all-near", "all-far", "near-first", "first-touch", "interleave",
                                        "weighted", "random", "lru", "lru-drop", "clock", "gdsf", "s3-fifo",
                                        "promote", "hemem", "memtis", "tpp", "nbt", "colloid", "kernel", "class", "lifetime-density", "recompute", "soar", "sentinel", "g10", "tiertrain", "regime-plan", "gap-greedy", "gap-recompute", "interval-lp",
                                        "latency-first", "trace"};
    size_t n = 0;

    while (nf_policies[n]) {
        assert_true(n < sizeof names / sizeof *names);
        assert_string_equal(nf_policies[n]->name, names[n]);
        n++;
    }
    assert_int_equal(n, sizeof names / sizeof *names);
}

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(void **);
    } each[] = {
        {"declares itself", test_declares}, {"random workloads", test_random}, {"short of everything", test_tight},
        {"a job at many near shares", test_job}, {"same seed, same decisions", test_repeats},
        {"refuses unknown options", test_options}, {"options at their ends", test_extremes},
    };
    enum { EACH = sizeof each / sizeof *each, POLICIES_MAX = 64, MOVERS = sizeof movers / sizeof *movers };
    char why[256];
    static struct CMUnitTest tests[EACH * (POLICIES_MAX + MOVERS) + 3];
    static char names[EACH * (POLICIES_MAX + MOVERS)][96];
    static struct nf_policy_ops moved[MOVERS];
    size_t n = 0;

    for (size_t p = 0; nf_policies[p] && p < POLICIES_MAX; p++)
        for (size_t t = 0; t < EACH; t++) {
            /* What cannot run here is still declared. */
            if (nf_policies[p]->probe && nf_policies[p]->probe(why, sizeof why) && each[t].run != test_declares)
                continue;
            snprintf(names[n], sizeof names[n], "%s: %s", nf_policies[p]->name, each[t].name);
            tests[n] = (struct CMUnitTest){.name = names[n], .test_func = each[t].run,
                                           .initial_state = (void *)nf_policies[p]};
            n++;
        }
    for (size_t m = 0; m < MOVERS; m++) {
        moved[m] = moved_by(m);
        for (size_t t = 0; t < EACH; t++) {
            if (each[t].run != test_random && each[t].run != test_tight && each[t].run != test_job)
                continue;
            snprintf(names[n], sizeof names[n], "%s, %s: %s", movers[m].policy, movers[m].how, each[t].name);
            tests[n] = (struct CMUnitTest){.name = names[n], .test_func = each[t].run, .initial_state = &moved[m]};
            n++;
        }
    }
    tests[n++] = (struct CMUnitTest){.name = "movers agree", .test_func = test_movers_agree};
    tests[n++] = (struct CMUnitTest){.name = "an unknown name lists all", .test_func = test_find_lists};
    tests[n++] = (struct CMUnitTest){.name = "the table's order", .test_func = test_order};
    return _cmocka_run_group_tests("policies", tests, n, NULL, NULL);
}
