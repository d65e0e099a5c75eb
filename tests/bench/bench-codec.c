/* Visits written to and read from a study, against SQLite rows: the same database settings, one transaction, prepared
 * statements, one insert per visit. The visits are synthetic, with the shape of a captured GPT step: ops of two to five
 * operands, recently born tensors most often, one visit in twelve of a part or of strided rows. */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/store/study.h"
#include "core/store/visit-codec.h"
#include "tests/bench/bench.h"

enum { TENSORS = 4000 };

struct state {
    struct nf_visit *visits, *decoded;
    uint32_t n;
    uint64_t tensor_bytes[TENSORS];
    struct nf_visit_codec *codec;
    struct nf_study *study;
    sqlite3 *rows;
    int64_t class_id;
};

static void make_visits(struct state *s)
{
    struct nf_rng rng = {.state = 11};
    uint32_t op = 0, left = 0;

    for (uint32_t i = 0; i < TENSORS; i++)
        s->tensor_bytes[i] = 4096 * (1 + nf_rng_below(&rng, 2048));
    for (uint32_t i = 0; i < s->n; i++) {
        struct nf_visit *v = &s->visits[i];
        uint32_t born = (uint32_t)((uint64_t)i * TENSORS / s->n), back;

        if (!left--) {
            op++;
            left = 1 + (uint32_t)nf_rng_below(&rng, 4);
        }
        /* Three of four operands are among the latest 32 tensors, as results are. */
        back = (uint32_t)nf_rng_below(&rng, nf_rng_below(&rng, 4) ? 32 : TENSORS);
        *v = (struct nf_visit){
            .op = op, .tensor = (born + TENSORS - back) % TENSORS, .touches_q8 = 256,
            .rw = (uint8_t)(left ? NF_RW_READ : 1 + nf_rng_below(&rng, 2)), .evidence = NF_ACCESS_FRAMEWORK,
        };
        v->bytes = v->run = v->stride = s->tensor_bytes[v->tensor];
        if (nf_rng_below(&rng, 12) == 0) {
            v->offset = 64 * nf_rng_below(&rng, 32);
            v->bytes /= 2;
            v->run = v->bytes >= 4096 ? 1024 : v->bytes;
            v->stride = 2 * v->run;
            v->pattern = NF_PATTERN_STRIDED;
        }
    }
}

static int failed(const char *what, int rc)
{
    printf("%s: %s\n", what, nf_error_text(rc));
    return -1;
}

static int study_text(struct nf_study *s, const char *sql)
{
    struct nf_query *q;
    int rc = nf_study_query(s, sql, &q);

    return rc ? rc : nf_query_run(q);
}

static int write_study(struct state *s)
{
    struct nf_query *q;
    int rc = nf_study_begin(s->study);

    if (!rc)
        rc = study_text(s->study, "DELETE FROM visit_chunk");
    for (uint32_t i = 0, number = 0; i < s->n && !rc; i += NF_VISIT_CHUNK, number++) {
        uint32_t n = s->n - i < NF_VISIT_CHUNK ? s->n - i : NF_VISIT_CHUNK, crc;
        size_t size, raw;
        const void *data;

        rc = nf_visit_encode(s->codec, &s->visits[i], n, s->tensor_bytes, TENSORS, &data, &size, &raw, &crc);
        if (rc)
            break;
        rc = nf_study_query(s->study, "INSERT INTO visit_chunk VALUES(?,?,?,?,?,?,?,?,?)", &q);
        if (rc)
            break;
        nf_query_bind_i64(q, 1, s->class_id);
        nf_query_bind_i64(q, 2, number);
        nf_query_bind_i64(q, 3, s->visits[i].op);
        nf_query_bind_i64(q, 4, s->visits[i + n - 1].op);
        nf_query_bind_i64(q, 5, n);
        nf_query_bind_i64(q, 6, NF_VISIT_CODEC);
        nf_query_bind_i64(q, 7, crc);
        nf_query_bind_i64(q, 8, (int64_t)raw);
        nf_query_bind_blob(q, 9, data, size);
        rc = nf_query_run(q);
    }
    return rc ? rc : nf_study_commit(s->study);
}

