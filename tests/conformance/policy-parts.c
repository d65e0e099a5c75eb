/* What the pool does with less than a storage: clean copies that are dropped, and single pages that move, inline and by a helper. */
#include "tests/conformance/pool-fixture.h"

#include <errno.h>
#include <string.h>

#include "core/base/error.h"

#define PAGES(n) ((n) * (uint64_t)NF_PAGE_BYTES)

/* --- a policy that places far and moves what the test says before or after the next op --- */

static struct nf_policy_move next[8], before[2];
static size_t n_next, n_before;
static uint64_t next_stall_ns, touches_seen;

static int open_policy(const struct nf_policy_env *env, void **policy)
{
    *policy = NULL;
    return 0;
}

static void close_policy(void *policy)
{
}

static int place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions, struct nf_placement *out)
{
    out->bytes[1] = t->bytes;
    return 0;
}

static int touched(void *policy, const struct nf_policy_touches *t)
{
    touches_seen += t->n;
    return 0;
}

static int access_operands(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw,
                           size_t n, struct nf_policy_moves *moves)
{
    memcpy(moves->v, before, n_before * sizeof *before);
    moves->n = n_before;
    n_before = 0;
    return 0;
}

static int after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    memcpy(moves->v, next, n_next * sizeof *next);
    moves->n = n_next;
    moves->stall_ns = next_stall_ns;
    n_next = n_before = next_stall_ns = 0;
    return 0;
}

static struct nf_policy_ops ops_of(int demote, int sync, bool by_page)
{
    return (struct nf_policy_ops){NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_OP | NF_POLICY_HAS_ON_ACCESS | NF_POLICY_HAS_ON_OP_END),
                                  .name = "parts", .about = "does as the test says",
                                  .semantics = {.demote = demote, .mover = NF_MOVER_COPY, .sync = sync, .samples = true, .by_page = by_page},
                                  .init = open_policy, .deinit = close_policy, .on_alloc = place, .on_op = access_operands,
                                  .on_access = touched, .on_op_end = after};
}

static struct fixture f;

static void start(const struct nf_policy_ops *ops, uint64_t near_pages)
{
    uint64_t capacity[2] = {near_pages, 32};

    n_next = next_stall_ns = touches_seen = 0;
    assert_int_equal(fixture_open(&f, ops, "", 2, capacity, NULL, 0, 1), 0);
}

static uint32_t put(uint64_t pages)
{
    struct nf_pool_alloc a = {.bytes = PAGES(pages), .number = UINT32_MAX};
    uint32_t index;

    assert_int_equal(fixture_allocate(&f, &a, &index), 0);
    return index;
}

static int op(uint32_t index, enum nf_rw rw)
{
    uint8_t how = (uint8_t)rw;

    return fixture_op(&f, &index, &how, 1);
}

static void move(uint32_t index, uint32_t tier, uint32_t first, uint32_t n)
{
    next[n_next++] = (struct nf_policy_move){f.live[index].handle, tier, first, n};
}

static struct nf_pool_stats stats(void)
{
    struct nf_pool_stats s;

    nf_pool_stats(f.pool, &s);
    return s;
}

static void test_clean_copy(void **state)
{
    struct nf_policy_ops ops = ops_of(NF_DEMOTE_DROP_CLEAN, NF_SYNC_INLINE, false);
    const struct nf_pool_storage *s;
    char *far;
    uint32_t a, b;

    start(&ops, 8);
    a = put(3);
    b = put(2);
    s = nf_pool_storage(f.pool, f.live[a].handle);
    far = s->piece[1].memory;
    move(a, 0, 0, 0);
    assert_int_equal(op(b, NF_RW_READ), 0);
    assert_int_equal(stats().tier[1].copy_bytes, PAGES(3)); /* charged on both */
    assert_int_equal(stats().tier[1].live_bytes, PAGES(5));
    assert_int_equal(stats().tier[0].live_bytes, PAGES(3));
    assert_int_equal(stats().moved_bytes, PAGES(3));
    assert_int_equal(op(a, NF_RW_READ), 0);
    assert_int_equal(stats().tier[1].copy_bytes, PAGES(3)); /* reading leaves it right */
    move(a, 1, 0, 0);
    assert_int_equal(op(b, NF_RW_READ), 0);
    assert_int_equal(stats().moved_bytes, PAGES(3)); /* dropped, not copied */
    assert_int_equal(stats().moves, 2);
    assert_int_equal(stats().tier[1].copy_bytes, 0);
    assert_ptr_equal(s->piece[1].memory, far);
    move(a, 0, 0, 0);
    assert_int_equal(op(b, NF_RW_READ), 0);
    assert_int_equal(op(a, NF_RW_UPDATE), 0); /* gives it up */
    assert_int_equal(stats().tier[1].copy_bytes, 0);
    assert_int_equal(stats().tier[1].live_bytes, PAGES(2));
    move(a, 1, 0, 0);
    assert_int_equal(op(b, NF_RW_READ), 0);
    assert_int_equal(stats().moved_bytes, PAGES(9));
    move(a, 0, 0, 0);
    assert_int_equal(op(b, NF_RW_READ), 0);
    fixture_free(&f, a); /* with its copy */
    assert_int_equal(stats().tier[1].live_bytes, PAGES(2));
    fixture_close(&f);
}

