/* What the baselines are known to decide: shares of pages, what spills and where to, what the seed changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/policy.h"

/* Tiers with so many pages free; what is placed is taken. */
struct bench {
    const struct nf_policy_ops *ops;
    struct nf_policy_env env;
    uint64_t free_pages[NF_TIER_MAX];
    void *policy, *options;
};

static uint64_t free_bytes(void *pool, uint32_t tier)
{
    return ((struct bench *)pool)->free_pages[tier] * NF_PAGE_BYTES;
}

static int start(struct bench *b, const char *name, const char *options, uint32_t n_tiers, const uint64_t *pages,
                 const double *bps, uint64_t seed)
{
    memset(b, 0, sizeof *b);
    b->ops = nf_policy_find(name);
    assert_non_null(b->ops);
    assert_int_equal(nf_policy_configure(b->ops, options, &b->options), 0);
    b->env = (struct nf_policy_env){.n_tiers = n_tiers, .seed = seed, .options = b->options, .free_bytes = free_bytes,
                                    .pool = b};
    for (uint32_t t = 0; t < n_tiers; t++) {
        b->free_pages[t] = pages[t];
        b->env.capacity[t] = pages[t] * NF_PAGE_BYTES;
        b->env.read_bps[t] = bps ? bps[t] : 0;
    }
    return b->ops->init(&b->env, &b->policy);
}

static void stop(struct bench *b)
{
    b->ops->deinit(b->policy);
    free(b->options);
}

static int place(struct bench *b, uint64_t pages, struct nf_placement *out)
{
    struct nf_policy_tensor t = {.bytes = pages * NF_PAGE_BYTES};
    struct nf_policy_moves none = {0};
    int rc;

    memset(out, 0, sizeof *out);
    rc = b->ops->on_alloc(b->policy, &t, &none, out);
    for (uint32_t i = 0; !rc && i < b->env.n_tiers; i++)
        b->free_pages[i] -= out->bytes[i] / NF_PAGE_BYTES;
    return rc;
}

/* Pages near of so many in storages of `size` pages. */
static uint64_t near_pages(const char *name, const char *options, const double *bps, uint64_t pages, uint64_t size)
{
    const uint64_t plenty[2] = {1 << 20, 1 << 20};
    uint64_t near = 0;
    struct bench b;

    assert_int_equal(start(&b, name, options, 2, plenty, bps, 1), 0);
    for (uint64_t i = 0; i < pages; i += size) {
        struct nf_placement p;

        assert_int_equal(place(&b, size, &p), 0);
        assert_int_equal(p.bytes[0] + p.bytes[1], size * NF_PAGE_BYTES);
        assert_int_equal(p.striped, p.bytes[0] && p.bytes[1]);
        near += p.bytes[0] / NF_PAGE_BYTES;
    }
    stop(&b);
    return near;
}

static void test_shares(void **state)
{
    const double three_to_one[2] = {30e9, 10e9};
    const uint64_t sizes[] = {1, 45, 4095};

    /* As MPOL_WEIGHTED_INTERLEAVE with these weights, which the guest's kernel confirms. */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_int_equal(near_pages("weighted", "weights=5:2", NULL, 4095, sizes[i]), 2925);

    /* Storages of one page alternate in the same proportion as the pages of a large one. */
    for (uint64_t size = 1; size <= 1024; size *= 4) {
        assert_int_equal(near_pages("interleave", "", three_to_one, 1024, size), 512);
        assert_int_equal(near_pages("weighted", "", three_to_one, 1024, size), 768);
        assert_int_equal(near_pages("weighted", "", NULL, 1024, size), 512);
        assert_int_equal(near_pages("interleave", "weights=1:3", three_to_one, 1024, size), 256);
        assert_int_equal(near_pages("interleave", "ratio=25", three_to_one, 1024, size), 256);
        assert_int_equal(near_pages("interleave", "ratio=0", three_to_one, 1024, size), 0);
        assert_int_equal(near_pages("interleave", "ratio=100", three_to_one, 1024, size), 1024);
    }
}

