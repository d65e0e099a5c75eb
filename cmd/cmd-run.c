#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/session.h"
#include "cmd/command.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/model/stats.h"
#include "core/store/records.h"
#include "replay/hog.h"

struct arguments {
    uint64_t repetitions, capture, cpu, seed;
    bool hog;
};

static const struct nf_option options[] = {
    {"hog", 0, NF_OPTION_FLAG, offsetof(struct arguments, hog), NULL, "run the job alternately alone and beside a bandwidth hog on another CPU"},
    {"repetitions", 'r', NF_OPTION_U64, offsetof(struct arguments, repetitions), "N", "runs of each kind (default 3)"},
    {"capture", 0, NF_OPTION_U64, offsetof(struct arguments, capture), "ID", "the capture the runs are held against (default the latest)"},
    {"cpu", 'c', NF_OPTION_U64, offsetof(struct arguments, cpu), "N", "the CPU the job is pinned to (default 0)"},
    {"seed", 0, NF_OPTION_U64, offsetof(struct arguments, seed), "N", "of the order of runs (default 1)"},
    {0},
};

static int record(struct nf_study *study, int64_t invocation, int64_t capture, unsigned repetition, const char *kind,
                  int status, const uint64_t *step_ns, uint32_t n)
{
    struct nf_buf steps = {0};
    struct nf_query *q;
    int rc;

    nf_buf_puts(&steps, "[");
    for (uint32_t i = 0; i < n; i++)
        nf_buf_printf(&steps, "%s%llu", i ? "," : "", (unsigned long long)step_ns[i]);
    nf_buf_puts(&steps, "]");
    rc = steps.failed ? nf_fail(-ENOMEM, "out of memory")
                      : nf_study_query(study, "INSERT INTO live_run(invocation_id, capture_id, repetition, kind, "
                                              "exit_status, steps, step_ns, evidence) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, "
                                              "?8)", &q);
    if (!rc) {
        nf_query_bind_i64(q, 1, invocation);
        nf_query_bind_i64(q, 2, capture);
        nf_query_bind_i64(q, 3, repetition);
        nf_query_bind_text(q, 4, kind);
        nf_query_bind_i64(q, 5, status);
        nf_query_bind_i64(q, 6, n);
        nf_query_bind_text(q, 7, steps.data);
        nf_query_bind_i64(q, 8, NF_EVIDENCE_MEASURED_DEVICE);
        rc = nf_query_run(q);
    }
    nf_buf_deinit(&steps);
    return rc;
}

/* Median step, the first left out: it builds the optimizer's state. */
static double median_step_ns(const uint64_t *step_ns, uint32_t n)
{
    double *v = malloc((n + 1) * sizeof *v), median;

    if (!v)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        v[i] = (double)step_ns[i];
    median = n > 1 ? nf_median(v + 1, n - 1) : n ? v[0] : 0;
    free(v);
    return median;
}

static int run_once(struct nf_study *study, int64_t invocation, int64_t capture, const struct nf_capture_options *o,
                    unsigned repetition, bool hog, uint64_t llc_bytes, int *status)
{
    const char *kind = hog ? "hog" : "alone";
    struct nf_hog *thief = NULL;
    uint64_t *step_ns = NULL;
    double bps = 0;
    uint32_t n = 0;
    int rc = hog ? nf_hog_start(o->cpu, llc_bytes, &thief) : 0;

    if (rc)
        return rc;
    rc = nf_capture_time_job(o, &step_ns, &n, status);
    nf_hog_stop(thief, &bps);
    if (n) {
        int late = record(study, invocation, capture, repetition, kind, *status, step_ns, n);

        if (!rc)
            rc = late;
    }
    if (!rc)
        fprintf(stderr, "  run %u, %-5s  %u steps, median %.1f ms%s", repetition + 1, kind, n,
                median_step_ns(step_ns, n) / 1e6, hog ? "" : "\n");
    if (!rc && hog)
        fprintf(stderr, ", hog at %.1f GB/s\n", bps / 1e9);
    free(step_ns);
    return rc;
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {.repetitions = 3, .seed = 1};
    struct nf_capture_options o = NF_CAPTURE_OPTIONS_INIT;
    int first, n, code = NF_EXIT_OK, rc, status = 0;
    struct nf_study *study;
    int64_t capture, invocation;
    struct nf_rng rng;
    char message[512], why[256];

    if (nf_command_parse(self, argc, argv, &a, 0, &first, &n, &code))
        return code;
    if (n < 1)
        return nf_command_usage(self, "a study is wanted, then -- and the job's command");
    /* Options may stand on both sides of the study. */
    {
        char *path = argv[first];
        int more, rest;

        if (nf_command_parse(self, argc - first - 1, argv + first + 1, &a, 0, &more, &rest, &code))
            return code;
        o.job = argv + first + 1 + more;
        n = rest;
        argv[first] = path;
    }
    if (n < 1)
        return nf_command_usage(self, "the job's command is missing (after --)");
    if (!a.repetitions || a.repetitions > 1000)
        return nf_command_usage(self, "--repetitions wants 1 to 1000");
    if (a.hog && nf_hog_probe(why, sizeof why)) {
        fprintf(stderr, "nearfar: no hog here: %s\n", why);
        return NF_EXIT_CANNOT;
    }
    o.cpu = (int)a.cpu;
    o.quiet = true;
    rc = nf_study_open(argv[first], NF_STUDY_WRITE, &study);
    if (rc)
        return nf_command_fail(rc);
    capture = nf_record_capture_find(study, (int64_t)a.capture);
    invocation = capture < 0 ? capture : nf_record_invocation(study, argc + 2, argv - 2);
    if (invocation < 0) {
        code = nf_command_fail((int)invocation);
        nf_study_close(study);
        return code;
    }
    rng.state = a.seed;
    for (unsigned i = 0; !rc && i < a.repetitions; i++) {
        bool hog_first = a.hog && nf_rng_below(&rng, 2);

        nf_progress("run %u of %llu", i + 1, (unsigned long long)a.repetitions);
        rc = run_once(study, invocation, capture, &o, i, hog_first, nf_record_llc(study), &status);
        if (!rc && a.hog)
            rc = run_once(study, invocation, capture, &o, i, !hog_first, nf_record_llc(study), &status);
    }
    nf_progress_end();
    snprintf(message, sizeof message, "%s", rc ? nf_error_text(rc) : "");
    nf_record_invocation_end(study, invocation, rc ? "failed" : "complete", message);
    nf_study_close(study);
    if (!rc)
        return NF_EXIT_OK;
    fprintf(stderr, "nearfar: %s\n", message);
    return rc == NF_CAPTURE_E_JOB ? NF_EXIT_JOB : rc == NF_CAPTURE_E_UNAVAILABLE || rc == -ENODEV ? NF_EXIT_CANNOT
                                                                                                   : NF_EXIT_FAILED;
}

const struct nf_command nf_cmd_run = {
    .name = "run",
    .about = "time the real job itself, alone and beside a bandwidth hog, for the replay to be held against",
    .usage = "run STUDY [OPTIONS] -- COMMAND...",
    .text = "The job's output is not shown. Its step times go into the study; the report sets the replay's\n"
            "prediction of the slowdown beside them.",
    .options = options,
    .examples = {"nearfar run demo.nf --hog -- python3 examples/finetune.py --lora",
                 "nearfar run demo.nf --hog --repetitions 5 -- python3 examples/finetune.py --lora --steps 8"},
    .run = run,
};
