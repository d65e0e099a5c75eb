/* What a report says of its sources and of the audit: of a step whose every visit is known, with sightings that differ from it
 * in known ways. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "analyze/audit-view.h"
#include "analyze/gnuplot.h"
#include "analyze/locality-view.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/store/records.h"
#include "core/store/visit-codec.h"
#include "tests/unit/report-sample.h"

enum { LAYERS = 8, OPS = 3 * LAYERS, TENSORS = 3 * LAYERS, KIB64 = 64 << 10, ROOM = 128 };

static void run(struct report_sample *m, const char *sql)
{
    report_insert(m->s, report_query(m->s, sql));
}

/* --- What was seen --- */

struct seen {
    struct nf_visit v[ROOM];
    size_t n;
};

static void see(struct seen *s, uint32_t op, uint32_t tensor, uint64_t offset, uint64_t bytes, int rw, bool inside)
{
    assert_true(s->n < ROOM);
    if (bytes)
        s->v[s->n++] = (struct nf_visit){.op = op, .tensor = tensor, .offset = offset, .bytes = bytes, .run = bytes,
                                         .stride = bytes, .touches_q8 = inside ? 256 : 0, .rw = (uint8_t)rw,
                                         .evidence = NF_ACCESS_PAGE_FAULT};
}

/* As the framework says, but:
 *   op 0  reads 1 MiB of its parameter's 4                        part         3 MiB
 *   op 1  does not touch its parameter                            untouched    4 MiB
 *   op 2  reads the activation it writes                          read as well 8 MiB
 *   op 3  writes its parameter, and only reads its activation     4 and 8 MiB of reads and writes
 *   op 4  touches 64 KiB of a temporary that is no operand        undeclared
 *   op 5  begins after somebody touched 64 KiB of parameter 6     between ops */
static void see_all(struct seen *s)
{
    s->n = 0;
    for (uint32_t op = 0; op < OPS; op++) {
        uint32_t layer = op < LAYERS ? op : op < 2 * LAYERS ? 2 * LAYERS - 1 - op : op - 2 * LAYERS;
        int reads = op < 2 * LAYERS ? NF_RW_READ : NF_RW_UPDATE;

        see(s, op, layer, 0, op == 0 ? MIB : op == 1 ? 0 : 4 * MIB, op == 3 ? NF_RW_WRITE : reads, true);
        if (op == 5)
            see(s, op, 6, 0, KIB64, NF_RW_READ, false);
        if (op < LAYERS)
            see(s, op, 8 + layer, 0, 8 * MIB, op == 2 ? NF_RW_UPDATE : op == 3 ? NF_RW_READ : NF_RW_WRITE, true);
        if (op == 4)
            see(s, op, 23, 0, KIB64, NF_RW_WRITE, true);
        if (op >= LAYERS && op < 2 * LAYERS) {
            see(s, op, 8 + layer, 0, 8 * MIB, NF_RW_READ, true);
            see(s, op, 16 + layer, 0, 2 * MIB, NF_RW_WRITE, true);
        }
    }
}

static void add_sightings(struct report_sample *m, const struct seen *s)
{
    struct nf_visit_codec *codec = nf_visit_codec_new();
    uint64_t bytes[TENSORS];
    struct nf_query *q;
    const void *data;
    size_t size, raw;
    uint32_t crc;

    for (int i = 0; i < TENSORS; i++)
        bytes[i] = (uint64_t)(i < LAYERS ? 4 : i < 2 * LAYERS ? 8 : 2) * MIB;
    assert_non_null(codec);
    assert_int_equal(nf_visit_encode(codec, s->v, s->n, bytes, TENSORS, &data, &size, &raw, &crc), 0);
    q = report_query(m->s, "INSERT INTO sighting(observation_id, class_id, sightings, hash, steps, equal_steps) VALUES(1, 1, ?, "
                           "7, 5, 4)");
    nf_query_bind_i64(q, 1, (int64_t)s->n);
    report_insert(m->s, q);
    q = report_query(m->s, "INSERT INTO sighting_chunk(observation_id, class_id, number, first_op, last_op, visits, codec, crc32,"
                           " raw_bytes, data) VALUES(1, 1, 0, 0, 23, ?, 1, ?, ?, ?)");
    nf_query_bind_i64(q, 1, (int64_t)s->n);
    nf_query_bind_i64(q, 2, crc);
    nf_query_bind_i64(q, 3, (int64_t)raw);
    nf_query_bind_blob(q, 4, data, size);
    report_insert(m->s, q);
    nf_visit_codec_free(codec);
}

