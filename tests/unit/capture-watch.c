/* Watchpoints without the hardware: which words are drawn, what the budget allows, which reports are one access, and what a
 * watch becomes in the study. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "capture/classes.h"
#include "capture/source.h"
#include "capture/watch-budget.h"
#include "capture/watch-draw.h"
#include "capture/watch-hits.h"
#include "capture/watches.h"
#include "core/base/error.h"
#include "core/store/records.h"
#include "core/store/watches.h"
#include "tests/unit/capture-events.h"

/* --- the draw --- */

enum { STORAGES = 4, DRAWS = 40000 };
/* The third is too small, the fourth begins and ends off a word. */
static const uint64_t storages[STORAGES][2] = {{0x10000, 4096}, {0x20000, 12288}, {0x30000, 2048}, {0x40004, 8200}};

static void live_storages(struct nf_storage_map *map)
{
    for (unsigned i = 0; i < STORAGES; i++)
        assert_int_equal(nf_storage_map_add(map, nf_storage_new(storages[i][0], storages[i][1])), 0);
}

static void free_storages(struct nf_storage_map *map)
{
    for (size_t i = 0; i < map->live.n; i++)
        nf_storage_free(map->live.v[i]);
    nf_array_free(&map->live);
    nf_array_free(&map->starts);
}

static unsigned storage_of(const struct nf_watch_word *w)
{
    for (unsigned i = 0; i < STORAGES; i++) {
        if (w->storage != storages[i][0])
            continue;
        assert_int_equal(w->bytes, storages[i][1]);
        assert_int_equal(w->address % 8, 0);
        assert_true(w->address >= storages[i][0] && w->address + 8 <= storages[i][0] + storages[i][1]);
        return i;
    }
    fail_msg("a word of no storage: 0x%llx", (unsigned long long)w->address);
    return 0;
}

static void check_shares(bool by_tensor, const double *want)
{
    struct nf_watch_draw_options o = {.min_bytes = 4096, .by_tensor = by_tensor};
    struct nf_storage_map map = {0};
    unsigned counts[STORAGES] = {0}, halves[2] = {0};
    struct nf_rng rng = {3};

    live_storages(&map);
    for (unsigned i = 0; i < DRAWS; i++) {
        struct nf_watch_word w[2];

        assert_int_equal(nf_watch_draw(&rng, &o, &map, w, 2), 2);
        assert_int_not_equal(w[0].address, w[1].address);
        counts[storage_of(&w[0])]++;
        if (w[0].storage == storages[1][0])
            halves[w[0].address >= storages[1][0] + storages[1][1] / 2]++;
    }
    for (unsigned i = 0; i < STORAGES; i++)
        assert_true(counts[i] / (double)DRAWS > want[i] - 0.015 && counts[i] / (double)DRAWS < want[i] + 0.015);
    assert_true(halves[0] > 0.46 * (halves[0] + halves[1]) && halves[0] < 0.54 * (halves[0] + halves[1]));
    free_storages(&map);
}

static void test_draw_by_bytes(void **state)
{
    static const double want[STORAGES] = {512 / 3073.0, 1536 / 3073.0, 0, 1025 / 3073.0};

    check_shares(false, want);
}

static void test_draw_by_tensors(void **state)
{
    static const double want[STORAGES] = {1 / 3.0, 1 / 3.0, 0, 1 / 3.0};

    check_shares(true, want);
}

static void test_draw_seed(void **state)
{
    struct nf_watch_draw_options o = {.min_bytes = 4096};
    struct nf_storage_map map = {0};
    struct nf_rng a = {5}, b = {5}, c = {6};
    unsigned same = 0;

    live_storages(&map);
    for (unsigned i = 0; i < 100; i++) {
        struct nf_watch_word x[2], y[2], z[2];

        nf_watch_draw(&a, &o, &map, x, 2);
        nf_watch_draw(&b, &o, &map, y, 2);
        nf_watch_draw(&c, &o, &map, z, 2);
        assert_memory_equal(x, y, sizeof x);
        same += x[0].address == z[0].address;
    }
    assert_true(same < 5);
    free_storages(&map);
}

static void test_draw_little(void **state)
{
    struct nf_watch_draw_options o = {.min_bytes = 8};
    struct nf_storage_map map = {0};
    struct nf_watch_word w[2];
    struct nf_rng rng = {1};

    assert_int_equal(nf_watch_draw(&rng, &o, &map, w, 2), 0);
    assert_int_equal(nf_storage_map_add(&map, nf_storage_new(0x1001, 14)), 0); /* no whole word */
    assert_int_equal(nf_watch_draw(&rng, &o, &map, w, 2), 0);
    assert_int_equal(nf_storage_map_add(&map, nf_storage_new(0x2000, 8)), 0);
    assert_int_equal(nf_watch_draw(&rng, &o, &map, w, 2), 1);
    assert_int_equal(w[0].address, 0x2000);
    free_storages(&map);
}

