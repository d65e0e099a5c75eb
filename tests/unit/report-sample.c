#include "tests/unit/report-sample.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "analyze/report.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/stream.h"
#include "core/store/visit-codec.h"

enum { STEPS = 5 };

const char report_hostile[] = "<script>alert('x')</script> \"q\" a,b | `c` \\ \n\x01\xff $(d) é";

/* --- A study, row by row. --- */

int64_t report_insert(struct nf_study *s, struct nf_query *q)
{
    assert_int_equal(nf_query_run(q), 0);
    return nf_study_last_id(s);
}

struct nf_query *report_query(struct nf_study *s, const char *sql)
{
    struct nf_query *q;

    if (nf_study_query(s, sql, &q))
        fail_msg("%s", nf_error_text(-EINVAL));
    return q;
}

static void add_capture(struct report_sample *m, const char *job)
{
    struct nf_study *s = m->s;
    struct nf_query *q;

    q = report_query(s, "INSERT INTO machine(id, host, cpu, cpus, nodes,"
                 " memory_bytes, llc_reported_bytes, kernel, hypervisor, facts) VALUES(1, 'testhost', ?, 2, 1, "
                 "8589934592, 33554432, '6.1', 'none', '{}')");
    nf_query_bind_text(q, 1, job);
    report_insert(s, q);
    q = report_query(s, "INSERT INTO invocation(id, machine_id, started_utc,"
                 " tool_version, command, status, message) VALUES(1, 1, '2026-01-02T03:04:05Z', '0.1.0', "
                 "'[\"nearfar\"]', 'complete', '')");
    report_insert(s, q);
    q = report_query(s, "INSERT INTO capture(id, invocation_id, job, job_number, framework, language, threads, status)"
                 " VALUES(1, 1, ?, 7, 'torch', 'python', 2, 'complete')");
    nf_query_bind_text(q, 1, job);
    m->capture = report_insert(s, q);
    q = report_query(s,
              "INSERT INTO pass(id, capture_id, kind, source, access_evidence, status, exit_status, parameter_sha256)"
              " VALUES(1, 1, 1, 'none', 0, 'complete', 0, 'abc'), (2, 1, 3, 'framework', 1, 'complete', 0, 'abc')");
    report_insert(s, q);
}

/* Eight layers: forward keeps one activation each, backward reads them in reverse, the optimizer reads every parameter.
 */
