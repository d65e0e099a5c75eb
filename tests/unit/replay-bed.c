#include "tests/unit/replay-bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/model/stream.h"
#include "core/store/records.h"
#include "core/store/visit-codec.h"

static char folder[] = "/tmp/nearfar-replay-XXXXXX";
static char path[64];
static int64_t invocation;

/* A study knows statements by their address: what was formatted stays as long as any study. */
enum { TEXTS_MAX = 1024 };
static char *texts[TEXTS_MAX];
static size_t n_texts;

int replay_bed_setup(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/t.nf", folder);
    return 0;
}

int replay_bed_teardown(void **state)
{
    char command[128];

    while (n_texts)
        free(texts[--n_texts]);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

const char *replay_bed_folder(void)
{
    return folder;
}

const char *replay_bed_path(void)
{
    return path;
}

int64_t replay_bed_invocation(void)
{
    return invocation;
}

static struct nf_query *ask(struct nf_study *s, const char *sql)
{
    struct nf_query *q;

    if (nf_study_query_text(s, sql, &q) || nf_query_step(q) != 1)
        fail_msg("%s: %s", sql, nf_error_text(0));
    return q;
}

int64_t replay_bed_int(struct nf_study *s, const char *sql)
{
    struct nf_query *q = ask(s, sql);
    int64_t v = nf_query_i64(q, 0);

    nf_query_done(q);
    return v;
}

double replay_bed_real(struct nf_study *s, const char *sql)
{
    struct nf_query *q = ask(s, sql);
    double v = nf_query_f64(q, 0);

    nf_query_done(q);
    return v;
}

void replay_bed_execute(struct nf_study *s, const char *sql)
{
    struct nf_query *q;

    if (nf_study_query(s, sql, &q) || nf_query_run(q))
        fail_msg("%s: %s", sql, nf_error_text(0));
}

__attribute__((format(printf, 2, 3))) static void insert(struct nf_study *s, const char *fmt, ...)
{
    va_list ap;

    assert_true(n_texts < TEXTS_MAX);
    va_start(ap, fmt);
    assert_true(vasprintf(&texts[n_texts], fmt, ap) >= 0);
    va_end(ap);
    replay_bed_execute(s, texts[n_texts++]);
}

static void write_visits(struct nf_study *s, const struct replay_bed_shape *shape)
{
    uint32_t n = (uint32_t)shape->n, last = n - 1;
    struct nf_visit *v = calloc(2 * shape->n, sizeof *v);
    uint64_t *bytes = calloc(shape->n, sizeof *bytes);
    struct nf_visit_codec *c = nf_visit_codec_new();
    struct nf_query *q;
    const void *data;
    size_t size, raw;
    uint32_t crc;

    for (uint32_t i = 0; i < n; i++)
        bytes[i] = shape->pages[i] * NF_PAGE_BYTES;
    for (uint32_t i = 0; i < 2 * n; i++) {
        uint32_t op = i / n, tensor = op ? (i + last) % n : i; /* the second op begins with what the first left */

        v[i] = (struct nf_visit){.op = op, .tensor = tensor, .bytes = bytes[tensor], .run = bytes[tensor], .stride = bytes[tensor],
                                 .touches_q8 = 256};
        v[i].rw = (tensor == last) == !op ? op ? NF_RW_UPDATE : NF_RW_WRITE : NF_RW_READ;
    }
    assert_int_equal(nf_visit_encode(c, v, 2 * n, bytes, n, &data, &size, &raw, &crc), 0);
    assert_int_equal(nf_study_query(s, "INSERT INTO visit_chunk VALUES(1, 0, 0, 1, ?1, ?2, ?3, ?4, ?5)", &q), 0);
    nf_query_bind_i64(q, 1, 2 * n);
    nf_query_bind_i64(q, 2, NF_VISIT_CODEC);
    nf_query_bind_i64(q, 3, crc);
    nf_query_bind_i64(q, 4, (int64_t)raw);
    nf_query_bind_blob(q, 5, data, size);
    assert_int_equal(nf_query_run(q), 0);
    nf_visit_codec_free(c);
    free(bytes);
    free(v);
}

static void write_tensors(struct nf_study *s, const struct replay_bed_shape *shape)
{
    uint64_t address = 1ull << 30;

    for (uint32_t i = 0; i < shape->n; i++) {
        unsigned long long bytes = shape->pages[i] * NF_PAGE_BYTES;
        bool carried = i + 1 < shape->n;
        char slot[16];

        snprintf(slot, sizeof slot, carried ? "%u" : "NULL", i);
        insert(s, "INSERT INTO tensor(id, capture_id, class_id, carry_slot, bytes, dtype_id, shape_id, name_id, module_id, birth_regime, "
                  "tracked) VALUES(%u, 1, %s, %s, %llu, 1, 1, 1, 1, %d, 1)", i + 1, carried ? "NULL" : "1", slot, bytes, !carried);
        insert(s, "INSERT INTO lifetime VALUES(1, %u, %u, %d, %d, %s, %s, %llu)", i, i + 1, carried ? -1 : 0, carried ? INT32_MAX : 1, slot,
               slot, (unsigned long long)address);
        address += bytes;
    }
}

struct nf_study *replay_bed_study(const struct replay_bed_shape *shape)
{
    char *argv[] = {"test"};
    unsigned long long peak = 0;
    struct nf_study *s;

    for (size_t i = 0; i < shape->n; i++)
        peak += shape->pages[i] * NF_PAGE_BYTES;
    unlink(path);
    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &s), 0);
    invocation = nf_record_invocation(s, 1, argv);
    assert_true(invocation > 0);
    assert_int_equal(nf_study_name(s, ""), 1);
    insert(s, "INSERT INTO capture(id, invocation_id, job, job_number, threads, status) VALUES(1, 1, '[]', 1, 1, 'complete')");
    insert(s, "INSERT INTO pass(id, capture_id, kind, source, access_evidence) VALUES(1, 1, 3, 'framework', 1)");
    insert(s, "INSERT INTO step_class(id, capture_id, number, hash, op_hash, allocation_hash, ops, visits, visited_bytes, peak_live_bytes, "
              "bare_step_ns, correction_factor) VALUES(1, 1, 0, 1, 1, 1, 2, %zu, %llu, %llu, 4e6, %d)", 2 * shape->n, 2 * peak, peak,
           !shape->untimed);
    insert(s, "INSERT INTO step VALUES(1, 0, 0, 1, 4000000, 1, 1), (1, 0, 1, 1, 4000000, 1, 1)");
    insert(s, "INSERT INTO op(class_id, number, name_id, module_id, phase, microbatch, thread, regime, timed, dur_p50_ns) VALUES(1, 0, 1, "
              "1, 1, 0, 0, 1, 1, 2e6), (1, 1, 1, 1, 2, 0, 0, 2, 1, 2e6)");
    write_tensors(s, shape);
    write_visits(s, shape);
    return s;
}

