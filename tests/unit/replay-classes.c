/* What the k table and the flush figures are made of: which lines each class of access touches and how, and what is written back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/stream.h"
#include "replay/access-class.h"
#include "replay/flush.h"

enum { BLOCK_BYTES = 65536, BLOCKS_A_RUN = 64, RUNS = 2, BYTES = RUNS * BLOCKS_A_RUN * BLOCK_BYTES, LINES = BYTES / NF_LINE_BYTES };
enum { BEFORE = 0x5a };

static char *memory;

static int setup(void **state)
{
    memory = aligned_alloc(BLOCK_BYTES, BYTES);
    return memory ? 0 : -1;
}

static int teardown(void **state)
{
    free(memory);
    return 0;
}

/* Lines that do not hold what they held before; the last two bits of their numbers, or'ed. */
static uint64_t changed(unsigned *low)
{
    char before[NF_LINE_BYTES];
    uint64_t n = 0;

    memset(before, BEFORE, sizeof before);
    *low = 0;
    for (uint64_t i = 0; i < LINES; i++) {
        if (!memcmp(memory + i * NF_LINE_BYTES, before, sizeof before))
            continue;
        *low |= (unsigned)i & 3;
        n++;
    }
    return n;
}

static bool named(const struct nf_access_class *c)
{
    static const char *const patterns[] = {[NF_PATTERN_STREAM] = "stream", [NF_PATTERN_STRIDED] = "strided", [NF_PATTERN_GATHER] = "gather"};
    static const char *const kinds[] = {[NF_RW_READ] = "read", [NF_RW_WRITE] = "write", [NF_RW_UPDATE] = "update"};
    char name[32];

    snprintf(name, sizeof name, "%s %s", patterns[c->pattern], kinds[c->rw]);
    return !strcmp(c->name, name);
}

/* Reads change nothing; the others every line of their part, or every fourth; the second run has the other half. */
static void classes_touch_their_lines(void **state)
{
    for (int i = 0; i < NF_ACCESS_CLASSES; i++) {
        const struct nf_access_class *c = &nf_access_classes[i];
        uint64_t each = c->rw == NF_RW_READ ? 0 : LINES / RUNS / (c->pattern == NF_PATTERN_STRIDED ? 4 : 1);

        assert_true(named(c));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(nf_access_classes[j].name, c->name);
        memset(memory, BEFORE, BYTES);
        for (unsigned run = 0; run < RUNS; run++) {
            double rate = nf_access_class_run(c, memory, BYTES, run);
            unsigned low;
            uint64_t n = changed(&low);

            assert_true(rate > 0 && isfinite(rate) && rate < 100);
            if (n != (run + 1) * each || low != (each == 0 || c->pattern == NF_PATTERN_STRIDED ? 0 : 3))
                fail_msg("%s, run %u: %llu lines for %llu, low bits %u", c->name, run, (unsigned long long)n,
                         (unsigned long long)((run + 1) * each), low);
        }
    }
}

/* An update is once per line: neither a line is missed nor one touched twice. */
static void each_line_once(void **state)
{
    for (int i = 0; i < NF_ACCESS_CLASSES; i++) {
        const struct nf_access_class *c = &nf_access_classes[i];
        char first[NF_LINE_BYTES];

        if (c->rw != NF_RW_UPDATE || c->pattern == NF_PATTERN_STRIDED)
            continue;
        memset(memory, BEFORE, BYTES);
        for (unsigned run = 0; run < RUNS; run++)
            nf_access_class_run(c, memory, BYTES, run);
        memcpy(first, memory, sizeof first);
        for (uint64_t line = 0; line < LINES; line++)
            assert_memory_equal(memory + line * NF_LINE_BYTES, first, sizeof first);
    }
}

enum { FLUSHED = 8 * 256 }; /* lines of one run */

static void stores_and_writes_back(void **state)
{
    double (*const runs[])(char *, uint64_t, unsigned) = {nf_flush_run, nf_flush_fence_run};

    if (!*nf_flush_name()) {
        print_message("no instruction known here writes a line back\n");
        skip();
    }
    for (int i = 0; i < 2; i++)
        for (unsigned run = 0; run < 2; run++) {
            uint64_t n = 0;
            double ns;

            memset(memory, BEFORE, BYTES);
            ns = runs[i](memory, BYTES, run);
            assert_true(ns > 0 && ns < 1e6);
            for (uint64_t line = 0; line < LINES; line++)
                n += memory[line * NF_LINE_BYTES] == 2;
            assert_int_equal(n, FLUSHED);
            /* The other part of the second run. */
            assert_int_equal(memory[(uint64_t)run * FLUSHED * NF_LINE_BYTES], 2);
            assert_int_equal(memory[(uint64_t)(1 - run) * FLUSHED * NF_LINE_BYTES], BEFORE);
        }
}

/* Waiting for each line takes longer than once for all of them; of the quietest of several runs, as others run here too. */
static void a_fence_for_each_costs_more(void **state)
{
    double flush = INFINITY, fence = INFINITY;

    if (!*nf_flush_name())
        skip();
    for (unsigned run = 0; run < 30; run++) {
        flush = fmin(flush, nf_flush_run(memory, BYTES, run));
        fence = fmin(fence, nf_flush_fence_run(memory, BYTES, run));
    }
    if (!(fence > flush))
        fail_msg("%g ns with a fence each, %g ns with one", fence, flush);
}

/* The kernel's list of what this CPU has. */
static void the_instruction_is_one_that_is_here(void **state)
{
    static const char *const all[] = {"clwb", "clflushopt", "clflush"};
    char line[16384], word[32];
    FILE *f = fopen("/proc/cpuinfo", "re");
    const char *first = "";

    if (!*nf_flush_name())
        skip();
    assert_non_null(f);
    while (fgets(line, sizeof line, f) && strncmp(line, "flags", 5))
        ;
    fclose(f);
    line[strcspn(line, "\n")] = '\0';
    strcat(line, " ");
    for (int i = 2; i >= 0; i--) {
        snprintf(word, sizeof word, " %s ", all[i]);
        first = strstr(line, word) ? all[i] : first;
    }
    assert_string_equal(nf_flush_name(), first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_touch_their_lines),
        cmocka_unit_test(each_line_once),
        cmocka_unit_test(stores_and_writes_back),
        cmocka_unit_test(a_fence_for_each_costs_more),
        cmocka_unit_test(the_instruction_is_one_that_is_here),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
