/* The guard of policies from outside: what happens in the child is told in words, and nothing of it happens here. Argument: a policy in a
 * shared object. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "pool/guard.h"

static const struct nf_policy_ops *outside;
static int touched;

static int well(void *context)
{
    touched++;
    return 0;
}

static int errs(void *context)
{
    touched++;
    return nf_fail(*(int *)context, "the cause of it");
}

static int quiet(void *context)
{
    return -ENOSPC; /* says nothing: whatever failed here before is not its cause */
}

static int crashes(void *context)
{
    raise(*(int *)context);
    return 0;
}

static int quits(void *context)
{
    exit(3);
}

static int loops(void *context)
{
    for (volatile int i = 0;; i++)
        ;
    return 0;
}

static void told(int rc, const char *wanted)
{
    assert_non_null(strstr(nf_error_text(rc), wanted));
    assert_int_equal(waitpid(-1, NULL, 0), -1); /* no child is left */
    assert_int_equal(errno, ECHILD);
}

static void test_verdicts(void **state)
{
    int full = -ENOSPC, positive = 4;

    assert_int_equal(nf_guard(outside, 60, NULL, well, NULL), 0);
    assert_int_equal(nf_guard(outside, 60, NULL, errs, &full), -ENOSPC);
    told(-ENOSPC, "the cause of it");
    assert_int_equal(nf_guard(outside, 60, NULL, quiet, NULL), -ENOSPC);
    told(-ENOSPC, "No space");
    assert_int_equal(nf_guard(outside, 60, NULL, errs, &positive), -EPROTO);
    assert_int_equal(touched, 0);
}

static void test_ends(void **state)
{
    static const struct {
        int signal;
        const char *word;
    } each[] = {{SIGSEGV, "plugin is refused: it crashed while it was planning (Segmentation fault)"}, {SIGABRT, "Aborted"}, {SIGKILL, "Killed"}};

    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        int signal = each[i].signal;

        assert_int_equal(nf_guard(outside, 60, NULL, crashes, &signal), -EPROTO);
        told(-EPROTO, each[i].word);
    }
    assert_int_equal(nf_guard(outside, 60, NULL, quits, NULL), -EPROTO);
    told(-EPROTO, "plugin is refused: it ended its process while it was planning (exit status 3)");
}

/* --- answers --- */

enum { LONG = 1000003 /* more than a pipe holds */ };

static struct nf_buf taken;

static int say_much(void *context, struct nf_buf *to)
{
    for (int i = 0; i < LONG; i++)
        nf_buf_add(to, &(char){(char)(i % 251)}, 1);
    return 0;
}

static int say_and_quit(void *context, struct nf_buf *to)
{
    nf_buf_puts(to, "half of it");
    exit(3);
}

static int say_and_fail(void *context, struct nf_buf *to)
{
    nf_buf_puts(to, "half of it");
    return nf_fail(-ENOSPC, "the cause of it");
}

/* What a child says when all went well, said by who is guarded: into its pipe, which no program that is started gets. */
static int forge(void *context, struct nf_buf *to)
{
    static const char well[sizeof(int) + 768];
    struct stat s;

    for (int fd = 3; fd < 64; fd++) {
        if (!fstat(fd, &s) && S_ISFIFO(s.st_mode) && fcntl(fd, F_GETFD) & FD_CLOEXEC && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY &&
            write(fd, well, sizeof well) == sizeof well)
            _exit(0);
    }
    _exit(9);
}

static int take_all(void *context, const struct nf_buf *from)
{
    nf_buf_add(&taken, from->data, from->n);
    return *(int *)context;
}

static int take_first(void *context, const struct nf_buf *from)
{
    size_t at = 0;
    char c;

    return nf_guard_take(from, &at, &c, 1) ? 0 : -EPROTO;
}

static void test_answers(void **state)
{
    int good = 0, bad = -EPROTO;
    struct nf_guard_talk talk = {.answer = say_much, .take = take_all, .context = &good};

    assert_int_equal(nf_guard_answer(outside, 60, NULL, &talk), 0);
    assert_int_equal(taken.n, LONG);
    for (int i = 0; i < LONG; i++)
        assert_int_equal((unsigned char)taken.data[i], i % 251);
    talk.context = &bad;
    assert_int_equal(nf_guard_answer(outside, 60, NULL, &talk), -EPROTO);
    told(-EPROTO, "plugin is refused: it answered in its plan's place");
    nf_buf_clear(&taken);
    talk.answer = say_and_quit;
    assert_int_equal(nf_guard_answer(outside, 60, NULL, &talk), -EPROTO);
    told(-EPROTO, "it ended its process while it was planning (exit status 3)");
    talk.answer = say_and_fail;
    assert_int_equal(nf_guard_answer(outside, 60, NULL, &talk), -ENOSPC);
    told(-ENOSPC, "the cause of it");
    assert_int_equal(taken.n, 0);
    nf_buf_deinit(&taken);
}

static void test_forgery(void **state)
{
    const struct nf_guard_talk talk = {.answer = forge, .take = take_first};

    assert_int_equal(nf_guard_answer(outside, 60, NULL, &talk), -EPROTO);
    told(-EPROTO, "plugin is refused: it answered in its plan's place");
}

static volatile sig_atomic_t stop;

static void on_alarm(int signal)
{
    stop = 1;
}

static void test_limits(void **state)
{
    uint64_t start = nf_now_ns();

    assert_int_equal(nf_guard(outside, 0.25, NULL, loops, NULL), -ETIMEDOUT);
    told(-ETIMEDOUT, "plugin is refused: it was still planning after 0.25 s (--policy-limit)");
    assert_true(nf_now_ns() - start >= 250000000);
    signal(SIGALRM, on_alarm);
    alarm(1);
    assert_int_equal(nf_guard(outside, 1000, &stop, loops, NULL), NF_GUARD_E_STOPPED);
    assert_int_equal(waitpid(-1, NULL, 0), -1);
}

/* Ours are not guarded, and nothing is asked of them twice. */
static void test_inside(void **state)
{
    const struct nf_policy_ops *inside = nf_policy_find("lru");

    assert_true(nf_policy_is_outside(outside) && !nf_policy_is_outside(inside));
    assert_int_equal(nf_guard(inside, 60, NULL, loops, NULL), 0);
    assert_int_equal(nf_guard_answer(inside, 60, NULL, &(struct nf_guard_talk){.answer = say_and_quit, .take = take_all}), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts), cmocka_unit_test(test_answers), cmocka_unit_test(test_forgery), cmocka_unit_test(test_ends), cmocka_unit_test(test_limits), cmocka_unit_test(test_inside),
    };

    outside = nf_policy_find(argc > 1 ? argv[1] : "./policy-plugin.so");
    if (!outside)
        return 1;
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
