/* The replay itself: what dispatching a visit costs where it happens, how well a schedule is kept, what two threads gain,
 * and what an emulated tier gives on what it was not calibrated on: mixes, two threads, contention, a mover. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "pool/evict.h"
#include "pool/policies.h"
#include "replay/background.h"
#include "replay/engine.h"
#include "replay/measure.h"
#include "replay/pace.h"
#include "replay/pin.h"
#include "tests/bench/bench.h"

/* One tensor carried through, visited by every op from its start on; where movers are measured, another that nobody visits. */
struct job {
    struct nf_op *ops;
    struct nf_visit *visits;
    struct nf_tensor tensors[2];
    struct nf_step_class c;
    uint32_t sequence[1];
    char *names[1];
    struct nf_stream stream;
    struct nf_profile profile;
    struct nf_script script;
    struct nf_tier tiers[2];
    double lines_per_s; /* of the schedule; 0: none */
};

struct shape {
    uint32_t ops;
    uint64_t bytes, footprint; /* of a visit; of the tensor, which visits walk through */
    double dur_ns;
    unsigned reads, writes;    /* in turn: so many ops that read, then so many that update */
    uint64_t cargo;            /* of the tensor that nobody visits; 0: none */
    uint8_t parallelism;
};

static void job_deinit(struct job *j)
{
    nf_script_deinit(&j->script);
    nf_profile_deinit(&j->profile);
    free(j->ops);
    free(j->visits);
}

static int job_init(struct job *j, const struct shape *s)
{
    static char name[] = "";
    int rc;

    memset(j, 0, sizeof *j);
    j->ops = calloc(s->ops, sizeof *j->ops);
    j->visits = calloc(s->ops, sizeof *j->visits);
    if (!j->ops || !j->visits)
        return nf_fail(-ENOMEM, "out of memory");
    for (int i = 0; i < 2; i++)
        j->tensors[i] = (struct nf_tensor){.bytes = i ? s->cargo : s->footprint, .address = (i + 1ull) << 32,
                                           .birth = NF_OP_BEFORE, .death = NF_OP_AFTER, .carry_in = i, .carry_out = i,
                                           .tracked = true};
    for (uint32_t i = 0; i < s->ops; i++) {
        bool read = !s->writes || i % (s->reads + s->writes) < s->reads;

        j->ops[i] = (struct nf_op){.first_visit = i, .n_visits = 1, .dur_ns = s->dur_ns, .regime = 1};
        j->visits[i] = (struct nf_visit){.op = i, .offset = (uint64_t)i * s->bytes % s->footprint, .bytes = s->bytes,
                                         .run = s->bytes, .stride = s->bytes, .touches_q8 = 256,
                                         .rw = read ? NF_RW_READ : NF_RW_UPDATE, .parallelism = s->parallelism};
    }
    j->c = (struct nf_step_class){.ops = j->ops, .visits = j->visits, .tensors = j->tensors, .n_ops = s->ops,
                                  .n_visits = s->ops, .n_tensors = s->cargo ? 2 : 1};
    j->names[0] = name;
    j->stream = (struct nf_stream){.classes = &j->c, .n_classes = 1, .sequence = j->sequence, .n_sequence = 1, .n_carry = 2,
                                   .names = j->names, .n_names = 1, .threads = 1};
    rc = nf_step_class_peak(&j->c, &j->c.peak_live_bytes);
    if (!rc)
        rc = nf_step_class_check(&j->c, &j->stream);
    if (!rc)
        rc = nf_profile_init(&j->profile, &j->c, 0, 1);
    return rc ? rc : nf_script_init(&j->script, &j->profile, 1);
}

/* Real memory near: pages that nobody has written are all one page, in the cache. */
static int open_tiers(struct job *j)
{
    int rc = nf_tier_open("near", "numa", NULL, &j->tiers[0]);

    if (!rc)
        rc = nf_tier_open("far", "null", NULL, &j->tiers[1]);
    if (rc)
        fprintf(stderr, "replay: %s\n", nf_error_text(rc));
    return rc;
}

static struct nf_engine_config configure(struct job *j, const char *policy, unsigned threads, unsigned cycles)
{
    struct nf_engine_config c = NF_ENGINE_CONFIG_INIT;

