#include "capture/source-watchpoint.h"

#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "capture/preload/trap.h"
#include "capture/watch-budget.h"
#include "capture/watch-draw.h"
#include "capture/watch-hits.h"
#include "capture/watchpoint-probe.h"
#include "capture/watchpoint-ring.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/units.h"
#include "core/store/watches.h"

/* A record may be in its ring while its other half is not yet, and one CPU's before an older one of another's: what is
 * younger than this waits for the next look. A trap handler takes a fifth of it. */
#define SETTLE_NS 100000ull
/* Gaps between moves are exponential, but no longer than so many mean ones: a parked job's last words get their end. */
#define GAPS_MAX 8.0

struct options {
    uint64_t words, min_bytes, seed;
    double rate;
    const char *budget, *draw;
};

static const struct nf_option options_table[] = {
    {"words", 0, NF_OPTION_U64, offsetof(struct options, words), "N", "words watched at a time: 1 or 2 (default)"},
    {"rate", 0, NF_OPTION_F64, offsetof(struct options, rate), "PER-SECOND", "moves a second, on average (default 5)"},
    {"budget", 0, NF_OPTION_STRING, offsetof(struct options, budget), "SHARE", "of the job's CPU time that hits and moves may cost (default 5%)"},
    {"draw", 0, NF_OPTION_STRING, offsetof(struct options, draw), "BY", "bytes: any live word is as likely as any other (default); tensors: any live tensor"},
    {"min", 0, NF_OPTION_BYTES, offsetof(struct options, min_bytes), "BYTES", "draw from tensors of so many bytes and more (default 4KiB)"},
    {"seed", 0, NF_OPTION_U64, offsetof(struct options, seed), "N", "of the draws (default 1)"},
    {0},
};

struct settings {
    unsigned words;
    double rate, budget;
    struct nf_watch_draw_options draw;
    uint64_t seed;
};

/* What is watched in one slot. */
struct watch {
    bool armed;
    struct nf_watch_word word;
    uint32_t number;
    uint64_t from_ns, until_ns, limit; /* until_ns: when it was stopped; UINT64_MAX while it was not */
    enum nf_watch_end why;             /* it was stopped */
    uint64_t hits[NF_WATCHPOINT_THREADS_MAX]; /* by thread, as below */
    uint32_t tids[NF_WATCHPOINT_THREADS_MAX];
    unsigned n_tids;
};

struct nf_source {
    struct settings settings;
    struct nf_watch_budget budget;
    struct nf_watchpoint_ring *ring;
    struct watch slots[NF_WATCHPOINT_SLOTS];
    struct nf_rng rng;
    pid_t owner;
    uint32_t drawn;
    uint64_t due_ns, unsafe_since_ns;
    bool new_thread, warned;
    struct nf_watchpoint_records records;
    NF_ARRAY(struct nf_watch_hit) hits;
    NF_ARRAY(struct nf_sample) out; /* for the next drain */
    uint64_t lost, undecoded;
};

static int probe(char *why, size_t size)
{
    struct nf_watch_costs costs;

    return nf_watchpoint_probe(&costs, why, size);
}

static int check(const struct options *given, struct settings *s)
{
    size_t n = 0;

    *s = (struct settings){.words = given->words ? (unsigned)given->words : NF_WATCHPOINT_SLOTS, .rate = given->rate,
                           .budget = 0.05, .seed = given->seed ? given->seed : 1};
    if (given->words > NF_WATCHPOINT_SLOTS)
        return nf_fail(-EINVAL, "source watchpoint: words is 1 or 2: each takes two of the CPU's four breakpoints");
    s->rate = s->rate == 0.0 ? 5.0 : s->rate;
    if (!(s->rate >= 0.1 && s->rate <= 100.0))
        return nf_fail(-EINVAL, "source watchpoint: rate lies between 0.1 and 100 moves a second");
    if (given->budget && (nf_parse_shares(given->budget, &s->budget, 1, &n) || n != 1 || s->budget > 0.5))
        return nf_fail(-EINVAL, "source watchpoint: budget is a share such as 5%%, at most 50%%, not '%s'", given->budget);
    if (given->draw && strcmp(given->draw, "bytes") && strcmp(given->draw, "tensors"))
        return nf_fail(-EINVAL, "source watchpoint: draw is 'bytes' or 'tensors'");
    s->draw.by_tensor = given->draw && !strcmp(given->draw, "tensors");
    s->draw.min_bytes = given->min_bytes ? given->min_bytes : 4096;
    return 0;
}

