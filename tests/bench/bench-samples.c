/* From records in a ring to samples in a study: decode, attribute to the storage that lives at the address, store. Beside
 * each stands its limit (reading the same bytes; the step before) or a peer (SQLite rows with the same settings). The
 * records are synthetic, with the layout of load latency sampling and the shape of a captured GPT step: some forty samples
 * an op, seven of ten on the op's three tensors, 4,000 storages alive. */
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "capture/perf-record.h"
#include "capture/storage.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/store/samples.h"
#include "tests/bench/bench.h"

enum { STORAGES = 4000, WORDS = 11, BATCH = 1024, SAMPLES_OF_OP = 40, RECORDS = 1 << 17, RECORDS_SMOKE = 10000 };
static const uint64_t sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |
                                    PERF_SAMPLE_ADDR | PERF_SAMPLE_CPU | PERF_SAMPLE_PERIOD | PERF_SAMPLE_WEIGHT_STRUCT |
                                    PERF_SAMPLE_DATA_SRC | PERF_SAMPLE_PHYS_ADDR;

struct state {
    uint64_t *records; /* RECORDS of WORDS each */
    uint32_t n;
    struct nf_record_layout layout;
    struct nf_storage_map map;
    struct nf_sample *samples; /* decoded and attributed */
    struct nf_study *study;
    sqlite3 *rows;
    int64_t observation;
    double by_wall; /* the last run's speed by wall time */
};

static int failed(const char *what, int rc)
{
    printf("%s: %s\n", what, nf_error_text(rc));
    return -1;
}

static int make(struct state *s)
{
    struct nf_rng r = {.state = 23};
    uint64_t time = 1000000000, address = 0x7f0000000000, of_op[3] = {0};
    struct perf_event_attr attr = {.sample_type = sample_type};

    s->layout = nf_record_layout_of(&attr);
    for (uint32_t i = 0; i < STORAGES; i++) {
        uint64_t bytes = 64 * (1 + nf_rng_below(&r, 1ull << nf_rng_below(&r, 17)));
        struct nf_storage *x = nf_storage_new(address, bytes);

        if (!x || nf_storage_map_add(&s->map, x))
            return failed("storages", -ENOMEM);
        x->number = (uint32_t)nf_rng_below(&r, STORAGES);
        address += bytes + 64 + 4096 * nf_rng_below(&r, 4);
    }
    for (uint32_t i = 0; i < s->n; i++) {
        uint64_t *w = s->records + (size_t)i * WORDS;
        const struct nf_storage *x;

        if (i % SAMPLES_OF_OP == 0)
            for (int k = 0; k < 3; k++)
                of_op[k] = nf_rng_below(&r, STORAGES);
        x = s->map.live.v[nf_rng_below(&r, 10) < 7 ? of_op[nf_rng_below(&r, 3)] : nf_rng_below(&r, STORAGES)];
        time += nf_rng_below(&r, 4000);
        *(struct perf_event_header *)w = (struct perf_event_header){
            .type = PERF_RECORD_SAMPLE, .misc = PERF_RECORD_MISC_USER, .size = WORDS * sizeof *w};
        w[1] = 77;
        w[2] = 0x7f8800001000 + 4 * nf_rng_below(&r, 60);
        w[3] = 4000 | (4000 + nf_rng_below(&r, 2)) << 32;
        w[4] = time;
        w[5] = x->address + nf_rng_below(&r, x->bytes + x->bytes / 64);
        w[6] = nf_rng_below(&r, 2);
        w[7] = 10007;
        w[8] = (7 + nf_rng_below(&r, 400)) | nf_rng_below(&r, 40) << 32;
        w[9] = 0x68100142 + (nf_rng_below(&r, 4) << 33);
        w[10] = nf_mix64(w[5] >> 12) >> 36 << 12 | (w[5] & 4095); /* pages anywhere in 1 TiB */
    }
    return 0;
}

/* --- the contenders: each handles all records once --- */

static int read_records(struct state *s)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < (size_t)s->n * WORDS; i++)
        sum += s->records[i];
    bench_keep(sum);
    return 0;
}

