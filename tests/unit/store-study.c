/* Studies: created, migrated, locked, refused with the right condition, queried. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/store/records.h"
#include "core/store/migration.h"
#include "core/store/study.h"

static char folder[] = "/tmp/nearfar-study-XXXXXX";
static char path[64];

static int fresh(void **state)
{
    unlink(path);
    return 0;
}

static void write_file(const char *text, size_t n)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static int64_t scalar(struct nf_study *s, const char *sql)
{
    struct nf_query *q;
    int64_t v;

    assert_int_equal(nf_study_query_text(s, sql, &q), 0);
    assert_int_equal(nf_query_step(q), 1);
    v = nf_query_i64(q, 0);
    nf_query_done(q);
    return v;
}

static void creates_and_reopens(void **state)
{
    struct nf_study *s;
    int64_t a;

    assert_int_equal(nf_study_open(path, NF_STUDY_READ, &s), -ENOENT);
    assert_int_equal(nf_study_open(path, NF_STUDY_WRITE, &s), -ENOENT);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), 0);
    a = nf_study_name(s, "blocks.0");
    assert_true(a > 0);
    assert_int_equal(nf_study_name(s, "blocks.0"), a);
    assert_int_not_equal(nf_study_name(s, "blocks.1"), a);
    s = nf_study_close(s);
    assert_int_equal(nf_study_open(path, NF_STUDY_READ, &s), 0);
    assert_int_equal(scalar(s, "SELECT count(*) FROM name"), 2);
    assert_int_equal(scalar(s, "PRAGMA application_id"), 0x4e465354);
    assert_true(scalar(s, "PRAGMA user_version") >= 1);
    assert_int_equal(scalar(s, "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT "
                               "strict AND name NOT LIKE 'sqlite%'"), 0);
    nf_study_close(s);
}

static void refuses_strangers(void **state)
{
    static const char *const files[] = {"", "hello", "SQLite format 3", "\177ELF and more bytes than a header has ......."};
    struct nf_study *s;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_file(files[i], strlen(files[i]));
        assert_int_equal(nf_study_open(path, NF_STUDY_READ, &s), NF_STUDY_E_NOT_A_STUDY);
        assert_int_equal(nf_study_open(path, NF_STUDY_WRITE, &s), NF_STUDY_E_NOT_A_STUDY);
        if (*files[i])
            assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), NF_STUDY_E_NOT_A_STUDY);
        assert_null(s);
    }
    assert_int_equal(nf_study_open(folder, NF_STUDY_READ, &s), NF_STUDY_E_NOT_A_STUDY);
}

static FILE *popen_study(const char *mode)
{
    char command[256];
    FILE *p;

    snprintf(command, sizeof command, "sqlite3 -bail %s", path);
    p = popen(command, mode);
    assert_non_null(p);
    return p;
}

static void run_sql(const char *sql)
{
    char command[256];

    snprintf(command, sizeof command, "sqlite3 %s '%s'", path, sql);
    assert_int_equal(system(command), 0);
}

static void refuses_another_database(void **state)
{
    struct nf_study *s;

    run_sql("CREATE TABLE t(x)");
    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), NF_STUDY_E_NOT_A_STUDY);
}

static void refuses_a_newer_schema(void **state)
{
    struct nf_study *s;

    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), 0);
    nf_study_close(s);
    run_sql("PRAGMA user_version = 99");
    for (int mode = NF_STUDY_READ; mode <= NF_STUDY_CREATE; mode++) {
        assert_int_equal(nf_study_open(path, (enum nf_study_mode)mode, &s), NF_STUDY_E_NEWER);
        assert_non_null(strstr(nf_error_text(0), "99"));
    }
}

/* A study as the first version left it. */
static void make_old_study(void)
{
    char stamp[128];
    FILE *p = popen_study("w");

    fputs(nf_migrations[0].sql, p);
    snprintf(stamp, sizeof stamp, "PRAGMA application_id = %d; PRAGMA user_version = 1; INSERT INTO name VALUES(7, 'kept');",
             0x4e465354);
    fputs(stamp, p);
    assert_int_equal(pclose(p), 0);
}

