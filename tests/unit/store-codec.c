/* The visit codec: what goes in comes out, it is small, and broken chunks are refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/store/visit-codec.h"

enum { TENSORS = 500 };
static uint64_t sizes[TENSORS];
static struct nf_visit in[NF_VISIT_CHUNK], out[NF_VISIT_CHUNK];

/* mostly: percent of visits that are the common kind (whole tensor, contiguous). */
static size_t make(struct nf_rng *r, unsigned mostly)
{
    size_t n = 1 + nf_rng_below(r, NF_VISIT_CHUNK);
    uint32_t op = 0;

    for (size_t i = 0; i < TENSORS; i++)
        sizes[i] = 1 + nf_rng_below(r, 1ull << nf_rng_below(r, 40));
    for (size_t i = 0; i < n; i++) {
        struct nf_visit *v = &in[i];

        memset(v, 0, sizeof *v);
        op += (uint32_t)nf_rng_below(r, 3);
        v->op = op;
        v->tensor = (uint32_t)nf_rng_below(r, TENSORS);
        v->bytes = v->run = v->stride = sizes[v->tensor];
        v->rw = (uint8_t)nf_rng_below(r, NF_RW_COUNT);
        v->pattern = (uint8_t)nf_rng_below(r, NF_PATTERN_COUNT);
        v->touches_q8 = 256;
        v->evidence = NF_ACCESS_FRAMEWORK;
        if (nf_rng_below(r, 100) >= mostly) {
            v->offset = nf_rng_next(r) >> nf_rng_below(r, 64);
            v->bytes = nf_rng_next(r) >> nf_rng_below(r, 64);
            v->run = nf_rng_next(r) >> nf_rng_below(r, 64);
            v->stride = nf_rng_next(r) >> nf_rng_below(r, 64);
            v->touches_q8 = (uint16_t)nf_rng_next(r);
            v->parallelism = (uint8_t)nf_rng_next(r);
            v->evidence = (uint8_t)nf_rng_below(r, NF_ACCESS_COUNT);
        }
    }
    return n;
}

static void round_trips(void **state)
{
    struct nf_visit_codec *c = nf_visit_codec_new();
    struct nf_rng r = {7};

    for (unsigned turn = 0; turn < 200; turn++) {
        size_t n = make(&r, turn % 101), size, raw;
        const void *data;
        uint32_t crc;

        assert_int_equal(nf_visit_encode(c, in, n, sizes, TENSORS, &data, &size, &raw, &crc), 0);
        memset(out, 0xaa, sizeof out);
        assert_int_equal(nf_visit_decode(c, data, size, raw, crc, sizes, TENSORS, out, n), 0);
        assert_memory_equal(in, out, n * sizeof *in);
    }
    nf_visit_codec_free(c);
}

static void is_small(void **state)
{
    struct nf_visit_codec *c = nf_visit_codec_new();
    struct nf_rng r = {11};
    size_t visits = 0, bytes = 0;

    for (unsigned turn = 0; turn < 50; turn++) {
        size_t n = make(&r, 90), size, raw;
        const void *data;
        uint32_t crc;

        assert_int_equal(nf_visit_encode(c, in, n, sizes, TENSORS, &data, &size, &raw, &crc), 0);
        visits += n;
        bytes += size;
    }
    /* A tenth of these visits carry six random 64-bit numbers each, which nothing can compress; real ones do not. */
    assert_true(bytes <= 8 * visits);
    nf_visit_codec_free(c);
}

static void refuses_broken_chunks(void **state)
{
    struct nf_visit_codec *c = nf_visit_codec_new();
    struct nf_rng r = {13};
    size_t n = make(&r, 50), size, raw;
    const void *data;
    uint32_t crc;
    char *copy;

    assert_int_equal(nf_visit_encode(c, in, n, sizes, TENSORS, &data, &size, &raw, &crc), 0);
    copy = malloc(size);
    memcpy(copy, data, size);
    for (unsigned turn = 0; turn < 2000; turn++) {
        size_t at = nf_rng_below(&r, size);
        char old = copy[at];

        copy[at] = (char)(old ^ (1 << nf_rng_below(&r, 8)));
        assert_int_equal(nf_visit_decode(c, copy, size, raw, crc, sizes, TENSORS, out, n), -EBADMSG);
        copy[at] = old;
    }
    assert_int_equal(nf_visit_decode(c, copy, size / 2, raw, crc, sizes, TENSORS, out, n), -EBADMSG);
    assert_int_equal(nf_visit_decode(c, copy, size, raw, crc + 1, sizes, TENSORS, out, n), -EBADMSG);
    assert_int_equal(nf_visit_decode(c, copy, size, raw - 1, crc, sizes, TENSORS, out, n), -EBADMSG);
    assert_int_equal(nf_visit_decode(c, copy, size, raw, crc, sizes, TENSORS, out, n - 1), -EBADMSG);
    assert_int_equal(nf_visit_decode(c, copy, size, SIZE_MAX, crc, sizes, TENSORS, out, n), -EBADMSG);
    assert_int_equal(nf_visit_decode(c, copy, size, raw, crc, sizes, 1, out, n), -EBADMSG); /* unknown tensors */
    assert_int_equal(nf_visit_decode(c, copy, size, raw, crc, sizes, TENSORS, out, n), 0);
    free(copy);
    nf_visit_codec_free(c);
}

static void refuses_visits_out_of_order(void **state)
{
    struct nf_visit_codec *c = nf_visit_codec_new();
    struct nf_visit two[2] = {{.op = 5, .tensor = 0}, {.op = 4, .tensor = 0}};
    uint64_t one = 4096;
    size_t size, raw;
    const void *data;
    uint32_t crc;

    assert_int_equal(nf_visit_encode(c, two, 2, &one, 1, &data, &size, &raw, &crc), -EINVAL);
    two[1].op = 5;
    two[1].tensor = 1;
    assert_int_equal(nf_visit_encode(c, two, 2, &one, 1, &data, &size, &raw, &crc), -EINVAL);
    nf_visit_codec_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(is_small),
        cmocka_unit_test(refuses_broken_chunks),
        cmocka_unit_test(refuses_visits_out_of_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