static void attribute_batch(const struct state *s, struct nf_sample *batch, uint32_t first, uint32_t n)
{
    struct nf_storage *at[BATCH];
    uint64_t addresses[BATCH];

    for (uint32_t i = 0; i < n; i++)
        addresses[i] = batch[i].address;
    nf_storage_map_find_each(&s->map, addresses, n, at);
    for (uint32_t i = 0; i < n; i++) {
        if (at[i]) {
            batch[i].tensor = at[i]->number;
            batch[i].offset = batch[i].address - at[i]->address;
            batch[i].op = (first + i) / SAMPLES_OF_OP + 1;
            batch[i].step = 3;
        }
    }
}

static int decode(struct state *s, bool attribute, struct nf_sample_writer *writer)
{
    struct nf_sample batch[BATCH];

    for (uint32_t first = 0, n; first < s->n; first += n) {
        int rc = 0;

        n = s->n - first < BATCH ? s->n - first : BATCH;
        for (uint32_t i = 0; i < n; i++) {
            const uint64_t *record = s->records + (size_t)(first + i) * WORDS;
            uint64_t id;

            if (nf_record_decode(&s->layout, (const struct perf_event_header *)record, &batch[i], &id))
                return nf_fail(-EBADMSG, "record %u does not decode", first + i);
        }
        if (attribute)
            attribute_batch(s, batch, first, n);
        if (writer)
            rc = nf_sample_writer_add(writer, batch, n);
        if (rc)
            return rc;
        bench_keep((uint64_t)(uintptr_t)batch);
    }
    return 0;
}

static int decode_alone(struct state *s)
{
    return decode(s, false, NULL);
}

static int decode_attribute(struct state *s)
{
    return decode(s, true, NULL);
}

/* Before the clock starts: only the appending is what a capture does. */
static int empty(struct state *s)
{
    struct nf_query *q;
    int rc = nf_study_query(s->study, "DELETE FROM sample_chunk", &q);

    if (!rc)
        rc = nf_query_run(q);
    if (!rc && sqlite3_exec(s->rows, "DELETE FROM sample", NULL, NULL, NULL))
        rc = nf_fail(-EIO, "%s", sqlite3_errmsg(s->rows));
    return rc;
}

static int decode_attribute_store(struct state *s)
{
    struct nf_sample_writer *w;
    int rc = nf_study_begin(s->study);

    if (rc)
        return rc;
    w = nf_sample_writer_new(s->study, s->observation);
    rc = w ? decode(s, true, w) : -ENOMEM;
    if (!rc)
        rc = nf_sample_writer_flush(w);
    nf_sample_writer_free(w);
    return rc ? rc : nf_study_commit(s->study);
}

static int store_rows(struct state *s)
{
    sqlite3_stmt *insert = NULL;
    int rc = sqlite3_exec(s->rows, "BEGIN", NULL, NULL, NULL);

    if (!rc)
        rc = sqlite3_prepare_v2(s->rows, "INSERT INTO sample VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", -1, &insert, NULL);
    for (uint32_t i = 0; i < s->n && !rc; i++) {
        const struct nf_sample *x = &s->samples[i];
        const uint64_t values[] = {i, x->time_ns, x->address, x->ip, x->physical, x->data_src, x->period, x->offset,
                                   x->weight, x->weight2, x->tid, x->cpu, x->step, x->op, x->tensor};

        for (int c = 0; c < 15; c++)
            sqlite3_bind_int64(insert, c + 1, (sqlite3_int64)values[c]);
        rc = sqlite3_step(insert) == SQLITE_DONE ? sqlite3_reset(insert) : sqlite3_errcode(s->rows);
    }
    sqlite3_finalize(insert);
    if (!rc)
        rc = sqlite3_exec(s->rows, "COMMIT", NULL, NULL, NULL);
    return rc ? nf_fail(-EIO, "%s", sqlite3_errmsg(s->rows)) : 0;
}

