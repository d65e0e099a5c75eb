/* Decoding perf's sample records: written here field by field from the kernel's documented order, for every field, every
 * pair of fields and many mixtures, and cut at every length. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/perf-record.h"
#include "core/base/rng.h"
#include "core/model/words.h"

enum { FIELDS = 25, RAW_BYTES = 28, STACK_BYTES = 64, AUX_BYTES = 40, ROOM = 4096 };

/* What was written; the record is copied to a block of exactly its size, so that a sanitizer sees any step outside. */
struct written {
    uint64_t id;
    struct nf_sample sample;
    uint8_t raw[RAW_BYTES];
    size_t size;
    uint8_t bytes[ROOM];
};

static void put(struct written *w, const void *data, size_t n)
{
    assert_true(w->size + n <= ROOM);
    memcpy(w->bytes + w->size, data, n);
    w->size += n;
}

static uint64_t put_u64(struct written *w, uint64_t v)
{
    put(w, &v, sizeof v);
    return v;
}

static void put_noise(struct written *w, struct nf_rng *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t b = (uint8_t)nf_rng_next(r);

        put(w, &b, 1);
    }
}

static unsigned bits(uint64_t v)
{
    return (unsigned)__builtin_popcountll(v);
}

static void put_read(struct written *w, const struct perf_event_attr *a, struct nf_rng *r)
{
    bool group = a->read_format & PERF_FORMAT_GROUP;
    uint64_t n = group ? nf_rng_below(r, 4) : 1;

    if (group)
        put_u64(w, n);
    else
        put_u64(w, nf_rng_next(r)); /* the value stands before the times */
    if (a->read_format & PERF_FORMAT_TOTAL_TIME_ENABLED)
        put_u64(w, nf_rng_next(r));
    if (a->read_format & PERF_FORMAT_TOTAL_TIME_RUNNING)
        put_u64(w, nf_rng_next(r));
    for (uint64_t i = 0; i < n; i++) {
        if (group)
            put_u64(w, nf_rng_next(r));
        if (a->read_format & PERF_FORMAT_ID)
            put_u64(w, nf_rng_next(r));
        if (a->read_format & 1 << 4) /* PERF_FORMAT_LOST */
            put_u64(w, nf_rng_next(r));
    }
}

static void put_regs(struct written *w, uint64_t mask, struct nf_rng *r)
{
    uint64_t abi = nf_rng_below(r, 3);

    put_u64(w, abi);
    if (abi)
        put_noise(w, r, 8 * bits(mask));
}

static void put_branches(struct written *w, const struct perf_event_attr *a, struct nf_rng *r)
{
    uint64_t n = 1 + nf_rng_below(r, 3);

    put_u64(w, n);
    if (a->branch_sample_type & PERF_SAMPLE_BRANCH_HW_INDEX)
        put_u64(w, nf_rng_next(r));
    put_noise(w, r, 24 * n);
    if (a->branch_sample_type & 1 << 19) /* BRANCH_COUNTERS */
        put_noise(w, r, 8 * n);
}