static int write_rows(struct state *s)
{
    sqlite3_stmt *insert = NULL;
    int rc = sqlite3_exec(s->rows, "BEGIN; DELETE FROM visit", NULL, NULL, NULL);

    if (!rc)
        rc = sqlite3_prepare_v2(s->rows, "INSERT INTO visit VALUES(?,?,?,?,?,?,?,?,?,?,?)", -1, &insert, NULL);
    for (uint32_t i = 0; i < s->n && !rc; i++) {
        const struct nf_visit *v = &s->visits[i];
        const uint64_t values[] = {i, v->op, v->tensor, v->offset, v->bytes, v->run, v->stride,
                                   v->touches_q8, v->rw, v->pattern, v->evidence};

        for (int c = 0; c < 11; c++)
            sqlite3_bind_int64(insert, c + 1, (sqlite3_int64)values[c]);
        rc = sqlite3_step(insert) == SQLITE_DONE ? sqlite3_reset(insert) : sqlite3_errcode(s->rows);
    }
    sqlite3_finalize(insert);
    if (!rc)
        rc = sqlite3_exec(s->rows, "COMMIT", NULL, NULL, NULL);
    if (rc)
        nf_fail(-1, "%s", sqlite3_errmsg(s->rows));
    return rc ? -1 : 0;
}

static int read_study(struct state *s)
{
    struct nf_query *q;
    uint32_t at = 0;
    int rc = nf_study_query(s->study, "SELECT visits, raw_bytes, crc32, data FROM visit_chunk WHERE class_id = ? "
                                      "ORDER BY number", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, s->class_id);
    while ((rc = nf_query_step(q)) == 1) {
        size_t size, n = (size_t)nf_query_i64(q, 0);
        const void *data = nf_query_blob(q, 3, &size);

        if (at + n > s->n)
            return nf_fail(-1, "more visits than were written");
        rc = nf_visit_decode(s->codec, data, size, (size_t)nf_query_i64(q, 1), (uint32_t)nf_query_i64(q, 2),
                             s->tensor_bytes, TENSORS, s->decoded + at, n);
        if (rc)
            return rc;
        at += (uint32_t)n;
    }
    nf_query_done(q);
    return rc ? rc : at == s->n ? 0 : nf_fail(-1, "fewer visits than were written");
}

static int read_rows(struct state *s)
{
    sqlite3_stmt *select = NULL;
    uint32_t at = 0;
    int rc = sqlite3_prepare_v2(s->rows, "SELECT op, tensor, offset, bytes, run, stride, touches, rw, pattern, evidence "
                                         "FROM visit ORDER BY number", -1, &select, NULL);

    while (!rc && sqlite3_step(select) == SQLITE_ROW && at < s->n) {
        struct nf_visit *v = &s->decoded[at++];

        *v = (struct nf_visit){
            .op = (uint32_t)sqlite3_column_int64(select, 0), .tensor = (uint32_t)sqlite3_column_int64(select, 1),
            .offset = (uint64_t)sqlite3_column_int64(select, 2), .bytes = (uint64_t)sqlite3_column_int64(select, 3),
            .run = (uint64_t)sqlite3_column_int64(select, 4), .stride = (uint64_t)sqlite3_column_int64(select, 5),
            .touches_q8 = (uint16_t)sqlite3_column_int(select, 6), .rw = (uint8_t)sqlite3_column_int(select, 7),
            .pattern = (uint8_t)sqlite3_column_int(select, 8), .evidence = (uint8_t)sqlite3_column_int(select, 9),
        };
    }
    sqlite3_finalize(select);
    return rc || at != s->n ? nf_fail(-1, "%s", sqlite3_errmsg(s->rows)) : 0;
}

static double timed(struct state *s, int (*const run[])(struct state *), unsigned contender)
{
    uint64_t begun = nf_now_ns();
    int rc = run[contender](s);
    uint64_t ended = nf_now_ns();

    return rc ? failed("codec", rc) : (double)s->n * 1e3 / (double)(ended - begun);
}

static double run_write(void *state, unsigned contender)
{
    static int (*const run[])(struct state *) = {write_study, write_rows};

    return timed(state, run, contender);
}

