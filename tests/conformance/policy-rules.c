/* The pool against policies that break rules: each is caught as -EPROTO with its cause, counted, and leaves the pool
 * sound. What is not declared is not seen. Argument: a policy in a shared object. */
#include "tests/conformance/pool-fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"

enum { NEAR_PAGES = 8, FAR_PAGES = 32 };

/* --- a policy whose next decisions the test writes --- */

static struct {
    struct nf_policy_env env;
    struct nf_placement place;
    bool place_whole; /* all on tier place_tier; else `place` as it is */
    uint32_t place_tier;
    struct nf_policy_move moves[2];
    size_t n_place_moves, n_access_moves, n_after_moves; /* of moves[] */
    struct nf_policy_tensor seen;
    nf_regime access_regime;
    unsigned accesses, afters, frees;
} puppet;

static int puppet_open(const struct nf_policy_env *env, void **policy)
{
    puppet.env = *env;
    *policy = NULL;
    return 0;
}

static void puppet_close(void *policy)
{
}

static void give(struct nf_policy_moves *out, size_t n)
{
    for (size_t i = 0; i < n && i < sizeof puppet.moves / sizeof *puppet.moves; i++)
        out->v[i] = puppet.moves[i];
    out->n = n;
}

static int puppet_place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                        struct nf_placement *out)
{
    static const struct nf_placement zero;

    assert_memory_equal(out, &zero, sizeof zero);
    assert_int_equal(evictions->n, 0);
    puppet.seen = *t;
    if (puppet.place_whole)
        out->bytes[puppet.place_tier] = t->bytes;
    else
        *out = puppet.place;
    give(evictions, puppet.n_place_moves);
    return 0;
}

static int puppet_access(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw,
                         size_t n, struct nf_policy_moves *moves)
{
    puppet.access_regime = regime;
    puppet.accesses++;
    give(moves, puppet.n_access_moves);
    return 0;
}

static int puppet_after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    puppet.afters++;
    give(moves, puppet.n_after_moves);
    return 0;
}

static void puppet_freed(void *policy, uint32_t handle)
{
    puppet.frees++;
}

static int puppet_plan(void *policy, nf_regime regime, uint32_t epoch)
{
    return 0;
}

static int puppet_load_profile(void *policy, struct nf_policy_reader *profile)
{
    return 0;
}

static const struct nf_policy_ops puppet_ops = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_OP | NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE), .name = "puppet",
    .about = "does as the test says", .semantics = {.mover = NF_MOVER_COPY}, .init = puppet_open,
    .deinit = puppet_close, .on_alloc = puppet_place, .on_op = puppet_access, .on_op_end = puppet_after,
    .on_free = puppet_freed,
};

static struct fixture f;
static uint32_t near_one, far_one; /* indices: two pages each, one storage per tier */

static uint32_t put(uint32_t tier, uint64_t pages)
{
    struct nf_pool_alloc a = {.bytes = pages * NF_PAGE_BYTES, .number = UINT32_MAX};
    uint32_t index;

    puppet.place_whole = true;
    puppet.place_tier = tier;
    assert_int_equal(fixture_allocate(&f, &a, &index), 0);
    return index;
}

static int start(void **state)
{
    uint64_t capacity[2] = {NEAR_PAGES, FAR_PAGES};

    memset(&puppet, 0, sizeof puppet);
    assert_int_equal(fixture_open(&f, &puppet_ops, "", 2, capacity, NULL, 0, 1), 0);
    near_one = put(0, 2);
    far_one = put(1, 2);
    return 0;
}

static int stop(void **state)
{
    puppet.n_place_moves = puppet.n_access_moves = puppet.n_after_moves = 0;
    fixture_close(&f);
    return 0;
}

static void assert_refused(int rc, uint64_t count)
{
    struct nf_pool_stats stats;

    assert_int_equal(rc, -EPROTO);
    assert_non_null(strstr(nf_error_text(rc), "puppet"));
    nf_pool_stats(f.pool, &stats);
    assert_int_equal(stats.refused, count);
    assert_string_equal(nf_pool_refusal(f.pool), nf_error_text(rc));
}

static int allocate(uint64_t pages)
{
    struct nf_pool_alloc a = {.bytes = pages * NF_PAGE_BYTES, .number = UINT32_MAX};
    uint32_t index;

    return fixture_allocate(&f, &a, &index);
}

static void placement_is_refused(struct nf_placement p, uint64_t pages)
{
    unsigned frees = puppet.frees;

    puppet.place_whole = false;
    puppet.place = p;
    assert_refused(allocate(pages), 1);
    assert_int_equal(puppet.frees, frees + 1); /* the policy hears that its storage is gone */
}

