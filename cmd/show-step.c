/* What one step class is made of: its roles, regimes, tensors, ops and gaps. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "cmd/show.h"
#include "core/base/error.h"
#include "core/model/profile.h"
#include "core/model/stats.h"

#define COLUMNS(c) c, sizeof c / sizeof *c

static const struct nf_column tensor_columns[] = {
    {"number", "tensor", NF_COLUMN_INTEGER},
    {"bytes", "size", NF_COLUMN_BYTES},
    {"role", "role", NF_COLUMN_TEXT},
    {"dtype", "dtype", NF_COLUMN_TEXT},
    {"shape", "shape", NF_COLUMN_TEXT},
    {"birth_op", "born", NF_COLUMN_INTEGER},
    {"death_op", "dies", NF_COLUMN_INTEGER},
    {"reads", "reads", NF_COLUMN_INTEGER},
    {"writes", "writes", NF_COLUMN_INTEGER},
    {"read_bytes", "read", NF_COLUMN_BYTES},
    {"miss_bytes", "past the LLC", NF_COLUMN_BYTES},
    {"bursts", "bursts", NF_COLUMN_INTEGER},
    {"longest_gap_ns", "longest gap", NF_COLUMN_NS},
    {"name", "name", NF_COLUMN_TEXT},
    {"module", "module", NF_COLUMN_TEXT},
};

/* dtype and shape are not part of the stream: they come from the study, in lifetime order. */
static const char tensor_sql[] =
    "SELECT d.text, s.text FROM lifetime l JOIN tensor t ON t.id = l.tensor_id JOIN name d ON d.id = t.dtype_id JOIN name s "
    "ON s.id = t.shape_id WHERE l.class_id = ?1 ORDER BY l.number";

static int fill_tensors(const struct nf_show *s, struct nf_table *t)
{
    const struct nf_step_class *k = s->class;
    struct nf_query *q;
    int rc = nf_study_query(s->study, tensor_sql, &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, k->id);
    for (uint32_t i = 0; i < k->n_tensors && (rc = nf_query_step(q)) == 1; i++) {
        const struct nf_tensor *x = &k->tensors[i];
        const struct nf_tensor_profile *p = &s->profile->tensors[i];

        nf_table_integer(t, i);
        nf_table_integer(t, (int64_t)x->bytes);
        nf_table_text(t, nf_role_name(x->role));
        nf_table_text(t, nf_query_text(q, 0));
        nf_table_text(t, nf_query_text(q, 1));
        if (x->birth < 0)
            nf_table_text(t, "before");
        else
            nf_table_integer(t, x->birth);
        if (x->death == NF_OP_AFTER)
            nf_table_text(t, "after");
        else
            nf_table_integer(t, x->death);
        nf_table_integer(t, p->reads);
        nf_table_integer(t, p->writes);
        nf_table_integer(t, (int64_t)p->read_bytes);
        nf_table_integer(t, (int64_t)(p->miss_read_bytes + p->miss_write_bytes));
        nf_table_integer(t, p->n_bursts);
        nf_table_number(t, p->longest_gap_ns);
        nf_table_text(t, s->stream->names[x->name]);
        nf_table_text(t, s->stream->names[x->module]);
    }
    nf_query_done(q);
    return rc < 0 ? rc : 0;
}

static const struct nf_column op_columns[] = {
    {"number", "op", NF_COLUMN_INTEGER},      {"name", "name", NF_COLUMN_TEXT},
    {"phase", "phase", NF_COLUMN_TEXT},       {"microbatch", "microbatch", NF_COLUMN_INTEGER},
    {"module", "module", NF_COLUMN_TEXT},     {"dur_ns", "corrected time", NF_COLUMN_NS},
    {"visits", "visits", NF_COLUMN_INTEGER},  {"bytes", "visited", NF_COLUMN_BYTES},
    {"regime", "regime", NF_COLUMN_HEX},
};

