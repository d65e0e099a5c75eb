#pragma once
/* Replacement rules over objects named by dense ids: one implementation for the policies that are replayed and for the
 * simulator. A cache knows what it holds and in which order it would let go; who puts objects in says how large they are and
 * evicts first where that takes room. Amortised O(1) per call (GDSF: O(log n)). Files with the rules' sources: pool/policy-*.c. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum nf_cache_rule {
    NF_CACHE_LRU,     /* least recently used */
    NF_CACHE_CLOCK,   /* FIFO; what was used since it came under the hand goes round once more */
    NF_CACHE_GDSF,    /* lowest L + uses / bytes; L is that of the last one evicted */
    NF_CACHE_S3_FIFO, /* a small FIFO of 10 %, a main one, a ghost one as large as main */
    NF_CACHE_RULES
};
#define NF_CACHE_NONE UINT32_MAX

/* A FIFO of ids. Entries are not taken out of the middle: one counts only while its object's record points back at it. */
struct nf_cache_ring {
    uint32_t *id;
    uint32_t head, n;      /* entries from head on, those that no longer count included */
    uint32_t mask;         /* a power of two of them, at least twice as many as there are ids, less 1 */
    uint32_t free_to_go;   /* that count and are not pinned */
    uint64_t bytes, limit; /* that count; what S3-FIFO allows */
};

struct nf_cache {
    enum nf_cache_rule rule;
    uint32_t n_ids;
    uint64_t capacity, bytes; /* bytes: held now */
    struct nf_cache_record {
        uint32_t at; /* index in its ring or the heap */
        uint8_t queue, uses;
        bool pinned;
    } *record;
    bool sized;
    uint64_t *size; /* by id; NULL: every object is 1 byte */
    struct nf_cache_ring ring[3];
    /* GDSF: a heap of what is held and not pinned. */
    struct nf_cache_rank {
        double priority;
        uint64_t uses, order; /* equal priorities: first come, first to go */
    } *rank; /* by id */
    uint32_t *heap, heap_n;
    double floor;
    uint64_t clock;
};

/* sized: objects have sizes; otherwise each is 1 byte. Holds no id before grow. */
void nf_cache_init(struct nf_cache *c, enum nf_cache_rule rule, uint64_t capacity, bool sized);
void nf_cache_deinit(struct nf_cache *c);
/* Ids below n (< 2^30) can be named from now on. 0 or -ENOMEM (c unchanged in what it holds). */
int nf_cache_grow(struct nf_cache *c, uint32_t n);

bool nf_cache_holds(const struct nf_cache *c, uint32_t id);
/* It is used, and held. */
void nf_cache_use(struct nf_cache *c, uint32_t id);
/* It is put in and was not held: make room first. The rule may remember it from before (S3-FIFO's ghosts), so between
 * making room and this nf_cache_recall comes first of all. */
void nf_cache_admit(struct nf_cache *c, uint32_t id, uint64_t bytes);
/* It is wanted and not held: the rule notes whether it remembers it, before room is made. */
void nf_cache_recall(struct nf_cache *c, uint32_t id);
/* Lets go of one that is not pinned; NF_CACHE_NONE: there is none. */
uint32_t nf_cache_evict(struct nf_cache *c);
/* It is gone: neither held nor remembered. */
void nf_cache_forget(struct nf_cache *c, uint32_t id);
/* What is pinned is not evicted. Held or not; nf_cache_forget takes the pin off. */
void nf_cache_pin(struct nf_cache *c, uint32_t id, bool pinned);

/* What a request stream does under a rule. */
struct nf_cache_result {
    uint64_t hits, hit_bytes, evictions;
};
/* Requests ids[n], all below n_ids, in order; a missed object is put in, unless it is larger than the capacity. sizes: by id,
 * NULL: 1 byte each. hit: NULL, or one byte per request, 1 where it hit. 0 or -ENOMEM. */
int nf_cache_sim(enum nf_cache_rule rule, uint64_t capacity, const uint32_t *ids, size_t n, uint32_t n_ids,
                 const uint64_t *sizes, uint8_t *hit, struct nf_cache_result *out);
