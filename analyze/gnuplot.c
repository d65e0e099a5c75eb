#include "analyze/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/log.h"

extern char **environ;

int nf_gnuplot_probe(void)
{
    const char *path = getenv("PATH");
    char candidate[4096];

    while (path && *path) {
        size_t n = strcspn(path, ":");

        if ((size_t)snprintf(candidate, sizeof candidate, "%.*s/gnuplot", (int)n, path) < sizeof candidate &&
            !access(candidate, X_OK))
            return 0;
        path += n + (path[n] == ':');
    }
    return nf_fail(-ENOENT, "gnuplot is not on PATH; Debian has it as gnuplot-nox");
}

static int spawn(const char *folder, const char *script, int *read_fd, pid_t *pid)
{
    char *const argv[] = {"gnuplot", "-d", (char *)script, NULL};
    posix_spawn_file_actions_t actions;
    int pipe_fds[2], rc;

    if (pipe2(pipe_fds, O_CLOEXEC))
        return -errno;
    rc = posix_spawn_file_actions_init(&actions);
    if (!rc) {
        rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        if (!rc)
            rc = posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
        if (!rc)
            rc = posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 2);
        if (!rc)
            rc = posix_spawn_file_actions_addchdir_np(&actions, folder);
        if (!rc)
            rc = posix_spawnp(pid, "gnuplot", &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(pipe_fds[1]);
    if (rc)
        close(pipe_fds[0]);
    *read_fd = pipe_fds[0];
    return -rc;
}

/* Reads until the other end closes. said keeps the beginning. False when the time ran out. */
static bool listen_until(int fd, uint64_t deadline_ns, char *said, size_t size)
{
    char chunk[1024];
    size_t n = 0;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t now = nf_now_ns();
        ssize_t got;
        int ready;

        if (now >= deadline_ns)
            return false;
        ready = poll(&p, 1, (int)((deadline_ns - now) / 1000000) + 1);
        if (ready < 0 && errno != EINTR)
            return true;
        if (ready <= 0)
            continue;
        got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        for (ssize_t i = 0; i < got && n + 1 < size; i++)
            said[n++] = chunk[i];
        said[n] = '\0';
    }
    return true;
}

/* The line with the reason: gnuplot echoes the command and a caret first. */
static const char *reason(char *said)
{
    char *line = strstr(said, "line ");

    if (!line)
        line = said + strspn(said, " \n\t^");
    line[strcspn(line, "\n")] = '\0';
    return *line ? line : "without a word";
}

int nf_gnuplot_run(const char *folder, const char *script, int timeout_ms)
{
    uint64_t deadline = nf_now_ns() + (uint64_t)timeout_ms * 1000000;
    char said[2048] = "";
    int fd = -1, status = 0, rc;
    bool in_time;
    pid_t pid;

    rc = spawn(folder, script, &fd, &pid);
    if (rc == -ENOENT)
        return nf_gnuplot_probe() ? -ENOENT : nf_fail(rc, "cannot start gnuplot in %s: %s", folder, strerror(-rc));
    if (rc)
        return nf_fail(rc, "cannot start gnuplot: %s", strerror(-rc));
    in_time = listen_until(fd, deadline, said, sizeof said);
    close(fd);
    if (!in_time)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!in_time)
        return nf_fail(-ETIMEDOUT, "gnuplot had not drawn %s after %d s and was stopped", script, timeout_ms / 1000);
    if (WIFSIGNALED(status))
        return nf_fail(-EIO, "gnuplot was killed by signal %d drawing %s", WTERMSIG(status), script);
    if (WEXITSTATUS(status))
        return nf_fail(-EIO, "gnuplot failed on %s: %s", script, reason(said));
    return 0;
}
