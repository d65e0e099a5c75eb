/* Replacement rules against counts from elsewhere, and what holds whatever the rule: bytes, pins, what is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/model/cache-rule.h"

enum { OBJECTS = 1000, REQUESTS = 20000 };
enum kind { SKEWED, SCANNED, LOOPED };

static uint32_t ids[REQUESTS];
static uint64_t sizes[OBJECTS];
static uint8_t hit[REQUESTS];

/* A few objects often and many seldom; the same with a long scan in between; in turn with loops. */
static void make_trace(enum kind kind)
{
    struct nf_rng r = {kind + 1};

    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t skewed = (uint32_t)nf_rng_below(&r, 1 + nf_rng_below(&r, 1 + nf_rng_below(&r, OBJECTS)));

        if (kind == SKEWED)
            ids[i] = skewed;
        else if (kind == SCANNED)
            ids[i] = i % 8 < 2 ? OBJECTS / 2 + i / 8 % (OBJECTS / 2) : skewed % (OBJECTS / 2);
        else
            ids[i] = i / 4000 % 2 ? i % 400 : skewed;
    }
    for (uint32_t i = 0; i < OBJECTS; i++)
        sizes[i] = 1 + i * 7 % 64;
}

/* What libCacheSim (github.com/1a1a11a/libCacheSim, commit aa0fc40914b2) does with these requests at its defaults: how many hit,
 * and a hash over which. GDSF is compared at one size only: with several, two priorities that are equal on paper may differ
 * in their last bit, and its 1e6 in the numerator rounds elsewhere. */
