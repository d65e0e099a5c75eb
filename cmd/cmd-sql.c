#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/command.h"
#include "core/base/error.h"
#include "core/store/study.h"

struct arguments {
    bool json, csv;
};

static const struct nf_option options[] = {
    {"json", 'j', NF_OPTION_FLAG, offsetof(struct arguments, json), NULL, "rows as JSON objects"},
    {"csv", 'c', NF_OPTION_FLAG, offsetof(struct arguments, csv), NULL, "rows as CSV"},
    {0},
};

static int print(struct nf_query *q, enum nf_table_format format)
{
    int n = nf_query_columns(q), rc = nf_query_step(q);
    struct nf_column *columns = calloc((size_t)n + 1, sizeof *columns);
    struct nf_table *t = NULL;

    if (rc < 0 || !columns)
        goto out;
    for (int i = 0; i < n; i++) {
        bool number = rc == 1 && nf_query_is_number(q, i);

        columns[i] = (struct nf_column){nf_query_column_name(q, i), nf_query_column_name(q, i),
                                        number ? NF_COLUMN_REAL : NF_COLUMN_TEXT};
    }
    t = nf_table_new(columns, (size_t)n);
    if (!t) {
        rc = -ENOMEM;
        goto out;
    }
    while (rc == 1) {
        for (int i = 0; i < n; i++) {
            const char *text = nf_query_text(q, i);
            char *end;
            int64_t v;

            if (nf_query_is_null(q, i)) {
                nf_table_unknown(t);
            } else if (nf_query_is_number(q, i)) {
                errno = 0;
                v = strtoll(text, &end, 10);
                if (!*end && !errno)
                    nf_table_integer(t, v);
                else
                    nf_table_number(t, nf_query_f64(q, i));
            } else {
                nf_table_text(t, text);
            }
        }
        rc = nf_query_step(q);
    }
    if (!rc)
        rc = nf_table_print(t, format, stdout);
out:
    nf_table_free(t);
    free(columns);
    return rc;
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {0};
    struct nf_study *study;
    struct nf_query *q = NULL;
    int first, n, code = NF_EXIT_OK, rc;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    if (n != 2)
        return nf_command_usage(self, "a study and one statement are wanted");
    rc = nf_study_open(argv[first], NF_STUDY_READ, &study);
    if (rc)
        return nf_command_fail(rc);
    rc = nf_study_query_text(study, argv[first + 1], &q);
    if (rc)
        code = rc == -EINVAL ? nf_command_usage(self, nf_error_text(rc)) : nf_command_fail(rc);
    if (!rc) {
        rc = print(q, a.json ? NF_TABLE_JSON : a.csv ? NF_TABLE_CSV : NF_TABLE_TEXT);
        if (rc)
            code = nf_command_fail(rc);
    }
    nf_query_done(q);
    nf_study_close(study);
    return code;
}

const struct nf_command nf_cmd_sql = {
    .name = "sql",
    .about = "ask a study anything: one read-only SQL statement",
    .usage = "sql STUDY \"SELECT ...\" [--json | --csv]",
    .text = "Tables and columns are described in doc/format.md. visits(CLASS_ID) is a table of all visits\n"
            "of one step class, decoded on the fly; plain visits has those of all classes. sightings(OBSERVATION, CLASS_ID)\n"
            "is what a source saw of it, samples(OBSERVATION) what it sampled.",
    .options = options,
    .examples = {"nearfar sql demo.nf \"SELECT rw, count(*), sum(bytes) FROM visits(2) GROUP BY rw\"",
                 "nearfar sql demo.nf \"SELECT number, ops, visits, peak_live_bytes FROM step_class\" --csv"},
    .run = run,
};
