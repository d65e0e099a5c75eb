#include "core/base/option.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/units.h"

static int store(const struct nf_option *o, const char *value, void *out)
{
    char *field = (char *)out + o->offset;
    struct nf_option_list *list;
    int rc = 0;

    switch (o->kind) {
    case NF_OPTION_FLAG: *(bool *)field = true; break;
    case NF_OPTION_STRING: *(const char **)field = value; break;
    case NF_OPTION_LIST:
        list = (struct nf_option_list *)field;
        if (list->n == NF_OPTION_LIST_MAX)
            return nf_fail(-EINVAL, "--%s given more than %d times", o->name, NF_OPTION_LIST_MAX);
        list->v[list->n++] = value;
        break;
    case NF_OPTION_U64: rc = nf_parse_u64(value, (uint64_t *)field); break;
    case NF_OPTION_F64: rc = nf_parse_f64(value, (double *)field); break;
    case NF_OPTION_BYTES: rc = nf_parse_bytes(value, (uint64_t *)field); break;
    }
    return rc ? nf_fail_in(rc, "--%s", o->name) : 0;
}

static const struct nf_option *find(const struct nf_option *table, const char *name, size_t n, char letter)
{
    for (const struct nf_option *o = table; o && o->name; o++)
        if (letter ? o->letter == letter : strlen(o->name) == n && !memcmp(o->name, name, n))
            return o;
    return NULL;
}

/* argv[at] comes to stand at `front`, what was between moves up: nothing is lost, so that the arguments can still be
 * recorded, and mean the same. */
static void move_to_front(char **argv, int front, int at)
{
    char *operand = argv[at];

    memmove(argv + front + 1, argv + front, (size_t)(at - front) * sizeof *argv);
    argv[front] = operand;
}

int nf_options_parse(const struct nf_option *table, int argc, char **argv, void *out, int permute, int *first,
                     int *n_operands)
{
    int kept = 0, i;

    for (i = 0; i < argc; i++) {
        char *a = argv[i];
        const struct nf_option *o;
        const char *value = NULL;
        int rc;

        if (!strcmp(a, "--")) {
            i++;
            break;
        }
        if (a[0] != '-' || !a[1]) {
            if (!permute)
                break;
            move_to_front(argv, kept++, i);
            continue;
        }
        if (!strcmp(a, "--help") || !strcmp(a, "-h"))
            return NF_OPTION_E_HELP;
        if (a[1] == '-') {
            size_t n = strcspn(a + 2, "=");

            o = find(table, a + 2, n, 0);
            if (a[2 + n] == '=')
                value = a + 3 + n;
        } else {
            o = find(table, NULL, 0, a[1]);
            if (a[2])
                value = a + 2;
        }
        if (!o)
            return nf_fail(-EINVAL, "unknown option %s", a);
        if (o->kind == NF_OPTION_FLAG && value)
            return nf_fail(-EINVAL, "--%s takes no value", o->name);
        if (o->kind != NF_OPTION_FLAG && !value) {
            if (i + 1 >= argc)
                return nf_fail(-EINVAL, "--%s wants %s", o->name, o->arg);
            value = argv[++i];
        }
        rc = store(o, value, out);
        if (rc)
            return rc;
    }
    if (permute) {
        for (; i < argc; i++)
            move_to_front(argv, kept++, i);
        *first = 0;
        *n_operands = kept;
    } else {
        *first = i;
        *n_operands = argc - i;
    }
    return 0;
}

int nf_options_parse_pairs(const struct nf_option *table, char *text, void *out)
{
    char *save = NULL;

    for (char *item = strtok_r(text, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
        size_t n = strcspn(item, "=");
        const struct nf_option *o = find(table, item, n, 0);
        int rc;

        if (!o) {
            item[n] = '\0';
            return nf_fail(-EINVAL, "unknown option '%s'", item);
        }
        if (o->kind == NF_OPTION_FLAG && item[n] == '=')
            return nf_fail(-EINVAL, "'%s' takes no value", o->name);
        if (o->kind != NF_OPTION_FLAG && item[n] != '=')
            return nf_fail(-EINVAL, "'%s' wants a value: %s=%s", o->name, o->name, o->arg);
        rc = store(o, item[n] ? item + n + 1 : "", out);
        if (rc)
            return rc;
    }
    return 0;
}

void nf_options_help(const struct nf_option *table, FILE *to)
{
    for (const struct nf_option *o = table; o && o->name; o++) {
        char head[64];

        if (o->letter)
            snprintf(head, sizeof head, "-%c, --%s%s%s", o->letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        else
            snprintf(head, sizeof head, "    --%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(to, "  %-28s %s\n", head, o->about);
    }
}
