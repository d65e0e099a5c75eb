#include "capture/perf-record.h"

#include <errno.h>
#include <string.h>

#include "core/model/words.h"

enum { HEADER = sizeof(struct perf_event_header), WORD = 8, BRANCH_WORDS = 3 };
/* Newer than the headers this may be built with: one more word for each branch. */
static const uint64_t branch_counters = 1ull << 19;
static const uint64_t read_lost = 1ull << 4;

/* One word each, before and after the fields of variable size. */
static const uint64_t head_fields = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |
                                    PERF_SAMPLE_ADDR | PERF_SAMPLE_ID | PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_CPU |
                                    PERF_SAMPLE_PERIOD;
static const uint64_t tail_fields = PERF_SAMPLE_WEIGHT_TYPE | PERF_SAMPLE_DATA_SRC | PERF_SAMPLE_TRANSACTION |
                                    PERF_SAMPLE_PHYS_ADDR | PERF_SAMPLE_CGROUP | PERF_SAMPLE_DATA_PAGE_SIZE |
                                    PERF_SAMPLE_CODE_PAGE_SIZE;
/* One word at least; RAW's four bytes are padded to one. */
static const uint64_t variable_fields = PERF_SAMPLE_READ | PERF_SAMPLE_CALLCHAIN | PERF_SAMPLE_RAW |
                                        PERF_SAMPLE_BRANCH_STACK | PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER |
                                        PERF_SAMPLE_REGS_INTR | PERF_SAMPLE_AUX;

/* PERF_SAMPLE_WEIGHT and WEIGHT_STRUCT are two readings of one word. */
static unsigned words(uint64_t fields)
{
    if ((fields & PERF_SAMPLE_WEIGHT_TYPE) == PERF_SAMPLE_WEIGHT_TYPE)
        fields &= ~(uint64_t)PERF_SAMPLE_WEIGHT;
    return (unsigned)__builtin_popcountll(fields);
}

struct nf_record_layout nf_record_layout_of(const struct perf_event_attr *attr)
{
    struct nf_record_layout l = {
        .sample_type = attr->sample_type, .read_format = attr->read_format,
        .branch_sample_type = attr->branch_sample_type, .sample_regs_user = attr->sample_regs_user,
        .sample_regs_intr = attr->sample_regs_intr,
    };

    l.head_bytes = HEADER + WORD * words(l.sample_type & head_fields);
    l.least_bytes = l.head_bytes + WORD * words(l.sample_type & (tail_fields | variable_fields));
    l.fixed = !(l.sample_type & variable_fields);
    return l;
}

/* A record half read. left: bytes that follow p and belong to it. */
struct cursor {
    const uint8_t *p;
    size_t left;
};

