/* What a source saw, held against what the framework said: the sentences first, then a table. */
#include "analyze/audit-view.h"
#include "cmd/show.h"
#include "core/base/buf.h"
#include "core/base/log.h"

static void tell(struct nf_buf *b)
{
    if (b->n && !b->failed)
        nf_info("%s", b->data);
    nf_buf_deinit(b);
    *b = (struct nf_buf){0};
}

static int fill(const struct nf_show *s, const struct nf_audit_table *table, struct nf_table *t)
{
    struct nf_audit_view v;
    struct nf_buf b = {0};
    int rc = nf_audit_view_init(&v, s->study, s->capture, s->stream, s->class, s->source);

    if (!rc) {
        nf_audit_view_say_source(&v, &b);
        tell(&b);
        nf_audit_view_say_agreement(&v, &b);
        tell(&b);
        for (int k = 0; k < NF_AUDIT_RWS; k++) {
            nf_audit_view_say_rw(&v, (enum nf_audit_rw)k, &b);
            tell(&b);
        }
        nf_audit_view_say_unwatched(&v, &b);
        tell(&b);
        rc = table->fill(&v, t);
    }
    nf_audit_view_deinit(&v);
    return rc;
}

static int fill_ops(const struct nf_show *s, struct nf_table *t)
{
    return fill(s, &nf_audit_by_op, t);
}

static int fill_tensors(const struct nf_show *s, struct nf_table *t)
{
    return fill(s, &nf_audit_by_tensor, t);
}

const struct nf_show_view nf_show_audit = {"audit", "what a source saw against what the framework said, by operator",
                                           nf_audit_op_columns, NF_AUDIT_OP_COLUMNS, NULL, fill_ops, false};
const struct nf_show_view nf_show_audit_tensors = {"audit-tensors", "the same by tensor", nf_audit_tensor_columns,
                                                   NF_AUDIT_TENSOR_COLUMNS, NULL, fill_tensors, false};
