/* Moves beside the ops: a tier that lets nothing end until the test says so shows who waits for what, and what counts where
 * meanwhile. And migration in place, and pages left to the kernel, on a kernel of our own. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "pool/mover.h"
#include "pool/pool.h"

enum { PAGE = NF_PAGE_BYTES, NEAR_PAGES = 8, FAR_PAGES = 64, ARENA_PAGES = 256, NODES = 2 };
#define PAGES(n) ((n) * (uint64_t)PAGE)

/* --- tiers with a gate --- */

static struct {
    _Atomic bool shut;        /* no charge ends */
    _Atomic uint64_t charges; /* that began */
    _Atomic uint64_t bytes[2];
    char *memory[2];
} gate;

static void gate_facts(const void *tier, struct nf_tier_facts *out)
{
    *out = (struct nf_tier_facts){.node = -1};
}

static int gate_map(void *tier, size_t bytes, void **memory)
{
    *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    gate.memory[(uintptr_t)tier] = *memory;
    return *memory == MAP_FAILED ? -ENOMEM : 0;
}

static void gate_unmap(void *tier, void *memory, size_t bytes)
{
    munmap(memory, bytes);
}

static uint64_t gate_charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    atomic_fetch_add(&gate.charges, 1);
    atomic_fetch_add(&gate.bytes[(uintptr_t)tier], c->read_bytes + c->write_bytes);
    while (atomic_load(&gate.shut))
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    return start_ns;
}

static int kernel_verify(void *tier, const void *memory, size_t bytes);

static const struct nf_tier_ops gate_ops = {.abi = NF_TIER_ABI, .name = "gate", .about = "for tests", .facts = gate_facts,
                                            .map = gate_map, .unmap = gate_unmap, .verify = kernel_verify,
                                            .charge = gate_charge};

/* --- a kernel with two nodes --- */

static struct {
    uint8_t node[2][ARENA_PAGES]; /* of the pages of each arena */
    bool full, unbound[2];
    uint64_t moves;
} kernel;

static uint8_t *node_of(const void *page)
{
    for (int i = 0; i < NODES; i++) {
        ptrdiff_t at = (const char *)page - gate.memory[i];

        if (gate.memory[i] && at >= 0 && at < (ptrdiff_t)PAGES(ARENA_PAGES))
            return &kernel.node[i][at / PAGE];
    }
    fail_msg("no page at %p", page);
    return NULL;
}

static long kernel_move_pages(unsigned long n, void **pages, const int *nodes, int *status)
{
    for (unsigned long i = 0; i < n; i++) {
        uint8_t *node = node_of(pages[i]);

        if (nodes && *node != nodes[i] && !kernel.full) {
            *node = (uint8_t)nodes[i];
            kernel.moves++;
        }
        status[i] = nodes && kernel.full ? -ENOMEM : *node;
    }
    return 0;
}

static long kernel_unbind(void *memory, size_t bytes)
{
    kernel.unbound[memory == gate.memory[1]] = true;
    return 0;
}

static const struct nf_pages_system kernel_system = {kernel_move_pages, kernel_unbind};

static int kernel_verify(void *tier, const void *memory, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += PAGE) {
        if (*node_of((const char *)memory + i) != (uintptr_t)tier)
            return nf_fail(-EXDEV, "page %zu is on node %d", i / PAGE, *node_of((const char *)memory + i));
    }
    return 0;
}

/* --- a policy that the test leads --- */

static struct {
    uint32_t place_on;
    struct nf_placement split; /* if bytes[0] is set */
    struct nf_policy_move moves[4];
    size_t n_access, n_after;
} lead;

static int lead_open(const struct nf_policy_env *env, void **policy)
{
    *policy = NULL;
    return 0;
}

static void lead_close(void *policy)
{
}

static int lead_place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                      struct nf_placement *out)
{
    if (lead.split.bytes[0])
        *out = lead.split;
    else
        out->bytes[lead.place_on] = t->bytes;
    return 0;
}

