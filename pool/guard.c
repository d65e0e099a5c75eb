#include "pool/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/log.h"

/* How often the stop flag is looked at, and whether the policy has answered: the latter beside a trial, where a look takes time from it
 * on a machine of one CPU. */
enum { LOOK_MS = 100, LOOK_BESIDE_MS = 1000 };

struct verdict {
    int rc;
    char cause[768];
};
_Static_assert(sizeof(struct verdict) <= 4096, "written to a pipe in one piece");

/* The first to go where memory runs out: a policy that allocates without end must not take the study's process with it. */
static void be_expendable(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)!write(fd, "1000", 4);
    close(fd);
}

/* Nothing of the parent's is flushed, closed or unlocked on the way out. */
static _Noreturn void rehearse(pid_t parent, int to, int (*work)(void *context), void *context)
{
    static const int defaults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    const struct rlimit none = {0, 0};
    struct verdict v = {0};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    setrlimit(RLIMIT_CORE, &none);
    be_expendable();
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        signal(defaults[i], SIG_DFL);
    signal(SIGINT, SIG_IGN); /* the parent decides what an interrupt ends */
    signal(SIGTERM, SIG_IGN);
    nf_error_clear();
    v.rc = work(context);
    snprintf(v.cause, sizeof v.cause, "%s", v.rc ? nf_error_text(v.rc) : "");
    _exit(write(to, &v, sizeof v) == sizeof v ? 0 : 1);
}

enum outcome { ANSWERED, ENDED /* without an answer */, LATE, STOPPED };

/* What counts against the limit. */
struct watch {
    const struct nf_guarded *g;
    uint64_t since_ns;
    uint32_t asked; /* when last looked at */
};

static uint64_t spent_ns(struct watch *w)
{
    uint64_t now = nf_now_ns();
    uint32_t asked = w->g->asked ? atomic_load_explicit(w->g->asked, memory_order_relaxed) : 1;

    if (asked != w->asked || !(asked & 1)) /* another question, or none */
        w->since_ns = now;
    w->asked = asked;
    return now - w->since_ns;
}

static enum outcome await(const struct nf_guarded *g, int from, const volatile sig_atomic_t *stop, struct verdict *v)
{
    struct pollfd p = {.fd = from, .events = POLLIN};
    struct watch w = {.g = g, .since_ns = nf_now_ns(), .asked = 1};
    uint64_t limit_ns = (uint64_t)(g->limit_s * 1e9), look_ms = g->asked ? LOOK_BESIDE_MS : LOOK_MS;

    for (;;) {
        uint64_t spent = spent_ns(&w), left_ms;

        if (stop && *stop)
            return STOPPED;
        if (spent >= limit_ns)
            return LATE;
        left_ms = (limit_ns - spent) / 1000000 + 1;
        if (poll(&p, 1, (int)(left_ms < look_ms ? left_ms : look_ms)) > 0)
            return read(from, v, sizeof *v) == sizeof *v ? ANSWERED : ENDED;
    }
}

static int judge(const struct nf_guarded *g, enum outcome outcome, int status, struct verdict *v)
{
    v->cause[sizeof v->cause - 1] = '\0';
    switch (outcome) {
    case STOPPED: return NF_GUARD_E_STOPPED;
    case LATE:
        return nf_fail(-ETIMEDOUT, "%s is refused: it was still %s after %g s%s%s%s", g->who, g->doing, g->limit_s, g->limit_from ? " (" : "",
                       g->limit_from ? g->limit_from : "", g->limit_from ? ")" : "");
    case ENDED:
        if (WIFSIGNALED(status))
            return nf_fail(-EPROTO, "%s is refused: it crashed while it was %s (%s)", g->who, g->doing, strsignal(WTERMSIG(status)));
        return nf_fail(-EPROTO, "%s is refused: it ended its process while it was %s (exit status %d)", g->who, g->doing,
                       WEXITSTATUS(status));
    case ANSWERED: break;
    }
    if (!v->rc)
        return 0;
    nf_fail(v->rc < 0 ? v->rc : -EPROTO, "%s", v->cause);
    return v->rc < 0 ? v->rc : -EPROTO;
}

