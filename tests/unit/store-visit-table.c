/* visits() and sightings(): the compressed chunks as rows of SQL. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "tests/unit/store-sample.h"

static const char *path;
static struct nf_study *study;

static int setup_classes(void **state, unsigned classes)
{
    path = sample_path();
    sample_write(path, classes);
    return nf_study_open(path, NF_STUDY_READ, &study);
}

static int setup(void **state)
{
    return setup_classes(state, SAMPLE_CLASSES);
}

static int setup_empty(void **state)
{
    return setup_classes(state, 0);
}

static int teardown(void **state)
{
    study = nf_study_close(study);
    unlink(path);
    return 0;
}

/* The one row of a statement as text, columns separated by spaces; "-" for NULL. */
static const char *row(const char *sql)
{
    static char text[512];
    struct nf_query *q;
    int rc = nf_study_query_text(study, sql, &q), step;

    if (rc)
        fail_msg("%s: %s", sql, nf_error_text(rc));
    step = nf_query_step(q);
    text[0] = '\0';
    if (step < 0)
        snprintf(text, sizeof text, "error: %s", nf_error_text(step));
    for (int i = 0; step == 1 && i < nf_query_columns(q); i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "",
                 nf_query_is_null(q, i) ? "-" : nf_query_text(q, i));
    if (step == 1 && nf_query_step(q) != 0)
        fail_msg("%s: more than one row", sql);
    nf_query_done(q);
    return text;
}

static void rows_are_the_visits(void **state)
{
    size_t n;
    const struct nf_visit *v = sample_visits(&n);

    for (size_t i = 0; i < n; i++) {
        char sql[200], expected[300], parallelism[8] = "-";

        snprintf(sql, sizeof sql, "SELECT class_id, number, op, tensor, offset, bytes, run, stride, rw, pattern, touches, "
                                  "parallelism, evidence FROM visits(2) WHERE number = %zu", i);
        if (v[i].parallelism)
            snprintf(parallelism, sizeof parallelism, "%u", v[i].parallelism);
        snprintf(expected, sizeof expected, "2 %zu %u %u %llu %llu %llu %llu %s %s %.1f %s %s", i, v[i].op, v[i].tensor,
                 (unsigned long long)v[i].offset, (unsigned long long)v[i].bytes, (unsigned long long)v[i].run,
                 (unsigned long long)v[i].stride, nf_rw_name(v[i].rw), nf_pattern_name(v[i].pattern),
                 v[i].touches_q8 / 256.0, parallelism, nf_access_evidence_name(v[i].evidence));
        assert_string_equal(row(sql), expected);
    }
}

static void a_class_is_chosen_in_every_way(void **state)
{
    assert_string_equal(row("SELECT count(*), min(class_id), max(class_id) FROM visits"), "30 1 2");
    assert_string_equal(row("SELECT count(*), min(class_id), max(class_id) FROM visits(1)"), "15 1 1");
    assert_string_equal(row("SELECT count(*), min(class_id), max(class_id) FROM visits WHERE class_id = 2"), "15 2 2");
    assert_string_equal(row("SELECT count(*) FROM visits(1) WHERE class_id = 2"), "0");
    assert_string_equal(row("SELECT count(*) FROM visits(2) WHERE class_id = 2"), "15");
    assert_string_equal(row("SELECT count(*) FROM visits WHERE class_id IN (1, 2, 3)"), "30");
    assert_string_equal(row("SELECT count(*) FROM visits WHERE class_id > 1"), "15");
    for (size_t i = 0; i < 6; i++) {
        static const char *const nothing[] = {"3", "-1", "NULL", "'x'", "1.5", "9223372036854775807"};
        char sql[100];

        snprintf(sql, sizeof sql, "SELECT count(*) FROM visits(%s)", nothing[i]);
        assert_string_equal(row(sql), "0");
    }
}

static void joins_and_sums(void **state)
{
    assert_string_equal(row("SELECT count(*), sum(v.bytes) FROM visits(1) v JOIN op o ON o.class_id = v.class_id AND "
                            "o.number = v.op WHERE o.phase = 2 AND v.rw = 'update'"), "3 24576");
    assert_string_equal(row("SELECT group_concat(n) FROM (SELECT count(*) AS n FROM visits(1) GROUP BY tensor)"), "6,6,3");
    /* The class from the row of another table. */
    assert_string_equal(row("SELECT sum(n) FROM (SELECT (SELECT count(*) FROM visits(c.id)) AS n FROM step_class c)"), "30");
    assert_string_equal(row("SELECT count(*) FROM step_class c, visits(c.id)"), "30");
    assert_string_equal(row("SELECT count(*) FROM visits(1) a, visits(2) b WHERE a.number = b.number AND a.op = b.op AND "
                            "a.tensor = b.tensor"), "15");
    assert_string_equal(row("SELECT count(*) FROM visits v JOIN step_class c ON c.id = v.class_id WHERE c.number = 1"), "15");
    assert_string_equal(row("SELECT op FROM visits(2) ORDER BY number DESC LIMIT 1"), "5");
    assert_string_equal(row("SELECT count(DISTINCT rowid) FROM visits"), "30");
}

