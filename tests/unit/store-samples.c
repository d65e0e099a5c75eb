/* Samples: the codec keeps every field of every sample, is small where fields repeat, and refuses broken chunks; a study
 * gives back what was added, as chunks and through samples(). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/model/words.h"
#include "core/store/sample-codec.h"
#include "core/store/samples.h"
#include "tests/unit/store-sample.h"

static struct nf_sample in[NF_SAMPLE_CHUNK], out[NF_SAMPLE_CHUNK];

static uint64_t wild(struct nf_rng *r)
{
    switch (nf_rng_below(r, 8)) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    default: return nf_rng_next(r) >> nf_rng_below(r, 64);
    }
}

/* share: percent of samples whose fields are drawn from all numbers there are. */
static void make(struct nf_rng *r, struct nf_sample *s, size_t n, unsigned share)
{
    uint64_t time = nf_rng_next(r) >> 8;

    memset(s, 0, n * sizeof *s);
    for (size_t i = 0; i < n; i++) {
        bool any = nf_rng_below(r, 100) < share;
        uint32_t tensor = (uint32_t)nf_rng_below(r, 300);
        uint64_t offset = nf_rng_below(r, 1 << 22);

        time += nf_rng_below(r, 3000);
        s[i] = (struct nf_sample){
            .time_ns = time, .address = 0x7f0000000000 + tensor * (64ull << 20) + offset,
            .ip = 0x7f8800001000 + 4 * nf_rng_below(r, 60), .data_src = 0x68100142 + (nf_rng_below(r, 4) << 33),
            .period = 10007, .offset = offset, .weight = 7 + (uint32_t)nf_rng_below(r, 400), .pid = 4000,
            .tid = 4000 + (uint32_t)nf_rng_below(r, 3), .cpu = (uint32_t)nf_rng_below(r, 2), .step = 3,
            .op = (uint32_t)(i / 40), .tensor = tensor, .rw = NF_RW_READ,
        };
        memset((char *)&s[i] + offsetof(struct nf_sample, kernel) + 1, 0,
               sizeof *s - offsetof(struct nf_sample, kernel) - 1);
        if (any) {
            s[i].time_ns = wild(r);
            s[i].address = wild(r);
            s[i].ip = wild(r);
            s[i].physical = wild(r);
            s[i].data_src = wild(r);
            s[i].period = wild(r);
            s[i].offset = wild(r);
            s[i].weight = (uint32_t)wild(r);
            s[i].weight2 = (uint16_t)wild(r);
            s[i].weight3 = (uint16_t)wild(r);
            s[i].pid = (uint32_t)wild(r);
            s[i].tid = (uint32_t)wild(r);
            s[i].cpu = (uint32_t)wild(r);
            s[i].step = (uint32_t)wild(r);
            s[i].op = (uint32_t)wild(r);
            s[i].tensor = (uint32_t)wild(r);
            s[i].event = (uint16_t)wild(r);
            s[i].rw = (uint8_t)wild(r);
            s[i].kernel = (uint8_t)wild(r);
        }
    }
}

static void round_trip(struct nf_sample_codec *c, size_t n, size_t *bytes)
{
    size_t size, raw;
    const void *data;
    uint32_t crc;

    assert_int_equal(nf_sample_encode(c, in, n, &data, &size, &raw, &crc), 0);
    memset(out, 0xaa, sizeof out);
    assert_int_equal(nf_sample_decode(c, data, size, raw, crc, out, n), 0);
    assert_memory_equal(in, out, n * sizeof *in);
    if (bytes)
        *bytes = size;
}

static void round_trips(void **state)
{
    struct nf_sample_codec *c = nf_sample_codec_new();
    struct nf_rng r = {7};

    for (unsigned turn = 0; turn < 300; turn++) {
        size_t n = turn % 3 ? 1 + nf_rng_below(&r, NF_SAMPLE_CHUNK) : 1 + nf_rng_below(&r, 20);

        make(&r, in, n, turn % 101);
        round_trip(c, n, NULL);
    }
    make(&r, in, NF_SAMPLE_CHUNK, 0);
    round_trip(c, NF_SAMPLE_CHUNK, NULL);
    nf_sample_codec_free(c);
}

