#include "core/store/sample-table.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/model/words.h"
#include "core/store/sample-codec.h"

enum column {
    OBSERVATION, NUMBER, EVENT, TIME, ADDRESS, IP, PHYSICAL, DATA_SRC, PERIOD, WEIGHT, WEIGHT2, WEIGHT3, PID, TID, CPU,
    STEP, OP, TENSOR, OFFSET, RW, KERNEL, WANTED
};
static const char declaration[] =
    "CREATE TABLE samples(observation_id INTEGER, number INTEGER, event INTEGER, time_ns INTEGER, address INTEGER, "
    "ip INTEGER, physical INTEGER, data_src INTEGER, period INTEGER, weight INTEGER, weight2 INTEGER, weight3 INTEGER, "
    "pid INTEGER, tid INTEGER, cpu INTEGER, step INTEGER, op INTEGER, tensor INTEGER, offset INTEGER, rw TEXT, "
    "kernel INTEGER, wanted_observation INTEGER HIDDEN)";

struct table {
    sqlite3_vtab base;
    sqlite3 *db;
};

struct cursor {
    sqlite3_vtab_cursor base;
    sqlite3_stmt *chunks;
    struct nf_sample_codec *codec;
    struct nf_sample *samples; /* NF_SAMPLE_CHUNK */
    sqlite3_int64 observation, number;
    size_t at, n;
    int done;
};

static int table_connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **error)
{
    struct table *t;
    int rc = sqlite3_declare_vtab(db, declaration);

    if (rc)
        return rc;
    sqlite3_vtab_config(db, SQLITE_VTAB_INNOCUOUS);
    t = sqlite3_malloc(sizeof *t);
    if (!t)
        return SQLITE_NOMEM;
    *t = (struct table){.db = db};
    *out = &t->base;
    return SQLITE_OK;
}

static int table_disconnect(sqlite3_vtab *t)
{
    sqlite3_free(t);
    return SQLITE_OK;
}

/* samples(X), which binds the hidden column, and observation_id = X are both pushed down to the chunks: idxNum 1. */
static int table_best_index(sqlite3_vtab *t, sqlite3_index_info *info)
{
    info->estimatedCost = 1e9;
    for (int i = 0; i < info->nConstraint; i++) {
        const struct sqlite3_index_constraint *c = &info->aConstraint[i];

        if (c->usable && (c->iColumn == OBSERVATION || c->iColumn == WANTED) && c->op == SQLITE_INDEX_CONSTRAINT_EQ) {
            info->aConstraintUsage[i].argvIndex = 1;
            info->aConstraintUsage[i].omit = 1;
            info->idxNum = 1;
            info->estimatedCost = 1e6;
            break;
        }
    }
    return SQLITE_OK;
}

