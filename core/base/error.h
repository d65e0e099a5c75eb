#pragma once
/* Errors: every fallible function returns 0, a negative errno (fatal, forwarded unchanged) or a
 * positive NF_<NOUN>_E_* condition its caller handles. The cause, in words, travels beside the
 * code in a per-thread text. */
#include <stddef.h>

/* Exit codes of every nearfar command. */
enum nf_exit {
    NF_EXIT_OK = 0,
    NF_EXIT_FAILED = 1,
    NF_EXIT_USAGE = 2,
    NF_EXIT_CANNOT = 3, /* this machine cannot */
    NF_EXIT_JOB = 4,    /* the job itself failed; what was captured is kept */
};

/* Replaces the thread's cause text. Returns rc, so that `return nf_fail(-EINVAL, "...")` reads well. */
int nf_fail(int rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "<text>: " in front of the cause. Returns rc. */
int nf_fail_in(int rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The cause of the last failure on this thread, or the errno text of rc when none was given.
 * Owned by the thread; valid until its next nf_fail. */
const char *nf_error_text(int rc);
void nf_error_clear(void);
