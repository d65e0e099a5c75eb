/* A replay that is watched tells what its threads issued: byte by byte what the stream holds, whatever the pattern, the number
 * of passes and of threads; and not what it holds where the replay errs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/model/recapture.h"
#include "replay/again.h"
#include "replay/pin.h"

enum { OPS = 12, VISITS = 24, TENSORS = 8, BYTES = 256 << 10, STEPS = 3, SEEN_MAX = 1 << 20 };

static struct nf_op ops[OPS];
static struct nf_visit visits[VISITS];
static struct nf_tensor tensors[TENSORS];
static struct nf_step_class c;
static uint32_t sequence[1];
static struct nf_stream stream;
static struct nf_again again;

/* Tensors 0 to 3 are carried, 3 into the slot of 2 and back; 4 to 7 live from op 2 to op 9. */
static void begin(void)
{
    memset(ops, 0, sizeof ops);
    memset(visits, 0, sizeof visits);
    memset(tensors, 0, sizeof tensors);
    for (uint32_t i = 0; i < TENSORS; i++)
        tensors[i] = (struct nf_tensor){
            .bytes = BYTES,
            .address = (uint64_t)(i + 1) << 32,
            .birth = i < 4 ? NF_OP_BEFORE : 2,
            .death = i < 4 ? NF_OP_AFTER : 9,
            .carry_in = i < 4 ? (int32_t)i : NF_CARRY_NONE,
            .carry_out = i < 2 ? (int32_t)i : i < 4 ? 5 - (int32_t)i : NF_CARRY_NONE,
            .tracked = true,
        };
    for (uint32_t i = 0; i < OPS; i++)
        ops[i].regime = 1;
    c = (struct nf_step_class){.ops = ops, .visits = visits, .tensors = tensors, .n_ops = OPS, .n_tensors = TENSORS};
    stream = (struct nf_stream){.classes = &c, .n_classes = 1, .sequence = sequence, .n_sequence = 1, .n_carry = 4, .threads = 1};
    again = (struct nf_again){.scale = 1, .stream = &stream, .arena_bytes = (TENSORS + 4) * BYTES, .near_bytes = TENSORS * BYTES};
}

static struct nf_visit *add(uint32_t op, uint32_t tensor, uint64_t offset, uint64_t bytes, uint64_t run, uint64_t stride, uint8_t rw,
                            uint8_t pattern)
{
    struct nf_visit *v = &visits[c.n_visits++];

    if (!ops[op].n_visits++)
        ops[op].first_visit = c.n_visits - 1;
    *v = (struct nf_visit){.op = op, .tensor = tensor, .offset = offset, .bytes = bytes, .run = run, .stride = stride,
                           .touches_q8 = 256, .rw = rw, .pattern = pattern};
    return v;
}

static void every_kind(void)
{
    begin();
    add(0, 0, 0, BYTES, BYTES, BYTES, NF_RW_READ, NF_PATTERN_STREAM);
    add(1, 1, 100, 150000, 150000, 150000, NF_RW_UPDATE, NF_PATTERN_BLOCKED)->touches_q8 = 3 * 256;
    add(2, 4, 0, 64 << 10, 256, 1024, NF_RW_WRITE, NF_PATTERN_STRIDED);
    add(2, 2, 64, 1000, 1000, 1000, NF_RW_READ, NF_PATTERN_STREAM);
    add(3, 0, 0, 60000, 500, 2000, NF_RW_READ, NF_PATTERN_GATHER);
    add(4, 5, 3, 70001, 7, 24, NF_RW_WRITE, NF_PATTERN_STRIDED);
    add(4, 4, 0, 64 << 10, 256, 1024, NF_RW_READ, NF_PATTERN_GATHER)->parallelism = 4;
    add(6, 3, 0, BYTES, BYTES, BYTES, NF_RW_READ, NF_PATTERN_STREAM);
    add(6, 5, 0, BYTES, BYTES, BYTES, NF_RW_WRITE, NF_PATTERN_STREAM);
    add(6, 5, 4096, 1, 1, 1, NF_RW_READ, NF_PATTERN_STREAM);
    add(9, 6, 0, 200000, 200000, 200000, NF_RW_UPDATE, NF_PATTERN_STREAM);
    add(11, 2, 0, 10, 10, 10, NF_RW_READ, NF_PATTERN_STREAM);
}

/* --- who watches --- */

struct watch {
    struct {
        char *memory;
        uint32_t number;
    } at[TENSORS];
    struct nf_visit *seen; /* of the last step that is measured */
    uint32_t n, op;
    unsigned steps, ops_begun, alive;
    bool measuring;
    int fail;
};

static int map(void *context, size_t bytes, void **memory)
{
    *memory = aligned_alloc(NF_PAGE_BYTES, bytes);
    return *memory ? 0 : -ENOMEM;
}