/* 1.0 % lost: the last that needs no warning. */
static const char page_fault[] =
    "INSERT INTO observation(id, pass_id, source, options, evidence, validated, resolution_bytes, boundary_ops, rw, samples,"
    " attributed, between_ops, unattributed, out_of_arena, other_process, outside_steps, lost, throttled, undecoded, notes)"
    " VALUES(1, 2, 'page-fault', 'every=1', 5, 1, 4096, 1, 'observed', 990, 900, 11, 22, 33, 4, 42, 10, 5, 6, 'sees all')";

static void init(struct report_sample *m)
{
    report_known(m, 1);
}

static void test_audit(void **state)
{
    struct report_sample m;
    struct seen seen;

    init(&m);
    run(&m, page_fault);
    run(&m, "INSERT INTO sample_event VALUES(1, 0, 'first:touch', 1, 2, 0, 0, 1, 0, 255, 'a page')");
    see_all(&seen);
    add_sightings(&m, &seen);
    report_made(&m);
    report_has(&m, "summary.md", "## What the accesses are known from");
    report_has(&m, "summary.md", "| page-fault | page-fault | validated | 4.00 KiB | 1 | observed |");
    report_has(&m, "summary.md", "| page-fault | 990 | 900 | 11 | 22 | 33 | 4 | 42 | 10 | 1.0 % | 5 | 6 |");
    report_has(&m, "summary.md", "page-fault (every=1): events first:touch; sees all.");
    report_lacks(&m, "summary.md", "Read this first");
    /* 240 MiB declared, of which 7 were not touched; 128 KiB more were touched. 233 / 240.125 and so on. */
    report_has(&m, "summary.md", "The framework and page-fault agree on 97.03 % of what either says was touched: of 240.00 MiB "
                                 "declared a step, 97.08 % were touched; of 233.12 MiB touched, 99.95 % were declared. Of 5 steps "
                                 "of this class that page-fault saw the first is compared; 3 of the others touched exactly the "
                                 "same.");
    /* The largest disagreement first, agreement last. */
    report_has(&m, "audit.csv",
               "kind,bytes,share,ops,example,explained\n"
               "untouched,4194304,0.01666666667,1,op 1 (layer) on tensor 1 (parameter layer),"
               "\"the op did not touch this operand: its value was not needed, or it works on the shape alone\"\n"
               "part,3145728,0.0125,1,op 0 (layer) on tensor 0 (parameter layer),the op touched less of its operand than all of it\n"
               "undeclared,65536,0.0002604166667,1,op 4 (layer) on tensor 23 (backward temporary layer),"
               "a tensor that the framework did not name as an operand of this op\n"
               "between ops,65536,0.0002604166667,1,op 5 (layer) on tensor 6 (parameter layer),"
               "touched after one op had ended and before the next began\n"
               "agree,244318208,0.9708333333,24,");
    report_has(&m, "audit-rw.csv", "found,bytes,share,example,explained\n\"declared read, seen written\",4194304,");
    report_has(&m, "audit-rw.csv", "\n\"declared written, seen read only\",8388608,");
    report_has(&m, "audit-rw.csv", ",op 3 (layer) on tensor 11 (saved activation layer),");
    report_has(&m, "audit-rw.csv", "\n\"declared written, seen read as well\",8388608,");
    report_has(&m, "audit-rw.csv", "\nagree,223346688,"); /* 213 MiB */
    report_has(&m, "audit-ops.csv", "kind,op,bytes,share,ops,example,explained\nuntouched,layer,4194304,");
    /* Parameter 0: 12 MiB declared by three ops, of which 9 touched. */
    report_has(&m, "audit-tensors.csv", "\n0,4194304,parameter,12582912,9437184,9437184,0.75,layer\n1,4194304,parameter,12582912,"
                                        "8388608,8388608,0.6666666667,layer\n2,4194304,parameter,12582912,12582912,12582912,1,layer");
    /* Tensor 1 is off by 4 MiB, tensor 0 by 3; then 6 and 23 by 64 KiB each. */
    report_has(&m, "summary.md", "**Tensors that disagree most**\n\n| tensor | size | role | declared | seen | both | agreement | name "
                                 "|\n|--:|--:|---|--:|--:|--:|--:|---|\n| 1 | 4.00 MiB | parameter | 12.00 MiB | 8.00 MiB | 8.00 MiB | "
                                 "66.7 % | layer |\n| 0 | ");
    report_has(&m, "summary.md", "\n| 6 | 4.00 MiB | parameter | 12.00 MiB | 12.06 MiB | 12.00 MiB | 99.5 % | layer |\n| 23 | ");
    report_has(&m, "provenance.json", "\"agreed_bytes\": 244318208");
    report_has(&m, "provenance.json", "\"source\": \"page-fault\"");
    report_has(&m, "provenance.json", "\"attributed\": 900");
    report_has(&m, "sources.csv", ",page-fault,page-fault,validated,4096,1,observed,990,900,11,22,33,4,42,10,5,6,first:touch,sees all\n");
    report_deinit(&m);
}

