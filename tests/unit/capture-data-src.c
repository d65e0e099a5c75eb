/* Words of data_src: what kernels old and new write for known accesses, and any 64 bits at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <linux/perf_event.h>

#include "capture/data-src.h"
#include "core/model/memory-level.h"
#include "core/base/rng.h"

#define P(a, b) PERF_MEM_S(a, b)
#define NUMBER(n) ((uint64_t)(n) << PERF_MEM_LVLNUM_SHIFT)
#define REMOTE (1ull << PERF_MEM_REMOTE_SHIFT)

static const struct {
    uint64_t value;
    enum nf_memory_level level;
    const char *text;
} cases[] = {
    {0, NF_LEVEL_UNKNOWN, ""},
    /* PERF_MEM_NA: an event that has no data source */
    {P(OP, NA) | P(LVL, NA) | P(SNOOP, NA) | P(LOCK, NA) | P(TLB, NA) | P(LVLNUM, NA), NF_LEVEL_UNKNOWN, ""},
    /* Skylake load latency, kernel 4.14 and later: levels twice */
    {P(OP, LOAD) | P(LVL, HIT) | P(LVL, L3) | P(LVLNUM, L3) | P(SNOOP, HITM) | P(TLB, HIT) | P(TLB, L1) | P(TLB, L2) |
         P(LOCK, LOCKED), NF_LEVEL_LLC, "load, LLC, hitm, L1 or L2 dtlb hit, locked"},
    {P(OP, LOAD) | P(LVL, HIT) | P(LVL, LFB) | P(LVLNUM, LFB) | P(SNOOP, NONE), NF_LEVEL_FILL,
     "load, fill buffer, no snoop"},
    {P(OP, LOAD) | P(LVL, HIT) | P(LVL, REM_RAM1) | P(LVLNUM, RAM) | REMOTE | P(SNOOP, MISS), NF_LEVEL_REMOTE_DRAM,
     "load, remote DRAM, snoop miss"},
    {P(OP, LOAD) | P(LVLNUM, L3) | REMOTE | P(SNOOPX, FWD), NF_LEVEL_OTHER_CACHE, "load, other cache, forwarded"},
    {P(OP, LOAD) | P(LVLNUM, PMEM), NF_LEVEL_PMM, "load, PMM"},
    {P(OP, LOAD) | P(LVLNUM, PMEM) | REMOTE, NF_LEVEL_REMOTE_PMM, "load, remote PMM"},
    /* AMD Zen 4 IBS */
    {P(OP, LOAD) | NUMBER(9), NF_LEVEL_CXL, "load, CXL"},
    {P(OP, LOAD) | NUMBER(9) | REMOTE | P(HOPS, 1), NF_LEVEL_CXL, "load, CXL, same socket"},
    {P(OP, LOAD) | P(LVLNUM, ANY_CACHE) | P(SNOOP, HIT) | P(HOPS, 0) | REMOTE, NF_LEVEL_OTHER_CACHE,
     "load, other cache, same node, snoop hit"},
    {P(OP, LOAD) | NUMBER(8), NF_LEVEL_UNCACHED, "load, uncached"},
    {P(OP, LOAD) | NUMBER(5), NF_LEVEL_FILL, "load, fill buffer"},
    /* Kernels before 4.14: bits alone */
    {P(OP, LOAD) | P(LVL, HIT) | P(LVL, L1), NF_LEVEL_L1, "load, L1"},
    {P(OP, LOAD) | P(LVL, HIT) | P(LVL, LOC_RAM) | P(SNOOP, MISS), NF_LEVEL_DRAM, "load, DRAM, snoop miss"},
    {P(OP, LOAD) | P(LVL, MISS) | P(LVL, L3), NF_LEVEL_BEYOND_LLC, "load, beyond LLC"},
    {P(OP, LOAD) | P(LVL, HIT) | P(LVL, REM_CCE1), NF_LEVEL_OTHER_CACHE, "load, other cache"},
    {P(OP, LOAD) | P(LVL, HIT) | P(LVL, IO), NF_LEVEL_UNCACHED, "load, uncached"},
    {P(OP, LOAD) | P(LVL, HIT) | P(LVL, UNC), NF_LEVEL_UNCACHED, "load, uncached"},
    /* A store that missed L1; what blocked a load; a prefetch */
    {P(OP, STORE) | P(LVL, L1) | P(LVL, MISS) | P(LVLNUM, NA) | P(TLB, MISS) | P(TLB, WK), NF_LEVEL_UNKNOWN,
     "store, L1 missed, walker dtlb miss"},
    {P(OP, LOAD) | P(LVLNUM, L2) | P(BLK, DATA) | P(BLK, ADDR), NF_LEVEL_L2,
     "load, L2, blocked by data, blocked by address"},
    {P(OP, LOAD) | P(OP, STORE) | P(LVLNUM, L1), NF_LEVEL_L1, "load, store, L1"},
    {P(OP, PFETCH) | P(LVLNUM, L4), NF_LEVEL_LLC, "prefetch, LLC"},
    /* Bits newer than we know change nothing. */
    {P(OP, LOAD) | P(LVLNUM, RAM) | 0xffffull << 46, NF_LEVEL_DRAM, "load, DRAM"},
};

static void known(void **state)
{
    char text[NF_DATA_SRC_TEXT];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(nf_data_src_text(cases[i].value, text, sizeof text), cases[i].text);
        assert_int_equal(nf_memory_level_of(cases[i].value), cases[i].level);
    }
}

static void anything(void **state)
{
    struct nf_rng r = {5};
    char text[NF_DATA_SRC_TEXT], small[8];
    size_t longest = 0;

    for (unsigned i = 0; i < 200000; i++) {
        uint64_t v = i ? nf_rng_next(&r) : UINT64_MAX;

        if (i % 3 == 0)
            v |= 0x1f80000000full | 0x7full << 26 | 0x1full << 19;
        nf_data_src_text(v, text, sizeof text);
        longest = strlen(text) > longest ? strlen(text) : longest;
        nf_data_src_text(v, small, sizeof small);
        assert_memory_equal(small, text, strlen(small));
        assert_string_not_equal(nf_memory_level_name(nf_memory_level_of(v)), "invalid");
    }
    assert_true(longest > 100 && longest < NF_DATA_SRC_TEXT - 1); /* nothing was cut */
    assert_string_equal(nf_memory_level_name(NF_LEVEL_COUNT), "invalid");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known), cmocka_unit_test(anything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
