/* From a sampling CPU's records to what a visit did: records written byte by byte, levels of every data_src, and a whole
 * sampled run, made by thinning an exact trace whose truth is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/perf-record.h"
#include "capture/pmu-plan.h"
#include "capture/storage.h"
#include "core/base/array.h"
#include "core/base/rng.h"
#include "core/model/memory-level.h"
#include "core/model/reuse.h"
#include "core/model/stream.h"
#include "core/model/visit-estimate.h"
#include "tests/unit/pmu-records.h"

/* --- records --- */

#define OP(x) ((uint64_t)PERF_MEM_OP_##x << PERF_MEM_OP_SHIFT)
#define LVL(x) ((uint64_t)PERF_MEM_LVL_##x << PERF_MEM_LVL_SHIFT)
#define HIT(x) (LVL(x) | LVL(HIT))
#define NUM(x) ((uint64_t)(x) << 33)
#define REMOTE (1ull << 37)
#define HOPS(x) ((uint64_t)(x) << 43)

/* What the kernel makes of each data source: arch/x86/events/intel/ds.c, arch/x86/events/amd/ibs.c. */
static const struct {
    const char *what;
    uint64_t data_src;
    enum nf_memory_level level;
} sources[] = {
    {"Intel L1", OP(LOAD) | HIT(L1) | NUM(1), NF_LEVEL_L1},
    {"Intel fill buffer", OP(LOAD) | HIT(LFB) | NUM(12), NF_LEVEL_FILL},
    {"Intel L2", OP(LOAD) | HIT(L2) | NUM(2), NF_LEVEL_L2},
    {"Intel L3", OP(LOAD) | HIT(L3) | NUM(3), NF_LEVEL_LLC},
    {"Intel unknown L3 miss", OP(LOAD) | LVL(L3) | LVL(MISS) | NUM(3), NF_LEVEL_BEYOND_LLC},
    {"Intel other socket's cache", OP(LOAD) | HIT(REM_CCE1) | NUM(3) | REMOTE, NF_LEVEL_OTHER_CACHE},
    {"Intel local DRAM", OP(LOAD) | HIT(LOC_RAM) | NUM(13), NF_LEVEL_DRAM},
    {"Intel remote DRAM", OP(LOAD) | HIT(REM_RAM1) | NUM(13) | REMOTE, NF_LEVEL_REMOTE_DRAM},
    {"Intel PMM", OP(LOAD) | LVL(HIT) | NUM(14), NF_LEVEL_PMM},
    {"Intel remote PMM", OP(LOAD) | LVL(HIT) | NUM(14) | REMOTE, NF_LEVEL_REMOTE_PMM},
    {"Intel uncached", OP(LOAD) | HIT(UNC) | NUM(8), NF_LEVEL_UNCACHED},
    {"old kernel L2, bits only", OP(LOAD) | HIT(L2), NF_LEVEL_L2},
    {"old kernel DRAM, bits only", OP(LOAD) | HIT(LOC_RAM), NF_LEVEL_DRAM},
    {"old kernel remote DRAM, bits only", OP(LOAD) | HIT(REM_RAM2), NF_LEVEL_REMOTE_DRAM},
    {"old kernel other cache, bits only", OP(LOAD) | HIT(REM_CCE1), NF_LEVEL_OTHER_CACHE},
    {"not available", OP(LOAD) | LVL(NA) | NUM(15), NF_LEVEL_UNKNOWN},
    {"nothing", 0, NF_LEVEL_UNKNOWN},
    {"L1 miss", OP(STORE) | LVL(L1) | LVL(MISS), NF_LEVEL_UNKNOWN},
    {"AMD Zen 3 own L3", OP(LOAD) | HIT(L3) | LVL(REM_CCE1) | NUM(11) | HOPS(0), NF_LEVEL_LLC},
    {"AMD Zen 3 other CCX", OP(LOAD) | HIT(REM_CCE2) | NUM(11) | REMOTE | HOPS(1), NF_LEVEL_OTHER_CACHE},
    {"AMD Zen 4 near CCX", OP(LOAD) | HIT(REM_CCE1) | NUM(11) | REMOTE | HOPS(0), NF_LEVEL_OTHER_CACHE},
    {"AMD Zen 4 CXL", OP(LOAD) | NUM(9), NF_LEVEL_CXL},
    {"AMD remote DRAM", OP(LOAD) | HIT(REM_RAM1) | NUM(13) | REMOTE | HOPS(1), NF_LEVEL_REMOTE_DRAM},
    /* Of a recorded run; the words are perf script's. */
    {"recorded: L1 or L1 hit", 0x10268100142, NF_LEVEL_L1},
    {"recorded: LFB/MAB or LFB/MAB hit", 0x11868100242, NF_LEVEL_FILL},
    {"recorded: L2 or L2 hit", 0x10468100442, NF_LEVEL_L2},
    {"recorded: L3 or L3 hit", 0x10650100842, NF_LEVEL_LLC},
    {"bits of a newer kernel above", OP(LOAD) | HIT(L3) | NUM(3) | 0xffffull << 48, NF_LEVEL_LLC},
};

