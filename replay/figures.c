#include "replay/figures.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/stats.h"
#include "core/model/stream.h"
#include "pool/copy.h"
#include "pool/fault-cost.h"
#include "pool/mover.h"
#include "pool/pages.h"
#include "pool/tier-binding.h"
#include "replay/access-class.h"
#include "replay/background.h"
#include "replay/flush.h"
#include "replay/measure.h"
#include "replay/memory.h"
#include "replay/pages.h"
#include "replay/pin.h"
#include "replay/working-set.h"

enum {
    COPY_BYTES = 32 << 20,   /* more than caches keep of a copy, less than a second of a slow tier */
    MIGRATE_BYTES = 2 << 20, /* a huge page where the tier has them: less would be base pages; else 512 a call */
    INTERVAL_NS = 10000000,  /* of a bandwidth sample: 150 pieces of 64 KiB at 1 GB/s */
};
/* On the way to the working set that is memory's, in and around caches. */
static const uint64_t sets[] = {512 << 10, 2 << 20, 8 << 20, 32 << 20, 128 << 20};
static const double offers[] = {0.1, 0.25, 0.5, 0.75, 0};
/* Of Mess: window 7, CV < 5 %, trend < 3 %, drift < 10 %; unlike there nothing is accepted for lack of patience. */
static const double GATE_CV = 0.05, GATE_TREND = 0.03, GATE_DRIFT = 0.10;

/* --- gates --- */

bool nf_gate_passed(const double *sample, unsigned n)
{
    const double *v = sample + n - NF_GATE_WINDOW, middle = (NF_GATE_WINDOW - 1) / 2.0;
    double mean = 0, variance = 0, slope = 0, spread = 0, median;

    if (n < NF_GATE_WINDOW)
        return false;
    for (int i = 0; i < NF_GATE_WINDOW; i++)
        mean += v[i] / NF_GATE_WINDOW;
    if (!(mean > 0))
        return false;
    for (int i = 0; i < NF_GATE_WINDOW; i++) {
        variance += (v[i] - mean) * (v[i] - mean) / (NF_GATE_WINDOW - 1);
        slope += (i - middle) * v[i];
        spread += (i - middle) * (i - middle);
    }
    if (sqrt(variance) / mean >= GATE_CV || fabs(slope / spread) * (NF_GATE_WINDOW - 1) / mean >= GATE_TREND)
        return false;
    median = nf_median(v, NF_GATE_WINDOW);
    return n < 2 * NF_GATE_WINDOW || fabs(median / nf_median(v - NF_GATE_WINDOW, NF_GATE_WINDOW) - 1) < GATE_DRIFT;
}

/* Samples until the gates open, and says so when they never did. take: 0 or -errno (cause set). */
static int sample(struct nf_tier_figure *f, int (*take)(void *context, double *value), void *context)
{
    while (f->n < NF_GATE_SAMPLES_MAX && !f->stable) {
        int rc = take(context, &f->samples[f->n]);

        if (rc)
            return rc;
        f->n++;
        f->stable = nf_gate_passed(f->samples, f->n);
    }
    f->value = nf_median(f->samples + f->n - NF_GATE_WINDOW, NF_GATE_WINDOW);
    return 0;
}

/* --- the run --- */

struct run {
    const struct nf_tier_figures_options *o;
    struct nf_tier_figures *out;
    struct nf_working_set set; /* of the tier that is measured now: what a chase goes through to be in memory */
    cpu_set_t allowed; /* before this was pinned */
    bool said_huge, said_load, said_nodes, said_injects[NF_TIER_MAX], said_flush, said_threads;
};

/* A chase that may have been answered by a cache is nothing that stands. */
static int keep(struct run *r, struct nf_tier_figure *f)
{
    f->stable = f->stable && !(r->set.cached && f->parallelism && f->working_set_bytes == r->set.bytes);
    return nf_array_push(&r->out->list, *f) ? nf_fail(-ENOMEM, "out of memory for figures") : 0;
}

static void progress(const struct run *r, uint32_t tier, const char *what)
{
    if (!r->o->quiet)
        nf_progress("measuring tier %s: %s (%zu figures so far)", r->o->tiers[tier].name, what, r->out->list.n);
}

static void once(bool *said, const char *fmt, const char *why)
{
    if (!*said)
        nf_info(fmt, why);
    *said = true;
}