static inline uint64_t word_at(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t take(const uint8_t **p)
{
    uint64_t v = word_at(*p);

    *p += WORD;
    return v;
}

static inline bool next_word(struct cursor *c, uint64_t *v)
{
    if (c->left < WORD)
        return false;
    *v = take(&c->p);
    c->left -= WORD;
    return true;
}

/* n elements of `size` bytes. */
static inline bool skip(struct cursor *c, uint64_t n, size_t size)
{
    if (n > c->left / size)
        return false;
    c->p += n * size;
    c->left -= (size_t)n * size;
    return true;
}

static bool skip_read(struct cursor *c, uint64_t format)
{
    unsigned times = !!(format & PERF_FORMAT_TOTAL_TIME_ENABLED) + !!(format & PERF_FORMAT_TOTAL_TIME_RUNNING);
    unsigned each = 1 + !!(format & PERF_FORMAT_ID) + !!(format & read_lost);
    uint64_t n = 1;

    if (format & PERF_FORMAT_GROUP && !next_word(c, &n))
        return false;
    return skip(c, times, WORD) && skip(c, n, each * WORD);
}

static bool skip_regs(struct cursor *c, uint64_t mask)
{
    uint64_t abi;

    return next_word(c, &abi) && (!abi || skip(c, (unsigned)__builtin_popcountll(mask), WORD));
}

/* What is counted in bytes comes in whole words. */
static bool skip_bytes(struct cursor *c, uint64_t n)
{
    return !(n % WORD) && skip(c, n, 1);
}

/* READ and CALLCHAIN, which stand before RAW. */
static bool skip_to_raw(const struct nf_record_layout *l, struct cursor *c)
{
    uint64_t n;

    if (l->sample_type & PERF_SAMPLE_READ && !skip_read(c, l->read_format))
        return false;
    return !(l->sample_type & PERF_SAMPLE_CALLCHAIN) || (next_word(c, &n) && skip(c, n, WORD));
}

static bool skip_stack(struct cursor *c)
{
    uint64_t n;

    /* The size that was really copied follows only where there was something to copy. */
    return next_word(c, &n) && (!n || (skip_bytes(c, n) && skip(c, 1, WORD)));
}

/* What a record says, collected here and written to the sample at once: a sample that is zeroed first and then filled
 * field by field costs twice the time (17 ns against 10). */
struct fields {
    uint64_t id, ip, pid_tid, time, address, cpu, period, weight, source, physical;
};
static const struct fields unknown = {.pid_tid = UINT64_MAX, .cpu = UINT32_MAX};

static inline __attribute__((always_inline)) void decode_head(uint64_t type, const uint8_t *p, struct fields *f)
{
    if (type & PERF_SAMPLE_IDENTIFIER)
        f->id = take(&p);
    if (type & PERF_SAMPLE_IP)
        f->ip = take(&p);
    if (type & PERF_SAMPLE_TID)
        f->pid_tid = take(&p);
    if (type & PERF_SAMPLE_TIME)
        f->time = take(&p);
    if (type & PERF_SAMPLE_ADDR)
        f->address = take(&p);
    if (type & PERF_SAMPLE_ID) {
        if (!(type & PERF_SAMPLE_IDENTIFIER))
            f->id = word_at(p);
        p += WORD;
    }
    if (type & PERF_SAMPLE_STREAM_ID)
        p += WORD;
    if (type & PERF_SAMPLE_CPU)
        f->cpu = take(&p);
    if (type & PERF_SAMPLE_PERIOD)
        f->period = word_at(p);
}

/* WEIGHT and DATA_SRC; p goes on behind TRANSACTION. */
static inline __attribute__((always_inline)) const uint8_t *decode_weight(uint64_t type, const uint8_t *p, struct fields *f)
{
    if (type & PERF_SAMPLE_WEIGHT_TYPE)
        f->weight = take(&p);
    if (type & PERF_SAMPLE_DATA_SRC)
        f->source = take(&p);
    return type & PERF_SAMPLE_TRANSACTION ? p + WORD : p;
}

static inline __attribute__((always_inline)) void fill(uint64_t type, const struct perf_event_header *header,
                                                       const struct fields *f, struct nf_sample *out)
{
    static const uint8_t rw[4] = {NF_SAMPLE_RW_UNKNOWN, NF_RW_READ, NF_RW_WRITE, NF_RW_UPDATE};
    unsigned mode = header->misc & PERF_RECORD_MISC_CPUMODE_MASK;
    union perf_sample_weight w = {.full = f->weight};

    if (!(type & PERF_SAMPLE_WEIGHT_STRUCT))
        w.full = f->weight > UINT32_MAX ? (union perf_sample_weight){.var1_dw = UINT32_MAX}.full
                                        : (union perf_sample_weight){.var1_dw = (uint32_t)f->weight}.full;
    out->time_ns = f->time;
    out->address = f->address;
    out->ip = f->ip;
    out->physical = f->physical;
    out->data_src = f->source;
    out->period = f->period;
    out->offset = 0;
    out->weight = w.var1_dw;
    out->weight2 = w.var2_w;
    out->weight3 = w.var3_w;
    out->pid = (uint32_t)f->pid_tid;
    out->tid = (uint32_t)(f->pid_tid >> 32);
    out->cpu = (uint32_t)f->cpu;
    out->step = out->op = out->tensor = NF_SAMPLE_NONE;
    /* The last word whole, so that samples compare and hash as bytes. */
    memset(&out->event, 0, sizeof *out - offsetof(struct nf_sample, event));
    /* PERF_MEM_OP_LOAD is bit 1, _STORE bit 2; neither stands in what was not there. */
    out->rw = rw[f->source >> 1 & 3];
    out->kernel = mode == PERF_RECORD_MISC_KERNEL || mode == PERF_RECORD_MISC_GUEST_KERNEL;
}

/* The fields behind the branch stack. */
static bool decode_rest(const struct nf_record_layout *l, struct cursor c, struct fields *f)
{
    const uint64_t before = PERF_SAMPLE_WEIGHT_TYPE | PERF_SAMPLE_DATA_SRC | PERF_SAMPLE_TRANSACTION;
    uint64_t type = l->sample_type, n;
    const uint8_t *p;

    if (type & PERF_SAMPLE_REGS_USER && !skip_regs(&c, l->sample_regs_user))
        return false;
    if (type & PERF_SAMPLE_STACK_USER && !skip_stack(&c))
        return false;
    p = c.p;
    if (!skip(&c, words(type & before), WORD))
        return false;
    decode_weight(type, p, f);
    if (type & PERF_SAMPLE_REGS_INTR && !skip_regs(&c, l->sample_regs_intr))
        return false;
    p = c.p;
    if (!skip(&c, words(type & tail_fields & ~before), WORD))
        return false;
    if (type & PERF_SAMPLE_PHYS_ADDR)
        f->physical = word_at(p);
    return !(type & PERF_SAMPLE_AUX) || (next_word(&c, &n) && skip_bytes(&c, n));
}

static bool decode_variable(const struct nf_record_layout *l, struct cursor c, struct fields *f)
{
    uint64_t n, index = l->branch_sample_type & PERF_SAMPLE_BRANCH_HW_INDEX;

    if (!skip_to_raw(l, &c))
        return false;
    if (l->sample_type & PERF_SAMPLE_RAW) {
        uint32_t size;

        if (c.left < sizeof size)
            return false;
        memcpy(&size, c.p, sizeof size);
        if (!skip_bytes(&c, (uint64_t)size + sizeof size))
            return false;
    }
    if (l->sample_type & PERF_SAMPLE_BRANCH_STACK) {
        unsigned each = BRANCH_WORDS + !!(l->branch_sample_type & branch_counters);

        if (!next_word(&c, &n))
            return false;
        if (n)
            return skip(&c, !!index, WORD) && skip(&c, n, each * WORD) && decode_rest(l, c, f);
        /* A sample that had no branch stack at all has not even the index; only the length tells it from an empty one. */
        if (index) {
            struct cursor behind = c;

            if (skip(&behind, 1, WORD) && decode_rest(l, behind, f))
                return true;
        }
    }
    return decode_rest(l, c, f);
}

int nf_record_decode(const struct nf_record_layout *l, const struct perf_event_header *header, struct nf_sample *out,
                     uint64_t *id)
{
    const uint8_t *record = (const uint8_t *)header, *p;
    uint64_t type = l->sample_type;
    struct fields f = unknown;

    if (header->size < l->least_bytes)
        return -EBADMSG;
    if (l->fixed) {
        decode_head(type, record + HEADER, &f);
        p = decode_weight(type, record + l->head_bytes, &f);
        if (type & PERF_SAMPLE_PHYS_ADDR)
            f.physical = word_at(p);
        fill(type, header, &f, out);
        if (id)
            *id = f.id;
    } else {
        struct cursor c = {record + l->head_bytes, header->size - l->head_bytes};
        struct fields v = unknown; /* another one: its address is taken, which would keep f out of the registers */

        decode_head(type, record + HEADER, &v);
        if (!decode_variable(l, c, &v))
            return -EBADMSG;
        fill(type, header, &v, out);
        if (id)
            *id = v.id;
    }
    return 0;
}

const void *nf_record_raw(const struct nf_record_layout *l, const struct perf_event_header *header, uint32_t *size)
{
    struct cursor c = {(const uint8_t *)header + l->head_bytes, header->size - l->head_bytes};

    *size = 0;
    if (!(l->sample_type & PERF_SAMPLE_RAW) || header->size < l->least_bytes || !skip_to_raw(l, &c) ||
        c.left < sizeof *size)
        return NULL;
    memcpy(size, c.p, sizeof *size);
    if (*size > c.left - sizeof *size) {
        *size = 0;
        return NULL;
    }
    return c.p + sizeof *size;
}

size_t nf_record_id_offset(const struct nf_record_layout *l)
{
    const uint64_t before = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR;

    if (l->sample_type & PERF_SAMPLE_IDENTIFIER)
        return HEADER;
    return l->sample_type & PERF_SAMPLE_ID ? HEADER + WORD * words(l->sample_type & before) : 0;
}