static void test_levels(void **state)
{
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        enum nf_memory_level l = nf_memory_level_of(sources[i].data_src);

        if (l != sources[i].level)
            fail_msg("%s: %s, not %s", sources[i].what, nf_memory_level_name(l), nf_memory_level_name(sources[i].level));
    }
    /* Only the latency events tell it in data_src; a miss event is the level; the others know nothing. */
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        uint64_t d = sources[i].data_src;

        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x1cd, d), sources[i].level);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x2cd, d), sources[i].level);
        assert_int_equal(nf_memory_level_of_sample(11, 1 << 19, d), sources[i].level);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x81d0, d), NF_LEVEL_UNKNOWN);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x82d0, d), NF_LEVEL_UNKNOWN);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x20d1, d), NF_LEVEL_BEYOND_LLC);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x10d1, d), NF_LEVEL_BEYOND_L2);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x1d3, d), NF_LEVEL_DRAM);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x2d3, d), NF_LEVEL_REMOTE_DRAM);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x4d3, d), NF_LEVEL_REMOTE_DRAM);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x80d1, d), NF_LEVEL_PMM);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_RAW, 0x10d3, d), NF_LEVEL_REMOTE_PMM);
        assert_int_equal(nf_memory_level_of_sample(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS, d), NF_LEVEL_UNKNOWN);
    }
    assert_true(nf_level_beyond_l2(NF_LEVEL_LLC) && !nf_level_beyond_llc(NF_LEVEL_LLC));
    assert_true(!nf_level_beyond_l2(NF_LEVEL_FILL) && !nf_level_beyond_l2(NF_LEVEL_UNKNOWN));
    assert_true(nf_level_beyond_llc(NF_LEVEL_CXL) && !nf_level_beyond_llc(NF_LEVEL_UNCACHED));
    assert_string_equal(nf_memory_level_name(NF_LEVEL_CXL), "CXL");
    assert_string_equal(nf_memory_level_name(NF_LEVEL_COUNT), "invalid");
}

