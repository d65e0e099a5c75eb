/* A flood of page faults: what a live session does between perf's rings and a step's sightings. The faults are synthetic:
 * two threads, each on one half of each operand of each op, two million a second, their rings read every millisecond. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "capture/merge.h"
#include "capture/perf-record.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "tests/bench/bench.h"

enum { STORAGES = 400, OPERANDS = 3, RINGS = 2, WORDS = 5, PAGE = 4096, FAULT_NS = 500, OPS_OF_STEP = 64 };
enum { FAULTS = 1 << 20, FAULTS_SMOKE = 20000, PID = 4000 };
#define BASE 0x7f0000000000ull
#define LOOK_NS 1000000ull

struct flood {
    struct nf_record_layout layout;
    uint64_t *records[RINGS]; /* of WORDS each */
    size_t n[RINGS], faults;
    struct nf_event *events;
    size_t n_events;
    uint64_t end_ns;
    double by_wall;
};

static void add_fault(struct flood *f, unsigned ring, uint64_t time_ns, uint64_t address)
{
    uint64_t *w = f->records[ring] + f->n[ring]++ * WORDS;

    *(struct perf_event_header *)w = (struct perf_event_header){
        .type = PERF_RECORD_SAMPLE, .misc = PERF_RECORD_MISC_USER, .size = WORDS * sizeof *w};
    w[1] = 7 + ring;
    w[2] = PID | (uint64_t)(PID + ring) << 32;
    w[3] = time_ns;
    w[4] = address;
}

static void add_event(struct flood *f, uint8_t kind, uint64_t time_ns, uint64_t address, uint64_t a, uint64_t b)
{
    f->events[f->n_events++] = (struct nf_event){.kind = kind, .time_ns = time_ns, .address = address, .a = a, .b = b};
}

static int make(struct flood *f, size_t faults)
{
    struct perf_event_attr attr = {.sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |
                                                  PERF_SAMPLE_ADDR};
    struct nf_rng r = {.state = 41};
    uint64_t now = 1000, address = BASE, starts[STORAGES], pages[STORAGES];
    size_t most = faults + (size_t)OPERANDS * 2048;

    f->layout = nf_record_layout_of(&attr);
    for (unsigned i = 0; i < RINGS; i++)
        f->records[i] = malloc(most * WORDS * sizeof(uint64_t));
    f->events = malloc((STORAGES + most / 48 * (OPERANDS + 4)) * sizeof *f->events);
    if (!f->records[0] || !f->records[1] || !f->events)
        return -ENOMEM;
    add_event(f, NF_EVENT_MARK, now, 0, 0, 0);
    f->events[0].id = NF_MARK_TRAINING_BEGINS;
    for (unsigned i = 0; i < STORAGES; i++) {
        starts[i] = address;
        pages[i] = 16 + nf_rng_below(&r, 1ull << (4 + nf_rng_below(&r, 7)));
        add_event(f, NF_EVENT_ALLOC, now, address, pages[i] * PAGE, 0);
        address += (pages[i] + 1) * PAGE;
    }
    for (unsigned op = 0; f->faults < faults; op++) {
        uint64_t begun = now, operand[OPERANDS];

        for (unsigned k = 0; k < OPERANDS; k++) {
            uint64_t s = operand[k] = nf_rng_below(&r, STORAGES);

            for (uint64_t p = 0; p < pages[s]; p++) {
                bool second = p % 2;

                now += nf_rng_below(&r, 2 * FAULT_NS);
                add_fault(f, second, now, starts[s] + (second ? pages[s] - 1 - p / 2 : p / 2) * PAGE);
            }
            f->faults += pages[s];
        }
        now += 100;
        add_event(f, NF_EVENT_OP, now, 0, begun, now - begun);
        for (unsigned k = 0; k < OPERANDS; k++)
            add_event(f, NF_EVENT_VISIT, now, starts[operand[k]], pages[operand[k]] * PAGE, 0);
        /* The last operand is freed, and another storage takes its place. */
        add_event(f, NF_EVENT_FREE, now, starts[operand[2]], 0, 0);
        add_event(f, NF_EVENT_ALLOC, now, starts[operand[2]], pages[operand[2]] * PAGE, 0);
        if (op % OPS_OF_STEP == OPS_OF_STEP - 1 || f->faults >= faults)
            add_event(f, NF_EVENT_STEP, ++now, 0, 1, 1);
        now++;
    }
    f->end_ns = now;
    return 0;
}