void report_add_profile(struct report_sample *m)
{
    enum { LAYERS = 8, OPS = 3 * LAYERS, TENSORS = 3 * LAYERS };
    struct nf_visit visits[6 * LAYERS];
    uint64_t bytes[TENSORS];
    size_t n = 0, size, raw;
    const void *data;
    uint32_t crc;
    struct nf_visit_codec *codec = nf_visit_codec_new();
    struct nf_study *s = m->s;
    int64_t name = nf_study_name(s, "layer");
    struct nf_query *q;

    q = report_query(s, "INSERT INTO step_class(id, capture_id, number, hash, op_hash, allocation_hash, ops, visits,"
                 " visited_bytes, peak_live_bytes, bare_step_ns, timing_ops_ns, correction_factor)"
                 " VALUES(1, 1, 0, 255, 1, 1, 24, 48, 1, 1, 1000000, 1000000, 1)");
    report_insert(s, q);
    q = report_query(
        s,
        "INSERT INTO step(pass_id, rank, number,"
        " class_id, dur_ns, allocation_hash, host_id) VALUES(2, 0, 0, 1, 1000000, 1, 1), (2, 0, 1, 1, 1000000, 1, 1)");
    report_insert(s, q);
    for (int i = 0; i < OPS; i++) {
        q = report_query(s, "INSERT INTO op(class_id, number, name_id, module_id, phase, microbatch, thread, regime, timed,"
                     " dur_mean_ns, dur_p50_ns) VALUES(1, ?, ?, ?, ?, 0, 0, 0, 1, 40000, 40000)");
        nf_query_bind_i64(q, 1, i);
        nf_query_bind_i64(q, 2, name);
        nf_query_bind_i64(q, 3, name);
        nf_query_bind_i64(q, 4,
                          i < LAYERS       ? NF_PHASE_FORWARD
                          : i < 2 * LAYERS ? NF_PHASE_BACKWARD
                                           : NF_PHASE_OPTIMIZER);
        report_insert(s, q);
    }
    for (int i = 0; i < TENSORS; i++) {
        int layer = i % LAYERS, kind = i / LAYERS; /* parameter, activation, backward temporary */
        int birth = kind == 0 ? NF_OP_BEFORE : kind == 1 ? layer : 2 * LAYERS - 1 - layer;
        int death = kind == 0 ? NF_OP_AFTER : 2 * LAYERS - 1 - layer;

        bytes[i] = (uint64_t)(kind == 0 ? 4 : kind == 1 ? 8 : 2) * MIB;
        q = report_query(s, "INSERT INTO tensor(id, capture_id, class_id, carry_slot, bytes, dtype_id, shape_id, name_id,"
                     " module_id, birth_regime, tracked) VALUES(?1 + 1, 1, ?2, ?3, ?4, ?5, ?5, ?5, ?5, 0, 1)");
        nf_query_bind_i64(q, 1, i);
        if (kind) {
            nf_query_bind_i64(q, 2, 1);
            nf_query_bind_null(q, 3);
        } else {
            nf_query_bind_null(q, 2);
            nf_query_bind_i64(q, 3, i);
        }
        nf_query_bind_i64(q, 4, (int64_t)bytes[i]);
        nf_query_bind_i64(q, 5, name);
        report_insert(s, q);
        q = report_query(s, "INSERT INTO lifetime(class_id, number, tensor_id, birth_op,"
                     " death_op, carry_in, carry_out, address) VALUES(1, ?1, ?1 + 1, ?2, ?3, ?4, ?4, ?5)");
        nf_query_bind_i64(q, 1, i);
        nf_query_bind_i64(q, 2, birth);
        nf_query_bind_i64(q, 3, death);
        if (kind)
            nf_query_bind_null(q, 4);
        else
            nf_query_bind_i64(q, 4, i);
        nf_query_bind_i64(q, 5, (int64_t)(i + 1) << 28);
        report_insert(s, q);
        q = report_query(s, "INSERT INTO role_interval(class_id, number, role,"
                     " from_op, to_op, name_id) VALUES(1, ?1, ?2, ?3, ?4, ?5)");
        nf_query_bind_i64(q, 1, i);
        nf_query_bind_i64(q, 2, kind == 0 ? NF_ROLE_PARAMETER : kind == 1 ? NF_ROLE_SAVED : NF_ROLE_BACKWARD_TEMP);
        nf_query_bind_i64(q, 3, birth);
        nf_query_bind_i64(q, 4, death);
        nf_query_bind_i64(q, 5, name);
        report_insert(s, q);
    }
    for (uint32_t op = 0; op < OPS; op++) {
        uint32_t layer = op < LAYERS ? op : op < 2 * LAYERS ? 2 * LAYERS - 1 - op : op - 2 * LAYERS;
        const struct {
            uint32_t tensor;
            uint8_t rw;
        } uses[] = {{layer, op < 2 * LAYERS ? NF_RW_READ : NF_RW_UPDATE},
                    {LAYERS + layer, op < LAYERS ? NF_RW_WRITE : NF_RW_READ},
                    {2 * LAYERS + layer, NF_RW_WRITE}};

        for (size_t k = 0; k < (op < LAYERS ? 2 : op < 2 * LAYERS ? 3 : 1); k++) {
            uint64_t b = bytes[uses[k].tensor];

            visits[n++] = (struct nf_visit){.bytes = b,
                                            .run = b,
                                            .stride = b,
                                            .op = op,
                                            .tensor = uses[k].tensor,
                                            .touches_q8 = 256,
                                            .rw = uses[k].rw,
                                            .evidence = NF_ACCESS_FRAMEWORK};
        }
    }
    assert_non_null(codec);
    assert_int_equal(nf_visit_encode(codec, visits, n, bytes, TENSORS, &data, &size, &raw, &crc), 0);
    q = report_query(s, "INSERT INTO visit_chunk(class_id, number, first_op, last_op,"
                 " visits, codec, crc32, raw_bytes, data) VALUES(1, 0, 0, 23, ?, 1, ?, ?, ?)");
    nf_query_bind_i64(q, 1, (int64_t)n);
    nf_query_bind_i64(q, 2, crc);
    nf_query_bind_i64(q, 3, (int64_t)raw);
    nf_query_bind_blob(q, 4, data, size);
    report_insert(s, q);
    nf_visit_codec_free(codec);
}

void report_add_replay(struct report_sample *m, int64_t peak_live_bytes)
{
    struct nf_study *s = m->s;
    struct nf_query *q;

    q = report_query(s, "INSERT INTO testbed(id, invocation_id, machine_id,"
                 " llc_effective_bytes, page_bytes, conditions) VALUES(1, 1, 1, 16777216, 4096, '{}')");
    m->testbed = report_insert(s, q);
    q = report_query(s, "INSERT INTO tier(testbed_id, number, name, provider, spec, target_latency_ns, target_read_bps,"
                 " latency_ns, read_bps, write_bps, stream_parallelism, gather_parallelism, evidence) VALUES"
                 " (1, 0, 'local', 'numa', 'numa', 0, 0, 100, 20e9, 10e9, 31, 8, 1),"
                 " (1, 1, 'far', 'emulated', 'emulated', 200, 10e9, 201, 9.9e9, 9e9, 31, 8, 4)");
    report_insert(s, q);
    q = report_query(
        s, "INSERT INTO replay(id, invocation_id, capture_id, testbed_id, seed, peak_live_bytes, planned_trials,"
           " blocks, threads, llc_filter_bytes, status) VALUES(1, 1, 1, 1, 42, ?, 100, 11, 2, 16777216, 'complete')");
    nf_query_bind_i64(q, 1, peak_live_bytes);
    m->replay = report_insert(s, q);
}