static const char *page_of(const struct nf_tier *t)
{
    return t->facts.page ? t->facts.page : "as mapped";
}

static int take_chase(void *chase, double *ns)
{
    *ns = nf_chase_run(chase);
    return 0;
}

/* --- idle latency --- */

static int latencies_over(struct run *r, uint32_t tier, struct nf_chase *c, const char *page, uint64_t set_bytes)
{
    int rc = 0;

    for (int local = 1; local >= 0 && !rc; local--) {
        struct nf_tier_figure f = {.tier = tier, .to_tier = -1, .what = "latency", .unit = "ns", .traffic = "", .page = page,
                                   .locality = local ? "tlb-local" : "random", .working_set_bytes = set_bytes, .parallelism = 1};

        nf_chase_link(c, set_bytes, local);
        rc = sample(&f, take_chase, c);
        if (!rc)
            rc = keep(r, &f);
    }
    return rc;
}

static int latencies_of(struct run *r, uint32_t tier, struct nf_chase *c, const char *page)
{
    int rc = 0;

    for (size_t i = 0; i < sizeof sets / sizeof *sets && sets[i] < r->set.bytes && !rc; i++)
        rc = latencies_over(r, tier, c, page, sets[i]);
    return rc ? rc : latencies_over(r, tier, c, page, r->set.bytes);
}

/* What waits for an injected delay says nothing about the caches, nor about fetches under way: those are assumed of it. */
static bool injects(struct run *r, uint32_t tier)
{
    const struct nf_tier_facts *f = &r->o->tiers[tier].facts;

    if (!(f->target_latency_ns > 0 || f->target_bps > 0))
        return false;
    once(&r->said_injects[tier], "the effective LLC, k, flushes and fences are left out of tier '%s': it injects its delay",
         r->o->tiers[tier].name);
    return true;
}

/* One scan of nine runs, the knee of each beside that of all. */
static int llc(struct run *r, uint32_t tier, struct nf_chase *c, const char *page)
{
    struct nf_tier_figure f = {.tier = tier, .to_tier = -1, .what = "llc", .unit = "B", .traffic = "", .page = page,
                               .locality = "tlb-local", .working_set_bytes = r->set.bytes, .parallelism = 1, .n = NF_MEASURE_RUNS};
    uint64_t bytes;
    int rc;

    if (injects(r, tier))
        return 0;
    rc = nf_chase_knee(c, &bytes, f.samples);
    if (rc)
        return rc;
    f.value = (double)bytes;
    f.stable = nf_gate_passed(f.samples, f.n);
    return keep(r, &f);
}

static int latency(struct run *r, uint32_t number, struct nf_tier *tier, const char *page)
{
    struct nf_chase *c = NULL;
    int rc;

    progress(r, number, page);
    rc = nf_chase_new(tier, r->o->cpu, r->set.bytes, &c);
    if (rc)
        return rc;
    rc = latencies_of(r, number, c, page);
    if (!rc)
        rc = llc(r, number, c, page);
    if (!rc)
        rc = nf_chase_prove(c);
    nf_chase_free(c);
    return rc;
}

static int latencies(struct run *r, uint32_t number)
{
    static const char *const asked[] = {"4k", "thp"};
    struct nf_tier variant;
    int rc = 0;

    if (!nf_pages_has(r->o->tiers[number].ops))
        return latency(r, number, &r->o->tiers[number], page_of(&r->o->tiers[number]));
    for (int i = 0; i < 2 && !rc; i++) {
        rc = nf_pages_open(&r->o->tiers[number], asked[i], &r->o->local, &variant);
        if (!rc)
            rc = latency(r, number, &variant, page_of(&variant));
        nf_tier_close(&variant);
        /* A kernel without huge pages refuses them, or has too few; that is no failure of the tier. */
        if ((rc == -EINVAL || rc == -ENODEV) && i == 1) {
            once(&r->said_huge, "latency on huge pages is left out: %s", nf_error_text(rc));
            rc = 0;
        }
    }
    return rc;
}

/* --- traffic --- */

unsigned nf_figures_more_threads(unsigned threads, unsigned most)
{
    return threads >= most ? 0 : 2 * threads < most ? 2 * threads : most;
}