static void give(struct nf_policy_moves *moves, size_t *n)
{
    memcpy(moves->v, lead.moves, *n * sizeof *lead.moves);
    moves->n = *n;
    *n = 0;
}

static int lead_access(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                       struct nf_policy_moves *moves)
{
    give(moves, &lead.n_access);
    return 0;
}

static int lead_after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    give(moves, &lead.n_after);
    return 0;
}

static struct nf_policy_ops lead_ops = {NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_OP | NF_POLICY_HAS_ON_OP_END), .name = "led",
                                        .about = "for tests", .init = lead_open,
                                        .deinit = lead_close, .on_alloc = lead_place, .on_op = lead_access,
                                        .on_op_end = lead_after};

static struct nf_tier tiers[2];
static struct nf_pool *pool;

static void pool_open(int mover, int sync)
{
    struct nf_pool_config c = {.tiers = tiers, .n_tiers = 2, .capacity = {PAGES(NEAR_PAGES), PAGES(FAR_PAGES)},
                               .arena_bytes = {PAGES(ARENA_PAGES), PAGES(ARENA_PAGES)}, .policy = &lead_ops,
                               .policy_options = "", .pages = &kernel_system};

    memset(&kernel, 0, sizeof kernel);
    memset(kernel.node[1], 1, sizeof kernel.node[1]);
    memset(&lead, 0, sizeof lead);
    memset(&gate.memory, 0, sizeof gate.memory);
    atomic_store(&gate.shut, false);
    atomic_store(&gate.charges, 0);
    atomic_store(&gate.bytes[0], 0);
    atomic_store(&gate.bytes[1], 0);
    for (uintptr_t i = 0; i < 2; i++)
        tiers[i] = (struct nf_tier){.ops = &gate_ops, .state = (void *)i, .name = "gate",
                                    .facts = {.node = (int)i, .target_bps = i ? 1 : 0}};
    lead_ops.semantics.mover = mover;
    lead_ops.semantics.sync = sync;
    assert_int_equal(nf_pool_open(&c, &pool), 0);
}

static int copied_by_helper(void **state)
{
    pool_open(NF_MOVER_COPY, NF_SYNC_HELPER);
    return 0;
}

static int migrated_inline(void **state)
{
    pool_open(NF_MOVER_MOVE_PAGES, NF_SYNC_INLINE);
    return 0;
}

static int migrated_by_helper(void **state)
{
    pool_open(NF_MOVER_MOVE_PAGES, NF_SYNC_HELPER);
    return 0;
}

static int left_to_the_kernel(void **state)
{
    pool_open(NF_MOVER_KERNEL, NF_SYNC_INLINE);
    return 0;
}

static int pool_done(void **state)
{
    atomic_store(&gate.shut, false);
    pool = nf_pool_close(pool);
    return 0;
}

static uint32_t put(uint32_t tier, uint64_t pages)
{
    struct nf_pool_alloc a = {.bytes = PAGES(pages), .number = UINT32_MAX};
    uint32_t handle;
    int rc;

    lead.place_on = tier;
    rc = nf_pool_allocate(pool, &a, &handle);
    if (rc)
        fail_msg("%s", nf_error_text(rc));
    memset(nf_pool_storage(pool, handle)->piece[tier].memory, (int)handle + 1, PAGES(pages));
    return handle;
}

static void assert_payload(uint32_t handle, uint32_t tier)
{
    const struct nf_pool_storage *s = nf_pool_storage(pool, handle);

    assert_int_equal(s->piece[tier].bytes, s->bytes);
    for (uint64_t i = 0; i < s->bytes; i += 64)
        assert_int_equal((unsigned char)s->piece[tier].memory[i], handle + 1);
}

static int op_on(uint32_t handle)
{
    uint8_t rw = NF_RW_READ;
    int rc = nf_pool_begin(pool, 0, &handle, &rw, 1);

    return rc ? rc : nf_pool_end(pool, 0);
}