static int read_study(struct state *s)
{
    struct nf_sample_reader *r;
    const struct nf_sample *x;
    size_t n, all = 0;
    int rc = nf_sample_reader_new(s->study, s->observation, &r);

    if (rc)
        return rc;
    while ((rc = nf_sample_reader_next(r, &x, &n)) == 1) {
        if (all + n > s->n || memcmp(x, s->samples + all, n * sizeof *x))
            rc = nf_fail(-EIO, "what was stored does not come back");
        if (rc < 0)
            break;
        all += n;
    }
    nf_sample_reader_free(r);
    return rc ? rc : all == s->n ? 0 : nf_fail(-EIO, "fewer samples than were written");
}

static int copy_samples(struct state *s)
{
    static struct nf_sample chunk[4096];

    for (size_t at = 0; at + 4096 <= s->n; at += 4096) {
        memcpy(chunk, s->samples + at, sizeof chunk);
        bench_keep((uint64_t)(uintptr_t)chunk);
    }
    return 0;
}

/* Of this thread, the kernel's work for it included. */
static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* By CPU time, which tells what one core can do even where others want it too. */
static double timed(struct state *s, int (*run)(struct state *))
{
    uint64_t begun = nf_now_ns(), begun_cpu = cpu_ns();
    int rc = run(s);
    uint64_t ended_cpu = cpu_ns(), ended = nf_now_ns();

    s->by_wall = (double)s->n * 1e3 / (double)(ended - begun);
    return rc ? failed("samples", rc) : (double)s->n * 1e3 / (double)(ended_cpu - begun_cpu);
}

static double by_wall(void *state)
{
    return ((struct state *)state)->by_wall;
}

static double run_decode(void *state, unsigned contender)
{
    return timed(state, contender ? read_records : decode_alone);
}

static double run_attribute(void *state, unsigned contender)
{
    return timed(state, contender ? decode_alone : decode_attribute);
}

static double run_store(void *state, unsigned contender)
{
    int (*const run[])(struct state *) = {decode_attribute_store, decode_attribute, store_rows};

    return empty(state) ? -1 : timed(state, run[contender]);
}

static double run_read(void *state, unsigned contender)
{
    struct state *s = state;
    struct nf_query *q;
    bool there = false;

    /* The row before left the study as its last contender did. */
    if (!nf_study_query(s->study, "SELECT count(*) FROM sample_chunk", &q)) {
        there = nf_query_step(q) == 1 && nf_query_i64(q, 0) > 0;
        nf_query_done(q);
    }
    if (!there && decode_attribute_store(s))
        return -1;
    return timed(s, contender ? copy_samples : read_study);
}

/* --- set up --- */

static int open_files(struct state *s, const char *folder)
{
    static const char *const chain[] = {
        ("INSERT INTO machine(id,host,cpu,cpus,nodes,memory_bytes,llc_reported_bytes,kernel,hypervisor,facts) "
         "VALUES(1,'x','x',1,1,1,1,'x','x','x')"),
        "INSERT INTO invocation(id,machine_id,started_utc,tool_version,command) VALUES(1,1,'x','x','x')",
        "INSERT INTO capture(id,invocation_id,job,job_number) VALUES(1,1,'[]',1)",
        "INSERT INTO pass(id, capture_id, kind, source, access_evidence) VALUES(1, 1, 3, 'pebs', 2)",
    };
    struct nf_observation o = {.pass_id = 1, .source = "pebs", .rw = "observed"};
    char path[4096];
    int rc;

    snprintf(path, sizeof path, "%s/samples.nf", folder);
    unlink(path);
    rc = nf_study_open(path, NF_STUDY_CREATE, &s->study);
    for (size_t i = 0; i < sizeof chain / sizeof *chain && !rc; i++) {
        struct nf_query *q;

        rc = nf_study_query(s->study, chain[i], &q);
        if (!rc)
            rc = nf_query_run(q);
    }
    if (!rc)
        rc = nf_observation_insert(s->study, &o);
    if (rc)
        return failed(path, rc);
    s->observation = o.id;

    snprintf(path, sizeof path, "%s/sample-rows.sqlite", folder);
    unlink(path);
    if (sqlite3_open(path, &s->rows) ||
        sqlite3_exec(s->rows, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                              "CREATE TABLE sample(number INTEGER PRIMARY KEY, time INTEGER, address INTEGER, ip INTEGER,"
                              "physical INTEGER, data_src INTEGER, period INTEGER, offset INTEGER, weight INTEGER,"
                              "weight2 INTEGER, tid INTEGER, cpu INTEGER, step INTEGER, op INTEGER, tensor INTEGER) STRICT",
                     NULL, NULL, NULL)) {
        printf("%s: %s\n", path, sqlite3_errmsg(s->rows));
        return -1;
    }
    return 0;
}