static double run_read(void *state, unsigned contender)
{
    static int (*const run[])(struct state *) = {read_study, read_rows};
    struct state *s = state;
    double speed = timed(s, run, contender);

    if (speed >= 0 && memcmp(s->decoded, s->visits, s->n * sizeof *s->visits)) {
        printf("codec: what was read is not what was written\n");
        return -1;
    }
    return speed;
}

static int open_files(struct state *s, const char *folder)
{
    static const char *const chain[] = {
        "INSERT INTO machine VALUES(1,'bench','unknown',1,1,0,0,'unknown','unknown','{}')",
        "INSERT INTO invocation VALUES(1,1,'1970-01-01T00:00:00Z','bench','[]','complete','')",
        "INSERT INTO capture(id,invocation_id,job,job_number) VALUES(1,1,'[]',1)",
        ("INSERT INTO step_class(id,capture_id,number,hash,op_hash,allocation_hash,ops,visits,visited_bytes,"
         "peak_live_bytes) VALUES(1,1,0,0,0,0,0,0,0,0)"),
    };
    char path[4096];
    int rc;

    snprintf(path, sizeof path, "%s/visits.nf", folder);
    unlink(path);
    rc = nf_study_open(path, NF_STUDY_CREATE, &s->study);
    if (!rc)
        rc = nf_study_begin(s->study);
    for (size_t i = 0; i < sizeof chain / sizeof *chain && !rc; i++)
        rc = study_text(s->study, chain[i]);
    if (!rc)
        rc = nf_study_commit(s->study);
    if (rc)
        return failed(path, rc);
    s->class_id = 1;

    snprintf(path, sizeof path, "%s/rows.sqlite", folder);
    unlink(path);
    if (sqlite3_open(path, &s->rows) ||
        sqlite3_exec(s->rows, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                              "CREATE TABLE visit(number INTEGER PRIMARY KEY, op INTEGER, tensor INTEGER, offset INTEGER,"
                              "bytes INTEGER, run INTEGER, stride INTEGER, touches INTEGER, rw INTEGER, pattern INTEGER,"
                              "evidence INTEGER) STRICT", NULL, NULL, NULL)) {
        printf("%s: %s\n", path, sqlite3_errmsg(s->rows));
        return -1;
    }
    return 0;
}

static void print_sizes(struct bench *b, struct state *s)
{
    double blob = 0, rows = 0;
    sqlite3_stmt *pages = NULL;
    struct nf_query *q;

    if (!nf_study_query(s->study, "SELECT sum(length(data)) FROM visit_chunk", &q)) {
        if (nf_query_step(q) == 1)
            blob = nf_query_f64(q, 0);
        nf_query_done(q);
    }
    if (!sqlite3_prepare_v2(s->rows, "SELECT sum(pgsize) FROM dbstat WHERE name = 'visit'", -1, &pages, NULL) &&
        sqlite3_step(pages) == SQLITE_ROW)
        rows = sqlite3_column_double(pages, 0);
    sqlite3_finalize(pages);
    bench_fact(b, "bytes per visit", blob / s->n, "B", 8, "SQLite rows", rows / s->n);
}

int bench_codec(struct bench *b)
{
    const struct bench_row write = {.name = "visits written to a study", .unit = "M/s", .target = 8,
                                    .contender = {"ours", "SQLite rows"}, .run = run_write};
    const struct bench_row read = {.name = "visits read from a study", .unit = "M/s", .target = 20,
                                   .contender = {"ours", "SQLite rows"}, .run = run_read};
    struct state s = {.n = b->smoke ? 10000 : 400000};
    int rc = -1;

    s.visits = malloc(s.n * sizeof *s.visits);
    s.decoded = calloc(s.n, sizeof *s.decoded);
    s.codec = nf_visit_codec_new();
    if (s.visits && s.decoded && s.codec && !open_files(&s, b->folder)) {
        make_visits(&s);
        rc = bench_row(b, &write, &s) || bench_row(b, &read, &s) ? -1 : 0;
        if (!rc)
            print_sizes(b, &s);
    }
    nf_study_close(s.study);
    sqlite3_close(s.rows);
    nf_visit_codec_free(s.codec);
    free(s.decoded);
    free(s.visits);
    return rc;
}