/* Each field alone, between its extremes and over few and many different values: every coding and every width. */
static void every_field_alone(void **state)
{
    static const struct {
        size_t at, size;
    } fields[] = {
#define FIELD(f) {offsetof(struct nf_sample, f), sizeof((struct nf_sample *)0)->f}
        FIELD(time_ns), FIELD(address), FIELD(ip), FIELD(physical), FIELD(data_src), FIELD(period), FIELD(offset),
        FIELD(weight), FIELD(weight2), FIELD(weight3), FIELD(pid), FIELD(tid), FIELD(cpu), FIELD(step), FIELD(op),
        FIELD(tensor), FIELD(event), FIELD(rw), FIELD(kernel),
    };
    struct nf_sample_codec *c = nf_sample_codec_new();
    struct nf_rng r = {3};

    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
        for (unsigned bits = 0; bits <= 64; bits += 4) {
            for (unsigned distinct = 1; distinct <= 4096; distinct *= 8) {
                uint64_t salt = nf_rng_next(&r);

                memset(in, 0, sizeof in);
                for (size_t i = 0; i < NF_SAMPLE_CHUNK; i++) {
                    uint64_t v = nf_mix64(nf_rng_below(&r, distinct) ^ salt);

                    v = bits ? v >> (64 - bits) : 0;
                    memcpy((char *)&in[i] + fields[f].at, &v, fields[f].size);
                }
                round_trip(c, 1 + nf_rng_below(&r, NF_SAMPLE_CHUNK), NULL);
            }
        }
    }
    nf_sample_codec_free(c);
}

static void is_small(void **state)
{
    struct nf_sample_codec *c = nf_sample_codec_new();
    struct nf_rng r = {11};
    size_t bytes;

    make(&r, in, NF_SAMPLE_CHUNK, 0);
    round_trip(c, NF_SAMPLE_CHUNK, &bytes);
    /* Time, tensor, offset, weight and ip are random here: 12 + 8 + 22 + 9 + 6 bits and two more of tid and cpu. */
    assert_true(bytes <= 10 * NF_SAMPLE_CHUNK);
    for (size_t i = 1; i < NF_SAMPLE_CHUNK; i++)
        in[i] = in[0];
    round_trip(c, NF_SAMPLE_CHUNK, &bytes);
    assert_true(bytes <= 200);
    nf_sample_codec_free(c);
}

static void refuses_broken_chunks(void **state)
{
    struct nf_sample_codec *c = nf_sample_codec_new();
    struct nf_rng r = {13};
    size_t n = 1000, size, raw;
    const void *data;
    unsigned refused = 0;
    uint32_t crc;
    char *copy;

    make(&r, in, n, 10);
    assert_int_equal(nf_sample_encode(c, in, n, &data, &size, &raw, &crc), 0);
    copy = malloc(size);
    memcpy(copy, data, size);
    for (unsigned turn = 0; turn < 2000; turn++) {
        size_t at = nf_rng_below(&r, size);
        char old = copy[at];

        copy[at] = (char)(old ^ (1 << nf_rng_below(&r, 8)));
        /* A few bits of a zstd frame mean nothing. */
        if (nf_sample_decode(c, copy, size, raw, crc, out, n) != -EBADMSG)
            assert_memory_equal(in, out, n * sizeof *in);
        else
            refused++;
        copy[at] = old;
    }
    assert_true(refused > 1900);
    assert_int_equal(nf_sample_decode(c, copy, size / 2, raw, crc, out, n), -EBADMSG);
    assert_int_equal(nf_sample_decode(c, copy, size, raw, crc + 1, out, n), -EBADMSG);
    assert_int_equal(nf_sample_decode(c, copy, size, raw - 1, crc, out, n), -EBADMSG);
    assert_int_equal(nf_sample_decode(c, copy, size, raw, crc, out, n - 1), -EBADMSG);
    assert_int_equal(nf_sample_decode(c, copy, size, raw, crc, out, 0), -EBADMSG);
    assert_int_equal(nf_sample_decode(c, copy, size, raw, crc, out, NF_SAMPLE_CHUNK + 1), -EBADMSG);
    assert_int_equal(nf_sample_decode(c, copy, size, SIZE_MAX, crc, out, n), -EBADMSG);
    assert_int_equal(nf_sample_decode(c, copy, size, raw, crc, out, n), 0);
    assert_int_equal(nf_sample_encode(c, in, 0, &data, &size, &raw, &crc), -EINVAL);
    free(copy);
    nf_sample_codec_free(c);
}

