/* When things may end: chunks by absolute deadlines within their op, stretches of a tier by the deadlines before them, ops by those of
 * the schedule; what is late through memory stays late, once; what is late because the thread did not run is caught up; what the pool
 * takes is never hidden. A signal's handler stands for whoever takes the CPU away. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "replay/worker.h"
#include "tests/unit/engine-bed.h"

enum { PAGE = NF_PAGE_BYTES, MS = 1000000, SHORT = MS / 5, TRIES = 50 };

/* --- the CPU is taken away --- */

static volatile uint64_t taken_until_ns;

static void take(int signal)
{
    while (nf_now_ns() < taken_until_ns)
        ;
}

/* From about from_us on until the given time. */
static void take_cpu(unsigned from_us, uint64_t until_ns)
{
    const struct itimerval timer = {.it_value = {.tv_usec = from_us}};

    taken_until_ns = until_ns;
    setitimer(ITIMER_REAL, &timer, NULL);
}

static int catch_alarms(void **state)
{
    struct sigaction a = {.sa_handler = take, .sa_flags = SA_RESTART};

    return sigaction(SIGALRM, &a, NULL);
}

/* --- chunks of one op, on a tier that says when each may end --- */

enum { CHUNKS = 4, CHUNK = 4 * PAGE };

static char data[CHUNKS * CHUNK] __attribute__((aligned(PAGE)));

static struct {
    uint64_t takes_ns[CHUNKS], start_ns[CHUNKS], asked_ns[CHUNKS]; /* by charge; asked: when the tier was asked */
    unsigned n, taken_at; /* taken_at: the charge during whose wait the CPU is away; CHUNKS: none */
    uint64_t taken_ns;    /* until so long after its deadline */
} tier;

static uint64_t tier_charge(void *state, const struct nf_tier_charge *c, uint64_t start_ns)
{
    unsigned i = tier.n++;
    uint64_t end = start_ns + tier.takes_ns[i];

    assert_true(i < CHUNKS);
    tier.start_ns[i] = start_ns;
    tier.asked_ns[i] = nf_now_ns();
    if (i == tier.taken_at)
        take_cpu(50, end + tier.taken_ns);
    return end;
}

/* One op of four chunks; paced: it took captured_ns. Returns when it began. */
static uint64_t run_chunks(struct nf_worker *w, double captured_ns)
{
    static const struct nf_tier_ops ops = {.charge = tier_charge};
    struct nf_tier far = {.ops = &ops};
    struct nf_pool_storage storage = {.piece = {{data, sizeof data}}, .bytes = sizeof data};
    const struct nf_pool_storage *storages[1] = {&storage};
    const uint32_t only[1] = {0};
    struct nf_script_visit v = {.bytes = sizeof data, .run = sizeof data, .stride = sizeof data, .total = sizeof data, .grain = 64,
                                .rw = NF_RW_READ, .miss_first = 1.0 / 64, .parallelism = 1};
    const struct nf_script_op op = {.operands = {0, 1}, .visits = {0, 1}, .chunks = CHUNKS, .captured_ns = captured_ns};
    const struct nf_script script = {.visits = &v};
    const struct nf_worker_rules rules = {.tiers = &far, .n_tiers = 1, .injects = {true}, .parallelism_scale = 1,
                                          .kernels = *nf_kernels_best()};
    struct nf_worker_op o = {.script = &script, .op = &op, .storages = storages, .only_tier = only, .parts = 1, .chunks = CHUNKS,
                             .paced = captured_ns > 0, .measuring = true};

    memset(w, 0, sizeof *w);
    tier.n = 0;
    nf_pace_init(&w->pace);
    o.start_ns = nf_pace_now(&w->pace);
    nf_worker_run(w, &rules, &o, 0);
    assert_int_equal(tier.n, CHUNKS);
    return o.start_ns;
}

static void tell(uint64_t first, uint64_t second, uint64_t third, uint64_t fourth)
{
    memset(&tier, 0, sizeof tier);
    tier.takes_ns[0] = first;
    tier.takes_ns[1] = second;
    tier.takes_ns[2] = third;
    tier.takes_ns[3] = fourth;
    tier.taken_at = CHUNKS;
}