/* --- the budget --- */

static const struct nf_watch_costs costs = {.read_ns = 10000, .write_ns = 20000, .move_ns = 1000};

static void test_budget(void **state)
{
    struct nf_watch_budget b;

    /* 5 % of 0.1 s: 5 ms a draw, 125 dear hits for each of two words. */
    nf_watch_budget_init(&b, 0.05, &costs, 1e8);
    assert_int_equal(nf_watch_budget_allowance(&b, 2), 0);
    assert_int_equal(b.denied, 1);
    nf_watch_budget_earn(&b, 100000000);
    assert_int_equal(nf_watch_budget_allowance(&b, 2), 125);
    nf_watch_budget_spend(&b, 100, 50, 4);
    assert_true(b.spent_ns == 100 * 10000 + 50 * 20000 + 4 * 1000);
    assert_int_equal(nf_watch_budget_allowance(&b, 2), 0);
    /* The clock does not go back. */
    nf_watch_budget_earn(&b, 50000000);
    assert_int_equal(nf_watch_budget_allowance(&b, 2), 0);
    nf_watch_budget_earn(&b, 140080000);
    assert_int_equal(nf_watch_budget_allowance(&b, 2), 125);
    /* Years of idleness buy one second's worth. */
    nf_watch_budget_earn(&b, 1000000000000);
    assert_true(b.credit_ns == 0.05 * 1e9);
    /* Debt is paid back first. */
    nf_watch_budget_spend(&b, 0, 10000, 0);
    assert_true(b.credit_ns < 0);
    assert_int_equal(nf_watch_budget_allowance(&b, 1), 0);
}

/* A job whose every word is hit as often as allowed: the share is kept in the long run, to a draw. */
static void test_budget_holds(void **state)
{
    struct nf_watch_budget b;
    uint64_t cpu_ns = 0, hits = 0;

    nf_watch_budget_init(&b, 0.05, &costs, 1e8);
    for (unsigned draw = 0; draw < 1000; draw++) {
        uint64_t limit;

        cpu_ns += 100000000;
        nf_watch_budget_earn(&b, cpu_ns);
        limit = nf_watch_budget_allowance(&b, 2);
        nf_watch_budget_spend(&b, 0, 2 * limit, limit ? 2 : 0);
        hits += 2 * limit;
    }
    assert_true(b.spent_ns <= 0.05 * (double)cpu_ns + 5e6);
    assert_true(b.spent_ns >= 0.045 * (double)cpu_ns);
    assert_true(hits > 200000);
}

/* --- which reports are one access --- */

static struct nf_watch_hit hit(uint64_t time_ns, int write_only, unsigned slot, uint32_t tid, uint64_t ip)
{
    return (struct nf_watch_hit){.time_ns = time_ns, .ip = ip, .tid = tid, .slot = (uint8_t)slot,
                                 .write_only = (uint8_t)write_only};
}

static void test_pairs(void **state)
{
    struct nf_watch_hit h[] = {
        hit(1000, 0, 0, 1, 0x10),                            /* read */
        hit(20000, 0, 0, 1, 0x20), hit(20300, 1, 0, 1, 0x20), /* write, either order */
        hit(40000, 1, 0, 1, 0x20), hit(40300, 0, 0, 1, 0x20),
        hit(60000, 0, 0, 1, 0x10), /* read */
    };

    assert_int_equal(nf_watch_pair(h, 6), 0);
    assert_int_equal(h[0].rw, NF_RW_READ);
    assert_int_equal(h[1].rw, NF_RW_WRITE);
    assert_int_equal(h[2].rw, NF_WATCH_HALF);
    assert_int_equal(h[3].rw, NF_WATCH_HALF);
    assert_int_equal(h[4].rw, NF_RW_WRITE);
    assert_int_equal(h[5].rw, NF_RW_READ);
    assert_int_equal(h[1].with, 2);
    assert_int_equal(h[2].with, 1);
    assert_int_equal(h[0].with, UINT32_MAX);
}

