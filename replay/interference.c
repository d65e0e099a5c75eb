#include "replay/interference.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/error.h"

/* Preempted time: step ends must repeat within 1 %, so more than that is not the policy's doing. */
static const double PREEMPTED_SHARE = 0.01;
/* A switch costs the caches some 50 us of refilling: 20 a second are 0.1 % of the time. */
static const double SWITCHES_PER_S = 20;
static const uint64_t SWITCHES_LEAST = 3; /* the pinning itself and the timer's */
/* Moved pages are machine-wide, and compaction always moves a few: counted from one in a thousand of the trial's on. */
static const double MOVED_SHARE = 0.001;
static const uint64_t MOVED_LEAST = 64;
/* Somebody else's half CPU meets the replay in every tenth of a second (as in spoilers.c). */
static const double LOAD_BESIDE = 0.5;

/* Sum of the counters of /proc/vmstat whose names are listed; UINT64_MAX when none is there. */
static uint64_t vmstat(const char *text, const char *const *names)
{
    uint64_t sum = 0;
    bool any = false;

    for (; *names; names++) {
        size_t n = strlen(*names);

        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
            if (strncmp(line, *names, n) || line[n] != ' ')
                continue;
            sum += strtoull(line + n, NULL, 10);
            any = true;
        }
    }
    return any ? sum : UINT64_MAX;
}

/* user nice system idle iowait irq softirq steal */
static uint64_t steal_of(const char *text, int cpu)
{
    unsigned long long v[8];
    char name[16];
    const char *line;

    snprintf(name, sizeof name, "cpu%d ", cpu);
    line = strstr(text, name);
    if (!line || sscanf(line + strlen(name), "%llu %llu %llu %llu %llu %llu %llu %llu", v, v + 1, v + 2, v + 3, v + 4,
                        v + 5, v + 6, v + 7) != 8)
        return UINT64_MAX;
    return v[7];
}

/* Of all of them; UINT64_MAX when one is not shown. */
static uint64_t steal_of_all(const char *text, const int *cpus, unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++) {
        uint64_t one = steal_of(text, cpus[i]);

        if (one == UINT64_MAX)
            return UINT64_MAX;
        sum += one;
    }
    return sum;
}

static char *file(const char *root, const char *path, struct nf_buf *b)
{
    char full[512];

    snprintf(full, sizeof full, "%s%s", root, path);
    nf_buf_clear(b);
    if (nf_buf_read_file(b, full, 4 << 20))
        nf_error_clear(); /* what is not shown is unknown, no failure */
    return b->data && b->n ? b->data : NULL;
}

void nf_interference_read(const char *root, const int *cpus, unsigned n_cpus, struct nf_interference *out)
{
    static const char *const moved[] = {"pgmigrate_success", NULL};
    static const char *const collapsed[] = {"thp_collapse_alloc", NULL};
    struct nf_buf b = {0};
    const char *text;
    long ticks = sysconf(_SC_CLK_TCK);

    *out = (struct nf_interference){.moved_pages = UINT64_MAX, .collapsed = UINT64_MAX, .steal_ticks = UINT64_MAX, .load = -1};
    out->ticks_per_s = ticks > 0 ? (uint64_t)ticks : 100;
    text = file(root, "/proc/vmstat", &b);
    if (text) {
        out->moved_pages = vmstat(text, moved);
        out->collapsed = vmstat(text, collapsed);
    }
    text = file(root, "/proc/stat", &b);
    if (text)
        out->steal_ticks = steal_of_all(text, cpus, n_cpus);
    text = file(root, "/proc/loadavg", &b);
    if (text)
        out->load = strtod(text, NULL);
    nf_buf_deinit(&b);
}

__attribute__((format(printf, 2, 3))) static void say(struct nf_trial *t, const char *fmt, ...)
{
    size_t n = strlen(t->interference);
    va_list ap;

    if (n)
        n += (size_t)snprintf(t->interference + n, sizeof t->interference - n, "; ");
    if (n >= sizeof t->interference)
        return;
    va_start(ap, fmt);
    vsnprintf(t->interference + n, sizeof t->interference - n, fmt, ap);
    va_end(ap);
}

/* What a counter grew by; UINT64_MAX when either end is not known. */
static uint64_t grown(uint64_t before, uint64_t after)
{
    return before == UINT64_MAX || after == UINT64_MAX || after < before ? UINT64_MAX : after - before;
}

void nf_interference_judge(const struct nf_interference *before, const struct nf_interference *after, uint64_t asked_pages,
                           uint64_t pages, struct nf_trial *trial)
{
    uint64_t moved = grown(before->moved_pages, after->moved_pages), steal = grown(before->steal_ticks, after->steal_ticks);
    uint64_t collapsed = grown(before->collapsed, after->collapsed);
    double wall_s = (double)trial->wall_ns / 1e9;
    double threads_ns = (double)trial->wall_ns * (trial->threads ? trial->threads : 1);

    if (moved != UINT64_MAX)
        moved = moved > asked_pages ? moved - asked_pages : 0;
    trial->moved_pages = moved;
    trial->steal_ns = steal == UINT64_MAX ? NF_TRIAL_UNKNOWN : steal * (1000000000 / before->ticks_per_s);
    if ((double)trial->stolen_ns > PREEMPTED_SHARE * threads_ns)
        say(trial, "preempted for %.1f %% of the time", 100 * (double)trial->stolen_ns / threads_ns);
    /* One tick is 10 ms: two of them are the least that is not rounding. */
    if (steal != UINT64_MAX && steal >= 2 && (double)trial->steal_ns > PREEMPTED_SHARE * threads_ns)
        say(trial, "the host took the CPU for %.0f ms", (double)trial->steal_ns / 1e6);
    if (trial->switches > SWITCHES_LEAST && (double)trial->switches > SWITCHES_PER_S * wall_s)
        say(trial, "%llu involuntary context switches", (unsigned long long)trial->switches);
    if (moved != UINT64_MAX && moved > MOVED_LEAST && (double)moved > MOVED_SHARE * (double)pages)
        say(trial, "the kernel moved %llu pages unasked", (unsigned long long)moved);
    if (collapsed != UINT64_MAX && collapsed)
        say(trial, "%llu ranges became huge pages", (unsigned long long)collapsed);
    /* The replay itself adds one. */
    if (after->load > 1 + LOAD_BESIDE + (trial->threads > 1 ? trial->threads - 1 : 0))
        say(trial, "others ran: load average %.2f", after->load);
    if (trial->page_faults)
        say(trial, "%llu page faults", (unsigned long long)trial->page_faults);
}
