#pragma once
/* Runs the user's job as a child with a few environment variables changed, and nothing else. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct nf_job_options {
    char *const *argv;  /* NULL-terminated */
    bool quiet;         /* its stdout and stderr go to a memory file instead of ours */
    const int *cpus;    /* that it may run on, n_cpus of them; none: as this process */
    unsigned n_cpus;
    /* Environment changes as NAME=VALUE; "NAME+=VALUE" puts VALUE and ':' in front of what is there. NULL-terminated. */
    const char *const *environment;
    /* Optional: called while the child exists and has not executed the job yet. Not 0: it never does. */
    int (*attach)(void *context, pid_t pid);
    void *context;
    /* Optional: called in the child, just before it executes the job; async-signal-safe. 0, or -errno: the job does not
     * run. */
    int (*prepare)(void *prepare_context);
    void *prepare_context;
};

struct nf_job {
    pid_t pid;
    int output_fd; /* memory file of a quiet job, else -1 */
    bool ended;
    int exit_status;  /* as a shell reports it: 0..255, 128 + signal */
    uint64_t wall_ns, cpu_ns;
    uint64_t started_ns;
};

/* 0, or -errno with the cause set: -ENOENT and -EACCES say that the program cannot be run. NF_JOB_E_ATTACH: attach failed
 * and set the cause. */
enum { NF_JOB_E_ATTACH = 1 };
int nf_job_start(const struct nf_job_options *o, struct nf_job *job);
/* Has it ended? Fills exit_status and times once it has. */
bool nf_job_poll(struct nf_job *job);
/* Asks it to end (SIGTERM), then makes it (SIGKILL) after a second. Waits. */
void nf_job_stop(struct nf_job *job);
/* The last lines of a quiet job's output into text. */
void nf_job_tail(const struct nf_job *job, char *text, size_t size);
void nf_job_deinit(struct nf_job *job);

/* SIGINT and SIGTERM set a flag while a job runs, so that what was captured is committed first. */
void nf_job_catch_signals(void);
bool nf_job_interrupted(void);
