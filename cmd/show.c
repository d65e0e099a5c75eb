#include "cmd/show.h"

#include <errno.h>
#include <stdlib.h>

#include "analyze/plot.h"
#include "core/base/error.h"
#include "core/base/units.h"

enum {
    FOOTPRINT_BLOCKS_MAX = 1 << 28, /* about 7 GB of memory */
    BLOCK_MIN = 8,
    BLOCK_MAX = 1 << 20,
};

int nf_show_facts_init(struct nf_show_facts *f, const struct nf_show *s, const char *how)
{
    const struct nf_step_class *c = s->class;
    char live[NF_UNITS_TEXT];

    if (s->block < BLOCK_MIN || s->block > BLOCK_MAX || s->block & (s->block - 1))
        return nf_fail(-EINVAL, "--block must be a power of two from %d to %d bytes", BLOCK_MIN, BLOCK_MAX);
    if (c->peak_live_bytes / s->block > FOOTPRINT_BLOCKS_MAX)
        return nf_fail(-EINVAL, "%s live in blocks of %llu bytes are more than this can follow; a larger --block can",
                       nf_format_bytes(live, (double)c->peak_live_bytes), (unsigned long long)s->block);
    nf_locality_evidence(c, f->accesses, sizeof f->accesses);
    snprintf(f->evidence, sizeof f->evidence, "evidence: accesses %s; %s", f->accesses, how);
    nf_locality_step(c, f->step, sizeof f->step);
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