static size_t environment(const void *given, enum nf_pass_kind pass, const char *ring_path, const char **out, size_t max)
{
    if (pass != NF_PASS_ACCESS || !max)
        return 0;
    out[0] = NF_TRAP_ENV "=1";
    return 1;
}

static bool may_see_kernel(void)
{
    FILE *f = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
    int level = 2;

    if (f && fscanf(f, "%d", &level) != 1)
        level = 2;
    if (f)
        fclose(f);
    return geteuid() == 0 || level <= 1;
}

static void describe(const struct nf_source *s, bool kernel_too, struct nf_source_facts *f)
{
    static const char *const names[] = {"read", "write"};

    *f = (struct nf_source_facts){
        .resolution_bytes = NF_WATCH_WORD_BYTES,
        .rw = "observed",
        .sees_all = false,
        .validated = true, /* the probe has just seen this machine's breakpoints count rightly */
        .n_events = 2,
        .hit_ns = (uint32_t)(s->budget.costs.read_ns < UINT32_MAX ? s->budget.costs.read_ns : UINT32_MAX),
    };
    for (unsigned i = 0; i < f->n_events; i++) {
        struct nf_source_event *e = &f->events[i];

        e->type = PERF_TYPE_BREAKPOINT;
        e->config = i ? HW_BREAKPOINT_W : HW_BREAKPOINT_RW;
        e->period = 1;
        e->rw = i ? NF_RW_WRITE : NF_RW_READ;
        snprintf(e->name, sizeof e->name, "breakpoint-%s", names[i]);
        snprintf(e->meaning, sizeof e->meaning, "one %s that overlaps a watched word of 8 bytes",
                 i ? "write, or read and write," : "read");
    }
    snprintf(f->notes, sizeof f->notes, "words drawn by %s; a hit costs the job %.1f us here, a write %.1f us; an "
             "instruction that reads and writes counts as a write%s",
             s->settings.draw.by_tensor ? "tensors" : "bytes", (double)s->budget.costs.read_ns / 1e3,
             (double)s->budget.costs.write_ns / 1e3,
             kernel_too ? "" : "; what the kernel touches for the job is not seen");
}

static int open_source(const void *given, struct nf_source **out, struct nf_source_facts *facts)
{
    struct settings settings;
    struct nf_watch_costs costs;
    struct nf_source *s;
    char why[256];
    int rc = check(given, &settings);

    *out = NULL;
    if (rc)
        return rc;
    rc = nf_watchpoint_probe(&costs, why, sizeof why);
    if (rc)
        return nf_fail(rc == -EINVAL ? -ENOTSUP : rc, "source watchpoint: %s", why);
    s = calloc(1, sizeof *s);
    if (s)
        s->ring = nf_watchpoint_ring_new(may_see_kernel());
    if (!s || !s->ring) {
        free(s);
        return -ENOMEM;
    }
    s->settings = settings;
    s->rng.state = settings.seed;
    nf_watch_budget_init(&s->budget, settings.budget, &costs, 1e9 / settings.rate);
    describe(s, may_see_kernel(), facts);
    *out = s;
    return 0;
}

/* Nothing yet: the job's process may not be the one that trains; tick gets that one. */
/* Breakpoints are set once the process that trains is known; here only that there is a job to wait for. */
static int attach(struct nf_source *s, pid_t pid)
{
    return kill(pid, 0) ? nf_fail(-errno, "source watchpoint: the job is gone: %s", strerror(errno)) : 0;
}

/* --- what the rings say --- */

static int mark(struct nf_source *s, const struct watch *w, uint64_t time_ns, uint16_t event, uint16_t why)
{
    struct nf_sample m = {
        .time_ns = time_ns,
        .address = w->word.address,
        .weight = w->number,
        .weight2 = why,
        .weight3 = (uint16_t)nf_watchpoint_ring_threads(s->ring),
        .pid = (uint32_t)s->owner,
        .tid = UINT32_MAX,
        .cpu = UINT32_MAX,
        .step = NF_SAMPLE_NONE,
        .op = NF_SAMPLE_NONE,
        .tensor = NF_SAMPLE_NONE,
        .event = event,
        .rw = NF_SAMPLE_RW_UNKNOWN,
    };

    return nf_array_push(&s->out, m);
}

