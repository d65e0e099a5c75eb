#pragma once
/* What a table of options is made of; core/base/option.h reads them. */
#include <stddef.h>

enum nf_option_kind {
    NF_OPTION_FLAG,   /* bool, no argument */
    NF_OPTION_STRING, /* const char *, borrowed from argv */
    NF_OPTION_LIST,   /* struct nf_option_list: may be given several times */
    NF_OPTION_U64,
    NF_OPTION_F64,
    NF_OPTION_BYTES, /* uint64_t, 64MiB */
};

enum { NF_OPTION_LIST_MAX = 32 };
struct nf_option_list {
    const char *v[NF_OPTION_LIST_MAX];
    size_t n;
};

struct nf_option {
    const char *name; /* long name without dashes; NULL ends a table */
    char letter;      /* short form or 0 */
    enum nf_option_kind kind;
    size_t offset;    /* of the field in the caller's struct */
    const char *arg;  /* placeholder in help, NULL for flags */
    const char *about;
};
