#pragma once
/* The rules of disclosure: what a study must hold so that its figures can be published (after MLPerf Storage, the SPEC run
 * rules and artifact review). A rule is a query that finds its breaches, each said in words. */
#include <stddef.h>

#include "core/base/table.h"
#include "core/store/study.h"

struct nf_rule {
    const char *name;  /* "blocks-for-comparison" */
    const char *about; /* what must be so */
    const char *sql;   /* one text column: a breach a row */
    const char *mend;  /* what to do about it */
};
extern const struct nf_rule nf_rules[]; /* ends with a name of NULL */

enum { NF_VALIDATE_COLUMNS = 4 };
extern const struct nf_column nf_validate_columns[NF_VALIDATE_COLUMNS];

/* Adds a row (rule, found, about, mend) for every breach. *broken: rules that are. 0 or -errno (cause set). */
int nf_validate(struct nf_study *s, struct nf_table *t, size_t *broken, size_t *rules);