/* Deadlines of chunks are the op's: one that memory makes late pushes none of the later ones, which have time left. */
static void a_late_chunk_is_caught_up(void **state)
{
    struct nf_worker w;
    uint64_t start;
    int tries = 0;

    tell(5 * MS, 0, 0, 0); /* of 2 ms: late by 3, the next by 1 */
    do
        start = run_chunks(&w, 8 * MS);
    while (w.ended != start + 8 * MS && ++tries < TRIES);
    assert_int_equal(w.ended, start + 8 * MS);
    assert_int_equal(w.lateness.n, CHUNKS);
    assert_true(w.lateness.max_ns >= 3 * MS);
    assert_true(nf_lateness_quantile(&w.lateness, 0.5) >= MS); /* two of them */
    assert_true(w.injected_ns >= 5 * MS - MS / 2);
}

/* An op whose memory takes longer than it did ends when that ends. */
static void a_late_op_ends_late(void **state)
{
    struct nf_worker w;
    uint64_t start;

    tell(3 * MS, 3 * MS, 3 * MS, 3 * MS);
    start = run_chunks(&w, 8 * MS);
    assert_true(w.ended >= start + 12 * MS);
}

/* While nothing but dispatching comes between, a stretch begins at the deadline of the one before, not when its wait was noticed to be over. */
static void stretches_follow_each_other(void **state)
{
    struct nf_worker w;
    int tries = 0, follow;

    tell(SHORT, SHORT, SHORT, SHORT);
    do { /* a thread that is kept from its accesses is late by itself, and begins anew */
        run_chunks(&w, 0);
        follow = 1;
        while (follow < CHUNKS && tier.start_ns[follow] == tier.start_ns[follow - 1] + SHORT)
            follow++;
    } while (follow < CHUNKS && ++tries < TRIES);
    assert_int_equal(follow, CHUNKS);
    assert_int_equal(w.forgiven_ns, 0);
}

/* What takes longer by itself than the tier asks for is late, and stays so. */
static void what_memory_is_late_stays_late(void **state)
{
    struct nf_worker w;

    tell(0, 0, 0, 0);
    run_chunks(&w, 0);
    for (unsigned i = 1; i < CHUNKS; i++)
        assert_true(tier.start_ns[i] >= tier.asked_ns[i - 1]);
    assert_int_equal(w.forgiven_ns, 0);
}

/* A thread that did not run goes on as if it had, for up to a millisecond: as much as a link would have moved meanwhile. */
static void absence_is_caught_up_for_a_while(void **state)
{
    struct nf_worker w;
    int tries = 0;

    tell(SHORT, SHORT, SHORT, SHORT);
    tier.taken_at = 1;
    tier.taken_ns = MS / 2;
    do
        run_chunks(&w, 0);
    while ((tier.start_ns[2] != tier.start_ns[1] + SHORT || w.forgiven_ns) && ++tries < TRIES);
    assert_int_equal(tier.start_ns[2], tier.start_ns[1] + SHORT);
    assert_true(tier.asked_ns[2] >= tier.start_ns[2] + MS / 4); /* it was away indeed */
    tier.taken_ns = 4 * MS;
    tries = 0;
    do
        run_chunks(&w, 0);
    while (w.forgiven_ns < 3 * MS - MS / 4 && ++tries < TRIES);
    assert_true(w.forgiven_ns >= 3 * MS - MS / 4);
    assert_true(tier.start_ns[2] >= tier.start_ns[1] + SHORT + 3 * MS - MS / 4);
}

/* --- ops of a step --- */

/* Steps are short, so that some are disturbed by nobody on a machine that does other things; upper bounds are of those. */
enum { OPS = 5, STEPS = 25 };
static const double SCHEDULED = (double)OPS * SHORT;