#define PAGES(n) ((n) * (uint64_t)NF_PAGE_BYTES)

static void test_too_little(void **state)
{
    placement_is_refused((struct nf_placement){.bytes = {PAGES(1), PAGES(1)}}, 3);
}

static void test_too_much(void **state)
{
    placement_is_refused((struct nf_placement){.bytes = {PAGES(1), PAGES(3)}}, 3);
}

static void test_sum_wraps(void **state)
{
    placement_is_refused((struct nf_placement){.bytes = {PAGES(4), -PAGES(1)}}, 3);
}

static void test_torn_page(void **state)
{
    placement_is_refused((struct nf_placement){.bytes = {100, PAGES(3) - 100}}, 3);
}

static void test_unknown_tier(void **state)
{
    placement_is_refused((struct nf_placement){.bytes = {[5] = PAGES(3)}}, 3);
}

static void test_over_capacity(void **state)
{
    placement_is_refused((struct nf_placement){.bytes = {PAGES(NEAR_PAGES - 1)}}, NEAR_PAGES - 1);
}

static void test_move_unknown(void **state)
{
    puppet.moves[0] = (struct nf_policy_move){12345, 1};
    puppet.n_place_moves = 1;
    assert_refused(allocate(1), 1);
    puppet.moves[0].handle = 7777777;
    assert_int_equal(allocate(1), -EPROTO);
}

static void test_move_freed(void **state)
{
    uint32_t index = put(1, 1), handle = f.live[index].handle;

    fixture_free(&f, index);
    puppet.moves[0] = (struct nf_policy_move){handle, 0};
    puppet.n_access_moves = 1;
    assert_refused(fixture_op(&f, &near_one, (uint8_t[]){NF_RW_READ}, 1), 1);
}

static void test_move_itself(void **state)
{
    /* The handle the next storage will get: known to the policy, not yet a storage. */
    uint32_t index = put(1, 1), handle = f.live[index].handle;

    fixture_free(&f, index);
    puppet.moves[0] = (struct nf_policy_move){handle, 0};
    puppet.n_place_moves = 1;
    assert_refused(allocate(1), 1);
}

static void test_move_to_unknown_tier(void **state)
{
    puppet.moves[0] = (struct nf_policy_move){f.live[near_one].handle, 2};
    puppet.n_place_moves = 1;
    assert_refused(allocate(1), 1);
}

static void test_move_over_capacity(void **state)
{
    uint32_t big = put(1, NEAR_PAGES - 1);

    puppet.moves[0] = (struct nf_policy_move){f.live[big].handle, 0};
    puppet.n_after_moves = 1;
    assert_refused(fixture_op(&f, &far_one, (uint8_t[]){NF_RW_READ}, 1), 1);
}

/* Two storages cannot change places when near is full: each needs both copies for a while. */
static void test_swap_when_full(void **state)
{
    put(0, NEAR_PAGES - 2);
    puppet.moves[0] = (struct nf_policy_move){f.live[far_one].handle, 0};
    puppet.moves[1] = (struct nf_policy_move){f.live[near_one].handle, 1};
    puppet.n_after_moves = 2;
    assert_refused(fixture_op(&f, &far_one, (uint8_t[]){NF_RW_READ}, 1), 1);
    /* In the other order it is fine. */
    puppet.moves[0] = (struct nf_policy_move){f.live[near_one].handle, 1};
    puppet.moves[1] = (struct nf_policy_move){f.live[far_one].handle, 0};
    assert_int_equal(fixture_op(&f, &far_one, (uint8_t[]){NF_RW_READ}, 1), 0);
    assert_int_equal(f.peak[0], PAGES(NEAR_PAGES));
}

/* What a split storage has near already does not help it to be near as a whole: it is copied, not extended. */
static void test_join_needs_both_copies(void **state)
{
    struct nf_pool_alloc a = {.bytes = PAGES(5), .number = UINT32_MAX};
    uint32_t index;

    puppet.place = (struct nf_placement){.bytes = {PAGES(3), PAGES(2)}};
    puppet.place_whole = false;
    assert_int_equal(fixture_allocate(&f, &a, &index), 0);
    puppet.moves[0] = (struct nf_policy_move){f.live[index].handle, 0};
    puppet.n_after_moves = 1;
    assert_refused(fixture_op(&f, &far_one, (uint8_t[]){NF_RW_READ}, 1), 1); /* 3 of 8 pages are free */
    puppet.n_after_moves = 0;
    fixture_free(&f, near_one); /* the last storage takes its index */
    puppet.n_after_moves = 1;
    assert_int_equal(fixture_op(&f, &far_one, (uint8_t[]){NF_RW_READ}, 1), 0);
    assert_int_equal(f.peak[0], PAGES(8));
}

