#include "core/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char cause[1024];

int nf_fail(int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cause, sizeof cause, fmt, ap);
    va_end(ap);
    return rc;
}

int nf_fail_in(int rc, const char *fmt, ...)
{
    char head[256], tail[sizeof cause - sizeof head - 2];
    va_list ap;
    size_t n;

    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    snprintf(tail, sizeof tail, "%.*s", (int)sizeof tail - 1, nf_error_text(rc));
    n = strlen(head);
    memcpy(cause, head, n);
    memcpy(cause + n, ": ", 2);
    memcpy(cause + n + 2, tail, strlen(tail) + 1);
    return rc;
}

const char *nf_error_text(int rc)
{
    if (cause[0])
        return cause;
    return rc < 0 ? strerror(-rc) : "";
}

void nf_error_clear(void)
{
    cause[0] = '\0';
}