/* Ops of SHORT each, the first of which reads `pages` of far. */
static void step_of_ops(struct step *s, uint64_t pages)
{
    uint32_t tensor;

    step_init(s);
    tensor = step_tensor(s, (pages ? pages : 1) * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    for (int i = 0; i < OPS; i++) {
        step_op(s, SHORT);
        if (!i && pages)
            step_visit(s, tensor, pages * PAGE, NF_RW_READ);
    }
    step_ready(s);
    bed_place_all(100, false);
}

/* The next op depends on it, and begins when it ended; the later ones are late by no more than that. */
static void a_late_op_pushes_the_next_ones_once(void **state)
{
    const double line_ns = 1000, late = 16 * PAGE / 64 * line_ns - SHORT; /* 1 ms instead of a fifth */
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_of_ops(&s, 16);
    bed_init(&b, &s, line_ns);
    b.config.overlap = NF_OVERLAP_FULL;
    b.config.cycles = STEPS;
    bed_run_until(&b, SCHEDULED + 1.5 * late, &t);
    for (unsigned i = 0; i < t.steps; i++)
        assert_true(t.step_ns[i] >= SCHEDULED + late);
    assert_true((double)t.late_ns >= t.steps * late);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

static int take_in_an_op(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                         struct nf_policy_moves *moves)
{
    if (op == 2)
        take_cpu(50, nf_now_ns() + SHORT + SHORT / 2); /* until half of the next op is over */
    return 0;
}

/* The op ended when it should; that it was noticed later pushes nothing. */
static void absence_pushes_no_op(void **state)
{
    struct nf_policy_ops policy = bed_policy;
    struct step s;
    struct bed b;
    struct nf_trial t;

    policy.on_op = take_in_an_op;
    step_of_ops(&s, 0);
    bed_init(&b, &s, 100);
    b.config.pool.policy = &policy;
    b.config.overlap = NF_OVERLAP_FULL;
    b.config.cycles = STEPS;
    bed_run_until(&b, SCHEDULED + SHORT / 4, &t);
    assert_true(t.stolen_ns >= t.steps * (uint64_t)SHORT); /* it was away, in each */
    for (unsigned i = 0; i < t.steps; i++)
        assert_true(t.step_ns[i] >= SCHEDULED);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

static int take_in_the_accesses(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                                struct nf_policy_moves *moves)
{
    if (op == 0)
        take_cpu(50, nf_now_ns() + 2 * MS);
    return 0;
}

/* Accesses of some tenths of a millisecond a step, as fast as they go. */
static void read_all(bool taken, struct nf_trial *t)
{
    struct nf_policy_ops policy = bed_policy;
    struct step s;
    struct bed b;

    policy.on_op = taken ? take_in_the_accesses : bed_policy.on_op;
    step_of_ops(&s, BED_ARENA / PAGE / 2);
    bed_place_all(0, false);
    bed_init(&b, &s, 100);
    b.config.pool.policy = &policy;
    b.config.cycles = STEPS;
    bed_run(&b, t);
    assert_int_equal(t->injected_ns + t->compute_ns, 0);
    step_deinit(&s);
}

/* Nobody waits where accesses go as fast as they can, and an absence is noticed all the same: by its chunk. */
static void absence_in_accesses_is_noticed(void **state)
{
    double best = 1e18;
    uint64_t seen = 0;
    struct nf_trial t;

    for (int i = 0; i < TRIES && seen < STEPS * MS; i++) { /* where the timer is late, the step may be over */
        read_all(true, &t);
        seen = t.stolen_ns;
        assert_true(t.stolen_ns < t.wall_ns);
        nf_trial_deinit(&t);
    }
    assert_in_range(seen, STEPS * MS, UINT64_MAX); /* of two in each step */
    /* Left alone, a thread was away no longer than its steps are longer than the best of all. */
    for (int i = 0; i < 5; i++) {
        read_all(false, &t);
        best = bed_best_step(&t) < best ? bed_best_step(&t) : best;
        if ((double)t.stolen_ns > (double)t.wall_ns - best * STEPS / 2)
            fail_msg("%.3g ms were stolen of %.3g, where %.3g are accesses", (double)t.stolen_ns / MS, (double)t.wall_ns / MS, best * STEPS / MS);
        nf_trial_deinit(&t);
    }
}

/* --- the pool's time --- */

static struct {
    uint64_t access_ns, after_ns, stall_ns;
} busy;

static void spin(uint64_t ns)
{
    uint64_t until = nf_now_ns() + ns;

    while (ns && nf_now_ns() < until)
        ;
}

static int think(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                 struct nf_policy_moves *moves)
{
    spin(busy.access_ns);
    moves->stall_ns = busy.stall_ns;
    return 0;
}

static int think_after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    spin(busy.after_ns);
    return 0;
}

/* What a policy thinks and what it waits for comes on top of the captured time: nothing of the job's hides it. */
static void the_pools_time_is_never_hidden(void **state)
{
    static const struct {
        uint64_t access_ns, after_ns, stall_ns;
    } cases[] = {{SHORT, 0, 0}, {0, SHORT, 0}, {0, 0, SHORT}, {0, 0, 0}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nf_policy_ops policy = bed_policy;
        struct step s;
        struct bed b;
        struct nf_trial t;
        double more = (double)(cases[i].access_ns + cases[i].after_ns + cases[i].stall_ns) * OPS;

        policy.on_op = think;
        policy.on_op_end = think_after;
        memcpy(&busy, &cases[i], sizeof busy);
        step_of_ops(&s, 0);
        bed_init(&b, &s, 100);
        b.config.pool.policy = &policy;
        b.config.overlap = NF_OVERLAP_FULL;
        b.config.cycles = STEPS; /* some of them with nothing else that would make them long enough */
        bed_run(&b, &t);
        /* The policy's time is counted in ticks, whose length is an estimate. */
        for (unsigned k = 0; k < t.steps; k++) {
            if (t.step_ns[k] < SCHEDULED + 0.95 * more)
                fail_msg("case %zu: a step takes %.3g ms with %.3g ms of the pool's", i, t.step_ns[k] / MS, more / MS);
        }
        nf_trial_deinit(&t);
        step_deinit(&s);
    }
}

/* --- time that is nobody's --- */

static int work_between(void *ctx, uint32_t class_index, uint32_t next_op)
{
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(page != MAP_FAILED);
    *(volatile char *)page = 1;
    munmap(page, PAGE);
    spin(2 * SHORT);
    return 0;
}

/* Whoever reads the next batch of the stream works while the clock stands still: neither its time nor its page faults are the trial's. */
static void what_is_done_between_ops_is_in_no_figure(void **state)
{
    static const enum nf_overlap overlaps[] = {NF_OVERLAP_FULL, NF_OVERLAP_NONE};
    const double residual[OPS] = {SHORT, SHORT, SHORT, SHORT, SHORT};
    const double *const residuals[1] = {residual};

    for (int i = 0; i < 2; i++) {
        struct step s;
        struct bed b;
        struct nf_trial t;

        step_of_ops(&s, 0);
        bed_init(&b, &s, 100);
        b.config.overlap = overlaps[i];
        b.config.residual_ns = residuals;
        b.config.cycles = STEPS;
        b.config.between = work_between;
        bed_run_until(&b, SCHEDULED + SHORT, &t);
        for (unsigned k = 0; k < t.steps; k++)
            assert_true(t.step_ns[k] >= SCHEDULED);
        assert_true(t.page_faults < STEPS * OPS);
        nf_trial_deinit(&t);
        step_deinit(&s);
    }
}

/* --- what a tier gave meanwhile --- */

/* Two threads move twice as many bytes in the time of an op they share, and no more in that of one which only the first runs. */
static void bandwidth_counts_the_threads_of_each_op(void **state)
{
    enum { LARGE = 64, SMALL = 4, SMALL_OPS = 8, GOES = 9 };
    const double line_ns = 40, alone = 64e9 / line_ns;
    double best = 0;
    struct step s;
    struct bed b;
    struct nf_trial t;

    step_init(&s);
    step_tensor(&s, LARGE * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    for (int i = 0; i < SMALL_OPS; i++) {
        step_op(&s, 0);
        step_visit(&s, 0, SMALL * PAGE, NF_RW_READ);
    }
    step_ready(&s);
    s.stream.threads = 2;
    bed_place_all(100, false);
    bed_init(&b, &s, line_ns);
    if (nf_engine_threads(&b.config) < 2)
        skip();
    bed_run(&b, &t);
    assert_int_equal(t.threads, 2);
    assert_true(t.tier[1].achieved_bps > 0 && t.tier[1].achieved_bps <= alone * 1.001);
    nf_trial_deinit(&t);
    step_deinit(&s);

    step_init(&s);
    step_tensor(&s, LARGE * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    step_op(&s, 0);
    step_visit(&s, 0, LARGE * PAGE, NF_RW_READ);
    step_op(&s, 0);
    step_visit(&s, 0, SMALL * PAGE, NF_RW_READ);
    step_ready(&s);
    s.stream.threads = 2;
    bed_place_all(100, false);
    bed_init(&b, &s, line_ns);
    for (int i = 0; i < GOES; i++) { /* the least disturbed */
        bed_run(&b, &t);
        best = t.tier[1].achieved_bps > best ? t.tier[1].achieved_bps : best;
        nf_trial_deinit(&t);
    }
    assert_true(best <= alone * (LARGE + SMALL) / (LARGE / 2 + SMALL) * 1.001);
    assert_true(best > 1.2 * alone);
    step_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_chunk_is_caught_up),
        cmocka_unit_test(a_late_op_ends_late),
        cmocka_unit_test(stretches_follow_each_other),
        cmocka_unit_test(what_memory_is_late_stays_late),
        cmocka_unit_test(absence_is_caught_up_for_a_while),
        cmocka_unit_test(a_late_op_pushes_the_next_ones_once),
        cmocka_unit_test(absence_pushes_no_op),
        cmocka_unit_test(absence_in_accesses_is_noticed),
        cmocka_unit_test(the_pools_time_is_never_hidden),
        cmocka_unit_test(what_is_done_between_ops_is_in_no_figure),
        cmocka_unit_test(bandwidth_counts_the_threads_of_each_op),
    };

    return cmocka_run_group_tests(tests, catch_alarms, bed_forget);
}
