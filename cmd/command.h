#pragma once
/* One command: how it is called, what it says of itself, what it runs. */
#include "core/base/option.h"
#include "core/base/table.h"

struct nf_command {
    const char *name, *about;    /* one line */
    const char *usage;           /* after "nearfar " */
    const char *text;            /* a paragraph for --help, or NULL */
    const struct nf_option *options;
    const char *examples[2];
    int (*run)(const struct nf_command *self, int argc, char **argv); /* arguments after the name; an exit code */
};

extern const struct nf_command nf_cmd_capture, nf_cmd_import, nf_cmd_show, nf_cmd_sql, nf_cmd_tiers,
    nf_cmd_replay, nf_cmd_run, nf_cmd_analyze, nf_cmd_validate, nf_cmd_policies, nf_cmd_plan, nf_cmd_doctor;

void nf_command_help(const struct nf_command *c, FILE *to);
/* Parses argv; on --help or a mistake prints what is due, sets *exit_code and returns 1. 0: go on. */
int nf_command_parse(const struct nf_command *c, int argc, char **argv, void *out, int permute, int *first,
                     int *n_operands, int *exit_code);
/* Prints "nearfar: <cause>" and the way out; returns the exit code for rc of a study, capture or replay call. */
int nf_command_fail(int rc);
/* "nearfar COMMAND: <text>" with a pointer to --help; returns NF_EXIT_USAGE. */
int nf_command_usage(const struct nf_command *c, const char *text);
