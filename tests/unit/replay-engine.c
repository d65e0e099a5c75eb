/* The engine on hand-made steps, with tiers that remember what was charged and policies that remember what they were
 * asked: order, sizes, carried storages, conservation of bytes, exact coverage of split storages, time bounds. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/rng.h"
#include "replay/engine.h"
#include "replay/residual.h"

enum { PAGE = NF_PAGE_BYTES, OPS_MAX = 64, VISITS_MAX = 64, TENSORS_MAX = 16, ARENA = 16 << 20 };

/* --- a step --- */

struct step {
    struct nf_op ops[OPS_MAX];
    struct nf_visit visits[VISITS_MAX];
    struct nf_tensor tensors[TENSORS_MAX];
    struct nf_step_class c;
    uint32_t sequence[1];
    char *names[1];
    struct nf_stream stream;
    struct nf_profile profile;
    struct nf_script script;
};

static void step_init(struct step *s)
{
    static char name[] = "";

    memset(s, 0, sizeof *s);
    s->c = (struct nf_step_class){.ops = s->ops, .visits = s->visits, .tensors = s->tensors};
    s->names[0] = name;
    s->stream = (struct nf_stream){.classes = &s->c, .n_classes = 1, .sequence = s->sequence, .n_sequence = 1,
                                   .n_carry = TENSORS_MAX, .names = s->names, .n_names = 1, .threads = 1};
}

/* birth NF_OP_BEFORE and death NF_OP_AFTER use the tensor's own number as slot. */
static uint32_t add_tensor(struct step *s, uint64_t bytes, int32_t birth, int32_t death)
{
    uint32_t i = s->c.n_tensors++;

    s->tensors[i] = (struct nf_tensor){
        .bytes = bytes,
        .address = (uint64_t)(i + 1) << 32,
        .birth = birth,
        .death = death,
        .carry_in = birth == NF_OP_BEFORE ? (int32_t)i : NF_CARRY_NONE,
        .carry_out = death == NF_OP_AFTER ? (int32_t)i : NF_CARRY_NONE,
        .tracked = true,
    };
    return i;
}

static void add_op(struct step *s, double dur_ns)
{
    s->ops[s->c.n_ops++] = (struct nf_op){.first_visit = s->c.n_visits, .dur_ns = dur_ns, .regime = 1 + s->c.n_ops / 4};
}

static struct nf_visit *add_visit(struct step *s, uint32_t tensor, uint64_t bytes, enum nf_rw rw)
{
    struct nf_visit *v = &s->visits[s->c.n_visits++];

    *v = (struct nf_visit){.op = s->c.n_ops - 1, .tensor = tensor, .bytes = bytes, .run = bytes, .stride = bytes,
                           .touches_q8 = 256, .rw = rw, .parallelism = 1};
    s->ops[s->c.n_ops - 1].n_visits++;
    return v;
}

/* The filter is off: every byte is charged. */
static void step_ready(struct step *s)
{
    assert_int_equal(nf_step_class_peak(&s->c, &s->c.peak_live_bytes), 0);
    assert_int_equal(nf_step_class_check(&s->c, &s->stream), 0);
    assert_int_equal(nf_profile_init(&s->profile, &s->c, 0, 1), 0);
    assert_int_equal(nf_script_init(&s->script, &s->profile, 1), 0);
}

static void step_deinit(struct step *s)
{
    nf_script_deinit(&s->script);
    nf_profile_deinit(&s->profile);
}

/* --- tiers that remember --- */

struct memory {
    char *at;
    _Atomic uint64_t charges, read_bytes, write_bytes, lines; /* by a mover's thread as well */
    double line_ns;          /* what a line costs at k = 1 */
    uint64_t words[256];     /* at unmap: how many 8-byte words held each value */
};

static void tier_facts(const void *tier, struct nf_tier_facts *out)
{
    const struct memory *m = tier;

    *out = (struct nf_tier_facts){.target_latency_ns = m->line_ns, .node = -1};
}

static int tier_map(void *tier, size_t bytes, void **out)
{
    struct memory *m = tier;

    m->at = *out = aligned_alloc(PAGE, bytes);
    assert_non_null(m->at);
    memset(m->at, 0, bytes);
    return 0;
}

static void tier_unmap(void *tier, void *at, size_t bytes)
{
    struct memory *m = tier;

    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word;

        memcpy(&word, (char *)at + i, sizeof word);
        m->words[word < 255 ? word : 255]++;
    }
    free(at);
}

static int tier_verify(void *tier, const void *at, size_t bytes)
{
    return 0;
}

static uint64_t tier_charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    struct memory *m = tier;

    m->charges++;
    m->read_bytes += c->read_bytes;
    m->write_bytes += c->write_bytes;
    m->lines += c->lines;
    return start_ns + (uint64_t)(c->lines * m->line_ns / c->parallelism);
}

