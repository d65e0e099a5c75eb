/* A job whose pages are dealt by weight: how that is asked for, the library that does it, loaded as a job would have it, and what is made of
 * its counts. That pages come to several nodes by their weights is tried in a guest that has several. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "live/spread-file.h"
#include "live/spread.h"
#include "tests/unit/live-bed.h"

enum { PAGE = 4096 };

static const char *folder; /* with preload/libnearfar-spreader.so */

/* --- how it is asked for --- */

static void weights_are_one_per_tier(void **state)
{
    static const char *const one[] = {"numa:node=0"}, *const twice[] = {"numa:node=0", "numa:node=0"};
    static const char *const wrong[] = {"weighted:", "weighted:5:3", "weighted:weights=", "weighted:weights=5", "weighted:weights=5:3:1",
                                        "weighted:weights=0:3", "weighted:weights=5:256", "weighted:weights=5:-3", "weighted:weights=5:3:",
                                        "weighted:weights=5.5:3", "interleave:weights=5:3", "weight", "weightedx:weights=5:3"};
    struct nf_live_binding b;
    char why[128];

    if (nf_binding_probe(why, sizeof why)) {
        print_message("%s\n", why);
        skip();
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (nf_live_binding_init(&b, wrong[i], twice, 2) != -EINVAL || strstr(nf_error_text(0), "two tiers are on"))
            fail_msg("%s: '%s'", wrong[i], nf_error_text(0));
    }
    assert_int_equal(nf_live_binding_init(&b, "weighted:weights=5:3", twice, 2), -EINVAL);
    assert_non_null(strstr(nf_error_text(0), "two tiers are on node 0"));
    assert_int_equal(nf_live_binding_init(&b, "weighted:weights=5", one, 1), -ENODEV);
    assert_int_equal(nf_live_binding_init(&b, "near", one, 1), 0);
    assert_int_equal(b.weights[0], 0);
    assert_string_equal(b.text, "near: node 0");
}

/* --- the library --- */

static const struct nf_live_binding alone = {.nodes = {0}, .n_nodes = 1, .weights = {3}};

static const struct nf_job_placer *load(struct nf_live_spread *s)
{
    MUST(!nf_live_spread_init(s, &alone, 64 * PAGE, folder));
    MUST(!nf_live_spread_enter(s) && !strcmp(getenv(NF_SPREAD_ENV), s->preloaded.path) && strstr(getenv("LD_PRELOAD"), "libnearfar-spreader.so"));
    return bed_load(&s->preloaded);
}

static void deals(void)
{
    struct nf_live_spread s;
    const struct nf_job_placer *job = load(&s);
    char text[256], want[64], *block, *other;

    MUST(!job->allocate(64, 100) && !job->allocate(2 << 20, 4 * PAGE)); /* the heap's */
    block = job->allocate(64, 10 * PAGE - 5);
    MUST(block && job->owns(block) && job->usable(block) == 10 * PAGE && !job->owns(text));
    for (int i = 0; i < 10 * PAGE; i++)
        MUST(!block[i]);
    memset(block, 1, 10 * PAGE);
    job->training();
    job->step();
    MUST(nf_live_spread_judge(&s, &alone, text, sizeof text) == -EPROTO && strstr(nf_error_text(0), "second step"));
    other = job->allocate(64, 4 * PAGE);
    MUST(other && other != block && block[10 * PAGE - 1] == 1);
    job->release(block);
    block = job->allocate(64, 6 * PAGE); /* on pages that have their node */
    MUST(block);
    job->step();
    MUST(!nf_live_spread_judge(&s, &alone, text, sizeof text));
    snprintf(want, sizeof want, "%d + ", 10 + 4);
    MUST(strstr(text, want) && strstr(text, "pages on node 0"));
    nf_live_spread_deinit(&s);
}

