/* Regime ids, peak live bytes and the check that stands between a file and everything that trusts indices. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/model/stream.h"

static void test_regime(void **state)
{
    struct nf_regime_parts p = {
        .job = 0xabcd, .phase = 0x12, .layer_group = 0xf0e, .step_class = 0x34, .microbatch_class = 0x56, .user = 0x78};
    static const nf_regime prefixes[] = {0,
                                         0x1abcd00000000000,
                                         0x1abcd12000000000,
                                         0x1abcd12f0e000000,
                                         0x1abcd12f0e340000,
                                         0x1abcd12f0e345600,
                                         0x1abcd12f0e345678};
    nf_regime id = nf_regime_pack(&p);
    struct nf_regime_parts q = nf_regime_unpack(id);

    assert_int_equal(id, 0x1abcd12f0e345678);
    assert_int_equal(q.job, p.job);
    assert_int_equal(q.phase, p.phase);
    assert_int_equal(q.layer_group, p.layer_group);
    assert_int_equal(q.step_class, p.step_class);
    assert_int_equal(q.microbatch_class, p.microbatch_class);
    assert_int_equal(q.user, p.user);
    for (unsigned level = 0; level < NF_REGIME_LEVELS; level++)
        assert_int_equal(nf_regime_prefix(id, level), prefixes[level]);
    assert_int_equal(nf_regime_prefix(id, 99), id);
    p.layer_group = 0xffff; /* does not spill into the phase */
    assert_int_equal(nf_regime_unpack(nf_regime_pack(&p)).phase, p.phase);
}

static void test_regime_random(void **state)
{
    struct nf_rng rng = {.state = 1};

    for (int i = 0; i < 10000; i++) {
        nf_regime id = (nf_rng_next(&rng) & ~0ull >> 4) | (nf_regime)NF_REGIME_VERSION << 60;
        struct nf_regime_parts p = nf_regime_unpack(id);

        assert_int_equal(nf_regime_pack(&p), id);
    }
}

static void test_peak(void **state)
{
    struct nf_rng rng = {.state = 2};

    for (int round = 0; round < 200; round++) {
        struct nf_tensor t[40];
        struct nf_step_class c = {
            .tensors = t, .n_tensors = (uint32_t)nf_rng_below(&rng, 40), .n_ops = (uint32_t)nf_rng_below(&rng, 20)};
        uint64_t expected = 0, found;

        for (uint32_t i = 0; i < c.n_tensors; i++) {
            t[i] = (struct nf_tensor){.bytes = nf_rng_below(&rng, 20000), .birth = NF_OP_BEFORE, .death = NF_OP_AFTER};
            if (c.n_ops && nf_rng_below(&rng, 2))
                t[i].birth = (int32_t)nf_rng_below(&rng, c.n_ops);
            if (c.n_ops && nf_rng_below(&rng, 2)) {
                uint32_t from = t[i].birth < 0 ? 0 : (uint32_t)t[i].birth;

                t[i].death = (int32_t)(from + nf_rng_below(&rng, c.n_ops - from));
            }
        }
        for (int64_t op = 0; op < (c.n_ops ? (int64_t)c.n_ops : 1); op++) {
            uint64_t live = 0;

            for (uint32_t i = 0; i < c.n_tensors; i++) {
                if (t[i].birth <= op && op <= t[i].death)
                    live += (t[i].bytes + 4095) / 4096 * 4096;
            }
            expected = live > expected ? live : expected;
        }
        assert_int_equal(nf_step_class_peak(&c, &found), 0);
        assert_int_equal(found, expected);
    }
}

/* A small sound class: op 0 writes tensor 1 and reads tensor 0, op 1 reads both, tensor 0 is carried through. */
struct sample {
    struct nf_op ops[2];
    struct nf_visit visits[4];
    struct nf_tensor tensors[3];
    struct nf_step_class c;
    struct nf_stream s;
};

static void sample_init(struct sample *m)
{
    *m = (struct sample){
        .ops = {{.n_visits = 2, .phase = NF_PHASE_FORWARD}, {.first_visit = 2, .n_visits = 2, .dur_ns = 5}},
        .visits = {{.op = 0, .tensor = 0, .bytes = 4096, .run = 4096, .stride = 4096},
                   {.op = 0, .tensor = 1, .bytes = 100, .run = 100, .stride = 100, .rw = NF_RW_WRITE},
                   {.op = 1, .tensor = 0, .offset = 96, .bytes = 250, .run = 100, .stride = 1000},
                   {.op = 1, .tensor = 1, .bytes = 100, .run = 100, .stride = 100}},
        .tensors = {{.bytes = 8192,
                     .address = 1 << 20,
                     .birth = NF_OP_BEFORE,
                     .death = NF_OP_AFTER,
                     .carry_in = 0,
                     .carry_out = 0,
                     .role = NF_ROLE_PARAMETER},
                    {.bytes = 100, .address = 1 << 21, .birth = 0, .death = 1, .carry_in = -1, .carry_out = -1},
                    {.bytes = 64, .birth = 1, .death = NF_OP_AFTER, .carry_in = -1, .carry_out = 1}},
        .c = {.n_ops = 2, .n_visits = 4, .n_tensors = 3, .n_steps = 1},
        .s = {.n_carry = 2, .n_names = 1, .threads = 1},
    };
    m->c.ops = m->ops;
    m->c.visits = m->visits;
    m->c.tensors = m->tensors;
}

