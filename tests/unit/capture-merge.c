/* Events and samples in one order of time: whatever pieces they come in, each sample meets the storages and the op of its
 * time; keys are sorted and stable; what waits is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/key-sort.h"
#include "capture/merge.h"
#include "core/base/rng.h"

enum { KEYS = 5000, OPS = 200, SAMPLES = 20000, PAGE = 4096, SLOTS = 8, OP_NS = 1000, EVENTS = 4 * OPS };
#define BASE 0x7f0000000000ull

static void sorts_keys(void **state)
{
    static struct nf_key keys[KEYS], scratch[KEYS];
    struct nf_rng r = {5};

    for (unsigned turn = 0; turn < 400; turn++) {
        size_t n = nf_rng_below(&r, turn % 4 ? 100 : KEYS);
        unsigned shift = (unsigned)nf_rng_below(&r, 64), left = (unsigned)nf_rng_below(&r, 64);

        for (size_t i = 0; i < n; i++)
            keys[i] = (struct nf_key){turn % 7 ? nf_rng_next(&r) >> shift << left : i / 3, (uint32_t)i};
        if (turn % 7 == 0 && n)
            keys[n / 2].key = turn; /* sorted but for one */
        nf_keys_sort(keys, n, scratch);
        for (size_t i = 1; i < n; i++)
            assert_true(keys[i - 1].key < keys[i].key || (keys[i - 1].key == keys[i].key && keys[i - 1].at < keys[i].at));
    }
}

/* --- a job whose storages take each other's places, one op a microsecond --- */

static struct nf_event events[EVENTS];
static size_t n_events;
static struct nf_sample samples[SAMPLES], expected[SAMPLES];
static size_t n_expected, n_seen;
static struct nf_visit visits[64];
static size_t n_visits;

static void event(uint8_t kind, uint64_t time_ns, uint64_t address, uint64_t a, uint64_t b)
{
    assert_true(n_events < EVENTS);
    events[n_events++] = (struct nf_event){.kind = kind, .time_ns = time_ns, .address = address, .a = a, .b = b};
}

static int on_step(void *context, const struct nf_step *step)
{
    (void)context;
    for (uint32_t i = 0; i < step->seen[0].n_samples; i++) {
        const struct nf_sample *s = &step->seen[0].samples[i];
        const struct nf_step_tensor *t = &step->tensors[s->tensor];

        assert_true(n_seen < n_expected);
        assert_int_equal(s->time_ns, expected[n_seen].time_ns);
        assert_int_equal(s->ip, expected[n_seen].ip);
        assert_int_equal(s->op, expected[n_seen].op);
        assert_int_equal(t->address + s->offset, s->address);
        /* Storages are told apart by their sizes. */
        assert_int_equal(t->bytes, expected[n_seen].weight);
        n_seen++;
    }
    n_visits = step->seen[0].n_visits;
    assert_true(n_visits <= 64);
    if (n_visits)
        memcpy(visits, step->seen[0].visits, n_visits * sizeof *visits);
    return 0;
}

/* Op k is told at its end, (k + 1) * OP_NS, and began half of that before; a slot's storage is exchanged between. */
static void make_job(struct nf_rng *r)
{
    static uint64_t sizes[OPS + 1][SLOTS];

    n_events = n_expected = n_seen = 0;
    event(NF_EVENT_MARK, 1, 0, 0, 0);
    events[0].id = NF_MARK_TRAINING_BEGINS;
    for (unsigned s = 0; s < SLOTS; s++) {
        sizes[0][s] = PAGE + s;
        event(NF_EVENT_ALLOC, 2, BASE + s * 2 * PAGE, sizes[0][s], 0);
    }
    for (uint64_t k = 0; k < OPS; k++) {
        unsigned slot = (unsigned)nf_rng_below(r, SLOTS);

        event(NF_EVENT_OP, (k + 1) * OP_NS, 0, k * OP_NS + OP_NS / 2, OP_NS / 2);
        memcpy(sizes[k + 1], sizes[k], sizeof *sizes);
        sizes[k + 1][slot] = PAGE + 10 + k;
        event(NF_EVENT_FREE, (k + 1) * OP_NS + 100, BASE + slot * 2 * PAGE, 0, 0);
        event(NF_EVENT_ALLOC, (k + 1) * OP_NS + 100, BASE + slot * 2 * PAGE, sizes[k + 1][slot], 0);
    }
    event(NF_EVENT_STEP, (OPS + 1) * OP_NS, 0, 1, 1);
    for (size_t i = 0; i < SAMPLES; i++)
        samples[i] = (struct nf_sample){.time_ns = 10 + 9 * i + nf_rng_below(r, 9), .ip = 2 * i + nf_rng_below(r, 2),
                                        .address = BASE + nf_rng_below(r, SLOTS * 2 * PAGE), .pid = 1};
    for (size_t i = 0; i < SAMPLES; i++) {
        struct nf_sample x = samples[i];
        uint64_t op = (x.time_ns - 1) / OP_NS, slot = (x.address - BASE) / (2 * PAGE), size;

        /* At the time of an exchange itself, the sample comes first. */
        size = sizes[x.time_ns > op * OP_NS + 100 ? op : op ? op - 1 : 0][slot];
        if ((x.address - BASE) % (2 * PAGE) >= size)
            continue;
        x.op = x.time_ns < op * OP_NS + OP_NS / 2 ? NF_SAMPLE_NONE : (uint32_t)op;
        x.weight = (uint32_t)size;
        expected[n_expected++] = x;
    }
}

