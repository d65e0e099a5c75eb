/* Buffers, escapes, files, error causes and tables. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/table.h"

/* --- buffers --- */

static void appends(void **state)
{
    struct nf_buf b = {0};
    char long_text[3000];

    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    nf_buf_puts(&b, "a");
    nf_buf_printf(&b, "%d %s", 7, long_text); /* more than the buffer on the stack */
    nf_buf_add(&b, "\0z", 2);
    assert_int_equal(b.n, 1 + 2 + 2999 + 2);
    assert_int_equal(b.data[b.n], '\0');
    assert_memory_equal(b.data, "a7 xxx", 6);
    nf_buf_clear(&b);
    assert_string_equal(b.data, "");
    b.failed = true;
    nf_buf_puts(&b, "lost");
    assert_int_equal(b.n, 0);
    nf_buf_deinit(&b);
    nf_buf_add(&b, "", 0);
    assert_string_equal(b.data, "");
    nf_buf_deinit(&b);
}

static const char *escaped(void (*escape)(struct nf_buf *, const char *), const char *text)
{
    static char out[256];
    struct nf_buf b = {0};

    escape(&b, text);
    snprintf(out, sizeof out, "%s", b.data ? b.data : "");
    nf_buf_deinit(&b);
    return out;
}

static void escapes(void **state)
{
    assert_string_equal(escaped(nf_buf_json, "a\"b\\c\n\x01"), "\"a\\\"b\\\\c\\u000a\\u0001\"");
    assert_string_equal(escaped(nf_buf_json, "é€𝄞"), "\"é€𝄞\"");
    /* Not UTF-8: a lone continuation, a cut sequence, an overlong slash, a surrogate, beyond U+10FFFF. */
    assert_string_equal(escaped(nf_buf_json, "\x80"), "\"\\ufffd\"");
    assert_string_equal(escaped(nf_buf_json, "\xe2\x82"), "\"\\ufffd\\ufffd\"");
    assert_string_equal(escaped(nf_buf_json, "\xc0\xaf"), "\"\\ufffd\\ufffd\"");
    assert_string_equal(escaped(nf_buf_json, "\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");
    assert_string_equal(escaped(nf_buf_json, "\xf4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    assert_string_equal(escaped(nf_buf_csv, "plain"), "plain");
    assert_string_equal(escaped(nf_buf_csv, "a,b"), "\"a,b\"");
    assert_string_equal(escaped(nf_buf_csv, "say \"x\"\n"), "\"say \"\"x\"\"\n\"");
    assert_string_equal(escaped(nf_buf_html, "<a href=\"x\">&</a>"), "&lt;a href=&quot;x&quot;&gt;&amp;&lt;/a&gt;");
}

static void files(void **state)
{
    char path[] = "/tmp/nearfar-text-XXXXXX", inside[64];
    struct nf_buf b = {0};
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(nf_file_write(path, "a\0b", 3), 0);
    assert_int_equal(nf_buf_read_file(&b, path, 3), 0);
    assert_int_equal(b.n, 3);
    assert_memory_equal(b.data, "a\0b", 4);
    nf_buf_deinit(&b);
    assert_int_equal(nf_buf_read_file(&b, path, 2), -EFBIG);
    nf_buf_deinit(&b);
    /* A failed write leaves what was there, and nothing beside it. */
    snprintf(inside, sizeof inside, "%s/x", path);
    assert_int_equal(nf_file_write(inside, "z", 1), -ENOTDIR);
    assert_non_null(strstr(nf_error_text(0), inside));
    unlink(path);
    assert_int_equal(nf_buf_read_file(&b, path, 2), -ENOENT);
    assert_int_equal(nf_buf_read_file(&b, "/tmp", 1 << 20), -EISDIR);
    nf_buf_deinit(&b);
}

/* --- causes --- */

static void *another_thread(void *unused)
{
    assert_string_equal(nf_error_text(0), "");
    nf_fail(-EIO, "theirs");
    return NULL;
}

static void causes(void **state)
{
    char huge[4000];
    pthread_t t;

    nf_error_clear();
    assert_string_equal(nf_error_text(0), "");
    assert_string_equal(nf_error_text(-ENOENT), strerror(ENOENT));
    assert_int_equal(nf_fail(-EINVAL, "%d is odd", 3), -EINVAL);
    assert_string_equal(nf_error_text(-EINVAL), "3 is odd");
    assert_int_equal(nf_fail_in(7, "checking %s", "x"), 7);
    assert_string_equal(nf_error_text(7), "checking x: 3 is odd");
    assert_int_equal(pthread_create(&t, NULL, another_thread, NULL), 0);
    pthread_join(t, NULL);
    assert_string_equal(nf_error_text(7), "checking x: 3 is odd");
    memset(huge, 'y', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    nf_fail(-1, "%s", huge);
    for (int i = 0; i < 10; i++)
        nf_fail_in(-1, "%s", huge); /* cut, never past the end */
    assert_in_range(strlen(nf_error_text(0)), 100, 1023);
    nf_error_clear();
    nf_fail_in(-ENOSPC, "writing");
    assert_non_null(strstr(nf_error_text(0), strerror(ENOSPC)));
    nf_error_clear();
}

/* --- tables --- */

static const struct nf_column columns[] = {
    {"name", "name", NF_COLUMN_TEXT}, {"bytes", "size", NF_COLUMN_BYTES}, {"share", "of all", NF_COLUMN_SHARE},
    {"id", "id", NF_COLUMN_HEX},      {"x", "x", NF_COLUMN_REAL},
};

static struct nf_table *sample(void)
{
    struct nf_table *t = nf_table_new(columns, sizeof columns / sizeof *columns);

    nf_table_text(t, "weight, \"tied\"");
    nf_table_integer(t, 1536);
    nf_table_number(t, 0.125);
    nf_table_integer(t, -1);
    nf_table_number(t, 1.0 / 3);
    nf_table_text(t, "é");
    nf_table_unknown(t);
    nf_table_number(t, NAN);
    nf_table_integer(t, 255);
    nf_table_number(t, INFINITY);
    return t;
}

static char *printed(struct nf_table *t, enum nf_table_format format)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    assert_int_equal(nf_table_print(t, format, f), 0);
    fclose(f);
    nf_table_free(t);
    return text;
}

static void assert_prints(struct nf_table *t, enum nf_table_format format, const char *expected)
{
    char *text = printed(t, format);

    assert_string_equal(text, expected);
    free(text);
}

static void table_formats(void **state)
{
    assert_prints(sample(), NF_TABLE_TEXT,
                  "name                size   of all                id        x\n"
                  "weight, \"tied\"  1.50 KiB   12.5 %  ffffffffffffffff   0.3333\n"
                  "é                unknown  unknown  00000000000000ff  unknown\n");
    assert_prints(sample(), NF_TABLE_CSV,
                  "name,bytes,share,id,x\n"
                  "\"weight, \"\"tied\"\"\",1536,0.125,\"ffffffffffffffff\",0.3333333333\n"
                  "é,unknown,unknown,\"00000000000000ff\",unknown\n");
    assert_prints(sample(), NF_TABLE_JSON,
                  "[\n {\"name\":\"weight, \\\"tied\\\"\",\"bytes\":1536,\"share\":0.125,\"id\":\"ffffffffffffffff\","
                  "\"x\":0.3333333333},\n {\"name\":\"é\",\"bytes\":null,\"share\":null,\"id\":\"00000000000000ff\","
                  "\"x\":null}\n]\n");
}

static void empty_and_cut_tables(void **state)
{
    struct nf_table *t = nf_table_new(columns, 5);

    assert_int_equal(nf_table_rows(t), 0);
    assert_prints(t, NF_TABLE_JSON, "[]\n");
    assert_prints(nf_table_new(columns, 1), NF_TABLE_CSV, "name\n");
    t = sample();
    assert_int_equal(nf_table_rows(t), 2);
    nf_table_truncate(t, 5);
    assert_int_equal(nf_table_rows(t), 2);
    nf_table_truncate(t, 1);
    assert_int_equal(nf_table_rows(t), 1);
    nf_table_truncate(t, 0);
    assert_prints(t, NF_TABLE_JSON, "[]\n");
}

/* A name from the job cannot colour the terminal, break a row or move the cursor; programs get it as it is. */
static void control_characters(void **state)
{
    static const char name[] = "a\x1b[31mb\nc\x7f\xc2\x9b" "d\xc3\xa9";
    struct nf_table *t = nf_table_new(columns, 1);
    char *shown;

    nf_table_text(t, name);
    shown = printed(t, NF_TABLE_TEXT);
    assert_non_null(strstr(shown, "a?[31mb?c??d\xc3\xa9"));
    free(shown);
    t = nf_table_new(columns, 1);
    nf_table_text(t, name);
    shown = printed(t, NF_TABLE_CSV);
    assert_non_null(strstr(shown, name));
    free(shown);
}

/* A wide text is cut between characters for people, never for programs. */
static void wide_text(void **state)
{
    char text[601] = "", *shown;

    for (int i = 0; i < 300; i++)
        strcat(text, "é");
    for (int format = NF_TABLE_TEXT; format <= NF_TABLE_CSV; format++) {
        struct nf_table *t = nf_table_new(columns, 2);

        nf_table_text(t, text);
        nf_table_integer(t, 1);
        shown = printed(t, (enum nf_table_format)format);
        if (format == NF_TABLE_TEXT) {
            assert_null(strstr(shown, text));
            assert_non_null(strstr(shown, "é…  "));
        } else {
            assert_non_null(strstr(shown, text));
        }
        free(shown);
    }
}

/* Nothing stands behind the last column: a reason of some sentences is whole in it. */
static void wide_last_text(void **state)
{
    struct nf_table *t = nf_table_new(columns, 1);
    char text[301] = "", *shown;

    memset(text, 'x', sizeof text - 1);
    nf_table_text(t, text);
    shown = printed(t, NF_TABLE_TEXT);
    assert_non_null(strstr(shown, text));
    free(shown);
}

static void full_disk(void **state)
{
    struct nf_table *t = nf_table_new(columns, 1);
    FILE *full = fopen("/dev/full", "w");

    assert_non_null(full);
    setbuf(full, NULL);
    nf_table_text(t, "x");
    assert_int_equal(nf_table_print(t, NF_TABLE_TEXT, full), -ENOSPC);
    assert_non_null(strstr(nf_error_text(0), "cannot write the output"));
    fclose(full);
    nf_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends),       cmocka_unit_test(escapes),   cmocka_unit_test(files),
        cmocka_unit_test(causes),        cmocka_unit_test(table_formats), cmocka_unit_test(empty_and_cut_tables),
        cmocka_unit_test(control_characters), cmocka_unit_test(wide_text), cmocka_unit_test(wide_last_text),     cmocka_unit_test(full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