/* Every event of a plan, with every data source, through the layout that its attr gives. */
static void test_records(void **state)
{
    struct nf_pebs_options o = {.physical = true};
    struct nf_pmu_plan p;

    o.roles[NF_PMU_LOADS] = o.roles[NF_PMU_STORES] = o.roles[NF_PMU_LATENCY] = o.roles[NF_PMU_STORE_LATENCY] = true;
    assert_int_equal(nf_pebs_plan(&o, nf_pmu_uarch_find("spr"), NULL, &p), 0);
    for (unsigned e = 1; e < p.n; e++) {
        for (int old = 0; old < 2; old++) {
            for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
                struct perf_event_attr attr = p.attrs[e];
                struct nf_sample in = {.ip = 0x401234 + i, .pid = 100, .tid = 101, .time_ns = 5000000000ull + i,
                                       .address = 0x7f0012345678ull + 8 * i, .cpu = 63, .weight = 300 + (uint32_t)i,
                                       .weight2 = 77, .weight3 = 5, .data_src = sources[i].data_src,
                                       .physical = 0x1234567890ull + 64 * i};
                struct nf_record_layout layout;
                uint8_t record[PMU_RECORD_MAX];
                struct nf_sample out;
                uint64_t id = 0;
                size_t size;
                bool has_level = attr.sample_type & PERF_SAMPLE_DATA_SRC;

                if (old && has_level) /* before 5.12 */
                    attr.sample_type ^= PERF_SAMPLE_WEIGHT | PERF_SAMPLE_WEIGHT_STRUCT;
                layout = nf_record_layout_of(&attr);
                size = pmu_record_put(record, &attr, 4242, &in);
                assert_int_equal(nf_record_decode(&layout, (const void *)record, &out, &id), 0);
                assert_int_equal(id, 4242);
                assert_true(out.ip == in.ip && out.pid == 100 && out.tid == 101 && out.time_ns == in.time_ns);
                assert_true(out.address == in.address && out.cpu == 63 && out.physical == in.physical);
                assert_true(out.data_src == (has_level ? in.data_src : 0));
                assert_int_equal(out.weight, has_level ? in.weight : 0);
                assert_int_equal(out.weight2, has_level && !old ? 77 : 0);
                assert_int_equal(out.weight3, has_level && !old ? 5 : 0);
                assert_int_equal(out.kernel, 0);
                assert_int_equal(nf_memory_level_of_sample(attr.type, attr.config, out.data_src),
                                 has_level ? sources[i].level : NF_LEVEL_UNKNOWN);
                for (size_t cut = 8; cut < size; cut += 8) {
                    struct perf_event_header *h = (void *)record;

                    h->size = (uint16_t)cut;
                    assert_int_equal(nf_record_decode(&layout, h, &out, NULL), -EBADMSG);
                }
            }
        }
    }
}

/* --- a sampled run --- */

/* The machine of the trace: a line is in L2 or in the LLC while so many others came after it at most. */
enum { L2_LINES = 4096, LLC_LINES = 65536, LAT_L1 = 5, LAT_L2 = 15, LAT_LLC = 70, LAT_DRAM = 310, WORD_BYTES = 16 };
enum { STEPS_MAX = 40, TENSORS = 6, OPS = 6 };
enum { LOADS, STORES, BEYOND_L2, BEYOND_LLC, LATENCY, EVENTS };
static const double ghz = 2.5;

struct tensor {
    const char *name;
    uint64_t address, bytes;
};

/* One op visits one tensor; what it does to each line it fetches, and how many fetches run at once. */
struct op {
    const char *name;
    unsigned tensor;
    enum nf_pattern pattern;
    unsigned stride_lines, passes, loads_per_line; /* of a line, word after word */
    bool store;
    double k;
    /* the truth, per visit */
    double accesses, beyond_l2, beyond_llc, latency, dur_ns;
    uint64_t visited_bytes;
};

static const struct tensor tensors[TENSORS] = {
    {"weights", 0x7f0000000000, 12 << 20}, {"activations", 0x7f0010000000, 24 << 20}, {"table", 0x7f0020000000, 32 << 20},
    {"panel", 0x7f0030000000, 1 << 20}, {"bias", 0x7f0040000000, 16 << 10}, {"output", 0x7f0050000000, 8 << 20},
};

struct event_state {
    uint64_t countdown;
};

struct run {
    struct op ops[OPS];
    struct nf_pmu_plan plan;
    struct event_state events[NF_SOURCE_EVENTS_MAX];
    int number[EVENTS]; /* in the plan, -1: not sampled */
    struct nf_reuse *reuse;
    struct nf_rng rng;
    NF_ARRAY(uint8_t) bytes; /* records, as they would stand in a ring */
    double clock_ns;
    uint64_t shadowed; /* loads the latency event passes over between two that it sees */
    bool measured;     /* the truth is taken from this step */
};

static int event_of(const struct nf_pmu_plan *p, uint64_t config)
{
    for (unsigned i = 0; i < p->n; i++)
        if (p->attrs[i].config == config)
            return (int)i;
    return -1;
}

