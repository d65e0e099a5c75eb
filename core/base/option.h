#pragma once
/* Table-driven options, for commands and plug-ins alike. */
#include <stddef.h>
#include <stdio.h>

#include "core/base/option-table.h"

/* Parses leading options of argv[0..argc) into out, which holds the defaults. Stops at "--" (consumed) or,
 * unless permute, at the first operand; with permute the operands are collected at argv's front.
 * *first is the index of the first operand, *n_operands their number.
 * 0, -EINVAL (cause set), NF_OPTION_E_HELP when --help or -h was met. */
enum { NF_OPTION_E_HELP = 1 };
int nf_options_parse(const struct nf_option *table, int argc, char **argv, void *out, int permute, int *first,
                     int *n_operands);
/* "key=value,key=value" for plug-ins, same table. 0 or -EINVAL (cause set). text is modified. */
int nf_options_parse_pairs(const struct nf_option *table, char *text, void *out);
void nf_options_help(const struct nf_option *table, FILE *to);
