#include "core/store/visit-table.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/store/visit-codec.h"

enum column {
    CLASS, NUMBER, OP, TENSOR, OFFSET, BYTES, RUN, STRIDE, RW, PATTERN, TOUCHES, PARALLELISM, EVIDENCE, WANTED,
    OBSERVATION, WANTED_OBSERVATION, BETWEEN_OPS
};

/* The two tables: what the framework said, and what a source saw in the same form. */
struct kind {
    const char *name, *declaration, *chunks, *order;
    enum column columns[14];
};

static const struct kind kinds[] = {
    {"visits",
     "CREATE TABLE visits(class_id INTEGER, number INTEGER, op INTEGER, tensor INTEGER, offset INTEGER, bytes INTEGER, "
     "run INTEGER, stride INTEGER, rw TEXT, pattern TEXT, touches REAL, parallelism INTEGER, evidence TEXT, "
     "wanted_class INTEGER HIDDEN)",
     "SELECT class_id, visits, raw_bytes, crc32, data, codec, 0 FROM visit_chunk", "class_id, number",
     {CLASS, NUMBER, OP, TENSOR, OFFSET, BYTES, RUN, STRIDE, RW, PATTERN, TOUCHES, PARALLELISM, EVIDENCE, WANTED}},
    {"sightings",
     "CREATE TABLE sightings(observation_id INTEGER, class_id INTEGER, number INTEGER, op INTEGER, tensor INTEGER, "
     "offset INTEGER, bytes INTEGER, rw TEXT, between_ops INTEGER, touches REAL, evidence TEXT, "
     "wanted_observation INTEGER HIDDEN, wanted_class INTEGER HIDDEN)",
     "SELECT class_id, visits, raw_bytes, crc32, data, codec, observation_id FROM sighting_chunk",
     "observation_id, class_id, number",
     {OBSERVATION, CLASS, NUMBER, OP, TENSOR, OFFSET, BYTES, RW, BETWEEN_OPS, TOUCHES, EVIDENCE, WANTED_OBSERVATION, WANTED}},
};
enum { BY_CLASS = 1, BY_OBSERVATION = 2 }; /* idxNum; the class's value comes first */

struct table {
    sqlite3_vtab base;
    sqlite3 *db;
    const struct kind *kind;
};

struct cursor {
    sqlite3_vtab_cursor base;
    sqlite3_stmt *chunks, *sizes;
    struct nf_visit_codec *codec;
    struct nf_visit *visits; /* NF_VISIT_CHUNK */
    NF_ARRAY(uint64_t) tensor_bytes;
    sqlite3_int64 observation, class_id, number;
    size_t at, n;
    int done;
};

static int table_connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **error)
{
    const struct kind *kind = aux;
    struct table *t;
    int rc = sqlite3_declare_vtab(db, kind->declaration);

    if (rc)
        return rc;
    sqlite3_vtab_config(db, SQLITE_VTAB_INNOCUOUS);
    t = sqlite3_malloc(sizeof *t);
    if (!t)
        return SQLITE_NOMEM;
    *t = (struct table){.db = db, .kind = kind};
    *out = &t->base;
    return SQLITE_OK;
}

static int table_disconnect(sqlite3_vtab *t)
{
    sqlite3_free(t);
    return SQLITE_OK;
}

/* visits(X), which binds the hidden column, and class_id = X are both pushed down to the chunks; so is the observation. */
static int table_best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
    const struct kind *kind = ((struct table *)base)->kind;
    int class_at = -1, observation_at = -1, n = 0;

    for (int i = 0; i < info->nConstraint; i++) {
        const struct sqlite3_index_constraint *c = &info->aConstraint[i];
        enum column column = c->iColumn < 0 ? NUMBER : kind->columns[c->iColumn];

        if (!c->usable || c->op != SQLITE_INDEX_CONSTRAINT_EQ)
            continue;
        if (class_at < 0 && (column == CLASS || column == WANTED))
            class_at = i;
        if (observation_at < 0 && (column == OBSERVATION || column == WANTED_OBSERVATION))
            observation_at = i;
    }
    info->idxNum = (class_at >= 0 ? BY_CLASS : 0) | (observation_at >= 0 ? BY_OBSERVATION : 0);
    if (class_at >= 0)
        info->aConstraintUsage[class_at] = (struct sqlite3_index_constraint_usage){++n, 1};
    if (observation_at >= 0)
        info->aConstraintUsage[observation_at] = (struct sqlite3_index_constraint_usage){++n, 1};
    info->estimatedCost = n == 2 ? 1e5 : n ? 1e6 : 1e9;
    return SQLITE_OK;
}