static void occur(struct run *r, int event, const struct nf_sample *s)
{
    const struct perf_event_attr *attr;
    uint8_t record[PMU_RECORD_MAX];
    size_t n;

    if (event < 0 || --r->events[event].countdown)
        return;
    attr = &r->plan.attrs[event];
    r->events[event].countdown = attr->sample_period;
    n = pmu_record_put(record, attr, (uint64_t)event + 1, s);
    assert_int_equal(nf_array_reserve(&r->bytes, r->bytes.n + n), 0);
    memcpy(r->bytes.v + r->bytes.n, record, n);
    r->bytes.n += n;
}

static void access_word(struct run *r, struct op *o, uint64_t address, unsigned word, unsigned level, unsigned latency)
{
    static const uint64_t source[] = {OP(LOAD) | HIT(L1) | NUM(1), OP(LOAD) | HIT(L2) | NUM(2), OP(LOAD) | HIT(L3) | NUM(3),
                                      OP(LOAD) | HIT(LOC_RAM) | NUM(13)};
    struct nf_sample s = {.address = address, .ip = 0x400000 + (uint64_t)(o - r->ops) * 256 + word, .pid = 7, .tid = 7,
                          .time_ns = (uint64_t)r->clock_ns, .data_src = source[level], .weight = latency};

    if (r->measured)
        o->accesses++;
    if (o->store) {
        occur(r, r->number[STORES], &s);
        return;
    }
    occur(r, r->number[LOADS], &s);
    if (level >= 2)
        occur(r, r->number[BEYOND_L2], &s);
    if (level == 3)
        occur(r, r->number[BEYOND_LLC], &s);
    /* Shadowing: the latency facility watches one load at a time, drawn at random, so that its totals fall far short. */
    if (r->shadowed)
        r->shadowed--;
    else {
        occur(r, r->number[LATENCY], &s);
        r->shadowed = nf_rng_below(&r->rng, latency / 2 + 2);
    }
}

static void fetch_line(struct run *r, struct op *o, uint64_t address)
{
    uint64_t line = address / NF_LINE_BYTES;
    uint32_t distance;
    unsigned level, latency;

    assert_int_equal(nf_reuse_run(r->reuse, &line, 1, &distance), 0);
    level = distance < L2_LINES ? 1 : distance < LLC_LINES ? 2 : 3;
    latency = level == 1 ? LAT_L2 : level == 2 ? LAT_LLC : LAT_DRAM + (unsigned)nf_rng_below(&r->rng, 201) - 100;
    if (r->measured && !o->store) {
        o->beyond_l2 += level >= 2;
        o->beyond_llc += level == 3;
        o->latency += level == 3 ? latency : 0;
    }
    for (unsigned w = 0; w < o->loads_per_line; w++)
        access_word(r, o, address + w * WORD_BYTES, w, w ? 0 : level, w ? LAT_L1 : latency);
    /* k fetches from memory at once; everything else hides beneath. A store-only op takes its time too. */
    r->clock_ns += level == 3 ? latency / o->k / ghz : 0.05;
}

static void run_op(struct run *r, struct op *o)
{
    const struct tensor *t = &tensors[o->tensor];
    uint64_t lines = t->bytes / NF_LINE_BYTES;
    double start = r->clock_ns;

    for (unsigned pass = 0; pass < o->passes; pass++) {
        if (o->pattern == NF_PATTERN_GATHER)
            for (uint64_t row = 0; row < lines / 64; row++) { /* rows of 512 bytes, an eighth of them */
                uint64_t at = nf_rng_below(&r->rng, lines / 8) * 8;

                for (unsigned i = 0; i < 8; i++)
                    fetch_line(r, o, t->address + (at + i) * NF_LINE_BYTES);
            }
        else
            for (uint64_t i = 0; i < lines; i += o->stride_lines)
                fetch_line(r, o, t->address + i * NF_LINE_BYTES);
    }
    if (r->measured)
        o->dur_ns = r->clock_ns - start;
    o->visited_bytes = o->pattern == NF_PATTERN_GATHER ? t->bytes / 8 : t->bytes / o->stride_lines;
}

