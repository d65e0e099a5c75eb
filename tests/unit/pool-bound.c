/* Stays, the greedy choice of them, and the bounds above it: by hand, and against every choice there is on small steps. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "pool/belady.h"
#include "pool/bound.h"
#include "tests/unit/coin-leaks.h"

enum { PAGE = 4096, OPS_MAX = 10, TENSORS_MAX = 5, VISITS_MAX = 60, STAYS_MAX = 16 };

struct step {
    struct nf_op ops[OPS_MAX];
    struct nf_visit visits[VISITS_MAX];
    struct nf_tensor tensors[TENSORS_MAX];
    struct nf_step_class c;
    struct nf_profile profile;
    struct nf_step_uses uses;
    struct nf_stays stays, apart;
};

static void step_init(struct step *s, uint32_t n_ops)
{
    memset(s, 0, sizeof *s);
    s->c = (struct nf_step_class){.ops = s->ops, .visits = s->visits, .tensors = s->tensors, .n_ops = n_ops};
}

static void add_tensor(struct step *s, uint32_t pages, int32_t birth, int32_t death)
{
    uint32_t n = s->c.n_tensors++;
    int32_t slot = birth < 0 ? (int32_t)n : NF_CARRY_NONE;

    s->tensors[n] = (struct nf_tensor){.bytes = (uint64_t)pages * PAGE, .address = (n + 1ull) << 32, .birth = birth < 0 ? NF_OP_BEFORE : birth,
                                       .death = birth < 0 ? NF_OP_AFTER : death, .carry_in = slot, .carry_out = slot, .tracked = true};
}

/* uses[o]: a string of tensors per op, "02": tensors 0 and 2 are read whole. */
static void finish(struct step *s, const char *const *uses)
{
    for (uint32_t o = 0; o < s->c.n_ops; o++) {
        s->ops[o] = (struct nf_op){.first_visit = s->c.n_visits, .n_visits = (uint32_t)strlen(uses[o]), .dur_ns = 1000, .regime = 1};
        for (const char *u = uses[o]; *u; u++) {
            uint64_t bytes = s->tensors[*u - '0'].bytes;

            s->visits[s->c.n_visits++] = (struct nf_visit){.op = o, .tensor = (uint32_t)(*u - '0'), .bytes = bytes, .run = bytes, .stride = bytes,
                                                           .touches_q8 = 256, .rw = NF_RW_READ};
        }
    }
    assert_int_equal(nf_profile_init(&s->profile, &s->c, 0, 1), 0);
    assert_int_equal(nf_step_uses_init(&s->uses, &s->c, 0), 0);
    assert_int_equal(nf_stays_init(&s->stays, &s->profile, &s->uses), 0);
    assert_int_equal(nf_stays_init_apart(&s->apart, &s->profile, &s->uses), 0);
}

static void step_deinit(struct step *s)
{
    nf_stays_deinit(&s->stays);
    nf_stays_deinit(&s->apart);
    nf_step_uses_deinit(&s->uses);
    nf_profile_deinit(&s->profile);
}

static void lists_stays(void **state)
{
    struct step s;

    step_init(&s, 5);
    add_tensor(&s, 2, -1, 0);
    add_tensor(&s, 3, 1, 4);
    add_tensor(&s, 1, 2, 2);
    finish(&s, (const char *const[]){"0", "1", "2", "0", "1"});
    assert_int_equal(s.stays.n, 4);
    assert_int_equal(s.stays.bytes, (2 + 3 + 1 + 2 + 3) * PAGE);
    /* The parameter round the end of the step: ops 4 and 0; then 1 to 3. */
    assert_int_equal(s.stays.v[0].first, 4);
    assert_int_equal(s.stays.v[0].last, 0);
    assert_int_equal(nf_stay_length(&s.stays.v[0], 5), 2);
    assert_int_equal(s.stays.v[1].first, 1);
    assert_int_equal(s.stays.v[1].last, 3);
    /* The activation from its birth on, which is a use that it serves as well. */
    assert_true(s.stays.v[2].born);
    assert_int_equal(s.stays.v[2].first, 1);
    assert_int_equal(s.stays.v[2].last, 4);
    assert_int_equal(s.stays.v[2].bytes, 6 * PAGE);
    /* One use: its birth alone. */
    assert_int_equal(s.stays.v[3].first, 2);
    assert_int_equal(s.stays.v[3].last, 2);
    assert_int_equal(s.stays.v[3].bytes, PAGE);
    /* Apart: the activation's birth and first use at op 1 is one, what follows another. */
    assert_int_equal(s.apart.n, 5);
    assert_int_equal(s.apart.bytes, s.stays.bytes);
    assert_true(s.apart.v[2].born && s.apart.v[2].first == 1 && s.apart.v[2].last == 1 && s.apart.v[2].bytes == 3 * PAGE);
    assert_true(!s.apart.v[3].born && s.apart.v[3].first == 2 && s.apart.v[3].last == 4 && s.apart.v[3].bytes == 3 * PAGE);
    step_deinit(&s);
}