/* A source that watches 16 MiB of addresses, at 64 ops to a boundary, and infers what it writes. */
static void test_partly_watched(void **state)
{
    struct report_sample m;
    struct seen seen = {.n = 0};

    init(&m);
    run(&m, page_fault);
    /* Tensor i lies at (i + 1) << 28: only tensor 0 is watched, and seen whole by the first op that uses it. */
    run(&m, "UPDATE observation SET boundary_ops = 64, rw = 'inferred', arena_base = 268435456, arena_bytes = 16777216");
    see(&seen, 0, 0, 0, 4 * MIB, NF_RW_READ, true);
    add_sightings(&m, &seen);
    report_made(&m);
    report_has(&m, "audit.csv", "\nseen earlier,8388608,0.6666666667,2,");
    report_has(&m, "summary.md", "228.00 MiB were declared of tensors outside the memory this source watches, and are not compared");
    report_has(&m, "summary.md", "every 64 ops");
    report_has(&m, "summary.md", "Reads and writes are not compared: this source infers them");
    assert_false(report_exists(&m, "audit-rw.csv"));
    report_deinit(&m);
}

static void test_no_source(void **state)
{
    struct report_sample m;

    init(&m);
    report_made(&m);
    report_has(&m, "summary.md", "## What the accesses are known from\n\nAccesses rest on the framework's word; capture with "
                                 "--source page-fault to check them.\n");
    report_lacks(&m, "summary.md", "Audit");
    report_has(&m, "provenance.json", "\"observations\": []");
    assert_false(report_exists(&m, "sources.csv"));
    assert_false(report_exists(&m, "audit.csv"));
    /* How the step reuses memory does not hang on a source. 240 MiB of 64-byte blocks. */
    report_has(&m, "summary.md", "a block of 64 B is accessed once per visit that touches it, 3.93 million accesses a step");
    report_has(&m, "reuse-summary.csv", "\nall,251658240,0,");
    report_has(&m, "mrc-errors.csv", "estimator,group,mean_error,largest_error,largest_at_bytes\nexact,all,0,0,");
    report_has(&m, "mrc.csv", "\nexact,framework,parameter,64,");
    report_has(&m, "mrc.csv", "\nvisit-fused P=10007,simulated samples of framework,all,64,");
    if (!nf_gnuplot_probe()) {
        report_has(&m, "miss-ratio.svg", "evidence: accesses framework");
        report_has(&m, "reuse.svg", "evidence: accesses framework; exact distances");
        assert_true(report_exists(&m, "miss-ratio.pdf") && report_exists(&m, "reuse.pdf"));
    }
    run(&m, "UPDATE pass SET source = 'pytorch-et' WHERE kind = 3");
    assert_int_equal(report_write(&m), 0);
    report_has(&m, "summary.md", "Accesses rest on the word of what was imported (pytorch-et), which cannot be checked");
    report_deinit(&m);
}

