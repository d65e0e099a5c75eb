/* Streams loaded from a study: what was written comes back, and no tampered row gets through. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/store/records.h"
#include "tests/unit/store-sample.h"

static const char *path;

static int setup(void **state)
{
    path = sample_path();
    sample_write(path, SAMPLE_CLASSES);
    return 0;
}

static int teardown(void **state)
{
    unlink(path);
    return 0;
}

static int load(struct nf_stream **stream)
{
    struct nf_study *s;
    int rc = nf_study_open(path, NF_STUDY_READ, &s);

    *stream = NULL;
    if (!rc)
        rc = nf_record_stream_load(s, 1, stream);
    nf_study_close(s);
    return rc;
}

static void loads_what_was_written(void **state)
{
    struct nf_stream *s;
    size_t n;
    const struct nf_visit *v = sample_visits(&n);
    int rc = load(&s);

    if (rc)
        fail_msg("%s", nf_error_text(rc));
    assert_int_equal(s->n_classes, SAMPLE_CLASSES);
    assert_int_equal(s->n_sequence, SAMPLE_STEPS);
    assert_int_equal(s->n_carry, 2);
    for (uint32_t i = 0; i < SAMPLE_STEPS; i++)
        assert_int_equal(s->sequence[i], i % (SAMPLE_STEPS - 1) ? 1 : 0);
    assert_int_equal(nf_stream_steady_class(s), 1);
    for (uint32_t c = 0; c < SAMPLE_CLASSES; c++) {
        const struct nf_step_class *k = &s->classes[c];

        assert_int_equal(k->hash, 17 * (c + 1));
        assert_int_equal(k->n_steps, c ? 3 : 2);
        assert_int_equal(k->n_ops, SAMPLE_OPS);
        assert_int_equal(k->n_tensors, SAMPLE_TENSORS);
        assert_int_equal(k->n_visits, n);
        assert_memory_equal(k->visits, v, n * sizeof *v);
        assert_string_equal(s->names[k->ops[4].name], "aten::mm");
        assert_string_equal(s->names[k->ops[4].module], "blocks.0");
        assert_true(k->ops[4].dur_ns == 52); /* 104 × 0.5 */
        assert_true(k->ops[4].gap_ns == 3);
        assert_int_equal(k->ops[4].n_visits, 3);
        assert_int_equal(k->ops[4].first_visit, 9);
        assert_string_equal(s->names[k->tensors[0].name], "weight");
        assert_int_equal(k->tensors[2].role, NF_ROLE_GRADIENT);
        assert_int_equal(k->tensors[2].carry_in, NF_CARRY_NONE);
        assert_int_equal(k->tensors[2].carry_out, 1);
        assert_false(k->tensors[3].tracked);
    }
    nf_stream_free(s);
}

