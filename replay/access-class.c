#include "replay/access-class.h"

#include <string.h>

#include "core/base/log.h"
#include "core/model/stats.h"
#include "core/model/stream.h"
#include "replay/kernel.h"

enum {
    PIECES = 8,
    BLOCK_BYTES = 65536, /* as the engine's chunks; 16 pages fit any first-level TLB */
    PIECE_BLOCKS = 8,    /* some 50 us at 10 GB/s: a preemption falls into one piece of several */
    STRIDE_LINES = 4,    /* beyond the pair that is fetched together */
};

const struct nf_access_class nf_access_classes[NF_ACCESS_CLASSES] = {
    {"stream read", NF_PATTERN_STREAM, NF_RW_READ},     {"stream write", NF_PATTERN_STREAM, NF_RW_WRITE},
    {"stream update", NF_PATTERN_STREAM, NF_RW_UPDATE}, {"strided read", NF_PATTERN_STRIDED, NF_RW_READ},
    {"strided write", NF_PATTERN_STRIDED, NF_RW_WRITE}, {"strided update", NF_PATTERN_STRIDED, NF_RW_UPDATE},
    {"gather read", NF_PATTERN_GATHER, NF_RW_READ},     {"gather write", NF_PATTERN_GATHER, NF_RW_WRITE},
    {"gather update", NF_PATTERN_GATHER, NF_RW_UPDATE},
};

/* One block. Returns the lines touched. */
static uint64_t touch(const struct nf_kernels *k, const struct nf_access_class *c, char *block, const struct nf_rows *order)
{
    const uint64_t lines = BLOCK_BYTES / NF_LINE_BYTES;

    switch (c->pattern) {
    case NF_PATTERN_STRIDED:
        k->touch[c->rw](block, NF_LINE_BYTES, (size_t)STRIDE_LINES * NF_LINE_BYTES, lines / STRIDE_LINES);
        return lines / STRIDE_LINES;
    case NF_PATTERN_GATHER:
        k->touch_rows[c->rw](block, NF_LINE_BYTES, NF_LINE_BYTES, order, 0, lines);
        return lines;
    default:
        k->touch[c->rw](block, BLOCK_BYTES, BLOCK_BYTES, 1);
        return lines;
    }
}

double nf_access_class_run(const struct nf_access_class *c, char *memory, uint64_t bytes, unsigned run)
{
    const struct nf_kernels *k = nf_kernels_best();
    uint64_t blocks = bytes / BLOCK_BYTES, at = (uint64_t)run * PIECES * PIECE_BLOCKS, start, end;
    struct nf_rows order, where;
    double rate[PIECES];

    nf_rows_init(&order, BLOCK_BYTES / NF_LINE_BYTES, run);
    nf_rows_init(&where, blocks, bytes);
    start = nf_now_ns();
    for (unsigned i = 0; i < PIECES; i++, start = end) {
        uint64_t lines = 0;

        for (unsigned j = 0; j < PIECE_BLOCKS; j++, at++) {
            uint64_t block = c->pattern == NF_PATTERN_GATHER ? nf_rows_at(&where, at % blocks) : at % blocks;

            lines += touch(k, c, memory + block * BLOCK_BYTES, &order);
        }
        end = nf_now_ns();
        rate[i] = (double)lines / (double)(end - start);
    }
    return nf_median(rate, PIECES);
}

unsigned nf_access_class_of(enum nf_pattern pattern, enum nf_rw rw)
{
    unsigned i = 0;

    if (pattern == NF_PATTERN_BLOCKED)
        pattern = NF_PATTERN_STREAM;
    while (i < NF_ACCESS_CLASSES && (nf_access_classes[i].pattern != pattern || nf_access_classes[i].rw != rw))
        i++;
    return i;
}

unsigned nf_access_class_named(const char *name)
{
    unsigned i = 0;

    while (i < NF_ACCESS_CLASSES && strcmp(nf_access_classes[i].name, name))
        i++;
    return i;
}

double nf_parallelism_of(const struct nf_parallelism *p, enum nf_pattern pattern, enum nf_rw rw, bool *by_class)
{
    bool apart = pattern == NF_PATTERN_STRIDED || pattern == NF_PATTERN_GATHER;
    double k = p->of_class[nf_access_class_of(pattern, rw)];

    *by_class = k > 0;
    if (!*by_class)
        k = apart ? p->gather : p->stream;
    return k > 1 ? k : 1;
}