void report_use_real_tiers(struct report_sample *m)
{
    report_insert(m->s, report_query(m->s, "UPDATE tier SET provider = 'numa', spec = 'numa:node=' || number, target_latency_ns = 0, "
                                           "target_read_bps = 0, evidence = 1 + number"));
}

void report_add_trial(struct report_sample *m, const struct report_trial *t)
{
    struct nf_query *q;
    int64_t id;

    q = report_query(m->s,
              "INSERT INTO trial(replay_id, block, position, policy, semantics, near_share, near_bytes, overlap, hog,"
              " status, message, warmup_steps, steps, wall_ns, step_ns, policy_ns, move_ns, stolen_ns, late_ns,"
              " saturated, floored_share, assumed_k_share, moves, moved_bytes, evidence, policy_options) VALUES"
              " (1, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, 2, 5, ?, '[1]', 1000, 2000, 3000, 4000, 0, 0.01, 0.9, 3, ?, ?, ?)");
    nf_query_bind_i64(q, 1, t->block);
    nf_query_bind_text(q, 2, t->policy);
    nf_query_bind_text(q, 3, t->semantics ? t->semantics : "in-place");
    nf_query_bind_f64(q, 4, t->share);
    nf_query_bind_i64(q, 5, (int64_t)(t->share * 1000 * MIB));
    nf_query_bind_i64(q, 6, t->overlap);
    nf_query_bind_i64(q, 7, t->hog);
    nf_query_bind_text(q, 8, t->status ? t->status : "ok");
    nf_query_bind_text(q, 9, t->message ? t->message : "");
    nf_query_bind_i64(q, 10, llround(STEPS * t->step_ns));
    nf_query_bind_i64(q, 11, (int64_t)((1 - t->share) * STEPS * 50 * MIB));
    nf_query_bind_i64(q, 12, t->evidence ? t->evidence : NF_EVIDENCE_INJECTED_DELAY);
    nf_query_bind_text(q, 13, t->options ? t->options : "");
    id = report_insert(m->s, q);
    q = report_query(m->s, "INSERT INTO trial_tier(trial_id, tier_number, read_bytes, write_bytes, charged_bytes,"
                    " moved_in_bytes, moved_out_bytes, peak_bytes, achieved_latency_ns, achieved_bps) VALUES(?1, 0, 0, "
                    "0, 0, 0, 0, 1, 0, 0),"
                    " (?1, 1, ?2, ?3, ?2, 0, 0, 0, 200, 9e9)");
    nf_query_bind_i64(q, 1, id);
    nf_query_bind_i64(q, 2, (int64_t)((1 - t->share) * STEPS * 300 * MIB));
    nf_query_bind_i64(q, 3, (int64_t)((1 - t->share) * STEPS * 100 * MIB));
    report_insert(m->s, q);
}

/* Slowdown of a policy in overlap=full; overlap=none is 0.2 nearer to 1 by design of the sample. */
static const struct line {
    const char *name, *semantics;
    double at_10, at_20, at_50;
} lines[] = {
    {"near-first", "in-place, insert near, no migration; sees neither profile nor future", 1.8, 1.7, 1.4},
    {"lru", "promote-after-use", 1.6, 1.5, 1.2},
    {"interleave", "in-place", 1.9, 1.8, 1.5},
    {"regime-plan", "in-place, insert near, no migration; sees profile", 1.5, 1.3, 1.1},
    {"belady", "fetch-before-use, insert bypass, write-back, copied inline; sees profile and future", 1.4, 1.2, 1.05}};
enum { LINES = sizeof lines / sizeof *lines };

/* All-near takes 1 ms × (1 + block / 100); every ratio of block b is off by (b - middle) / 1000. */
void report_add_blocks(struct report_sample *m, int blocks)
{
    static const double shares[] = {0.1, 0.2, 0.5};

    for (int b = 0; b < blocks; b++) {
        double near_ns = 1e6 * (1 + b / 100.), off = (b - (blocks - 1) / 2) / 1000.;

        for (int overlap = 1; overlap <= 2; overlap++) {
            struct report_trial near = {.policy = "all-near", .share = 1, .step_ns = near_ns, .block = b, .overlap = overlap};
            struct report_trial far = {.policy = "all-far", .step_ns = near_ns * (2.2 + off), .block = b, .overlap = overlap};

            report_add_trial(m, &near);
            report_add_trial(m, &far);
            for (int i = 0; i < LINES; i++) {
                const double at[] = {lines[i].at_10, lines[i].at_20, lines[i].at_50};

                for (int k = 0; k < 3; k++) {
                    double slowdown = overlap == 1 ? at[k] : 1 + (at[k] - 1) * 0.8;
                    struct report_trial t = {.policy = lines[i].name,
                                      .semantics = lines[i].semantics,
                                      .share = shares[k],
                                      .step_ns = near_ns * (slowdown + off),
                                      .block = b,
                                      .overlap = overlap};

                    report_add_trial(m, &t);
                }
            }
        }
    }
}