/* A gradient: made in a step, used in it and at the next one's beginning under another number. Its memory is given back later than
 * its last use: until then near is held, though no bound may count on that. */
static void follows_storages_round_the_end(void **state)
{
    struct step s;

    step_init(&s, 5);
    add_tensor(&s, 2, -1, 0);
    add_tensor(&s, 2, 1, 0);
    s.tensors[0].death = 3;
    s.tensors[0].carry_out = NF_CARRY_NONE;
    s.tensors[1].carry_out = 0;
    s.tensors[1].death = NF_OP_AFTER;
    finish(&s, (const char *const[]){"0", "", "1", "", "1"});
    assert_int_equal(s.stays.n, 2);
    assert_int_equal(s.stays.v[0].tensor, 0);
    assert_int_equal(s.stays.v[0].before, 1);
    assert_int_equal(s.stays.v[0].from, 4);
    assert_int_equal(s.stays.v[0].to, 0);
    assert_int_equal(s.stays.v[0].first, 0); /* the step's last op is held by the stay before */
    assert_int_equal(s.stays.v[0].last, 0);
    assert_int_equal(s.stays.v[0].until, 3);
    assert_true(s.stays.v[1].born);
    assert_int_equal(s.stays.v[1].since, 1); /* born near, it takes room before it is used, too */
    assert_int_equal(s.stays.v[1].first, 2);
    assert_int_equal(s.stays.v[1].until, 4);
    step_deinit(&s);
}

static bool holds(const struct nf_stay *t, uint32_t op)
{
    return t->first <= t->last ? op >= t->first && op <= t->last : op >= t->first || op <= t->last;
}

/* kept: pages of each stay. */
static bool fits(const struct nf_stays *s, const uint32_t *kept, uint64_t capacity)
{
    for (uint32_t o = 0; o < s->n_ops; o++) {
        uint64_t load = 0;

        for (uint32_t i = 0; i < s->n; i++)
            load += holds(&s->v[i], o) ? kept[i] : 0;
        if (load > capacity)
            return false;
    }
    return true;
}

static double best_of_all(const struct nf_stays *s, uint64_t capacity)
{
    double best = 0;

    for (uint32_t chosen = 0; chosen < 1u << s->n; chosen++) {
        uint32_t kept[STAYS_MAX];
        double saved = 0;

        for (uint32_t i = 0; i < s->n; i++) {
            kept[i] = chosen >> i & 1 ? s->v[i].pages : 0;
            saved += chosen >> i & 1 ? (double)s->v[i].bytes : 0;
        }
        if (saved > best && fits(s, kept, capacity))
            best = saved;
    }
    return best;
}

static bool lives_at(const struct nf_tensor *t, uint32_t op)
{
    return t->birth < 0 || ((int32_t)op >= t->birth && (int32_t)op <= t->death);
}

/* Whether a set of tensors may be near during an op: they live and fit. */
static bool may_be_near(const struct step *s, uint32_t near, uint32_t op, uint64_t capacity)
{
    uint64_t pages = 0;

    for (uint32_t t = 0; t < s->c.n_tensors; t++) {
        if (near >> t & 1 && !lives_at(&s->tensors[t], op))
            return false;
        pages += near >> t & 1 ? s->tensors[t].bytes / PAGE : 0;
    }
    return pages <= capacity;
}