static int fill_ops(const struct nf_show *s, struct nf_table *t)
{
    for (uint32_t i = 0; i < s->class->n_ops; i++) {
        const struct nf_op *o = &s->class->ops[i];
        uint64_t bytes = 0;

        for (uint32_t v = 0; v < o->n_visits; v++)
            bytes += s->class->visits[o->first_visit + v].bytes;
        nf_table_integer(t, i);
        nf_table_text(t, s->stream->names[o->name]);
        nf_table_text(t, nf_phase_name(o->phase));
        nf_table_integer(t, o->microbatch);
        nf_table_text(t, s->stream->names[o->module]);
        nf_table_number(t, o->dur_ns > 0 ? o->dur_ns : NAN);
        nf_table_integer(t, o->n_visits);
        nf_table_integer(t, (int64_t)bytes);
        nf_table_integer(t, (int64_t)o->regime);
    }
    return 0;
}

static const struct nf_column regime_columns[] = {
    {"regime", "regime", NF_COLUMN_HEX},     {"name", "name", NF_COLUMN_TEXT},
    {"ops", "ops", NF_COLUMN_INTEGER},       {"dur_ns", "time", NF_COLUMN_NS},
    {"share", "of the step", NF_COLUMN_SHARE}, {"visited_bytes", "visited", NF_COLUMN_BYTES},
    {"born_bytes", "born", NF_COLUMN_BYTES},
};
static const char regime_sql[] =
    "SELECT n.text FROM regime r JOIN name n ON n.id = r.name_id WHERE r.capture_id = ?1 AND r.id = ?2";