static int start_traffic(const struct run *r, uint32_t tier, enum nf_background_kind kind, unsigned threads,
                         double share, int taken, struct nf_background **out)
{
    struct nf_background_spec specs[NF_BACKGROUND_MAX] = {{0}};
    struct nf_background_where where = {.tiers = r->o->tiers, .read_bps = r->o->read_bps, .n_tiers = r->o->n_tiers,
                                        .taken = &taken, .n_taken = taken >= 0, .llc_bytes = r->o->llc_bytes,
                                        .cpu = r->o->cpu, .allowed = &r->allowed};

    for (unsigned i = 0; i < threads; i++) {
        specs[i] = (struct nf_background_spec){.kind = kind, .share = share};
        snprintf(specs[i].tier, sizeof specs[i].tier, "%s", r->o->tiers[tier].name);
    }
    return nf_background_start(specs, threads, &where, out);
}

/* For the figure: where its traffic came from. */
static void note_cpus(const struct nf_background *b, struct nf_tier_figure *f)
{
    int cpus[NF_BACKGROUND_MAX];

    nf_pin_list(cpus, nf_background_cpus(b, cpus), f->traffic_cpus, sizeof f->traffic_cpus);
}

/* What failed first counts. */
static int stop_traffic(struct nf_background *b, double *bps, int rc)
{
    int stopped = nf_background_stop(b, bps);

    return rc ? rc : stopped;
}

/* Of an interval; of as many as it takes, within a second, for threads on a busy CPU to have run at all. */
static int take_bandwidth(void *background, double *bps)
{
    const struct timespec interval = {.tv_nsec = INTERVAL_NS};
    const uint64_t most_ns = 1000000000;
    uint64_t moved = nf_background_moved(background), start = nf_now_ns();

    do
        nanosleep(&interval, NULL);
    while (nf_background_moved(background) == moved && nf_now_ns() - start < most_ns);
    *bps = (double)(nf_background_moved(background) - moved) / (double)(nf_now_ns() - start) * 1e9;
    return 0;
}

static uint64_t traffic_set(const struct run *r, unsigned threads)
{
    return nf_background_bytes(threads, r->o->llc_bytes);
}

static int bandwidth(struct run *r, uint32_t tier, enum nf_background_kind kind, unsigned threads)
{
    struct nf_tier_figure f = {.tier = tier, .to_tier = -1, .what = "bandwidth", .unit = "B/s", .locality = "",
                               .threads = threads, .traffic = nf_background_kind_name(kind),
                               .page = page_of(&r->o->tiers[tier]), .working_set_bytes = traffic_set(r, threads)};
    struct nf_background *b = NULL;
    int rc = start_traffic(r, tier, kind, threads, 0, -1, &b);

    if (!rc) {
        note_cpus(b, &f);
        rc = sample(&f, take_bandwidth, b);
    }
    rc = stop_traffic(b, NULL, rc);
    f.traffic_bps = f.value;
    return rc ? rc : keep(r, &f);
}

/* All that the initiator's node has, whose buffers leave as much again of the memory that is there; `left`: CPUs to spare. */
static unsigned threads_there_are(struct run *r, unsigned left)
{
    unsigned cpus = nf_pin_node_cpus("", &r->allowed, r->o->cpu), n;

    cpus = cpus > left ? cpus : (unsigned)CPU_COUNT(&r->allowed);
    cpus = cpus > left ? cpus - left : 0;
    for (n = cpus < NF_BACKGROUND_MAX ? cpus : NF_BACKGROUND_MAX; n > 1 && traffic_set(r, n) > nf_memory_available() / 2;)
        n--;
    if (n < cpus)
        once(&r->said_threads, "traffic is of fewer threads than the node has CPUs: %s", "their buffers would take more than half of the memory there is, or there are too many CPUs");
    return n;
}

static int bandwidths(struct run *r, uint32_t tier)
{
    unsigned most = threads_there_are(r, 0);
    int rc = 0;

    progress(r, tier, "bandwidth by mix and threads");
    for (int kind = 0; kind < NF_BACKGROUND_KINDS; kind++)
        for (unsigned threads = 1; threads && !rc; threads = nf_figures_more_threads(threads, most))
            rc = bandwidth(r, tier, kind, threads);
    return rc;
}

/* --- latency beside traffic --- */