/* Bytes fetched between two ops, and used far in the second one. */
static double cost_of(const struct step *s, uint32_t before, uint32_t near, uint32_t op)
{
    double bytes = 0;

    for (uint32_t t = 0; t < s->c.n_tensors; t++)
        if (near >> t & 1 && !(before >> t & 1) && s->tensors[t].birth != (int32_t)op)
            bytes += (double)s->tensors[t].bytes;
    for (uint32_t v = s->ops[op].first_visit; v < s->ops[op].first_visit + s->ops[op].n_visits; v++)
        if (!(near >> s->visits[v].tensor & 1))
            bytes += (double)s->visits[v].bytes;
    return bytes;
}

/* What the best of all policies leaves that keep tensors whole and end a step as they began it, whatever they fetch and write back:
 * every set near at every op, tried out. */
static double least_of_all(const struct step *s, uint64_t capacity)
{
    enum { SETS = 1 << TENSORS_MAX };
    uint32_t sets = 1u << s->c.n_tensors, carried = 0;
    double least = INFINITY;

    for (uint32_t t = 0; t < s->c.n_tensors; t++)
        carried |= s->tensors[t].birth < 0 ? 1u << t : 0;
    for (uint32_t begin = 0; begin < sets; begin++) {
        double cost[SETS];

        if (begin & ~carried)
            continue;
        for (uint32_t set = 0; set < sets; set++)
            cost[set] = set == begin ? 0 : INFINITY;
        for (uint32_t op = 0; op < s->c.n_ops; op++) {
            double next[SETS];

            for (uint32_t near = 0; near < sets; near++) {
                next[near] = INFINITY;
                for (uint32_t before = 0; before < sets && may_be_near(s, near, op, capacity); before++)
                    if (isfinite(cost[before]))
                        next[near] = fmin(next[near], cost[before] + cost_of(s, before, near, op));
            }
            memcpy(cost, next, sizeof cost);
        }
        for (uint32_t set = 0; set < sets; set++)
            if ((set & carried) == begin)
                least = fmin(least, cost[set]);
    }
    return least;
}

static void random_step(struct step *s, struct nf_rng *r)
{
    char text[OPS_MAX][TENSORS_MAX + 1];
    const char *uses[OPS_MAX];
    uint32_t n_ops = 2 + (uint32_t)nf_rng_below(r, OPS_MAX - 2), n = 1 + (uint32_t)nf_rng_below(r, TENSORS_MAX), stays = 0;

    step_init(s, n_ops);
    for (uint32_t i = 0; i < n; i++) {
        int32_t birth = nf_rng_below(r, 3) ? (int32_t)nf_rng_below(r, n_ops) : -1;

        add_tensor(s, 1 + (uint32_t)nf_rng_below(r, 6), birth, birth < 0 ? 0 : birth + (int32_t)nf_rng_below(r, n_ops - (uint32_t)birth));
    }
    for (uint32_t o = 0; o < n_ops; o++) {
        char *p = text[o];

        for (uint32_t i = 0; i < n; i++) {
            if (lives_at(&s->tensors[i], o) && stays < STAYS_MAX && nf_rng_below(r, 2)) {
                *p++ = (char)('0' + i);
                stays++;
            }
        }
        *p = '\0';
        uses[o] = text[o];
    }
    finish(s, uses);
    assert_true(s->stays.n <= STAYS_MAX);
}

/* The loads of shares at every op. */
static void shares_fit(const struct nf_stays *s, const double *share, uint64_t capacity)
{
    for (uint32_t o = 0; o < s->n_ops; o++) {
        double load = 0;

        for (uint32_t i = 0; i < s->n; i++)
            load += holds(&s->v[i], o) ? share[i] * s->v[i].pages : 0;
        assert_true(load <= (double)capacity + 1e-4);
    }
}

