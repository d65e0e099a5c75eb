#pragma once
/* What was touched of a range of addresses since the last flush, exactly: of every 64-byte line the bytes that were read
 * and the bytes that were written, how many accesses there were, and how many bytes they moved. A line's record is found
 * by one shift; memory is only spent on what was touched. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/exact/exact.h"

enum { NF_SHADOW_LINE_BYTES = 64, NF_SHADOW_PAGE_LINES = 64 };

/* Index 0: reads, 1: writes. An access that crosses lines is counted in its first one, its bytes where they are. */
struct nf_shadow_line {
    uint64_t mask[2], accesses[2], bytes[2];
};

struct nf_shadow {
    uint64_t base, bytes; /* bytes 0: nothing is watched */
    struct nf_shadow_line *lines;
    /* Per page of 64 lines: a bit for each touched line, and whether the page is in the list. */
    uint64_t *pages;
    uint8_t *listed;
    uint32_t *list, *other_list; /* touched pages; the two change places at a flush */
    size_t n_list;
    uint32_t lock; /* of the list */
};

/* base: a multiple of 64. 0; -ENOMEM when the address space is not there; -EINVAL. */
int nf_shadow_init(struct nf_shadow *s, uint64_t base, uint64_t bytes);
void nf_shadow_deinit(struct nf_shadow *s);

/* Everything touched within [address, address + bytes) since its last flush, as TOUCH events: runs without holes, by
 * ascending address among the reads and among the writes. A run ends where an address divisible by 4096 begins, because
 * a block of the arena may begin there. Several runs in one line share its counts in proportion to their bytes. Threads may
 * go on touching: what they touch comes now or at the next flush. */
void nf_shadow_flush(struct nf_shadow *s, uint64_t address, uint64_t bytes, enum nf_touch_owner owner,
                     nf_touch_sink *sink, void *context);
void nf_shadow_discard(struct nf_shadow *s);

/* A line got its first touch of this kind. */
void nf_shadow_mark(struct nf_shadow *s, uint64_t line, bool shared);
/* Any size and place. */
void nf_shadow_touch_range(struct nf_shadow *s, uint64_t address, uint64_t bytes, unsigned rw, bool shared);

/* One access of 1 to 64 bytes. rw: 0 read, 1 write. shared: other threads may touch at this moment. */
static inline void nf_shadow_touch(struct nf_shadow *s, uint64_t address, unsigned bytes, unsigned rw, bool shared)
{
    uint64_t offset = address - s->base, mask;
    struct nf_shadow_line *line;
    unsigned within;

    if (offset >= s->bytes)
        return;
    within = (unsigned)offset % NF_SHADOW_LINE_BYTES;
    if (within + bytes > NF_SHADOW_LINE_BYTES) {
        nf_shadow_touch_range(s, address, bytes, rw, shared);
        return;
    }
    line = &s->lines[offset / NF_SHADOW_LINE_BYTES];
    mask = (~0ull >> (NF_SHADOW_LINE_BYTES - bytes)) << within;
    /* Counts before the mask: whoever flushes takes them in the other order and so leaves none behind. */
    if (!shared) {
        line->accesses[rw]++;
        line->bytes[rw] += bytes;
        if (!line->mask[rw])
            nf_shadow_mark(s, offset / NF_SHADOW_LINE_BYTES, false);
        line->mask[rw] |= mask;
        return;
    }
    __atomic_fetch_add(&line->accesses[rw], 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&line->bytes[rw], bytes, __ATOMIC_SEQ_CST);
    if ((__atomic_load_n(&line->mask[rw], __ATOMIC_SEQ_CST) & mask) != mask &&
        !__atomic_fetch_or(&line->mask[rw], mask, __ATOMIC_SEQ_CST))
        nf_shadow_mark(s, offset / NF_SHADOW_LINE_BYTES, true);
}