/* One op later the move of the storage is under way, and stands before the shut gate. */
static void start_move(uint32_t handle, uint32_t to, uint32_t op_operand)
{
    uint64_t before = atomic_load(&gate.charges);

    atomic_store(&gate.shut, true);
    lead.moves[0] = (struct nf_policy_move){handle, to};
    lead.n_after = 1;
    assert_int_equal(op_on(op_operand), 0);
    while (atomic_load(&gate.charges) == before)
        ;
}

static struct nf_pool_stats stats_now(void)
{
    struct nf_pool_stats s;

    nf_pool_stats(pool, &s);
    return s;
}

static void *open_gate_later(void *arg)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    atomic_store(&gate.shut, false);
    return NULL;
}

/* What `act` does has to wait for the gate, and is billed so. */
static void assert_waits(int (*act)(uint32_t), uint32_t argument)
{
    uint64_t before = stats_now().wait_ns;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, open_gate_later, NULL), 0);
    assert_int_equal(act(argument), 0);
    assert_false(atomic_load(&gate.shut));
    pthread_join(thread, NULL);
    assert_true(stats_now().wait_ns > before);
    assert_true(stats_now().stall_ns >= stats_now().wait_ns);
}

static int allocate_near(uint32_t pages)
{
    put(0, pages);
    return 0;
}

/* --- copies by a helper --- */

static void ops_run_meanwhile(void **state)
{
    uint32_t moving = put(1, 4), other = put(1, 4);

    start_move(moving, 0, other);
    for (int i = 0; i < 10; i++)
        assert_int_equal(op_on(other), 0); /* would hang if it waited */
    assert_true(atomic_load(&gate.shut));
    assert_int_equal(stats_now().wait_ns, 0);
    assert_int_equal(stats_now().moves, 0);
    assert_payload(moving, 1); /* still where it was */
    /* Both copies count. */
    assert_int_equal(stats_now().tier[0].live_bytes, PAGES(4));
    assert_int_equal(stats_now().tier[1].live_bytes, PAGES(8));
    assert_int_equal(nf_pool_near_bytes(pool), PAGES(4));
    atomic_store(&gate.shut, false);
    assert_int_equal(nf_pool_settle(pool), 0);
    assert_payload(moving, 0);
    assert_int_equal(stats_now().moves, 1);
    assert_int_equal(stats_now().moved_bytes, PAGES(4));
    assert_int_equal(stats_now().tier[1].live_bytes, PAGES(4));
    assert_int_equal(stats_now().tier[1].peak_bytes, PAGES(8));
    assert_int_equal(stats_now().tier[0].moved_in_bytes, PAGES(4));
    assert_int_equal(stats_now().tier[1].moved_out_bytes, PAGES(4));
    assert_true(stats_now().move_ns > 0);
}

static void an_op_waits_for_its_operand(void **state)
{
    uint32_t moving = put(1, 4), other = put(1, 1);

    start_move(moving, 0, other);
    assert_waits(op_on, moving);
    assert_payload(moving, 0);
}

/* Both copies of the demotion count near until it is done: then there is room. */
static void an_allocation_waits_for_room(void **state)
{
    uint32_t victim = put(0, 6), other = put(1, 1);

    start_move(victim, 1, other);
    assert_int_equal(nf_pool_near_bytes(pool), 0); /* in the end */
    assert_waits(allocate_near, 7);
    assert_payload(victim, 1);
}

static void a_move_waits_for_room(void **state)
{
    uint32_t victim = put(0, 6), far = put(1, 7);

    start_move(victim, 1, far);
    lead.moves[0] = (struct nf_policy_move){far, 0};
    lead.n_access = 1;
    assert_waits(op_on, far); /* fetched before use, into what the victim leaves */
    assert_payload(far, 0);
    assert_payload(victim, 1);
}

