#include "capture/job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/log.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

void nf_job_catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};

    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

bool nf_job_interrupted(void)
{
    return interrupted;
}

static int change_environment(const char *const *changes)
{
    for (; changes && *changes; changes++) {
        const char *eq = strchr(*changes, '='), *old = NULL;
        char name[128];
        bool front = eq > *changes && eq[-1] == '+';
        size_t n = (size_t)(eq - *changes) - front;

        if (n >= sizeof name)
            return -EINVAL;
        memcpy(name, *changes, n);
        name[n] = '\0';
        if (front)
            old = getenv(name);
        if (old && *old) {
            char *joined = NULL;
            int rc;

            if (asprintf(&joined, "%s:%s", eq + 1, old) < 0)
                return -ENOMEM;
            rc = setenv(name, joined, 1);
            free(joined);
            if (rc)
                return -ENOMEM;
        } else if (setenv(name, eq + 1, 1)) {
            return -ENOMEM;
        }
    }
    return 0;
}

/* In the child. Reports why exec failed through the pipe. */
static void child(const struct nf_job_options *o, int output_fd, int report_fd, int go_fd, pid_t parent)
{
    char go;
    int rc;

    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    /* A job must not outlive a killed tool: nobody would read its ring or know that it runs. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    if (o->n_cpus) {
        cpu_set_t set;

        CPU_ZERO(&set);
        for (unsigned i = 0; i < o->n_cpus; i++)
            CPU_SET((size_t)o->cpus[i], &set);
        sched_setaffinity(0, sizeof set, &set);
    }
    if (output_fd >= 0) {
        dup2(output_fd, STDOUT_FILENO);
        dup2(output_fd, STDERR_FILENO);
    }
    rc = change_environment(o->environment);
    /* The parent closes its end without a word when the job is not to run. */
    if (o->attach && read(go_fd, &go, 1) != 1)
        _exit(127);
    if (!rc && o->prepare)
        rc = o->prepare(o->prepare_context);
    if (!rc) {
        execvp(o->argv[0], o->argv);
        rc = -errno;
    }
    while (write(report_fd, &rc, sizeof rc) < 0 && errno == EINTR)
        ;
    _exit(127);
}

int nf_job_start(const struct nf_job_options *o, struct nf_job *job)
{
    pid_t parent = getpid();
    int report[2], go[2], rc = 0, attached = 0;

    *job = (struct nf_job){.output_fd = -1};
    if (o->quiet) {
        job->output_fd = memfd_create("nearfar-job-output", MFD_CLOEXEC);
        if (job->output_fd < 0)
            return nf_fail(-errno, "cannot hold the job's output: %s", strerror(errno));
    }
    if (pipe2(report, O_CLOEXEC) || pipe2(go, O_CLOEXEC)) {
        rc = nf_fail(-errno, "cannot start the job: %s", strerror(errno));
        nf_job_deinit(job);
        return rc;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what a launcher leaves behind is still found when the job is to stop */
    fflush(NULL);
    job->started_ns = nf_now_ns();
    job->pid = fork();
    if (job->pid == 0) {
        close(go[1]);
        child(o, job->output_fd, report[1], go[0], parent);
    }
    close(report[1]);
    close(go[0]);
    if (job->pid > 0 && o->attach) {
        attached = o->attach(o->context, job->pid);
        if (!attached && write(go[1], "", 1) != 1)
            attached = nf_fail(-errno, "cannot start the job: %s", strerror(errno));
    }
    close(go[1]);
    if (job->pid < 0)
        rc = nf_fail(-errno, "cannot start the job: %s", strerror(errno));
    else if (attached)
        rc = NF_JOB_E_ATTACH;
    else if (read(report[0], &rc, sizeof rc) != (ssize_t)sizeof rc)
        rc = 0;
    close(report[0]);
    if (rc && job->pid > 0) {
        waitpid(job->pid, NULL, 0);
        job->ended = true;
        if (!attached)
            rc = nf_fail(rc, "cannot run '%s': %s", o->argv[0], strerror(-rc));
    }
    if (rc)
        nf_job_deinit(job);
    return rc;
}

static void ended(struct nf_job *job, int status, const struct rusage *usage)
{
    job->ended = true;
    job->wall_ns = nf_now_ns() - job->started_ns;
    job->cpu_ns = (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000000ull +
                  (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1000ull;
    job->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool nf_job_poll(struct nf_job *job)
{
    struct rusage usage;
    int status;

    if (!job->ended && wait4(job->pid, &status, WNOHANG, &usage) == job->pid)
        ended(job, status, &usage);
    return job->ended;
}

/* The parent of a process, 0 when there is no such process. */
static pid_t parent_of(pid_t pid)
{
    char path[32], text[512];
    const char *end;
    int parent = 0;
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = fopen(path, "re");
    if (!f)
        return 0;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    end = strrchr(text, ')'); /* the program's name may hold anything */
    return end && sscanf(end, ") %*c %d", &parent) == 1 ? parent : 0;
}

/* Sends the signal to whoever descends from this process: a launcher's job too, also when the launcher is gone, since
 * orphans come to their subreaper. */
static void signal_descendants(int signal)
{
    DIR *proc = opendir("/proc");
    pid_t self = getpid();

    for (struct dirent *e; proc && (e = readdir(proc));) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10), above = pid;

        if (pid <= 0)
            continue;
        while (above > 1 && above != self)
            above = parent_of(above);
        if (above == self && pid != self)
            kill(pid, signal);
    }
    if (proc)
        closedir(proc);
}

void nf_job_stop(struct nf_job *job)
{
    uint64_t deadline_ns = nf_now_ns() + 1000000000ull;
    struct rusage usage;
    int status;

    if (job->ended)
        return;
    signal_descendants(SIGTERM);
    while (!nf_job_poll(job) && nf_now_ns() < deadline_ns)
        usleep(10000);
    signal_descendants(SIGKILL);
    if (!job->ended && wait4(job->pid, &status, 0, &usage) == job->pid)
        ended(job, status, &usage);
}

void nf_job_tail(const struct nf_job *job, char *text, size_t size)
{
    off_t end = job->output_fd < 0 ? 0 : lseek(job->output_fd, 0, SEEK_END);
    off_t from = end > (off_t)size - 1 ? end - (off_t)size + 1 : 0;
    ssize_t n = end > 0 ? pread(job->output_fd, text, size - 1, from) : 0;

    text[n > 0 ? n : 0] = '\0';
}

void nf_job_deinit(struct nf_job *job)
{
    if (job->output_fd >= 0)
        close(job->output_fd);
    job->output_fd = -1;
}