    c.stream = &j->stream;
    c.scripts = &j->script;
    c.pool = (struct nf_pool_config){.tiers = j->tiers, .n_tiers = 2, .capacity = {UINT64_MAX, UINT64_MAX},
                                     .policy = nf_policy_find(policy), .policy_options = "", .profiles = &j->profile,
                                     .n_profiles = 1};
    c.pool.arena_bytes[strcmp(policy, "all-far") ? 0 : 1] = nf_page_bytes(j->tensors[0].bytes) + (16 << 20);
    c.threads = threads;
    c.cycles = cycles;
    c.warmup_min = c.warmup_max = 1;
    return c;
}

static int run(const struct nf_engine_config *c, struct nf_trial *t)
{
    int rc = nf_trial_run(c, t);

    if (!rc && t->status == NF_TRIAL_FAILED)
        rc = nf_fail(-EIO, "%s", t->message);
    if (rc)
        fprintf(stderr, "replay: %s\n", nf_error_text(rc));
    return rc;
}

/* --- dispatch --- */

struct plain {
    struct job *job;
    unsigned cycles;
    char *memory; /* the near tier's pages, kept between trials; NULL: it has new ones for each */
};

static void access_all(const struct job *j, char *memory)
{
    const struct nf_kernels *kernels = nf_kernels_best();

    for (uint32_t i = 0; i < j->c.n_visits; i++) {
        const struct nf_visit *v = &j->visits[i];

        kernels->touch[v->rw](memory + v->offset, v->bytes, v->bytes, 1);
    }
}

/* The same accesses without a replay around them: on the trial's very pages where they are kept, else on memory as new as a
 * trial's. How a host backs it differs from piece to piece, by more than a replay costs. */
static double plain_ns(const struct plain *p)
{
    size_t bytes = p->job->tensors[0].bytes;
    char *memory = p->memory ? p->memory
                             : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t start;
    double took;

    if (memory == MAP_FAILED)
        return -1;
    if (!p->memory)
        madvise(memory, bytes, MADV_NOHUGEPAGE); /* as the tier has it */
    memset(memory, 1, bytes);
    nf_evict(memory, bytes); /* as a trial begins: lines that were written come back from another cache than lines read */
    access_all(p->job, memory);
    start = nf_now_ns();
    for (unsigned cycle = 0; cycle < p->cycles; cycle++)
        access_all(p->job, memory);
    took = (double)(nf_now_ns() - start);
    if (!p->memory)
        munmap(memory, bytes);
    return took;
}

static double replay_ns(const struct plain *p)
{
    struct nf_engine_config c = configure(p->job, "all-near", 1, p->cycles);
    struct nf_trial t = {0};
    double ns = run(&c, &t) ? -1 : (double)t.wall_ns;

    nf_trial_deinit(&t);
    return ns;
}

/* Beyond what the access itself takes, per visit. */
static double dispatch_run(void *state, unsigned contender)
{
    const struct plain *p = state;
    double replayed = replay_ns(p), plain = plain_ns(p);

    return replayed < 0 || plain < 0 ? -1 : (replayed - plain) / p->cycles / p->job->c.n_visits;
}

static double asap_run(void *state, unsigned contender)
{
    const struct plain *p = state;

    return contender ? plain_ns(p) / 1e6 : replay_ns(p) / 1e6;
}

/* A tier whose memory stays between trials. */
static struct {
    struct nf_tier_ops ops;
    const struct nf_tier_ops *real;
    char *memory;
    size_t bytes;
} kept;

static int map_kept(void *tier, size_t bytes, void **memory)
{
    void *first;

    if (!kept.memory && !kept.real->map(tier, bytes, &first)) {
        kept.memory = first;
        kept.bytes = bytes;
    }
    *memory = kept.memory;
    return kept.memory && bytes == kept.bytes ? 0 : nf_fail(-ENOMEM, "the kept memory is %zu bytes", kept.bytes);
}

static void unmap_kept(void *tier, void *memory, size_t bytes)
{
}