static const struct {
    enum kind kind;
    bool sized;
    enum nf_cache_rule rule;
    uint64_t capacity, hits, which;
} expected[] = {
    {SKEWED, false, NF_CACHE_LRU, 20, 2153, 0xe0f513952291fc5e},
    {SKEWED, false, NF_CACHE_LRU, 100, 8412, 0x7b0fe1d0351a07fe},
    {SKEWED, false, NF_CACHE_LRU, 500, 18490, 0x28579c9ba69cdd41},
    {SKEWED, false, NF_CACHE_CLOCK, 20, 2248, 0x475675a5b66b8b06},
    {SKEWED, false, NF_CACHE_CLOCK, 100, 8771, 0x422846279a490fe5},
    {SKEWED, false, NF_CACHE_CLOCK, 500, 18535, 0xacd5b8a1e143b06c},
    {SKEWED, false, NF_CACHE_GDSF, 20, 2926, 0x261fe427da972212},
    {SKEWED, false, NF_CACHE_GDSF, 100, 10462, 0x25a9d2b3185f8fde},
    {SKEWED, false, NF_CACHE_GDSF, 500, 18655, 0x6a15f3c7b9bcefe3},
    {SKEWED, false, NF_CACHE_S3_FIFO, 20, 4068, 0x25e11a6287470ef2},
    {SKEWED, false, NF_CACHE_S3_FIFO, 100, 10587, 0xaf217478c9384f4e},
    {SKEWED, false, NF_CACHE_S3_FIFO, 500, 18612, 0xcc626be575e0ee94},
    {SKEWED, true, NF_CACHE_LRU, 800, 2652, 0x7eb72072fbd81166},
    {SKEWED, true, NF_CACHE_LRU, 4000, 9769, 0x6061fed316dea7a9},
    {SKEWED, true, NF_CACHE_LRU, 20000, 19047, 0xe4eb073a28402514},
    {SKEWED, true, NF_CACHE_CLOCK, 800, 2765, 0x3bbab08aaa2a9e4d},
    {SKEWED, true, NF_CACHE_CLOCK, 4000, 10070, 0x20e894a4f23cf4af},
    {SKEWED, true, NF_CACHE_CLOCK, 20000, 19061, 0x77f6c1c56fd865df},
    {SKEWED, true, NF_CACHE_S3_FIFO, 800, 4739, 0xf1dd19273935fafc},
    {SKEWED, true, NF_CACHE_S3_FIFO, 4000, 11627, 0xf85593179965e0c1},
    {SKEWED, true, NF_CACHE_S3_FIFO, 20000, 19063, 0x68c4fa14f52816f1},
    {SCANNED, false, NF_CACHE_LRU, 20, 3997, 0x627bf0384fc94e55},
    {SCANNED, false, NF_CACHE_LRU, 100, 8306, 0x149c728066745dee},
    {SCANNED, false, NF_CACHE_LRU, 500, 15574, 0x77d7909a5021e2a5},
    {SCANNED, false, NF_CACHE_CLOCK, 20, 3873, 0x0d4d22948b394050},
    {SCANNED, false, NF_CACHE_CLOCK, 100, 7984, 0xa304571955daeabe},
    {SCANNED, false, NF_CACHE_CLOCK, 500, 15080, 0x8cef4152baaa8c8a},
    {SCANNED, false, NF_CACHE_GDSF, 20, 4421, 0x90a2c4dd059eaa3a},
    {SCANNED, false, NF_CACHE_GDSF, 100, 9674, 0x4b0023b2390d4bc6},
    {SCANNED, false, NF_CACHE_GDSF, 500, 15945, 0x096d99f65ffe0ab5},
    {SCANNED, false, NF_CACHE_S3_FIFO, 20, 5672, 0xa057bd4b5fccb991},
    {SCANNED, false, NF_CACHE_S3_FIFO, 100, 10729, 0x2e869b8558d7de5b},
    {SCANNED, false, NF_CACHE_S3_FIFO, 500, 15960, 0x142ed819da61487d},
    {SCANNED, true, NF_CACHE_LRU, 800, 4331, 0x53f3fcbcc3ebca19},
    {SCANNED, true, NF_CACHE_LRU, 4000, 9295, 0x0d1fead48083b42c},
    {SCANNED, true, NF_CACHE_LRU, 20000, 16123, 0x0eea5d8290aa8157},
    {SCANNED, true, NF_CACHE_CLOCK, 800, 4188, 0x27047298d74511ae},
    {SCANNED, true, NF_CACHE_CLOCK, 4000, 8910, 0xde92ffb634e88637},
    {SCANNED, true, NF_CACHE_CLOCK, 20000, 15709, 0x3bae1edc18d470b7},
    {SCANNED, true, NF_CACHE_S3_FIFO, 800, 6166, 0xa69a0c6c44bdd750},
    {SCANNED, true, NF_CACHE_S3_FIFO, 4000, 11610, 0x4fe99f393364d0e5},
    {SCANNED, true, NF_CACHE_S3_FIFO, 20000, 16525, 0x966564f74319d5f3},
    {LOOPED, false, NF_CACHE_LRU, 20, 1396, 0x069987de14015440},
    {LOOPED, false, NF_CACHE_LRU, 100, 5130, 0x203d68b6e68df74d},
    {LOOPED, false, NF_CACHE_LRU, 500, 18934, 0x33f3d57a2a72eae6},
    {LOOPED, false, NF_CACHE_CLOCK, 20, 1454, 0xddf980e37fffae9e},
    {LOOPED, false, NF_CACHE_CLOCK, 100, 5312, 0x601a301e7e0186e7},
    {LOOPED, false, NF_CACHE_CLOCK, 500, 19001, 0xf769c47211d3b3ea},
    {LOOPED, false, NF_CACHE_GDSF, 20, 1991, 0x9af101eba6b5df1c},
    {LOOPED, false, NF_CACHE_GDSF, 100, 7166, 0xa9c212461caeaa12},
    {LOOPED, false, NF_CACHE_GDSF, 500, 19066, 0x986ebb906106d36f},
    {LOOPED, false, NF_CACHE_S3_FIFO, 20, 2863, 0x3e46b03e54be95df},
    {LOOPED, false, NF_CACHE_S3_FIFO, 100, 8037, 0xcbfcc9a0aa4565b9},
    {LOOPED, false, NF_CACHE_S3_FIFO, 500, 19022, 0x01ebc79295797140},
    {LOOPED, true, NF_CACHE_LRU, 800, 1707, 0x290dc0a16899d806},
    {LOOPED, true, NF_CACHE_LRU, 4000, 5971, 0xb52921bfbdc2f10f},
    {LOOPED, true, NF_CACHE_LRU, 20000, 19241, 0x45c7207d386936e0},
    {LOOPED, true, NF_CACHE_CLOCK, 800, 1783, 0xac484437f1388ce0},
    {LOOPED, true, NF_CACHE_CLOCK, 4000, 6178, 0xb9d240ecfbc00101},
    {LOOPED, true, NF_CACHE_CLOCK, 20000, 19242, 0x74f780dba9bb72c1},
    {LOOPED, true, NF_CACHE_S3_FIFO, 800, 3402, 0x74d6791b304ae813},
    {LOOPED, true, NF_CACHE_S3_FIFO, 4000, 9052, 0x1e2e49072bf514fa},
    {LOOPED, true, NF_CACHE_S3_FIFO, 20000, 19242, 0x753d41d82b4616e9},
    {SKEWED, false, NF_CACHE_S3_FIFO, 57, 7856, 0x3483e9e931d0e770}, /* shares that are no whole objects */
    {SKEWED, false, NF_CACHE_S3_FIFO, 137, 12209, 0x20f5f7324f9424ec},
    {SCANNED, false, NF_CACHE_S3_FIFO, 57, 8582, 0xb3824117b6d30c89},
    {SCANNED, false, NF_CACHE_S3_FIFO, 137, 12050, 0x72e442ba623e01f1},
    {LOOPED, false, NF_CACHE_S3_FIFO, 57, 5756, 0xa5554f9e8d9a7bb0},
    {LOOPED, false, NF_CACHE_S3_FIFO, 137, 9651, 0xa1d369a55e70964a},
};

