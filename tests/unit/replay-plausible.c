/* What a trial's figures are held against when somebody else could write to them: a real trial is plausible, and each figure that cannot
 * be makes it implausible, in the right words. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "replay/plausible.h"
#include "tests/unit/engine-bed.h"

enum { PAGE = NF_PAGE_BYTES };

/* Reads, writes and updates, twice over, in parts on both tiers; a gather. */
static void make_trial(struct step *s, struct bed *b, struct nf_trial *t)
{
    struct nf_visit *v;
    uint32_t kept;

    step_init(s);
    kept = step_tensor(s, 64 * PAGE, NF_OP_BEFORE, NF_OP_AFTER);
    step_tensor(s, 16 * PAGE, 0, 1);
    step_op(s, 1000);
    step_visit(s, kept, 64 * PAGE, NF_RW_READ)->touches_q8 = 512;
    step_visit(s, 1, 16 * PAGE, NF_RW_WRITE);
    step_op(s, 1000);
    step_visit(s, kept, 32 * PAGE, NF_RW_UPDATE);
    v = step_visit(s, 1, PAGE, NF_RW_READ);
    v->pattern = NF_PATTERN_GATHER;
    v->run = 64;
    v->stride = 256;
    step_ready(s);
    bed_place_all(50, false);
    bed_init(b, s, 1);
    b->config.pool.capacity[0] = 64 * PAGE;
    b->config.cycles = 2;
    bed_run(b, t);
}

static void figures_that_cannot_be_are_found(void **state)
{
    static const char range[] = "a figure is out of its range", other[] = "it is not the trial that was asked for",
                      times[] = "its times are not those of its steps", bytes[] = "its bytes are not those of the step's visits",
                      moves[] = "its tiers hold more than they may, or moved what never arrived";
    const double nan = NAN, minus = -1;
    struct step s;
    struct bed b;
    struct nf_trial t;

    make_trial(&s, &b, &t);
    assert_null(nf_trial_implausible(&t, &b.config));
    const struct {
        void *at;
        const void *value;
        size_t size;
        const char *words;
    } cases[] = {
        {&t.status, &(int){3}, 4, range}, {&t.status, &(int){-1}, 4, range}, {&t.saturated, &(char){2}, 1, range},
        {&t.helper_shares, &(char){-1}, 1, range}, {&t.helper_cpu, &(int){-2}, 4, range}, {&t.threads, &(unsigned){0}, 4, range},
        {&t.step_ns[1], &nan, 8, range}, {&t.step_ns[0], &minus, 8, range}, {&t.step_ns[0], &(double){INFINITY}, 8, range},
        {&t.assumed_k_share, &(double){1.5}, 8, range}, {&t.scheduled_ns, &nan, 8, range}, {&t.background_bps, &minus, 8, range},
        {&t.tier[1].achieved_bps, &nan, 8, range}, {&t.tier[0].achieved_latency_ns, &minus, 8, range}, {&t.steps, &(unsigned){3}, 4, range},
        {&t.steps, &(unsigned){1}, 4, other}, {&t.store, &(int){NF_STORE_NON_TEMPORAL}, 4, other}, {&t.cold, &(char){1}, 1, other},
        {&t.proofs, &(unsigned){2}, 4, other}, {&t.warmup_steps, &(unsigned){9}, 4, other},
        {&t.wall_ns, &(uint64_t){t.wall_ns * 2}, 8, times}, {&t.wall_ns, &(uint64_t){1}, 8, times},
        {&t.step_ns[1], &(double){t.step_ns[1] + 1000}, 8, times}, {&t.memory_ns, &(uint64_t){t.wall_ns + 1}, 8, times},
        {&t.injected_ns, &(uint64_t){t.wall_ns + 1}, 8, times}, {&t.compute_ns, &(uint64_t){t.wall_ns + 1}, 8, times},
        {&t.tier[0].read_bytes, &(uint64_t){t.tier[0].read_bytes - 64}, 8, bytes}, {&t.tier[1].write_bytes, &(uint64_t){0}, 8, bytes},
        {&t.tier[1].charged_lines, &(uint64_t){t.tier[1].charged_lines * 4}, 8, bytes},
        {&t.tier[1].charged_bytes, &(uint64_t){UINT64_MAX}, 8, bytes}, {&t.tier[2].read_bytes, &(uint64_t){1}, 8, bytes},
        {&t.tier[0].miss_read_bytes, &(uint64_t){1 << 30}, 8, bytes},
        {&t.pool.tier[0].peak_bytes, &(uint64_t){65 * PAGE}, 8, moves}, {&t.pool.tier[1].moved_in_bytes, &(uint64_t){PAGE}, 8, moves},
        {&t.pool.moved_bytes, &(uint64_t){PAGE}, 8, moves}, {&t.pool.refused, &(uint64_t){1}, 8, moves},
        {&t.pool.tier[0].copy_bytes, &(uint64_t){UINT64_MAX}, 8, moves}, {&t.pool.tier[3].live_bytes, &(uint64_t){PAGE}, 8, moves},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char before[8];
        const char *found;

        memcpy(before, cases[i].at, cases[i].size);
        memcpy(cases[i].at, cases[i].value, cases[i].size);
        found = nf_trial_implausible(&t, &b.config);
        if (!found || strcmp(found, cases[i].words))
            fail_msg("case %zu: %s instead of %s", i, found ? found : "nothing is found", cases[i].words);
        memcpy(cases[i].at, before, cases[i].size);
    }
    assert_null(nf_trial_implausible(&t, &b.config));
    memset(t.cpus, 'x', sizeof t.cpus); /* without an end */
    assert_string_equal(nf_trial_implausible(&t, &b.config), range);
    nf_trial_deinit(&t);
    step_deinit(&s);
}

/* A failed trial stands for nothing but its message. */
static void failures_are_read(void **state)
{
    struct step s;
    struct bed b;
    struct nf_trial t;

    make_trial(&s, &b, &t);
    t.status = NF_TRIAL_FAILED;
    t.wall_ns = t.steps = t.proofs = 0;
    assert_null(nf_trial_implausible(&t, &b.config));
    t.background_bps = NAN;
    assert_non_null(nf_trial_implausible(&t, &b.config));
    nf_trial_deinit(&t);
    step_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(figures_that_cannot_be_are_found), cmocka_unit_test(failures_are_read)};

    return cmocka_run_group_tests(tests, NULL, bed_forget);
}