static int end_watch(struct nf_source *s, struct watch *w, uint64_t time_ns, enum nf_watch_end why)
{
    if (!w->armed)
        return 0;
    nf_watchpoint_ring_disarm(s->ring, (unsigned)(w - s->slots));
    w->armed = false;
    return mark(s, w, time_ns > w->from_ns ? time_ns : w->from_ns, NF_SOURCE_WATCH_ENDED, (uint16_t)why);
}

static int end_all(struct nf_source *s, uint64_t time_ns, enum nf_watch_end why)
{
    int rc = 0;

    for (unsigned i = 0; i < NF_WATCHPOINT_SLOTS && !rc; i++)
        rc = end_watch(s, &s->slots[i], time_ns, why);
    return rc;
}

/* How many accesses of the word this thread has made, this one included; 0: no room to count. */
static uint64_t count_hit(struct watch *w, uint32_t tid)
{
    unsigned i = 0;

    while (i < w->n_tids && w->tids[i] != tid)
        i++;
    if (i == NF_WATCHPOINT_THREADS_MAX)
        return 0;
    if (i == w->n_tids) {
        w->tids[i] = tid;
        w->hits[i] = 0;
        w->n_tids++;
    }
    return ++w->hits[i];
}

static int take_hit(struct nf_source *s, const struct nf_watch_hit *hit)
{
    struct watch *w = &s->slots[hit->slot];
    struct nf_sample sample = {
        .time_ns = hit->time_ns,
        .address = w->word.address,
        .ip = hit->ip,
        .period = 1,
        .pid = (uint32_t)s->owner,
        .tid = hit->tid,
        .cpu = hit->cpu,
        .step = NF_SAMPLE_NONE,
        .op = NF_SAMPLE_NONE,
        .tensor = NF_SAMPLE_NONE,
        .event = hit->rw == NF_RW_WRITE,
        .rw = hit->rw,
        .kernel = hit->kernel,
    };
    uint64_t n;

    if (hit->rw == NF_WATCH_HALF)
        return 0;
    nf_watch_budget_spend(&s->budget, hit->rw == NF_RW_READ, hit->rw != NF_RW_READ, 0);
    if (!w->armed)
        return 0;
    n = count_hit(w, hit->tid); /* as the kernel does, which knows neither beginning nor end of the watch */
    /* What came while the other threads were still being armed, or after the watch had ended. */
    if (hit->time_ns >= w->from_ns && hit->time_ns <= w->until_ns && nf_array_push(&s->out, sample))
        return -ENOMEM;
    /* The kernel has stopped this thread's breakpoint: the watch ends with what it saw last. */
    return n >= w->limit || !n ? end_watch(s, w, hit->time_ns, NF_WATCH_END_BUDGET) : 0;
}

static int by_time(const void *a, const void *b)
{
    const struct nf_watchpoint_record *x = a, *y = b;

    return (x->time_ns > y->time_ns) - (x->time_ns < y->time_ns);
}

static int take_record(struct nf_source *s, const struct nf_watchpoint_record *r)
{
    switch (r->kind) {
    case NF_WATCHPOINT_THREAD:
        s->new_thread = true;
        return end_all(s, r->time_ns, NF_WATCH_END_THREAD);
    case NF_WATCHPOINT_EXIT: return r->tid == (uint32_t)s->owner ? end_all(s, r->time_ns, NF_WATCH_END_JOB) : 0;
    case NF_WATCHPOINT_LOST:
        s->lost++;
        return end_all(s, 0, NF_WATCH_END_LOST); /* of no length: what was seen is not all */
    default: return 0;
    }
}

/* How many of the hits are older than until_ns, and so are both halves of each. */
static size_t settled_hits(const struct nf_watch_hit *hits, size_t n, uint64_t until_ns)
{
    size_t settled = 0;

    while (settled < n && hits[settled].time_ns < until_ns)
        settled++;
    for (size_t i = settled; i-- > 0;)
        if (hits[i].with != UINT32_MAX && hits[i].with >= settled)
            settled = i;
    return settled;
}