static void write_record(struct written *w, const struct perf_event_attr *a, struct nf_rng *r)
{
    static const uint8_t rw[4] = {NF_SAMPLE_RW_UNKNOWN, NF_RW_READ, NF_RW_WRITE, NF_RW_UPDATE};
    struct perf_event_header header = {.type = PERF_RECORD_SAMPLE};
    struct nf_sample *s = &w->sample;
    uint64_t type = a->sample_type, v;
    bool has_id = false;

    memset(w, 0, sizeof *w);
    s->pid = s->tid = s->cpu = UINT32_MAX;
    s->step = s->op = s->tensor = NF_SAMPLE_NONE;
    s->rw = NF_SAMPLE_RW_UNKNOWN;
    s->kernel = (uint8_t)nf_rng_below(r, 2);
    header.misc = (uint16_t)((s->kernel ? PERF_RECORD_MISC_KERNEL : PERF_RECORD_MISC_USER) | PERF_RECORD_MISC_EXACT_IP);
    put(w, &header, sizeof header);
    if (type & PERF_SAMPLE_IDENTIFIER) {
        w->id = put_u64(w, nf_rng_next(r));
        has_id = true;
    }
    if (type & PERF_SAMPLE_IP)
        s->ip = put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_TID) {
        v = put_u64(w, nf_rng_next(r));
        s->pid = (uint32_t)v;
        s->tid = (uint32_t)(v >> 32);
    }
    if (type & PERF_SAMPLE_TIME)
        s->time_ns = put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_ADDR)
        s->address = put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_ID) {
        v = put_u64(w, nf_rng_next(r));
        w->id = has_id ? w->id : v;
    }
    if (type & PERF_SAMPLE_STREAM_ID)
        put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_CPU)
        s->cpu = (uint32_t)put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_PERIOD)
        s->period = put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_READ)
        put_read(w, a, r);
    if (type & PERF_SAMPLE_CALLCHAIN) {
        v = put_u64(w, nf_rng_below(r, 6));
        put_noise(w, r, 8 * v);
    }
    if (type & PERF_SAMPLE_RAW) {
        uint32_t size = RAW_BYTES;

        put(w, &size, sizeof size);
        put_noise(w, r, RAW_BYTES);
        memcpy(w->raw, w->bytes + w->size - RAW_BYTES, RAW_BYTES);
    }
    if (type & PERF_SAMPLE_BRANCH_STACK)
        put_branches(w, a, r);
    if (type & PERF_SAMPLE_REGS_USER)
        put_regs(w, a->sample_regs_user, r);
    if (type & PERF_SAMPLE_STACK_USER) {
        v = put_u64(w, nf_rng_below(r, 2) * STACK_BYTES);
        put_noise(w, r, v);
        if (v)
            put_u64(w, 16);
    }
    if (type & PERF_SAMPLE_WEIGHT_STRUCT) {
        v = put_u64(w, nf_rng_next(r));
        s->weight = (uint32_t)v;
        s->weight2 = (uint16_t)(v >> 32);
        s->weight3 = (uint16_t)(v >> 48);
    } else if (type & PERF_SAMPLE_WEIGHT) {
        v = put_u64(w, nf_rng_next(r) >> nf_rng_below(r, 64));
        s->weight = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
    }
    if (type & PERF_SAMPLE_DATA_SRC) {
        s->data_src = put_u64(w, nf_rng_next(r));
        s->rw = rw[(s->data_src & PERF_MEM_OP_LOAD ? 1 : 0) + (s->data_src & PERF_MEM_OP_STORE ? 2 : 0)];
    }
    if (type & PERF_SAMPLE_TRANSACTION)
        put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_REGS_INTR)
        put_regs(w, a->sample_regs_intr, r);
    if (type & PERF_SAMPLE_PHYS_ADDR)
        s->physical = put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_CGROUP)
        put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_DATA_PAGE_SIZE)
        put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_CODE_PAGE_SIZE)
        put_u64(w, nf_rng_next(r));
    if (type & PERF_SAMPLE_AUX) {
        put_u64(w, AUX_BYTES);
        put_noise(w, r, AUX_BYTES);
    }
    ((struct perf_event_header *)w->bytes)->size = (uint16_t)w->size;
}

static int decode(const struct written *w, const struct nf_record_layout *l, size_t size, struct nf_sample *out,
                  uint64_t *id)
{
    struct perf_event_header *copy = malloc(size > sizeof *copy ? size : sizeof *copy);
    int rc;

    memcpy(copy, w->bytes, size > sizeof *copy ? size : sizeof *copy);
    copy->size = (uint16_t)size;
    rc = nf_record_decode(l, copy, out, id);
    free(copy);
    return rc;
}

static void check(const struct perf_event_attr *a, struct nf_rng *r, bool cut)
{
    struct nf_record_layout l = nf_record_layout_of(a);
    static struct written w;
    struct nf_sample out;
    const void *raw;
    uint32_t size;
    uint64_t id = 1;

    write_record(&w, a, r);
    memset(&out, 0xaa, sizeof out);
    assert_int_equal(decode(&w, &l, w.size, &out, &id), 0);
    assert_memory_equal(&out, &w.sample, sizeof out);
    assert_int_equal(id, w.id);
    if (nf_record_id_offset(&l))
        assert_memory_equal(w.bytes + nf_record_id_offset(&l), &id, sizeof id);
    else
        assert_int_equal(a->sample_type & (PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_ID), 0);
    raw = nf_record_raw(&l, (const struct perf_event_header *)w.bytes, &size);
    assert_int_equal(!!raw, !!(a->sample_type & PERF_SAMPLE_RAW));
    if (raw) {
        assert_int_equal(size, RAW_BYTES);
        assert_memory_equal(raw, w.raw, RAW_BYTES);
    }
    for (size_t n = 0; cut && n < w.size; n++)
        assert_int_equal(decode(&w, &l, n, &out, NULL), -EBADMSG);
}

static struct perf_event_attr attr_of(uint64_t type, struct nf_rng *r)
{
    return (struct perf_event_attr){
        .sample_type = type, .read_format = nf_rng_below(r, 32),
        .branch_sample_type = (nf_rng_below(r, 2) ? PERF_SAMPLE_BRANCH_HW_INDEX : 0) | nf_rng_below(r, 2) << 19,
        .sample_regs_user = nf_rng_next(r) & 0xffffff, .sample_regs_intr = nf_rng_next(r) & 0xff0fff,
    };
}

static void every_pair(void **state)
{
    struct nf_rng r = {1};

    for (unsigned i = 0; i < FIELDS; i++) {
        for (unsigned j = i; j < FIELDS; j++) {
            struct perf_event_attr a = attr_of(1ull << i | 1ull << j, &r);

            for (unsigned turn = 0; turn < 8; turn++)
                check(&a, &r, true);
        }
    }
}