/* A liar: it declares that nothing migrates. */
static void test_undeclared_move(void **state)
{
    struct nf_policy_ops still = puppet_ops;
    uint64_t capacity[2] = {NEAR_PAGES, FAR_PAGES};
    uint8_t rw = NF_RW_READ;
    uint32_t index;

    still.semantics.mover = NF_MOVER_NONE;
    fixture_close(&f); /* the setup's */
    assert_int_equal(fixture_open(&f, &still, "", 2, capacity, NULL, 0, 1), 0);
    index = put(1, 1);
    puppet.moves[0] = (struct nf_policy_move){f.live[index].handle, 0, 0, 0};
    puppet.n_after_moves = 1;
    assert_refused(fixture_op(&f, &index, &rw, 1), 1);
    assert_non_null(strstr(nf_pool_refusal(f.pool), "nothing migrates"));
    puppet.n_after_moves = 0;
}

static void test_evict_operand(void **state)
{
    puppet.moves[0] = (struct nf_policy_move){f.live[near_one].handle, 1};
    puppet.n_access_moves = 1;
    assert_refused(fixture_op(&f, &near_one, (uint8_t[]){NF_RW_READ}, 1), 1);
    /* Not an operand: fine. */
    assert_int_equal(fixture_op(&f, &far_one, (uint8_t[]){NF_RW_READ}, 1), 0);
}

static void test_fetch_operand(void **state)
{
    puppet.moves[0] = (struct nf_policy_move){f.live[far_one].handle, 0};
    puppet.n_access_moves = 1;
    assert_int_equal(fixture_op(&f, &far_one, (uint8_t[]){NF_RW_UPDATE}, 1), 0);
    assert_int_equal(nf_pool_storage(f.pool, f.live[far_one].handle)->piece[0].bytes, PAGES(2));
    /* It is there already: nothing to do, and no rule broken. */
    assert_int_equal(fixture_op(&f, &far_one, (uint8_t[]){NF_RW_UPDATE}, 1), 0);
}

/* Between begin and end operands stay where they are, also when a birth makes the policy move things. */
static void test_operands_are_fixed(void **state)
{
    uint32_t handle = f.live[far_one].handle;

    assert_int_equal(nf_pool_begin(f.pool, 0, &handle, (uint8_t[]){NF_RW_READ}, 1), 0);
    puppet.moves[0] = (struct nf_policy_move){handle, 0};
    puppet.n_place_moves = 1;
    assert_refused(allocate(1), 1);
    assert_int_equal(nf_pool_end(f.pool, 0), 0);
    puppet.place_whole = true;
    puppet.place_tier = 1;
    assert_int_equal(allocate(1), 0);
    assert_int_equal(nf_pool_storage(f.pool, handle)->piece[0].bytes, PAGES(2));
}

static void test_too_many_moves(void **state)
{
    puppet.n_place_moves = NF_POLICY_MOVES_MAX + 1;
    assert_refused(allocate(1), 1);
}

static void test_first_cause_is_kept(void **state)
{
    char cause[256];

    puppet.moves[0] = (struct nf_policy_move){f.live[near_one].handle, 2};
    puppet.n_place_moves = 1;
    assert_refused(allocate(1), 1);
    snprintf(cause, sizeof cause, "%s", nf_pool_refusal(f.pool));
    puppet.moves[0].handle = 999;
    assert_int_equal(allocate(1), -EPROTO);
    assert_string_not_equal(nf_error_text(-EPROTO), cause);
    assert_string_equal(nf_pool_refusal(f.pool), cause);
}

static void test_no_room_anywhere(void **state)
{
    assert_int_equal(allocate(NEAR_PAGES + FAR_PAGES), -ENOSPC);
}

static void test_caller_errors(void **state)
{
    uint32_t handle = f.live[near_one].handle, wrong = 4242;
    uint8_t rw = NF_RW_READ;

    assert_int_equal(nf_pool_end(f.pool, 0), -EINVAL);
    assert_int_equal(nf_pool_begin(f.pool, 0, &wrong, &rw, 1), -EINVAL);
    assert_int_equal(nf_pool_begin(f.pool, 0, &handle, &rw, 1), 0);
    assert_int_equal(nf_pool_begin(f.pool, 1, &handle, &rw, 1), -EINVAL);
    assert_int_equal(nf_pool_end(f.pool, 0), 0);
}

