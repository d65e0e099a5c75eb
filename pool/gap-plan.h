#pragma once
/* What policies share that choose over which gaps between its uses a tensor stays near, or how many of its pages do
 * (pool/stays.h): the choice turned into a table of moves. Over a gap that is not kept, or for what is not kept of it, the tensor
 * leaves. What is kept after a use and was not near before it is brought once, before that use where near has the room: with prefetch
 * in time, start = use - latency - size / bandwidth × (1 + slack), otherwise right before it; after it where there is none. With
 * prefetch also a use alone is fetched for, where it saves more than the fetch brings and the link has the time. A stay that saves no
 * more than `migration` times the bytes brought for it is given up, and its room is offered to stays next to those that are kept. */
#include <stdbool.h>

#include "core/base/option.h"
#include "pool/stays.h"
#include "pool/timetable.h"

struct nf_gap_options {
    double slack, migration;
    const char *prefetch, *parts;
};
/* Of those, what a policy wants that fetches for no use alone. base: where in its options these are. */
#define NF_GAP_MOVE_ROWS(base)                                                                                                       \
    {"migration", 0, NF_OPTION_F64, (base) + offsetof(struct nf_gap_options, migration), "X",                                        \
     "bytes that a byte brought near must save (default 1)"},                                                                        \
    {"parts", 0, NF_OPTION_STRING, (base) + offsetof(struct nf_gap_options, parts), "yes|no",                                        \
     "keep a part of a tensor where all of it does not fit (default yes)"}
/* Rows of an option table of a policy whose options begin with these. */
#define NF_GAP_OPTION_ROWS                                                                                                           \
    {"slack", 0, NF_OPTION_F64, offsetof(struct nf_gap_options, slack), "X", "a fetch takes so much longer than its bytes (default 0.5)"}, \
    {"prefetch", 0, NF_OPTION_STRING, offsetof(struct nf_gap_options, prefetch), "yes|no",                                           \
     "fetch for uses whose gap was not kept (default yes)"},                                                                         \
    NF_GAP_MOVE_ROWS(0)
#define NF_GAP_OPTION_DEFAULTS {.slack = 0.5, .migration = 1, .prefetch = "yes", .parts = "yes"}
extern const struct nf_option nf_gap_option_table[];
extern const struct nf_gap_options nf_gap_option_defaults;

/* How many pages of each stay are kept, without `parts` all or none: what they hold until they die fits into so many pages at
 * every op. 0 or -errno (cause set). */
typedef int nf_gap_choose_fn(const struct nf_timetable *t, const struct nf_stays *s, uint32_t capacity_pages, bool parts, uint32_t *kept);
/* Fills an empty table; the policy's options begin with nf_gap_options. 0 or -errno (cause set). */
int nf_gap_plan(struct nf_timetable *t, nf_gap_choose_fn *choose);
/* The verb `init` of policies whose choice is the greedy one (nf_stays_choose). */
int nf_gap_greedy_init(const struct nf_policy_env *env, void **policy);