static void make_run(struct run *r, const struct nf_pebs_options *options)
{
    static const struct op ops[OPS] = {
        {"stream", 0, NF_PATTERN_STREAM, 1, 1, 4, false, 6},
        {"column", 1, NF_PATTERN_STRIDED, 4, 1, 1, false, 3},
        {"embedding", 2, NF_PATTERN_GATHER, 1, 1, 2, false, 2},
        {"matmul", 3, NF_PATTERN_BLOCKED, 1, 10, 4, false, 4},
        {"add bias", 4, NF_PATTERN_STREAM, 1, 1, 4, false, 1},
        {"store", 5, NF_PATTERN_STREAM, 1, 1, 4, true, 4},
    };

    static const uint64_t configs[EVENTS] = {0x81d0, 0x82d0, 0x10d1, 0x20d1, 0x1cd};

    *r = (struct run){.rng = {20240607}, .clock_ns = 1e9};
    memcpy(r->ops, ops, sizeof ops);
    assert_int_equal(nf_pebs_plan(options, nf_pmu_uarch_find("icx"), NULL, &r->plan), 0);
    for (unsigned i = 0; i < r->plan.n; i++)
        r->events[i].countdown = 1 + nf_rng_below(&r->rng, r->plan.attrs[i].sample_period);
    for (unsigned i = 0; i < EVENTS; i++)
        r->number[i] = event_of(&r->plan, configs[i]);
    r->reuse = nf_reuse_new(1 << 21);
    assert_non_null(r->reuse);
}

struct attributed {
    NF_ARRAY(struct nf_sample) samples[OPS];
    uint64_t total, unattributed;
};

/* Records to samples to (op, tensor): by time, and by address among the live storages. */
static void attribute(const struct run *r, const double *op_end, size_t n_ends, struct attributed *a)
{
    struct nf_storage_map map = {0};
    struct nf_storage *storages[TENSORS];
    struct nf_record_layout layouts[NF_SOURCE_EVENTS_MAX];

    for (unsigned i = 0; i < r->plan.n; i++)
        layouts[i] = nf_record_layout_of(&r->plan.attrs[i]);
    for (unsigned i = 0; i < TENSORS; i++) {
        storages[i] = nf_storage_new(tensors[i].address, tensors[i].bytes);
        storages[i]->number = i;
        assert_int_equal(nf_storage_map_add(&map, storages[i]), 0);
    }
    for (size_t at = 0; at < r->bytes.n;) {
        const struct perf_event_header *h = (const void *)(r->bytes.v + at);
        struct perf_event_header header;
        const struct nf_storage *s;
        struct nf_sample sample;
        uint64_t id;
        size_t low = 0, high = n_ends;

        memcpy(&header, h, sizeof header);
        memcpy(&id, r->bytes.v + at + sizeof header, sizeof id);
        assert_in_range(id, 1, r->plan.n);
        assert_int_equal(nf_record_decode(&layouts[id - 1], h, &sample, &id), 0);
        at += header.size;
        sample.event = (uint16_t)(id - 1);
        sample.period = r->plan.events[id - 1].period;
        sample.rw = r->plan.events[id - 1].rw;
        while (low < high) {
            size_t middle = (low + high) / 2;

            if (op_end[middle] <= (double)sample.time_ns)
                low = middle + 1;
            else
                high = middle;
        }
        s = nf_storage_map_find(&map, sample.address);
        a->total++;
        if (!s || low == n_ends) {
            a->unattributed++;
            continue;
        }
        sample.step = (uint32_t)(low / OPS);
        sample.op = (uint32_t)(low % OPS);
        sample.tensor = s->number;
        sample.offset = sample.address - s->address;
        /* At an op's very edge the clock's nanosecond may put a sample into the neighbour, whose tensor is another. */
        if (r->ops[sample.op].tensor != sample.tensor) {
            a->unattributed++;
            continue;
        }
        assert_int_equal(nf_array_push(&a->samples[sample.op], sample), 0);
    }
    for (unsigned i = 0; i < TENSORS; i++)
        nf_storage_free(storages[i]);
    nf_storage_map_deinit(&map);
}

