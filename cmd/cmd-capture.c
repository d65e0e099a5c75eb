#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/session.h"
#include "capture/source.h"
#include "cmd/command.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/units.h"
#include "core/store/records.h"
#include "replay/pin.h"

struct arguments {
    const char *output, *passes;
    struct nf_option_list sources;
    uint64_t cpu;
    bool quiet;
};

static const struct nf_option options[] = {
    {"output", 'o', NF_OPTION_STRING, offsetof(struct arguments, output), "STUDY", "the study to add the capture to (created when absent)"},
    {"source", 's', NF_OPTION_LIST, offsetof(struct arguments, sources), "NAME[:OPTIONS]", "observe with this source beside the framework; several are fine (see nearfar doctor)"},
    {"passes", 'p', NF_OPTION_STRING, offsetof(struct arguments, passes), "LIST", "of bare,access,timing (default all three; the job runs once for each)"},
    {"cpu", 'c', NF_OPTION_U64, offsetof(struct arguments, cpu), "N", "pin the job to one CPU"},
    {"quiet", 'q', NF_OPTION_FLAG, offsetof(struct arguments, quiet), NULL, "hide the job's output in every pass, not only after the first"},
    {0},
};

static int parse_passes(const char *text, struct nf_capture_options *o)
{
    char copy[64], *save = NULL;

    o->bare = o->access = o->timing = false;
    if (strlen(text) >= sizeof copy)
        return -1;
    memcpy(copy, text, strlen(text) + 1);
    for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        if (!strcmp(p, "bare"))
            o->bare = true;
        else if (!strcmp(p, "access"))
            o->access = true;
        else if (!strcmp(p, "timing"))
            o->timing = true;
        else
            return -1;
    }
    return o->bare || o->access || o->timing ? 0 : -1;
}

/* More than this share of a source's samples lost, and it is said before anything else. */
#define LOST_SHARE_MAX 0.01

/* What each source beside the framework saw, lost and could not attribute. */
static void summarize_sources(struct nf_study *study, int64_t capture, bool only_lossy)
{
    static const char *const less[] = {"to no tensor", "outside the memory it watches", "of other processes",
                                       "outside the steps"};
    struct nf_query *q;

    if (nf_study_query(study, "SELECT o.source, o.validated, o.samples, o.attributed, o.unattributed, o.out_of_arena, "
                              "o.other_process, o.outside_steps, o.lost, o.throttled, o.undecoded, o.notes, (SELECT "
                              "sum(sightings) FROM sighting x WHERE x.observation_id = o.id) FROM observation o JOIN pass p "
                              "ON p.id = o.pass_id WHERE p.capture_id = ?1 ORDER BY o.id", &q))
        return;
    nf_query_bind_i64(q, 1, capture);
    while (nf_query_step(q) == 1) {
        double samples = nf_query_f64(q, 2), lost = nf_query_f64(q, 8);
        double share = lost > 0 ? lost / (samples + lost) : 0;

        if (only_lossy) {
            if (share > LOST_SHARE_MAX)
                nf_warn("source %s lost %.1f %% of its samples (%.0f of %.0f): what it saw is incomplete", nf_query_text(q, 0),
                        share * 100, lost, samples + lost);
            continue;
        }
        fprintf(stderr, "  source %s%s: %.0f samples, %.0f attributed", nf_query_text(q, 0),
                nf_query_i64(q, 1) ? "" : " (not validated on hardware)", samples, nf_query_f64(q, 3));
        for (int i = 0; i < (int)(sizeof less / sizeof *less); i++)
            if (nf_query_i64(q, 4 + i))
                fprintf(stderr, ", %.0f %s", nf_query_f64(q, 4 + i), less[i]);
        fprintf(stderr, ", %.0f lost", lost);
        if (nf_query_i64(q, 9))
            fprintf(stderr, ", throttled %.0f times", nf_query_f64(q, 9));
        if (nf_query_i64(q, 10))
            fprintf(stderr, ", %.0f not decoded", nf_query_f64(q, 10));
        if (*nf_query_text(q, 11))
            fprintf(stderr, "\n    %s", nf_query_text(q, 11));
        fputc('\n', stderr);
    }
    nf_query_done(q);
}