static void a_move_of_what_moves(void **state)
{
    uint32_t moving = put(1, 4), other = put(1, 1);

    start_move(moving, 0, other);
    lead.moves[0] = (struct nf_policy_move){moving, 0}; /* it is on its way */
    lead.n_after = 1;
    assert_int_equal(op_on(other), 0);
    lead.moves[0] = (struct nf_policy_move){moving, 1}; /* and back, once it is there */
    lead.n_after = 1;
    assert_waits(op_on, other);
    assert_int_equal(nf_pool_settle(pool), 0);
    assert_payload(moving, 1);
    assert_int_equal(stats_now().moves, 2);
}

/* Freeing waits for nobody; the memory of both copies is free when the move has ended, which it does early. */
static void what_is_freed_under_way(void **state)
{
    uint32_t moving = put(1, 8), other = put(1, 1), again;

    start_move(moving, 0, other);
    nf_pool_free(pool, moving);
    assert_true(atomic_load(&gate.shut));
    assert_int_equal(stats_now().live_storages, 1);
    assert_int_equal(stats_now().tier[0].live_bytes, PAGES(8));
    assert_int_equal(nf_pool_near_bytes(pool), 0);
    again = put(1, 2); /* its handle may be the same */
    assert_waits(allocate_near, 8);
    assert_payload(again, 1);
    assert_int_equal(stats_now().moves, 0);
    assert_int_equal(stats_now().tier[1].live_bytes, PAGES(3));
}

static void no_room_is_still_said(void **state)
{
    struct nf_pool_alloc a = {.bytes = PAGES(NEAR_PAGES + FAR_PAGES), .number = UINT32_MAX};
    uint32_t moving = put(1, 2), other = put(1, 1), handle;

    start_move(moving, 0, other);
    atomic_store(&gate.shut, false);
    assert_int_equal(nf_pool_allocate(pool, &a, &handle), -ENOSPC);
    put(0, 6);
    lead.moves[0] = (struct nf_policy_move){other, 0};
    lead.n_after = 1;
    assert_int_equal(op_on(other), -EPROTO);
}

/* More than 256 KiB: between two chunks it stands still while held. */
static void held_moves_stand_still(void **state)
{
    struct nf_pool_config c = {.tiers = tiers, .n_tiers = 2, .capacity = {UINT64_MAX, UINT64_MAX},
                               .arena_bytes = {PAGES(ARENA_PAGES), PAGES(ARENA_PAGES)}, .policy = &lead_ops,
                               .policy_options = "", .pages = &kernel_system};
    uint32_t moving, other;
    uint64_t seen;

    pool = nf_pool_close(pool);
    assert_int_equal(nf_pool_open(&c, &pool), 0);
    moving = put(1, 200);
    other = put(1, 1);
    start_move(moving, 0, other);
    nf_pool_hold(pool, true);
    seen = atomic_load(&gate.charges);
    atomic_store(&gate.shut, false);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    assert_in_range(atomic_load(&gate.charges), seen, seen + 1); /* the chunk under way ends */
    assert_int_equal(nf_pool_verify(pool), 0);
    nf_pool_hold(pool, false);
    assert_int_equal(nf_pool_settle(pool), 0);
    assert_payload(moving, 0);
    assert_true(atomic_load(&gate.charges) > seen + 2);
    nf_pool_hold(pool, true); /* closing does not hang */
    lead.moves[0] = (struct nf_policy_move){moving, 1};
    lead.n_after = 1;
    assert_int_equal(op_on(other), 0);
}

/* What the tier is charged is what the pool says it was; a tier that injects nothing is charged nothing. */
static void charges_are_counted(void **state)
{
    uint32_t moving = put(1, 4), other = put(1, 1);

    start_move(moving, 0, other);
    atomic_store(&gate.shut, false);
    assert_int_equal(nf_pool_settle(pool), 0);
    assert_true(stats_now().tier[1].charged_bytes >= PAGES(4));
    assert_int_equal(stats_now().tier[1].charged_bytes, atomic_load(&gate.bytes[1]));
    assert_int_equal(stats_now().tier[0].charged_bytes, 0);
    nf_pool_stats_reset(pool);
    assert_int_equal(stats_now().tier[1].charged_bytes + stats_now().wait_ns + stats_now().stall_ns, 0);
}

