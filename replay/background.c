#include "replay/background.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/units.h"
#include "core/model/stream.h"
#include "replay/kernel.h"
#include "replay/pace.h"
#include "replay/pin.h"

enum { WHOLE_BUFFERS = 4, PIECE = 65536 /* as the replay's chunks are: neither side of a shared queue waits for a longer one */ };
static const uint64_t LEAST_BYTES = 64ull << 20; /* beyond what one core reaches of most last-level caches */
/* Eight threads in one cache of 32 MiB, as on CPUs that have several of those, still go through four times that. */
static const uint64_t SHARED_LEAST_BYTES = 16ull << 20;
/* A thread that was held up catches up on this much of its schedule, and is forgiven the rest: a long burst at full
 * speed would be contention nobody asked for. */
static const uint64_t CATCH_UP_NS = 5000000;

/* --- what is asked for --- */

/* Accesses of one turn. */
static const struct {
    const char *name;
    uint8_t reads, writes;
    enum nf_store store;
} kinds[NF_BACKGROUND_KINDS] = {
    [NF_BACKGROUND_READ] = {"read", 1, 0, NF_STORE_REGULAR},
    [NF_BACKGROUND_WRITE] = {"write", 0, 1, NF_STORE_REGULAR},
    [NF_BACKGROUND_MIXED] = {"mixed", 1, 1, NF_STORE_REGULAR},
    [NF_BACKGROUND_MOSTLY_READ] = {"mostly-read", 2, 1, NF_STORE_REGULAR},
    [NF_BACKGROUND_STREAM_OUT] = {"stream-out", 0, 1, NF_STORE_NON_TEMPORAL},
};

const char *nf_background_kind_name(enum nf_background_kind kind)
{
    return kinds[kind].name;
}

double nf_background_read_share(enum nf_background_kind kind)
{
    double fetched = kinds[kind].store == NF_STORE_REGULAR ? kinds[kind].writes : 0, reads = kinds[kind].reads + fetched;

    return reads / (reads + kinds[kind].writes);
}

static int parse_kind(const char *text, size_t n, enum nf_background_kind *out)
{
    for (int k = 0; k < NF_BACKGROUND_KINDS; k++) {
        if (strlen(kinds[k].name) == n && !memcmp(kinds[k].name, text, n)) {
            *out = k;
            return 0;
        }
    }
    return nf_fail(-EINVAL, "background '%.*s': there are read, write, mixed, mostly-read and stream-out", (int)n, text);
}

/* text may be cut. */
static int parse_rate(char *text, struct nf_background_spec *out)
{
    size_t n = strlen(text);
    double share;
    int rc;

    if (!strcmp(text, "max"))
        return 0;
    if (n && text[n - 1] == '%') {
        text[n - 1] = '\0';
        rc = nf_parse_f64(text, &share);
        if (rc || !(share > 0 && share <= 100))
            return nf_fail(-EINVAL, "background rate '%s%%': a share lies above 0%% and at most at 100%%", text);
        out->share = share / 100;
        return 0;
    }
    if (n > 2 && !strcmp(text + n - 2, "/s"))
        text[n - 2] = '\0';
    rc = nf_parse_bytes(text, &out->bps);
    if (rc || !out->bps)
        return nf_fail(-EINVAL, "background rate '%s': a share (50%%), bytes per second (2GB) or max", text);
    return 0;
}

static int parse_one(char *text, struct nf_background_spec *out)
{
    char *colon = strchr(text, ':'), *at = strrchr(text, '@');
    int rc;

    *out = (struct nf_background_spec){0};
    if (!colon || !at || at < colon)
        return nf_fail(-EINVAL, "background '%s': KIND:RATE@TIER is wanted, as in read:50%%@far", text);
    *at = '\0';
    rc = parse_kind(text, (size_t)(colon - text), &out->kind);
    if (!rc)
        rc = parse_rate(colon + 1, out);
    if (!rc && (!at[1] || strlen(at + 1) >= sizeof out->tier))
        rc = nf_fail(-EINVAL, "background '%s': no tier has the name '%s'", text, at + 1);
    if (!rc)
        memcpy(out->tier, at + 1, strlen(at + 1) + 1);
    return rc;
}