static void nothing_writes_it(void **state)
{
    struct nf_query *q;
    int rc = nf_study_query_text(study, "DELETE FROM visits", &q);

    if (!rc) {
        assert_true(nf_query_step(q) < 0);
        nf_query_done(q);
    }
    assert_string_equal(row("SELECT count(*) FROM visits"), "30");
}

static void an_empty_study_has_none(void **state)
{
    assert_string_equal(row("SELECT count(*) FROM visits"), "0");
    assert_string_equal(row("SELECT count(*), sum(bytes) FROM visits(1)"), "0 -");
}

static void a_broken_chunk_is_an_error(void **state)
{
    static const char *const breaks[] = {
        "UPDATE visit_chunk SET crc32 = 0 WHERE class_id = 2", "UPDATE visit_chunk SET visits = 5000 WHERE class_id = 2",
        "UPDATE visit_chunk SET data = x'' WHERE class_id = 2", "UPDATE visit_chunk SET codec = 9 WHERE class_id = 2",
        "DELETE FROM lifetime WHERE class_id = 2", "UPDATE visit_chunk SET visits = 0, raw_bytes = 0 WHERE class_id = 2",
    };

    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        study = nf_study_close(study);
        sample_write(path, SAMPLE_CLASSES);
        sample_tamper(path, breaks[i]);
        assert_int_equal(nf_study_open(path, NF_STUDY_READ, &study), 0);
        if (strncmp(row("SELECT count(*) FROM visits(2)"), "error: ", 7) || !strstr(nf_error_text(0), "visits"))
            fail_msg("%s: %s", breaks[i], row("SELECT count(*) FROM visits(2)"));
        assert_string_equal(row("SELECT count(*) FROM visits(1)"), "15"); /* the other class is sound */
    }
}

/* What a source saw is kept in the form of visits: here the visits themselves, seen twice. */
static void sightings_are_rows_too(void **state)
{
    size_t n;
    const struct nf_visit *v = sample_visits(&n);
    char expected[300];

    study = nf_study_close(study);
    sample_tamper(path, "INSERT INTO observation(id, pass_id, source, evidence, validated, resolution_bytes, boundary_ops, rw) "
                        "SELECT number, (SELECT min(id) FROM pass), 'page-fault', 5, 1, 4096, 1, 'observed' FROM step_class");
    sample_tamper(path, "INSERT INTO sighting SELECT o.id, c.id, 15, 0, 1, 1 FROM observation o, step_class c");
    sample_tamper(path, "INSERT INTO sighting_chunk SELECT s.observation_id, v.* FROM sighting s JOIN visit_chunk v "
                        "USING(class_id) WHERE s.observation_id = 1 OR s.class_id = 2");
    assert_int_equal(nf_study_open(path, NF_STUDY_READ, &study), 0);
    assert_string_equal(row("SELECT count(*) FROM sightings"), "45");
    assert_string_equal(row("SELECT count(*), min(class_id), max(class_id) FROM sightings(1)"), "30 1 2");
    assert_string_equal(row("SELECT count(*), min(class_id), max(class_id) FROM sightings(0)"), "15 2 2");
    assert_string_equal(row("SELECT count(*), min(observation_id) FROM sightings(1, 2)"), "15 1");
    assert_string_equal(row("SELECT count(*) FROM sightings(0, 1)"), "0");
    assert_string_equal(row("SELECT count(*), max(observation_id) FROM sightings WHERE class_id = 2"), "30 1");
    assert_string_equal(row("SELECT count(*) FROM sightings s JOIN visits(2) v ON v.number = s.number WHERE "
                            "s.observation_id = 1 AND s.class_id = 2 AND v.op = s.op AND v.bytes = s.bytes"), "15");
    assert_string_equal(row("SELECT count(DISTINCT rowid) FROM sightings"), "45");
    for (size_t i = 0; i < n; i++) {
        char sql[200];

        snprintf(sql, sizeof sql, "SELECT op, tensor, offset, bytes, rw, between_ops, touches, evidence FROM sightings(1, 2) "
                                  "WHERE number = %zu", i);
        snprintf(expected, sizeof expected, "%u %u %llu %llu %s %d %.1f %s", v[i].op, v[i].tensor,
                 (unsigned long long)v[i].offset, (unsigned long long)v[i].bytes, nf_rw_name(v[i].rw), !v[i].touches_q8,
                 v[i].touches_q8 / 256.0, nf_access_evidence_name(v[i].evidence));
        assert_string_equal(row(sql), expected);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rows_are_the_visits), T(a_class_is_chosen_in_every_way), T(joins_and_sums), T(nothing_writes_it),
        T(sightings_are_rows_too),
        cmocka_unit_test_setup_teardown(an_empty_study_has_none, setup_empty, teardown), T(a_broken_chunk_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