static void mixtures(void **state)
{
    struct nf_rng r = {2};

    for (unsigned turn = 0; turn < 4000; turn++) {
        uint64_t type = nf_rng_next(&r) & ((1 << FIELDS) - 1);
        struct perf_event_attr a = attr_of(turn % 3 ? type & nf_rng_next(&r) : type, &r);

        check(&a, &r, turn % 8 == 0);
    }
    for (unsigned format = 0; format < 32; format++) {
        struct perf_event_attr a = attr_of((1 << FIELDS) - 1, &r);

        a.read_format = format;
        check(&a, &r, true);
    }
}

/* The kernel writes no index where it had no branch stack; both forms are read. */
static void empty_branch_stacks(void **state)
{
    const struct perf_event_attr a = {
        .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_BRANCH_STACK | PERF_SAMPLE_DATA_SRC | PERF_SAMPLE_PHYS_ADDR,
        .branch_sample_type = PERF_SAMPLE_BRANCH_HW_INDEX,
    };
    struct nf_record_layout l = nf_record_layout_of(&a);

    for (int index = 0; index < 2; index++) {
        struct written w = {0};
        struct nf_sample out;

        put(&w, &(struct perf_event_header){.type = PERF_RECORD_SAMPLE}, sizeof(struct perf_event_header));
        put_u64(&w, 0x1234);
        put_u64(&w, 0);
        if (index)
            put_u64(&w, UINT64_MAX);
        put_u64(&w, PERF_MEM_OP_STORE);
        put_u64(&w, 0x5678);
        assert_int_equal(decode(&w, &l, w.size, &out, NULL), 0);
        assert_int_equal(out.data_src, PERF_MEM_OP_STORE);
        assert_int_equal(out.physical, 0x5678);
        assert_int_equal(out.rw, NF_RW_WRITE);
    }
}

/* Counts that promise more than any record holds, at every field that counts. */
static void lying_counts(void **state)
{
    static const uint64_t fields[] = {PERF_SAMPLE_READ, PERF_SAMPLE_CALLCHAIN, PERF_SAMPLE_RAW, PERF_SAMPLE_BRANCH_STACK,
                                      PERF_SAMPLE_STACK_USER, PERF_SAMPLE_AUX};
    static const uint64_t lies[] = {UINT64_MAX, UINT64_MAX / 8, UINT64_MAX / 8 + 1, UINT64_MAX / 24 + 1, 1ull << 32, 1ull << 61,
                                    UINT64_MAX - 7, 0xfffffff9, 0xfffffffc, 9, 13, 100000};

    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
        for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
            const struct perf_event_attr a = {.sample_type = fields[f], .read_format = PERF_FORMAT_GROUP};
            struct nf_record_layout l = nf_record_layout_of(&a);
            struct written w = {0};
            struct nf_sample out;
            uint32_t size;

            put(&w, &(struct perf_event_header){.type = PERF_RECORD_SAMPLE}, sizeof(struct perf_event_header));
            put_u64(&w, lies[i]);
            put_u64(&w, 0);
            ((struct perf_event_header *)w.bytes)->size = (uint16_t)w.size;
            if (fields[f] == PERF_SAMPLE_RAW && (uint32_t)lies[i] == 0)
                continue; /* RAW counts in 32 bits */
            assert_int_equal(decode(&w, &l, w.size, &out, NULL), -EBADMSG);
            if (fields[f] == PERF_SAMPLE_RAW && (uint32_t)lies[i] > 12)
                assert_null(nf_record_raw(&l, (const struct perf_event_header *)w.bytes, &size));
        }
    }
}

static void kernel_modes(void **state)
{
    static const struct {
        uint16_t misc;
        uint8_t kernel;
    } modes[] = {{PERF_RECORD_MISC_USER, 0}, {PERF_RECORD_MISC_KERNEL, 1}, {PERF_RECORD_MISC_GUEST_USER, 0},
                 {PERF_RECORD_MISC_GUEST_KERNEL, 1}, {PERF_RECORD_MISC_HYPERVISOR, 0}, {PERF_RECORD_MISC_CPUMODE_UNKNOWN, 0}};
    const struct perf_event_attr a = {0};
    struct nf_record_layout l = nf_record_layout_of(&a);

    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct perf_event_header h = {.type = PERF_RECORD_SAMPLE, .misc = modes[i].misc, .size = sizeof h};
        struct nf_sample out;
        uint64_t id = 7;

        assert_int_equal(nf_record_decode(&l, &h, &out, &id), 0);
        assert_int_equal(out.kernel, modes[i].kernel);
        assert_int_equal(id, 0);
        h.size--;
        assert_int_equal(nf_record_decode(&l, &h, &out, &id), -EBADMSG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair),   cmocka_unit_test(mixtures),     cmocka_unit_test(empty_branch_stacks),
        cmocka_unit_test(lying_counts), cmocka_unit_test(kernel_modes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