int nf_background_parse(const char *text, struct nf_background_spec *out, size_t max, size_t *n)
{
    char *copy = strdup(text), *left = copy, *item;
    int rc = copy ? 0 : nf_fail(-ENOMEM, "out of memory");

    *n = 0;
    while (!rc && (item = strsep(&left, ","))) {
        if (*n == max)
            rc = nf_fail(-EINVAL, "more than %zu backgrounds", max);
        else
            rc = parse_one(item, &out[(*n)++]);
    }
    free(copy);
    return rc;
}

static const struct nf_tier *find_tier(const char *name, const struct nf_tier *tiers, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!strcmp(tiers[i].name, name))
            return &tiers[i];
    }
    return NULL;
}

int nf_background_check(const struct nf_background_spec *specs, size_t n, const struct nf_tier *tiers, uint32_t n_tiers)
{
    struct nf_buf names = {0};
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++) {
        if (find_tier(specs[i].tier, tiers, n_tiers))
            continue;
        for (uint32_t t = 0; t < n_tiers; t++)
            nf_buf_printf(&names, "%s%s", t ? ", " : "", tiers[t].name);
        rc = nf_fail(-EINVAL, "no tier '%s' for a background; there are: %s", specs[i].tier,
                     names.failed ? "others" : names.data);
    }
    nf_buf_deinit(&names);
    return rc;
}

/* --- the schedule --- */

void nf_background_flow_init(struct nf_background_flow *f, const struct nf_tier *tier, double bps, uint64_t now_ns)
{
    *f = (struct nf_background_flow){.tier = tier, .bps = bps, .begun_ns = now_ns};
}

uint64_t nf_background_charge(struct nf_background_flow *f, enum nf_rw rw, enum nf_store store, uint64_t payload,
                              uint64_t start_ns)
{
    /* A stream has many lines under way: it costs bandwidth, and its latency hides. */
    struct nf_tier_charge c = {
        .read_bytes = rw != NF_RW_READ && store == NF_STORE_NON_TEMPORAL ? 0 : payload,
        .write_bytes = rw == NF_RW_READ ? 0 : payload,
        .parallelism = 1,
    };
    uint64_t allowed = f->tier->ops->charge(f->tier->state, &c, start_ns), due;

    f->bytes += c.read_bytes + c.write_bytes;
    f->scheduled += c.read_bytes + c.write_bytes;
    if (!(f->bps > 0))
        return allowed;
    due = f->begun_ns + (uint64_t)((double)f->scheduled / f->bps * 1e9);
    if (allowed > due + CATCH_UP_NS) {
        f->forgiven_ns += allowed - due;
        f->begun_ns = allowed;
        f->scheduled = 0;
    }
    return allowed > due ? allowed : due;
}

/* --- threads --- */

struct worker {
    struct nf_background *of;
    const struct nf_tier *tier;
    enum nf_background_kind kind;
    double bps;
    pthread_t thread;
    bool started;
    char *memory;
    uint64_t bytes;
    int cpu;
    _Atomic uint64_t moved; /* written by the thread after each piece */
    uint64_t ns; /* written by the thread, read after it ended */
};

struct nf_background {
    atomic_uint running;
    atomic_bool stop;
    struct nf_tier plain; /* of the hog */
    uint32_t n;
    struct worker worker[NF_BACKGROUND_MAX];
};

/* Of one of n threads. Each alone misses a cache of that size; beyond a few they share it, and so what it takes to miss it: a
 * hundred times as much would take seconds to touch. */
static uint64_t buffer_bytes(size_t n, uint64_t llc_bytes)
{
    uint64_t bytes = 4 * llc_bytes > LEAST_BYTES ? 4 * llc_bytes : LEAST_BYTES;

    if (n > WHOLE_BUFFERS)
        bytes = bytes * WHOLE_BUFFERS / n;
    bytes = bytes > SHARED_LEAST_BYTES ? bytes : SHARED_LEAST_BYTES;
    return (bytes + 2 * PIECE - 1) / (2 * PIECE) * (2 * PIECE);
}