/* Whoever opens it brings it up to date, also who only reads; what it holds stays. */
static void brings_an_older_schema_up_to_date(void **state)
{
    struct nf_study *s;

    for (int mode = NF_STUDY_READ; mode <= NF_STUDY_CREATE; mode++) {
        unlink(path);
        make_old_study();
        assert_int_equal(nf_study_open(path, (enum nf_study_mode)mode, &s), 0);
        assert_int_equal(scalar(s, "PRAGMA user_version"), (int64_t)nf_migration_count);
        assert_int_equal(scalar(s, "SELECT id FROM name WHERE text = 'kept'"), 7);
        assert_int_equal(scalar(s, "SELECT count(*) FROM observation"), 0);
        assert_int_equal(scalar(s, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
        nf_study_close(s);
    }
}

/* Nor does it have to be written for that: on read-only media a copy in memory is brought up to date. */
static void shows_an_older_study_that_cannot_be_written(void **state)
{
    struct nf_study *s;
    uid_t me = geteuid();
    struct stat before, after;

    make_old_study();
    assert_int_equal(chmod(path, 0444), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    assert_int_equal(stat(path, &before), 0);
    /* root may write everywhere */
    assert_true(me || !seteuid(65534));
    assert_int_equal(nf_study_open(path, NF_STUDY_READ, &s), 0);
    assert_int_equal(scalar(s, "PRAGMA user_version"), (int64_t)nf_migration_count);
    assert_int_equal(scalar(s, "SELECT id FROM name WHERE text = 'kept'"), 7);
    assert_int_equal(scalar(s, "SELECT count(*) FROM observation"), 0);
    nf_study_close(s);
    assert_true(me || !seteuid(me));
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

/* Not beside a writer of an older program, which would not know what to do with it. */
static void waits_for_no_older_writer(void **state)
{
    struct nf_study *s, *reader;

    make_old_study();
    assert_int_equal(nf_study_open(path, NF_STUDY_WRITE, &s), 0);
    run_sql("PRAGMA user_version = 1");
    assert_int_equal(nf_study_open(path, NF_STUDY_READ, &reader), NF_STUDY_E_BUSY);
    assert_null(reader);
    assert_non_null(strstr(nf_error_text(0), "older schema"));
    nf_study_close(s);
}

static void one_writer_many_readers(void **state)
{
    struct nf_study *s, *reader, *second;
    char pid[32];

    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), 0);
    assert_int_equal(nf_study_open(path, NF_STUDY_WRITE, &second), NF_STUDY_E_BUSY);
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    assert_non_null(strstr(nf_error_text(0), pid));
    assert_int_equal(nf_study_open(path, NF_STUDY_READ, &reader), 0);
    assert_int_equal(nf_study_begin(s), 0);
    assert_true(nf_study_name(s, "uncommitted") > 0);
    assert_int_equal(scalar(reader, "SELECT count(*) FROM name"), 0);
    nf_study_close(reader);
    assert_int_equal(nf_study_commit(s), 0);
    nf_study_close(s);
    assert_int_equal(nf_study_open(path, NF_STUDY_WRITE, &s), 0);
    nf_study_close(s);
}

/* A writer killed inside a transaction leaves what it had committed, and its lock goes with it. */
static void survives_a_killed_writer(void **state)
{
    struct nf_study *s;
    pid_t child;
    int status;

    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), 0);
    nf_study_close(s);
    child = fork();
    if (!child) {
        if (nf_study_open(path, NF_STUDY_WRITE, &s) || nf_study_begin(s) || nf_study_name(s, "kept") < 0 ||
            nf_study_commit(s) || nf_study_begin(s))
            _exit(1);
        for (int i = 0; i < 20000; i++) {
            char text[32];

            snprintf(text, sizeof text, "lost %d", i);
            if (nf_study_name(s, text) < 0)
                _exit(2);
        }
        kill(getpid(), SIGKILL);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(nf_study_open(path, NF_STUDY_WRITE, &s), 0);
    assert_int_equal(scalar(s, "SELECT count(*) FROM name"), 1);
    assert_int_equal(scalar(s, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    nf_study_close(s);
}

/* The same through a reader, which may not write: the first program after a kill is often `nearfar show`. A small cache
 * makes the writer spill, so that the file itself holds half a transaction. */
static void reads_after_a_killed_writer(void **state)
{
    struct nf_study *s;
    pid_t child;
    int status;

    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), 0);
    assert_true(nf_study_name(s, "kept") > 0);
    nf_study_close(s);
    child = fork();
    if (!child) {
        struct nf_query *q;

        if (nf_study_open(path, NF_STUDY_WRITE, &s) || nf_study_query(s, "PRAGMA cache_size = 1", &q) ||
            nf_query_run(q) || nf_study_begin(s))
            _exit(1);
        for (int i = 0; i < 2000; i++) {
            char text[64];

            snprintf(text, sizeof text, "lost in the middle of a transaction %d", i);
            if (nf_study_name(s, text) < 0)
                _exit(2);
        }
        kill(getpid(), SIGKILL);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    if (nf_study_open(path, NF_STUDY_READ, &s))
        fail_msg("%s", nf_error_text(0));
    assert_int_equal(scalar(s, "SELECT count(*) FROM name"), 1);
    assert_int_equal(scalar(s, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    nf_study_close(s);
}

static void refuses_what_is_no_file(void **state)
{
    struct nf_study *s;

    assert_int_equal(mkfifo(path, 0600), 0); /* opening it would wait for a writer */
    for (int mode = NF_STUDY_READ; mode <= NF_STUDY_CREATE; mode++)
        assert_int_equal(nf_study_open(path, (enum nf_study_mode)mode, &s), NF_STUDY_E_NOT_A_STUDY);
    assert_int_equal(nf_study_open("/dev/null", NF_STUDY_CREATE, &s), NF_STUDY_E_NOT_A_STUDY);
}

static void typed_sql_only_reads(void **state)
{
    static const char *const bad[] = {
        "", "DELETE FROM name", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE name", "INSERT INTO name(text) VALUES('x')",
        "ATTACH '/tmp/x' AS y", "nonsense", "PRAGMA user_version = 4242", "CREATE TABLE t(x)",
    };
    struct nf_study *s;
    struct nf_query *q;

    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), 0);
    nf_study_close(s);
    assert_int_equal(nf_study_open(path, NF_STUDY_READ, &s), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = nf_study_query_text(s, bad[i], &q);

        /* Some statements count as read-only for SQLite; none may change the file. */
        if (!rc) {
            assert_true(nf_query_step(q) <= 0);
            nf_query_done(q);
        }
    }
    assert_int_equal(nf_study_query_text(s, "SELECT count(*) FROM name ;\n ", &q), 0);
    assert_int_equal(nf_query_step(q), 1);
    nf_query_done(q);
    assert_int_equal(scalar(s, "SELECT count(*) FROM name"), 0);
    assert_int_equal(scalar(s, "PRAGMA user_version"), (int64_t)nf_migration_count);
    nf_study_close(s);
}

static void foreign_keys_hold(void **state)
{
    struct nf_study *s;
    struct nf_query *q;

    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), 0);
    assert_int_equal(nf_study_query(s, "INSERT INTO op(class_id, number, name_id, module_id, phase, microbatch, thread, "
                                       "regime) VALUES(1, 0, 1, 1, 0, 0, 0, 0)", &q), 0);
    assert_int_equal(nf_query_run(q), -EIO); /* not -EINVAL: commands take that for bad usage */
    nf_study_close(s);
}