/* Hits and all else, older than until_ns, in order of time. */
static int take_records(struct nf_source *s, uint64_t until_ns)
{
    struct nf_watchpoint_record *v = s->records.list.v;
    size_t n = s->records.list.n, taken = 0, hit = 0, settled;
    int rc = 0;

    if (!n)
        return 0;
    qsort(v, n, sizeof *v, by_time);
    s->hits.n = 0;
    for (size_t i = 0; i < n; i++) {
        const struct nf_watchpoint_record *r = &v[i];
        struct nf_watch_hit h = {.time_ns = r->time_ns, .ip = r->ip, .tid = r->tid, .cpu = r->cpu, .slot = r->slot,
                                 .write_only = r->kind == NF_WATCHPOINT_WRITE, .kernel = r->kernel};

        if (r->kind <= NF_WATCHPOINT_WRITE && nf_array_push(&s->hits, h))
            return -ENOMEM;
    }
    nf_watch_pair(s->hits.v, s->hits.n);
    settled = settled_hits(s->hits.v, s->hits.n, until_ns);
    for (; taken < n && !rc && v[taken].time_ns < until_ns; taken++) {
        if (v[taken].kind > NF_WATCHPOINT_WRITE)
            rc = take_record(s, &v[taken]);
        else if (hit < settled)
            rc = take_hit(s, &s->hits.v[hit++]);
        else
            break;
    }
    if (taken)
        memmove(v, v + taken, (n - taken) * sizeof *v);
    s->records.list.n = n - taken;
    return rc;
}

static int look(struct nf_source *s, uint64_t until_ns)
{
    int rc = nf_watchpoint_ring_drain(s->ring, &s->records, &s->undecoded);

    if (!rc)
        rc = take_records(s, until_ns);
    for (unsigned i = 0; i < NF_WATCHPOINT_SLOTS && !rc; i++)
        if (s->slots[i].armed && s->slots[i].until_ns < until_ns)
            rc = end_watch(s, &s->slots[i], s->slots[i].until_ns, s->slots[i].why);
    return rc;
}

/* No more hits; what is on its way is still taken. */
static void stop(struct nf_source *s, unsigned slot, enum nf_watch_end why)
{
    struct watch *w = &s->slots[slot];

    if (!w->armed || w->until_ns != UINT64_MAX)
        return;
    w->until_ns = nf_now_ns();
    w->why = why;
    nf_watchpoint_ring_disarm(s->ring, slot);
}

/* --- moving --- */