static struct nf_reduce *reducer(bool sees_all)
{
    const struct nf_sighting_source source = {.sees_all = sees_all, .rw_observed = true, .resolution_bytes = PAGE};
    struct nf_reduce *r = nf_reduce_new(true, on_step, NULL);

    assert_non_null(r);
    assert_int_equal(nf_reduce_add_source(r, &source), 0);
    return r;
}

/* Two rings by the ip's lowest bit, each in order; looked at every now and then. A ring may be read some way beyond what is complete. */
static void attributes_by_time(void **state)
{
    struct nf_rng r = {29};

    for (unsigned turn = 0; turn < 6; turn++) {
        struct nf_merge *m = nf_merge_new();
        struct nf_reduce *reduce = reducer(false);
        size_t event_at = 0, sample_at[2] = {0};
        uint64_t pace = 50 + nf_rng_below(&r, turn % 2 ? 3000 : 60000);

        make_job(&r);
        for (uint64_t now = 0; now < (OPS + 2) * OP_NS + pace; now += pace) {
            size_t first = event_at;

            while (event_at < n_events && events[event_at].time_ns <= now)
                event_at++;
            assert_int_equal(nf_merge_events(m, events + first, event_at - first), 0);
            for (unsigned ring = 0; ring < 2; ring++) {
                uint64_t until = now + nf_rng_below(&r, 500);

                for (; sample_at[ring] < SAMPLES && samples[sample_at[ring]].time_ns <= until; sample_at[ring]++)
                    if (samples[sample_at[ring]].ip % 2 == ring)
                        assert_int_equal(nf_merge_sample(m, 0, false, &samples[sample_at[ring]]), 0);
            }
            assert_int_equal(nf_merge_run(m, reduce, now), 0);
        }
        assert_int_equal(n_seen, n_expected);
        assert_true(n_seen > SAMPLES / 3);
        assert_int_equal(nf_reduce_sighted(reduce, 0)->samples, SAMPLES);
        assert_int_equal(nf_reduce_sighted(reduce, 0)->attributed, n_expected);
        nf_reduce_free(reduce);
        nf_merge_free(m);
    }
}

/* Two storages had the same pages within one op: each gets one visit, whole. */
static void tells_the_dead_from_the_living(void **state)
{
    struct nf_merge *m = nf_merge_new();
    struct nf_reduce *reduce = reducer(true);

    n_events = n_expected = n_seen = 0;
    event(NF_EVENT_MARK, 1, 0, 0, 0);
    events[0].id = NF_MARK_TRAINING_BEGINS;
    event(NF_EVENT_ALLOC, 2, BASE, 40 * PAGE, 0);
    event(NF_EVENT_FREE, 1000, BASE, 0, 0);
    event(NF_EVENT_ALLOC, 1000, BASE + PAGE, 39 * PAGE, 0);
    event(NF_EVENT_OP, 3000, 0, 5, 1);
    event(NF_EVENT_STEP, 3001, 0, 1, 1);
    for (uint64_t i = 0; i < 80; i++) {
        /* Two threads, from both ends. */
        const struct nf_sample s = {.time_ns = (i < 40 ? 10 : 1010) + i, .rw = NF_RW_WRITE,
                                    .address = BASE + (i % 2 ? 39 - i % 40 / 2 : i % 40 / 2) * PAGE + 8 * i};

        assert_int_equal(nf_merge_sample(m, 0, true, &s), 0);
    }
    assert_int_equal(nf_merge_events(m, events, n_events), 0);
    assert_int_equal(nf_merge_run(m, reduce, UINT64_MAX), 0);
    assert_int_equal(n_visits, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(visits[i].tensor, i);
        assert_int_equal(visits[i].offset, 0);
        assert_int_equal(visits[i].bytes, (40 - i) * PAGE);
        assert_int_equal(visits[i].rw, NF_RW_WRITE);
    }
    assert_int_equal(nf_reduce_sighted(reduce, 0)->attributed, 79);
    nf_reduce_free(reduce);
    nf_merge_free(m);
}

/* No event comes, and faults without end: they go on, and none is lost. */
static void does_not_wait_for_ever(void **state)
{
    struct nf_merge *m = nf_merge_new();
    struct nf_reduce *reduce = reducer(true);
    const size_t n = 3 << 20;

    n_events = 0;
    event(NF_EVENT_MARK, 1, 0, 0, 0);
    events[0].id = NF_MARK_TRAINING_BEGINS;
    assert_int_equal(nf_merge_events(m, events, n_events), 0);
    for (size_t i = 0; i < n; i++) {
        const struct nf_sample s = {.time_ns = 10 + i, .address = BASE};

        assert_int_equal(nf_merge_sample(m, 0, true, &s), 0);
        if (i % 10000 == 0 || i + 1 == n)
            assert_int_equal(nf_merge_run(m, reduce, 10 + i), 0);
    }
    assert_in_range(n - nf_reduce_sighted(reduce, 0)->samples, 1, 1 << 20);
    event(NF_EVENT_MARK, 10 + n, 0, 0, 0);
    assert_int_equal(nf_merge_events(m, events + 1, 1), 0);
    assert_int_equal(nf_merge_run(m, reduce, UINT64_MAX), 0);
    assert_int_equal(nf_reduce_sighted(reduce, 0)->samples, n);
    nf_reduce_free(reduce);
    nf_merge_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorts_keys),
        cmocka_unit_test(attributes_by_time),
        cmocka_unit_test(tells_the_dead_from_the_living),
        cmocka_unit_test(does_not_wait_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
