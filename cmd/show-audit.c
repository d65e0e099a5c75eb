#include "cmd/show-audit.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/units.h"
#include "core/model/audit.h"
#include "core/store/sightings.h"

const struct nf_column nf_show_audit_columns[NF_SHOW_AUDIT_COLUMNS] = {
    {"kind", "found", NF_COLUMN_TEXT},
    {"op", "operator", NF_COLUMN_TEXT},
    {"bytes", "bytes", NF_COLUMN_BYTES},
    {"share", "of the declared", NF_COLUMN_SHARE},
    {"ops", "calls", NF_COLUMN_INTEGER},
    {"example", "for example", NF_COLUMN_TEXT},
    {"explained", "what it means", NF_COLUMN_TEXT},
};

const struct nf_column nf_show_audit_tensor_columns[NF_SHOW_AUDIT_TENSOR_COLUMNS] = {
    {"number", "tensor", NF_COLUMN_INTEGER},  {"bytes", "size", NF_COLUMN_BYTES},
    {"role", "role", NF_COLUMN_TEXT},         {"declared_bytes", "declared", NF_COLUMN_BYTES},
    {"seen_bytes", "seen", NF_COLUMN_BYTES},  {"agreed_bytes", "both", NF_COLUMN_BYTES},
    {"agreement", "agreement", NF_COLUMN_SHARE}, {"name", "name", NF_COLUMN_TEXT},
};

static int make(struct nf_study *study, int64_t capture, const struct nf_step_class *c, const char *source,
                struct nf_audit *a, struct nf_observation *o)
{
    int64_t id = nf_sightings_find(study, capture, c->id, source, o);
    struct nf_visit *visits;
    uint32_t n;
    int rc = id < 0 ? (int)id : nf_sightings_load(study, id, c, &visits, &n);

    if (!rc) {
        const struct nf_audit_source is = {o->resolution_bytes, o->boundary_ops, o->arena_base, o->arena_bytes,
                                           !strcmp(o->rw, "observed")};

        rc = nf_audit_init(a, c, visits, n, &is);
        free(visits);
    }
    return rc;
}

static void say_source(const struct nf_audit *a, const struct nf_observation *o, const struct nf_stream *stream,
                       const struct nf_step_class *c)
{
    static const char *const words[NF_AUDIT_RWS] = {
        [NF_AUDIT_RW_WRITTEN] = "declared read, seen written",
        [NF_AUDIT_RW_NOT_WRITTEN] = "declared written, seen read only",
        [NF_AUDIT_RW_READ_TOO] = "declared written, seen read as well (partial results read back)",
    };
    char resolution[NF_UNITS_TEXT], bytes[NF_UNITS_TEXT];

    nf_info("evidence: %s at %s, every %u op%s, against framework; reads and writes %s%s", nf_access_evidence_name(o->evidence),
            nf_format_bytes(resolution, o->resolution_bytes), o->boundary_ops, o->boundary_ops == 1 ? "" : "s", o->rw,
            o->lost ? "; SAMPLES WERE LOST" : "");
    for (int k = 0; k < NF_AUDIT_RWS; k++) {
        if (!words[k] || !a->rw_bytes[k])
            continue;
        nf_info("%s %s, for example op %u (%s) on tensor %u", nf_format_bytes(bytes, (double)a->rw_bytes[k]), words[k],
                a->rw_example_op[k], stream->names[c->ops[a->rw_example_op[k]].name], a->rw_example_tensor[k]);
    }
    if (a->unwatched_bytes)
        nf_info("%s were declared of tensors outside the memory this source watches, and are not compared",
                nf_format_bytes(bytes, (double)a->unwatched_bytes));
}

static uint64_t declared_bytes(const struct nf_audit *a)
{
    return a->bytes[NF_AUDIT_AGREE] + a->bytes[NF_AUDIT_PART] + a->bytes[NF_AUDIT_UNTOUCHED] + a->bytes[NF_AUDIT_EARLIER];
}

int nf_show_audit(struct nf_study *study, int64_t capture, const struct nf_stream *stream, const struct nf_step_class *c,
                  const char *source, struct nf_table *t)
{
    struct nf_observation o;
    struct nf_audit a;
    int rc = make(study, capture, c, source, &a, &o);

    if (rc)
        return rc;
    say_source(&a, &o, stream, c);
    for (uint32_t i = 0; i < a.n_rows; i++) {
        const struct nf_audit_row *r = &a.rows[i];
        char example[256];

        snprintf(example, sizeof example, "op %u on tensor %u (%s%s%.160s)", r->example_op, r->example_tensor,
                 nf_role_name(c->tensors[r->example_tensor].role), *stream->names[c->tensors[r->example_tensor].name] ? " " : "",
                 stream->names[c->tensors[r->example_tensor].name]);
        nf_table_text(t, nf_audit_kind_name(r->kind));
        nf_table_text(t, stream->names[r->op_name]);
        nf_table_integer(t, (int64_t)r->bytes);
        nf_table_number(t, declared_bytes(&a) ? (double)r->bytes / (double)declared_bytes(&a) : NAN);
        nf_table_integer(t, r->ops);
        nf_table_text(t, example);
        nf_table_text(t, nf_audit_kind_explained(r->kind));
    }
    nf_audit_deinit(&a);
    return 0;
}

int nf_show_audit_tensors(struct nf_study *study, int64_t capture, const struct nf_stream *stream,
                          const struct nf_step_class *c, const char *source, struct nf_table *t)
{
    struct nf_observation o;
    struct nf_audit a;
    int rc = make(study, capture, c, source, &a, &o);

    if (rc)
        return rc;
    say_source(&a, &o, stream, c);
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const struct nf_audit_tensor *x = &a.tensors[i];
        uint64_t all = x->declared + x->seen - x->agreed;

        if (!x->watched || !all)
            continue;
        nf_table_integer(t, i);
        nf_table_integer(t, (int64_t)c->tensors[i].bytes);
        nf_table_text(t, nf_role_name(c->tensors[i].role));
        nf_table_integer(t, (int64_t)x->declared);
        nf_table_integer(t, (int64_t)x->seen);
        nf_table_integer(t, (int64_t)x->agreed);
        nf_table_number(t, (double)x->agreed / (double)all);
        nf_table_text(t, stream->names[c->tensors[i].name]);
    }
    nf_audit_deinit(&a);
    return 0;
}
