#pragma once
/* A small job for sources to watch: this very program again, which touches pages it tells of, in its main thread, in a
 * second thread and in a forked child. */
#include <stdint.h>
#include <sys/types.h>

enum { PMU_JOB_MAIN, PMU_JOB_THREAD, PMU_JOB_CHILD, PMU_JOB_PARTS, PMU_JOB_PAGE = 4096 };

struct pmu_job_part {
    uint64_t address, pages; /* page i was written at address + i * PMU_JOB_PAGE + i % 4096 */
    uint64_t from_ns, to_ns; /* CLOCK_MONOTONIC */
    uint32_t pid, tid;
};

/* What the job shares with the test, in a memory file. */
struct pmu_job_report {
    uint64_t pages;        /* asked for, of each part */
    uint64_t spin_ns;      /* CPU time to burn afterwards in the main thread; UINT64_MAX: until it is killed */
    struct pmu_job_part parts[PMU_JOB_PARTS];
};

struct pmu_job {
    pid_t pid;
    int go; /* closing it lets the job run on into its program */
    struct pmu_job_report *report;
    int report_fd;
};

/* To be called first in main: in the job it does the work and does not return. */
void pmu_job_main(int argc, char **argv);
/* The report alone, for a job that somebody else starts: the arguments of this program are "--pmu-job" and report_fd. */
void pmu_job_share(struct pmu_job *j, uint64_t pages, uint64_t spin_ns);
/* A process that has not executed the job's program yet. */
void pmu_job_start(struct pmu_job *j, uint64_t pages, uint64_t spin_ns);
void pmu_job_go(struct pmu_job *j);
int pmu_job_ended(struct pmu_job *j); /* reaps it; 1 when it has ended */
void pmu_job_end(struct pmu_job *j);  /* kills what still runs, frees */