static const struct nf_tier_ops tier_ops = {.abi = NF_TIER_ABI, .name = "counting", .about = "for tests",
                                            .facts = tier_facts, .map = tier_map, .unmap = tier_unmap,
                                            .verify = tier_verify, .charge = tier_charge};

/* --- a policy that remembers --- */

/* Where the next storages go, in turn: shares of tier 1 in percent; asked cyclically. */
static struct {
    unsigned far_percent[8];
    unsigned n, next;
    bool striped, illegal;
    struct nf_buf told;
} script;

static int policy_open(const struct nf_policy_env *env, void **policy)
{
    *policy = (void *)env;
    return 0;
}

static void policy_close(void *policy)
{
}

static int policy_place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                        struct nf_placement *out)
{
    uint64_t pages = t->bytes / PAGE, far = pages * script.far_percent[script.next++ % script.n] / 100;

    nf_buf_printf(&script.told, "+%u@%u ", t->number, t->op);
    out->bytes[0] = (pages - far) * PAGE;
    out->bytes[1] = script.illegal ? t->bytes : far * PAGE;
    out->striped = script.striped;
    return 0;
}

static int policy_access(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw,
                         size_t n, struct nf_policy_moves *moves)
{
    nf_buf_printf(&script.told, "[%u:%llu", op, (unsigned long long)regime);
    for (size_t i = 0; i < n; i++)
        nf_buf_printf(&script.told, " %s", nf_rw_name(rw[i]));
    nf_buf_puts(&script.told, "] ");
    return 0;
}

static int policy_after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    nf_buf_printf(&script.told, "/%u ", op);
    return 0;
}

static void policy_freed(void *policy, uint32_t handle)
{
    nf_buf_puts(&script.told, "- ");
}

static const struct nf_policy_ops policy_ops = {
    .abi = NF_POLICY_ABI, .name = "scripted", .about = "for tests", .semantics = {.sees_profile = true},
    .open = policy_open, .close = policy_close, .place = policy_place, .access = policy_access, .after = policy_after,
    .freed = policy_freed};

static void place_all(unsigned far_percent, bool striped)
{
    nf_buf_clear(&script.told);
    script.far_percent[0] = far_percent;
    script.n = 1;
    script.next = 0;
    script.striped = striped;
    script.illegal = false;
}

/* --- a trial --- */

struct bed {
    struct memory memory[2];
    struct nf_tier tiers[2];
    struct nf_engine_config config;
};

static void bed_init(struct bed *b, const struct step *s, double far_line_ns)
{
    memset(b, 0, sizeof *b);
    b->memory[1].line_ns = far_line_ns;
    for (int i = 0; i < 2; i++) {
        b->tiers[i] = (struct nf_tier){.ops = &tier_ops, .state = &b->memory[i]};
        tier_facts(&b->memory[i], &b->tiers[i].facts);
    }
    b->config = (struct nf_engine_config)NF_ENGINE_CONFIG_INIT;
    b->config.stream = &s->stream;
    b->config.scripts = &s->script;
    b->config.pool = (struct nf_pool_config){
        .tiers = b->tiers, .n_tiers = 2, .capacity = {UINT64_MAX, UINT64_MAX}, .arena_bytes = {ARENA, ARENA},
        .policy = &policy_ops, .policy_options = "", .profiles = &s->profile, .n_profiles = 1};
}

static void run_trial(const struct bed *b, struct nf_trial *t)
{
    int rc = nf_trial_run(&b->config, t);

    if (rc || t->status == NF_TRIAL_FAILED)
        fail_msg("the trial failed: %d %s %s", rc, nf_error_text(rc), t->message);
}

/* --- order --- */