static void test_split_and_striped_moves(void **state)
{
    uint32_t index;
    struct nf_pool_alloc a = {.bytes = PAGES(6), .number = UINT32_MAX};

    for (int striped = 0; striped < 2; striped++) {
        puppet.place_whole = false;
        puppet.place = (struct nf_placement){.bytes = {PAGES(2), PAGES(4)}, .striped = striped};
        assert_int_equal(fixture_allocate(&f, &a, &index), 0);
        puppet.moves[0] = (struct nf_policy_move){f.live[index].handle, 1};
        puppet.n_after_moves = 1;
        assert_int_equal(fixture_op(&f, &far_one, (uint8_t[]){NF_RW_READ}, 1), 0);
        puppet.n_after_moves = 0;
        assert_int_equal(nf_pool_storage(f.pool, f.live[index].handle)->piece[1].bytes, PAGES(6));
        assert_false(nf_pool_storage(f.pool, f.live[index].handle)->striped);
        fixture_free(&f, index);
    }
}

static void test_counts_and_reset(void **state)
{
    struct nf_pool_stats s;

    puppet.moves[0] = (struct nf_policy_move){f.live[far_one].handle, 0};
    puppet.n_after_moves = 1;
    nf_pool_enter(f.pool, 0x1234);
    assert_int_equal(fixture_op(&f, &far_one, (uint8_t[]){NF_RW_READ}, 1), 0);
    assert_int_equal(puppet.access_regime, 0x1234);
    nf_pool_stats(f.pool, &s);
    assert_int_equal(s.moves, 1);
    assert_int_equal(s.moved_bytes, PAGES(2));
    assert_int_equal(s.tier[0].moved_in_bytes, PAGES(2));
    assert_int_equal(s.tier[0].moved_out_bytes, 0);
    assert_int_equal(s.tier[1].moved_out_bytes, PAGES(2));
    assert_int_equal(s.tier[0].allocations, 1);
    assert_int_equal(s.tier[1].allocations, 1);
    assert_true(s.policy_ns > 0 && s.move_ns > 0);
    nf_pool_stats_reset(f.pool);
    nf_pool_stats(f.pool, &s);
    assert_int_equal(s.moves + s.moved_bytes + s.move_ns + s.policy_ns + s.tier[0].moved_in_bytes, 0);
    assert_int_equal(s.tier[0].live_bytes, PAGES(4));
    assert_int_equal(s.tier[0].peak_bytes, PAGES(4));
    f.peak[0] = PAGES(4);
    f.peak[1] = 0;
}

/* --- what a policy sees --- */

static void test_sees_what_it_declares(void **state)
{
    struct nf_tensor tensor = {.bytes = PAGES(1), .birth = 0, .death = 0, .carry_in = -1, .carry_out = -1};
    struct nf_op op = {0};
    struct nf_step_class class = {.ops = &op, .n_ops = 1, .tensors = &tensor, .n_tensors = 1};
    struct nf_profile profiles[2];
    struct nf_policy_ops sees = puppet_ops;
    struct nf_pool_alloc a = {.bytes = PAGES(1), .op = 3, .step_class = 1, .number = 0, .role = NF_ROLE_SAVED};
    uint64_t capacity[2] = {NEAR_PAGES, FAR_PAGES};
    uint32_t index;

    assert_int_equal(nf_profile_init(&profiles[0], &class, 0, 0), 0);
    assert_int_equal(nf_profile_init(&profiles[1], &class, 0, 0), 0);
    for (int declared = 0; declared < 2; declared++) {
        memset(&puppet, 0, sizeof puppet);
        puppet.place_whole = true;
        sees.semantics.sees_profile = declared;
        assert_int_equal(fixture_open(&f, &sees, "", 2, capacity, profiles, 2, 77), 0);
        assert_int_equal(fixture_allocate(&f, &a, &index), 0);
        assert_int_equal(puppet.seen.bytes, PAGES(1));
        assert_int_equal(puppet.seen.op, 3);
        assert_int_equal(puppet.env.seed, 77);
        assert_int_equal(puppet.env.capacity[0], PAGES(NEAR_PAGES));
        assert_ptr_equal(puppet.env.profiles, declared ? profiles : NULL);
        assert_int_equal(puppet.env.n_profiles, declared ? 2 : 0);
        assert_int_equal(puppet.seen.step_class, declared);
        assert_int_equal(puppet.seen.number, declared ? 0 : UINT32_MAX);
        assert_int_equal(puppet.seen.role, declared ? NF_ROLE_SAVED : NF_ROLE_UNKNOWN);
        fixture_close(&f);
    }
    nf_profile_deinit(&profiles[0]);
    nf_profile_deinit(&profiles[1]);
}