static uint64_t cpu_time_ns(pid_t pid)
{
    struct timespec t;
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
        return 0;
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* Exponential: moments that nothing in the job can be in step with. */
static void plan_next(struct nf_source *s, uint64_t now_ns)
{
    double u = (double)(nf_rng_next(&s->rng) >> 11) * 0x1p-53, gap = -log1p(-u);

    s->due_ns = now_ns + (uint64_t)((gap < GAPS_MAX ? gap : GAPS_MAX) / s->settings.rate * 1e9);
}

/* Once all are off, no hit is on its way any more. */
static int stop_all(struct nf_source *s)
{
    for (unsigned i = 0; i < NF_WATCHPOINT_SLOTS; i++)
        stop(s, i, NF_WATCH_END_MOVED);
    return look(s, UINT64_MAX);
}

static int arm(struct nf_source *s, const struct nf_storage_map *live)
{
    struct nf_watch_word words[NF_WATCHPOINT_SLOTS];
    size_t n = nf_watch_draw(&s->rng, &s->settings.draw, live, words, s->settings.words);
    uint64_t most = nf_watchpoint_ring_hits_max(s->ring), limit;
    int rc = 0;

    if (!n)
        return 0;
    limit = nf_watch_budget_allowance(&s->budget, (unsigned)n);
    if (!limit)
        return 0;
    limit = limit < most ? limit : most;
    for (unsigned i = 0; i < n && !rc; i++) {
        struct watch *w = &s->slots[i];

        rc = nf_watchpoint_ring_arm(s->ring, i, words[i].address, limit);
        if (rc)
            return nf_fail_in(rc, "source watchpoint");
        w->armed = true;
        w->word = words[i];
        w->number = s->drawn++;
        w->limit = limit;
        w->n_tids = 0;
        w->until_ns = UINT64_MAX;
        w->from_ns = nf_now_ns();
        rc = mark(s, w, w->from_ns, NF_SOURCE_WATCH_ARMED, 0);
    }
    nf_watch_budget_spend(&s->budget, 0, 0, n * nf_watchpoint_ring_threads(s->ring));
    return rc;
}

/* A watched word whose storage is gone has nothing more to say. */
static void let_go(struct nf_source *s, const struct nf_storage_map *live)
{
    for (unsigned i = 0; i < NF_WATCHPOINT_SLOTS; i++) {
        const struct watch *w = &s->slots[i];
        const struct nf_storage *now = w->armed ? nf_storage_map_find(live, w->word.address) : NULL;

        if (w->armed && (!now || now->address != w->word.storage || now->bytes != w->word.bytes))
            stop(s, i, NF_WATCH_END_FREED);
    }
}

static int adopt(struct nf_source *s, uint64_t now_ns)
{
    int rc = nf_watchpoint_ring_adopt(s->ring, s->owner);

    if (rc < 0)
        return nf_fail_in(rc, "source watchpoint");
    s->new_thread = false;
    if (!rc) {
        s->unsafe_since_ns = 0;
        return 0;
    }
    s->unsafe_since_ns = s->unsafe_since_ns ? s->unsafe_since_ns : now_ns;
    if (now_ns - s->unsafe_since_ns > 1000000000ull && !s->warned) {
        nf_warn("source watchpoint: nothing is watched while the job has a thread that a stray SIGTRAP would kill, or more "
                "than %d threads", NF_WATCHPOINT_THREADS_MAX);
        s->warned = true;
    }
    return rc;
}

static int tick(struct nf_source *s, pid_t owner, const struct nf_storage_map *live)
{
    uint64_t now_ns = nf_now_ns();
    int rc;

    if (!owner)
        return 0;
    if (!s->owner) {
        s->owner = owner;
        s->budget.earned_until_ns = cpu_time_ns(owner);
        plan_next(s, now_ns);
        /* At once, to hear of new threads from now on. */
        rc = adopt(s, now_ns);
        return rc < 0 ? rc : 0;
    }
    nf_watch_budget_earn(&s->budget, cpu_time_ns(owner));
    let_go(s, live);
    rc = s->new_thread ? adopt(s, now_ns) : 0;
    if (rc < 0 || now_ns < s->due_ns)
        return rc < 0 ? rc : 0;
    rc = stop_all(s);
    if (!rc)
        rc = adopt(s, now_ns);
    if (!rc)
        rc = arm(s, live);
    plan_next(s, now_ns);
    return rc < 0 ? rc : 0;
}

static int drain(struct nf_source *s, nf_sample_sink *sink, void *context, uint64_t *complete_ns)
{
    uint64_t now_ns = nf_now_ns(), settled_ns = now_ns - SETTLE_NS;
    int rc = look(s, settled_ns);

    if (rc)
        return nf_fail(rc, "out of memory for hits");
    if (s->out.n)
        rc = sink(context, s->out.v, s->out.n);
    s->out.n = 0;
    *complete_ns = s->records.list.n && s->records.list.v[0].time_ns < settled_ns ? s->records.list.v[0].time_ns : settled_ns;
    return rc;
}

static void totals(const struct nf_source *s, struct nf_source_totals *out)
{
    *out = (struct nf_source_totals){.lost = s->lost, .undecoded = s->undecoded};
}

static struct nf_source *close_source(struct nf_source *s)
{
    if (!s)
        return NULL;
    nf_watchpoint_ring_free(s->ring);
    nf_array_free(&s->records.list);
    nf_array_free(&s->hits);
    nf_array_free(&s->out);
    free(s);
    return NULL;
}

const struct nf_source_ops nf_source_watchpoint = {
    .abi = NF_SOURCE_ABI,
    .name = "watchpoint",
    .about = "hardware breakpoints on randomly drawn words of live tensors: each access of them is seen",
    .evidence = NF_ACCESS_WATCHPOINT,
    .options = options_table,
    .options_size = sizeof(struct options),
    .probe = probe,
    .environment = environment,
    .open = open_source,
    .attach = attach,
    .drain = drain,
    .tick = tick,
    .totals = totals,
    .close = close_source,
};