/* --- in a study --- */

static const char *path;
static struct nf_study *study;

static void must(int rc)
{
    if (rc)
        fail_msg("%s", nf_error_text(rc));
}

static int setup(void **state)
{
    path = sample_path();
    sample_write(path, SAMPLE_CLASSES);
    return nf_study_open(path, NF_STUDY_WRITE, &study);
}

static int teardown(void **state)
{
    study = nf_study_close(study);
    unlink(path);
    return 0;
}

static const char *row(const char *sql)
{
    static char text[1024];
    struct nf_query *q;
    int step;

    must(nf_study_query_text(study, sql, &q));
    step = nf_query_step(q);
    snprintf(text, sizeof text, "%s", step < 0 ? nf_error_text(step) : "");
    for (int i = 0; step == 1 && i < nf_query_columns(q); i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "",
                 nf_query_is_null(q, i) ? "-" : nf_query_text(q, i));
    nf_query_done(q);
    return text;
}

static void add(int64_t observation, const struct nf_sample *s, size_t n, size_t piece)
{
    struct nf_sample_writer *w = nf_sample_writer_new(study, observation);

    assert_non_null(w);
    for (size_t at = 0; at < n; at += piece)
        must(nf_sample_writer_add(w, s + at, n - at < piece ? n - at : piece));
    must(nf_sample_writer_flush(w));
    must(nf_sample_writer_flush(w)); /* nothing left: no empty chunk */
    nf_sample_writer_free(w);
}

static void come_back(int64_t observation, const struct nf_sample *s, size_t n)
{
    struct nf_sample_reader *r;
    const struct nf_sample *chunk;
    size_t at = 0, m;
    int rc;

    must(nf_sample_reader_new(study, observation, &r));
    while ((rc = nf_sample_reader_next(r, &chunk, &m)) == 1) {
        assert_true(m && at + m <= n);
        assert_memory_equal(chunk, s + at, m * sizeof *s);
        at += m;
    }
    must(rc);
    assert_int_equal(at, n);
    nf_sample_reader_free(r);
}

static void in_a_study(void **state)
{
    enum { N = 20000 };
    static struct nf_sample samples[N];
    struct nf_observation a = {.pass_id = 1, .source = "pebs", .rw = "observed", .evidence = NF_ACCESS_PEBS,
                               .resolution_bytes = 64}, b = a;
    struct nf_sample_event e = {.name = "mem-loads", .meaning = "loads", .type = 4, .config = 0x1cd, .config1 = 3,
                                .period = 10007, .precise = 2, .rw = NF_RW_READ};
    struct nf_rng r = {17};

    make(&r, samples, N, 5);
    assert_int_equal(nf_observation_capture(study, 0), -ENOENT);
    must(nf_study_begin(study));
    must(nf_observation_insert(study, &a));
    b.source = "page-fault";
    must(nf_observation_insert(study, &b));
    assert_true(a.id > 0 && b.id > a.id);
    must(nf_observation_event(study, a.id, 0, &e));
    add(a.id, samples, N, 7000);
    add(b.id, samples, 10000, 1);
    a.samples = a.attributed = N;
    a.notes = "kernel samples are not seen";
    must(nf_observation_update(study, &a));
    must(nf_study_commit(study));
    come_back(a.id, samples, N);
    come_back(b.id, samples, 10000);
    /* Continued, as after a commit in the middle of a run. */
    add(b.id, samples + 10000, 123, 50);
    come_back(b.id, samples, 10123);
    come_back(b.id + 1, samples, 0);

    assert_int_equal(nf_observation_capture(study, 0), 1);
    assert_int_equal(nf_observation_capture(study, 1), 1);
    assert_int_equal(nf_observation_capture(study, 9), -ENOENT);
    assert_string_equal(row("SELECT source, evidence, validated, resolution_bytes, samples, attributed, notes FROM "
                            "observation WHERE id = 1"), "pebs 2 0 64 20000 20000 kernel samples are not seen");
    assert_string_equal(row("SELECT name, type, config, config1, config2, period, precise, rw, meaning FROM sample_event"),
                        "mem-loads 4 461 3 0 10007 2 0 loads");
    assert_string_equal(row("SELECT count(*), max(number) FROM samples(1)"), "20000 19999");
    assert_string_equal(row("SELECT count(*) FROM samples WHERE observation_id = 2"), "10123");
    assert_string_equal(row("SELECT count(*), count(DISTINCT observation_id) FROM samples"), "30123 2");
    assert_string_equal(row("SELECT count(*) FROM samples(7)"), "0");
}