/* A child places nothing of its own and frees what it has a copy of. */
static void forks(void)
{
    struct nf_live_spread s;
    const struct nf_job_placer *job = load(&s);
    char *block = job->allocate(64, 2 * PAGE);
    pid_t pid;

    MUST(block);
    pid = fork();
    if (!pid) {
        MUST(!job->allocate(64, 2 * PAGE));
        job->release(block);
        job->step();
        _exit(0);
    }
    MUST(bed_ended_well(pid));
    MUST(job->allocate(64, 2 * PAGE) != block);
    nf_live_spread_deinit(&s);
}

static size_t spoilt; /* byte of the file */

/* What it is told nonsense it takes for nothing. */
static void nonsense(void)
{
    struct nf_live_spread s;
    const struct nf_job_placer *job;

    MUST(!nf_live_spread_init(&s, &alone, 64 * PAGE, folder));
    memset((char *)s.preloaded.file + spoilt, spoilt == offsetof(struct nf_spread_file, weight) ? 0 : 0xff, 4);
    job = bed_load(&s.preloaded);
    MUST(!job->allocate(64, 2 * PAGE) && !job->owns(&s));
    job->training();
    job->step();
    nf_live_spread_deinit(&s);
}

static void skip_without_nodes(void)
{
    char why[128];

    if (!nf_binding_probe(why, sizeof why) && nf_binding_local_node() == 0)
        return;
    print_message("%s\n", why);
    skip();
}

static void blocks_are_dealt(void **state)
{
    skip_without_nodes();
    bed_apart(deals);
}

static void children_place_nothing(void **state)
{
    bed_apart(forks);
}

static void nonsense_is_ignored(void **state)
{
    static const size_t at[] = {offsetof(struct nf_spread_file, magic), offsetof(struct nf_spread_file, version),
                                offsetof(struct nf_spread_file, n_tiers), offsetof(struct nf_spread_file, node),
                                offsetof(struct nf_spread_file, weight)};

    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        spoilt = at[i];
        bed_apart(nonsense);
    }
}

/* --- what is made of it --- */

static void counts_are_judged(void **state)
{
    static const struct nf_live_binding two = {.nodes = {0, 2}, .n_nodes = 2, .weights = {5, 3}};
    static const struct {
        uint32_t jobs, looked;
        uint64_t refused, blocks[2], others[2], wrong, elsewhere;
        int rc;
        const char *says;
    } cases[] = {
        {1, 1, 0, {500, 300}, {50, 30}, 0, 0, 0, "500 + 50 pages on node 0, 300 + 30 pages on node 2"},
        {1, 1, 0, {500, 300}, {90, 30}, 0, 40, 0, "500 + 90"},
        {0, 0, 0, {0}, {0}, 0, 0, -EPROTO, "was not spread"},
        {1, 0, 0, {0}, {0}, 0, 0, -EPROTO, "second step"},
        {1, 1, 2, {500, 300}, {0}, 0, 0, -ENOSPC, "more memory"},
        {1, 1, 0, {500, 300}, {0}, 1, 0, -EXDEV, "1 pages of the job's blocks"},
        {1, 1, 0, {500, 300}, {500, 0}, 0, 0, -EXDEV, "14 %"},
        {1, 1, 0, {500, 300}, {0}, 0, 100, -EXDEV, "11 %"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nf_spread_file f = {.jobs = cases[i].jobs, .looked = cases[i].looked, .refused = cases[i].refused, .wrong = cases[i].wrong,
                                   .elsewhere = cases[i].elsewhere, .blocks = {cases[i].blocks[0], cases[i].blocks[1]},
                                   .others = {cases[i].others[0], cases[i].others[1]}};
        struct nf_live_spread s = {.preloaded.file = &f};
        char text[256] = "";
        int rc = nf_live_spread_judge(&s, &two, text, sizeof text);

        if (rc != cases[i].rc || !strstr(rc ? nf_error_text(rc) : text, cases[i].says))
            fail_msg("case %zu: %d '%s' '%s'", i, rc, text, rc ? nf_error_text(rc) : "");
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_one_per_tier), cmocka_unit_test(blocks_are_dealt), cmocka_unit_test(children_place_nothing),
        cmocka_unit_test(nonsense_is_ignored), cmocka_unit_test(counts_are_judged),
    };

    folder = argc > 1 ? argv[1] : "";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
