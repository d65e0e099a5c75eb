/* Reports of studies whose truth is known: every number is written into the study, and worked out by hand here. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "analyze/gnuplot.h"
#include "analyze/report.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/stream.h"
#include "core/store/study.h"
#include "core/store/visit-codec.h"

enum { MIB = 1 << 20, STEPS = 5, BLOCKS = 11 };
static const char hostile[] = "<script>alert('x')</script> \"q\" a,b | `c` \\ \n\x01\xff $(d) é";

/* --- A study, row by row. --- */

static int64_t insert(struct nf_study *s, struct nf_query *q)
{
    assert_int_equal(nf_query_run(q), 0);
    return nf_study_last_id(s);
}

static struct nf_query *query(struct nf_study *s, const char *sql)
{
    struct nf_query *q;

    if (nf_study_query(s, sql, &q))
        fail_msg("%s", nf_error_text(-EINVAL));
    return q;
}

struct sample {
    char folder[64], path[96], report[96];
    struct nf_study *s;
    int64_t capture, testbed, replay;
};

static void add_capture(struct sample *m, const char *job)
{
    struct nf_study *s = m->s;
    struct nf_query *q;

    q = query(s, "INSERT INTO machine(id, host, cpu, cpus, nodes,"
                 " memory_bytes, llc_reported_bytes, kernel, hypervisor, facts) VALUES(1, 'testhost', ?, 2, 1, "
                 "8589934592, 33554432, '6.1', 'none', '{}')");
    nf_query_bind_text(q, 1, job);
    insert(s, q);
    q = query(s, "INSERT INTO invocation(id, machine_id, started_utc,"
                 " tool_version, command, status, message) VALUES(1, 1, '2026-01-02T03:04:05Z', '0.1.0', "
                 "'[\"nearfar\"]', 'complete', '')");
    insert(s, q);
    q = query(s, "INSERT INTO capture(id, invocation_id, job, job_number, framework, language, threads, status)"
                 " VALUES(1, 1, ?, 7, 'torch', 'python', 2, 'complete')");
    nf_query_bind_text(q, 1, job);
    m->capture = insert(s, q);
    q = query(s,
              "INSERT INTO pass(id, capture_id, kind, source, access_evidence, status, exit_status, parameter_sha256)"
              " VALUES(1, 1, 1, 'none', 0, 'complete', 0, 'abc'), (2, 1, 3, 'framework', 1, 'complete', 0, 'abc')");
    insert(s, q);
}

/* Eight layers: forward keeps one activation each, backward reads them in reverse, the optimizer reads every parameter.
 */