/* The same of recorded requests: the operands of three steps of a training job (tests/unit/requests-gpt.txt), as units and in pages.
 * S3-FIFO in pages only where no storage is larger than its small queue: libCacheSim refuses those, and a pool cannot. */
static const struct {
    bool sized;
    enum nf_cache_rule rule;
    uint64_t capacity, hits, which;
} recorded[] = {
    {false, NF_CACHE_LRU, 20, 2337, 0xc92ac35a86031e2f},
    {false, NF_CACHE_LRU, 50, 2415, 0xf3f1271da0a33d96},
    {false, NF_CACHE_LRU, 150, 2559, 0x4abf1580b011181b},
    {false, NF_CACHE_LRU, 333, 2910, 0xd5a956a749ff203e},
    {false, NF_CACHE_CLOCK, 20, 2334, 0xdef84499d5879127},
    {false, NF_CACHE_CLOCK, 50, 2394, 0xe1cbb20e893e025c},
    {false, NF_CACHE_CLOCK, 150, 2540, 0x7a8ffaff02f819fd},
    {false, NF_CACHE_CLOCK, 333, 2788, 0x85e823d1e6e4e5eb},
    {false, NF_CACHE_GDSF, 20, 2342, 0xe366f5d67e0cbb0c},
    {false, NF_CACHE_GDSF, 50, 2395, 0x13acdd464301f3e5},
    {false, NF_CACHE_GDSF, 150, 2531, 0x926b64edf4275f6b},
    {false, NF_CACHE_GDSF, 333, 2884, 0xfb61ca4e708514cd},
    {false, NF_CACHE_S3_FIFO, 20, 1610, 0x51953083ff492c52},
    {false, NF_CACHE_S3_FIFO, 50, 1943, 0xd4eb766019da7972},
    {false, NF_CACHE_S3_FIFO, 150, 2504, 0x03059677088c9fc9},
    {false, NF_CACHE_S3_FIFO, 333, 2843, 0xd72fd78d4470c8fb},
    {true, NF_CACHE_LRU, 2000, 2304, 0xfeb41cb550213f8e},
    {true, NF_CACHE_LRU, 4000, 2376, 0x3b56dd8f617e31f4},
    {true, NF_CACHE_LRU, 8000, 2445, 0xc7609f2807625889},
    {true, NF_CACHE_LRU, 16000, 2556, 0x38f7894a7f1989af},
    {true, NF_CACHE_CLOCK, 2000, 2274, 0x45ed8292a4b0c613},
    {true, NF_CACHE_CLOCK, 4000, 2364, 0xe4f577d8c4fbffa9},
    {true, NF_CACHE_CLOCK, 8000, 2414, 0x1399723fde9acbfb},
    {true, NF_CACHE_CLOCK, 16000, 2507, 0xf8083ab6a514c9a3},
    {true, NF_CACHE_S3_FIFO, 8000, 2305, 0x62be8b81cf263bab},
    {true, NF_CACHE_S3_FIFO, 16000, 2503, 0xa5b655fca4450d43},
};

