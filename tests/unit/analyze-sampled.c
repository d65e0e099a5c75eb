/* The table of sampled visits, of a study whose samples were thinned from its own stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyze/sampled.h"
#include "core/base/error.h"
#include "core/model/thin.h"
#include "core/store/records.h"
#include "core/store/samples.h"
#include "tests/unit/store-sample.h"

enum { PERIOD = 7, STEPS = SAMPLE_STEPS - 2, PAIRS = 15, FIELD_MAX = 64 };

static void must(int rc)
{
    if (rc)
        fail_msg("%s", nf_error_text(rc));
}

struct fixture {
    const char *path;
    struct nf_study *study;
    struct nf_stream *stream;
    const struct nf_step_class *class;
    int64_t observation;
};

static void add_event(struct fixture *f, uint16_t number, uint64_t config)
{
    struct nf_sample_event e = {.name = "event", .meaning = "m", .type = 4, .config = config, .period = PERIOD, .precise = 2};

    must(nf_observation_event(f->study, f->observation, number, &e));
}

/* Every line read from beyond the LLC once, as event 1 samples it; latencies from event 3. Event 2 is not there. */
static void write_samples(struct fixture *f)
{
    struct nf_thin_options o = {.period = PERIOD, .seed = 5, .steps = STEPS};
    struct nf_sample_writer *w = nf_sample_writer_new(f->study, f->observation);
    struct nf_sample *s;
    size_t n;

    assert_non_null(w);
    for (int event = 0; event < 4; event++) {
        if (event == 2)
            continue;
        o.seed++;
        must(nf_thin(f->class, &o, &s, &n));
        assert_true(n > 100);
        for (size_t i = 0; i < n; i++) {
            s[i].event = (uint16_t)event;
            s[i].step++; /* the class has steps 1, 2, 3 */
            s[i].period = PERIOD;
            if (event == 3) {
                s[i].weight = 280 + (uint32_t)(i % 41);
                s[i].data_src = 2 | 13ull << 33; /* a load, from memory */
            }
        }
        must(nf_sample_writer_add(w, s, n));
        /* Another class's step, and nobody's: passed over. */
        s[0].step = 0;
        s[1].op = s[1].tensor = NF_SAMPLE_NONE;
        must(nf_sample_writer_add(w, s, 2));
        free(s);
    }
    must(nf_sample_writer_flush(w));
    nf_sample_writer_free(w);
}

static int setup(void **state)
{
    static struct fixture f;
    struct nf_observation o = {.pass_id = 1, .source = "pebs", .rw = "observed", .evidence = NF_ACCESS_PEBS,
                               .resolution_bytes = 64, .samples = 100, .lost = 0};

    f.path = sample_path();
    sample_write(f.path, SAMPLE_CLASSES);
    must(nf_study_open(f.path, NF_STUDY_WRITE, &f.study));
    must(nf_record_stream_load(f.study, 1, &f.stream));
    f.class = &f.stream->classes[1];
    must(nf_study_begin(f.study));
    must(nf_observation_insert(f.study, &o));
    f.observation = o.id;
    add_event(&f, 0, 0x81d0);
    add_event(&f, 1, 0x20d1);
    add_event(&f, 3, 0x1cd);
    write_samples(&f);
    must(nf_study_commit(f.study));
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    nf_stream_free(f->stream);
    nf_study_close(f->study);
    unlink(f->path);
    return 0;
}

/* The table as CSV, in lines of fields. */
struct lines {
    char *text;
    char *fields[PAIRS + 2][NF_SAMPLED_COLUMNS];
    size_t n;
};

static void table(struct fixture *f, double ghz, struct lines *out)
{
    struct nf_table *t = nf_table_new(nf_sampled_columns, NF_SAMPLED_COLUMNS);
    size_t size;
    FILE *to = open_memstream(&out->text, &size);
    char *rest, *line;

    must(nf_sampled_fill(f->study, 1, f->stream, f->class, ghz, t));
    must(nf_table_print(t, NF_TABLE_CSV, to));
    fclose(to);
    nf_table_free(t);
    rest = out->text;
    out->n = 0;
    while ((line = strsep(&rest, "\n")) && *line) {
        assert_true(out->n < PAIRS + 2);
        for (int i = 0; i < NF_SAMPLED_COLUMNS; i++)
            out->fields[out->n][i] = strsep(&line, ",");
        assert_null(line);
        out->n++;
    }
}