int nf_guard_call(const struct nf_guarded *g, const volatile sig_atomic_t *stop, int (*work)(void *context), void *context)
{
    struct verdict v = {0};
    enum outcome outcome;
    pid_t self = getpid(), child;
    int ends[2], status = 0;

    if (pipe2(ends, O_CLOEXEC))
        return nf_fail(-errno, "no pipe to guard %s by: %s", g->who, strerror(errno));
    child = fork();
    if (child < 0) {
        int rc = nf_fail(-errno, "no process to guard %s in: %s", g->who, strerror(errno));

        close(ends[0]);
        close(ends[1]);
        return rc;
    }
    if (!child)
        rehearse(self, ends[1], work, context);
    close(ends[1]);
    outcome = await(g, ends[0], stop, &v);
    /* It has said all there is; one that answered may still have threads that hold it. */
    if (outcome != ENDED)
        kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    close(ends[0]);
    return judge(g, outcome, status, &v);
}

static int guard(struct nf_guarded g, const struct nf_policy_ops *policy, const volatile sig_atomic_t *stop, int (*work)(void *context),
                 void *context)
{
    char who[sizeof "policy " + NF_POLICY_NAME_MAX];

    if (!policy || !nf_policy_is_outside(policy))
        return 0;
    snprintf(who, sizeof who, "policy %s", policy->name);
    g.who = who;
    g.limit_from = "--policy-limit";
    return nf_guard_call(&g, stop, work, context);
}

int nf_guard(const struct nf_policy_ops *policy, double limit_s, const volatile sig_atomic_t *stop, int (*work)(void *context),
             void *context)
{
    return guard((struct nf_guarded){.doing = "planning", .limit_s = limit_s}, policy, stop, work, context);
}

/* --- answers --- */

/* They go by a file in memory: a pipe would have to be read while the child writes. */
struct letter {
    const struct nf_guard_talk *talk;
    int fd;
};

static int write_letter(void *context)
{
    const struct letter *l = context;
    struct nf_buf b = {0};
    int rc = l->talk->answer(l->talk->context, &b);

    if (!rc && b.failed)
        rc = nf_fail(-ENOMEM, "out of memory for the answer of a policy");
    for (size_t at = 0; at < b.n && !rc;) {
        ssize_t n = write(l->fd, b.data + at, b.n - at);

        if (n < 0 && errno != EINTR)
            rc = nf_fail(-errno, "cannot hand over the answer of a policy: %s", strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    nf_buf_deinit(&b);
    return rc;
}

/* 0, -EPROTO, -ENOMEM. */
static int read_letter(const struct letter *l)
{
    char piece[1 << 16];
    struct nf_buf b = {0};
    struct stat s;
    ssize_t n = 1;
    int rc = fstat(l->fd, &s) || s.st_size > NF_GUARD_ANSWER_MAX ? -EPROTO : 0;

    for (off_t at = 0; !rc && at < s.st_size && n > 0; at += n) {
        n = pread(l->fd, piece, sizeof piece, at);
        nf_buf_add(&b, piece, n > 0 ? (size_t)n : 0);
    }
    if (!rc)
        rc = b.failed ? -ENOMEM : l->talk->take(l->talk->context, &b);
    nf_buf_deinit(&b);
    return rc;
}

int nf_guard_answer(const struct nf_policy_ops *policy, double limit_s, const volatile sig_atomic_t *stop, const struct nf_guard_talk *talk)
{
    struct letter l = {.talk = talk};
    int rc;

    if (!policy || !nf_policy_is_outside(policy))
        return 0;
    l.fd = memfd_create("nearfar-answer", MFD_CLOEXEC);
    if (l.fd < 0)
        return nf_fail(-errno, "no memory for the answer of a policy: %s", strerror(errno));
    rc = nf_guard(policy, limit_s, stop, write_letter, &l);
    if (!rc) {
        rc = read_letter(&l);
        if (rc == -EPROTO)
            nf_fail(rc, "policy %s is refused: it answered in its plan's place, or wrote over it", policy->name);
        else if (rc)
            nf_fail(rc, "out of memory for the answer of policy %s", policy->name);
    }
    close(l.fd);
    return rc;
}

bool nf_guard_take(const struct nf_buf *answer, size_t *at, void *to, size_t n)
{
    if (n > answer->n - *at)
        return false;
    if (n)
        memcpy(to, answer->data + *at, n);
    *at += n;
    return true;
}

int nf_guard_trial(const struct nf_policy_ops *policy, double limit_s, const _Atomic uint32_t *asked, const volatile sig_atomic_t *stop,
                   int (*work)(void *context), void *context)
{
    return guard((struct nf_guarded){.doing = "deciding", .limit_s = limit_s, .asked = asked}, policy, stop, work, context);
}