static int cursor_open(sqlite3_vtab *t, sqlite3_vtab_cursor **out)
{
    struct cursor *c = calloc(1, sizeof *c);

    if (!c)
        return SQLITE_NOMEM;
    c->codec = nf_sample_codec_new();
    c->samples = malloc(NF_SAMPLE_CHUNK * sizeof *c->samples);
    if (!c->codec || !c->samples) {
        nf_sample_codec_free(c->codec);
        free(c->samples);
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
    nf_sample_codec_free(c->codec);
    free(c->samples);
    free(c);
    return SQLITE_OK;
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
    if (id != c->observation) {
        c->observation = id;
        c->number = 0;
    }
    if (sqlite3_column_int64(c->chunks, 5) != NF_SAMPLE_CODEC) {
        c->base.pVtab->zErrMsg = sqlite3_mprintf("samples of observation %lld are coded in an unknown way", id);
        return SQLITE_CORRUPT_VTAB;
    }
    c->n = (size_t)sqlite3_column_int64(c->chunks, 1);
    rc = nf_sample_decode(c->codec, sqlite3_column_blob(c->chunks, 4), (size_t)sqlite3_column_bytes(c->chunks, 4),
                          (size_t)sqlite3_column_int64(c->chunks, 2), (uint32_t)sqlite3_column_int64(c->chunks, 3),
                          c->samples, c->n);
    if (rc) {
        c->base.pVtab->zErrMsg = sqlite3_mprintf("%s", nf_error_text(rc));
        return SQLITE_CORRUPT_VTAB;
    }
    return SQLITE_OK;
}

static int cursor_filter(sqlite3_vtab_cursor *base, int index, const char *text, int argc, sqlite3_value **argv)
{
    struct cursor *c = (struct cursor *)base;
    struct table *t = (struct table *)base->pVtab;
    int rc;

    sqlite3_finalize(c->chunks);
    c->chunks = NULL;
    c->observation = -1;
    c->number = 0;
    c->done = 0;
    rc = sqlite3_prepare_v2(t->db,
                            index ? "SELECT observation_id, samples, raw_bytes, crc32, data, codec FROM sample_chunk "
                                    "WHERE observation_id = ?1 ORDER BY observation_id, number"
                                  : "SELECT observation_id, samples, raw_bytes, crc32, data, codec FROM sample_chunk "
                                    "ORDER BY observation_id, number", -1, &c->chunks, NULL);
    if (rc)
        return rc;
    if (index)
        sqlite3_bind_value(c->chunks, 1, argv[0]);
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

/* What is unknown reads as NULL. Addresses beyond 2^63 (a kernel's) come out negative: SQLite has no unsigned numbers. */
static void result(sqlite3_context *context, uint64_t v, uint64_t unknown)
{
    if (v != unknown)
        sqlite3_result_int64(context, (sqlite3_int64)v);
}

static int cursor_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column)
{
    const struct cursor *c = (const struct cursor *)base;
    const struct nf_sample *s = &c->samples[c->at];

    switch ((enum column)column) {
    case WANTED:
    case OBSERVATION: sqlite3_result_int64(context, c->observation); break;
    case NUMBER: sqlite3_result_int64(context, c->number); break;
    case EVENT: sqlite3_result_int64(context, s->event); break;
    case TIME: result(context, s->time_ns, 0); break;
    case ADDRESS: result(context, s->address, 0); break;
    case IP: result(context, s->ip, 0); break;
    case PHYSICAL: result(context, s->physical, 0); break;
    case DATA_SRC: result(context, s->data_src, 0); break;
    case PERIOD: sqlite3_result_int64(context, (sqlite3_int64)s->period); break;
    case WEIGHT: result(context, s->weight, 0); break;
    case WEIGHT2: sqlite3_result_int64(context, s->weight2); break;
    case WEIGHT3: sqlite3_result_int64(context, s->weight3); break;
    case PID: result(context, s->pid, UINT32_MAX); break;
    case TID: result(context, s->tid, UINT32_MAX); break;
    case CPU: result(context, s->cpu, UINT32_MAX); break;
    case STEP: result(context, s->step, NF_SAMPLE_NONE); break;
    case OP: result(context, s->op, NF_SAMPLE_NONE); break;
    case TENSOR: result(context, s->tensor, NF_SAMPLE_NONE); break;
    case OFFSET:
        if (s->tensor != NF_SAMPLE_NONE)
            sqlite3_result_int64(context, (sqlite3_int64)s->offset);
        break;
    case RW:
        if (s->rw != NF_SAMPLE_RW_UNKNOWN)
            sqlite3_result_text(context, nf_rw_name(s->rw), -1, SQLITE_STATIC);
        break;
    case KERNEL: sqlite3_result_int(context, s->kernel); break;
    }
    return SQLITE_OK;
}

static int cursor_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *id)
{
    const struct cursor *c = (const struct cursor *)base;

    *id = c->observation << 40 | c->number;
    return SQLITE_OK;
}

int nf_sample_table_register(sqlite3 *db)
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
    return sqlite3_create_module(db, "samples", &module, NULL);
}
