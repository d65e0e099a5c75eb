/* Option tables: what a command line or a plug-in's key=value pairs become. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/option.h"

struct fields {
    bool flag, other;
    const char *text;
    struct nf_option_list list;
    uint64_t number, bytes;
    double real;
};

static const struct nf_option table[] = {
    {"flag", 'f', NF_OPTION_FLAG, offsetof(struct fields, flag), NULL, "a flag"},
    {"flag-too", 0, NF_OPTION_FLAG, offsetof(struct fields, other), NULL, "its name begins like another"},
    {"text", 't', NF_OPTION_STRING, offsetof(struct fields, text), "TEXT", "a text"},
    {"list", 'l', NF_OPTION_LIST, offsetof(struct fields, list), "ITEM", "texts"},
    {"number", 'n', NF_OPTION_U64, offsetof(struct fields, number), "N", "a number"},
    {"real", 'r', NF_OPTION_F64, offsetof(struct fields, real), "X", "a real number"},
    {"bytes", 'b', NF_OPTION_BYTES, offsetof(struct fields, bytes), "BYTES", "a size"},
    {0},
};

enum { WORDS = 40 };
static char words[1024], *argv[WORDS];
static int first, operands;

/* Splits the line at spaces and parses it. */
static int parse(const char *line, int permute, struct fields *f)
{
    int argc = 0;

    *f = (struct fields){0};
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
        argv[argc++] = w;
    return nf_options_parse(table, argc, argv, f, permute, &first, &operands);
}

static void every_form(void **state)
{
    struct fields f;

    assert_int_equal(parse("-f --text=a --number 5 -b64K -r -1.5 --list x -ly study", 0, &f), 0);
    assert_true(f.flag && !f.other);
    assert_string_equal(f.text, "a");
    assert_int_equal(f.number, 5);
    assert_int_equal(f.bytes, 65536);
    assert_true(f.real == -1.5);
    assert_int_equal(f.list.n, 2);
    assert_string_equal(f.list.v[1], "y");
    assert_int_equal(operands, 1);
    assert_string_equal(argv[first], "study");
    assert_int_equal(parse("--flag-too --text= x", 0, &f), 0);
    assert_true(f.other && !f.flag);
    assert_string_equal(f.text, "");
    assert_int_equal(parse("", 0, &f), 0);
    assert_int_equal(operands, 0);
}

static void operands_and_options_mix(void **state)
{
    struct fields f;

    assert_int_equal(parse("a -f b --number 3 c", 1, &f), 0);
    assert_int_equal(operands, 3);
    assert_string_equal(argv[first], "a");
    assert_string_equal(argv[first + 1], "b");
    assert_string_equal(argv[first + 2], "c");
    /* Nothing is lost: a study records its commands, and a resumed replay is told its own again. */
    assert_string_equal(argv[first + 3], "-f");
    assert_string_equal(argv[first + 4], "--number");
    assert_string_equal(argv[first + 5], "3");
    assert_int_equal(f.number, 3);
    /* Without permutation the job's own options stay its own. */
    assert_int_equal(parse("-f job --number 3", 0, &f), 0);
    assert_int_equal(operands, 3);
    assert_int_equal(f.number, 0);
    assert_int_equal(parse("-- --number 3", 0, &f), 0);
    assert_int_equal(operands, 2);
    assert_string_equal(argv[first], "--number");
    assert_int_equal(parse("a -- -f", 1, &f), 0);
    assert_int_equal(operands, 2);
    assert_string_equal(argv[first + 1], "-f");
    assert_false(f.flag);
    assert_int_equal(parse("- -f", 1, &f), 0); /* a dash alone is an operand */
    assert_int_equal(operands, 1);
}

static void help_is_a_condition(void **state)
{
    struct fields f;

    assert_int_equal(parse("-f --help --nonsense", 0, &f), NF_OPTION_E_HELP);
    assert_int_equal(parse("-h", 1, &f), NF_OPTION_E_HELP);
    assert_int_equal(parse("job --help", 0, &f), 0); /* the job's */
    assert_int_equal(parse("-- --help", 1, &f), 0);
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *line, *cause;
    } bad[] = {
        {"--nonsense", "--nonsense"}, {"-z", "-z"}, {"--fla", "--fla"}, {"--flagx", "--flagx"}, {"--text", "TEXT"},
        {"-n", "N"}, {"--number x", "--number"}, {"--number=", "--number"}, {"--bytes 1Q", "--bytes"}, {"-r x", "--real"},
        {"--flag=yes", "--flag"}, {"-fx", "--flag"}, {"--=x", "--=x"}, {"--number -1", "-1"},
    };
    struct fields f;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (int permute = 0; permute < 2; permute++) {
            nf_error_clear();
            if (parse(bad[i].line, permute, &f) != -EINVAL || !strstr(nf_error_text(0), bad[i].cause))
                fail_msg("'%s': '%s'", bad[i].line, nf_error_text(0));
        }
    }
}

static void lists_are_bounded(void **state)
{
    static char option[] = "-l", value[] = "x";
    char *many[2 * NF_OPTION_LIST_MAX + 2];
    struct fields f = {0};

    for (int i = 0; i < 2 * NF_OPTION_LIST_MAX + 2; i += 2) {
        many[i] = option;
        many[i + 1] = value;
    }
    assert_int_equal(nf_options_parse(table, 2 * NF_OPTION_LIST_MAX, many, &f, 0, &first, &operands), 0);
    assert_int_equal(f.list.n, NF_OPTION_LIST_MAX);
    f.list.n = 0;
    assert_int_equal(nf_options_parse(table, 2 * NF_OPTION_LIST_MAX + 2, many, &f, 0, &first, &operands), -EINVAL);
}

static int pairs(const char *text, struct fields *f)
{
    *f = (struct fields){0};
    snprintf(words, sizeof words, "%s", text);
    return nf_options_parse_pairs(table, words, f);
}

static void key_value_pairs(void **state)
{
    static const char *const bad[] = {"nonsense=1", "number", "number=x", "bytes=", "=5", "number=1,zzz", "flag=no"};
    struct fields f;

    assert_int_equal(pairs("number=5,text=a=b,flag,bytes=1K,real=0.5", &f), 0);
    assert_int_equal(f.number, 5);
    assert_string_equal(f.text, "a=b");
    assert_true(f.flag);
    assert_int_equal(f.bytes, 1024);
    assert_true(f.real == 0.5);
    assert_int_equal(pairs("", &f), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (pairs(bad[i], &f) != -EINVAL)
            fail_msg("'%s' was accepted", bad[i]);
}

static void help_prints_every_option(void **state)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    nf_options_help(table, f);
    fclose(f);
    for (const struct nf_option *o = table; o->name; o++)
        assert_non_null(strstr(text, o->about));
    assert_non_null(strstr(text, "-n, --number N"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form),         cmocka_unit_test(operands_and_options_mix),
        cmocka_unit_test(help_is_a_condition), cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(lists_are_bounded),  cmocka_unit_test(key_value_pairs),
        cmocka_unit_test(help_prints_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