static void as_rows(void **state)
{
    const struct nf_sample two[2] = {
        {.time_ns = 5, .address = 4096, .ip = 7, .physical = 8192, .data_src = 9, .period = 10, .offset = 11, .weight = 12,
         .weight2 = 13, .weight3 = 14, .pid = 15, .tid = 16, .cpu = 17, .step = 18, .op = 19, .tensor = 20, .event = 21,
         .rw = NF_RW_WRITE, .kernel = 1},
        {.pid = UINT32_MAX, .tid = UINT32_MAX, .cpu = UINT32_MAX, .step = NF_SAMPLE_NONE, .op = NF_SAMPLE_NONE,
         .tensor = NF_SAMPLE_NONE, .rw = NF_SAMPLE_RW_UNKNOWN},
    };
    struct nf_observation o = {.pass_id = 1, .source = "x", .rw = "unknown"};

    must(nf_observation_insert(study, &o));
    add(o.id, two, 2, 2);
    assert_string_equal(row("SELECT * FROM samples(1) WHERE number = 0"),
                        "1 0 21 5 4096 7 8192 9 10 12 13 14 15 16 17 18 19 20 11 write 1");
    assert_string_equal(row("SELECT * FROM samples(1) WHERE number = 1"), "1 1 0 - - - - - 0 - 0 0 - - - - - - - - 0");
    assert_string_equal(row("SELECT count(*) FROM samples(1) a JOIN samples(1) b ON a.number < b.number"), "1");
}

static void damaged_rows(void **state)
{
    static const struct {
        const char *sql, *expected;
    } cases[] = {
        {"UPDATE sample_chunk SET codec = 2", "chunk 0 of observation 1: it is coded in an unknown way"},
        {"UPDATE sample_chunk SET codec = 1, samples = 5", "chunk 0 of observation 1: a chunk of 5 samples cannot have"},
        {"UPDATE sample_chunk SET samples = -1", "samples cannot have"},
        {"UPDATE sample_chunk SET samples = 100, crc32 = crc32 + 1", "chunk of samples fails its checksum"},
        {"UPDATE sample_chunk SET data = x'00'", "chunk of samples does not decompress"},
        {"UPDATE sample_chunk SET data = x''", "chunk of samples does not decompress"},
    };
    struct nf_observation o = {.pass_id = 1, .source = "x", .rw = "unknown"};
    struct nf_sample_reader *r;
    struct nf_rng rng = {19};
    size_t n;

    make(&rng, in, 100, 50);
    must(nf_observation_insert(study, &o));
    add(o.id, in, 100, 100);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct nf_sample *s;

        sample_tamper(path, cases[i].sql);
        must(nf_sample_reader_new(study, o.id, &r));
        assert_int_equal(nf_sample_reader_next(r, &s, &n), -EBADMSG);
        assert_non_null(strstr(nf_error_text(0), cases[i].expected));
        nf_sample_reader_free(r);
        assert_non_null(strstr(row("SELECT count(*) FROM samples(1)"), "samples"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(every_field_alone),
        cmocka_unit_test(is_small),
        cmocka_unit_test(refuses_broken_chunks),
        cmocka_unit_test_setup_teardown(in_a_study, setup, teardown),
        cmocka_unit_test_setup_teardown(as_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_rows, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
