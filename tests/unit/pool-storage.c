#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/stream.h"
#include "pool/copy.h"
#include "pool/pool.h"

/* Every page lies on one place of one piece, pieces are used from their start without holes, runs are as long as they
 * say, and in a stripe any stretch holds each tier's share give or take the tiers there are. */
static void check(const struct nf_pool_storage *s)
{
    uint64_t pages = s->bytes / NF_PAGE_BYTES, next[NF_TIER_MAX] = {0};

    for (uint64_t i = 0; i < pages; i++) {
        uint64_t run;
        uint32_t tier;
        char *at = nf_pool_locate(s, i * NF_PAGE_BYTES, &tier, &run);

        assert_true(tier < NF_TIER_MAX);
        assert_ptr_equal(at, s->piece[tier].memory + next[tier] * NF_PAGE_BYTES);
        assert_true(run >= NF_PAGE_BYTES && run <= (pages - i) * NF_PAGE_BYTES);
        for (uint64_t j = 1; j < run / NF_PAGE_BYTES; j++) {
            uint64_t inner;
            uint32_t same;

            assert_ptr_equal(nf_pool_locate(s, (i + j) * NF_PAGE_BYTES, &same, &inner), at + j * NF_PAGE_BYTES);
            assert_int_equal(same, tier);
        }
        next[tier]++;
        for (uint32_t t = 0; s->striped && t < NF_TIER_MAX; t++) {
            double share = (double)s->piece[t].bytes / (double)s->bytes * (double)(i + 1);

            assert_true((double)next[t] > share - NF_TIER_MAX && (double)next[t] < share + NF_TIER_MAX);
        }
    }
    for (uint32_t t = 0; t < NF_TIER_MAX; t++)
        assert_int_equal(next[t] * NF_PAGE_BYTES, s->piece[t].bytes);
}

static void test_locate(void **state)
{
    struct nf_rng r = {7};

    for (int i = 0; i < 300; i++) {
        struct nf_pool_storage s = {.striped = i & 1};

        for (uint32_t t = 0; t < NF_TIER_MAX; t++) {
            uint64_t pages = nf_rng_below(&r, 3) ? 0 : 1 + nf_rng_below(&r, 60);

            s.piece[t] = (struct nf_extent){(char *)(uintptr_t)((t + 1ull) << 32), pages * NF_PAGE_BYTES};
            s.bytes += pages * NF_PAGE_BYTES;
        }
        check(&s);
    }
}

static void test_stripe_alternates(void **state)
{
    struct nf_pool_storage s = {.striped = true, .bytes = 8 * NF_PAGE_BYTES};
    uint64_t run;
    uint32_t tier;

    s.piece[0] = (struct nf_extent){(char *)0x100000, 4 * NF_PAGE_BYTES};
    s.piece[1] = (struct nf_extent){(char *)0x200000, 4 * NF_PAGE_BYTES};
    for (uint64_t i = 0; i < 8; i++) {
        nf_pool_locate(&s, i * NF_PAGE_BYTES + 8, &tier, &run);
        assert_int_equal(tier, i % 2);
        assert_int_equal(run, NF_PAGE_BYTES - 8);
    }
}

/* Those that this CPU is not given by itself, too. */
static void copies_by(enum nf_copy_way way, const char *from, char *to, size_t pages)
{
    memset(to, 0x77, (pages + 1) * NF_PAGE_BYTES);
    nf_copy_pages_by(way, to, from, pages * NF_PAGE_BYTES);
    assert_memory_equal(to, from, pages * NF_PAGE_BYTES);
    assert_int_equal(to[pages * NF_PAGE_BYTES], 0x77);
}

static void test_copy(void **state)
{
    enum { PAGES = 13 };
    _Alignas(4096) static char from[PAGES * NF_PAGE_BYTES], to[(PAGES + 1) * NF_PAGE_BYTES];

    for (size_t pages = 0; pages <= PAGES; pages++) {
        for (size_t i = 0; i < sizeof from; i++)
            from[i] = (char)nf_mix64(i + pages);
        memset(to, 0x77, sizeof to);
        nf_copy_pages(to, from, pages * NF_PAGE_BYTES);
        assert_memory_equal(to, from, pages * NF_PAGE_BYTES);
        assert_int_equal(to[pages * NF_PAGE_BYTES], 0x77);
    }
    nf_copy_choose();
    memset(to, 0x77, sizeof to);
    nf_copy_pages(to, from, sizeof from);
    assert_memory_equal(to, from, sizeof from);
    for (unsigned way = 0; way < NF_COPY_WAYS; way++)
        if (nf_copy_way_works(way))
            copies_by(way, from, to, PAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locate), cmocka_unit_test(test_stripe_alternates), cmocka_unit_test(test_copy),
    };

    return cmocka_run_group_tests_name("storage", tests, NULL, NULL);
}