/* Chunks beyond the private caches, on the same physical pages for both. */
static int from_memory_row(struct bench *b)
{
    const struct shape chunks = {.ops = b->smoke ? 20 : 2000, .bytes = 64 << 10, .footprint = b->smoke ? 2 << 20 : 128 << 20};
    const struct bench_row row = {.name = "asap, chunks of 64 KiB, from memory", .unit = "ms",
                                  .contender = {"replay", "the accesses alone"}, .lower_is_better = true,
                                  .ratio_most = 1.03, .run = asap_run};
    struct job job = {0};
    struct plain p = {.job = &job, .cycles = b->smoke ? 1 : 5};
    int rc = job_init(&job, &chunks);

    if (!rc)
        rc = open_tiers(&job);
    if (!rc) {
        kept.real = job.tiers[0].ops;
        kept.ops = *kept.real;
        kept.ops.map = map_kept;
        kept.ops.unmap = unmap_kept;
        job.tiers[0].ops = &kept.ops;
        rc = replay_ns(&p) < 0 ? -1 : 0; /* maps it */
        p.memory = kept.memory;
    }
    if (!rc)
        rc = bench_row(b, &row, &p);
    if (kept.memory)
        kept.real->unmap(job.tiers[0].state, kept.memory, kept.bytes);
    if (kept.real)
        job.tiers[0].ops = kept.real;
    nf_tier_close(&job.tiers[0]);
    nf_tier_close(&job.tiers[1]);
    job_deinit(&job);
    return rc ? -1 : 0;
}

static int dispatch_rows(struct bench *b)
{
    const struct shape tiny = {.ops = b->smoke ? 500 : 20000, .bytes = 64, .footprint = 1 << 20};
    /* In the cache, where a chunk takes the least time and the replay's share of it is largest. */
    const struct shape chunks = {.ops = b->smoke ? 20 : 5000, .bytes = 64 << 10, .footprint = 1 << 20};
    const struct bench_row dispatch = {.name = "dispatch of a visit, in situ", .unit = "ns", .contender = {"replay - access"},
                                       .target = 100, .lower_is_better = true, .run = dispatch_run};
    const struct bench_row asap = {.name = "asap, chunks of 64 KiB, cached", .unit = "ms",
                                   .contender = {"replay", "the accesses alone"}, .lower_is_better = true, .run = asap_run};
    struct plain p = {.cycles = b->smoke ? 1 : 5};
    struct job job;
    int rc;

    p.job = &job;
    rc = job_init(&job, &tiny);
    if (!rc)
        rc = open_tiers(&job);
    if (!rc)
        rc = bench_row(b, &dispatch, &p);
    nf_tier_close(&job.tiers[0]);
    nf_tier_close(&job.tiers[1]);
    job_deinit(&job);
    if (!rc)
        rc = job_init(&job, &chunks);
    if (!rc)
        rc = open_tiers(&job);
    if (!rc)
        rc = bench_row(b, &asap, &p);
    nf_tier_close(&job.tiers[0]);
    nf_tier_close(&job.tiers[1]);
    job_deinit(&job);
    return rc ? rc : from_memory_row(b);
}

/* --- pacing --- */

enum { PACED_LINES = 1024 };
static const double PACED_LINES_PER_S = 50e6;

/* What a loop that does nothing but read the clock loses to others in so much time, in percent: the least any schedule on
 * this machine can be missed by where time lost within an access is not known from the access's own. */
static double lost_percent(double ns)
{
    struct nf_pace pace;
    uint64_t start;

    nf_pace_init(&pace);
    start = nf_pace_now(&pace);
    nf_pace_until(&pace, start + (uint64_t)ns);
    return 100 * (double)pace.stolen_ns / ns;
}

/* What is left of the time when accesses, waits and the pool have theirs. */
static double dispatch_share(const struct nf_trial *t)
{
    double known = (double)(t->memory_ns + t->injected_ns + t->compute_ns + t->pool.stall_ns + t->pool.policy_ns);

    return ((double)t->wall_ns - known) / (double)t->wall_ns;
}