/* --- migration in place --- */

static void migrated_pages_keep_their_address(void **state)
{
    uint32_t handle = put(1, 4), other = put(1, 1);
    char *memory = nf_pool_storage(pool, handle)->piece[1].memory;

    lead.moves[0] = (struct nf_policy_move){handle, 0};
    lead.n_after = 1;
    assert_int_equal(op_on(other), 0);
    assert_int_equal(nf_pool_settle(pool), 0);
    assert_payload(handle, 0);
    assert_ptr_equal(nf_pool_storage(pool, handle)->piece[0].memory, memory);
    assert_int_equal(nf_pool_storage(pool, handle)->piece[1].bytes, 0);
    assert_int_equal(stats_now().tier[0].live_bytes, PAGES(4));
    assert_int_equal(stats_now().tier[1].live_bytes, PAGES(1));
    assert_int_equal(stats_now().moved_pages_ever, 4);
    assert_int_equal(atomic_load(&gate.charges), 0); /* nothing is injected */
    assert_int_equal(nf_pool_verify(pool), 0);
    *node_of(memory) = 1; /* behind the pool's back */
    assert_int_equal(nf_pool_verify(pool), -EXDEV);
    *node_of(memory) = 0;
    /* Its address is handed out as far memory again: the pages go home first. */
    nf_pool_free(pool, handle);
    assert_int_equal(stats_now().moved_pages_ever, 8);
    assert_int_equal(stats_now().tier[0].live_bytes, 0);
    for (int i = 0; i < ARENA_PAGES; i++)
        assert_int_equal(kernel.node[1][i], 1);
    handle = put(1, 4);
    assert_int_equal(nf_pool_verify(pool), 0);
}

static void split_storages_do_not_migrate(void **state)
{
    struct nf_pool_alloc a = {.bytes = PAGES(4), .number = UINT32_MAX};
    uint32_t other = put(1, 1), handle;

    lead.split = (struct nf_placement){.bytes = {PAGES(2), PAGES(2)}};
    assert_int_equal(nf_pool_allocate(pool, &a, &handle), 0);
    lead.moves[0] = (struct nf_policy_move){handle, 1};
    lead.n_after = 1;
    assert_int_equal(op_on(other), -EPROTO);
    assert_non_null(strstr(nf_error_text(-EPROTO), "apart"));
}

static void a_full_node_fails_the_op(void **state)
{
    uint32_t handle = put(1, 4), other = put(1, 1);
    int rc;

    kernel.full = true;
    lead.moves[0] = (struct nf_policy_move){handle, 0};
    lead.n_after = 1;
    rc = op_on(other);
    if (!rc) /* a helper's failure is heard of later */
        rc = nf_pool_settle(pool);
    assert_int_equal(rc, -ENOMEM);
    assert_non_null(strstr(nf_error_text(rc), "tier 'gate' is full: node 0 has no free memory"));
    assert_non_null(strstr(nf_error_text(rc), "(--scale)"));
    assert_payload(handle, 1);
    assert_int_equal(stats_now().tier[0].live_bytes, 0);
    if (lead_ops.semantics.sync == NF_SYNC_HELPER)
        assert_int_equal(op_on(other), -ENOMEM);
    kernel.full = false;
}

/* --- the kernel moves --- */