static int loaded(struct run *r, uint32_t tier, struct nf_chase *c, enum nf_background_kind kind, unsigned threads,
                  double share)
{
    struct nf_tier_figure f = {.tier = tier, .to_tier = -1, .what = "loaded", .unit = "ns", .locality = "tlb-local",
                               .threads = threads, .offered = share,
                               .traffic = threads ? nf_background_kind_name(kind) : "",
                               .page = page_of(&r->o->tiers[tier]), .working_set_bytes = r->set.bytes, .parallelism = 1};
    struct nf_background *b = NULL;
    int rc = threads ? start_traffic(r, tier, kind, threads, share, r->o->cpu, &b) : 0;

    if (b)
        note_cpus(b, &f);
    if (!rc)
        rc = sample(&f, take_chase, c);
    if (b)
        rc = stop_traffic(b, &f.traffic_bps, rc);
    return rc ? rc : keep(r, &f);
}

static int loaded_curves(struct run *r, uint32_t tier)
{
    unsigned threads = threads_there_are(r, 1);
    struct nf_chase *c = NULL;
    int rc;

    if (!threads) {
        once(&r->said_load, "loaded latency is left out: %s", "this process may use one CPU only");
        return 0;
    }
    progress(r, tier, "latency beside traffic");
    rc = nf_chase_new(&r->o->tiers[tier], r->o->cpu, r->set.bytes, &c);
    if (rc)
        return rc;
    nf_chase_link(c, r->set.bytes, true);
    rc = loaded(r, tier, c, NF_BACKGROUND_READ, 0, 0);
    for (int kind = 0; kind < NF_BACKGROUND_KINDS; kind++)
        for (size_t i = 0; i < sizeof offers / sizeof *offers && !rc; i++)
            rc = loaded(r, tier, c, kind, threads, offers[i]);
    if (!rc)
        rc = nf_chase_prove(c);
    nf_chase_free(c);
    return rc;
}

/* --- fetches under way, flushes --- */

struct lines {
    char *memory;
    uint64_t bytes;
    const struct nf_access_class *class;
    double latency_ns; /* of one TLB-local chain: what k is a multiple of */
    unsigned run;
};

static int take_class(void *context, double *k)
{
    struct lines *l = context;

    *k = nf_access_class_run(l->class, l->memory, l->bytes, l->run++) * l->latency_ns;
    return 0;
}

static int take_flush(void *context, double *ns)
{
    struct lines *l = context;

    *ns = nf_flush_run(l->memory, l->bytes, l->run++);
    return 0;
}

static int take_fence(void *context, double *ns)
{
    struct lines *l = context;

    *ns = nf_flush_fence_run(l->memory, l->bytes, l->run++);
    return 0;
}

static int line_figures(struct run *r, uint32_t tier, struct lines *l)
{
    struct nf_tier_figure f = {.tier = tier, .to_tier = -1, .what = "k", .unit = "lines", .locality = "", .threads = 1,
                               .page = page_of(&r->o->tiers[tier]), .working_set_bytes = l->bytes}, of;
    int rc = 0;

    for (int i = 0; i < NF_ACCESS_CLASSES && !rc; i++) {
        of = f;
        of.traffic = nf_access_classes[i].name;
        l->class = &nf_access_classes[i];
        rc = sample(&of, take_class, l);
        if (!rc)
            rc = keep(r, &of);
    }
    if (!*nf_flush_name()) {
        once(&r->said_flush, "flushes and fences are left out: %s", "no instruction of this CPU's is known for them");
        return rc;
    }
    for (int fence = 0; fence < 2 && !rc; fence++) {
        of = f;
        of.what = fence ? "fence" : "flush";
        of.unit = "ns";
        of.traffic = nf_flush_name();
        rc = sample(&of, fence ? take_fence : take_flush, l);
        if (!rc)
            rc = keep(r, &of);
    }
    return rc;
}

static int lines(struct run *r, uint32_t tier)
{
    struct nf_tier_figure latency = {.to_tier = -1};
    struct nf_chase *c = NULL;
    struct lines l = {0};
    int rc;

    if (injects(r, tier))
        return 0;
    progress(r, tier, "fetches under way, flushes");
    rc = nf_chase_new(&r->o->tiers[tier], r->o->cpu, r->set.bytes, &c);
    if (rc)
        return rc;
    nf_chase_link(c, r->set.bytes, true);
    rc = sample(&latency, take_chase, c);
    l.latency_ns = latency.value;
    l.memory = nf_chase_memory(c, &l.bytes);
    if (!rc)
        rc = line_figures(r, tier, &l);
    if (!rc)
        rc = nf_chase_prove(c);
    nf_chase_free(c);
    return rc;
}

