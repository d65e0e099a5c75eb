#include "tests/unit/pmu-job.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/log.h"

/* libperf (of Linux 6.1) keeps an event's table of ids and its maps when it is deleted: some hundred bytes a capture. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:perf_evsel__alloc_id\nleak:perf_thread_map__\nleak:perf_cpu_map__\n";
}

static const char marker[] = "--pmu-job";

static void touch(struct pmu_job_part *part, uint64_t pages)
{
    char *p = mmap(NULL, pages * PMU_JOB_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        _exit(3);
    madvise(p, pages * PMU_JOB_PAGE, MADV_NOHUGEPAGE);
    part->address = (uintptr_t)p;
    part->pages = pages;
    part->pid = (uint32_t)getpid();
    part->tid = (uint32_t)syscall(SYS_gettid);
    part->from_ns = nf_now_ns();
    for (uint64_t i = 0; i < pages; i++)
        *(volatile char *)(p + i * PMU_JOB_PAGE + i % PMU_JOB_PAGE) = 1;
    part->to_ns = nf_now_ns();
}

static struct pmu_job_report *shared;

static void *second(void *arg)
{
    touch(&shared->parts[PMU_JOB_THREAD], shared->pages);
    return NULL;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void pmu_job_main(int argc, char **argv)
{
    uint64_t start_ns;
    pthread_t thread;
    pid_t child;

    if (argc < 3 || strcmp(argv[1], marker))
        return;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[2]), 0);
    if (shared == MAP_FAILED)
        _exit(3);
    touch(&shared->parts[PMU_JOB_MAIN], shared->pages);
    if (pthread_create(&thread, NULL, second, NULL) || pthread_join(thread, NULL))
        _exit(3);
    child = fork();
    if (!child) {
        touch(&shared->parts[PMU_JOB_CHILD], shared->pages);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    start_ns = cpu_ns();
    do {
        for (volatile int i = 0; i < 100000; i++)
            ;
    } while (cpu_ns() - start_ns < shared->spin_ns);
    _exit(0);
}

static void must(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

void pmu_job_share(struct pmu_job *j, uint64_t pages, uint64_t spin_ns)
{
    *j = (struct pmu_job){.go = -1};
    j->report_fd = memfd_create("pmu-job", 0);
    must(j->report_fd >= 0 && !ftruncate(j->report_fd, sizeof *j->report), "memfd");
    j->report = mmap(NULL, sizeof *j->report, PROT_READ | PROT_WRITE, MAP_SHARED, j->report_fd, 0);
    must(j->report != MAP_FAILED, "mmap");
    j->report->pages = pages;
    j->report->spin_ns = spin_ns;
}

void pmu_job_start(struct pmu_job *j, uint64_t pages, uint64_t spin_ns)
{
    int go[2];

    pmu_job_share(j, pages, spin_ns);
    must(!pipe2(go, O_CLOEXEC), "pipe");
    j->pid = fork();
    must(j->pid >= 0, "fork");
    if (!j->pid) {
        char fd[16], byte;

        close(go[1]);
        if (read(go[0], &byte, 1) != 1)
            _exit(4); /* the test gave up */
        snprintf(fd, sizeof fd, "%d", j->report_fd);
        execl("/proc/self/exe", "pmu-job", marker, fd, (char *)NULL);
        _exit(127);
    }
    close(go[0]);
    j->go = go[1];
}

void pmu_job_go(struct pmu_job *j)
{
    must(write(j->go, "g", 1) == 1, "write");
    close(j->go);
    j->go = -1;
}

int pmu_job_ended(struct pmu_job *j)
{
    if (j->pid > 0 && waitpid(j->pid, NULL, WNOHANG) == j->pid)
        j->pid = 0;
    return !j->pid;
}

void pmu_job_end(struct pmu_job *j)
{
    if (j->go >= 0)
        close(j->go);
    if (j->pid > 0) {
        kill(j->pid, SIGKILL);
        waitpid(j->pid, NULL, 0);
    }
    munmap(j->report, sizeof *j->report);
    close(j->report_fd);
}