/* The same study gives the same report, to the byte. */
static void test_repeatable(void **state)
{
    static const char *const files[] = {"summary.md", "provenance.json", "mrc.csv", "mrc-errors.csv", "reuse.csv", "miss-ratio.gp",
                                        "miss-ratio.dat"};
    char *first[sizeof files / sizeof *files];
    struct report_sample m;

    init(&m);
    assert_int_equal(report_write(&m), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        first[i] = report_file(&m, files[i]);
    assert_int_equal(report_write(&m), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *again = report_file(&m, files[i]);

        assert_string_equal(first[i], again);
        free(again);
        free(first[i]);
    }
    report_deinit(&m);
}

/* What was lost goes before everything else, from just above 1 % on. */
static void test_lost(void **state)
{
    struct report_sample m;
    char *text;

    init(&m);
    run(&m, page_fault);
    run(&m, "UPDATE observation SET lost = 11");
    run(&m, "UPDATE pass SET events = 900, lost_events = 100 WHERE kind = 3");
    assert_int_equal(report_write(&m), 0);
    text = report_file(&m, "summary.md");
    assert_non_null(strstr(text, "\n\nRead this first: 10.0 % of the events of the access pass were lost.\n\nRead this first: "
                                 "page-fault: 1.1 % of the samples were lost; what it did not see is not what did not happen.\n\n"
                                 "With "));
    assert_true(strstr(text, "Read this first") < strstr(text, "## "));
    free(text);
    text = report_file(&m, "index.html");
    assert_true(strstr(text, "<p class=\"lead\">Read this first") < strstr(text, "<p class=\"lead\">With"));
    free(text);
    report_deinit(&m);
}

/* Sampling sources see some accesses: there is nothing to hold against the framework's word. */
static void test_sampled_only(void **state)
{
    struct report_sample m;

    init(&m);
    run(&m, "INSERT INTO observation(id, pass_id, source, evidence, validated, resolution_bytes, boundary_ops, rw, samples) "
            "VALUES(1, 2, 'pebs', 2, 0, 64, 0, 'observed', 0)");
    report_made(&m);
    report_has(&m, "summary.md", "| pebs | pebs | not validated on hardware | 64 B | none | observed |");
    report_has(&m, "summary.md", "pebs, not validated on hardware: without notes.");
    report_has(&m, "summary.md", "No audit: no source beside the framework saw this step class");
    report_has(&m, "summary.md", "| pebs | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | unknown | 0 | 0 |");
    report_has(&m, "provenance.json", "\"validated\": \"not validated on hardware\"");
    report_deinit(&m);
}

/* Damaged sightings cost the audit, not the report. */
static void test_damaged(void **state)
{
    struct report_sample m;
    struct seen seen;

    init(&m);
    run(&m, page_fault);
    see_all(&seen);
    add_sightings(&m, &seen);
    run(&m, "UPDATE sighting_chunk SET crc32 = crc32 + 1");
    report_made(&m);
    report_has(&m, "summary.md", "No audit: ");
    report_has(&m, "summary.md", "Slowdown against all-near");
    assert_true(report_exists(&m, "sources.csv"));
    assert_false(report_exists(&m, "audit.csv"));
    report_deinit(&m);
}

static void test_hostile(void **state)
{
    static const char *const sql[] = {"UPDATE observation SET notes = ?", "UPDATE observation SET source = ?",
                                      "UPDATE observation SET options = ?", "UPDATE name SET text = ?",
                                      "UPDATE pass SET source = ? WHERE kind = 3"};
    struct report_sample m;
    struct seen seen;

    init(&m);
    run(&m, page_fault);
    see_all(&seen);
    add_sightings(&m, &seen);
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        struct nf_query *q = report_query(m.s, sql[i]);

        nf_query_bind_text(q, 1, report_hostile);
        report_insert(m.s, q);
    }
    report_made(&m);
    report_has(&m, "index.html", "on tensor 1 (parameter &lt;script&gt;alert('x')&lt;/script&gt;");
    report_lacks(&m, "audit.csv", "\x01");
    report_lacks(&m, "index.html", "\xff");
    /* Numbers that no nearfar writes. */
    run(&m, "UPDATE observation SET evidence = 77, resolution_bytes = -1, boundary_ops = -5, samples = -3, lost = 9223372036854775807");
    report_made(&m);
    report_deinit(&m);
}