static void test_recorded(void **state)
{
    FILE *f = *state ? fopen(*state, "re") : NULL;
    uint32_t n = 0, requests = 0, *id;
    uint64_t *pages;
    char line[256];
    uint8_t *hits;

    assert_non_null(f); /* the file is this test's argument */
    while (fgets(line, sizeof line, f) && *line == '#')
        ;
    assert_int_equal(sscanf(line, "%u %u", &n, &requests), 2);
    pages = calloc(n, sizeof *pages);
    id = calloc(requests, sizeof *id);
    hits = calloc(requests, sizeof *hits);
    assert_true(pages && id && hits);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(fscanf(f, "%" SCNu64, &pages[i]), 1);
    for (uint32_t i = 0; i < requests; i++)
        assert_true(fscanf(f, "%u", &id[i]) == 1 && id[i] < n);
    fclose(f);
    for (size_t i = 0; i < sizeof recorded / sizeof *recorded; i++) {
        struct nf_cache_result found;
        uint64_t which = 0;

        assert_int_equal(nf_cache_sim(recorded[i].rule, recorded[i].capacity, id, requests, n, recorded[i].sized ? pages : NULL,
                                      hits, &found), 0);
        for (uint32_t r = 0; r < requests; r++)
            which = nf_hash_add(which, hits[r]);
        if (found.hits != recorded[i].hits || which != recorded[i].which)
            print_error("recorded[%zu]: %llu hits, wanted %llu\n", i, (unsigned long long)found.hits,
                        (unsigned long long)recorded[i].hits);
        assert_int_equal(found.hits, recorded[i].hits);
        assert_int_equal(which, recorded[i].which);
    }
    free(pages);
    free(id);
    free(hits);
}

static void test_counts(void **state)
{
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct nf_cache_result found;
        uint64_t which = 0, hit_bytes = 0;

        make_trace(expected[i].kind);
        assert_int_equal(nf_cache_sim(expected[i].rule, expected[i].capacity, ids, REQUESTS, OBJECTS,
                                      expected[i].sized ? sizes : NULL, hit, &found), 0);
        for (uint32_t r = 0; r < REQUESTS; r++) {
            which = nf_hash_add(which, hit[r]);
            hit_bytes += hit[r] * (expected[i].sized ? sizes[ids[r]] : 1);
        }
        assert_int_equal(found.hits, expected[i].hits);
        assert_int_equal(which, expected[i].which);
        assert_int_equal(found.hit_bytes, hit_bytes);
    }
}

