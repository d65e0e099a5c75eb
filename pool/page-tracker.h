#pragma once
/* Pages as policies that sample know them: sampled counts, page faults that hints would cause, lists, and the moves that follow.
 * A page is `unit_bytes` of one storage (its last one may be shorter): pages never span storages here, as huge pages of a process do.
 * Samples are drawn from the visits of the replay, one in `period` cache lines from beyond the caches, as a PMU would draw them: the
 * sampling is simulated, and free; what page tables would cost is charged by declared figures. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/array.h"
#include "core/base/option.h"
#include "core/base/rng.h"
#include "pool/policy.h"

struct nf_page_list;

struct nf_page {
    struct nf_page *newer, *older; /* in its list */
    struct nf_page_list *list;     /* NULL: none */
    uint32_t handle, index;
    uint32_t pages;    /* of NF_PAGE_BYTES */
    uint32_t reads, writes; /* sampled, halved as often as `epoch` lags behind */
    uint32_t epoch;
    uint8_t tier;      /* where it is, or is on its way to */
    bool referenced;   /* touched since that was last looked at */
    bool hinted;       /* its next touch faults */
    uint64_t hinted_ns; /* since then */
};
struct nf_page_list {
    struct nf_page *newest, *oldest;
    uint64_t pages; /* of NF_PAGE_BYTES */
};

/* What every such policy may be told; the head of its options struct. */
struct nf_page_options {
    uint64_t unit_bytes, period;
    double fault_ns, unmap_ns; /* below 0: a minor fault as measured at open */
    double speed;              /* periods of time and numbers of samples of the rule are divided by this */
};
/* Rows of an option table for them at the start of the policy's struct, with its defaults of page and period in words. */
#define NF_PAGE_OPTION_ROWS(unit, every)                                                                              \
    {"page", 0, NF_OPTION_BYTES, offsetof(struct nf_page_options, unit_bytes), "BYTES",                               \
     "what is counted and moved as one: 4K or 2M (default " unit ")"},                                                \
    {"period", 0, NF_OPTION_U64, offsetof(struct nf_page_options, period), "N",                                       \
     "one in N lines from memory is sampled (default " every ")"},                                                    \
    {"fault-ns", 0, NF_OPTION_F64, offsetof(struct nf_page_options, fault_ns), "NS",                                  \
     "a hint fault costs the job (default 1000, assumed; -1: a minor fault, measured)"},                              \
    {"unmap-ns", 0, NF_OPTION_F64, offsetof(struct nf_page_options, unmap_ns), "NS",                                  \
     "unmapping a page that moves, shootdown included, costs it (default 2000, assumed; -1: as measured)"},           \
    {"speed", 0, NF_OPTION_F64, offsetof(struct nf_page_options, speed), "X",                                         \
     "the rule's intervals and sample counts are divided by X, for short replays (default 1: as published)"}
/* A minor fault takes 0.5 to 1.5 us on servers of these years; a shootdown of a few cores' TLBs 1 to 4 us beside it. */
#define NF_PAGE_FAULT_NS_ASSUMED 1000
#define NF_PAGE_UNMAP_NS_ASSUMED 2000
enum { NF_PAGE_UNIT_BASE = 4096, NF_PAGE_UNIT_HUGE = 2 << 20 };

struct nf_page_tracker {
    const struct nf_policy_env *env;
    struct nf_page_options o;
    uint32_t unit_pages;
    NF_ARRAY(struct nf_page_storage {
        struct nf_page *v; /* n of them; NULL: not live */
        uint32_t n;
    }) storages; /* by handle */
    uint64_t used[NF_TIER_MAX]; /* bytes, once all moves are done */
    struct nf_rng rng;
    double due;      /* lines until the next sample */
    uint32_t epoch;  /* cooling */
    unsigned demoted_at_once; /* pages for which one unmapping is charged; 1, unless the policy says otherwise after init */
    double stall_ns; /* not charged yet */
};

/* 0, -EINVAL (a figure out of range), -ENOMEM (cause set). */
int nf_page_tracker_init(struct nf_page_tracker *t, const struct nf_policy_env *env, const struct nf_page_options *o);
void nf_page_tracker_deinit(struct nf_page_tracker *t);
/* A published time or count, divided by the option speed; no more than half of what 64 bits hold. */
uint64_t nf_page_tracker_scaled(const struct nf_page_tracker *t, double published);

/* A storage is born: near while there is room, page by page, then the first far tier with room. Its pages are in no list.
 * 0, -ENOSPC, -ENOMEM (cause set). */
int nf_page_tracker_place(struct nf_page_tracker *t, const struct nf_policy_tensor *tensor, struct nf_placement *out);
/* Its pages leave their lists. */
void nf_page_tracker_freed(struct nf_page_tracker *t, uint32_t handle);

/* Calls `seen` for every sample of what an op touched. */
void nf_page_tracker_sample(struct nf_page_tracker *t, const struct nf_policy_touches *touches,
                            void (*seen)(void *ctx, struct nf_page *page, bool write), void *ctx);
/* Calls `seen` for every page that an op touched, once per visit. */
void nf_page_tracker_walk(struct nf_page_tracker *t, const struct nf_policy_touches *touches,
                          void (*seen)(void *ctx, struct nf_page *page, bool write), void *ctx);
/* Halves all counts: each page's when it is next looked at. */
static inline void nf_page_tracker_cool(struct nf_page_tracker *t)
{
    t->epoch++;
}
/* Brings a page's counts up to date. Returns their sum. */
uint32_t nf_page_count(const struct nf_page_tracker *t, struct nf_page *page);

/* Decides a move. False where the tier lacks room or the list of moves is full; nothing is decided then. */
bool nf_page_tracker_move(struct nf_page_tracker *t, struct nf_page *page, uint32_t tier, struct nf_policy_moves *moves);
/* The first far tier with room for a page; n_tiers: none. */
uint32_t nf_page_tracker_far(const struct nf_page_tracker *t, const struct nf_page *page);
static inline uint64_t nf_page_tracker_room(const struct nf_page_tracker *t, uint32_t tier)
{
    return t->env->capacity[tier] - t->used[tier];
}
static inline uint64_t nf_page_bytes_of(const struct nf_page *page)
{
    return page->pages * (uint64_t)NF_PAGE_UNIT_BASE;
}
/* What the job's thread pays for by this time: handed to the moves it belongs to. */
void nf_page_tracker_charge(struct nf_page_tracker *t, struct nf_policy_moves *moves);

void nf_page_list_push(struct nf_page_list *l, struct nf_page *page);       /* as the newest */
void nf_page_list_push_oldest(struct nf_page_list *l, struct nf_page *page); /* as the next to be taken */
/* Out of its list, if it is in one. */
void nf_page_list_remove(struct nf_page *page);

/* Of every policy that moves sampled pages. */
#define NF_PAGE_SEMANTICS                                                                                             \
    {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_WRITE_BACK, .mover = NF_MOVER_COPY,  \
     .sync = NF_SYNC_HELPER, .samples = true, .by_page = true}
