#include "cmd/show.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze/plot.h"
#include "core/base/error.h"
#include "core/base/units.h"

enum {
    FOOTPRINT_BLOCKS_MAX = 1 << 28, /* about 7 GB of memory */
    TENSORS_MAX = 10000,            /* of --by tensor: three histograms each */
    BLOCK_MIN = 8,
    BLOCK_MAX = 1 << 20,
};

/* --- groups --- */

void nf_show_groups_deinit(struct nf_show_groups *g)
{
    free(g->of);
    free(g->names);
    free(g->roles);
}

static int group_by_role(struct nf_show_groups *g, const struct nf_step_class *c)
{
    uint32_t number[NF_ROLE_COUNT];

    memset(number, 0xff, sizeof number);
    for (uint32_t i = 0; i < c->n_visits; i++)
        number[c->tensors[c->visits[i].tensor].role] = 0;
    for (unsigned role = 0; role < NF_ROLE_COUNT; role++) {
        if (number[role])
            continue;
        number[role] = g->n;
        g->roles[g->n] = (int)role;
        snprintf(g->names[g->n++], sizeof *g->names, "%s", nf_role_name(role));
    }
    /* Tensors that are never visited belong anywhere. */
    for (uint32_t i = 0; i < c->n_tensors; i++)
        g->of[i] = number[c->tensors[i].role] == UINT32_MAX ? 0 : number[c->tensors[i].role];
    return 0;
}

static void name_tensor(char name[96], const struct nf_show *s, uint32_t tensor)
{
    const struct nf_tensor *t = &s->class->tensors[tensor];
    char bytes[NF_UNITS_TEXT];

    snprintf(name, 96, "tensor %u, %s, %s", tensor, nf_role_name(t->role), nf_format_bytes(bytes, (double)t->bytes));
}

int nf_show_groups_init(struct nf_show_groups *g, const struct nf_show *s, const char *by)
{
    const struct nf_step_class *c = s->class;
    size_t most = c->n_tensors + (size_t)NF_ROLE_COUNT + 2;

    *g = (struct nf_show_groups){.of = calloc(most, sizeof *g->of),
                                 .names = calloc(most, sizeof *g->names),
                                 .roles = malloc(most * sizeof *g->roles)};
    if (!g->of || !g->names || !g->roles)
        return nf_fail(-ENOMEM, "out of memory");
    for (size_t i = 0; i < most; i++)
        g->roles[i] = -1;
    if (s->tensor != UINT64_MAX) {
        if (s->tensor >= c->n_tensors)
            return nf_fail(-EINVAL, "there is no tensor %llu; the step class has %u", (unsigned long long)s->tensor,
                           c->n_tensors);
        g->of[s->tensor] = 1;
        g->n = 2;
        snprintf(g->names[0], sizeof *g->names, "all other tensors");
        name_tensor(g->names[1], s, (uint32_t)s->tensor);
        g->roles[1] = c->tensors[s->tensor].role;
    } else if (by && !strcmp(by, "role")) {
        return group_by_role(g, c);
    } else if (by && !strcmp(by, "tensor")) {
        if (c->n_tensors > TENSORS_MAX)
            return nf_fail(-EINVAL, "the step has %u tensors, too many for curves of each; choose with --tensor",
                           c->n_tensors);
        for (g->n = 0; g->n < c->n_tensors; g->n++) {
            g->of[g->n] = g->n;
            name_tensor(g->names[g->n], s, g->n);
            g->roles[g->n] = c->tensors[g->n].role;
        }
    } else if (by) {
        return nf_fail(-EINVAL, "--by '%s' is not known here", by);
    }
    return 0;
}

const char *nf_show_curve_name(const struct nf_show_groups *g, uint32_t at)
{
    return at ? g->names[at - 1] : "all";
}

uint32_t nf_show_first_curve(const struct nf_show *s)
{
    return s->tensor == UINT64_MAX ? 0 : 2;
}

/* --- what all of them say first --- */

/* "framework", or the kinds with their shares of the visited bytes. */
static void evidence_of(const struct nf_step_class *c, char *text, size_t size)
{
    double bytes[NF_ACCESS_COUNT] = {0}, all = 0;
    size_t n = 0;

    for (uint32_t i = 0; i < c->n_visits; i++) {
        bytes[c->visits[i].evidence] += (double)c->visits[i].bytes;
        all += (double)c->visits[i].bytes;
    }
    snprintf(text, size, "unknown");
    for (unsigned e = 0; e < NF_ACCESS_COUNT; e++) {
        if (bytes[e] > 0 && n < size)
            n += (size_t)snprintf(text + n, size - n, bytes[e] < all ? "%s%s %.3g %%" : "%s%s", n ? ", " : "",
                                  nf_access_evidence_name(e), 100 * bytes[e] / all);
    }
}

int nf_show_facts_init(struct nf_show_facts *f, const struct nf_show *s, const char *how)
{
    const struct nf_step_class *c = s->class;
    char visited[NF_UNITS_TEXT], live[NF_UNITS_TEXT];
    double bytes = 0;

    if (s->block < BLOCK_MIN || s->block > BLOCK_MAX || s->block & (s->block - 1))
        return nf_fail(-EINVAL, "--block must be a power of two from %d to %d bytes", BLOCK_MIN, BLOCK_MAX);
    if (c->peak_live_bytes / s->block > FOOTPRINT_BLOCKS_MAX)
        return nf_fail(-EINVAL, "%s live in blocks of %llu bytes are more than this can follow; a larger --block can",
                       nf_format_bytes(live, (double)c->peak_live_bytes), (unsigned long long)s->block);
    for (uint32_t i = 0; i < c->n_visits; i++)
        bytes += (double)c->visits[i].bytes;
    evidence_of(c, f->accesses, sizeof f->accesses);
    snprintf(f->evidence, sizeof f->evidence, "evidence: accesses %s; %s", f->accesses, how);
    snprintf(f->step, sizeof f->step, "steady state of one step: %u ops, %u visits of %s, %u tensors, peak live %s",
             c->n_ops, c->n_visits, nf_format_bytes(visited, bytes), c->n_tensors,
             nf_format_bytes(live, (double)c->peak_live_bytes));
    if (s->format == NF_TABLE_TEXT)
        printf("%s\n%s\n\n", f->step, f->evidence);
    return 0;
}

int nf_show_print(struct nf_table *t, const struct nf_show *s, size_t rows_in_text)
{
    size_t limit = s->limit ? s->limit : s->format == NF_TABLE_TEXT ? rows_in_text : SIZE_MAX, rows = nf_table_rows(t);
    int rc;

    nf_table_truncate(t, limit);
    rc = nf_table_print(t, s->format, stdout);
    if (rows > limit)
        fprintf(stderr, "%zu of %zu rows; --limit shows more\n", limit, rows);
    return rc;
}

int nf_show_draw(struct nf_canvas *c, const struct nf_show *s, int rc)
{
    if (!rc)
        rc = nf_plot_draw(c, s->plot);
    nf_buf_deinit(&c->script);
    nf_buf_deinit(&c->data);
    return rc;
}