static void unmap(void *context, void *memory, size_t bytes)
{
    free(memory);
}

static void storage(void *context, const struct nf_tensor *t, uint32_t number, char *memory, bool carried)
{
    struct watch *w = context;
    uint32_t at = TENSORS;

    assert_ptr_equal(t, &tensors[number]);
    for (uint32_t i = 0; i < TENSORS; i++)
        if (carried ? w->at[i].memory == memory : !w->at[i].memory && at == TENSORS)
            at = i;
    assert_true(at < TENSORS);
    w->at[at].memory = memory;
    w->at[at].number = number;
    w->alive += !carried;
}

static void gone(void *context, char *memory)
{
    struct watch *w = context;
    uint32_t i = 0;

    while (i < TENSORS && w->at[i].memory != memory)
        i++;
    assert_true(i < TENSORS);
    w->at[i].memory = NULL;
    w->alive--;
}

static int measuring(void *context)
{
    struct watch *w = context;

    w->measuring = true;
    assert_int_equal(w->alive, 4); /* warm-up left what is carried */
    w->steps = 0;
    return 0;
}

static void op_begins(void *context)
{
    struct watch *w = context;

    w->ops_begun++;
}

static int op_ends(void *context, uint32_t op, const struct nf_observed_visits *v)
{
    struct watch *w = context;

    if (w->fail && w->measuring)
        return nf_fail(w->fail, "the observer has had enough");
    w->n = op ? w->n : 0;
    for (size_t i = 0; i < v->a.n; i++) {
        uint32_t k = 0;

        while (k < TENSORS && w->at[k].memory != v->a.v[i].memory)
            k++;
        assert_true(k < TENSORS && w->n < SEEN_MAX);
        w->seen[w->n++] = (struct nf_visit){.op = op, .tensor = w->at[k].number, .offset = v->a.v[i].offset, .bytes = v->a.v[i].bytes,
                                            .run = v->a.v[i].run, .stride = v->a.v[i].stride, .rw = v->a.v[i].rw};
    }
    return 0;
}

static int step_ends(void *context)
{
    struct watch *w = context;

    w->steps++;
    return 0;
}

static uint64_t moves; /* of the last replay */

static int replay(struct watch *w, unsigned threads)
{
    const struct nf_replay_observer o = {.context = w, .map = map, .unmap = unmap, .storage = storage, .gone = gone,
                                         .measuring = measuring, .op_begins = op_begins, .op_ends = op_ends,
                                         .step_ends = step_ends};
    const struct nf_again_options options = {.steps = STEPS, .threads = threads, .cpu = -1, .seed = 7};

    return nf_again_replay(&again, &options, &o, &moves);
}

static struct watch watch;
static struct nf_recapture r;

static int setup(void **state)
{
    watch = (struct watch){.seen = malloc(SEEN_MAX * sizeof *watch.seen)};
    return watch.seen ? 0 : -1;
}

static int teardown(void **state)
{
    free(watch.seen);
    nf_recapture_deinit(&r);
    return 0;
}

/* The stream as it is now is replayed; what was seen is held against the visits given. */
static void compare(const struct nf_visit *with, uint32_t n, unsigned threads)
{
    const struct nf_recapture_options o = {.resolution_bytes = 1, .rw = true};
    struct nf_step_class captured = c, seen = c;
    uint32_t same[TENSORS];

    memset(watch.at, 0, sizeof watch.at);
    watch = (struct watch){.seen = watch.seen};
    assert_int_equal(replay(&watch, threads), 0);
    assert_int_equal(watch.steps, STEPS);
    assert_true(again.policy ? watch.ops_begun >= OPS * (STEPS + 1) : watch.ops_begun == OPS * (STEPS + 1));
    for (uint32_t i = 0; i < TENSORS; i++)
        same[i] = i;
    captured.visits = (struct nf_visit *)with;
    captured.n_visits = n;
    seen.visits = watch.seen;
    seen.n_visits = watch.n;
    nf_recapture_deinit(&r);
    assert_int_equal(nf_recapture_init(&r, &captured, &seen, same, &o), 0);
}

static void test_every_kind(void **state)
{
    unsigned most = nf_pin_cpus() > 1 ? 2 : 1;

    for (unsigned threads = 1; threads <= most; threads++) {
        every_kind();
        compare(visits, c.n_visits, threads);
        assert_int_equal(r.visited, 7);
        assert_int_equal(r.same, 7);
        assert_int_equal(r.lost_bytes + r.stray_bytes + r.rw_bytes, 0);
        /* A whole visit comes back whole; the one that is read inside another is one of its own. */
        assert_int_equal(watch.n, c.n_visits);
    }
}