static void follows_the_captured_order(void **state)
{
    struct step s;
    struct bed b;
    struct nf_trial t;
    uint32_t weight, temporary, saved, next;

    step_init(&s);
    weight = add_tensor(&s, 10 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    temporary = add_tensor(&s, 2 * PAGE, 0, 1);
    saved = add_tensor(&s, 3 * PAGE, 1, 2);
    next = add_tensor(&s, PAGE, 2, NF_OP_AFTER); /* leaves by its slot, which nothing enters by: freed when refilled */
    add_op(&s, 0);
    add_visit(&s, weight, 10 * PAGE, NF_RW_READ);
    add_visit(&s, temporary, 2 * PAGE, NF_RW_WRITE);
    add_op(&s, 0);
    add_visit(&s, temporary, 2 * PAGE, NF_RW_READ);
    add_visit(&s, temporary, PAGE, NF_RW_WRITE); /* the same operand once more: an update */
    add_visit(&s, saved, 3 * PAGE, NF_RW_WRITE);
    add_op(&s, 0);
    add_visit(&s, saved, 3 * PAGE, NF_RW_READ);
    add_visit(&s, next, PAGE, NF_RW_WRITE);
    step_ready(&s);
    place_all(0, false);
    bed_init(&b, &s, 100);
    b.config.warmup_min = b.config.warmup_max = 1;
    b.config.cycles = 1;
    run_trial(&b, &t);
    /* weight is cold at the first step only; the second frees what `next` left behind before refilling its slot */
    assert_string_equal(script.told.data,
                        "+0@0 +1@0 [0:1 read write] /0 +2@1 [1:1 update write] /1 - +3@2 [2:1 read write] /2 - "
                        "+1@0 [0:1 read write] /0 +2@1 [1:1 update write] /1 - +3@2 [2:1 read write] /2 - - ");
    assert_int_equal(t.steps, 1);
    assert_int_equal(t.warmup_steps, 1);
    nf_trial_deinit(&t);
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
    old = add_tensor(&s, PAGE, NF_OP_BEFORE, 0);
    new = add_tensor(&s, PAGE, 1, NF_OP_AFTER);
    s.tensors[old].carry_in = s.tensors[new].carry_out = 5;
    add_op(&s, 0);
    add_visit(&s, old, PAGE, NF_RW_READ);
    add_op(&s, 0);
    add_visit(&s, new, PAGE, NF_RW_WRITE);
    step_ready(&s);
    place_all(0, false);
    bed_init(&b, &s, 100);
    b.config.warmup_min = b.config.warmup_max = 1;
    b.config.cycles = 2;
    run_trial(&b, &t);
    assert_string_equal(script.told.data, "+0@0 [0:1 read] /0 - +1@1 [1:1 write] /1 [0:1 read] /0 - +1@1 [1:1 write] /1 "
                                          "[0:1 read] /0 - +1@1 [1:1 write] /1 ");
    assert_int_equal(t.pool.live_storages, 1);
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
        tensor = add_tensor(&s, offset + (runs - 1) * stride + run + nf_rng_below(&rng, 3 * PAGE), NF_OP_BEFORE,
                            NF_OP_AFTER);
        add_op(&s, 0);
        v = add_visit(&s, tensor, touched, NF_RW_UPDATE);
        v->offset = offset;
        v->run = run;
        v->stride = stride;
        v->touches_q8 = (uint16_t)(passes * 256);
        v->pattern = (uint8_t)(runs == 1 ? NF_PATTERN_STREAM : round % 2 ? NF_PATTERN_STRIDED : NF_PATTERN_GATHER);
        step_ready(&s);
        place_all((unsigned)nf_rng_below(&rng, 101), round % 3 != 0);
        bed_init(&b, &s, 1);
        b.config.warmup_min = b.config.warmup_max = 1;
        b.config.cycles = (unsigned)steps - 1;
        run_trial(&b, &t);
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
        tensor = add_tensor(&s, 64 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
        add_op(&s, 0);
        add_visit(&s, tensor, 64 * PAGE, rws[i % 3])->parallelism = (uint8_t)(half ? 0 : 1);
        step_ready(&s);
        nf_script_deinit(&s.script);
        if (half)
            s.profile.visit_miss_bytes[0] /= 2;
        assert_int_equal(nf_script_init(&s.script, &s.profile, 1), 0);
        place_all(100, false);
        bed_init(&b, &s, 1);
        b.config.warmup_min = b.config.warmup_max = 1;
        b.config.cycles = 2;
        run_trial(&b, &t);
        assert_int_equal(t.tier[1].charged_lines, 2 * 64 * PAGE / 64 / (half ? 2 : 1));
        assert_int_equal(t.tier[1].charged_bytes, 64 * t.tier[1].charged_lines * (rws[i % 3] == NF_RW_READ ? 1 : 2));
        assert_true(t.assumed_k_share == (half ? 1 : 0));
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
        tensors[i] = add_tensor(s, 40 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    for (int i = 0; i < 12; i++) {
        add_op(s, 0);
        add_visit(s, tensors[i / 3 % 2], 40 * PAGE, NF_RW_UPDATE);
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
    run_trial(&b, &t);
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
    run_trial(&b, &t);
    assert_int_equal(t.helper_cpu, b.config.cpu);
    assert_true(t.helper_shares);
    assert_true(t.page_faults || strstr(t.message, "shared a core"));
    assert_true(t.pool.moves >= 5);
    nf_trial_deinit(&t);
    b.config.pool.policy = &policy_ops; /* nobody moves beside */
    b.config.pool.capacity[0] = UINT64_MAX;
    place_all(0, false);
    run_trial(&b, &t);
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
    place_all(100, false);
    b.config.cold = true;
    b.config.cycles = 1;
    run_trial(&b, &t);
    assert_true(t.cold);
    assert_int_equal(t.warmup_steps, 0);
    assert_int_equal(t.steps, 1);
    assert_int_equal(b.memory[1].words[6], 80 * PAGE / 8);
    assert_memory_equal(script.told.data, "+0@0 +1@0 [0:", 13);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* --- time --- */

/* Two operands of 256 KiB, one near, one far; op 1 nothing but time. */
static void step_timed(struct step *s, double dur_ns)
{
    uint32_t a, c;

    step_init(s);
    a = add_tensor(s, 64 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    c = add_tensor(s, 64 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    add_op(s, dur_ns);
    add_visit(s, a, 64 * PAGE, NF_RW_READ);
    add_visit(s, c, 64 * PAGE, NF_RW_READ);
    add_op(s, dur_ns);
    step_ready(s);
    place_all(0, false);
    script.far_percent[1] = 100; /* the second storage is far */
    script.n = 2;
}

/* Upper bounds are of the step that was disturbed least: tests run on machines that do other things. */
enum { TIMED_STEPS = 25 };

static double best_step(const struct nf_trial *t)
{
    double best = t->step_ns[0];

    for (unsigned i = 1; i < t->steps; i++)
        best = t->step_ns[i] < best ? t->step_ns[i] : best;
    return best;
}

static void delay_is_a_lower_bound(void **state)
{
    const double line_ns = 500, far_ns = 64 * PAGE / 64 * line_ns;
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_timed(&s, 0);
    bed_init(&b, &s, line_ns);
    b.config.cycles = TIMED_STEPS;
    run_trial(&b, &t);
    for (unsigned i = 0; i < t.steps; i++)
        assert_true(t.step_ns[i] >= far_ns);
    assert_true(best_step(&t) < 1.2 * far_ns + 200000);
    assert_true(t.tier[1].achieved_latency_ns >= 0.999 * line_ns);
    assert_true(t.tier[1].achieved_bps <= 64e9 / line_ns * 1.001);
    nf_trial_deinit(&t);

    b.config.parallelism_scale = 2; /* twice the lines in flight: half the time */
    place_all(0, false);
    script.far_percent[1] = 100;
    script.n = 2;
    run_trial(&b, &t);
    for (unsigned i = 0; i < t.steps; i++)
        assert_true(t.step_ns[i] >= far_ns / 2);
    assert_true(best_step(&t) < far_ns);
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
        run_trial(&b, &t);
        for (unsigned j = 0; j < t.steps; j++)
            assert_true(t.step_ns[j] >= first + durs[i]);
        assert_true(best_step(&t) < 1.2 * (first + durs[i]) + 200000);
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
    run_trial(&b, &t);
    for (unsigned i = 0; i < t.steps; i++)
        assert_true(t.step_ns[i] >= far_ns + residual[0] + residual[1]);
    assert_true(best_step(&t) < 1.2 * (far_ns + residual[0] + residual[1]) + 200000);
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
    run_trial(&b, &t);
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
    old = add_tensor(&s, 8 * PAGE, NF_OP_BEFORE, 0);
    new = add_tensor(&s, 8 * PAGE, 1, NF_OP_AFTER);
    s.tensors[new].carry_out = 0;
    add_op(&s, 0);
    add_visit(&s, old, PAGE, NF_RW_READ);
    add_op(&s, 0);
    step_ready(&s);
    place_all(0, false);
    script.far_percent[1] = 100;
    script.n = 2;
    bed_init(&b, &s, 1);
    run_trial(&b, &t);
    assert_int_equal(t.status, NF_TRIAL_UNSTEADY);
    assert_int_equal(t.warmup_steps, 8);
    assert_int_equal(t.steps, 3);
    assert_non_null(strstr(t.message, "near residency"));
    nf_trial_deinit(&t);

    place_all(0, false);
    run_trial(&b, &t);
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
    script.illegal = true; /* both tiers hold all of it */
    assert_int_equal(nf_trial_run(&b.config, &t), 0);
    assert_int_equal(t.status, NF_TRIAL_FAILED);
    assert_true(*t.message);
    nf_trial_deinit(&t);

    place_all(0, false);
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
    nothing = add_tensor(&s, 0, 0, 0);
    add_op(&s, 0);
    add_visit(&s, nothing, 0, NF_RW_READ);
    add_op(&s, 0);
    step_ready(&s);
    place_all(0, false);
    bed_init(&b, &s, 1);
    run_trial(&b, &t);
    assert_int_equal(t.status, NF_TRIAL_OK);
    assert_int_equal(t.tier[0].read_bytes, 0);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

static int forget(void **state)
{
    nf_buf_deinit(&script.told);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_captured_order),
        cmocka_unit_test(storages_change_hands_by_slot),
        cmocka_unit_test(every_byte_once),
        cmocka_unit_test(chunks_tile),
        cmocka_unit_test(charges_what_misses),
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

    return cmocka_run_group_tests(tests, NULL, forget);
}
