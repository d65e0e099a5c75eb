#pragma once
/* One capture: the job run once per pass, its events reduced into the study. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/store/study.h"

struct nf_capture_options {
    char *const *job;  /* NULL-terminated argv */
    const char *const *sources; /* "NAME:options" of what observes beside the framework */
    size_t n_sources;
    bool bare, timing, access;
    const int *cpus; /* that the job may run on, n_cpus of them; none: as this process */
    unsigned n_cpus;
    bool quiet;       /* the job's output is not shown in any pass */
    bool unannounced; /* nor is it said that a pass begins */
};
#define NF_CAPTURE_OPTIONS_INIT                                                                      \
    (struct nf_capture_options) { .bare = true, .timing = true, .access = true }

/* Conditions beside -errno (cause set). In both what was captured is committed. */
enum {
    NF_CAPTURE_E_JOB = 1,         /* the job could not be run, failed, or was interrupted */
    NF_CAPTURE_E_NO_STEP = 2,     /* it ended well, but no optimizer step was seen */
    NF_CAPTURE_E_UNAVAILABLE = 3, /* a source cannot work here */
};

/* Whether the sources can take part, and with what they are told; before anything is written. 0, -EINVAL for what they are
 * told, NF_CAPTURE_E_UNAVAILABLE, NF_CAPTURE_E_JOB for a command that a source cannot run, -errno (cause set). */
int nf_capture_check(const struct nf_capture_options *o);
/* *capture_id: the row, > 0 once it exists. *job_status: exit status of the last pass that ran. */
int nf_capture_run(struct nf_study *study, int64_t invocation, const struct nf_capture_options *o, int64_t *capture_id,
                   int *job_status);

/* A bare run of the job. */
struct nf_capture_timing {
    uint64_t *step_ns;         /* malloc'ed, the caller's */
    uint32_t n;
    int job_status;
    char parameter_sha256[65]; /* of its final parameters, or "unknown" */
    uint64_t boundaries;       /* ops whose beginning it said, where it was asked to */
};
/* The job once, bare: its step times and nothing stored. Optional: prepare and attach as in capture/job.h.
 * 0, NF_CAPTURE_E_*, -errno. */
struct nf_capture_time_options {
    int (*prepare)(void *context);
    int (*attach)(void *context, pid_t pid);
    void *context; /* of both */
};
int nf_capture_time_job(const struct nf_capture_options *o, const struct nf_capture_time_options *with,
                        struct nf_capture_timing *out);