/* --- Block sizes: what a report can afford --- */

static uint32_t block_of(uint64_t bytes, uint64_t run, uint64_t stride, uint64_t live, uint64_t *accesses)
{
    struct nf_visit v = {.bytes = bytes, .run = run, .stride = stride, .touches_q8 = 256};
    struct nf_tensor t = {.bytes = bytes, .address = 1 << 20};
    struct nf_step_class c = {.visits = &v, .tensors = &t, .n_visits = 1, .n_tensors = 1, .peak_live_bytes = live};

    return nf_locality_block(&c, accesses);
}

static void test_block(void **state)
{
    const uint64_t gib = 1ull << 30;
    uint64_t n;

    assert_int_equal(block_of(MIB, MIB, MIB, MIB, &n), 64);
    assert_int_equal(n, MIB / 64);
    assert_int_equal(block_of(2 * gib, 2 * gib, 2 * gib, MIB, &n), 64);           /* 2^25 accesses */
    assert_int_equal(block_of(2 * gib + 64, 2 * gib + 64, 2 * gib + 64, MIB, &n), 4096);
    assert_int_equal(n, 2 * gib / 4096 + 1);
    assert_int_equal(block_of(MIB, MIB, MIB, gib, &n), 4096);                     /* few accesses, many blocks to follow */
    assert_int_equal(block_of(1024 * gib, 1024 * gib, 1024 * gib, MIB, &n), 32768);
    assert_int_equal(block_of(MIB, MIB, MIB, 4096 * gib, &n), 1 << 20);           /* 2^22 blocks live */
    assert_int_equal(block_of(MIB, MIB, MIB, 8192 * gib, &n), 0);
    /* 2^26 single words, each a block of its own until blocks hold two. */
    assert_int_equal(block_of(gib / 4, 4, 4096, MIB, &n), 8192);
}

/* --- The view alone --- */

static void test_view(void **state)
{
    struct report_sample m;
    struct nf_stream *stream;
    struct nf_audit_view v;
    struct nf_buf b = {0};
    struct seen seen;

    init(&m);
    run(&m, page_fault);
    see_all(&seen);
    add_sightings(&m, &seen);
    assert_int_equal(nf_record_stream_load(m.s, 1, &stream), 0);
    assert_int_equal(nf_audit_view_init(&v, m.s, 1, stream, &stream->classes[0], "exact"), -ENOENT);
    nf_audit_view_deinit(&v);
    assert_int_equal(nf_audit_view_init(&v, m.s, 1, stream, &stream->classes[0], "page-fault"), 0);
    assert_int_equal(v.declared, 240 * MIB);
    assert_int_equal(v.agreed, 233 * MIB);
    assert_int_equal(v.seen, 233 * MIB + 2 * KIB64);
    nf_audit_view_say_rw(&v, NF_AUDIT_RW_WRITTEN, &b);
    assert_string_equal(b.data, "declared read, seen written: 4.00 MiB, for example op 3 (layer) on tensor 3 (parameter layer)");
    nf_buf_clear(&b);
    nf_audit_view_say_unwatched(&v, &b);
    nf_audit_view_say_rw(&v, NF_AUDIT_RW_AGREE, &b);
    assert_int_equal(b.n, 0);
    nf_buf_deinit(&b);
    nf_audit_view_deinit(&v);
    nf_stream_free(stream);
    report_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_audit),        cmocka_unit_test(test_partly_watched), cmocka_unit_test(test_no_source),
        cmocka_unit_test(test_repeatable),   cmocka_unit_test(test_lost),           cmocka_unit_test(test_sampled_only),
        cmocka_unit_test(test_damaged),      cmocka_unit_test(test_hostile),        cmocka_unit_test(test_block),
        cmocka_unit_test(test_view),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