/* The far tiers share what near leaves by their bandwidth; one tier alone takes all. */
static void test_ratio_of_three(void **state)
{
    const uint64_t plenty[3] = {4096, 4096, 4096};
    const double bps[3] = {40e9, 30e9, 10e9};
    struct nf_placement p;
    struct bench b;

    assert_int_equal(start(&b, "interleave", "ratio=50", 3, plenty, bps, 1), 0);
    assert_int_equal(place(&b, 1024, &p), 0);
    assert_int_equal(p.bytes[0] / NF_PAGE_BYTES, 512);
    assert_int_equal(p.bytes[1] / NF_PAGE_BYTES, 384);
    assert_int_equal(p.bytes[2] / NF_PAGE_BYTES, 128);
    stop(&b);
    assert_int_equal(start(&b, "interleave", "ratio=50", 1, plenty, bps, 1), 0);
    assert_int_equal(place(&b, 1024, &p), 0);
    assert_int_equal(p.bytes[0] / NF_PAGE_BYTES, 1024);
    stop(&b);
    assert_int_equal(start(&b, "weighted", "ratio=101", 3, plenty, bps, 1), -EINVAL);
    assert_non_null(strstr(nf_error_text(-EINVAL), "ratio=101"));
    free(b.options);
}

static void test_full_near_spills(void **state)
{
    const uint64_t pages[2] = {100, 4096};
    struct nf_placement p;
    struct bench b;

    assert_int_equal(start(&b, "interleave", "", 2, pages, NULL, 1), 0);
    assert_int_equal(place(&b, 1000, &p), 0);
    assert_int_equal(p.bytes[0] / NF_PAGE_BYTES, 100);
    assert_int_equal(p.bytes[1] / NF_PAGE_BYTES, 900);
    stop(&b);
}

/* Where near-first keeps a storage whole, the kernel's rule cuts it at the page where near ends. */
static void test_first_touch(void **state)
{
    const uint64_t pages[3] = {10, 5, 100};
    struct nf_placement p;
    struct bench b;

    assert_int_equal(start(&b, "first-touch", "", 3, pages, NULL, 1), 0);
    assert_int_equal(place(&b, 7, &p), 0);
    assert_int_equal(p.bytes[0] / NF_PAGE_BYTES, 7);
    assert_int_equal(place(&b, 10, &p), 0);
    assert_int_equal(p.bytes[0] / NF_PAGE_BYTES, 3);
    assert_int_equal(p.bytes[1] / NF_PAGE_BYTES, 5);
    assert_int_equal(p.bytes[2] / NF_PAGE_BYTES, 2);
    assert_false(p.striped);
    b.free_pages[0] = 4; /* what died near is near again */
    assert_int_equal(place(&b, 2, &p), 0);
    assert_int_equal(p.bytes[0] / NF_PAGE_BYTES, 2);
    b.free_pages[0] = b.free_pages[1] = b.free_pages[2] = 1;
    assert_int_equal(place(&b, 4, &p), -ENOSPC);
    stop(&b);
}

static uint64_t drawn(uint64_t seed, uint64_t near, uint64_t far, unsigned *n_near)
{
    const uint64_t pages[2] = {near, far};
    uint64_t draws = 0;
    struct bench b;

    *n_near = 0;
    assert_int_equal(start(&b, "random", "", 2, pages, NULL, seed), 0);
    for (unsigned i = 0; i < 1000; i++) {
        struct nf_placement p;

        assert_int_equal(place(&b, 3, &p), 0);
        assert_true(p.bytes[0] + p.bytes[1] == 3 * NF_PAGE_BYTES && !(p.bytes[0] && p.bytes[1]));
        *n_near += p.bytes[0] > 0;
        if (i < 64)
            draws |= (uint64_t)(p.bytes[0] > 0) << i;
        b.free_pages[0] = near;
        b.free_pages[1] = far;
    }
    stop(&b);
    return draws;
}

static void test_random(void **state)
{
    unsigned near;

    assert_int_equal(drawn(1, 100, 300, &near), drawn(1, 100, 300, &near));
    assert_int_not_equal(drawn(1, 100, 300, &near), drawn(2, 100, 300, &near));
    assert_in_range(near, 250 - 60, 250 + 60); /* odds 1 : 3; more than four standard deviations */
    drawn(1, 2, 300, &near); /* no room for it near */
    assert_int_equal(near, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),       cmocka_unit_test(test_ratio_of_three), cmocka_unit_test(test_full_near_spills),
        cmocka_unit_test(test_first_touch), cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