/* Of the greedy choice. Without parts a stay is kept whole or not at all. */
static double greedy_saves(const struct nf_stays *s, uint64_t capacity, bool parts)
{
    uint32_t kept[STAYS_MAX + 1] = {0};
    double saved = 0;

    assert_int_equal(nf_stays_choose(s, capacity, parts, kept), 0);
    assert_true(fits(s, kept, capacity));
    for (uint32_t k = 0; k < s->n; k++) {
        assert_true(kept[k] <= s->v[k].pages && (parts || !kept[k] || kept[k] == s->v[k].pages));
        saved += (double)s->v[k].bytes * kept[k] / s->v[k].pages;
    }
    assert_true(fabs(saved - nf_stays_saved(s, kept)) < 1);
    return saved;
}

/* Where nothing moves: whole tensors, tried out, against the program over lives. Returns what that says. */
static double static_saves(const struct step *s, uint64_t capacity)
{
    struct nf_stays lives;
    double saved;

    assert_int_equal(nf_stays_init_lives(&lives, &s->profile, &s->uses), 0);
    assert_int_equal(lives.bytes, s->stays.bytes);
    assert_int_equal(nf_bound_lp(&lives, capacity, &saved, NULL), 0);
    assert_true(best_of_all(&lives, capacity) <= saved + 1);
    nf_stays_deinit(&lives);
    return saved;
}

static void bounds_hold(void **state)
{
    struct nf_rng r = {17};
    unsigned tight = 0, greedy_best = 0, parts_best = 0, tried = 0;
    char why[128];
    bool lp = !nf_bound_lp_probe(why, sizeof why), milp = !nf_bound_milp_probe(why, sizeof why), proved;

    for (unsigned i = 0; i < 400; i++) {
        uint64_t capacity = nf_rng_below(&r, 12);
        double best, loose, linear = 0, greedy, in_parts, part[STAYS_MAX];
        struct step s;

        random_step(&s, &r);
        best = best_of_all(&s.stays, capacity);
        greedy = greedy_saves(&s.stays, capacity, false);
        in_parts = greedy_saves(&s.stays, capacity, true);
        loose = nf_bound_pfoo(&s.stays, capacity);
        assert_true(greedy <= best + 0.5);
        assert_true(best <= loose + 0.5);
        assert_true(in_parts <= loose + 0.5);
        if (lp) {
            double sum = 0;

            assert_int_equal(nf_bound_lp(&s.stays, capacity, &linear, part), 0);
            assert_true(best <= linear + 1);
            assert_true(in_parts <= linear + 1);
            assert_true(linear <= loose + 1);
            assert_true(static_saves(&s, capacity) <= linear + 1);
            for (uint32_t k = 0; k < s.stays.n; k++) {
                assert_true(part[k] >= -1e-9 && part[k] <= 1 + 1e-9);
                sum += part[k] * (double)s.stays.v[k].bytes;
            }
            assert_true(fabs(sum - linear) < 1);
            shares_fit(&s.stays, part, capacity);
            tight += linear <= best + 1;
            parts_best += in_parts >= linear - 1;
        }
        if (milp) {
            double whole;

            assert_int_equal(nf_bound_milp(&s.stays, capacity, 60, &whole, &proved), 0);
            assert_true(proved);
            assert_true(fabs(whole - best) < 1);
            assert_true(!lp || whole <= linear + 1);
        }
        greedy_best += greedy >= best - 0.5;
        tried++;
        step_deinit(&s);
    }
    print_message("of %u steps the greedy choice is the best in %u; the linear program's bound is reached in %u, by greedily chosen parts in %u\n",
                  tried, greedy_best, tight, parts_best);
    assert_true(greedy_best > tried / 2);
    assert_true(!lp || (tight > tried / 2 && parts_best > tried / 2));
}