static void records_machine_and_invocation(void **state)
{
    char *argv[] = {"nearfar", "capture", "-o", "a\"b\n.nf", NULL};
    struct nf_study *s;
    int64_t id;

    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), 0);
    id = nf_record_invocation(s, 4, argv);
    assert_true(id > 0);
    assert_true(nf_record_invocation(s, 4, argv) > id);
    assert_int_equal(nf_record_invocation_end(s, id, "complete", ""), 0);
    assert_int_equal(scalar(s, "SELECT count(*) FROM machine"), 1);
    assert_int_equal(scalar(s, "SELECT count(*) FROM invocation WHERE json_extract(command, '$[3]') = 'a\"b' || char(10) "
                               "|| '.nf'"), 2);
    assert_int_equal(scalar(s, "SELECT json_valid(facts) FROM machine"), 1);
    assert_int_equal(nf_record_capture_find(s, 0), -ENOENT);
    assert_int_equal(nf_record_capture_find(s, 5), -ENOENT);
    nf_study_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(creates_and_reopens, fresh),
        cmocka_unit_test_setup(refuses_strangers, fresh),
        cmocka_unit_test_setup(refuses_another_database, fresh),
        cmocka_unit_test_setup(refuses_a_newer_schema, fresh),
        cmocka_unit_test_setup(brings_an_older_schema_up_to_date, fresh),
        cmocka_unit_test_setup(shows_an_older_study_that_cannot_be_written, fresh),
        cmocka_unit_test_setup(waits_for_no_older_writer, fresh),
        cmocka_unit_test_setup(one_writer_many_readers, fresh),
        cmocka_unit_test_setup(survives_a_killed_writer, fresh),
        cmocka_unit_test_setup(reads_after_a_killed_writer, fresh),
        cmocka_unit_test_setup(refuses_what_is_no_file, fresh),
        cmocka_unit_test_setup(typed_sql_only_reads, fresh),
        cmocka_unit_test_setup(foreign_keys_hold, fresh),
        cmocka_unit_test_setup(records_machine_and_invocation, fresh),
    };
    int failed;

    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/test.nf", folder);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(folder);
    return failed;
}
