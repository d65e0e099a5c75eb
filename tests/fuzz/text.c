/* What people type: sizes, numbers, shares, options, key=value pairs. The first byte chooses the parser. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/option.h"
#include "core/base/units.h"
#include "tests/fuzz/fuzz.h"

enum { WORDS_MAX = 16, SHARES_MAX = 8 };

struct fields {
    bool flag;
    const char *string;
    struct nf_option_list list;
    uint64_t number, bytes;
    double real;
};

static const struct nf_option options[] = {
    {"flag", 'f', NF_OPTION_FLAG, offsetof(struct fields, flag), NULL, ""},
    {"string", 's', NF_OPTION_STRING, offsetof(struct fields, string), "TEXT", ""},
    {"list", 'l', NF_OPTION_LIST, offsetof(struct fields, list), "TEXT", ""},
    {"number", 'n', NF_OPTION_U64, offsetof(struct fields, number), "N", ""},
    {"real", 'r', NF_OPTION_F64, offsetof(struct fields, real), "X", ""},
    {"bytes", 'b', NF_OPTION_BYTES, offsetof(struct fields, bytes), "BYTES", ""},
    {0},
};

static void shares(const char *text)
{
    double v[SHARES_MAX];
    size_t n;

    if (nf_parse_shares(text, v, SHARES_MAX, &n))
        return;
    if (!n || n > SHARES_MAX)
        abort();
    for (size_t i = 0; i < n; i++)
        if (!(v[i] > 0 && v[i] <= 1))
            abort();
}

/* The text's words, separated by newlines, as a command's arguments. */
static void arguments(char *text, int permute)
{
    struct fields f = {0};
    char *argv[WORDS_MAX + 1] = {0}, *p = text;
    int argc = 0, first = 0, n = 0;

    while (p && argc < WORDS_MAX)
        argv[argc++] = strsep(&p, "\n");
    if (nf_options_parse(options, argc, argv, &f, permute, &first, &n))
        return;
    if (first < 0 || n < 0 || first + n > argc || f.list.n > NF_OPTION_LIST_MAX)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fields f = {0};
    uint64_t number;
    double real;
    char *text;

    if (!size)
        return 0;
    text = malloc(size);
    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 7) {
    case 0: nf_parse_bytes(text, &number); break;
    case 1: nf_parse_u64(text, &number); break;
    case 2: nf_parse_f64(text, &real); break;
    case 3: shares(text); break;
    case 4: arguments(text, 0); break;
    case 5: arguments(text, 1); break;
    default: nf_options_parse_pairs(options, text, &f); break;
    }
    free(text);
    return 0;
}