/* Known by hand: H = L + uses / bytes. */
static void test_gdsf_by_hand(void **state)
{
    /* 0: 4 bytes, 1: 1 byte, 2: 2 bytes, 3: 4 bytes; 7 bytes. After 0 1 2 0: H 0.5, 1, 0.5. 3 needs 4: of equal H the one that
     * was used longest ago goes, 2, then 0, and L is 0.5. 3 has 0.75 and goes before 1 when 0 comes back. */
    const uint32_t requests[] = {0, 1, 2, 0, 3, 1, 0, 3, 1};
    const uint64_t bytes[] = {4, 1, 2, 4};
    const uint8_t want[] = {0, 0, 0, 1, 0, 1, 0, 0, 1};
    struct nf_cache_result r;

    assert_int_equal(nf_cache_sim(NF_CACHE_GDSF, 7, requests, 9, 4, bytes, hit, &r), 0);
    assert_memory_equal(hit, want, sizeof want);
    assert_int_equal(r.evictions, 4);
}

/* What does not fit at all is never held, and costs nobody their place. */
static void test_too_large(void **state)
{
    const uint32_t requests[] = {0, 1, 1, 0};
    const uint64_t bytes[] = {5, 11};

    for (enum nf_cache_rule rule = 0; rule < NF_CACHE_RULES; rule++) {
        struct nf_cache_result r;

        assert_int_equal(nf_cache_sim(rule, 10, requests, 4, 2, bytes, hit, &r), 0);
        assert_int_equal(r.hits, 1);
        assert_int_equal(r.hit_bytes, 5);
        assert_int_equal(r.evictions, 0);
    }
}

/* Uses, pins, forgetting and growing in random order, beside a ledger of our own. */
static void test_ledger(void **state)
{
    enum { IDS = 300, ACTIONS = 60000 };

    for (enum nf_cache_rule rule = 0; rule < NF_CACHE_RULES; rule++) {
        struct nf_rng r = {rule + 1};
        uint64_t bytes[IDS] = {0}, held = 0;
        bool pinned[IDS] = {0}, in[IDS] = {0};
        uint32_t n = 5, n_held = 0, left;
        struct nf_cache c;

        nf_cache_init(&c, rule, 2000, true);
        assert_int_equal(nf_cache_grow(&c, n), 0);
        for (uint32_t i = 0; i < ACTIONS; i++) {
            uint32_t id = (uint32_t)nf_rng_below(&r, n), dice = (uint32_t)nf_rng_below(&r, 100);

            assert_int_equal(nf_cache_holds(&c, id), in[id]);
            assert_int_equal(c.bytes, held);
            if (dice < 10) {
                pinned[id] = nf_rng_below(&r, 4) == 0;
                nf_cache_pin(&c, id, pinned[id]);
            } else if (dice < 15) {
                nf_cache_forget(&c, id);
                held -= in[id] ? bytes[id] : 0;
                n_held -= in[id];
                in[id] = pinned[id] = false;
            } else if (dice < 16 && n < IDS) {
                n++;
                assert_int_equal(nf_cache_grow(&c, n), 0);
            } else if (in[id]) {
                nf_cache_use(&c, id);
            } else {
                uint64_t size = nf_rng_below(&r, 60);

                nf_cache_recall(&c, id);
                while (held + size > 2000) {
                    uint32_t victim = nf_cache_evict(&c);

                    if (victim == NF_CACHE_NONE)
                        break;
                    assert_true(in[victim] && !pinned[victim]);
                    in[victim] = false;
                    held -= bytes[victim];
                    n_held--;
                }
                if (held + size > 2000)
                    continue;
                nf_cache_admit(&c, id, size);
                bytes[id] = size;
                in[id] = true;
                held += size;
                n_held++;
            }
        }
        left = n_held;
        for (uint32_t id = 0; id < n; id++)
            left -= in[id] && pinned[id];
        while (nf_cache_evict(&c) != NF_CACHE_NONE)
            left--;
        assert_int_equal(left, 0); /* all but the pinned ones, each once */
        assert_int_equal(n, IDS);
        nf_cache_deinit(&c);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test_prestate(test_recorded, argc > 1 ? argv[1] : NULL),
        cmocka_unit_test(test_gdsf_by_hand),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_ledger),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