static uint32_t tier_of(uint32_t index, uint64_t page)
{
    uint32_t tier;
    uint64_t run;

    nf_pool_locate(nf_pool_storage(f.pool, f.live[index].handle), PAGES(page), &tier, &run);
    return tier;
}

static void test_pages(void **state)
{
    for (int sync = NF_SYNC_INLINE; sync <= NF_SYNC_HELPER; sync++) {
        struct nf_policy_ops ops = ops_of(NF_DEMOTE_WRITE_BACK, sync, true);
        uint32_t a, b;

        start(&ops, 6);
        a = put(8);
        b = put(3);
        move(a, 0, 2, 3);
        move(b, 0, 1, 1);
        move(a, 0, 3, 3); /* two of them are there already, or on their way */
        assert_int_equal(op(b, NF_RW_READ), 0);
        assert_int_equal(nf_pool_settle(f.pool), 0);
        for (uint64_t i = 0; i < 8; i++)
            assert_int_equal(tier_of(a, i), i >= 2 && i <= 5 ? 0 : 1);
        assert_int_equal(tier_of(b, 1), 0);
        assert_int_equal(nf_pool_storage(f.pool, f.live[a].handle)->piece[0].bytes, PAGES(4));
        assert_int_equal(stats().moved_bytes, PAGES(5));
        assert_int_equal(nf_pool_near_bytes(f.pool), PAGES(5));
        /* Written where it is, moved back, and still right: the fixture looks at every page. */
        assert_int_equal(op(a, NF_RW_WRITE), 0);
        move(a, 1, 0, 0);
        move(b, 0, 0, 0);
        assert_int_equal(op(a, NF_RW_UPDATE), 0);
        assert_int_equal(nf_pool_settle(f.pool), 0);
        assert_int_equal(nf_pool_near_bytes(f.pool), PAGES(3));
        fixture_check(&f, true);
        /* Freed while it may still be under way. */
        move(a, 0, 0, 3);
        assert_int_equal(op(b, NF_RW_READ), 0);
        fixture_free(&f, a);
        assert_int_equal(touches_seen, 4);
        fixture_close(&f);
    }
}

static void refused(int rc)
{
    assert_int_equal(rc, -EPROTO);
    assert_non_null(strstr(nf_error_text(rc), "parts"));
    assert_true(stats().refused > 0);
}

static void test_pages_refused(void **state)
{
    struct nf_policy_ops ops = ops_of(NF_DEMOTE_WRITE_BACK, NF_SYNC_INLINE, true), filled;
    uint32_t a;

    start(&ops, 4);
    a = put(8);
    move(a, 0, 7, 2);
    refused(op(a, NF_RW_READ)); /* beyond its end */
    move(a, 0, UINT32_MAX, 1);
    refused(op(a, NF_RW_READ));
    move(a, 0, 0, 5);
    refused(op(a, NF_RW_READ)); /* beyond near's room */
    /* An operand's pages come near before its op, and do not leave then. */
    before[n_before++] = (struct nf_policy_move){f.live[a].handle, 0, 0, 4};
    assert_int_equal(op(a, NF_RW_UPDATE), 0);
    assert_int_equal(nf_pool_near_bytes(f.pool), PAGES(4));
    before[n_before++] = (struct nf_policy_move){f.live[a].handle, 1, 3, 2};
    refused(op(a, NF_RW_READ));
    before[n_before++] = (struct nf_policy_move){f.live[a].handle, 1, 4, 4}; /* which are there */
    assert_int_equal(op(a, NF_RW_READ), 0);
    fixture_close(&f);

    ops = ops_of(NF_DEMOTE_WRITE_BACK, NF_SYNC_INLINE, false);
    start(&ops, 4);
    a = put(8);
    move(a, 0, 0, 1);
    refused(op(a, NF_RW_READ)); /* not declared */
    fixture_close(&f);

    ops.semantics.by_page = true;
    ops.semantics.mover = NF_MOVER_MOVE_PAGES;
    assert_int_equal(nf_policy_check(&ops, &filled), -EINVAL);
}

static void test_stall(void **state)
{
    struct nf_policy_ops ops = ops_of(NF_DEMOTE_WRITE_BACK, NF_SYNC_INLINE, true);
    uint32_t a;

    start(&ops, 4);
    a = put(1);
    next_stall_ns = 300000;
    assert_int_equal(op(a, NF_RW_READ), 0);
    assert_true(stats().fault_ns >= 300000 && stats().stall_ns >= stats().fault_ns);
    nf_pool_stats_reset(f.pool);
    assert_int_equal(stats().fault_ns, 0);
    fixture_close(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean_copy), cmocka_unit_test(test_pages), cmocka_unit_test(test_pages_refused),
        cmocka_unit_test(test_stall),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