/* Nothing that a policy may do leaves less than the bounds over stays apart; those of planners are beaten by writing back. */
static void bounds_hold_for_all_that_policies_do(void **state)
{
    struct nf_rng r = {29};
    unsigned tight = 0, planners_beaten = 0, tried = 0;
    char why[128];
    bool lp = !nf_bound_lp_probe(why, sizeof why), milp = !nf_bound_milp_probe(why, sizeof why), proved;

    for (unsigned i = 0; i < 150; i++) {
        uint64_t capacity = nf_rng_below(&r, 12);
        double least, all, saved;
        struct step s;

        random_step(&s, &r);
        least = least_of_all(&s, capacity);
        all = (double)s.apart.bytes;
        assert_true(all - nf_bound_pfoo(&s.apart, capacity) <= least + 0.5);
        if (lp) {
            assert_int_equal(nf_bound_lp(&s.apart, capacity, &saved, NULL), 0);
            assert_true(all - saved <= least + 1);
        }
        if (milp) {
            assert_int_equal(nf_bound_milp(&s.apart, capacity, 60, &saved, &proved), 0);
            assert_true(proved && fabs(saved - best_of_all(&s.apart, capacity)) < 1);
            assert_true(all - saved <= least + 1);
            tight += all - saved >= least - 1;
        }
        planners_beaten += all - best_of_all(&s.stays, capacity) > least + 1;
        tried++;
        step_deinit(&s);
    }
    print_message("of %u steps the bound for whole tensors is reached in %u; in %u the best is no planner's\n", tried, tight, planners_beaten);
    assert_true(planners_beaten > 0 && (!milp || tight > tried / 2));
}

/* Where no stay goes round the end, the program's best choice of single pages is one of whole pages: the integer program, which begins
 * elsewhere, must find the same. Of stays round the end it may find less, never more. */
static void agrees_with_whole_pages(void **state)
{
    enum { N = 60, PAGES = 5, OPS = 40 };
    struct nf_rng r = {23};
    unsigned parted = 0;
    char why[128];

    if (nf_bound_lp_probe(why, sizeof why) || nf_bound_milp_probe(why, sizeof why))
        skip();
    for (unsigned i = 0; i < 40; i++) {
        struct nf_stay v[N] = {{0}}, page[N * PAGES];
        struct nf_stays s = {.v = v, .n = 1 + (uint32_t)nf_rng_below(&r, N), .n_ops = OPS}, pages = {.v = page, .n_ops = OPS};
        uint64_t capacity = nf_rng_below(&r, 40);
        double linear, whole, share[N];
        bool proved, round = i % 4 == 3;

        for (uint32_t k = 0; k < s.n; k++) {
            uint32_t a = (uint32_t)nf_rng_below(&r, OPS), b = (uint32_t)nf_rng_below(&r, OPS), n = 1 + (uint32_t)nf_rng_below(&r, PAGES);

            v[k] = (struct nf_stay){.tensor = k, .first = a < b || round ? a : b, .last = a < b || round ? b : a, .pages = n,
                                    .bytes = (1 + nf_rng_below(&r, 3)) * n * PAGE};
            v[k].since = v[k].first;
            v[k].until = v[k].last;
            for (uint32_t j = 0; j < n; j++) {
                page[pages.n] = v[k];
                page[pages.n].pages = 1;
                page[pages.n++].bytes = v[k].bytes / n;
            }
        }
        assert_int_equal(nf_bound_lp(&s, capacity, &linear, share), 0);
        shares_fit(&s, share, capacity);
        assert_int_equal(nf_bound_milp(&pages, capacity, 60, &whole, &proved), 0);
        assert_true(proved);
        assert_true(round ? whole <= linear + 1 : fabs(whole - linear) < 1);
        for (uint32_t k = 0; k < s.n; k++)
            parted += share[k] > 1e-6 && share[k] < 1 - 1e-6;
    }
    assert_true(parted > 40);
}