/* Another word, another thread, another instruction: no pair. */
static void test_no_pairs(void **state)
{
    struct nf_watch_hit h[] = {
        hit(1000, 0, 0, 1, 0x10), hit(1100, 1, 1, 1, 0x10),
        hit(9000, 0, 0, 2, 0x10), hit(9100, 1, 0, 3, 0x10),
        hit(20000, 0, 0, 4, 0x10), hit(20100, 1, 0, 4, 0x18),
    };

    assert_int_equal(nf_watch_pair(h, 6), 3);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(h[i].rw, i % 2 ? NF_RW_WRITE : NF_RW_READ);
}

/* One instruction writes again and again: each report finds its own half, also when other threads' lie between, and also
 * when the machine lost its core for long within one trap. */
static void test_dense_pairs(void **state)
{
    struct nf_watch_hit h[400];
    size_t n = 0, writes = 0;

    for (unsigned i = 0; i < 100; i++) {
        uint64_t late = i % 10 ? 300 : 5000000;

        h[n++] = hit(i * 20000000ull, i % 2, 0, 1, 0x10);
        h[n++] = hit(i * 20000000ull + 100, 0, 0, 2, 0x10);
        h[n++] = hit(i * 20000000ull + 200, 0, 1, 1, 0x10);
        h[n++] = hit(i * 20000000ull + late, !(i % 2), 0, 1, 0x10);
    }
    assert_int_equal(nf_watch_pair(h, n), 0);
    for (size_t i = 0; i < n; i++) {
        writes += h[i].rw == NF_RW_WRITE;
        if (h[i].tid == 2 || h[i].slot == 1)
            assert_int_equal(h[i].rw, NF_RW_READ);
    }
    assert_int_equal(writes, 100);
}

/* A read right before a write by the same instruction, as a copy within a tensor has it. */
static void test_read_then_write(void **state)
{
    struct nf_watch_hit h[] = {hit(1000, 0, 0, 1, 0x10), hit(17000, 1, 0, 1, 0x10), hit(17400, 0, 0, 1, 0x10)};

    assert_int_equal(nf_watch_pair(h, 3), 0);
    assert_int_equal(h[0].rw, NF_RW_READ);
    assert_int_equal(h[1].rw, NF_WATCH_HALF);
    assert_int_equal(h[2].rw, NF_RW_WRITE);
}

/* One trap in a dense row was interrupted for longer than the next one takes: its second half lies nearer to that one. */
static void test_late_half(void **state)
{
    struct nf_watch_hit h[40];
    size_t n = 0;

    for (unsigned i = 0; i < 20; i++) {
        uint64_t from = i * 20000ull + (i > 5 ? 40000 : 0);

        h[n++] = hit(from, 0, 0, 1, 0x10);
        h[n++] = hit(i == 5 ? from + 55000 : from + 300, 1, 0, 1, 0x10);
    }
    assert_int_equal(nf_watch_pair(h, n), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(h[i].rw, i % 2 ? NF_WATCH_HALF : NF_RW_WRITE);
}

/* --- from a watch to the study --- */

enum { A = 0x10000, B = 0x20000, SIZE = 4096 };

struct stored {
    struct nf_study *study;
    struct nf_classes *classes;
    struct nf_watches *watches;
    struct events events;
    int64_t capture;
};

static char path[] = "/tmp/nearfar-watch-XXXXXX";

static int64_t run_sql(struct nf_study *s, const char *sql, int64_t a)
{
    struct nf_query *q;

    assert_int_equal(nf_study_query(s, sql, &q), 0);
    nf_query_bind_i64(q, 1, a);
    assert_int_equal(nf_query_run(q), 0);
    return nf_study_last_id(s);
}

static int on_step(void *context, const struct nf_step *step)
{
    struct stored *f = context;
    int64_t class_id = nf_classes_put(f->classes, f->events.reduce, step, 0);

    assert_true(class_id > 0);
    return nf_watches_step(f->watches, step, class_id, f->events.now);
}

static void sample(struct stored *f, uint16_t event, uint64_t address, uint32_t number, uint16_t why, uint8_t rw)
{
    struct nf_sample s = {.time_ns = f->events.now, .address = address, .weight = number, .weight2 = why, .weight3 = 1,
                          .event = event, .rw = rw};

    assert_int_equal(nf_watches_sample(f->watches, &s, nf_reduce_live(f->events.reduce)), 0);
}

static void after(struct stored *f, uint8_t kind, uint64_t address)
{
    struct nf_event e = {.time_ns = f->events.now, .kind = kind, .address = address};

    assert_int_equal(nf_watches_event(f->watches, &e, nf_reduce_live(f->events.reduce)), 0);
}

static int64_t ask(struct stored *f, const char *sql)
{
    struct nf_query *q;
    int64_t v;

    assert_int_equal(nf_study_query_text(f->study, sql, &q), 0);
    assert_int_equal(nf_query_step(q), 1);
    v = nf_query_i64(q, 0);
    nf_query_done(q);
    return v;
}

static void begin(struct stored *f)
{
    int fd = mkstemp(path);
    int64_t machine, invocation, pass, observation;

    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    memset(f, 0, sizeof *f);
    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &f->study), 0);
    assert_int_equal(nf_study_begin(f->study), 0);
    machine = nf_record_machine(f->study);
    assert_true(machine > 0);
    assert_int_equal(nf_study_commit(f->study), 0);
    invocation = nf_record_invocation(f->study, 1, (char *[]){"test", NULL});
    assert_true(invocation > 0);
    assert_int_equal(nf_study_begin(f->study), 0);
    f->capture = run_sql(f->study, "INSERT INTO capture(invocation_id, job, job_number) VALUES(?1, '[]', 1)", invocation);
    pass = run_sql(f->study, "INSERT INTO pass(capture_id, kind, source, access_evidence) VALUES(?1, 3, 'framework', 1)",
                   f->capture);
    observation = run_sql(f->study, "INSERT INTO observation(pass_id, source, evidence, validated, resolution_bytes, "
                                    "boundary_ops, rw) VALUES(?1, 'watchpoint', 4, 1, 8, 0, 'observed')", pass);
    f->classes = nf_classes_new(f->study, f->capture, 1);
    f->watches = nf_watches_new(f->study, observation, 17000);
    assert_non_null(f->classes);
    assert_non_null(f->watches);
    events_init(&f->events, 1);
    f->events.also = on_step;
    f->events.context = f;
}

