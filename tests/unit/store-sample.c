#include "tests/unit/store-sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/store/records.h"
#include "core/store/visit-codec.h"

/* Parameter, activation, gradient, scratch of op 2 that nobody visits. */
static const uint64_t bytes[SAMPLE_TENSORS] = {8192, 4096, 8192, 512};

static void must(int rc)
{
    if (rc)
        fail_msg("%s", nf_error_text(rc));
}

const char *sample_path(void)
{
    static char path[64];
    int fd;

    snprintf(path, sizeof path, "/tmp/nearfar-sample-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return path;
}

const struct nf_visit *sample_visits(size_t *n)
{
    static struct nf_visit v[3 * SAMPLE_OPS];
    size_t at = 0;

    for (uint32_t op = 0; op < SAMPLE_OPS; op++) {
        v[at++] = (struct nf_visit){.op = op, .tensor = 0, .bytes = 8192, .run = 8192, .stride = 8192,
                                    .touches_q8 = 256, .evidence = NF_ACCESS_FRAMEWORK};
        v[at++] = (struct nf_visit){.op = op, .tensor = 1, .offset = 64, .bytes = 1024, .run = 64, .stride = 128,
                                    .touches_q8 = 384, .parallelism = 10, .rw = NF_RW_WRITE,
                                    .pattern = NF_PATTERN_STRIDED, .evidence = NF_ACCESS_PAGE_FAULT};
        if (op >= 3)
            v[at++] = (struct nf_visit){.op = op, .tensor = 2, .bytes = 8192, .run = 8192, .stride = 8192,
                                        .touches_q8 = 256, .rw = NF_RW_UPDATE, .evidence = NF_ACCESS_FRAMEWORK};
    }
    *n = at;
    return v;
}

static void run(struct nf_study *s, const char *sql)
{
    struct nf_query *q;

    must(nf_study_query(s, sql, &q));
    must(nf_query_run(q));
}

static void run_class(struct nf_study *s, const char *sql, int64_t id)
{
    struct nf_query *q;

    must(nf_study_query(s, sql, &q));
    nf_query_bind_i64(q, 1, id);
    must(nf_query_run(q));
}

static void write_chunks(struct nf_study *s, int64_t id)
{
    struct nf_visit_codec *codec = nf_visit_codec_new();
    size_t n;
    const struct nf_visit *v = sample_visits(&n);

    for (size_t at = 0, number = 0; at < n; at += SAMPLE_CHUNK, number++) {
        size_t part = n - at < SAMPLE_CHUNK ? n - at : SAMPLE_CHUNK, size, raw;
        struct nf_query *q;
        const void *data;
        uint32_t crc;

        must(nf_visit_encode(codec, v + at, part, bytes, SAMPLE_TENSORS, &data, &size, &raw, &crc));
        must(nf_study_query(s, "INSERT INTO visit_chunk(class_id, number, first_op, last_op, visits, codec, crc32, "
                               "raw_bytes, data) VALUES(?1, ?2, 0, 0, ?3, 1, ?4, ?5, ?6)", &q));
        nf_query_bind_i64(q, 1, id);
        nf_query_bind_i64(q, 2, (int64_t)number);
        nf_query_bind_i64(q, 3, (int64_t)part);
        nf_query_bind_i64(q, 4, crc);
        nf_query_bind_i64(q, 5, (int64_t)raw);
        nf_query_bind_blob(q, 6, data, size);
        must(nf_query_run(q));
    }
    nf_visit_codec_free(codec);
}

/* Peak: 8192 + 4096 + 8192 from op 3 on, whole pages; the scratch is gone by then. */
static void write_class(struct nf_study *s, int64_t id)
{
    run_class(s, "INSERT INTO step_class(id, capture_id, number, hash, op_hash, allocation_hash, ops, visits, "
                 "visited_bytes, peak_live_bytes, bare_step_ns, correction_factor, correction_gap_ns) "
                 "VALUES(?1, 1, ?1 - 1, ?1 * 17, 1, 1, 6, 15, 1, 20480, 700, 0.5, 3)", id);
    run_class(s, "INSERT INTO op(class_id, number, name_id, module_id, phase, microbatch, thread, regime, timed, "
                 "dur_p50_ns) SELECT ?1, value, 1, 2, 1 + (value > 2), 0, 0, 1, 1, 100 + value FROM "
                 "json_each('[0,1,2,3,4,5]')", id);
    run_class(s, "INSERT INTO tensor(id, capture_id, class_id, bytes, dtype_id, shape_id, name_id, module_id, "
                 "birth_regime, tracked) VALUES(10 * ?1 + 1, 1, ?1, 4096, 1, 1, 1, 1, 1, 1)", id);
    run_class(s, "INSERT INTO tensor(id, capture_id, class_id, bytes, dtype_id, shape_id, name_id, module_id, "
                 "birth_regime, tracked) VALUES(10 * ?1 + 3, 1, ?1, 512, 1, 1, 1, 1, 1, 0)", id);
    run_class(s, "INSERT INTO lifetime(class_id, number, tensor_id, birth_op, death_op, carry_in, carry_out, address) "
                 "VALUES(?1, 0, 1, -1, 2147483647, 0, 0, 65536), (?1, 1, 10 * ?1 + 1, 0, 5, NULL, NULL, 131072), "
                 "(?1, 2, 2, 3, 2147483647, NULL, 1, 262144), (?1, 3, 10 * ?1 + 3, 2, 2, NULL, NULL, 524288)", id);
    run_class(s, "INSERT INTO role_interval(class_id, number, role, from_op, to_op, name_id) VALUES(?1, 0, 1, -1, "
                 "2147483647, 3), (?1, 1, 6, 0, 5, 1), (?1, 2, 3, 3, 2147483647, 1), (?1, 3, 11, 2, 2, 1)", id);
    write_chunks(s, id);
}

void sample_write(const char *path, unsigned classes)
{
    static char *argv[] = {"nearfar", "capture", NULL};
    struct nf_study *s;

    unlink(path);
    must(nf_study_open(path, NF_STUDY_CREATE, &s));
    assert_true(nf_record_invocation(s, 2, argv) == 1);
    must(nf_study_begin(s));
    run(s, "INSERT INTO capture(id, invocation_id, job, job_number, threads) VALUES(1, 1, '[]', 1, 1)");
    run(s, "INSERT INTO pass(id, capture_id, kind, source, access_evidence) VALUES(1, 1, 3, 'framework', 1)");
    assert_true(nf_study_name(s, "aten::mm") == 1);
    assert_true(nf_study_name(s, "blocks.0") == 2);
    assert_true(nf_study_name(s, "weight") == 3);
    run(s, "INSERT INTO tensor(id, capture_id, carry_slot, bytes, dtype_id, shape_id, name_id, module_id, birth_regime, "
           "tracked) VALUES(1, 1, 0, 8192, 1, 1, 3, 2, 0, 1), (2, 1, 1, 8192, 1, 1, 1, 2, 1, 1)");
    for (unsigned i = 1; i <= classes; i++)
        write_class(s, i);
    /* Steps 0 and 4 are of the first class, those between of the last. */
    for (int64_t i = 0; classes && i < SAMPLE_STEPS; i++) {
        struct nf_query *q;

        must(nf_study_query(s, "INSERT INTO step(pass_id, rank, number, class_id, dur_ns, allocation_hash, host_id) "
                               "VALUES(1, 0, ?1, ?2, 1000, 1, 1)", &q));
        nf_query_bind_i64(q, 1, i);
        nf_query_bind_i64(q, 2, i % (SAMPLE_STEPS - 1) ? classes : 1);
        must(nf_query_run(q));
    }
    must(nf_study_commit(s));
    nf_study_close(s);
}

void sample_tamper(const char *path, const char *sql)
{
    pid_t child = fork();
    int status;

    if (!child) {
        execlp("sqlite3", "sqlite3", path, sql, NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status)
        fail_msg("sqlite3 cannot run: %s", sql);
}
