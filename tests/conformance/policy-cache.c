/* The policies that keep near as a cache against the simulator of the same rule: request for request the same hits, and the
 * victims' bytes leave. One storage of one page per object, born at its first request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/model/cache-rule.h"
#include "pool/policy.h"

enum { OBJECTS = 400, REQUESTS = 8000, NEAR = 60 };

static uint64_t free_pages[2];
static uint8_t tier_of[OBJECTS];

static uint64_t free_bytes(void *pool, uint32_t tier)
{
    return free_pages[tier] * NF_PAGE_BYTES;
}

static void carry_out(struct nf_policy_moves *moves)
{
    for (size_t i = 0; i < moves->n; i++) {
        const struct nf_policy_move *m = &moves->v[i];

        assert_int_not_equal(tier_of[m->handle], m->to_tier);
        assert_true(free_pages[m->to_tier] > 0);
        free_pages[tier_of[m->handle]]++;
        free_pages[m->to_tier]--;
        tier_of[m->handle] = (uint8_t)m->to_tier;
    }
    moves->n = 0;
}

static bool request(const struct nf_policy_ops *ops, void *policy, uint32_t id, bool born, struct nf_policy_moves *moves)
{
    uint8_t rw = NF_RW_READ;
    bool hit = born && tier_of[id] == 0;

    if (!born) {
        struct nf_policy_tensor t = {.handle = id, .bytes = NF_PAGE_BYTES};
        struct nf_placement p = {0};

        assert_int_equal(ops->on_alloc(policy, &t, moves, &p), 0);
        carry_out(moves);
        assert_int_equal(p.bytes[0], NF_PAGE_BYTES);
        tier_of[id] = 0;
        free_pages[0]--;
        return false;
    }
    assert_int_equal(ops->on_op(policy, 0, 0, &id, &rw, 1, moves), 0);
    assert_int_equal(hit, moves->n == 0);
    carry_out(moves);
    assert_int_equal(tier_of[id], 0);
    assert_int_equal(ops->on_op_end(policy, 0, moves), 0);
    assert_int_equal(moves->n, 0);
    return hit;
}

static void test_as_simulated(void **state)
{
    static const char *const names[NF_CACHE_RULES] = {"lru", "clock", "gdsf", "s3-fifo"};
    static struct nf_policy_move list[NF_POLICY_MOVES_MAX];
    static uint32_t ids[REQUESTS];
    static uint8_t hit[REQUESTS];

    for (enum nf_cache_rule rule = 0; rule < NF_CACHE_RULES; rule++) {
        const struct nf_policy_ops *ops = nf_policy_find(names[rule]);
        struct nf_policy_env env = {.n_tiers = 2, .capacity = {NEAR * NF_PAGE_BYTES, OBJECTS * NF_PAGE_BYTES},
                                    .free_bytes = free_bytes};
        struct nf_policy_moves moves = {.v = list};
        struct nf_cache_result simulated;
        struct nf_rng r = {rule + 1};
        bool born[OBJECTS] = {0};
        uint64_t hits = 0;
        void *policy;

        for (uint32_t i = 0; i < REQUESTS; i++)
            ids[i] = i / 1000 % 3 == 2 ? i % 100 : (uint32_t)nf_rng_below(&r, 1 + nf_rng_below(&r, OBJECTS));
        assert_int_equal(nf_cache_sim(rule, NEAR, ids, REQUESTS, OBJECTS, NULL, hit, &simulated), 0);
        free_pages[0] = NEAR;
        free_pages[1] = OBJECTS;
        assert_int_equal(ops->init(&env, &policy), 0);
        for (uint32_t i = 0; i < REQUESTS; i++) {
            bool near = request(ops, policy, ids[i], born[ids[i]], &moves);

            if (near != hit[i])
                fail_msg("%s: request %u is a %s here and a %s when simulated", names[rule], i, near ? "hit" : "miss",
                         hit[i] ? "hit" : "miss");
            born[ids[i]] = true;
            hits += near;
        }
        assert_int_equal(hits, simulated.hits);
        assert_true(hits > REQUESTS / 10 && hits < REQUESTS * 9 / 10);
        ops->deinit(policy);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_simulated)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