/* Half of each of two tensors that exclude each other. */
static void takes_parts(void **state)
{
    struct step s;
    double saved, part[STAYS_MAX];
    char why[128];

    if (nf_bound_lp_probe(why, sizeof why))
        skip();
    step_init(&s, 3);
    add_tensor(&s, 2, 0, 2);
    add_tensor(&s, 2, 0, 2);
    finish(&s, (const char *const[]){"01", "", "01"});
    assert_int_equal(nf_bound_lp(&s.stays, 3, &saved, part), 0);
    assert_float_equal(saved, 1.5 * 4 * PAGE, 1);
    assert_int_equal((int)best_of_all(&s.stays, 3), 4 * PAGE);
    assert_float_equal(nf_bound_pfoo(&s.stays, 3), 1.5 * 4 * PAGE, 1);
    assert_int_equal(nf_bound_lp(&s.stays, 4, &saved, NULL), 0);
    assert_float_equal(saved, 8 * PAGE, 1);
    assert_int_equal(nf_bound_lp(&s.stays, 1, &saved, NULL), 0); /* also of what fits whole nowhere */
    assert_float_equal(saved, 0.5 * 4 * PAGE, 1);
    step_deinit(&s);
}

/* A gradient born at op 2, carried into the next step as another tensor that dies at op 0: one life, round the end of the step. */
static void follows_lives_round_the_end(void **state)
{
    struct nf_stays lives;
    struct step s;

    step_init(&s, 5);
    add_tensor(&s, 2, -1, 0);
    add_tensor(&s, 2, 2, 0);
    add_tensor(&s, 1, -1, 0);
    s.tensors[0].death = 0;
    s.tensors[0].carry_out = NF_CARRY_NONE;
    s.tensors[1].carry_out = 0;
    s.tensors[1].death = NF_OP_AFTER;
    finish(&s, (const char *const[]){"0", "2", "1", "", "1"});
    assert_int_equal(nf_stays_init_lives(&lives, &s.profile, &s.uses), 0);
    assert_int_equal(lives.n, 3);
    assert_int_equal(lives.bytes, 7 * PAGE);
    assert_int_equal(lives.v[0].bytes, 0); /* it counts as the other one */
    assert_int_equal(lives.v[1].bytes, 6 * PAGE);
    assert_int_equal(lives.v[1].first, 2);
    assert_int_equal(lives.v[1].last, 0);
    assert_int_equal(lives.v[2].first, 0); /* a parameter: always */
    assert_int_equal(lives.v[2].last, 4);
    nf_stays_deinit(&lives);
    step_deinit(&s);
}

/* Stays of one page that save the same, none round the end: no choice is better than Belady's. With other sizes some are. */
static void belady_is_best_at_unit_size(void **state)
{
    enum { N = 12, OPS = 14 };
    struct nf_rng r = {5};

    for (unsigned i = 0; i < 300; i++) {
        struct nf_stay v[N] = {{0}};
        struct nf_stays s = {.v = v, .n = 1 + (uint32_t)nf_rng_below(&r, N - 1), .n_ops = OPS};
        uint64_t capacity = nf_rng_below(&r, 4);

        for (uint32_t k = 0; k < s.n; k++) {
            v[k] = (struct nf_stay){.tensor = k, .first = (uint32_t)nf_rng_below(&r, OPS), .pages = 1, .bytes = PAGE};
            v[k].last = v[k].first + (uint32_t)nf_rng_below(&r, OPS - v[k].first);
        }
        assert_float_equal(nf_belady_saved(&s, capacity), best_of_all(&s, capacity), 0.5);
    }
    {
        /* It gives up the one that ends later, however much that saves. */
        struct nf_stay v[] = {{.first = 0, .last = 1, .pages = 1, .bytes = 1}, {.first = 0, .last = 2, .pages = 1, .bytes = 100}};
        struct nf_stays s = {.v = v, .n = 2, .n_ops = 4};

        assert_float_equal(nf_belady_saved(&s, 1), 1, 0);
        assert_float_equal(nf_belady_saved(&s, 2), 101, 0);
        v[1].first = 3; /* round the end: three ops */
        v[1].last = 1;
        assert_float_equal(nf_belady_saved(&s, 2), 101, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_stays),
        cmocka_unit_test(follows_storages_round_the_end),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(bounds_hold_for_all_that_policies_do),
        cmocka_unit_test(agrees_with_whole_pages),
        cmocka_unit_test(takes_parts),
        cmocka_unit_test(follows_lives_round_the_end),
        cmocka_unit_test(belady_is_best_at_unit_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