static void add_profile(struct sample *m)
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

    q = query(s, "INSERT INTO step_class(id, capture_id, number, hash, op_hash, allocation_hash, ops, visits,"
                 " visited_bytes, peak_live_bytes, bare_step_ns, timing_ops_ns, correction_factor)"
                 " VALUES(1, 1, 0, 255, 1, 1, 24, 48, 1, 1, 1000000, 1000000, 1)");
    insert(s, q);
    q = query(
        s,
        "INSERT INTO step(pass_id, rank, number,"
        " class_id, dur_ns, allocation_hash, host_id) VALUES(2, 0, 0, 1, 1000000, 1, 1), (2, 0, 1, 1, 1000000, 1, 1)");
    insert(s, q);
    for (int i = 0; i < OPS; i++) {
        q = query(s, "INSERT INTO op(class_id, number, name_id, module_id, phase, microbatch, thread, regime, timed,"
                     " dur_mean_ns, dur_p50_ns) VALUES(1, ?, ?, ?, ?, 0, 0, 0, 1, 40000, 40000)");
        nf_query_bind_i64(q, 1, i);
        nf_query_bind_i64(q, 2, name);
        nf_query_bind_i64(q, 3, name);
        nf_query_bind_i64(q, 4,
                          i < LAYERS       ? NF_PHASE_FORWARD
                          : i < 2 * LAYERS ? NF_PHASE_BACKWARD
                                           : NF_PHASE_OPTIMIZER);
        insert(s, q);
    }
    for (int i = 0; i < TENSORS; i++) {
        int layer = i % LAYERS, kind = i / LAYERS; /* parameter, activation, backward temporary */
        int birth = kind == 0 ? NF_OP_BEFORE : kind == 1 ? layer : 2 * LAYERS - 1 - layer;
        int death = kind == 0 ? NF_OP_AFTER : 2 * LAYERS - 1 - layer;

        bytes[i] = (uint64_t)(kind == 0 ? 4 : kind == 1 ? 8 : 2) * MIB;
        q = query(s, "INSERT INTO tensor(id, capture_id, class_id, carry_slot, bytes, dtype_id, shape_id, name_id,"
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
        insert(s, q);
        q = query(s, "INSERT INTO lifetime(class_id, number, tensor_id, birth_op,"
                     " death_op, carry_in, carry_out, address) VALUES(1, ?1, ?1 + 1, ?2, ?3, ?4, ?4, ?5)");
        nf_query_bind_i64(q, 1, i);
        nf_query_bind_i64(q, 2, birth);
        nf_query_bind_i64(q, 3, death);
        if (kind)
            nf_query_bind_null(q, 4);
        else
            nf_query_bind_i64(q, 4, i);
        nf_query_bind_i64(q, 5, (int64_t)(i + 1) << 28);
        insert(s, q);
        q = query(s, "INSERT INTO role_interval(class_id, number, role,"
                     " from_op, to_op, name_id) VALUES(1, ?1, ?2, ?3, ?4, ?5)");
        nf_query_bind_i64(q, 1, i);
        nf_query_bind_i64(q, 2, kind == 0 ? NF_ROLE_PARAMETER : kind == 1 ? NF_ROLE_SAVED : NF_ROLE_BACKWARD_TEMP);
        nf_query_bind_i64(q, 3, birth);
        nf_query_bind_i64(q, 4, death);
        nf_query_bind_i64(q, 5, name);
        insert(s, q);
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
    q = query(s, "INSERT INTO visit_chunk(class_id, number, first_op, last_op,"
                 " visits, codec, crc32, raw_bytes, data) VALUES(1, 0, 0, 23, ?, 1, ?, ?, ?)");
    nf_query_bind_i64(q, 1, (int64_t)n);
    nf_query_bind_i64(q, 2, crc);
    nf_query_bind_i64(q, 3, (int64_t)raw);
    nf_query_bind_blob(q, 4, data, size);
    insert(s, q);
    nf_visit_codec_free(codec);
}

static void add_replay(struct sample *m, int64_t peak_live_bytes)
{
    struct nf_study *s = m->s;
    struct nf_query *q;

    q = query(s, "INSERT INTO testbed(id, invocation_id, machine_id,"
                 " llc_effective_bytes, page_bytes, conditions) VALUES(1, 1, 1, 16777216, 4096, '{}')");
    m->testbed = insert(s, q);
    q = query(s, "INSERT INTO tier(testbed_id, number, name, provider, spec, target_latency_ns, target_read_bps,"
                 " latency_ns, read_bps, write_bps, stream_parallelism, gather_parallelism, evidence) VALUES"
                 " (1, 0, 'local', 'numa', 'numa', 0, 0, 100, 20e9, 10e9, 31, 8, 1),"
                 " (1, 1, 'far', 'emulated', 'emulated', 200, 10e9, 201, 9.9e9, 9e9, 31, 8, 4)");
    insert(s, q);
    q = query(
        s, "INSERT INTO replay(id, invocation_id, capture_id, testbed_id, seed, peak_live_bytes, planned_trials,"
           " blocks, threads, llc_filter_bytes, status) VALUES(1, 1, 1, 1, 42, ?, 100, 11, 2, 16777216, 'complete')");
    nf_query_bind_i64(q, 1, peak_live_bytes);
    m->replay = insert(s, q);
}

struct trial {
    const char *policy, *semantics, *status, *message;
    double share, step_ns;
    int block, overlap, hog, evidence;
};

static void add_trial(struct sample *m, const struct trial *t)
{
    struct nf_query *q;
    int64_t id;

    q = query(m->s,
              "INSERT INTO trial(replay_id, block, position, policy, semantics, near_share, near_bytes, overlap, hog,"
              " status, message, warmup_steps, steps, wall_ns, step_ns, policy_ns, move_ns, stolen_ns, late_ns,"
              " saturated, floored_share, assumed_k_share, moves, moved_bytes, evidence) VALUES"
              " (1, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, 2, 5, ?, '[1]', 1000, 2000, 3000, 4000, 0, 0.01, 0.9, 3, ?, ?)");
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
    id = insert(m->s, q);
    q = query(m->s, "INSERT INTO trial_tier(trial_id, tier_number, read_bytes, write_bytes, charged_bytes,"
                    " moved_in_bytes, moved_out_bytes, peak_bytes, achieved_latency_ns, achieved_bps) VALUES(?1, 0, 0, "
                    "0, 0, 0, 0, 1, 0, 0),"
                    " (?1, 1, ?2, ?3, ?2, 0, 0, 0, 200, 9e9)");
    nf_query_bind_i64(q, 1, id);
    nf_query_bind_i64(q, 2, (int64_t)((1 - t->share) * STEPS * 300 * MIB));
    nf_query_bind_i64(q, 3, (int64_t)((1 - t->share) * STEPS * 100 * MIB));
    insert(m->s, q);
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
static void add_blocks(struct sample *m, int blocks)
{
    static const double shares[] = {0.1, 0.2, 0.5};

    for (int b = 0; b < blocks; b++) {
        double near_ns = 1e6 * (1 + b / 100.), off = (b - (blocks - 1) / 2) / 1000.;

        for (int overlap = 1; overlap <= 2; overlap++) {
            struct trial near = {.policy = "all-near", .share = 1, .step_ns = near_ns, .block = b, .overlap = overlap};
            struct trial far = {.policy = "all-far", .step_ns = near_ns * (2.2 + off), .block = b, .overlap = overlap};

            add_trial(m, &near);
            add_trial(m, &far);
            for (int i = 0; i < LINES; i++) {
                const double at[] = {lines[i].at_10, lines[i].at_20, lines[i].at_50};

                for (int k = 0; k < 3; k++) {
                    double slowdown = overlap == 1 ? at[k] : 1 + (at[k] - 1) * 0.8;
                    struct trial t = {.policy = lines[i].name,
                                      .semantics = lines[i].semantics,
                                      .share = shares[k],
                                      .step_ns = near_ns * (slowdown + off),
                                      .block = b,
                                      .overlap = overlap};

                    add_trial(m, &t);
                }
            }
        }
    }
}

static void sample_init(struct sample *m, const char *job)
{
    *m = (struct sample){.folder = "/tmp/nearfar-report-XXXXXX"};
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

static void sample_deinit(struct sample *m)
{
    nf_study_close(m->s);
    remove_folder(m->report);
    remove_folder(m->folder);
}

static int write_report(struct sample *m)
{
    struct nf_report_options options = {.directory = m->report};
    int rc = nf_report_write(m->s, &options);

    if (rc)
        print_message("%s\n", nf_error_text(rc));
    return rc;
}

/* --- What came out. --- */

static char *file(struct sample *m, const char *name)
{
    struct nf_buf path = {0}, b = {0};

    nf_buf_printf(&path, "%s/%s", m->report, name);
    if (nf_buf_read_file(&b, path.data, 64 << 20))
        fail_msg("%s", nf_error_text(-EIO));
    nf_buf_deinit(&path);
    return b.data;
}

static void assert_has(struct sample *m, const char *name, const char *text)
{
    char *found = file(m, name);

    if (!strstr(found, text))
        fail_msg("%s lacks: %s\nit is:\n%.4000s", name, text, found);
    free(found);
}

static void assert_lacks(struct sample *m, const char *name, const char *text)
{
    char *found = file(m, name);

    if (strstr(found, text))
        fail_msg("%s has: %s", name, text);
    free(found);
}

static bool exists(struct sample *m, const char *name)
{
    struct nf_buf path = {0};
    bool yes;

    nf_buf_printf(&path, "%s/%s", m->report, name);
    yes = !access(path.data, R_OK);
    nf_buf_deinit(&path);
    return yes;
}

/* Python's own parsers, for every file that claims a format. */
static void assert_parses(struct sample *m)
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
                  "for name in ('trials.csv', 'curve.csv'):\n"
                  "    rows = list(csv.reader(open(name, encoding='utf-8', newline='')))\n"
                  "    assert len(rows) > 1 and len({len(r) for r in rows}) == 1, name\n"
                  "    assert not any(v in ('nan', '-nan', 'inf') for r in rows for v in r), name\n"
                  "EOF",
                  m->report);
    assert_int_equal(system(command.data), 0);
    nf_buf_deinit(&command);
}

static void test_known(void **state)
{
    struct sample m;
    struct nf_query *q;

    sample_init(&m, "[\"train\"]");
    add_profile(&m);
    add_replay(&m, 256 * MIB);
    add_blocks(&m, BLOCKS);
    /* The real job: 1.25 times slower beside the hog. Replayed: 1.20 (full), 1.30 (none). */
    q = query(m.s,
              "INSERT INTO live_run(invocation_id, capture_id, repetition, kind, exit_status, steps, step_ns, evidence)"
              " VALUES(1, 1, 0, 'alone', 0, 4, '[9999, 1000, 5, 2000]', 1), (1, 1, 0, 'hog', 0, 1, '[1250]', 1),"
              " (1, 1, 1, 'alone', 0, 1, '[1000]', 1), (1, 1, 1, 'hog', 0, 1, '[ 1250 ]', 1),"
              " (1, 1, 2, 'hog', 1, 1, '[9]', 1), (1, 1, 2, 'alone', 0, 1, 'garbage', 1)");
    insert(m.s, q);
    for (int b = 0; b < BLOCKS; b++) {
        for (int overlap = 1; overlap <= 2; overlap++) {
            struct trial hog = {.policy = "all-near",
                                .share = 1,
                                .block = b,
                                .overlap = overlap,
                                .hog = 1,
                                .step_ns = 1e6 * (1 + b / 100.) * (overlap == 1 ? 1.2 : 1.3)};

            add_trial(&m, &hog);
        }
    }
    assert_int_equal(write_report(&m), 0);
    assert_parses(&m);

    /* Medians are exact: the offsets are symmetric. 1.7 / 1.3 at the middle block; all eleven differences one way. */
    assert_has(&m, "curve.csv", "\nnear-first,0.2,209715200,overlap=full,0,1,1.7,");
    assert_has(&m, "curve.csv", "\nnear-first,0.2,209715200,overlap=none,0,1,1.56,");
    assert_has(&m, "curve.csv", "\nregime-plan,0.2,209715200,overlap=full,0,1,1.3,1.2");
    assert_has(&m, "curve.csv", ",11,0,0,near-first,0.7647058824,0.0009765625,11,"); /* 2 / 2^11 */
    assert_has(&m, "curve.csv",
               "\nall-near,1,1048576000,overlap=full,0,1,1,1,1,11,0,0,none,unknown,unknown,0,1050000,0,0,0,");
    assert_has(&m, "summary.md",
               "With 20 % of peak live bytes near, regime-plan is the fastest policy that does not see the future: "
               "1.30× (overlap=full) to 1.24× (overlap=none) the time of all-near, 95 % intervals 1.29");
    assert_has(&m, "summary.md",
               "lru reaches 1.50× (overlap=full) to 1.40× (overlap=none), regime-plan against it: "
               "-13.3 % step time (overlap=full, p = 0.00098, significant), -11.4 %");
    assert_has(&m, "summary.md",
               "Evidence: injected-delay (far = 2.0× local latency, 0.5× local read bandwidth), k assumed for up to 90 "
               "% of far bytes; 11 blocks");
    assert_lacks(&m, "summary.md", "not publishable");
    assert_lacks(&m, "summary.md", "LLC-resident");
    /* Consistency: 1.05 ms at the middle block / 1 ms captured. Fidelity: 1.2 / 1.25 - 1 and 1.3 / 1.25 - 1. */
    assert_has(&m, "summary.md", "| overlap=full | 1.050 ");
    assert_has(&m, "summary.md", "| 1.200 \\[1.200, 1.200\\] | 1.250 \\[1.250, 1.250\\] | -4 % |");
    assert_has(&m, "summary.md", "| 1.250 \\[1.250, 1.250\\] | 4 % |");
    assert_has(&m, "summary.md", "2 runs alone (median step 1.00 us), 2 beside the hog (1.25 us), 2 failed");
    /* The profile: eight parameters of 4 MiB, read in forward and backward, updated: 3 × 32 MiB read. */
    assert_has(&m, "summary.md", "| parameter | 8 | 8 | 32.00 MiB | 32.00 MiB | 32.00 MiB | 96.00 MiB | 32.00 MiB |");
    assert_has(&m, "summary.md", "| saved activation | 8 | 0 | 64.00 MiB | 64.00 MiB |");
    assert_has(&m, "provenance.json", "\"step_class_hash\": \"00000000000000ff\"");
    assert_has(&m, "provenance.json", "\"study\": \"t.nf\"");
    if (!nf_gnuplot_probe()) {
        assert_has(&m, "policy-curve.svg", "evidence: injected-delay (far = 2.0× local latency");
        assert_has(&m, "far-demand.svg", "evidence: injected-delay");
        assert_has(&m, "live-bytes.svg", "evidence: accesses framework 100 %");
        assert_has(&m, "gaps.svg", "effective LLC 16.00 MiB");
        assert_true(exists(&m, "policy-curve.pdf"));
        assert_false(exists(&m, "policy-curve-asap.svg"));
    }
    sample_deinit(&m);
}

static void test_nothing(void **state)
{
    struct sample m;
    struct nf_report_options options = {.directory = m.report, .replay = 99};

    sample_init(&m, "[]");
    assert_int_equal(write_report(&m), -ENOENT);
    assert_non_null(strstr(nf_error_text(-ENOENT), "holds no trials to report"));
    add_replay(&m, MIB);
    assert_int_equal(write_report(&m), -ENOENT);
    assert_int_equal(nf_report_write(m.s, &options), -ENOENT);
    assert_non_null(strstr(nf_error_text(-ENOENT), "replay 99"));
    assert_false(exists(&m, "index.html"));
    sample_deinit(&m);
}

static void test_one_block(void **state)
{
    struct sample m;

    sample_init(&m, "[]");
    add_replay(&m, 20 * MIB);
    add_blocks(&m, 1);
    assert_int_equal(write_report(&m), 0);
    assert_parses(&m);
    assert_has(&m, "summary.md", "demo, not publishable (1 block)");
    assert_has(&m, "summary.md", "LLC-resident (peak live 20.00 MiB &lt; 4 × 16.00 MiB effective LLC)");
    assert_has(&m, "summary.md", "(overlap=full, p = 1, not significant)");
    assert_has(&m, "summary.md", "## The captured profile\n\nunknown: ");
    assert_has(&m, "summary.md", "prediction error beside a bandwidth hog: unknown");
    if (!nf_gnuplot_probe()) {
        assert_has(&m, "policy-curve.svg", "demo, not publishable (1 block)");
        assert_has(&m, "policy-curve.svg", "LLC-resident");
    }
    sample_deinit(&m);
}

/* Trials that do not count, an informed policy that loses, and an outlier that is kept. */
static void test_left_out(void **state)
{
    struct sample m;
    struct trial odd[] = {
        {.policy = "lru",
         .share = 0.2,
         .block = 0,
         .overlap = 1,
         .step_ns = 1e9,
         .status = "unsteady",
         .message = "near residency still moves by 7 %"},
        {.policy = "lru", .share = 0.3, .block = 0, .overlap = 1, .step_ns = 1, .status = "failed"},
        {.policy = "lru",
         .share = 0.2,
         .block = 1,
         .overlap = 1,
         .step_ns = 1,
         .status = "discarded",
         .message = "by hand"},
        {.policy = "lru",
         .share = 0.2,
         .block = 2,
         .overlap = 1,
         .step_ns = 1,
         .evidence = NF_EVIDENCE_EMULATED_MACHINE},
        {.policy = "lru", .share = 0.2, .block = 3, .overlap = 1},
        {.policy = "alone", .share = 0.2, .block = 77, .overlap = 1, .step_ns = 5e6},
    };

    sample_init(&m, "[]");
    add_replay(&m, 256 * MIB);
    for (int b = 0; b < 10; b++) {
        for (int overlap = 1; overlap <= 2; overlap++) {
            struct trial near = {.policy = "all-near", .share = 1, .step_ns = 1e6, .block = b, .overlap = overlap};
            struct trial lru = {.policy = "lru",
                                .share = 0.2,
                                .step_ns = b == 9 ? 9e6 : 1.2e6 + 100 * b,
                                .block = b,
                                .overlap = overlap};
            struct trial plan = {.policy = "plan",
                                 .semantics = "in-place; sees profile",
                                 .share = 0.2,
                                 .step_ns = 1.5e6 + 100 * b,
                                 .block = b,
                                 .overlap = overlap};

            add_trial(&m, &near);
            add_trial(&m, &lru);
            add_trial(&m, &plan);
        }
    }
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        add_trial(&m, &odd[i]);
    assert_int_equal(write_report(&m), 0);
    assert_parses(&m);
    assert_has(&m, "summary.md", "lru is the fastest policy that does not see the future");
    assert_has(&m, "summary.md", "seeing the profile did not win: the best policy that does, plan, against lru: +25");
    assert_has(&m, "summary.md",
               "5 of 66 trials are in no curve: 1 unsteady, 1 failed, 3 for other reasons. 1 more had no");
    assert_has(&m, "summary.md", "| lru | 20 % | 0 | overlap=full | unsteady | near residency still moves by 7 % |");
    assert_has(&m, "summary.md", "an emulated machine is functional only: barred from curves");
    assert_has(&m, "summary.md", "no measured step");
    assert_has(&m, "curve.csv", "\nlru,0.2,209715200,overlap=full,0,1,1.20045,"); /* all ten, the outlier among them */
    assert_has(&m, "curve.csv", ",10,1,0,");
    assert_has(&m, "trials.csv", ",failed,no reason given,");
    sample_deinit(&m);
}

/* A capture without durations has no slowdown, whatever was replayed of it. */
static void test_no_durations(void **state)
{
    struct sample m;

    sample_init(&m, "[]");
    insert(m.s, query(m.s, "UPDATE capture SET durations = 'unknown', lifetimes = 'inferred', phases = 'inferred'"));
    add_replay(&m, 256 * MIB);
    for (int b = 0; b < 10; b++) {
        for (int overlap = 0; overlap <= 2; overlap++) {
            struct trial near = {.policy = "all-near", .share = 1, .step_ns = 1e6, .block = b, .overlap = overlap};
            struct trial lru = {.policy = "lru", .share = 0.2, .step_ns = 2e6, .block = b, .overlap = overlap};

            add_trial(&m, &near);
            add_trial(&m, &lru);
        }
    }
    assert_int_equal(write_report(&m), 0);
    assert_parses(&m);
    assert_has(&m, "summary.md", "no slowdown of the job is stated");
    assert_has(&m, "summary.md", "Lifetimes inferred, phases inferred, durations unknown.");
    assert_has(&m, "provenance.json", "\"durations\": \"unknown\"");
    assert_lacks(&m, "summary.md", "Slowdown against all-near");
    assert_lacks(&m, "summary.md", "lru is the");
    assert_false(exists(&m, "policy-curve.gp"));
    assert_true(exists(&m, "policy-curve-asap.gp"));
    assert_has(&m, "policy-curve-asap.gp", "time of the memory accesses alone");
    assert_has(&m, "policy-curve-asap.gp", "this is no slowdown of the job");
    sample_deinit(&m);
}

static void test_hostile(void **state)
{
    struct sample m;

    sample_init(&m, hostile);
    add_replay(&m, 256 * MIB);
    for (int b = 0; b < 2; b++) {
        struct trial near = {.policy = "all-near", .share = 1, .step_ns = 1e6, .block = b, .overlap = 1};
        struct trial bad = {
            .policy = hostile, .semantics = hostile, .share = 0.2, .step_ns = 2e6, .block = b, .overlap = 1};
        struct trial worse = {
            .policy = hostile, .share = 0.3, .block = b, .overlap = 1, .status = "failed", .message = hostile};

        add_trial(&m, &near);
        add_trial(&m, &bad);
        add_trial(&m, &worse);
    }
    assert_int_equal(write_report(&m), 0);
    assert_parses(&m);
    assert_has(&m, "index.html", "&lt;script&gt;alert('x')&lt;/script&gt;");
    assert_lacks(&m, "index.html", "\x01");
    assert_has(&m, "provenance.json", "\\\"q\\\" a,b");
    assert_has(&m, "trials.csv", "\"<script>alert('x')</script> \"\"q\"\" a,b");
    if (!nf_gnuplot_probe()) {
        assert_true(exists(&m, "policy-curve.svg"));
        assert_lacks(&m, "index.html", "not drawn");
    }
    sample_deinit(&m);
}

/* Without gnuplot everything but the drawings is there, and the report says why they are not. */
static void test_no_gnuplot(void **state)
{
    struct sample m;
    char *path = strdup(getenv("PATH"));

    sample_init(&m, "[]");
    add_replay(&m, 256 * MIB);
    add_blocks(&m, 2);
    assert_int_equal(write_report(&m), 0);
    setenv("PATH", "/nonexistent", 1);
    assert_int_equal(write_report(&m), 0);
    setenv("PATH", path, 1);
    free(path);
    assert_false(exists(&m, "policy-curve.svg")); /* the earlier one is gone */
    assert_true(exists(&m, "policy-curve.gp"));
    assert_true(exists(&m, "policy-curve.dat"));
    assert_has(&m, "index.html", "gnuplot is not on PATH");
    assert_has(&m, "summary.md", "gnuplot is not on PATH");
    assert_parses(&m);
    sample_deinit(&m);
}

static void test_gnuplot_fails(void **state)
{
    struct sample m;
    struct nf_buf path = {0};
    int rc;

    if (nf_gnuplot_probe())
        skip();
    sample_init(&m, "[]");
    nf_buf_printf(&path, "%s/bad.gp", m.folder);
    assert_int_equal(nf_file_write(path.data, "plot nonsense(\n", 15), 0);
    rc = nf_gnuplot_run(m.folder, "bad.gp", 10000);
    assert_int_equal(rc, -EIO);
    assert_non_null(strstr(nf_error_text(rc), "gnuplot failed on bad.gp: "));
    assert_null(strchr(nf_error_text(rc), '\n'));
    assert_int_equal(nf_file_write(path.data, "pause 60\n", 9), 0);
    rc = nf_gnuplot_run(m.folder, "bad.gp", 200);
    assert_int_equal(rc, -ETIMEDOUT);
    nf_buf_deinit(&path);
    sample_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),         cmocka_unit_test(test_nothing), cmocka_unit_test(test_one_block),
        cmocka_unit_test(test_left_out),      cmocka_unit_test(test_hostile), cmocka_unit_test(test_no_gnuplot),
        cmocka_unit_test(test_gnuplot_fails),   cmocka_unit_test(test_no_durations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