/* Whole and cut walks at random: what is issued is what the stream says. */
static void test_random(void **state)
{
    unsigned most = nf_pin_cpus() > 1 ? 2 : 1;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct nf_rng rng = {seed};

        begin();
        for (uint32_t op = 2; op <= 9; op++)
            for (uint64_t i = nf_rng_below(&rng, 4); i; i--) {
                uint64_t run = 1 + nf_rng_below(&rng, 4000), stride = run + nf_rng_below(&rng, 3000);
                uint64_t runs = 1 + nf_rng_below(&rng, BYTES / stride - 2), bytes = run * runs - nf_rng_below(&rng, run);

                if (c.n_visits < VISITS)
                    add(op, (uint32_t)nf_rng_below(&rng, TENSORS), nf_rng_below(&rng, stride), bytes, run, stride,
                        (uint8_t)nf_rng_below(&rng, NF_RW_COUNT), (uint8_t)nf_rng_below(&rng, NF_PATTERN_COUNT))
                        ->touches_q8 = (uint16_t)(256 * nf_rng_below(&rng, 4));
            }
        compare(visits, c.n_visits, 1 + (unsigned)(seed % most));
        if (r.same != r.visited)
            fail_msg("seed %llu: %llu bytes lost, %llu stray", (unsigned long long)seed, (unsigned long long)r.lost_bytes,
                     (unsigned long long)r.stray_bytes);
    }
}

/* A replay that leaves four kilobytes of each long visit out, reads where it was to write, or works one op late. */
static void test_errs(void **state)
{
    struct nf_visit right[VISITS];
    uint32_t long_ones = 0;

    every_kind();
    memcpy(right, visits, sizeof right);
    for (uint32_t i = 0; i < c.n_visits; i++) {
        struct nf_visit *v = &visits[i];

        if (v->bytes < 100000)
            continue;
        long_ones++;
        v->bytes -= 4096;
        v->run = v->stride = v->bytes;
    }
    compare(right, c.n_visits, 1);
    assert_int_equal(long_ones, 5);
    assert_int_equal(r.lost_bytes, 5 * 4096);
    assert_int_equal(r.stray_bytes, 0);
    assert_int_equal(r.visited - r.same, 5);
    assert_int_equal(r.tensors[3].lost_bytes, 4096);
    assert_int_equal(r.tensors[3].first_op, 6);

    every_kind();
    visits[c.n_visits - 1].rw = NF_RW_WRITE;
    compare(right, c.n_visits, 1);
    assert_int_equal(r.rw_bytes, 10);
    assert_int_equal(r.lost_bytes, 0);

    every_kind();
    memcpy(right, visits, sizeof right);
    right[c.n_visits - 1].op = 10;
    compare(right, c.n_visits, 1);
    assert_int_equal(r.lost_bytes, 10);
    assert_int_equal(r.stray_bytes, 10);
}

/* Storages that move between the watched steps' ops, or lie far, are touched as if they did not. */
static void test_policies(void **state)
{
    static const struct {
        const char *policy;
        bool moves;
    } cases[] = {{"lru", true}, {"all-far", false}, {"near-first", false}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nf_visit right[VISITS];

        every_kind();
        memcpy(right, visits, sizeof right);
        assert_int_equal(nf_again_take_policy(&again, cases[i].policy, 0.5), 0);
        compare(right, c.n_visits, 1);
        assert_int_equal(moves > 0, cases[i].moves);
        assert_int_equal(r.visited, 7);
        assert_int_equal(r.same, 7);
        visits[c.n_visits - 1].bytes = visits[c.n_visits - 1].run = visits[c.n_visits - 1].stride = 6;
        compare(right, c.n_visits, 1);
        assert_int_equal(r.lost_bytes, 4);
        assert_int_equal(r.same, 6);
    }
    every_kind();
    assert_int_equal(nf_again_take_policy(&again, "interleave", 0.5), 0);
    assert_true(replay(&watch, 1) < 0);
    assert_non_null(strstr(nf_error_text(0), "splits a storage"));
    assert_int_equal(nf_again_take_policy(&again, "hemem", 0.5), -EINVAL);
    assert_int_equal(nf_again_take_policy(&again, "recompute", 0.5), -EINVAL);
    assert_int_equal(nf_again_take_policy(&again, "nothing", 0.5), -EINVAL);
}

static void test_fails(void **state)
{
    every_kind();
    watch.fail = -EIO;
    assert_int_equal(replay(&watch, 1), -EIO);
    assert_non_null(strstr(nf_error_text(0), "had enough"));
}

static void test_memory(void **state)
{
    begin();
    assert_int_equal(nf_again_check_memory(&again, 1), 0);
    again.arena_bytes = 1ull << 60;
    assert_int_equal(nf_again_check_memory(&again, 1), -ENOMEM);
    assert_non_null(strstr(nf_error_text(0), "--scale"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_kind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_policies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fails, setup, teardown),
        cmocka_unit_test(test_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