void report_init(struct report_sample *m, const char *job)
{
    *m = (struct report_sample){.folder = "/tmp/nearfar-report-XXXXXX"};
    assert_non_null(mkdtemp(m->folder));
    snprintf(m->path, sizeof m->path, "%s/t.nf", m->folder);
    snprintf(m->report, sizeof m->report, "%s/report", m->folder);
    if (nf_study_open(m->path, NF_STUDY_CREATE, &m->s))
        fail_msg("%s", nf_error_text(-EINVAL));
    assert_int_equal(nf_study_begin(m->s), 0); /* never committed: nothing waits for a disk */
    add_capture(m, job);
}

static void remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *e;

    while (dir && (e = readdir(dir))) {
        struct nf_buf path = {0};

        nf_buf_printf(&path, "%s/%s", folder, e->d_name);
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            unlink(path.data);
        nf_buf_deinit(&path);
    }
    if (dir)
        closedir(dir);
    rmdir(folder);
}

void report_deinit(struct report_sample *m)
{
    nf_study_close(m->s);
    remove_folder(m->report);
    remove_folder(m->folder);
}

void report_known(struct report_sample *m, int blocks)
{
    report_init(m, "[\"train\"]");
    report_add_profile(m);
    report_add_replay(m, 256 * MIB);
    report_add_blocks(m, blocks);
}

int report_write(struct report_sample *m)
{
    struct nf_report_options options = {.directory = m->report};
    int rc = nf_report_write(m->s, &options);

    if (rc)
        print_message("%s\n", nf_error_text(rc));
    return rc;
}

/* --- What came out. --- */

char *report_file(struct report_sample *m, const char *name)
{
    struct nf_buf path = {0}, b = {0};

    nf_buf_printf(&path, "%s/%s", m->report, name);
    if (nf_buf_read_file(&b, path.data, 64 << 20))
        fail_msg("%s", nf_error_text(-EIO));
    nf_buf_deinit(&path);
    return b.data;
}

void report_has(struct report_sample *m, const char *name, const char *text)
{
    char *found = report_file(m, name);

    if (!strstr(found, text))
        fail_msg("%s lacks: %s\nit is:\n%.4000s", name, text, found);
    free(found);
}

void report_lacks(struct report_sample *m, const char *name, const char *text)
{
    char *found = report_file(m, name);

    if (strstr(found, text))
        fail_msg("%s has: %s", name, text);
    free(found);
}

bool report_exists(struct report_sample *m, const char *name)
{
    struct nf_buf path = {0};
    bool yes;

    nf_buf_printf(&path, "%s/%s", m->report, name);
    yes = !access(path.data, R_OK);
    nf_buf_deinit(&path);
    return yes;
}

/* Python's own parsers, for every file that claims a format. */
void report_parses(struct report_sample *m)
{
    struct nf_buf command = {0};

    nf_buf_printf(&command,
                  "cd %s && python3 - <<'EOF'\n"
                  "import csv, glob, json, re, xml.etree.ElementTree as tree\n"
                  "for name in glob.glob('*.svg') + ['index.html']:\n"
                  "    tree.parse(name)\n"
                  "page = open('index.html', encoding='utf-8').read()\n"
                  "ids = re.findall(r'\\sid=[\"\\']([^\"\\']+)', page)\n"
                  "assert len(ids) == len(set(ids)), 'ids repeat'\n"
                  "assert not re.search(r'(src|href)=[\"\\'](?!#)', page), 'refers to something outside'\n"
                  "assert '<script' not in page\n"
                  "json.load(open('provenance.json', encoding='utf-8'))\n"
                  "for name in glob.glob('*.csv'):\n"
                  "    rows = list(csv.reader(open(name, encoding='utf-8', newline='')))\n"
                  "    assert len(rows) > 1 and len({len(r) for r in rows}) == 1, name\n"
                  "    assert not any(v in ('nan', '-nan', 'inf') for r in rows for v in r), name\n"
                  "EOF",
                  m->report);
    assert_int_equal(system(command.data), 0);
    nf_buf_deinit(&command);
}

void report_made(struct report_sample *m)
{
    assert_int_equal(report_write(m), 0);
    report_parses(m);
}