/* What the rows hold and what reading must give: read from a first run. */
static int keep_samples(struct state *s)
{
    struct nf_sample_reader *r;
    const struct nf_sample *x;
    size_t n, all = 0;
    int rc = decode_attribute_store(s);

    if (!rc)
        rc = nf_sample_reader_new(s->study, s->observation, &r);
    if (rc)
        return failed("samples", rc);
    while (nf_sample_reader_next(r, &x, &n) == 1 && all + n <= s->n) {
        memcpy(s->samples + all, x, n * sizeof *x);
        all += n;
    }
    nf_sample_reader_free(r);
    return all == s->n ? 0 : failed("samples", nf_fail(-EIO, "fewer samples than were written"));
}

static void print_sizes(struct bench *b, struct state *s)
{
    double blob = 0, rows = 0;
    sqlite3_stmt *pages = NULL;
    struct nf_query *q;

    if (!nf_study_query(s->study, "SELECT sum(length(data)) FROM sample_chunk", &q)) {
        if (nf_query_step(q) == 1)
            blob = nf_query_f64(q, 0);
        nf_query_done(q);
    }
    if (store_rows(s))
        return;
    if (!sqlite3_prepare_v2(s->rows, "SELECT sum(pgsize) FROM dbstat WHERE name = 'sample'", -1, &pages, NULL) &&
        sqlite3_step(pages) == SQLITE_ROW)
        rows = sqlite3_column_double(pages, 0);
    sqlite3_finalize(pages);
    bench_fact(b, "bytes per sample", blob / s->n, "B", 32, "SQLite rows", rows / s->n);
}

int bench_samples(struct bench *b)
{
    static const struct bench_row rows[] = {
        {.name = "samples decoded", .unit = "M/cpu-s", .target = 60, .contender = {"ours", "reading the records"},
         .run = run_decode, .also = by_wall, .also_as = "by wall time"},
        {.name = "samples decoded and attributed", .unit = "M/cpu-s", .target = 15, .contender = {"ours", "decoding alone"},
         .run = run_attribute, .also = by_wall, .also_as = "by wall time"},
        {.name = "samples decoded, attributed, stored", .unit = "M/cpu-s", .target = 5,
         .contender = {"ours", "without storing", "SQLite rows, stored alone"}, .run = run_store, .also = by_wall, .also_as = "by wall time"},
        {.name = "samples read from a study", .unit = "M/cpu-s", .target = 10, .contender = {"ours", "copying them"},
         .run = run_read, .also = by_wall, .also_as = "by wall time"},
    };
    struct state s = {.n = b->smoke ? RECORDS_SMOKE : RECORDS};
    int rc = -1;

    s.records = malloc((size_t)s.n * WORDS * sizeof *s.records);
    s.samples = malloc(s.n * sizeof *s.samples);
    if (s.records && s.samples && !make(&s) && !open_files(&s, b->folder) && !keep_samples(&s)) {
        rc = 0;
        for (size_t i = 0; i < sizeof rows / sizeof *rows && !rc; i++)
            rc = bench_row(b, &rows[i], &s);
        if (!rc && !empty(&s) && !decode_attribute_store(&s))
            print_sizes(b, &s);
    }
    nf_study_close(s.study);
    sqlite3_close(s.rows);
    for (size_t i = 0; i < s.map.live.n; i++)
        nf_storage_free(s.map.live.v[i]);
    nf_storage_map_deinit(&s.map);
    free(s.samples);
    free(s.records);
    return rc;
}