uint64_t nf_background_bytes(size_t n, uint64_t llc_bytes)
{
    return n * buffer_bytes(n, llc_bytes);
}

static bool stopping(const struct nf_background *b)
{
    return atomic_load_explicit(&b->stop, memory_order_relaxed);
}

/* Long waits sleep, so that a slow background leaves its CPU's time to others; the last stretch spins. */
static uint64_t wait_until(const struct nf_background *b, struct nf_pace *pace, uint64_t deadline_ns)
{
    const uint64_t wakes_within_ns = 200000, at_most_ns = 10000000;
    uint64_t now = nf_pace_now(pace);

    while (now + 2 * wakes_within_ns < deadline_ns && !stopping(b)) {
        uint64_t ns = deadline_ns - now - wakes_within_ns;
        struct timespec ts = {.tv_nsec = (long)(ns < at_most_ns ? ns : at_most_ns)};

        nanosleep(&ts, NULL);
        nf_pace_sync(pace);
        now = nf_pace_now(pace);
    }
    return stopping(b) ? now : nf_pace_until(pace, deadline_ns);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct nf_background *b = w->of;
    const struct nf_kernels kernels = nf_kernels_storing(nf_kernels_best(), kinds[w->kind].store);
    unsigned reads = kinds[w->kind].reads, of_turn = reads + kinds[w->kind].writes, turn = 0;
    struct nf_background_flow flow;
    struct nf_pace pace;
    uint64_t start, carried, half = w->bytes / 2, at[NF_RW_COUNT] = {0};

    nf_pace_init(&pace);
    atomic_fetch_add(&b->running, 1);
    start = nf_pace_now(&pace);
    nf_background_flow_init(&flow, w->tier, w->bps, start);
    for (carried = start; !stopping(b);) {
        enum nf_rw rw = turn < reads ? NF_RW_READ : NF_RW_WRITE;
        uint64_t begin = carried ? carried : nf_pace_now(&pace), deadline, end;

        /* Two streams through two halves: what is read was not just written. */
        kernels.touch[rw](w->memory + (rw == NF_RW_WRITE ? half : 0) + at[rw], PIECE, PIECE, 1);
        at[rw] = (at[rw] + PIECE) % half;
        turn = (turn + 1) % of_turn;
        deadline = nf_background_charge(&flow, rw, kinds[w->kind].store, PIECE, begin);
        atomic_store_explicit(&w->moved, flow.bytes, memory_order_relaxed);
        end = wait_until(b, &pace, deadline);
        carried = end < deadline + NF_PACE_GAP_NS ? deadline : 0;
    }
    w->ns = nf_pace_now(&pace) - start;
    atomic_store(&w->moved, flow.bytes);
    return NULL;
}

static int no_cpu(size_t n, size_t taken)
{
    return nf_fail(-ENODEV, "%zu background thread%s beside %zu busy one%s want%s %zu CPUs, and this process may use %d",
                   n, n == 1 ? "" : "s", taken, taken == 1 ? "" : "s", n == 1 ? "s" : "", n + taken, nf_pin_cpus());
}

int nf_background_probe(size_t n, size_t n_taken)
{
    return n + n_taken <= (size_t)nf_pin_cpus() ? 0 : no_cpu(n, n_taken);
}

static int prove(const struct worker *w)
{
    int rc = nf_tier_verify(w->tier, w->memory, w->bytes);

    return rc ? nf_fail_in(rc, "memory of a background on %s", w->tier->name) : 0;
}

