#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cmd/command.h"
#include "core/base/error.h"
#include "pool/policy.h"
#include "replay/trials.h"

struct arguments {
    bool json, csv;
};

static const struct nf_option options[] = {
    {"json", 'j', NF_OPTION_FLAG, offsetof(struct arguments, json), NULL, "rows as JSON objects"},
    {"csv", 'c', NF_OPTION_FLAG, offsetof(struct arguments, csv), NULL, "rows as CSV"},
    {0},
};

static const struct nf_column columns[] = {
    {"name", "name", NF_COLUMN_TEXT},
    {"usable", "usable", NF_COLUMN_TEXT},
    {"semantics", "semantics", NF_COLUMN_TEXT},
    {"source", "rule", NF_COLUMN_TEXT},
    {"about", "what it does, or why it cannot", NF_COLUMN_TEXT},
};

static void row(struct nf_table *t, const struct nf_policy_ops *p)
{
    char semantics[256], why[256] = "";
    int rc = p->probe ? p->probe(why, sizeof why) : 0;

    nf_policy_semantics_text(&p->semantics, semantics, sizeof semantics);
    nf_table_text(t, p->name);
    nf_table_text(t, rc ? "no" : "yes");
    nf_table_text(t, semantics);
    nf_table_text(t, p->source ? p->source : "");
    nf_table_text(t, rc ? why : p->about);
}

/* All there is to say of one, its options included. */
static void describe(const struct nf_policy_ops *p)
{
    char semantics[256], why[256] = "";
    int rc = p->probe ? p->probe(why, sizeof why) : 0;

    printf("%s: %s\n", p->name, p->about);
    printf("semantics: %s\n", nf_policy_semantics_text(&p->semantics, semantics, sizeof semantics));
    if (p->source)
        printf("rule: %s\n", p->source);
    if (rc)
        printf("cannot work here: %s\n", why);
    printf(p->options ? "options (--policy %s:NAME=VALUE,...):\n" : "it takes no options\n", p->name);
    for (const struct nf_option *o = p->options; o && o->name; o++)
        printf("  %s=%-*s %s\n", o->name, 24 - (int)strlen(o->name), o->arg ? o->arg : "", o->about);
}

static void list(void)
{
    for (size_t i = 0; nf_policies[i]; i++) {
        const struct nf_policy_ops *p = nf_policies[i];
        char semantics[256], why[256] = "";
        int rc = p->probe ? p->probe(why, sizeof why) : 0;

        printf("%-18s%s\n%18s%s\n", p->name, p->about, "", nf_policy_semantics_text(&p->semantics, semantics, sizeof semantics));
        if (p->source)
            printf("%18srule: %s\n", "", p->source);
        if (rc)
            printf("%18snot here: %s\n", "", why);
    }
    printf("%-18snot a policy: interleave once per ratio; the report draws the fastest, an oracle over the sweep\n", NF_TRIALS_SWEEP);
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {0};
    int first, n, code, rc;
    struct nf_table *t;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    for (int i = first; i < first + n; i++) {
        const struct nf_policy_ops *p = nf_policy_find(argv[i]);

        if (!p)
            return nf_command_usage(self, nf_error_text(-EINVAL));
        if (i > first)
            putchar('\n');
        describe(p);
    }
    if (n)
        return NF_EXIT_OK;
    if (!a.json && !a.csv) {
        list();
        return NF_EXIT_OK;
    }
    t = nf_table_new(columns, sizeof columns / sizeof *columns);
    if (!t)
        return nf_command_fail(-ENOMEM);
    for (size_t i = 0; nf_policies[i]; i++)
        row(t, nf_policies[i]);
    rc = nf_table_print(t, a.json ? NF_TABLE_JSON : NF_TABLE_CSV, stdout);
    nf_table_free(t);
    return rc ? nf_command_fail(rc) : NF_EXIT_OK;
}

const struct nf_command nf_cmd_policies = {
    .name = "policies",
    .about = "list the placement policies: what each does, how, and whose rule it follows",
    .usage = "policies [NAME...] [--json | --csv]",
    .text = "With a NAME (or ./yours.so): that policy alone, with its options.",
    .options = options,
    .examples = {"nearfar policies", "nearfar policies lru hemem"},
    .run = run,
};