static int cursor_open(sqlite3_vtab *t, sqlite3_vtab_cursor **out)
{
    struct cursor *c = calloc(1, sizeof *c);

    if (!c)
        return SQLITE_NOMEM;
    c->codec = nf_visit_codec_new();
    c->visits = malloc(NF_VISIT_CHUNK * sizeof *c->visits);
    if (!c->codec || !c->visits) {
        nf_visit_codec_free(c->codec);
        free(c->visits);
        free(c);
        return SQLITE_NOMEM;
    }
    *out = &c->base;
    return SQLITE_OK;
}

static int cursor_close(sqlite3_vtab_cursor *base)
{
    struct cursor *c = (struct cursor *)base;

    sqlite3_finalize(c->chunks);
    sqlite3_finalize(c->sizes);
    nf_visit_codec_free(c->codec);
    free(c->visits);
    nf_array_free(&c->tensor_bytes);
    free(c);
    return SQLITE_OK;
}

static int load_sizes(struct cursor *c)
{
    int rc;

    c->tensor_bytes.n = 0;
    sqlite3_reset(c->sizes);
    sqlite3_bind_int64(c->sizes, 1, c->class_id);
    while ((rc = sqlite3_step(c->sizes)) == SQLITE_ROW)
        if (nf_array_push(&c->tensor_bytes, (uint64_t)sqlite3_column_int64(c->sizes, 0)))
            return SQLITE_NOMEM;
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int next_chunk(struct cursor *c)
{
    int rc = sqlite3_step(c->chunks);
    sqlite3_int64 id;

    c->at = c->n = 0;
    if (rc == SQLITE_DONE) {
        c->done = 1;
        return SQLITE_OK;
    }
    if (rc != SQLITE_ROW)
        return rc;
    id = sqlite3_column_int64(c->chunks, 0);
    if (id != c->class_id || sqlite3_column_int64(c->chunks, 6) != c->observation) {
        c->class_id = id;
        c->observation = sqlite3_column_int64(c->chunks, 6);
        c->number = 0;
        rc = load_sizes(c);
        if (rc)
            return rc;
    }
    if (sqlite3_column_int64(c->chunks, 5) != NF_VISIT_CODEC) {
        c->base.pVtab->zErrMsg = sqlite3_mprintf("%s of step class %lld are coded in an unknown way",
                                                   ((struct table *)c->base.pVtab)->kind->name, id);
        return SQLITE_CORRUPT_VTAB;
    }
    c->n = (size_t)sqlite3_column_int64(c->chunks, 1);
    rc = nf_visit_decode(c->codec, sqlite3_column_blob(c->chunks, 4), (size_t)sqlite3_column_bytes(c->chunks, 4),
                         (size_t)sqlite3_column_int64(c->chunks, 2), (uint32_t)sqlite3_column_int64(c->chunks, 3),
                         c->tensor_bytes.v, c->tensor_bytes.n, c->visits, c->n);
    if (rc) {
        c->base.pVtab->zErrMsg = sqlite3_mprintf("%s", nf_error_text(rc));
        return SQLITE_CORRUPT_VTAB;
    }
    return SQLITE_OK;
}

static int cursor_filter(sqlite3_vtab_cursor *base, int index, const char *text, int argc, sqlite3_value **argv)
{
    struct cursor *c = (struct cursor *)base;
    const struct table *t = (struct table *)base->pVtab;
    char sql[256];
    int rc;

    sqlite3_finalize(c->chunks);
    sqlite3_finalize(c->sizes);
    c->chunks = c->sizes = NULL;
    c->class_id = c->observation = -1;
    c->number = 0;
    c->done = 0;
    rc = sqlite3_prepare_v2(t->db, "SELECT bytes FROM tensor t JOIN lifetime l ON l.tensor_id = t.id "
                                   "WHERE l.class_id = ? ORDER BY l.number", -1, &c->sizes, NULL);
    if (rc)
        return rc;
    snprintf(sql, sizeof sql, "%s%s%s%s ORDER BY %s", t->kind->chunks,
             index & BY_CLASS ? " WHERE class_id = ?1" : index ? " WHERE" : "",
             index == (BY_CLASS | BY_OBSERVATION) ? " AND" : "",
             index & BY_OBSERVATION ? index & BY_CLASS ? " observation_id = ?2" : " observation_id = ?1" : "", t->kind->order);
    rc = sqlite3_prepare_v2(t->db, sql, -1, &c->chunks, NULL);
    if (rc)
        return rc;
    for (int i = 0; i < argc; i++)
        sqlite3_bind_value(c->chunks, i + 1, argv[i]);
    do
        rc = next_chunk(c);
    while (!rc && !c->done && !c->n);
    return rc;
}

static int cursor_next(sqlite3_vtab_cursor *base)
{
    struct cursor *c = (struct cursor *)base;
    int rc = SQLITE_OK;

    c->at++;
    c->number++;
    while (!rc && !c->done && c->at >= c->n)
        rc = next_chunk(c);
    return rc;
}

static int cursor_eof(sqlite3_vtab_cursor *base)
{
    return ((struct cursor *)base)->done;
}

static int cursor_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column)
{
    const struct cursor *c = (const struct cursor *)base;
    const struct nf_visit *v = &c->visits[c->at];

    switch (((const struct table *)base->pVtab)->kind->columns[column]) {
    case WANTED:
    case CLASS: sqlite3_result_int64(context, c->class_id); break;
    case WANTED_OBSERVATION:
    case OBSERVATION: sqlite3_result_int64(context, c->observation); break;
    case NUMBER: sqlite3_result_int64(context, c->number); break;
    case OP: sqlite3_result_int64(context, v->op); break;
    case TENSOR: sqlite3_result_int64(context, v->tensor); break;
    case OFFSET: sqlite3_result_int64(context, (sqlite3_int64)v->offset); break;
    case BYTES: sqlite3_result_int64(context, (sqlite3_int64)v->bytes); break;
    case RUN: sqlite3_result_int64(context, (sqlite3_int64)v->run); break;
    case STRIDE: sqlite3_result_int64(context, (sqlite3_int64)v->stride); break;
    case RW: sqlite3_result_text(context, nf_rw_name(v->rw), -1, SQLITE_STATIC); break;
    case PATTERN: sqlite3_result_text(context, nf_pattern_name(v->pattern), -1, SQLITE_STATIC); break;
    case TOUCHES: sqlite3_result_double(context, v->touches_q8 / 256.0); break;
    case BETWEEN_OPS: sqlite3_result_int(context, !v->touches_q8); break;
    case PARALLELISM:
        if (v->parallelism)
            sqlite3_result_int(context, v->parallelism);
        break; /* unknown reads as NULL */
    case EVIDENCE: sqlite3_result_text(context, nf_access_evidence_name(v->evidence), -1, SQLITE_STATIC); break;
    }
    return SQLITE_OK;
}

static int cursor_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *id)
{
    const struct cursor *c = (const struct cursor *)base;

    *id = c->observation << 52 ^ c->class_id << 32 ^ c->number;
    return SQLITE_OK;
}

int nf_visit_table_register(sqlite3 *db)
{
    /* xCreate NULL: an eponymous table, usable without CREATE VIRTUAL TABLE. */
    static const sqlite3_module module = {
        .xConnect = table_connect,
        .xBestIndex = table_best_index,
        .xDisconnect = table_disconnect,
        .xOpen = cursor_open,
        .xClose = cursor_close,
        .xFilter = cursor_filter,
        .xNext = cursor_next,
        .xEof = cursor_eof,
        .xColumn = cursor_column,
        .xRowid = cursor_rowid,
    };
    int rc = SQLITE_OK;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !rc; i++)
        rc = sqlite3_create_module(db, kinds[i].name, &module, (void *)&kinds[i]);
    return rc;
}