/* n: all there will be. */
static int add_worker(struct nf_background *b, const struct nf_background_spec *spec,
                      const struct nf_background_where *where, size_t n, int cpu)
{
    struct worker *w = &b->worker[b->n];
    void *memory;
    int rc;

    w->of = b;
    w->kind = spec->kind;
    w->bps = (double)spec->bps;
    w->cpu = cpu;
    w->tier = find_tier(spec->tier, where->tiers, where->n_tiers);
    w->bytes = buffer_bytes(n, where->llc_bytes);
    if (spec->share > 0)
        w->bps = spec->share * where->read_bps[w->tier - where->tiers];
    rc = w->tier->ops->map(w->tier->state, w->bytes, &memory);
    if (rc)
        return nf_fail_in(rc, "memory of a background on %s", spec->tier);
    w->memory = memory;
    b->n++;
    memset(w->memory, 1, w->bytes); /* faulted here, not while the replay runs beside it */
    rc = prove(w);
    if (rc)
        return rc;
    rc = -nf_pin_thread(&w->thread, w->cpu, work, w);
    w->started = !rc;
    return rc ? nf_fail(rc, "cannot start a background on %s: %s", spec->tier, strerror(-rc)) : 0;
}

static int start(struct nf_background *b, const struct nf_background_spec *specs, size_t n,
                 const struct nf_background_where *where)
{
    int rc = nf_background_check(specs, n, where->tiers, where->n_tiers), cpus[NF_BACKGROUND_MAX];

    if (!rc && nf_pin_beside("", where->allowed, where->n_taken ? where->taken[0] : where->cpu, where->taken, where->n_taken, (unsigned)n,
                             cpus) < n)
        rc = no_cpu(n, where->n_taken);
    for (size_t i = 0; i < n && !rc; i++)
        rc = add_worker(b, &specs[i], where, n, cpus[i]);
    while (!rc && atomic_load(&b->running) < n)
        sched_yield();
    return rc;
}

int nf_background_start(const struct nf_background_spec *specs, size_t n, const struct nf_background_where *where,
                        struct nf_background **out)
{
    struct nf_background *b;
    int rc;

    if (n > NF_BACKGROUND_MAX)
        return nf_fail(-EINVAL, "more than %d backgrounds", NF_BACKGROUND_MAX);
    b = calloc(1, sizeof *b);
    if (!b)
        return nf_fail(-ENOMEM, "out of memory for a background");
    rc = start(b, specs, n, where);
    if (rc)
        nf_background_stop(b, NULL);
    else
        *out = b;
    return rc;
}

int nf_background_start_hog(const int *taken, uint32_t n_taken, uint64_t llc_bytes, struct nf_background **out)
{
    static const struct nf_background_spec all_of_it = {.kind = NF_BACKGROUND_MIXED, .tier = "plain"};
    struct nf_background *b = calloc(1, sizeof *b);
    struct nf_background_where where = {
        .n_tiers = 1, .taken = taken, .n_taken = n_taken, .llc_bytes = llc_bytes};
    int rc;

    if (!b)
        return nf_fail(-ENOMEM, "out of memory for the hog");
    where.tiers = &b->plain;
    rc = nf_tier_open("plain", "null", NULL, &b->plain);
    if (!rc)
        rc = start(b, &all_of_it, 1, &where);
    if (rc)
        nf_background_stop(b, NULL);
    else
        *out = b;
    return rc;
}

unsigned nf_background_cpus(const struct nf_background *b, int *cpus)
{
    for (uint32_t i = 0; i < b->n; i++)
        cpus[i] = b->worker[i].cpu;
    return b->n;
}

uint64_t nf_background_moved(const struct nf_background *b)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < b->n; i++)
        sum += atomic_load_explicit(&b->worker[i].moved, memory_order_relaxed);
    return sum;
}

int nf_background_stop(struct nf_background *b, double *bps)
{
    double sum = 0;
    int rc = 0;

    if (!b)
        return 0;
    atomic_store(&b->stop, true);
    for (uint32_t i = 0; i < b->n; i++) {
        struct worker *w = &b->worker[i];

        if (w->started)
            pthread_join(w->thread, NULL);
        sum += w->ns ? (double)atomic_load(&w->moved) / (double)w->ns * 1e9 : 0;
        if (w->started && !rc)
            rc = prove(w);
        w->tier->ops->unmap(w->tier->state, w->memory, w->bytes);
    }
    if (bps)
        *bps = sum;
    nf_tier_close(&b->plain);
    free(b);
    return rc;
}