/* Each breaks one thing; the cause must name it. */
static const struct {
    const char *sql, *cause;
} tampered[] = {
    {"DELETE FROM op WHERE class_id = 1 AND number = 2", "ops of step class 1"},
    {"DELETE FROM op WHERE class_id = 1 AND number = 5", "step class 1"},
    {"DELETE FROM op WHERE class_id = 2", "step class 2"},
    {"INSERT INTO op(class_id, number, name_id, module_id, phase, microbatch, thread, regime) VALUES(1, 6, 1, 1, 1, 0, 0, 0)",
     "6 ops and 15 visits, but 7"},
    {"UPDATE op SET number = number + 1000000 WHERE class_id = 1", "ops of step class 1"},
    {"UPDATE op SET name_id = 99", "op 0 has no name"},
    {"UPDATE op SET name_id = -1", "op 0 of step class 1"},
    {"UPDATE op SET name_id = 4294967297", "op 0 of step class 1"},
    {"UPDATE op SET phase = 257", "op 0 of step class 1"},
    {"UPDATE op SET microbatch = 65536 WHERE number = 3", "op 3 of step class 1"},
    {"UPDATE op SET thread = -1 WHERE number = 3", "op 3 of step class 1"},
    {"UPDATE op SET dur_p50_ns = -1e300 WHERE number = 1", "op 1 has an impossible duration"},
    {"UPDATE op SET dur_p50_ns = 9e999 WHERE number = 1", "op 1 has an impossible duration"},
    {"UPDATE step_class SET correction_factor = 9e999", "impossible duration"},
    {"UPDATE step_class SET correction_gap_ns = -5", "impossible duration"},
    {"UPDATE step_class SET bare_step_ns = -5", "impossible duration"},
    {"UPDATE step_class SET number = number + 10", "step classes are not numbered"},
    {"UPDATE step_class SET ops = 7 WHERE id = 1", "7 ops and 15 visits, but 6 and 15"},
    {"UPDATE step_class SET visits = -1 WHERE id = 2", "step class 2 should have"},
    {"DELETE FROM step_class WHERE number = 0", "step classes are not numbered"},
    {"DELETE FROM lifetime WHERE class_id = 1 AND number = 1", "tensors of step class 1"},
    {"DELETE FROM lifetime WHERE class_id = 1 AND number = 3", "should have 4 tensors, but 3"},
    {"DELETE FROM tensor WHERE id = 1", "tensors of step class 1"},
    {"UPDATE lifetime SET tensor_id = 12345 WHERE number = 2", "step class 1"},
    {"UPDATE lifetime SET birth_op = 6 WHERE number = 2", "tensor 2 is born at op 6 of 6"},
    {"UPDATE lifetime SET birth_op = -2 WHERE number = 2", "tensor 2 of step class 1"},
    {"UPDATE lifetime SET birth_op = 4294967299 WHERE number = 2", "tensor 2 of step class 1"},
    {"UPDATE lifetime SET birth_op = 4, death_op = 3 WHERE number = 3", "tensor 3 dies at op 3 of 6, born at 4"},
    {"UPDATE lifetime SET death_op = 2 WHERE number = 1", "outside its lifetime"},
    {"UPDATE lifetime SET death_op = 7 WHERE number = 1", "tensor 1 dies at op 7"},
    {"UPDATE lifetime SET carry_in = NULL WHERE number = 0", "without a slot"},
    {"UPDATE lifetime SET carry_out = 5 WHERE number = 0", "carry slot beyond the 2"},
    {"UPDATE lifetime SET carry_out = 0 WHERE number = 2", "shares its carry slot"},
    {"UPDATE lifetime SET carry_in = -7 WHERE number = 0", "tensor 0 of step class 1"},
    {"UPDATE lifetime SET address = -1 WHERE number = 0", "tensor 0 of step class 1"},
    {"UPDATE tensor SET bytes = 100 WHERE id = 11", "beyond the end of tensor 1"},
    {"UPDATE tensor SET bytes = -4096 WHERE id = 11", "tensor 1 of step class 1"},
    {"UPDATE tensor SET bytes = 9223372036854775807 WHERE id IN (13, 2, 11)", NULL},
    {"UPDATE tensor SET name_id = 1000", "tensor 0 has no name"},
    {"UPDATE role_interval SET role = 300 WHERE number = 1", "tensor 1 of step class 1"},
    {"UPDATE role_interval SET role = 13 WHERE number = 1", "tensor 1 of step class 1"},
    {"UPDATE name SET id = 1000000000 WHERE id = 2", "names are not numbered"},
    {"UPDATE name SET id = -1 WHERE id = 2", "names are not numbered"},
    {"DELETE FROM visit_chunk WHERE class_id = 2 AND number = 0", "15 visits, but 6 and 8"},
    {"DELETE FROM visit_chunk WHERE class_id = 2 AND number = 2", "15 visits, but 6 and 14"},
    {"DELETE FROM visit_chunk", "15 visits, but 6 and 0"},
    {"INSERT INTO visit_chunk SELECT 1, number + 3, first_op, last_op, visits, codec, crc32, raw_bytes, data FROM visit_chunk "
     "WHERE class_id = 2", "out of order"},
    {"UPDATE visit_chunk SET number = 9 - number", "out of order"},
    {"UPDATE visit_chunk SET codec = 2", "coded in the unknown way 2"},
    {"UPDATE visit_chunk SET visits = visits + 1", "chunk"},
    {"UPDATE visit_chunk SET visits = -1", "impossible count"},
    {"UPDATE visit_chunk SET visits = 9223372036854775807", "more visits than it says"},
    {"UPDATE visit_chunk SET visits = 9223372036854775807 WHERE number = 0", NULL},
    {"UPDATE visit_chunk SET raw_bytes = raw_bytes + 1", "chunk"},
    {"UPDATE visit_chunk SET raw_bytes = -1", "chunk"},
    {"UPDATE visit_chunk SET raw_bytes = 9223372036854775807", "chunk"},
    {"UPDATE visit_chunk SET crc32 = crc32 + 1", "checksum"},
    {"UPDATE visit_chunk SET data = x''", "decompress"},
    {"UPDATE visit_chunk SET data = zeroblob(100000)", "decompress"},
    {"UPDATE visit_chunk SET data = substr(data, 1, length(data) / 2)", "decompress"},
    {"UPDATE visit_chunk SET data = CAST(substr(data, 1, 10) || x'55aa55' || substr(data, 14) AS BLOB)", "chunk"},
    {"DELETE FROM role_interval; DELETE FROM lifetime WHERE number >= 2", "chunk"},
};