static int pacing_rows(struct bench *b)
{
    const struct shape s = {.ops = b->smoke ? 100 : 5000, .bytes = PACED_LINES * 64, .footprint = 1 << 20,
                            .dur_ns = PACED_LINES / PACED_LINES_PER_S * 1e9};
    double error[64], lost[64], p50[64], p99[64], most[64], dispatch[64];
    struct job job;
    unsigned n = 0;
    int rc = job_init(&job, &s);

    if (!rc)
        rc = open_tiers(&job);
    for (; !rc && n < (b->rounds < 64 ? b->rounds : 64); n++) {
        struct nf_engine_config c = configure(&job, "all-near", 1, 2);
        struct nf_trial t = {0};

        c.overlap = NF_OVERLAP_FULL;
        rc = run(&c, &t);
        if (!rc) {
            error[n] = 100 * ((double)t.wall_ns / t.scheduled_ns - 1);
            lost[n] = lost_percent(t.scheduled_ns);
            p50[n] = (double)nf_lateness_quantile(&t.lateness, 0.5);
            p99[n] = (double)nf_lateness_quantile(&t.lateness, 0.99);
            most[n] = (double)t.lateness.max_ns;
            dispatch[n] = 100 * dispatch_share(&t);
        }
        nf_trial_deinit(&t);
    }
    nf_tier_close(&job.tiers[0]);
    nf_tier_close(&job.tiers[1]);
    job_deinit(&job);
    if (rc)
        return -1;
    bench_at_most(b, "50 M lines/s: end error", "%", error, n, 0.05);
    bench_values(b, "  beside it: time an idle loop loses here", "%", lost, n);
    bench_at_most(b, "50 M lines/s: lateness p50", "ns", p50, n, 100);
    bench_values(b, "50 M lines/s: lateness p99", "ns", p99, n);
    bench_values(b, "50 M lines/s: lateness, most", "ns", most, n);
    bench_at_most(b, "50 M lines/s: dispatch", "%", dispatch, n, 2);
    return 0;
}

/* --- threads --- */

struct half {
    char *at;
    size_t bytes;
    unsigned rounds;
    int cpu;
};

static void *read_half(void *arg)
{
    const struct half *h = arg;
    const struct nf_kernels *kernels = nf_kernels_best();
    struct nf_pin pin = {.cpu = -1};

    if (h->cpu >= 0 && nf_pin_init(&pin, h->cpu))
        nf_error_clear();
    for (unsigned i = 0; i < h->rounds; i++)
        kernels->touch[NF_RW_READ](h->at, h->bytes, h->bytes, 1);
    return NULL;
}

/* Bytes per second of n plain threads, each reading its part of the memory: what the machine has. */
static double limit_bps(char *memory, size_t bytes, unsigned n)
{
    struct half half[2], warm = {memory, bytes, 1, -1};
    pthread_t thread;
    int cpus[2];
    uint64_t start;

    if (nf_pin_team("", NULL, sched_getcpu(), n, cpus) < n)
        return -1;
    read_half(&warm); /* a host may have taken back what lay idle beside the other contender */
    for (unsigned i = 0; i < n; i++)
        half[i] = (struct half){memory + i * bytes / n, bytes / n, 2, i ? cpus[i] : -1};
    start = nf_now_ns();
    if (n > 1 && pthread_create(&thread, NULL, read_half, &half[1]))
        return -1;
    read_half(&half[0]);
    if (n > 1)
        pthread_join(thread, NULL);
    return 2.0 * (double)bytes / (double)(nf_now_ns() - start) * 1e9;
}

struct threads {
    struct job *job;
    char *memory;
    size_t bytes;
};

static double threads_run(void *state, unsigned contender)
{
    const struct threads *t = state;
    double bps[2];

    for (unsigned n = 1; n <= 2; n++) {
        if (contender) {
            bps[n - 1] = limit_bps(t->memory, t->bytes, n);
        } else {
            struct nf_engine_config c = configure(t->job, "all-near", n, 2);
            struct nf_trial trial = {0};

            bps[n - 1] = run(&c, &trial) ? -1 : 1 / (double)trial.wall_ns;
            nf_trial_deinit(&trial);
        }
        if (bps[n - 1] < 0)
            return -1;
    }
    return bps[1] / bps[0];
}