/* --- between tiers --- */

struct copying {
    struct nf_mover mover;
    struct nf_pool_storage from;
    char *to;
    uint32_t to_tier;
};

static int take_copy(void *context, double *bps)
{
    struct copying *c = context;
    uint64_t start = nf_now_ns();

    nf_mover_move(&c->mover, &c->from, 0, c->from.bytes, c->to, c->to_tier, NULL);
    *bps = COPY_BYTES / (double)(nf_now_ns() - start) * 1e9;
    return 0;
}

static int prove_both(const struct nf_tier *from, const struct nf_tier *to, void *const memory[2])
{
    int rc = nf_tier_verify(from, memory[0], COPY_BYTES);

    if (!rc)
        rc = nf_tier_verify(to, memory[1], COPY_BYTES);
    return rc ? nf_fail_in(rc, "copying from '%s' to '%s'", from->name, to->name) : 0;
}

static int copy(struct run *r, uint32_t from, uint32_t to)
{
    struct nf_tier_figure f = {.tier = from, .to_tier = (int)to, .what = "copy", .unit = "B/s", .traffic = "",
                               .locality = "", .threads = 1, .page = page_of(&r->o->tiers[from]),
                               .working_set_bytes = COPY_BYTES};
    struct nf_tier *tiers = r->o->tiers;
    struct copying c = {.from.bytes = COPY_BYTES, .to_tier = to};
    void *memory[2] = {NULL};
    int rc;

    nf_mover_init(&c.mover, NF_MOVER_COPY, tiers, r->o->n_tiers, r->o->local.latency_ns, r->o->local.read_bps, NULL);
    nf_copy_choose();
    rc = tiers[from].ops->map(tiers[from].state, COPY_BYTES, &memory[0]);
    if (!rc)
        rc = tiers[to].ops->map(tiers[to].state, COPY_BYTES, &memory[1]);
    if (!rc) {
        c.from.piece[from] = (struct nf_extent){memory[0], COPY_BYTES};
        c.to = memory[1];
        memset(memory[0], 1, COPY_BYTES);
        rc = prove_both(&tiers[from], &tiers[to], memory);
    }
    if (!rc)
        rc = sample(&f, take_copy, &c);
    if (!rc)
        rc = prove_both(&tiers[from], &tiers[to], memory);
    if (memory[1])
        tiers[to].ops->unmap(tiers[to].state, memory[1], COPY_BYTES);
    if (memory[0])
        tiers[from].ops->unmap(tiers[from].state, memory[0], COPY_BYTES);
    return rc ? rc : keep(r, &f);
}

struct migrating {
    void *memory;
    int from, to;
};

/* There and back, only the way there timed: as movers have it, a page that somebody holds for a moment tried again. */
static int take_migration(void *context, double *ns)
{
    struct migrating *m = context;
    uint64_t start = nf_now_ns();
    int rc = nf_pages_move(&nf_pages_kernel, m->memory, MIGRATE_BYTES, m->to, NULL);

    *ns = (double)(nf_now_ns() - start) / ((double)MIGRATE_BYTES / NF_PAGE_BYTES);
    if (!rc)
        rc = nf_binding_verify(m->memory, MIGRATE_BYTES, m->to);
    return rc ? rc : nf_pages_move(&nf_pages_kernel, m->memory, MIGRATE_BYTES, m->from, NULL);
}