static void refuses_tampered_rows(void **state)
{
    size_t wrong = 0;

    for (size_t i = 0; i < sizeof tampered / sizeof *tampered; i++) {
        struct nf_stream *s;
        int rc;

        sample_write(path, SAMPLE_CLASSES);
        sample_tamper(path, tampered[i].sql);
        nf_error_clear();
        rc = load(&s);
        if (rc != -EBADMSG || (tampered[i].cause && !strstr(nf_error_text(rc), tampered[i].cause))) {
            print_error("%s: %d, '%s'; expected '%s'\n", tampered[i].sql, rc, rc ? nf_error_text(rc) : "loaded",
                        tampered[i].cause);
            wrong++;
        }
        nf_stream_free(s);
    }
    assert_int_equal(wrong, 0);
}

static void finds_captures(void **state)
{
    struct nf_study *s;

    assert_int_equal(nf_study_open(path, NF_STUDY_READ, &s), 0);
    assert_int_equal(nf_record_capture_find(s, 0), 1);
    assert_int_equal(nf_record_capture_find(s, 1), 1);
    assert_int_equal(nf_record_capture_find(s, 2), -ENOENT);
    assert_non_null(strstr(nf_error_text(0), "no capture 2"));
    nf_study_close(s);
}

/* A capture goes on writing while another program loads: one state of the file, whichever. */
static void loads_beside_a_writer(void **state)
{
    struct nf_study *reader, *writer;
    struct nf_stream *s;
    struct nf_query *q;

    assert_int_equal(nf_study_open(path, NF_STUDY_READ, &reader), 0);
    assert_int_equal(nf_study_open(path, NF_STUDY_WRITE, &writer), 0);
    assert_int_equal(nf_study_begin(writer), 0);
    assert_true(nf_study_name(writer, "half a step") > 0);
    assert_int_equal(nf_study_query(writer, "DELETE FROM visit_chunk", &q), 0);
    assert_int_equal(nf_query_run(q), 0);
    assert_int_equal(nf_record_stream_load(reader, 1, &s), 0);
    nf_stream_free(s);
    /* In the writer's own transaction, too. */
    assert_int_equal(nf_record_stream_load(writer, 1, &s), -EBADMSG);
    nf_study_rollback(writer);
    assert_int_equal(nf_record_stream_load(writer, 1, &s), 0);
    nf_stream_free(s);
    nf_study_close(writer);
    nf_study_close(reader);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(loads_what_was_written), T(refuses_tampered_rows), T(finds_captures), T(loads_beside_a_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