static int threads_rows(struct bench *b)
{
    const size_t bytes = b->smoke ? 8 << 20 : 512 << 20;
    const struct shape s = {.ops = 4, .bytes = bytes / 4, .footprint = bytes};
    const struct bench_row row = {.name = "two threads to one, streams", .unit = "x",
                                  .contender = {"replay", "plain threads (the machine's limit)"}, .target = 1.8,
                                  .up_to_peer = true, .run = threads_run};
    struct threads t = {.bytes = bytes};
    struct job job;
    int rc;

    if (nf_pin_cpus() < 2) {
        printf("replay: two threads want two CPUs, and this process may use one\n");
        return 0;
    }
    t.job = &job;
    t.memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t.memory == MAP_FAILED)
        return -1;
    memset(t.memory, 1, bytes);
    rc = job_init(&job, &s);
    if (!rc)
        rc = open_tiers(&job);
    if (!rc)
        rc = bench_row(b, &row, &t);
    nf_tier_close(&job.tiers[0]);
    nf_tier_close(&job.tiers[1]);
    job_deinit(&job);
    munmap(t.memory, bytes);
    return rc ? -1 : 0;
}

/* --- what an emulated tier gives --- */

/* One tier far below what a core reaches here, so that the tier and not the machine decides; and the one replays have by default. */
struct far {
    const char *as, *spec; /* as: in the rows' names */
    struct nf_tier_local local;
    double ns, bps;        /* its targets */
};
enum { MANY = 200 /* lines outstanding: bandwidth decides */ };

struct injected {
    const char *name;
    unsigned reads, writes, threads;
    uint8_t k;              /* 0: MANY, so that bandwidth decides */
    const char *background; /* of the far tier's target */
    bool mover;             /* a helper moves another storage to and fro meanwhile */
};

/* --- a policy that keeps the mover busy --- */

enum { CARGO_BYTES = 8 << 20, OPS_A_MOVE = 40 /* longer than a move takes on its half of the link */ };
static struct {
    uint32_t cargo, tier, ops;
} ferry;

static int ferry_open(const struct nf_policy_env *env, void **policy)
{
    ferry.ops = 0;
    *policy = NULL;
    return 0;
}

static void ferry_close(void *policy)
{
}

static int ferry_place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                       struct nf_placement *out)
{
    out->bytes[1] = t->bytes;
    if (t->bytes == CARGO_BYTES)
        ferry.cargo = t->handle;
    ferry.tier = 1;
    return 0;
}

static int ferry_after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    if (ferry.ops++ % OPS_A_MOVE)
        return 0;
    ferry.tier = !ferry.tier;
    moves->v[moves->n++] = (struct nf_policy_move){ferry.cargo, ferry.tier};
    return 0;
}

static const struct nf_policy_ops ferry_ops = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_OP_END), .name = "ferry", .about = "moves a storage to and fro",
    .semantics = {.mover = NF_MOVER_COPY, .sync = NF_SYNC_HELPER}, .init = ferry_open, .deinit = ferry_close,
    .on_alloc = ferry_place, .on_op_end = ferry_after};

/* Bytes the tier moved per second, everybody's. */
static double achieved(struct job *job, const struct injected *i, const struct far *far)
{
    struct nf_engine_config c = configure(job, "all-far", i->threads, 1);
    double read_bps[2] = {far->bps, far->bps}, beside = 0;
    struct nf_background_where where = {.tiers = job->tiers, .read_bps = read_bps, .n_tiers = 2, .llc_bytes = 1 << 20};
    struct nf_background_spec spec;
    struct nf_background *background = NULL;
    struct nf_trial t = {0};
    int cpus[2] = {sched_getcpu()};
    double bps = -1;
    size_t n;

    where.taken = cpus;
    where.n_taken = nf_pin_team("", NULL, cpus[0], i->threads, cpus);
    c.cpu = cpus[0];
    if (i->mover) {
        c.pool.policy = &ferry_ops;
        c.pool.arena_bytes[0] = c.pool.arena_bytes[1] = c.pool.arena_bytes[1] + CARGO_BYTES;
    }
    if (i->background && (nf_background_parse(i->background, &spec, 1, &n) || nf_background_start(&spec, 1, &where, &background)))
        fprintf(stderr, "replay: %s\n", nf_error_text(0));
    else if (!run(&c, &t))
        bps = (double)(t.tier[1].charged_bytes + t.pool.tier[1].charged_bytes) / (double)t.wall_ns * 1e9;
    if (nf_background_stop(background, &beside)) {
        fprintf(stderr, "replay: %s\n", nf_error_text(0));
        bps = -1;
    }
    nf_trial_deinit(&t);
    return bps < 0 ? -1 : bps + beside;
}