void replay_bed_know_tiers(struct nf_study *s, const char *far)
{
    long long machine = nf_record_machine(s);

    assert_true(machine > 0);
    insert(s, "INSERT INTO testbed(id, invocation_id, machine_id, llc_effective_bytes, page_bytes, conditions) VALUES(1, 1, %lld, 65536, 4096, '{}')", machine);
    insert(s, "INSERT INTO tier(testbed_id, number, name, provider, spec, target_latency_ns, target_read_bps, latency_ns, read_bps, "
              "write_bps, stream_parallelism, gather_parallelism, evidence) VALUES(1, 0, 'near', 'null', 'null', 0, 0, 100, 1e10, 1e10, "
              "10, 5, 0), (1, 1, 'far', 'emulated', '%s', 200, 5e9, 200, 5e9, 5e9, 1, 1, %d)", far, NF_EVIDENCE_INJECTED_DELAY);
}

struct nf_replay_options replay_bed_options(const char *const *policies, size_t n_policies, const char *const tiers[2])
{
    static const double half[] = {0.5};
    static const enum nf_overlap asap[] = {NF_OVERLAP_ASAP};
    struct nf_replay_options o = NF_REPLAY_OPTIONS_INIT;

    o.despite = "load"; /* of the other tests */
    o.invocation = invocation;
    o.policies = policies;
    o.n_policies = n_policies;
    o.near_shares = half;
    o.n_near_shares = 1;
    o.overlaps = asap;
    o.n_overlaps = 1;
    o.tiers = tiers;
    o.n_tiers = 2;
    o.blocks = 2;
    o.steps = 1;
    o.reuse_testbed = true;
    o.root = folder; /* whatever else this machine does is not what is tested */
    o.quiet = true;
    return o;
}

struct nf_replay_result replay_bed_run(struct nf_study *s, const struct nf_replay_options *o)
{
    struct nf_replay_result r;
    int rc = nf_replay_run(s, o, &r);

    if (rc || r.failed)
        fail_msg("%d: %s%s", rc, rc ? nf_error_text(rc) : "", r.first_failure);
    return r;
}