/* The truth lies in the interval, and the interval is no wider than so many samples make it. */
static void expect(const char *op, const char *what, const struct nf_interval *i, double truth)
{
    double widest = 9 / sqrt(i->samples); /* of the truth: 2 z / sqrt(n), and something for the few and for two errors */


    print_message("  %-10s %-13s truth %11.5g  estimate %11.5g  [%.5g, %.5g]  n = %u\n", op, what, truth, i->value, i->low,
                  i->high, i->samples);
    assert_true(i->known);
    if (truth < i->low || truth > i->high)
        fail_msg("%s: %s is %g, not within %g to %g", op, what, truth, i->low, i->high);
    if (i->samples && (i->high - i->low) / truth > widest)
        fail_msg("%s: %s is %g, and all that is said is %g to %g", op, what, truth, i->low, i->high);
}

static void estimate_run(const struct nf_pebs_options *options, unsigned steps)
{
    struct nf_visit_event events[NF_SOURCE_EVENTS_MAX];
    static double op_end[STEPS_MAX * OPS];
    struct attributed a = {0};
    struct nf_visit_sampling how = {.events = events, .correction = 1, .cycles_per_ns = ghz, .level = 0.99};
    struct run r;

    make_run(&r, options);
    for (unsigned step = 0; step < steps; step++) {
        r.measured = step == steps - 1; /* the caches are in their steady state */
        for (unsigned o = 0; o < OPS; o++) {
            run_op(&r, &r.ops[o]);
            op_end[step * OPS + o] = r.clock_ns;
        }
    }
    nf_reuse_free(r.reuse);
    attribute(&r, op_end, steps * OPS, &a);
    how.n_events = r.plan.n;
    for (unsigned i = 0; i < r.plan.n; i++)
        events[i] = (struct nf_visit_event){r.plan.attrs[i].type, r.plan.attrs[i].config, r.plan.attrs[i].sample_period};
    print_message("P = %llu: %llu samples, %llu at op edges\n", (unsigned long long)r.plan.events[0].period,
                  (unsigned long long)a.total, (unsigned long long)a.unattributed);
    assert_true(a.unattributed * 1000 <= a.total);
    for (unsigned i = 0; i < OPS; i++) {
        const struct op *o = &r.ops[i];
        struct nf_visit_facts visit = {o->visited_bytes, o->dur_ns, steps};
        struct nf_visit_estimate e;
        bool small = tensors[o->tensor].bytes < 192 * r.plan.events[0].period / steps;

        assert_int_equal(nf_visit_estimate(&how, &visit, a.samples[i].v, a.samples[i].n, &e), 0);
        expect(o->name, "accesses", &e.accesses, o->accesses);
        if (o->store)
            continue;
        expect(o->name, "missed bytes", &e.missed_bytes, o->beyond_llc * NF_LINE_BYTES);
        expect(o->name, "touches", &e.touches, o->beyond_l2 * NF_LINE_BYTES / (double)o->visited_bytes);
        assert_int_equal(e.detectable, !small);
        if (small) {
            assert_true(e.detection < 0.95);
            continue;
        }
        assert_true(e.parallelism.known || tensors[o->tensor].bytes <= 1 << 20);
        if (e.parallelism.known)
            expect(o->name, "parallelism", &e.parallelism, o->k);
        print_message("  %-10s pattern %s, stride %llu, confidence %.4f\n", o->name, nf_pattern_name(e.pattern),
                      (unsigned long long)e.stride, e.pattern_confidence);
        assert_int_equal(e.pattern, o->pattern);
        assert_true(e.pattern_confidence > 0.9);
        if (o->pattern == NF_PATTERN_STRIDED)
            assert_int_equal(e.stride, o->stride_lines * NF_LINE_BYTES);
    }
    for (unsigned i = 0; i < OPS; i++)
        nf_array_free(&a.samples[i]);
    nf_array_free(&r.bytes);
}

static void test_sampled_run(void **state)
{
    struct nf_pebs_options o = {.period = 10007};

    o.roles[NF_PMU_LOADS] = o.roles[NF_PMU_STORES] = o.roles[NF_PMU_LATENCY] = o.roles[NF_PMU_L2_MISS] =
        o.roles[NF_PMU_L3_MISS] = true;
    estimate_run(&o, STEPS_MAX);
    o.period = 1009;
    estimate_run(&o, STEPS_MAX / 4);
}