static void test_plugin(void **state)
{
    const char *path = *state;
    const struct nf_policy_ops *plugin = nf_policy_find(path);
    struct nf_tensor tensor = {.bytes = PAGES(1), .birth = 0, .death = 0, .carry_in = -1, .carry_out = -1};
    struct nf_op op = {0};
    struct nf_step_class class = {.ops = &op, .n_ops = 1, .tensors = &tensor, .n_tensors = 1};
    struct nf_pool_alloc a = {.bytes = PAGES(3), .number = 0, .role = NF_ROLE_SAVED};
    uint64_t capacity[2] = {NEAR_PAGES, FAR_PAGES};
    struct nf_profile profile;
    char options[512];
    uint32_t index;

    assert_non_null(plugin);
    assert_string_equal(plugin->name, "plugin");
    assert_ptr_equal(nf_policy_find(path), plugin);
    assert_int_equal(nf_profile_init(&profile, &class, 0, 0), 0);
    /* By itself, and under trace, which sees more than it hands on. */
    snprintf(options, sizeof options, "inner=%s,file=/dev/null", path);
    for (int traced = 0; traced < 2; traced++) {
        assert_int_equal(fixture_open(&f, traced ? nf_policy_find("trace") : plugin, traced ? options : "", 2, capacity,
                                      &profile, 1, 1), 0);
        assert_int_equal(fixture_allocate(&f, &a, &index), 0);
        fixture_close(&f);
    }
    nf_profile_deinit(&profile);
}

/* The verbs of the table of capabilities, and what a struct of another build would look like. */
static void test_incomplete(void **state)
{
    static const char *const words[] = {"interface", "bytes", "required", "on_op_end", "plan", "sees a profile", "name"};
    struct nf_policy_ops broken[7], filled;

    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        broken[i] = puppet_ops;
    broken[0].abi = NF_POLICY_ABI + 1;
    broken[1].size -= sizeof(void *);
    broken[2].on_alloc = NULL;
    broken[3].on_op_end = NULL;                       /* declared, and not there */
    broken[4].plan = puppet_plan;                     /* there, and not declared */
    broken[5].load_profile = puppet_load_profile;
    broken[5].capabilities |= NF_POLICY_HAS_LOAD_PROFILE;
    broken[6].name = "../puppet";
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_int_equal(nf_policy_check(&broken[i], &filled), -EINVAL);
        assert_non_null(strstr(nf_error_text(-EINVAL), "puppet"));
        assert_non_null(strstr(nf_error_text(-EINVAL), words[i]));
    }
    broken[0] = puppet_ops;
    broken[0].on_op = NULL;
    broken[0].on_op_end = NULL;
    broken[0].on_free = NULL;
    broken[0].capabilities = 0;
    assert_int_equal(nf_policy_check(&broken[0], &filled), 0);
    assert_true(filled.on_op && filled.on_op_end && filled.on_free && filled.probe && filled.plan && filled.load_profile &&
                filled.on_access && filled.on_regime && filled.on_pressure && filled.tick && filled.explain);
}

#define RULE(t) cmocka_unit_test_setup_teardown(t, start, stop)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RULE(test_too_little), RULE(test_too_much), RULE(test_sum_wraps), RULE(test_torn_page),
        RULE(test_unknown_tier), RULE(test_over_capacity), RULE(test_move_unknown), RULE(test_move_freed),
        RULE(test_move_itself), RULE(test_move_to_unknown_tier), RULE(test_move_over_capacity),
        RULE(test_swap_when_full), RULE(test_join_needs_both_copies), RULE(test_undeclared_move), RULE(test_evict_operand), RULE(test_fetch_operand),
        RULE(test_operands_are_fixed), RULE(test_too_many_moves), RULE(test_first_cause_is_kept),
        RULE(test_no_room_anywhere), RULE(test_caller_errors), RULE(test_split_and_striped_moves),
        RULE(test_counts_and_reset),
        cmocka_unit_test(test_sees_what_it_declares),
        cmocka_unit_test(test_incomplete),
        cmocka_unit_test_prestate(test_plugin, argc > 1 ? argv[1] : "./policy-plugin.so"),
    };

    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