static int fill_regimes(const struct nf_show *s, struct nf_table *t)
{
    const struct nf_step_class *k = s->class;
    double step_ns = 0;

    for (uint32_t i = 0; i < k->n_ops; i++)
        step_ns += k->ops[i].dur_ns + k->ops[i].gap_ns;
    for (uint32_t i = 0; i < k->n_ops; i++) {
        nf_regime id = k->ops[i].regime;
        uint64_t visited = 0, born = 0;
        uint32_t ops = 0, before = 0;
        struct nf_query *q;
        double ns = 0;
        int rc;

        while (before < i && k->ops[before].regime != id)
            before++;
        if (before < i)
            continue; /* printed at its first op */
        for (uint32_t j = i; j < k->n_ops; j++) {
            if (k->ops[j].regime != id)
                continue;
            ops++;
            ns += k->ops[j].dur_ns + k->ops[j].gap_ns;
            for (uint32_t v = 0; v < k->ops[j].n_visits; v++)
                visited += k->visits[k->ops[j].first_visit + v].bytes;
        }
        for (uint32_t j = 0; j < k->n_tensors; j++)
            if (k->tensors[j].birth >= 0 && k->ops[k->tensors[j].birth].regime == id)
                born += k->tensors[j].bytes;
        rc = nf_study_query(s->study, regime_sql, &q);
        if (rc)
            return rc;
        nf_query_bind_i64(q, 1, s->capture);
        nf_query_bind_i64(q, 2, (int64_t)id);
        rc = nf_query_step(q);
        nf_table_integer(t, (int64_t)id);
        nf_table_text(t, rc == 1 ? nf_query_text(q, 0) : "untagged");
        nf_query_done(q);
        nf_table_integer(t, ops);
        nf_table_number(t, step_ns > 0 ? ns : NAN);
        nf_table_number(t, step_ns > 0 ? ns / step_ns : NAN);
        nf_table_integer(t, (int64_t)visited);
        nf_table_integer(t, (int64_t)born);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static const struct nf_column gap_columns[] = {
    {"tensor", "tensor", NF_COLUMN_INTEGER}, {"role", "role", NF_COLUMN_TEXT},
    {"bytes", "size", NF_COLUMN_BYTES},      {"from_op", "last op before", NF_COLUMN_INTEGER},
    {"to_op", "first op after", NF_COLUMN_INTEGER}, {"gap_ns", "gap", NF_COLUMN_NS},
    {"gap_bytes", "other traffic", NF_COLUMN_BYTES}, {"wraps", "over the step end", NF_COLUMN_TEXT},
    {"name", "name", NF_COLUMN_TEXT},        {"module", "module", NF_COLUMN_TEXT},
};

static int by_gap_cost(const void *a, const void *b, void *context)
{
    const struct nf_gap *x = a, *y = b;
    const struct nf_step_class *k = context;
    double cx = (double)k->tensors[x->tensor].bytes * (double)x->bytes;
    double cy = (double)k->tensors[y->tensor].bytes * (double)y->bytes;

    return (cx < cy) - (cx > cy);
}

static int fill_gaps(const struct nf_show *s, struct nf_table *t)
{
    /* Largest size × gap first: those are what a far tier could hold most cheaply. */
    if (s->profile->n_gaps)
        qsort_r(s->profile->gaps, s->profile->n_gaps, sizeof *s->profile->gaps, by_gap_cost, (void *)s->class);
    for (uint32_t i = 0; i < s->profile->n_gaps; i++) {
        const struct nf_gap *g = &s->profile->gaps[i];
        const struct nf_tensor *x = &s->class->tensors[g->tensor];

        nf_table_integer(t, g->tensor);
        nf_table_text(t, nf_role_name(x->role));
        nf_table_integer(t, (int64_t)x->bytes);
        nf_table_integer(t, g->from_op);
        nf_table_integer(t, g->to_op);
        nf_table_number(t, g->ns);
        nf_table_integer(t, (int64_t)g->bytes);
        nf_table_text(t, g->wraps ? "yes" : "no");
        nf_table_text(t, s->stream->names[x->name]);
        nf_table_text(t, s->stream->names[x->module]);
    }
    return 0;
}

static const struct nf_column role_columns[] = {
    {"role", "role", NF_COLUMN_TEXT},
    {"tensors", "tensors", NF_COLUMN_INTEGER},
    {"bytes", "size", NF_COLUMN_BYTES},
    {"read_bytes", "read/step", NF_COLUMN_BYTES},
    {"write_bytes", "written/step", NF_COLUMN_BYTES},
    {"reads_per_byte", "reads per byte", NF_COLUMN_REAL},
    {"miss_bytes", "past the LLC", NF_COLUMN_BYTES},
    {"median_gap_ns", "median longest gap", NF_COLUMN_NS},
    {"live_share", "mean lifetime", NF_COLUMN_SHARE},
};

static int fill_roles(const struct nf_show *s, struct nf_table *t)
{
    const struct nf_step_class *k = s->class;

    for (uint8_t role = 0; role < NF_ROLE_COUNT; role++) {
        uint64_t bytes = 0, reads = 0, writes = 0, miss = 0;
        double *gaps = malloc((k->n_tensors + 1) * sizeof *gaps), live = 0;
        size_t n = 0, n_gaps = 0;

        if (!gaps)
            return -ENOMEM;
        for (uint32_t i = 0; i < k->n_tensors; i++) {
            const struct nf_tensor_profile *p = &s->profile->tensors[i];

            if (k->tensors[i].role != role)
                continue;
            n++;
            bytes += k->tensors[i].bytes;
            reads += p->read_bytes;
            writes += p->write_bytes;
            miss += p->miss_read_bytes + p->miss_write_bytes;
            live += p->live_share;
            if (p->longest_gap_ns > 0)
                gaps[n_gaps++] = p->longest_gap_ns;
        }
        if (n) {
            nf_table_text(t, nf_role_name(role));
            nf_table_integer(t, (int64_t)n);
            nf_table_integer(t, (int64_t)bytes);
            nf_table_integer(t, (int64_t)reads);
            nf_table_integer(t, (int64_t)writes);
            nf_table_number(t, bytes ? (double)reads / (double)bytes : NAN);
            nf_table_integer(t, (int64_t)miss);
            nf_table_number(t, n_gaps ? nf_median(gaps, n_gaps) : NAN);
            nf_table_number(t, live / (double)n);
        }
        free(gaps);
    }
    return 0;
}

const struct nf_show_view nf_show_roles = {"roles", "roles x bytes x reads of one step class", COLUMNS(role_columns), NULL,
                                           fill_roles, false};
const struct nf_show_view nf_show_regimes = {"regimes", "recurring classes of work in one step class",
                                             COLUMNS(regime_columns), NULL, fill_regimes, false};
const struct nf_show_view nf_show_tensors = {"tensors", "tensors of one step class", COLUMNS(tensor_columns), NULL,
                                             fill_tensors, false};
const struct nf_show_view nf_show_ops = {"ops", "operators of one step class", COLUMNS(op_columns), NULL, fill_ops, false};
const struct nf_show_view nf_show_gaps = {"gaps", "gaps between bursts, largest size x gap first", COLUMNS(gap_columns),
                                          NULL, fill_gaps, false};