static void end(struct stored *f)
{
    assert_int_equal(nf_watches_end(f->watches), 0);
    assert_int_equal(nf_study_commit(f->study), 0);
}

static void discard(struct stored *f)
{
    f->watches = nf_watches_free(f->watches);
    f->classes = nf_classes_free(f->classes);
    events_deinit(&f->events);
    nf_study_close(f->study);
    unlink(path);
    memcpy(path + strlen(path) - 6, "XXXXXX", 6);
}

/* One word watched over two steps, one whose storage is freed and its address given to another, one over nothing. */
static void test_stored(void **state)
{
    struct stored f;
    uint32_t op;

    begin(&f);
    op = ev_text(&f.events, "aten::mm");
    f.events.now = 1000;
    ev_alloc(&f.events, A, SIZE);
    ev_mark(&f.events, NF_MARK_TRAINING_BEGINS, f.events.now, 0);
    for (unsigned step = 0; step < 2; step++) {
        ev_alloc(&f.events, B, SIZE);
        f.events.now += 1000;
        ev_op(&f.events, op, NF_PHASE_FORWARD, 0);
        ev_visit(&f.events, A, SIZE, NF_RW_READ);
        ev_visit(&f.events, B, SIZE, NF_RW_WRITE);
        if (!step) {
            sample(&f, NF_SOURCE_WATCH_ARMED, A + 64, 0, 0, 0);
            sample(&f, NF_SOURCE_WATCH_ARMED, B + 8, 1, 0, 0);
            sample(&f, NF_SOURCE_WATCH_ARMED, 0x90000, 2, 0, 0);
        }
        f.events.now += 1000;
        sample(&f, 0, A + 64, 0, 0, NF_RW_READ);
        sample(&f, 1, B + 8, 0, 0, NF_RW_WRITE);
        sample(&f, 0, A + 72, 0, 0, NF_RW_READ); /* of no watch */
        f.events.now += 1000;
        ev_free(&f.events, B);
        after(&f, NF_EVENT_FREE, B);
        f.events.now += 1000;
        if (step) {
            sample(&f, 1, A + 64, 0, 0, NF_RW_WRITE);
            sample(&f, NF_SOURCE_WATCH_ENDED, A + 64, 0, NF_WATCH_END_BUDGET, 0);
            sample(&f, NF_SOURCE_WATCH_ENDED, B + 8, 1, NF_WATCH_END_MOVED, 0);
        }
        f.events.now += 1000;
        ev_step(&f.events, 1);
        after(&f, NF_EVENT_STEP, 0);
    }
    end(&f);
    assert_int_equal(ask(&f, "SELECT count(*) FROM watch"), 3);
    assert_int_equal(ask(&f, "SELECT hits FROM watch WHERE number = 0"), 3);
    assert_int_equal(ask(&f, "SELECT reads FROM watch WHERE number = 0"), 2);
    assert_int_equal(ask(&f, "SELECT ended FROM watch WHERE number = 0"), NF_WATCH_END_BUDGET);
    assert_int_equal(ask(&f, "SELECT count(*) FROM watch_part WHERE number = 0"), 2);
    assert_int_equal(ask(&f, "SELECT offset FROM watch_part WHERE number = 0 LIMIT 1"), 64);
    assert_int_equal(ask(&f, "SELECT reads * 10 + writes FROM watch_part WHERE number = 0 AND step = 0"), 10);
    assert_int_equal(ask(&f, "SELECT reads * 10 + writes FROM watch_part WHERE number = 0 AND step = 1"), 11);
    assert_int_equal(ask(&f, "SELECT a.to_ns = a.step_to_ns AND b.from_ns = b.step_from_ns FROM watch_part a, watch_part b "
                             "WHERE a.number = 0 AND b.number = 0 AND a.step = 0 AND b.step = 1"), 1);
    /* Freed in its first step; the next storage at its address is somebody else. */
    assert_int_equal(ask(&f, "SELECT ended FROM watch WHERE number = 1"), NF_WATCH_END_FREED);
    assert_int_equal(ask(&f, "SELECT hits FROM watch WHERE number = 1"), 1);
    assert_int_equal(ask(&f, "SELECT count(*) FROM watch_part WHERE number = 1"), 1);
    assert_int_equal(ask(&f, "SELECT tensor IN (SELECT number FROM lifetime l JOIN tensor t ON t.id = l.tensor_id) FROM "
                             "watch_part WHERE number = 1"), 1);
    assert_int_equal(ask(&f, "SELECT (SELECT tensor FROM watch_part WHERE number = 0 LIMIT 1) <> (SELECT tensor FROM "
                             "watch_part WHERE number = 1)"), 1);
    /* Nobody lived there; the source never said that it ended. */
    assert_int_equal(ask(&f, "SELECT ended FROM watch WHERE number = 2"), NF_WATCH_END_JOB);
    assert_int_equal(ask(&f, "SELECT count(*) FROM watch_part WHERE number = 2"), 0);
    discard(&f);
}