/* --- the contenders --- */

/* Until the records of a ring are younger than `until`. */
static int read_ring(struct flood *f, unsigned ring, size_t *at, uint64_t until, struct nf_merge *m)
{
    for (; *at < f->n[ring]; ++*at) {
        const uint64_t *w = f->records[ring] + *at * WORDS;
        struct nf_sample s;
        int rc;

        if (w[3] > until)
            break;
        rc = nf_record_decode(&f->layout, (const struct perf_event_header *)w, &s, NULL);
        if (!rc && s.pid == PID && m)
            rc = nf_merge_sample(m, 0, true, &s);
        if (rc)
            return rc;
        bench_keep(s.address);
    }
    return 0;
}

static int on_step(void *context, const struct nf_step *step)
{
    (void)context;
    bench_keep(step->n_seen ? step->seen[0].hash : 0);
    return 0;
}

static int sight(struct flood *f)
{
    const struct nf_sighting_source source = {.sees_all = true, .resolution_bytes = PAGE};
    struct nf_reduce *reduce = nf_reduce_new(true, on_step, NULL);
    struct nf_merge *m = nf_merge_new();
    size_t event = 0, at[RINGS] = {0};
    int rc = !m || !reduce ? -ENOMEM : nf_reduce_add_source(reduce, &source);

    for (uint64_t now = 0; now < f->end_ns + LOOK_NS && !rc; now += LOOK_NS) {
        size_t first = event;

        while (event < f->n_events && f->events[event].time_ns <= now)
            event++;
        rc = nf_merge_events(m, f->events + first, event - first);
        for (unsigned ring = 0; ring < RINGS && !rc; ring++)
            rc = read_ring(f, ring, &at[ring], now, m);
        if (!rc)
            rc = nf_merge_run(m, reduce, now);
    }
    if (!rc && nf_reduce_sighted(reduce, 0)->attributed != f->faults)
        rc = nf_fail(-EIO, "not every fault was attributed");
    nf_merge_free(m);
    nf_reduce_free(reduce);
    return rc;
}

static int decode_alone(struct flood *f)
{
    size_t at[RINGS] = {0};
    int rc = 0;

    for (unsigned ring = 0; ring < RINGS && !rc; ring++)
        rc = read_ring(f, ring, &at[ring], UINT64_MAX, NULL);
    return rc;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static double run(void *state, unsigned contender)
{
    struct flood *f = state;
    uint64_t begun = nf_now_ns(), begun_cpu = cpu_ns();
    int rc = contender ? decode_alone(f) : sight(f);
    uint64_t ended_cpu = cpu_ns(), ended = nf_now_ns();

    if (rc) {
        printf("flood: %s\n", nf_error_text(rc));
        return -1;
    }
    f->by_wall = (double)f->faults * 1e3 / (double)(ended - begun);
    return (double)f->faults * 1e3 / (double)(ended_cpu - begun_cpu);
}

static double by_wall(void *state)
{
    return ((struct flood *)state)->by_wall;
}

int bench_flood(struct bench *b)
{
    static const struct bench_row row = {
        .name = "page faults sighted, live", .unit = "M/cpu-s", .target = 2, .contender = {"ours", "decoding alone"},
        .run = run, .also = by_wall, .also_as = "by wall time"};
    struct flood f = {0};
    int rc = make(&f, b->smoke ? FAULTS_SMOKE : FAULTS);

    rc = rc ? -1 : bench_row(b, &row, &f);
    free(f.records[0]);
    free(f.records[1]);
    free(f.events);
    return rc;
}
