/* Tier provider `emulated`: local memory that is made slower by injected delay. A stretch of n lines read with k of
 * them outstanding may not end before max(n·L/k after its start, the end of the tier's queue at B bytes per second).
 * The queue is one token bucket per tier, shared by every thread and mover; it is never filled in advance: an idle
 * link does not save up bandwidth for later. */
#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/base/units.h"
#include "pool/tier-binding.h"
#include "pool/tier-memory.h"
#include "pool/tiers.h"

/* The default far tier (design, section 6): about what an ASIC CXL expander is to local DRAM. */
#define DEFAULT_LATENCY_X 2.0
#define DEFAULT_BANDWIDTH_X 0.5
/* The queue's end is kept in 1/64 ns: 64 bytes at 10 GB/s take 6.4 ns, which whole nanoseconds would get 6 % wrong;
 * 58 bits of nanoseconds last nine years after boot. */
enum { QUEUE_SHIFT = 6 };

struct options {
    double latency_ns, latency_x, bandwidth_x;
    uint64_t read_bps, node;
    const char *page;
};

static const struct nf_option table[] = {
    {"latency-ns", 0, NF_OPTION_F64, offsetof(struct options, latency_ns), "NS", "latency of a line"},
    {"latency-x", 0, NF_OPTION_F64, offsetof(struct options, latency_x), "X", "the same, times local (default: 2)"},
    {"read-bps", 0, NF_OPTION_BYTES, offsetof(struct options, read_bps), "BYTES", "bytes per second, both ways together"},
    {"bandwidth-x", 0, NF_OPTION_F64, offsetof(struct options, bandwidth_x), "X",
     "the same, times local (default: 0.5)"},
    {"node", 0, NF_OPTION_U64, offsetof(struct options, node), "N", "NUMA node (default: the one this runs on)"},
    {"page", 0, NF_OPTION_STRING, offsetof(struct options, page), "4k|thp", "page size (default: 4k)"},
    {NULL},
};
static const struct options defaults = {
    .latency_x = DEFAULT_LATENCY_X, .bandwidth_x = DEFAULT_BANDWIDTH_X, .node = UINT64_MAX, .page = "4k"};

struct emulated {
    double latency_ns, bps;
    int node; /* -1: unbound, because nothing can be bound here */
    enum nf_tier_pages pages;
    _Alignas(64) _Atomic uint64_t queue_end; /* 1/64 ns; a line of its own: every charge of every thread writes it */
};

static int probe(char *why, size_t size)
{
    snprintf(why, size, "usable");
    return 0;
}

/* Injection only ever adds time: what is faster than this machine is out of reach. */
static int set_targets(struct emulated *e, const struct options *o, const struct nf_tier_local *local)
{
    char want[NF_UNITS_TEXT], have[NF_UNITS_TEXT];

    if (!local || !(local->latency_ns > 0) || !(local->read_bps > 0))
        return nf_fail(-EINVAL, "local memory must be measured first (nearfar tiers --measure)");
    e->latency_ns = o->latency_ns > 0 ? o->latency_ns : o->latency_x * local->latency_ns;
    e->bps = o->read_bps > 0 ? (double)o->read_bps : o->bandwidth_x * local->read_bps;
    if (!(e->latency_ns >= local->latency_ns))
        return nf_fail(-ERANGE, "a latency of %.1f ns is out of reach: this memory itself has %.1f ns, so %.1f ns and "
                       "more can be emulated", e->latency_ns, local->latency_ns, local->latency_ns);
    if (!(e->bps > 0 && e->bps <= local->read_bps))
        return nf_fail(-ERANGE, "a bandwidth of %s/s is out of reach: this memory itself has %s/s, so anything above "
                       "0 up to that can be emulated", nf_format_bytes(want, e->bps),
                       nf_format_bytes(have, local->read_bps));
    return 0;
}

static int node(const void *options, int here)
{
    const struct options *o = options;

    return o->node == UINT64_MAX ? here : (int)o->node;
}

static int open_tier(const void *options, const struct nf_tier_local *local, void **tier)
{
    const struct options *o = options;
    struct emulated *e;
    char why[128];
    int rc;

    e = aligned_alloc(_Alignof(struct emulated), sizeof *e);
    if (!e)
        return nf_fail(-ENOMEM, "no memory");
    atomic_init(&e->queue_end, 0);
    e->node = -1;
    rc = set_targets(e, o, local);
    if (!rc)
        rc = nf_tier_pages_parse(o->page, &e->pages);
    /* Where nodes can be bound the memory is; elsewhere "local" is what the kernel gives. */
    if (!rc && (o->node != UINT64_MAX || !nf_binding_probe(why, sizeof why))) {
        e->node = nf_binding_wanted_node(o->node);
        rc = nf_binding_check_node(e->node);
    }
    if (rc) {
        free(e);
        return rc;
    }
    *tier = e;
    return 0;
}

static void close_tier(void *tier)
{
    free(tier);
}

static void facts(const void *tier, struct nf_tier_facts *out)
{
    const struct emulated *e = tier;

    *out = (struct nf_tier_facts){.target_latency_ns = e->latency_ns, .target_bps = e->bps,
                                  .evidence = NF_EVIDENCE_INJECTED_DELAY, .node = e->node, .target_node = e->node,
                                  .page = nf_tier_pages_size(e->pages), .unproved = e->node < 0, .huge = e->pages == NF_TIER_PAGES_THP};
    /* What is added to an emulator's time is no better than that. */
    if (nf_tier_is_emulated_node(e->node))
        out->evidence = NF_EVIDENCE_EMULATED_MACHINE;
}

static int map(void *tier, size_t bytes, void **memory)
{
    const struct emulated *e = tier;

    return nf_tier_memory_map(bytes, e->pages, e->node, memory);
}

static void unmap(void *tier, void *memory, size_t bytes)
{
    nf_tier_memory_unmap(memory, bytes);
}

static int verify(void *tier, const void *memory, size_t bytes)
{
    const struct emulated *e = tier;

    return e->node < 0 ? 0 : nf_binding_verify(memory, bytes, e->node);
}

static uint64_t charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    struct emulated *e = tier;
    uint64_t bytes = c->read_bytes + c->write_bytes, start = start_ns << QUEUE_SHIFT, end = start, done, before;

    if (bytes) {
        uint64_t cost = (uint64_t)ceil((double)bytes * (1e9 * (1 << QUEUE_SHIFT)) / e->bps);

        before = atomic_load_explicit(&e->queue_end, memory_order_relaxed);
        do
            end = (before > start ? before : start) + cost;
        while (!atomic_compare_exchange_weak_explicit(&e->queue_end, &before, end, memory_order_relaxed,
                                                      memory_order_relaxed));
    }
    end = (end + (1 << QUEUE_SHIFT) - 1) >> QUEUE_SHIFT;
    done = start_ns + (uint64_t)ceil(c->lines * e->latency_ns / c->parallelism);
    return end > done ? end : done;
}

const struct nf_tier_ops nf_tier_emulated = {
    .abi = NF_TIER_ABI,
    .name = "emulated",
    .about = "local memory with injected latency and bandwidth: by default 2 x the latency, half the bandwidth",
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .node = node,
    .probe = probe,
    .open = open_tier,
    .close = close_tier,
    .facts = facts,
    .map = map,
    .unmap = unmap,
    .verify = verify,
    .charge = charge,
};
