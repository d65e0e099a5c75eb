#pragma once
/* Tier providers: where a tier's memory comes from, and what an access to it costs beyond what it costs by itself. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/option.h"
#include "core/model/sizes.h"
#include "core/model/words.h"

enum { NF_TIER_ABI = 2 };

/* One stretch of accesses inside one chunk of one visit, about to be issued or just issued. */
struct nf_tier_charge {
    uint64_t read_bytes, write_bytes; /* that go past the caches; a plain store counts in both: fetch and write-back */
    uint32_t lines;                   /* demand lines for the latency term */
    double parallelism;               /* k > 0 */
};

/* What a measurement of local memory found; emulated targets are relative to it. Zero where unknown. */
struct nf_tier_local {
    double latency_ns, read_bps, write_bps;
};

struct nf_tier_facts {
    double target_latency_ns, target_bps; /* 0: nothing is injected */
    enum nf_evidence evidence;
    int node; /* NUMA node its pages are on, -1 when there is no such thing */
    int target_node; /* where node is -1: the node that its memory is counted as, which onlined it would be (a devdax's); -1 unknown */
    const char *page; /* what map gives is mapped in: "4k", "2m", "1g"; "4k or more" where the kernel chooses; NULL: not known. Static */
    bool unproved; /* nothing here shows where its pages are: no `verify`, or nothing it could ask */
    bool huge; /* what map gives is anonymous and on transparent huge pages, as far as it holds whole ones */
};

struct nf_tier_ops {
    uint32_t abi; /* NF_TIER_ABI */
    const char *name, *about;
    const struct nf_option *options; /* NULL: none */
    size_t options_size;             /* of the struct the table fills, 0: none */
    const void *option_defaults;     /* options_size bytes; NULL: zeroes */

    /* Optional. The NUMA node that memory of a tier with these options (options_size bytes) would be bound to, asked before there is one;
     * here: the node of those who use it, for where the options leave it open. -1: none. Default: -1. */
    int (*node)(const void *options, int here);
    /* Required. 0, or -errno with why in words: what is missing here and what would mend it. */
    int (*probe)(char *why, size_t size);
    /* Required. options: options_size bytes. local may be NULL for providers that inject nothing.
     * 0 or -errno (cause set; for targets out of reach -ERANGE with the reachable range). */
    int (*open)(const void *options, const struct nf_tier_local *local, void **tier);
    /* Required. NULL is never passed. All memory is unmapped by then. */
    void (*close)(void *tier);
    /* Required. */
    void (*facts)(const void *tier, struct nf_tier_facts *out);
    /* Required. Faulted, bound memory of `bytes` (a multiple of NF_PAGE_BYTES). 0 or -errno (cause set). */
    int (*map)(void *tier, size_t bytes, void **memory);
    /* Required. */
    void (*unmap)(void *tier, void *memory, size_t bytes);
    /* Optional. Every page of the range is where the tier says. 0, or -EXDEV (cause set). Default: 0. */
    int (*verify)(void *tier, const void *memory, size_t bytes);
    /* Optional. Returns the CLOCK_MONOTONIC ns before which the charged stretch that started at start_ns may not end;
     * start_ns when it costs nothing extra. Called by several threads at once. Default: start_ns.
     * A stretch that follows another without a pause starts at the other's deadline, not at the time its wait was
     * noticed to be over: the overshoot of each wait would add up otherwise. */
    uint64_t (*charge)(void *tier, const struct nf_tier_charge *charge, uint64_t start_ns);
};

extern const struct nf_tier_ops *const nf_tier_providers[]; /* NULL-terminated */

/* Fills optional members. 0 or -EINVAL (cause set) when a required one or the ABI is wrong. */
int nf_tier_check(const struct nf_tier_ops *ops, struct nf_tier_ops *filled);

/* An opened tier. `spec` is "provider" or "provider:key=value,...", kept for the study. */
struct nf_tier {
    const struct nf_tier_ops *ops; /* with defaults filled: every member callable */
    void *state;
    char name[32], spec[160];
    struct nf_tier_facts facts;
};

/* "name=provider:key=value" without the name in front, where it has one. */
const char *nf_tier_unnamed(const char *spec);
/* The provider that an unnamed spec has, as it stands in the table; NULL: there is none (cause set, -EINVAL, with what there is). */
const struct nf_tier_ops *nf_tier_provider(const char *spec);
/* The node that memory of an unnamed spec would be bound to (nf_tier_ops.node); -1: none, or the spec is wrong. */
int nf_tier_wanted_node(const char *spec, int here);
/* Whether its memory is a node's and nothing is added to what that costs: who loads from it, a job included, waits as from the tier. */
bool nf_tier_is_node(const struct nf_tier_ops *provider);
/* 0, -EINVAL (unknown provider or option; cause lists what there is), -ENODEV (probe refused, cause set), -errno. */
int nf_tier_open(const char *name, const char *spec, const struct nf_tier_local *local, struct nf_tier *out);
/* All that `map` gave in one call is still on huge pages where the tier says so. 0, -EXDEV (cause set), -EIO (cause set). */
int nf_tier_verify_page_size(const struct nf_tier *t, const void *memory, size_t bytes);
/* That, and every page is where the tier says. 0, -EXDEV, -errno (cause set). */
int nf_tier_verify(const struct nf_tier *t, const void *memory, size_t bytes);
/* A zeroed tier is fine. */
void nf_tier_close(struct nf_tier *t);
