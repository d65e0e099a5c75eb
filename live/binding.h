#pragma once
/* The memory of an unmodified job bound to a tier by the kernel: what a policy's curve is held against where no plan can be
 * told to the job. Only tiers that are NUMA nodes can be bound to. */
#include <stddef.h>

#include "core/model/words.h"
#include "core/store/study.h"
#include "pool/tier-binding.h"
#include "pool/tier.h"

/* near: all on the first tier; far: all on the last; interleave: page by page over all tiers; weighted: the same in the
 * proportions of the kernel's table (/sys/kernel/mm/mempolicy/weighted_interleave); preferred-many: on the nearest of the tiers
 * that has room, also when others are nearer; first-touch: on the node of the CPU that touches a page first, where it has room. */
enum nf_live_rule { NF_LIVE_NEAR, NF_LIVE_FAR, NF_LIVE_INTERLEAVE, NF_LIVE_WEIGHTED, NF_LIVE_PREFERRED_MANY, NF_LIVE_FIRST_TOUCH,
                    NF_LIVE_RULES };
/* "near", "far", ...; NULL ends the list. */
extern const char *const nf_live_rule_names[NF_LIVE_RULES + 1];

struct nf_live_binding {
    enum nf_live_rule rule;
    enum nf_binding_rule kernel_rule;
    int nodes[NF_TIER_MAX]; /* pages may be on these */
    unsigned n_nodes;
    uint32_t weights[NF_TIER_MAX]; /* pages in a row on each of the nodes, dealt by live/spread.h; 0: the kernel's rule places them */
    enum nf_evidence evidence; /* the weakest of the tiers bound to */
    char text[96];          /* "far: node 2" */
};

/* rule: a name of the list, or "weighted:weights=5:3", one whole number of 1 to 255 per tier. specs: tiers as of replay, near first; none: the local node, then the nodes without CPUs, then the others.
 * 0, -EINVAL (no such rule, or weights), -ENODEV (this machine cannot: no second node, a tier that is no node, an old kernel), with the
 * cause set. */
int nf_live_binding_init(struct nf_live_binding *b, const char *rule, const char *const *specs, size_t n_specs);
/* For a child between fork and exec. 0 or -errno. */
int nf_live_binding_enter(const struct nf_live_binding *b);
/* The tiers that a plan places on: the specs' nodes, near first; none: as for a binding. On a machine of one node, without specs,
 * far is that node's memory too: placement only, and the evidence says assumed. Latency and bandwidth as the study's latest
 * testbed measured its tiers, by order. 0, -EINVAL, -ENODEV, -errno, with the cause set. */
struct nf_live_tiers;
int nf_live_tiers_find(struct nf_study *study, const char *const *specs, size_t n_specs, struct nf_live_tiers *out);
/* Of the memory a job gets unasked: that of the local node, or measured-device where nodes are not known. */
enum nf_evidence nf_live_evidence(void);
