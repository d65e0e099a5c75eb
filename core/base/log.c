#include "core/base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    uint64_t first_ns, last_ns;
    bool drawn;
} line;

uint64_t nf_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void message(const char *head, const char *fmt, va_list ap)
{
    nf_progress_end();
    fputs(head, stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

void nf_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    message("nearfar: warning: ", fmt, ap);
    va_end(ap);
}

void nf_info(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    message("nearfar: ", fmt, ap);
    va_end(ap);
}

void nf_progress(const char *fmt, ...)
{
    uint64_t now = nf_now_ns();
    bool tty = isatty(STDERR_FILENO);
    char text[256];
    va_list ap;

    if (!line.first_ns)
        line.first_ns = now;
    if (now - line.first_ns < 1000000000ull || now - line.last_ns < (tty ? 100000000ull : 5000000000ull))
        return;
    line.last_ns = now;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (tty) {
        fprintf(stderr, "\r\033[K%s", text);
        fflush(stderr);
        line.drawn = true;
    } else {
        fprintf(stderr, "nearfar: %s\n", text);
    }
}

void nf_progress_end(void)
{
    if (line.drawn)
        fputs("\r\033[K", stderr);
    line.drawn = false;
    line.first_ns = line.last_ns = 0;
}