/* Before training begins a watched storage may come and go; its memory is gone when the first step is written. */
static void test_before_training(void **state)
{
    struct stored f;
    struct nf_event mark;
    uint32_t op;

    begin(&f);
    op = ev_text(&f.events, "aten::mm");
    f.events.now = 1000;
    ev_alloc(&f.events, A, SIZE);
    ev_alloc(&f.events, B, SIZE);
    sample(&f, NF_SOURCE_WATCH_ARMED, A, 0, 0, 0);
    sample(&f, NF_SOURCE_WATCH_ARMED, B, 1, 0, 0);
    f.events.now += 100;
    ev_free(&f.events, A);
    after(&f, NF_EVENT_FREE, A);
    ev_mark(&f.events, NF_MARK_TRAINING_BEGINS, f.events.now, 0);
    mark = (struct nf_event){.kind = NF_EVENT_MARK, .id = NF_MARK_TRAINING_BEGINS, .time_ns = f.events.now};
    assert_int_equal(nf_watches_event(f.watches, &mark, nf_reduce_live(f.events.reduce)), 0);
    ev_op(&f.events, op, NF_PHASE_FORWARD, 0);
    ev_visit(&f.events, B, SIZE, NF_RW_READ);
    sample(&f, 0, B, 0, 0, NF_RW_READ);
    f.events.now += 100;
    ev_step(&f.events, 1);
    after(&f, NF_EVENT_STEP, 0);
    sample(&f, NF_SOURCE_WATCH_ENDED, A, 0, NF_WATCH_END_FREED, 0);
    sample(&f, NF_SOURCE_WATCH_ENDED, B, 1, NF_WATCH_END_LOST, 0);
    end(&f);
    assert_int_equal(ask(&f, "SELECT count(*) FROM watch"), 2);
    /* The first lived before the steps; of the second nothing can be said. */
    assert_int_equal(ask(&f, "SELECT count(*) FROM watch_part"), 0);
    discard(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draw_by_bytes), cmocka_unit_test(test_draw_by_tensors), cmocka_unit_test(test_draw_seed),
        cmocka_unit_test(test_draw_little),   cmocka_unit_test(test_budget),          cmocka_unit_test(test_budget_holds),
        cmocka_unit_test(test_pairs),         cmocka_unit_test(test_no_pairs),        cmocka_unit_test(test_dense_pairs),
        cmocka_unit_test(test_read_then_write), cmocka_unit_test(test_late_half), cmocka_unit_test(test_stored),        cmocka_unit_test(test_before_training),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
