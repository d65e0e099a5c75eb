/* The engine on hand-made steps, with tiers that remember what was charged and policies that remember what they were
 * asked: order, sizes, carried storages, conservation of bytes, exact coverage of split storages, time bounds. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "replay/engine.h"
#include "replay/rehearsal.h"
#include "replay/residual.h"
#include "tests/unit/engine-bed.h"

enum { PAGE = NF_PAGE_BYTES };

/* --- order --- */

static void follows_the_captured_order(void **state)
{
    static const char two_steps[] = "+0@0 +1@0 [0:1 read write] /0 +2@1 [1:1 update write] /1 - +3@2 [2:1 read write] /2 - "
                                    "+1@0 [0:1 read write] /0 +2@1 [1:1 update write] /1 - +3@2 [2:1 read write] /2 - - ";
    struct step s;
    struct bed b;
    struct nf_trial t;
    uint32_t weight, temporary, saved, next;

    step_init(&s);
    weight = step_tensor(&s, 10 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    temporary = step_tensor(&s, 2 * PAGE, 0, 1);
    saved = step_tensor(&s, 3 * PAGE, 1, 2);
    next = step_tensor(&s, PAGE, 2, NF_OP_AFTER); /* leaves by its slot, which nothing enters by: freed when refilled */
    step_op(&s, 0);
    step_visit(&s, weight, 10 * PAGE, NF_RW_READ);
    step_visit(&s, temporary, 2 * PAGE, NF_RW_WRITE);
    step_op(&s, 0);
    step_visit(&s, temporary, 2 * PAGE, NF_RW_READ);
    step_visit(&s, temporary, PAGE, NF_RW_WRITE); /* the same operand once more: an update */
    step_visit(&s, saved, 3 * PAGE, NF_RW_WRITE);
    step_op(&s, 0);
    step_visit(&s, saved, 3 * PAGE, NF_RW_READ);
    step_visit(&s, next, PAGE, NF_RW_WRITE);
    step_ready(&s);
    bed_place_all(0, false);
    bed_init(&b, &s, 100);
    b.config.warmup_min = b.config.warmup_max = 1;
    b.config.cycles = 1;
    bed_run(&b, &t);
    /* weight is cold at the first step only; the second frees what `next` left behind before refilling its slot */
    assert_string_equal(bed_script.told.data, two_steps);
    assert_int_equal(t.steps, 1);
    assert_int_equal(t.warmup_steps, 1);
    nf_trial_deinit(&t);
    /* Rehearsed, the policy is told the same, and errs the same. */
    bed_place_all(0, false);
    b.memory[0].at = b.memory[1].at = NULL;
    assert_int_equal(nf_rehearse(&b.config), 0);
    assert_string_equal(bed_script.told.data, two_steps);
    assert_true(!b.memory[0].at && !b.memory[1].at);
    bed_script.illegal = true;
    assert_int_equal(nf_rehearse(&b.config), -EPROTO);
    assert_non_null(strstr(nf_error_text(-EPROTO), "scripted"));
    step_deinit(&s);
}

static int tell_touches(void *policy, const struct nf_policy_touches *t)
{
    nf_buf_puts(&bed_script.told, "{");
    for (size_t i = 0; i < t->n; i++)
        nf_buf_printf(&bed_script.told, "%s%u %s %llu+%llu", i ? ", " : "", t->v[i].handle, nf_rw_name(t->v[i].rw),
                      (unsigned long long)t->v[i].offset, (unsigned long long)t->v[i].span);
    nf_buf_puts(&bed_script.told, "} ");
    return 0;
}

/* Within an op: operands by their first visit, visits one by one as they were captured, those of nothing left out. */
static void visits_are_told_in_the_captured_order(void **state)
{
    static const char one_step[] = "+0@0 +1@0 [0:1 update read] {1 write 0+4096, 0 read 0+8192, 1 read 4096+4096} /0 - - ";
    struct nf_policy_ops sampling = bed_policy;
    struct step s;
    struct bed b;
    struct nf_trial t;
    uint32_t early, late;

    sampling.capabilities |= NF_POLICY_HAS_ON_ACCESS;
    sampling.semantics.samples = true;
    sampling.on_access = tell_touches;
    step_init(&s);
    early = step_tensor(&s, 2 * PAGE, 0, 0);
    late = step_tensor(&s, 2 * PAGE, 0, 0);
    step_op(&s, 0);
    step_visit(&s, early, 0, NF_RW_WRITE);
    step_visit(&s, late, PAGE, NF_RW_WRITE);
    step_visit(&s, early, 2 * PAGE, NF_RW_READ);
    step_visit(&s, late, PAGE, NF_RW_READ)->offset = PAGE;
    step_ready(&s);
    bed_place_all(0, false);
    bed_init(&b, &s, 100);
    b.config.pool.policy = &sampling;
    b.config.warmup_min = b.config.warmup_max = 0;
    b.config.cycles = 1;
    bed_run(&b, &t);
    assert_string_equal(bed_script.told.data, one_step);
    nf_trial_deinit(&t);
    bed_place_all(0, false);
    assert_int_equal(nf_rehearse(&b.config), 0);
    assert_string_equal(bed_script.told.data, one_step);
    step_deinit(&s);
}

/* A slot hands a storage over to another tensor: what leaves by slot 5 enters by slot 5. */
static void storages_change_hands_by_slot(void **state)
{
    struct step s;
    struct bed b;
    struct nf_trial t;
    uint32_t old, new;

    step_init(&s);
    old = step_tensor(&s, PAGE, NF_OP_BEFORE, 0);
    new = step_tensor(&s, PAGE, 1, NF_OP_AFTER);
    s.tensors[old].carry_in = s.tensors[new].carry_out = 5;
    step_op(&s, 0);
    step_visit(&s, old, PAGE, NF_RW_READ);
    step_op(&s, 0);
    step_visit(&s, new, PAGE, NF_RW_WRITE);
    step_ready(&s);
    bed_place_all(0, false);
    bed_init(&b, &s, 100);
    b.config.warmup_min = b.config.warmup_max = 1;
    b.config.cycles = 2;
    bed_run(&b, &t);
    assert_string_equal(bed_script.told.data, "+0@0 [0:1 read] /0 - +1@1 [1:1 write] /1 [0:1 read] /0 - +1@1 [1:1 write] /1 "
                                          "[0:1 read] /0 - +1@1 [1:1 write] /1 ");
    assert_int_equal(t.pool.live_storages, 1);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* A storage lies where the last one of its captured address did, whatever was born in between: what of one the caches hold is found by
 * the next. */
static void addresses_recycle(void **state)
{
    enum { FIRST, SECOND, SECOND_AGAIN, FIRST_AGAIN, TENSORS };
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_init(&s);
    for (int i = 0; i < TENSORS; i++)
        step_tensor(&s, 4 * PAGE, i, i < SECOND_AGAIN ? SECOND : 4);
    s.tensors[SECOND_AGAIN].address = s.tensors[SECOND].address;
    s.tensors[FIRST_AGAIN].address = s.tensors[FIRST].address;
    for (int i = 0; i < 5; i++) {
        step_op(&s, 0);
        if (i == FIRST || i == FIRST_AGAIN)
            step_visit(&s, (uint32_t)i, 4 * PAGE, NF_RW_UPDATE);
    }
    step_ready(&s);
    bed_place_all(0, false);
    bed_init(&b, &s, 1);
    b.config.warmup_min = b.config.warmup_max = 1;
    b.config.cycles = 2;
    bed_run(&b, &t);
    assert_int_equal(b.memory[0].words[2 * 3], 4 * PAGE / 8); /* both, in three steps */
    assert_int_equal(b.memory[0].words[3], 0);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* --- bytes --- */

/* Whatever is put where, in whatever pattern: each word of each visit is touched once a pass, charged lines are those
 * of the far bytes, and the tiers' bytes sum to the visits'. */
static void every_byte_once(void **state)
{
    struct nf_rng rng = {42};

    for (int round = 0; round < 60; round++) {
        struct step s;
        struct bed b;
        struct nf_trial t;
        struct nf_visit *v;
        uint64_t run = 64 * (1 + nf_rng_below(&rng, 200)), stride = run + 64 * nf_rng_below(&rng, 100);
        uint64_t runs = 1 + nf_rng_below(&rng, 60), passes = 1 + nf_rng_below(&rng, 3), touched = run * runs, far;
        uint64_t offset = 64 * nf_rng_below(&rng, 100), words = 0, steps = 4;
        uint32_t tensor;

        step_init(&s);
        tensor = step_tensor(&s, offset + (runs - 1) * stride + run + nf_rng_below(&rng, 3 * PAGE), NF_OP_BEFORE,
                            NF_OP_AFTER);
        step_op(&s, 0);
        v = step_visit(&s, tensor, touched, NF_RW_UPDATE);
        v->offset = offset;
        v->run = run;
        v->stride = stride;
        v->touches_q8 = (uint16_t)(passes * 256);
        v->pattern = (uint8_t)(runs == 1 ? NF_PATTERN_STREAM : round % 2 ? NF_PATTERN_STRIDED : NF_PATTERN_GATHER);
        step_ready(&s);
        bed_place_all((unsigned)nf_rng_below(&rng, 101), round % 3 != 0);
        bed_init(&b, &s, 1);
        b.config.warmup_min = b.config.warmup_max = 1;
        b.config.cycles = (unsigned)steps - 1;
        bed_run(&b, &t);
        for (unsigned i = 1; i < 256; i++) {
            uint64_t n = b.memory[0].words[i] + b.memory[1].words[i];

            if (n && i != passes * steps)
                fail_msg("round %d: %llu words were touched %u times in %llu passes", round, (unsigned long long)n, i,
                         (unsigned long long)(passes * steps));
            words += n;
        }
        assert_int_equal(words * 8, touched);
        assert_int_equal(t.tier[0].read_bytes + t.tier[1].read_bytes, touched * passes * (steps - 1));
        assert_int_equal(t.tier[0].write_bytes + t.tier[1].write_bytes, touched * passes * (steps - 1));
        far = t.tier[1].read_bytes;
        assert_int_equal(t.tier[0].charged_bytes, 0); /* near injects nothing */
        assert_in_range(t.tier[1].charged_lines, far / 64 - (far ? 1 : 0), far / 64 + 1);
        assert_int_equal(t.tier[1].charged_bytes, 2 * 64 * t.tier[1].charged_lines);
        assert_int_equal(b.memory[1].words[passes * steps] * 8 * passes * (steps - 1), far);
        nf_trial_deinit(&t);
        step_deinit(&s);
    }
}

/* Chunks of an op's operands tile each of them, in step with one another. */
static void chunks_tile(void **state)
{
    struct nf_rng rng = {3};

    for (int round = 0; round < 2000; round++) {
        uint64_t passes = 1 + nf_rng_below(&rng, 4), run = 1 + nf_rng_below(&rng, 100000);
        struct nf_script_visit v = {.bytes = run * (1 + nf_rng_below(&rng, 50)), .run = run};
        uint32_t n = 1 + (uint32_t)nf_rng_below(&rng, 300);
        uint64_t before = 0;

        v.grain = round % 2 && run < 65536 ? run : 64;
        v.total = v.bytes * passes;
        assert_int_equal(nf_script_bound(&v, 0, n), 0);
        for (uint32_t j = 1; j <= n; j++) {
            uint64_t at = nf_script_bound(&v, j, n);

            assert_true(at >= before);
            assert_true(j == n || at % v.bytes % v.grain == 0);
            assert_true(at <= v.total * j / n && at + v.grain > v.total * j / n);
            before = at;
        }
        assert_int_equal(before, v.total);
    }
}

static struct nf_buf charged; /* which tier, in order */

static uint64_t note_charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    const struct bed_memory *m = tier;

    nf_buf_printf(&charged, "%c%u ", m->line_ns > 1 ? 'f' : 'n', c->lines);
    return start_ns;
}

/* Operands of one op advance together, chunk by chunk, each by its share: caches and queues see them mixed, as the op's were. */
static void operands_interleave_chunk_by_chunk(void **state)
{
    struct nf_tier_ops ops = bed_tier;
    struct step s;
    struct bed b;
    struct nf_trial t;
    uint32_t far, near, small;

    ops.charge = note_charge;
    step_init(&s);
    far = step_tensor(&s, 64 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    near = step_tensor(&s, 64 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    small = step_tensor(&s, 4 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    step_op(&s, 0);
    step_visit(&s, far, 64 * PAGE, NF_RW_READ);
    step_visit(&s, near, 64 * PAGE, NF_RW_READ);
    step_visit(&s, small, 4 * PAGE, NF_RW_WRITE);
    step_op(&s, 0);
    step_visit(&s, small, 4 * PAGE, NF_RW_READ);
    step_visit(&s, far, PAGE, NF_RW_READ);
    step_ready(&s);
    bed_place_all(0, false);
    bed_script.far_percent[0] = 100;
    bed_script.far_percent[1] = 0;
    bed_script.far_percent[2] = 0;
    bed_script.n = 3;
    bed_init(&b, &s, 2);
    b.memory[0].line_ns = 1; /* near injects, too */
    for (int i = 0; i < 2; i++) {
        b.tiers[i].ops = &ops;
        bed_tier.facts(&b.memory[i], &b.tiers[i].facts);
    }
    b.config.cold = true;
    b.config.cycles = 1;
    nf_buf_clear(&charged);
    bed_run(&b, &t);
    /* 64 KiB of each of the large ones, and a sixteenth of that of the small one. */
    assert_string_equal(charged.data, "f1024 n1024 n64 f1024 n1024 n64 f1024 n1024 n64 f1024 n1024 n64 n256 f64 ");
    nf_trial_deinit(&t);
    nf_buf_deinit(&charged);
    step_deinit(&s);
}

static struct {
    pthread_t of[2];
    _Atomic uint64_t lines[2];
    _Atomic unsigned strangers;
} threads;

/* The first thread is the test's. */
static uint64_t note_thread(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    bool other = !pthread_equal(pthread_self(), threads.of[0]);

    if (other && !threads.lines[1])
        threads.of[1] = pthread_self();
    threads.strangers += other && !pthread_equal(pthread_self(), threads.of[1]);
    threads.lines[other] += c->lines;
    return start_ns;
}

/* As many threads as the job had, or as asked for, share each op of more than a chunk, half each of two; a small one is the driver's. */
static void threads_share_the_ops(void **state)
{
    enum { LARGE = 64, SMALL = 4 };
    struct nf_tier_ops ops = bed_tier;
    struct step s;
    struct bed b;
    struct nf_trial t;

    ops.charge = note_thread;
    step_init(&s);
    step_tensor(&s, LARGE * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    step_op(&s, 0);
    step_visit(&s, 0, LARGE * PAGE, NF_RW_READ);
    step_op(&s, 0);
    step_visit(&s, 0, SMALL * PAGE, NF_RW_READ);
    step_ready(&s);
    s.stream.threads = 2;
    bed_place_all(100, false);
    bed_init(&b, &s, 1);
    b.tiers[1].ops = &ops;
    b.config.cold = true;
    b.config.cycles = 1;
    if (nf_engine_threads(&b.config) < 2)
        skip();
    for (unsigned asked = 0; asked < 3; asked++) {
        unsigned n = asked ? asked : 2;

        memset(&threads, 0, sizeof threads);
        threads.of[0] = pthread_self();
        b.config.threads = asked;
        bed_run(&b, &t);
        assert_int_equal(t.threads, n);
        assert_int_equal(threads.strangers, 0);
        assert_int_equal(threads.lines[1], n == 2 ? LARGE / 2 * PAGE / 64 : 0);
        assert_int_equal(threads.lines[0] + threads.lines[1], (LARGE + SMALL) * PAGE / 64);
        nf_trial_deinit(&t);
    }
    step_deinit(&s);
}

/* Reads charge their bytes once, plain writes and updates twice; what the filter holds back is not charged. */
static void charges_what_misses(void **state)
{
    static const enum nf_rw rws[] = {NF_RW_READ, NF_RW_WRITE, NF_RW_UPDATE};

    for (int i = 0; i < 6; i++) {
        struct step s;
        struct bed b;
        struct nf_trial t;
        uint32_t tensor;
        bool half = i >= 3;

        step_init(&s);
        tensor = step_tensor(&s, 64 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
        step_op(&s, 0);
        step_visit(&s, tensor, 64 * PAGE, rws[i % 3])->parallelism = (uint8_t)(half ? 0 : 1);
        step_ready(&s);
        nf_script_deinit(&s.script);
        if (half)
            s.profile.visit_miss_bytes[0] /= 2;
        assert_int_equal(nf_script_init(&s.script, &s.profile, 1), 0);
        bed_place_all(100, false);
        bed_init(&b, &s, 1);
        b.config.warmup_min = b.config.warmup_max = 1;
        b.config.cycles = 2;
        bed_run(&b, &t);
        assert_int_equal(t.tier[1].charged_lines, 2 * 64 * PAGE / 64 / (half ? 2 : 1));
        assert_int_equal(t.tier[1].charged_bytes, 64 * t.tier[1].charged_lines * (rws[i % 3] == NF_RW_READ ? 1 : 2));
        assert_true(t.assumed_k_share == (half ? 1 : 0));
        nf_trial_deinit(&t);
        step_deinit(&s);
    }
}

/* A pass after the first finds in the cache what the visit walks over, if that is no more than the cache holds. */
static void later_passes_cost_what_does_not_fit(void **state)
{
    enum { FITS = 16, EXCEEDS = 128, LLC = 64 * PAGE };
    static const struct {
        uint64_t llc, pages; /* charged in a step */
    } cases[] = {{LLC, FITS + 2 * EXCEEDS}, {1024 * PAGE, 0}, {0, 2 * FITS + 2 * EXCEEDS}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct step s;
        struct bed b;
        struct nf_trial t;

        step_init(&s);
        step_tensor(&s, FITS * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
        step_tensor(&s, EXCEEDS * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
        for (uint32_t tensor = 0; tensor < 2; tensor++) {
            step_op(&s, 0);
            step_visit(&s, tensor, s.tensors[tensor].bytes, NF_RW_READ)->touches_q8 = 2 * 256;
        }
        step_ready(&s);
        nf_script_deinit(&s.script);
        nf_profile_deinit(&s.profile);
        assert_int_equal(nf_profile_init(&s.profile, &s.c, cases[i].llc, LLC), 0);
        assert_int_equal(nf_script_init(&s.script, &s.profile, 1), 0);
        bed_place_all(100, false);
        bed_init(&b, &s, 1);
        b.config.warmup_min = b.config.warmup_max = b.config.cycles = 1;
        bed_run(&b, &t);
        assert_int_equal(t.tier[1].charged_lines, cases[i].pages * PAGE / 64);
        assert_int_equal(t.tier[1].read_bytes, 2 * (FITS + EXCEEDS) * PAGE); /* every pass is made all the same */
        nf_trial_deinit(&t);
        step_deinit(&s);
    }
}

/* --- a mover with a thread of its own --- */

/* Two storages of 40 pages, 64 pages near: each op is on the other one, which is promoted after it when it is far. */
static void step_of_two(struct step *s)
{
    uint32_t tensors[2];

    step_init(s);
    for (int i = 0; i < 2; i++)
        tensors[i] = step_tensor(s, 40 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    for (int i = 0; i < 12; i++) {
        step_op(s, 0);
        step_visit(s, tensors[i / 3 % 2], 40 * PAGE, NF_RW_UPDATE);
    }
    step_ready(s);
}

static void promoting(struct bed *b, const struct step *s)
{
    bed_init(b, s, 2);
    b->config.pool.capacity[0] = 64 * PAGE;
    b->config.pool.policy = nf_policy_find("promote");
    b->config.warmup_min = b->config.warmup_max = 1;
    b->config.cycles = 5;
}

/* Nothing is lost on the way: what is live in the end was updated by every op, wherever it was then. */
static void moves_beside_the_ops(void **state)
{
    const uint64_t times = 6 * 6; /* ops on a tensor in a step, steps with the warm-up */
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_of_two(&s);
    promoting(&b, &s);
    bed_run(&b, &t);
    assert_true(t.pool.moves >= 5);
    assert_true(t.pool.tier[1].charged_bytes > 0 && t.pool.tier[0].charged_bytes == 0);
    assert_true(t.pool.tier[0].peak_bytes <= 64 * PAGE);
    assert_true(b.memory[0].words[times] + b.memory[1].words[times] >= 80 * PAGE / 8);
    for (uint64_t i = times + 1; i < 256; i++)
        assert_int_equal(b.memory[0].words[i] + b.memory[1].words[i], 0);
    assert_true(t.helper_cpu >= 0);
    assert_int_equal(t.proofs, 6);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* Where the replay may use one CPU only, the mover shares it, and the trial says so. */
static void a_shared_cpu_is_told(void **state)
{
    struct step s;
    struct bed b;
    struct nf_trial t;
    cpu_set_t one;

    step_of_two(&s);
    promoting(&b, &s);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &one))
            b.config.cpu = i;
    }
    b.config.allowed = &one;
    bed_run(&b, &t);
    assert_int_equal(t.helper_cpu, b.config.cpu);
    assert_true(t.helper_shares);
    assert_true(t.page_faults || strstr(t.message, "shared a core"));
    assert_true(t.pool.moves >= 5);
    nf_trial_deinit(&t);
    b.config.pool.policy = &bed_policy; /* nobody moves beside */
    b.config.pool.capacity[0] = UINT64_MAX;
    bed_place_all(0, false);
    bed_run(&b, &t);
    assert_int_equal(t.helper_cpu, -1);
    assert_false(t.helper_shares);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* One step, the first there is: carried storages are born in it, by the policy's rule. */
static void cold_trials_warm_nothing_up(void **state)
{
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_of_two(&s);
    bed_init(&b, &s, 2);
    bed_place_all(100, false);
    b.config.cold = true;
    b.config.cycles = 1;
    bed_run(&b, &t);
    assert_true(t.cold);
    assert_int_equal(t.warmup_steps, 0);
    assert_int_equal(t.steps, 1);
    assert_int_equal(b.memory[1].words[6], 80 * PAGE / 8);
    assert_memory_equal(bed_script.told.data, "+0@0 +1@0 [0:", 13);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* --- time --- */

/* Two operands of 256 KiB, one near, one far; op 1 nothing but time. */
static void step_timed(struct step *s, double dur_ns)
{
    uint32_t a, c;

    step_init(s);
    a = step_tensor(s, 64 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    c = step_tensor(s, 64 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    step_op(s, dur_ns);
    step_visit(s, a, 64 * PAGE, NF_RW_READ);
    step_visit(s, c, 64 * PAGE, NF_RW_READ);
    step_op(s, dur_ns);
    step_ready(s);
    bed_place_all(0, false);
    bed_script.far_percent[1] = 100; /* the second storage is far */
    bed_script.n = 2;
}

enum { TIMED_STEPS = 25 };

static void delay_is_a_lower_bound(void **state)
{
    const double line_ns = 500, far_ns = 64 * PAGE / 64 * line_ns;
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_timed(&s, 0);
    bed_init(&b, &s, line_ns);
    b.config.cycles = TIMED_STEPS;
    bed_run_until(&b, 1.2 * far_ns + 200000, &t);
    for (unsigned i = 0; i < t.steps; i++)
        assert_true(t.step_ns[i] >= far_ns);
    assert_true(t.tier[1].achieved_latency_ns >= 0.999 * line_ns);
    assert_true(t.tier[1].achieved_bps <= 64e9 / line_ns * 1.001);
    nf_trial_deinit(&t);

    b.config.parallelism_scale = 2; /* twice the lines in flight: half the time */
    bed_place_all(0, false);
    bed_script.far_percent[1] = 100;
    bed_script.n = 2;
    bed_run_until(&b, far_ns, &t);
    for (unsigned i = 0; i < t.steps; i++)
        assert_true(t.step_ns[i] >= far_ns / 2);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* full: memory hides under the captured time, so a step takes the longer of the two. */
static void full_overlap_hides_memory(void **state)
{
    const double line_ns = 100, far_ns = 64 * PAGE / 64 * line_ns; /* 0.41 ms */
    static const double durs[] = {2e6, 1e5};

    for (int i = 0; i < 2; i++) {
        struct step s;
        struct bed b;
        struct nf_trial t;
        double first = durs[i] > far_ns ? durs[i] : far_ns;

        step_timed(&s, durs[i]);
        bed_init(&b, &s, line_ns);
        b.config.overlap = NF_OVERLAP_FULL;
        b.config.cycles = TIMED_STEPS;
        bed_run_until(&b, 1.2 * (first + durs[i]) + 200000, &t);
        for (unsigned j = 0; j < t.steps; j++)
            assert_true(t.step_ns[j] >= first + durs[i]);
        assert_int_equal(t.lateness.n, TIMED_STEPS * (4 + 1)); /* chunks */
        if (i) {
            assert_true(t.late_ns >= (uint64_t)(TIMED_STEPS * (far_ns - durs[i])));
        }
        nf_trial_deinit(&t);
        step_deinit(&s);
    }
}

/* none: the residual comes on top of the memory. */
static void no_overlap_adds_compute(void **state)
{
    const double line_ns = 100, far_ns = 64 * PAGE / 64 * line_ns;
    const double residual[2] = {1e6, 2e5};
    const double *const residuals[1] = {residual};
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_timed(&s, 0);
    bed_init(&b, &s, line_ns);
    b.config.overlap = NF_OVERLAP_NONE;
    b.config.residual_ns = residuals;
    b.config.cycles = TIMED_STEPS;
    bed_run_until(&b, 1.2 * (far_ns + residual[0] + residual[1]) + 200000, &t);
    for (unsigned i = 0; i < t.steps; i++)
        assert_true(t.step_ns[i] >= far_ns + residual[0] + residual[1]);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* Every op late throughout: saturated. */
static void says_when_saturated(void **state)
{
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_timed(&s, 1e5);
    s.ops[1].dur_ns = 1e4;
    nf_script_deinit(&s.script);
    assert_int_equal(nf_script_init(&s.script, &s.profile, 1), 0);
    bed_init(&b, &s, 200);
    b.config.overlap = NF_OVERLAP_FULL;
    bed_run(&b, &t);
    assert_true(t.saturated);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* The residual is what the captured time leaves, and never less than nothing. */
static void residuals_have_a_floor(void **state)
{
    struct step s;
    struct bed b;
    struct nf_residual r;

    step_timed(&s, 5e6);
    s.ops[1].dur_ns = 1; /* nothing takes one nanosecond */
    nf_script_deinit(&s.script);
    assert_int_equal(nf_script_init(&s.script, &s.profile, 1), 0);
    bed_init(&b, &s, 0);
    b.config.residual_ns = NULL;
    assert_int_equal(nf_residual_init(&r, &b.config), 0);
    assert_true(r.timed);
    assert_true(r.op_ns[0][0] > 4e6 && r.op_ns[0][0] < 5e6);
    assert_true(r.op_ns[0][1] == 0);
    assert_true(r.floored_share > 0 && r.floored_share < 1e-6);
    assert_true(r.captured_ns == 5e6 + 1);
    nf_residual_deinit(&r);
    step_deinit(&s);
}

/* --- what can go wrong --- */

/* A storage that is near in every second step: near residency never repeats. */
static void notices_unsteadiness(void **state)
{
    struct step s;
    struct bed b;
    struct nf_trial t;
    uint32_t old, new;

    step_init(&s);
    old = step_tensor(&s, 8 * PAGE, NF_OP_BEFORE, 0);
    new = step_tensor(&s, 8 * PAGE, 1, NF_OP_AFTER);
    s.tensors[new].carry_out = 0;
    step_op(&s, 0);
    step_visit(&s, old, PAGE, NF_RW_READ);
    step_op(&s, 0);
    step_ready(&s);
    bed_place_all(0, false);
    bed_script.far_percent[1] = 100;
    bed_script.n = 2;
    bed_init(&b, &s, 1);
    bed_run(&b, &t);
    assert_int_equal(t.status, NF_TRIAL_UNSTEADY);
    assert_int_equal(t.warmup_steps, 8);
    assert_int_equal(t.steps, 3);
    assert_non_null(strstr(t.message, "near residency"));
    nf_trial_deinit(&t);

    bed_place_all(0, false);
    bed_run(&b, &t);
    assert_int_equal(t.status, NF_TRIAL_OK);
    assert_int_equal(t.warmup_steps, 2);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

static void failures_are_results(void **state)
{
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_timed(&s, 0);
    bed_init(&b, &s, 1);
    bed_script.illegal = true; /* both tiers hold all of it */
    assert_int_equal(nf_trial_run(&b.config, &t), 0);
    assert_int_equal(t.status, NF_TRIAL_FAILED);
    assert_true(*t.message);
    nf_trial_deinit(&t);

    bed_place_all(0, false);
    b.config.pool.capacity[0] = PAGE;
    assert_int_equal(nf_trial_run(&b.config, &t), 0);
    assert_int_equal(t.status, NF_TRIAL_FAILED);
    assert_true(*t.message);
    nf_trial_deinit(&t);

    b.config.cpu = 100000;
    assert_int_equal(nf_trial_run(&b.config, &t), -EINVAL);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

static void stops_between_steps(void **state)
{
    volatile sig_atomic_t stop = 1;
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_timed(&s, 0);
    bed_init(&b, &s, 1);
    b.config.stop = &stop;
    assert_int_equal(nf_trial_run(&b.config, &t), NF_TRIAL_E_STOPPED);
    assert_int_equal(t.warmup_steps, 1);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* Empty storages, visits of nothing and ops of nothing pass through. */
static void emptiness_is_fine(void **state)
{
    struct step s;
    struct bed b;
    struct nf_trial t;
    uint32_t nothing;

    step_init(&s);
    nothing = step_tensor(&s, 0, 0, 0);
    step_op(&s, 0);
    step_visit(&s, nothing, 0, NF_RW_READ);
    step_op(&s, 0);
    step_ready(&s);
    bed_place_all(0, false);
    bed_init(&b, &s, 1);
    bed_run(&b, &t);
    assert_int_equal(t.status, NF_TRIAL_OK);
    assert_int_equal(t.tier[0].read_bytes, 0);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_captured_order),
        cmocka_unit_test(visits_are_told_in_the_captured_order),
        cmocka_unit_test(storages_change_hands_by_slot),
        cmocka_unit_test(addresses_recycle),
        cmocka_unit_test(every_byte_once),
        cmocka_unit_test(chunks_tile),
        cmocka_unit_test(operands_interleave_chunk_by_chunk),
        cmocka_unit_test(threads_share_the_ops),
        cmocka_unit_test(charges_what_misses),
        cmocka_unit_test(later_passes_cost_what_does_not_fit),
        cmocka_unit_test(moves_beside_the_ops),
        cmocka_unit_test(a_shared_cpu_is_told),
        cmocka_unit_test(cold_trials_warm_nothing_up),
        cmocka_unit_test(delay_is_a_lower_bound),
        cmocka_unit_test(full_overlap_hides_memory),
        cmocka_unit_test(no_overlap_adds_compute),
        cmocka_unit_test(says_when_saturated),
        cmocka_unit_test(residuals_have_a_floor),
        cmocka_unit_test(notices_unsteadiness),
        cmocka_unit_test(failures_are_results),
        cmocka_unit_test(stops_between_steps),
        cmocka_unit_test(emptiness_is_fine),
    };

    return cmocka_run_group_tests(tests, NULL, bed_forget);
}