static void the_kernels_moves_are_read_back(void **state)
{
    uint32_t near = put(0, 4), far = put(1, 10);
    struct nf_pool_stats s;

    assert_true(kernel.unbound[0] && kernel.unbound[1]);
    assert_int_equal(nf_pool_verify(pool), 0);
    assert_int_equal(stats_now().moves, 0);
    *node_of(nf_pool_storage(pool, near)->piece[0].memory) = 1; /* one page demoted, two promoted */
    *node_of(nf_pool_storage(pool, far)->piece[1].memory) = 0;
    *node_of(nf_pool_storage(pool, far)->piece[1].memory + PAGE) = 0;
    assert_int_equal(nf_pool_verify(pool), 0);
    s = stats_now();
    assert_int_equal(s.moves, 3);
    assert_int_equal(s.moved_bytes, PAGES(3));
    assert_int_equal(s.tier[0].moved_in_bytes, PAGES(2));
    assert_int_equal(s.tier[0].moved_out_bytes, PAGES(1));
    assert_int_equal(s.moved_pages_ever, 3);
    assert_int_equal(nf_pool_verify(pool), 0);
    assert_int_equal(stats_now().moves, 3); /* each once */
    /* Freed pages are placed anew when they are handed out again. */
    nf_pool_free(pool, near);
    near = put(0, 4);
    assert_int_equal(*node_of(nf_pool_storage(pool, near)->piece[0].memory), 0);
    /* Near holds what it may hold, also for the kernel. */
    for (int i = 0; i < 10; i++)
        *node_of(nf_pool_storage(pool, far)->piece[1].memory + i * PAGE) = 0;
    assert_int_equal(nf_pool_verify(pool), -EXDEV);
    assert_non_null(strstr(nf_error_text(-EXDEV), "promoted"));
    lead.moves[0] = (struct nf_policy_move){far, 0};
    lead.n_after = 1;
    assert_int_equal(op_on(near), -EPROTO); /* not the policy's business */
}

/* --- what movers need --- */

static void movers_say_what_they_need(void **state)
{
    static const struct {
        int kind, node[2];
        double bps;
        bool huge;
        const char *says; /* NULL: usable */
    } cases[] = {
        {NF_MOVER_NONE, {-1, -1}, 1e9, false, NULL}, {NF_MOVER_COPY, {-1, -1}, 1e9, false, NULL},
        {NF_MOVER_MOVE_PAGES, {0, 0}, 1e9, false, "emulated"}, {NF_MOVER_MOVE_PAGES, {0, 0}, 0, false, "both on node 0"},
        {NF_MOVER_MOVE_PAGES, {0, -1}, 0, false, "on none"}, {NF_MOVER_MOVE_PAGES, {0, 1}, 0, true, "huge"},
        {NF_MOVER_MOVE_PAGES, {0, 1}, 0, false, NULL}, {NF_MOVER_KERNEL, {0, 0}, 1e9, false, "emulated"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nf_tier t[2] = {{.name = "near", .facts.node = cases[i].node[0]},
                               {.name = "far", .facts = {.node = cases[i].node[1], .target_bps = cases[i].bps}}};
        char why[512] = "";
        int rc;

        t[1].facts.huge = cases[i].huge;
        rc = nf_mover_probe(cases[i].kind, t, 2, why, sizeof why);
        assert_int_equal(rc, cases[i].says ? -ENODEV : 0);
        if (cases[i].says && !strstr(why, cases[i].says))
            fail_msg("case %zu: '%s' does not say '%s'", i, why, cases[i].says);
    }
}

#define TEST(name, open) cmocka_unit_test_setup_teardown(name, open, pool_done)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(ops_run_meanwhile, copied_by_helper), TEST(an_op_waits_for_its_operand, copied_by_helper),
        TEST(an_allocation_waits_for_room, copied_by_helper), TEST(a_move_waits_for_room, copied_by_helper),
        TEST(a_move_of_what_moves, copied_by_helper), TEST(what_is_freed_under_way, copied_by_helper),
        TEST(no_room_is_still_said, copied_by_helper), TEST(held_moves_stand_still, copied_by_helper),
        TEST(charges_are_counted, copied_by_helper),
        TEST(migrated_pages_keep_their_address, migrated_inline), TEST(migrated_pages_keep_their_address, migrated_by_helper),
        TEST(split_storages_do_not_migrate, migrated_inline), TEST(a_full_node_fails_the_op, migrated_inline),
        TEST(a_full_node_fails_the_op, migrated_by_helper), TEST(the_kernels_moves_are_read_back, left_to_the_kernel),
        cmocka_unit_test(movers_say_what_they_need),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