#define REFUSED(change)                                                                                                \
    do {                                                                                                               \
        struct sample m;                                                                                               \
        sample_init(&m);                                                                                               \
        change;                                                                                                        \
        nf_error_clear();                                                                                              \
        if (nf_step_class_check(&m.c, &m.s) != -EBADMSG)                                                               \
            fail_msg("accepted: %s", #change);                                                                         \
        assert_string_not_equal(nf_error_text(-EBADMSG), strerror(EBADMSG));                                           \
    } while (0)

static void test_check(void **state)
{
    struct sample sound;

    sample_init(&sound);
    assert_int_equal(nf_step_class_check(&sound.c, &sound.s), 0);
    sound.visits[1] = (struct nf_visit){.op = 0, .tensor = 1}; /* an op on an empty tensor */
    assert_int_equal(nf_step_class_check(&sound.c, &sound.s), 0);

    REFUSED(m.ops[0].name = 1);
    REFUSED(m.ops[1].module = UINT32_MAX);
    REFUSED(m.ops[0].phase = NF_PHASE_COUNT);
    REFUSED(m.ops[0].dur_ns = -1);
    REFUSED(m.ops[0].gap_ns = NAN);
    REFUSED(m.ops[0].dur_ns = INFINITY);
    REFUSED(m.c.bare_step_ns = NAN);
    REFUSED(m.ops[0].n_visits = 1);
    REFUSED(m.ops[0].n_visits = 3);
    REFUSED(m.ops[1].n_visits = 3);
    REFUSED(m.ops[1].n_visits = UINT32_MAX);
    REFUSED(m.ops[1].first_visit = 0);
    REFUSED(m.c.n_visits = 3);
    REFUSED((m.ops[1].n_visits = 1));

    REFUSED(m.visits[0].op = 1);
    REFUSED(m.visits[3].op = 7);
    REFUSED(m.visits[0].tensor = 3);
    REFUSED(m.visits[0].rw = NF_RW_COUNT);
    REFUSED(m.visits[0].pattern = NF_PATTERN_COUNT);
    REFUSED(m.visits[0].evidence = NF_ACCESS_COUNT);
    REFUSED(m.visits[0].tensor = 2); /* born at op 1 */
    REFUSED((m.tensors[1].death = 0));
    REFUSED(m.visits[0].run = 0);
    REFUSED(m.visits[0].run = 4097);
    REFUSED(m.visits[0].bytes = 8193);
    REFUSED(m.visits[0].offset = 4097);
    REFUSED(m.visits[0].offset = UINT64_MAX);
    REFUSED(m.visits[2].stride = 99);
    REFUSED(m.visits[2].stride = 4000);
    REFUSED(m.visits[2].stride = UINT64_MAX);
    REFUSED(m.visits[2].stride = UINT64_MAX / 2 + 1);
    REFUSED((m.visits[2].bytes = UINT64_MAX, m.visits[2].run = UINT64_MAX));
    REFUSED((m.visits[2].bytes = UINT64_MAX, m.visits[2].run = 1, m.visits[2].stride = 1));

    REFUSED(m.tensors[0].name = 1);
    REFUSED(m.tensors[0].module = 9);
    REFUSED(m.tensors[0].role = NF_ROLE_COUNT);
    REFUSED(m.tensors[0].bytes = UINT64_MAX);
    REFUSED(m.tensors[0].address = UINT64_MAX - 100);
    REFUSED(m.tensors[1].birth = 2);
    REFUSED(m.tensors[1].birth = -2);
    REFUSED(m.tensors[1].death = 2);
    REFUSED((m.tensors[2].birth = 1, m.tensors[2].death = 0, m.tensors[2].carry_out = -1));
    REFUSED((m.tensors[2].birth = -1, m.tensors[2].death = -1, m.tensors[2].carry_in = 1, m.tensors[2].carry_out = -1));
    REFUSED(m.tensors[0].carry_in = -1);
    REFUSED(m.tensors[0].carry_out = -1);
    REFUSED(m.tensors[1].carry_in = 1);
    REFUSED(m.tensors[1].carry_out = 1);
    REFUSED(m.tensors[0].carry_in = 2);
    REFUSED(m.tensors[0].carry_out = -2);
    REFUSED(m.tensors[2].carry_out = 0);
    REFUSED((m.tensors[2].birth = -1, m.tensors[2].carry_in = 0));
    REFUSED(m.s.n_carry = 0);
    REFUSED(m.s.n_carry = UINT32_MAX);
    REFUSED(m.c.n_ops = UINT32_MAX);
    REFUSED((m.tensors[1].bytes = UINT64_MAX / 2, m.tensors[2].bytes = UINT64_MAX / 2 + 9000));
}

static void test_steady(void **state)
{
    uint32_t sequence[] = {0, 0, 0, 0, 1, 2, 2, 2};
    struct nf_stream s = {.n_classes = 3, .sequence = sequence, .n_sequence = 8};

    assert_int_equal(nf_stream_steady_class(&s), 2);
    s.n_sequence = 4;
    assert_int_equal(nf_stream_steady_class(&s), 0);
    s.n_sequence = 0;
    assert_int_equal(nf_stream_steady_class(&s), 0);
    sequence[7] = 99;
    s.n_sequence = 8;
    assert_int_equal(nf_stream_steady_class(&s), 2);
}

static void test_free_all(void **state)
{
    struct nf_stream *s = calloc(1, sizeof *s);

    assert_non_null(s);
    s->classes = calloc(1, sizeof *s->classes);
    s->n_classes = 1;
    s->names = calloc(1, sizeof *s->names);
    s->n_names = 1;
    s->names[0] = strdup("a");
    assert_null(nf_stream_free(s));
    assert_null(nf_stream_free(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regime), cmocka_unit_test(test_regime_random), cmocka_unit_test(test_peak),
        cmocka_unit_test(test_check),  cmocka_unit_test(test_steady),        cmocka_unit_test(test_free_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