static int rows_of(struct bench *b, const struct far *far)
{
    static const struct injected cases[] = {
        {"injected bandwidth, reads", 1, 0, 1, 0, NULL, false},
        {"injected bandwidth, 3 reads : 1 update", 3, 1, 1, 0, NULL, false},
        {"injected bandwidth, 1 : 1", 1, 1, 1, 0, NULL, false},
        {"injected bandwidth, two threads", 1, 0, 2, 0, NULL, false},
        {"injected bandwidth, under read:30%@far", 1, 0, 1, 0, "read:30%@far", false},
        {"injected bandwidth, a concurrent mover", 1, 0, 1, 0, NULL, true},
        {"injected latency, k = 2", 1, 0, 1, 2, NULL, false},
        {"injected latency, k = 4", 1, 0, 1, 4, NULL, false},
        {"injected latency, k = 8", 1, 0, 1, 8, NULL, false},
    };
    char name[96];
    int rc = 0;

    for (size_t i = 0; i < sizeof cases / sizeof *cases && !rc; i++) {
        const struct injected *c = &cases[i];
        const struct shape s = {.ops = b->smoke ? 20 : 512, .bytes = 256 << 10, .footprint = 32 << 20, .reads = c->reads,
                                .writes = c->writes, .cargo = c->mover ? CARGO_BYTES : 0, .parallelism = c->k ? c->k : MANY};
        double target = c->k && c->k * 64e9 / far->ns < far->bps ? c->k * 64e9 / far->ns : far->bps, values[64];
        struct job job;
        unsigned n = 0;

        if ((c->threads > 1 || c->background || c->mover) && nf_pin_cpus() < 2) {
            printf("replay: '%s' wants two CPUs, and this process may use one\n", c->name);
            continue;
        }
        rc = job_init(&job, &s);
        if (!rc)
            rc = nf_tier_open("near", "null", NULL, &job.tiers[0]) || nf_tier_open("far", far->spec, &far->local, &job.tiers[1]);
        for (; !rc && n < (b->rounds < 64 ? b->rounds : 64); n++) {
            double bps = achieved(&job, c, far);

            if (bps < 0)
                rc = -1;
            values[n] = bps / target;
        }
        snprintf(name, sizeof name, "%s%s", c->name, far->as);
        if (!rc)
            bench_within(b, name, "of target", values, n, 1, 0.03);
        nf_tier_close(&job.tiers[0]);
        nf_tier_close(&job.tiers[1]);
        job_deinit(&job);
    }
    return rc ? -1 : 0;
}

/* Its targets follow what is measured here. */
static int default_far(struct bench *b, struct far *out)
{
    struct nf_measure_options options = {.cpu = -1, .working_set_bytes = b->smoke ? 32 << 20 : 0, .quiet = true};
    struct nf_samples samples = {0};
    struct nf_measured m;
    struct nf_tier tier;
    int rc = nf_tier_open("near", "numa", NULL, &tier);

    if (rc)
        return rc;
    rc = nf_measure_tier(&tier, 0, &options, &m, &samples);
    nf_tier_close(&tier);
    nf_array_free(&samples.list);
    *out = (struct far){.as = ", default far", .spec = "emulated", .local = {m.latency_ns, m.read_bps, m.write_bps}};
    if (!rc)
        rc = nf_tier_open("far", out->spec, &out->local, &tier);
    if (rc)
        return rc;
    out->ns = tier.facts.target_latency_ns;
    out->bps = tier.facts.target_bps;
    nf_tier_close(&tier);
    return 0;
}

static int injected_rows(struct bench *b)
{
    const struct far slow = {.as = "", .spec = "emulated:latency-ns=1000,read-bps=2000000000", .local = {50, 20e9, 20e9}, .ns = 1000, .bps = 2e9};
    struct far usual;
    int rc = rows_of(b, &slow);

    if (rc)
        return rc;
    rc = default_far(b, &usual);
    if (rc) {
        printf("replay: no rows of the default far tier: %s\n", nf_error_text(rc));
        return 0;
    }
    printf("the default far tier: %.0f ns, %.1f GB/s\n", usual.ns, usual.bps / 1e9);
    return rows_of(b, &usual);
}

int bench_replay(struct bench *b)
{
    if (dispatch_rows(b) || pacing_rows(b) || threads_rows(b))
        return -1;
    return injected_rows(b);
}