static int migrate(struct run *r, uint32_t from, uint32_t to)
{
    struct nf_tier_figure f = {.tier = from, .to_tier = (int)to, .what = "migrate", .unit = "ns", .traffic = "",
                               .locality = "", .threads = 1, .page = page_of(&r->o->tiers[from]),
                               .working_set_bytes = MIGRATE_BYTES};
    struct nf_tier *t = &r->o->tiers[from];
    struct migrating m = {.from = t->facts.node, .to = r->o->tiers[to].facts.node};
    int rc;

    if (m.from < 0 || m.to < 0 || m.from == m.to) {
        once(&r->said_nodes, "the kernel's page migration is left out: %s", "these tiers are not two NUMA nodes");
        return 0;
    }
    rc = t->ops->map(t->state, MIGRATE_BYTES, &m.memory);
    if (rc)
        return rc;
    rc = nf_tier_verify(t, m.memory, MIGRATE_BYTES);
    if (!rc)
        rc = sample(&f, take_migration, &m);
    if (!rc)
        rc = nf_binding_verify(m.memory, MIGRATE_BYTES, m.from);
    if (!rc && nf_tier_verify_page_size(t, m.memory, MIGRATE_BYTES)) { /* a kernel that splits what it moves */
        f.page = "4k";
        nf_error_clear();
    }
    t->ops->unmap(t->state, m.memory, MIGRATE_BYTES);
    return rc ? rc : keep(r, &f);
}

static int between(struct run *r)
{
    int rc = 0;

    for (uint32_t from = 0; from < r->o->n_tiers; from++)
        for (uint32_t to = 0; to < r->o->n_tiers && !rc; to++) {
            if (from == to)
                continue;
            progress(r, from, "copies and migrations");
            rc = copy(r, from, to);
            if (!rc)
                rc = migrate(r, from, to);
        }
    return rc;
}

/* What a policy that is told fault-ns=-1 charges for a hint fault. */
static int take_fault(void *context, double *ns)
{
    *ns = nf_fault_cost_measure_ns();
    return *ns > 0 ? 0 : nf_fail(-ENOMEM, "no memory to take page faults on");
}

static int faults(struct run *r)
{
    struct nf_tier_figure f = {.to_tier = -1, .what = "fault", .unit = "ns", .traffic = "", .locality = "", .threads = 1,
                               .page = "4k", .working_set_bytes = NF_FAULT_COST_BYTES};
    int rc;

    progress(r, 0, "page faults");
    rc = sample(&f, take_fault, NULL);
    return rc ? rc : keep(r, &f);
}

/* What pages of that size show of the caches: where this tier could not, near did, which has the same ones before it. */
static uint64_t llc_behind(const struct run *r, size_t begun, uint32_t tier, const char *page)
{
    uint64_t bytes = r->o->llc_bytes;

    for (size_t i = begun; i < r->out->list.n; i++) {
        const struct nf_tier_figure *f = &r->out->list.v[i];

        if (strcmp(f->what, "llc") || strcmp(f->page, page) || (f->tier != tier && f->tier))
            continue;
        bytes = (uint64_t)f->value;
        if (f->tier == tier)
            break;
    }
    return bytes;
}

/* Known once all latencies are. */
static void note_llc(const struct run *r, size_t begun)
{
    for (size_t i = begun; i < r->out->list.n; i++)
        r->out->list.v[i].llc_bytes = llc_behind(r, begun, r->out->list.v[i].tier, r->out->list.v[i].page);
}

static int measure(struct run *r)
{
    const struct nf_tier_figures_options *o = r->o;
    int rc = 0;

    for (uint32_t i = 0; i < o->n_tiers && !rc; i++) {
        r->set = nf_working_set_of(&o->tiers[i], o->cpu);
        if (o->set_bytes)
            r->set = (struct nf_working_set){.bytes = o->set_bytes};
        rc = latencies(r, i);
        if (!rc)
            rc = bandwidths(r, i);
        if (!rc)
            rc = loaded_curves(r, i);
        if (!rc)
            rc = lines(r, i);
        if (rc)
            nf_fail_in(rc, "tier '%s'", o->tiers[i].name);
    }
    if (!rc)
        rc = between(r);
    return rc ? rc : faults(r);
}

int nf_tier_figures_measure(const struct nf_tier_figures_options *o, struct nf_tier_figures *out)
{
    struct run r = {.o = o, .out = out};
    size_t begun = out->list.n;
    struct nf_pin pin;
    int rc = nf_pin_init(&pin, o->cpu);

    if (rc)
        return rc;
    r.allowed = pin.before;
    rc = measure(&r);
    if (rc)
        out->list.n = begun;
    note_llc(&r, begun);
    nf_pin_deinit(&pin);
    if (!o->quiet)
        nf_progress_end();
    return rc;
}