/* What was captured, for the person who waited for it. */
static void summarize(struct nf_study *study, int64_t capture)
{
    char peak[NF_UNITS_TEXT], live[NF_UNITS_TEXT];
    struct nf_query *q;

    if (nf_study_query(study, "SELECT p.kind, p.steps, p.ops, p.lost_events, p.unattributed_visits, "
                              "p.allocator_peak_bytes, p.tracked_peak_bytes, p.notes, p.unmatched_steps, "
                              "p.skipped_device_storages, p.other_processes FROM pass p WHERE p.capture_id = ?1 "
                              "ORDER BY p.id", &q))
        return;
    nf_query_bind_i64(q, 1, capture);
    summarize_sources(study, capture, true);
    while (nf_query_step(q) == 1) {
        fprintf(stderr, "  %-6s %3lld steps", nf_pass_kind_name((unsigned)nf_query_i64(q, 0)),
                (long long)nf_query_i64(q, 1));
        if (nf_query_i64(q, 0) == NF_PASS_BARE)
            fprintf(stderr, ", allocator peak %s", nf_format_bytes(peak, nf_query_f64(q, 5)));
        else
            fprintf(stderr, ", %lld ops, %lld events lost", (long long)nf_query_i64(q, 2), (long long)nf_query_i64(q, 3));
        if (nf_query_i64(q, 0) == NF_PASS_ACCESS)
            fprintf(stderr, ", tracked peak %s, %lld visits unattributed", nf_format_bytes(live, nf_query_f64(q, 6)),
                    (long long)nf_query_i64(q, 4));
        if (nf_query_i64(q, 8))
            fprintf(stderr, ", %lld steps unlike any of the access pass", (long long)nf_query_i64(q, 8));
        if (nf_query_i64(q, 9))
            fprintf(stderr, ", %lld storages on other devices not captured", (long long)nf_query_i64(q, 9));
        if (nf_query_i64(q, 10))
            fprintf(stderr, ", %lld other processes not captured", (long long)nf_query_i64(q, 10));
        if (*nf_query_text(q, 7))
            fprintf(stderr, "; not seen: %s", nf_query_text(q, 7));
        fputc('\n', stderr);
    }
    nf_query_done(q);
    summarize_sources(study, capture, false);
}

static int exit_code(int rc)
{
    switch (rc) {
    case -EINVAL: return NF_EXIT_USAGE; /* what a source was told contradicts itself */
    case NF_CAPTURE_E_JOB: return NF_EXIT_JOB;
    case NF_CAPTURE_E_UNAVAILABLE: return NF_EXIT_CANNOT;
    default: return NF_EXIT_FAILED;
    }
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {.cpu = UINT64_MAX};
    struct nf_capture_options o = NF_CAPTURE_OPTIONS_INIT;
    struct nf_study *study;
    int64_t invocation, capture = 0;
    int first, n, code = NF_EXIT_OK, rc, job_status = 0, cpu;
    char message[512];

    if (nf_command_parse(self, argc, argv, &a, 0, &first, &n, &code))
        return code;
    if (!a.output)
        return nf_command_usage(self, "-o STUDY is missing");
    if (n < 1)
        return nf_command_usage(self, "the job's command is missing (after --)");
    if (a.passes && parse_passes(a.passes, &o))
        return nf_command_usage(self, "--passes wants a list of bare, access, timing");
    for (size_t i = 0; i < a.sources.n; i++) {
        const struct nf_source_ops *ops;
        void *source_options;

        rc = nf_source_parse(a.sources.v[i], &ops, &source_options);
        free(source_options);
        if (rc)
            return rc == -EINVAL ? nf_command_usage(self, nf_error_text(0)) : nf_command_fail(rc);
    }
    if (a.sources.n && !o.access)
        return nf_command_usage(self, "sources observe the access pass, which --passes leaves out");
    if (a.cpu != UINT64_MAX && (a.cpu > INT_MAX || !nf_pin_allows((int)a.cpu)))
        return nf_command_usage(self, "--cpu: there is no such CPU for this process (nproc, taskset -p $$)");
    o.job = argv + first;
    o.sources = a.sources.v;
    o.n_sources = a.sources.n;
    o.quiet = a.quiet;
    cpu = (int)a.cpu;
    o.cpus = &cpu;
    o.n_cpus = a.cpu != UINT64_MAX;
    rc = nf_capture_check(&o);
    if (rc) {
        fprintf(stderr, "nearfar: %s\n", nf_error_text(rc));
        return exit_code(rc);
    }
    rc = nf_study_open(a.output, NF_STUDY_CREATE, &study);
    if (rc)
        return nf_command_fail(rc);
    invocation = nf_record_invocation(study, argc + 2, argv - 2);
    if (invocation < 0) {
        nf_study_close(study);
        return nf_command_fail((int)invocation);
    }
    rc = nf_capture_run(study, invocation, &o, &capture, &job_status);
    snprintf(message, sizeof message, "%s", rc ? nf_error_text(rc) : "");
    if (capture)
        summarize(study, capture);
    nf_record_invocation_end(study, invocation, rc ? "failed" : "complete", message);
    nf_study_close(study);
    if (!rc) {
        nf_info("captured into %s; next: nearfar show %s", a.output, a.output);
        return NF_EXIT_OK;
    }
    fprintf(stderr, "nearfar: %s\n", message);
    return exit_code(rc);
}

const struct nf_command nf_cmd_capture = {
    .name = "capture",
    .about = "run a training job and record its tensors, operators and accesses in a study",
    .usage = "capture -o STUDY [OPTIONS] -- COMMAND...",
    .text = "The job is run unchanged, once per pass: bare (its own speed, peak and final parameters),\n"
            "access (what it touches) and timing (how long each operator takes). Its output is shown\n"
            "in the first pass. A job that writes files writes them once per pass.",
    .options = options,
    .examples = {"nearfar capture -o demo.nf -- python3 examples/finetune.py --lora",
                 "nearfar capture -o demo.nf --passes bare,access -- ./train.sh --epochs 1"},
    .run = run,
};
