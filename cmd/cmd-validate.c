#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "analyze/validate.h"
#include "cmd/command.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/study.h"

struct arguments {
    bool rules, json, csv;
};

static const struct nf_option options[] = {
    {"rules", 'r', NF_OPTION_FLAG, offsetof(struct arguments, rules), NULL, "print the rules, and check nothing"},
    {"json", 'j', NF_OPTION_FLAG, offsetof(struct arguments, json), NULL, "rows as JSON objects"},
    {"csv", 0, NF_OPTION_FLAG, offsetof(struct arguments, csv), NULL, "rows as CSV"},
    {0},
};

static const struct nf_column rule_columns[] = {{"rule", "rule", NF_COLUMN_TEXT}, {"wanted", "wanted", NF_COLUMN_TEXT}};

static int print_rules(enum nf_table_format format)
{
    struct nf_table *t = nf_table_new(rule_columns, sizeof rule_columns / sizeof *rule_columns);
    int rc;

    for (const struct nf_rule *r = nf_rules; t && r->name; r++) {
        nf_table_text(t, r->name);
        nf_table_text(t, r->about);
    }
    rc = t ? nf_table_print(t, format, stdout) : nf_fail(-ENOMEM, "out of memory");
    nf_table_free(t);
    return rc ? nf_command_fail(rc) : NF_EXIT_OK;
}

/* For people: a paragraph for each breach, as its sentences are too long for columns. */
static void print_text(const struct nf_table *t)
{
    const size_t most = 10; /* of one rule; the others are counted */
    struct nf_buf cell[NF_VALIDATE_COLUMNS] = {0};
    char last[64] = "";
    size_t same = 0;

    for (size_t row = 0; row < nf_table_rows(t); row++) {
        for (size_t i = 0; i < NF_VALIDATE_COLUMNS; i++) {
            nf_buf_clear(&cell[i]);
            nf_table_cell(t, row, i, &cell[i]);
            if (cell[i].failed)
                return;
        }
        if (strcmp(last, cell[0].data)) {
            if (same > most)
                printf("    ... and %zu more\n", same - most);
            snprintf(last, sizeof last, "%s", cell[0].data);
            same = 0;
            printf("%s%s: wanted: %s\n    to mend it: %s\n", row ? "\n" : "", last, cell[2].data, cell[3].data);
        }
        if (same++ < most)
            printf("  - %s\n", cell[1].data);
    }
    if (same > most)
        printf("    ... and %zu more\n", same - most);
    for (size_t i = 0; i < NF_VALIDATE_COLUMNS; i++)
        nf_buf_deinit(&cell[i]);
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {0};
    struct nf_study *study;
    struct nf_table *t;
    enum nf_table_format format;
    size_t broken = 0, rules = 0, breaches;
    int first, n, code = NF_EXIT_OK, rc;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    format = a.json ? NF_TABLE_JSON : a.csv ? NF_TABLE_CSV : NF_TABLE_TEXT;
    if (a.rules)
        return print_rules(format);
    if (n != 1)
        return nf_command_usage(self, "one study is wanted");
    rc = nf_study_open(argv[first], NF_STUDY_READ, &study);
    if (rc)
        return nf_command_fail(rc);
    t = nf_table_new(nf_validate_columns, NF_VALIDATE_COLUMNS);
    rc = t ? nf_validate(study, t, &broken, &rules) : nf_fail(-ENOMEM, "out of memory");
    if (!rc && format != NF_TABLE_TEXT)
        rc = nf_table_print(t, format, stdout);
    else if (!rc)
        print_text(t);
    breaches = t ? nf_table_rows(t) : 0;
    nf_table_free(t);
    nf_study_close(study);
    if (rc)
        return nf_command_fail(rc);
    nf_info("%zu of %zu rules are kept%s", rules - broken, rules, broken ? "" : ": this study can be published");
    if (broken)
        nf_info("%zu %s", breaches, breaches == 1 ? "breach" : "breaches");
    return broken ? NF_EXIT_FAILED : NF_EXIT_OK;
}

const struct nf_command nf_cmd_validate = {
    .name = "validate",
    .about = "check a study against the rules of disclosure and list everything that is missing",
    .usage = "validate STUDY [OPTIONS]",
    .text = "Ends with 1 when a rule is broken. A broken rule does not make a number wrong: it makes it unpublishable,\n"
            "or in need of a sentence beside it.",
    .options = options,
    .examples = {"nearfar validate demo.nf", "nearfar validate demo.nf --json"},
    .run = run,
};
