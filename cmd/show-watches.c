#include <errno.h>
#include <math.h>

#include "cmd/show.h"
#include "core/base/error.h"
#include "core/model/watch-estimate.h"
#include "core/model/words.h"
#include "core/store/watches.h"

static const struct nf_column columns[] = {
    {"number", "tensor", NF_COLUMN_INTEGER},
    {"bytes", "size", NF_COLUMN_BYTES},
    {"role", "role", NF_COLUMN_TEXT},
    {"words", "words", NF_COLUMN_INTEGER},
    {"watches", "watches", NF_COLUMN_INTEGER},
    {"cut", "cut", NF_COLUMN_INTEGER},
    {"armed_ns", "watched", NF_COLUMN_NS},
    {"covered", "of its life", NF_COLUMN_SHARE},
    {"hits", "hits", NF_COLUMN_INTEGER},
    {"reads_per_step", "reads/step", NF_COLUMN_REAL},
    {"reads_low", "from", NF_COLUMN_REAL},
    {"reads_high", "to", NF_COLUMN_REAL},
    {"writes_per_step", "writes/step", NF_COLUMN_REAL},
    {"writes_low", "from", NF_COLUMN_REAL},
    {"writes_high", "to", NF_COLUMN_REAL},
    {"reuse_median_ns", "median reuse", NF_COLUMN_NS},
    {"reuse_open", "of it open", NF_COLUMN_SHARE},
    {"name", "name", NF_COLUMN_TEXT},
};

struct rows {
    const struct nf_step_class *class;
    char *const *names;
    struct nf_table *t;
};

static void number(struct nf_table *t, double v)
{
    if (isnan(v))
        nf_table_unknown(t);
    else
        nf_table_number(t, v);
}

static int add(void *context, const struct nf_watched_tensor *w)
{
    const struct rows *rows = context;
    const struct nf_tensor *x;
    struct nf_watch_estimate e;
    struct nf_table *t = rows->t;
    uint64_t gaps;
    int rc;

    if (w->class_id != rows->class->id)
        return 0;
    if (w->tensor >= rows->class->n_tensors)
        return nf_fail(-EBADMSG, "a watch names tensor %u; its step class has %u", w->tensor, rows->class->n_tensors);
    rc = nf_watch_estimate(w->parts, w->n_parts, w->accesses, w->n_accesses, (double)w->hit_ns, w->tensor + 1, &e);
    if (rc)
        return nf_fail(rc, "out of memory");
    x = &rows->class->tensors[w->tensor];
    gaps = e.gaps + e.open_gaps;
    nf_table_integer(t, w->tensor);
    nf_table_integer(t, (int64_t)x->bytes);
    nf_table_text(t, nf_role_name(x->role));
    nf_table_integer(t, e.words);
    nf_table_integer(t, e.watches);
    nf_table_integer(t, e.cut);
    nf_table_integer(t, (int64_t)e.armed_ns);
    nf_table_number(t, e.covered);
    nf_table_integer(t, (int64_t)(e.read.hits + e.write.hits));
    number(t, e.read.per_step);
    number(t, e.read.low);
    number(t, e.read.high);
    number(t, e.write.per_step);
    number(t, e.write.low);
    number(t, e.write.high);
    number(t, e.reuse_median_ns);
    number(t, gaps ? (double)e.open_gaps / (double)gaps : NAN);
    nf_table_text(t, rows->names[x->name]);
    return 0;
}

static int fill_watches(const struct nf_show *s, struct nf_table *t)
{
    struct rows rows = {s->class, s->stream->names, t};
    struct nf_query *q;
    int64_t observation;
    int rc = nf_study_query(s->study, "SELECT max(o.id) FROM observation o JOIN pass p ON p.id = o.pass_id WHERE p.capture_id = "
                                   "?1 AND o.source = 'watchpoint'", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->capture);
    rc = nf_query_step(q);
    observation = rc == 1 ? nf_query_i64(q, 0) : 0;
    nf_query_done(q);
    return rc < 0 ? rc : observation ? nf_watched_tensors(s->study, observation, add, &rows) : 0;
}

const struct nf_show_view nf_show_watches = {
    .name = "watches",
    .about = "accesses of watched words, by tensor",
    .columns = columns,
    .n_columns = sizeof columns / sizeof *columns,
    .fill = fill_watches,
};