static const char *field(const struct lines *l, size_t row, const char *name)
{
    for (int i = 0; i < NF_SAMPLED_COLUMNS; i++)
        if (!strcmp(nf_sampled_columns[i].name, name))
            return l->fields[row][i];
    fail_msg("no column %s", name);
    return NULL;
}

static double number(const struct lines *l, size_t row, const char *name)
{
    return strtod(field(l, row, name), NULL);
}

static uint64_t visited(const struct fixture *f, uint32_t op, uint32_t tensor)
{
    for (uint32_t i = 0; i < f->class->n_visits; i++)
        if (f->class->visits[i].op == op && f->class->visits[i].tensor == tensor)
            return f->class->visits[i].bytes;
    return 0;
}

static void test_rows(void **state)
{
    struct fixture *f = *state;
    double last = INFINITY;
    struct lines l;

    table(f, 2, &l);
    assert_int_equal(l.n, PAIRS + 1); /* with the heading */
    for (size_t i = 1; i < l.n; i++) {
        uint32_t op = (uint32_t)number(&l, i, "op"), tensor = (uint32_t)number(&l, i, "tensor");
        double bytes = (double)visited(f, op, tensor), missed = (number(&l, i, "missed_bytes_low") +
                                                                 number(&l, i, "missed_bytes_high")) / 2;

        assert_string_equal(field(&l, i, "source"), "pebs");
        assert_string_equal(field(&l, i, "validated"), "not validated on hardware");
        assert_true(bytes > 0 && number(&l, i, "bytes") == bytes);
        if (number(&l, i, "missed_bytes_low") > bytes || number(&l, i, "missed_bytes_high") < bytes)
            fail_msg("op %u, tensor %u: %g bytes are not within %s to %s", op, tensor, bytes,
                     field(&l, i, "missed_bytes_low"), field(&l, i, "missed_bytes_high"));
        assert_string_equal(field(&l, i, "missed_bytes"), "unknown"); /* under 400 samples */
        assert_string_equal(field(&l, i, "touches"), "unknown");      /* no event counts what passed L2 */
        assert_string_equal(field(&l, i, "touches_low"), "unknown");
        assert_float_equal(number(&l, i, "detection"), 1 - exp(-bytes * STEPS / 64 / PERIOD), 1e-4);
        assert_true(missed <= last * 1.01 + 500);
        last = missed;
        if (bytes >= 8192) {
            /* 128 lines x 300 cycles over 2 GHz x some 100 ns */
            double k = bytes / 64 * 300 / (2 * f->class->ops[op].dur_ns);

            assert_true(number(&l, i, "parallelism_low") < k && number(&l, i, "parallelism_high") > k);
        }
    }
    free(l.text);
    table(f, 0, &l);
    for (size_t i = 1; i < l.n; i++)
        assert_string_equal(field(&l, i, "parallelism_low"), "unknown");
    free(l.text);
}

/* Half of the samples lost: the counts double. */
static void test_lost(void **state)
{
    struct fixture *f = *state;
    struct lines before, after;
    struct nf_query *q;

    table(f, 0, &before);
    must(nf_study_query(f->study, "UPDATE observation SET lost = samples", &q));
    must(nf_query_run(q));
    table(f, 0, &after);
    for (size_t i = 1; i < before.n; i++)
        assert_float_equal(number(&after, i, "missed_bytes_high"), 2 * number(&before, i, "missed_bytes_high"), 2);
    free(before.text);
    free(after.text);
}

/* Studies may come from anywhere. */
static void test_tampered(void **state)
{
    struct fixture *f = *state;
    struct nf_table *t = nf_table_new(nf_sampled_columns, NF_SAMPLED_COLUMNS);
    struct nf_query *q;

    must(nf_study_query(f->study, "UPDATE sample_event SET number = 100000 WHERE number = 3", &q));
    must(nf_query_run(q));
    assert_int_equal(nf_sampled_fill(f->study, 1, f->stream, f->class, 0, t), -EBADMSG);
    assert_non_null(strstr(nf_error_text(-EBADMSG), "100000"));
    nf_table_free(t);
    t = nf_table_new(nf_sampled_columns, NF_SAMPLED_COLUMNS);
    must(nf_study_query(f->study, "DELETE FROM sample_event", &q));
    must(nf_query_run(q));
    /* Without a meaning the samples count nothing. */
    must(nf_sampled_fill(f->study, 1, f->stream, f->class, 0, t));
    assert_int_equal(nf_table_rows(t), PAIRS);
    nf_table_free(t);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tampered, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