/* Latency samples fall some 20 times short here, as they do in hardware: they must not be taken for counts. */
static void test_latency_is_no_count(void **state)
{
    const struct nf_visit_event events[] = {{PERF_TYPE_RAW, 0x1cd, 1000}};
    struct nf_visit_sampling how = {.events = events, .n_events = 1, .correction = 1, .cycles_per_ns = 2, .level = 0.95};
    struct nf_visit_facts visit = {1 << 20, 1e6, 1};
    struct nf_visit_estimate e;
    struct nf_sample s[10] = {0};

    for (int i = 0; i < 10; i++)
        s[i] = (struct nf_sample){.weight = 300, .data_src = OP(LOAD) | HIT(LOC_RAM) | NUM(13), .offset = 64u * i};
    assert_int_equal(nf_visit_estimate(&how, &visit, s, 10, &e), 0);
    assert_false(e.accesses.known || e.missed_bytes.known || e.touches.known || e.parallelism.known);
    assert_float_equal(e.detection, 0, 0);
    assert_false(e.detectable);
}

/* No sample is not zero, lost samples count, and events beyond the table are passed over. */
static void test_edges(void **state)
{
    const struct nf_visit_event events[] = {{PERF_TYPE_RAW, 0x81d0, 10007}, {PERF_TYPE_RAW, 0x20d1, 10007}};
    struct nf_visit_sampling how = {.events = events, .n_events = 2, .correction = 1, .level = 0.95};
    struct nf_visit_facts visit = {192 * 10007, 0, 1};
    struct nf_visit_estimate e, half;
    struct nf_sample s[3] = {{.event = 1}, {.event = 0, .offset = 8}, {.event = 9}};

    assert_int_equal(nf_visit_estimate(&how, &visit, NULL, 0, &e), 0);
    assert_true(e.missed_bytes.known && e.missed_bytes.value == 0 && e.missed_bytes.samples == 0);
    assert_float_equal(e.missed_bytes.high, 3.69 * 10007 * 64, 10007 * 64 * 0.05);
    assert_float_equal(e.detection, 0.9502, 0.0005); /* 192 P bytes are 95 % */
    assert_true(e.detectable);
    assert_float_equal(e.pattern_confidence, 0, 0);
    assert_false(e.parallelism.known);
    visit.bytes = 64 * 1000;
    assert_int_equal(nf_visit_estimate(&how, &visit, s, 3, &e), 0);
    assert_false(e.detectable);
    assert_float_equal(e.detection, 1 - exp(-1000 / 10007.0), 1e-9);
    assert_float_equal(e.accesses.value, 10007, 1e-9);
    assert_float_equal(e.missed_bytes.value, 10007 * 64, 1e-6);
    how.correction = 2;
    assert_int_equal(nf_visit_estimate(&how, &visit, s, 3, &half), 0);
    assert_float_equal(half.accesses.value, 2 * 10007, 1e-9);
    assert_float_equal(half.accesses.high, 2 * e.accesses.high, 1e-6);
    /* One event of a CPU that tells the level of each access. */
    how = (struct nf_visit_sampling){.events = (const struct nf_visit_event[]){{11, 1 << 19, 4096}}, .n_events = 1, .correction = 1,
                                     .cycles_per_ns = 2, .level = 0.95};
    visit = (struct nf_visit_facts){64 * 4096 * 4, 1e6, 2};
    s[0] = (struct nf_sample){.data_src = OP(LOAD) | HIT(L1) | NUM(1)};
    s[1] = (struct nf_sample){.data_src = OP(LOAD) | HIT(L3) | NUM(3), .weight = 90};
    s[2] = (struct nf_sample){.data_src = OP(LOAD) | NUM(9), .weight = 700};
    assert_int_equal(nf_visit_estimate(&how, &visit, s, 3, &e), 0);
    assert_float_equal(e.accesses.value, 3 * 4096 / 2.0, 1e-9);
    assert_float_equal(e.missed_bytes.value, 4096 * 64 / 2.0, 1e-9);
    assert_float_equal(e.touches.value, 2 * 4096 / 2.0 / (4096 * 4), 1e-9);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels), cmocka_unit_test(test_records),
        cmocka_unit_test(test_latency_is_no_count), cmocka_unit_test(test_edges), cmocka_unit_test(test_sampled_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
