#include "pool/mover.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/stream.h"
#include "pool/copy.h"
#include "pool/kernel-tiering.h"
#include "pool/nodes.h"

/* One charge per chunk. Smaller ones lose time to dispatch (64 KiB: 3 %, 256 KiB: 1 %). */
enum { CHUNK_BYTES = 256 * 1024 };
/* Pages asked for in one stretch: as many as one call takes (pages.c). */
enum { MIGRATE_BYTES = 16 << 20 };
/* A preempted thread catches up at most this much: gaps of up to 2 ms were seen on a quiet guest. */
enum { CATCH_UP_NS = 1000000 };
/* Outstanding fetches of a streaming copy on one core: Little's law on what was measured, within what cores have:
 * the queue between L2 and the interconnect holds 48 lines on current server cores, and a stream keeps at least the
 * dozen buffers of its L1 busy. Unknown: what 15 GB/s at 100 ns come to. */
static const double PARALLELISM_MIN = 12, PARALLELISM_MAX = 48, PARALLELISM_UNKNOWN = 24;

int nf_mover_probe(int kind, const struct nf_tier *tiers, uint32_t n_tiers, char *why, size_t size)
{
    static const char *const names[] = {"none", "copy", "move_pages", "kernel"};

    snprintf(why, size, "usable");
    if (kind != NF_MOVER_MOVE_PAGES && kind != NF_MOVER_KERNEL)
        return 0;
    for (uint32_t i = 0; i < n_tiers; i++) {
        const struct nf_tier_facts *facts = &tiers[i].facts;

        if (facts->target_latency_ns > 0 || facts->target_bps > 0) {
            snprintf(why, size, "mover %s moves pages between NUMA nodes, and tier '%s' is emulated: its pages would not leave "
                     "node %d; give real nodes (--tier numa:node=0 --tier numa:node=1) or a policy that copies", names[kind],
                     tiers[i].name, facts->node);
            return -ENODEV;
        }
        if (facts->node < 0 || facts->huge) {
            snprintf(why, size, facts->node < 0 ? "mover %s moves pages between NUMA nodes, and tier '%s' is on none"
                     : "mover %s moves pages of 4 KiB, and those of tier '%s' are huge: neighbours would come along",
                     names[kind], tiers[i].name);
            return -ENODEV;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (tiers[j].facts.node != facts->node)
                continue;
            snprintf(why, size, "mover %s moves pages between NUMA nodes, and tiers '%s' and '%s' are both on node %d",
                     names[kind], tiers[j].name, tiers[i].name, facts->node);
            return -ENODEV;
        }
    }
    return kind == NF_MOVER_KERNEL ? nf_kernel_tiering_probe("", why, size) : 0;
}

int nf_mover_probe_machine(int kind, const char *root, char *why, size_t size)
{
    struct nf_node nodes[NF_NODES_MAX];
    char sys[512];
    int n;

    if (kind == NF_MOVER_KERNEL)
        return nf_kernel_tiering_probe(root, why, size);
    snprintf(why, size, "usable");
    if (kind != NF_MOVER_MOVE_PAGES)
        return 0;
    snprintf(sys, sizeof sys, "%s/sys", root);
    n = nf_nodes_list(sys, nodes, NF_NODES_MAX);
    nf_error_clear();
    if (n >= 2)
        return 0;
    snprintf(why, size, "this machine has one memory node: there is nowhere to move pages to");
    return -ENODEV;
}

void nf_mover_init(struct nf_mover *m, int kind, const struct nf_tier *tiers, uint32_t n_tiers, double near_latency_ns,
                   double near_read_bps, const struct nf_pages_system *pages)
{
    double k = near_latency_ns * near_read_bps / 1e9 / NF_LINE_BYTES;

    if (!(k > 0))
        k = PARALLELISM_UNKNOWN;
    else if (k < PARALLELISM_MIN)
        k = PARALLELISM_MIN;
    else if (k > PARALLELISM_MAX)
        k = PARALLELISM_MAX;
    *m = (struct nf_mover){.tiers = tiers, .n_tiers = n_tiers, .kind = kind, .chunk_bytes = CHUNK_BYTES, .parallelism = k,
                           .pages = pages ? pages : &nf_pages_kernel};
}

static void add(_Atomic uint64_t *count, uint64_t n)
{
    atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

static uint64_t charge(struct nf_mover *m, uint32_t tier, const struct nf_tier_charge *c, uint64_t start, uint64_t deadline)
{
    const struct nf_tier *t = &m->tiers[tier];
    uint64_t end = t->ops->charge(t->state, c, start);

    if (t->facts.target_latency_ns > 0 || t->facts.target_bps > 0)
        add(&m->charged_bytes[tier], c->read_bytes + c->write_bytes);
    return end > deadline ? end : deadline;
}

/* Copies the chunk and returns when it may end at the earliest. */
static uint64_t copy_chunk(struct nf_mover *m, const struct nf_pool_storage *from, uint64_t offset,
                           uint64_t bytes, char *to, uint32_t to_tier, uint64_t start)
{
    uint64_t read[NF_TIER_MAX] = {0}, fetched = nf_copy_fetches_destination ? bytes : 0, deadline = start;

    for (uint64_t done = 0; done < bytes;) {
        uint32_t tier;
        uint64_t run;
        const char *source = nf_pool_locate(from, offset + done, &tier, &run);

        if (run > bytes - done)
            run = bytes - done;
        nf_copy_pages(to + done, source, run);
        read[tier] += run;
        done += run;
    }
    for (uint32_t t = 0; t < m->n_tiers; t++)
        if (read[t])
            deadline = charge(m, t,
                              &(struct nf_tier_charge){.read_bytes = read[t],
                                                       .lines = (uint32_t)(read[t] / NF_LINE_BYTES),
                                                       .parallelism = m->parallelism},
                              start, deadline);
    /* Streamed stores are posted: they cost bandwidth but nobody waits for their latency. */
    return charge(m, to_tier,
                  &(struct nf_tier_charge){.read_bytes = fetched, .write_bytes = bytes,
                                           .lines = (uint32_t)(fetched / NF_LINE_BYTES),
                                           .parallelism = m->parallelism},
                  start, deadline);
}

static bool cancelled_now(const atomic_bool *cancelled)
{
    return cancelled && atomic_load_explicit(cancelled, memory_order_relaxed);
}

/* Whether it stood still: then what was scheduled before is void. */
static bool stand_still(struct nf_mover *m)
{
    bool stood = false;

    while (atomic_load_explicit(&m->held, memory_order_acquire)) {
        stood = true;
        sched_yield();
    }
    return stood;
}

static uint64_t wait_until(const struct nf_mover *m, uint64_t deadline)
{
    uint64_t now;

    while ((now = nf_now_ns()) < deadline) {
        if (m->yields)
            sched_yield();
    }
    return now;
}

static void copy(struct nf_mover *m, const struct nf_pool_storage *from, uint64_t offset, uint64_t end, char *to,
                 uint32_t to_tier, const atomic_bool *cancelled)
{
    uint64_t now = nf_now_ns(), start = now;

    while (offset < end && !cancelled_now(cancelled)) {
        uint64_t bytes = end - offset < m->chunk_bytes ? end - offset : m->chunk_bytes, deadline;

        if (stand_still(m))
            start = nf_now_ns();
        deadline = copy_chunk(m, from, offset, bytes, to + offset, to_tier, start);
        now = wait_until(m, deadline);
        start = deadline == start ? now : deadline; /* nothing injected: no schedule to keep */
        if (now - start > CATCH_UP_NS) {
            add(&m->forgiven_ns, now - start - CATCH_UP_NS);
            start = now - CATCH_UP_NS;
        }
        offset += bytes;
    }
}

int nf_mover_migrate(struct nf_mover *m, char *memory, uint64_t bytes, uint32_t to_tier)
{
    const struct nf_tier *to = &m->tiers[to_tier];
    uint64_t moved = 0;
    int rc = m->weightless ? 0 : nf_pages_move(m->pages, memory, bytes, to->facts.node, &moved);

    add(&m->moved_pages, moved);
    /* The ledger had room: others have taken what the node held free. */
    if (rc == -ENOMEM)
        return nf_fail(rc, "tier '%s' is full: node %d has no free memory for another page that moves there; free what others have on it "
                       "(numastat -p shows it) or replay a smaller footprint (--scale)", to->name, to->facts.node);
    return rc ? nf_fail_in(rc, "tier '%s'", to->name) : 0;
}

int nf_mover_move(struct nf_mover *m, const struct nf_pool_storage *from, uint64_t offset, uint64_t bytes, char *to,
                  uint32_t to_tier, const atomic_bool *cancelled)
{
    uint64_t end = offset + bytes;
    int rc = 0;

    if (m->weightless)
        return 0;
    if (!nf_mover_in_place(m)) {
        copy(m, from, offset, end, to, to_tier, cancelled);
        return 0;
    }
    for (; offset < end && !rc && !cancelled_now(cancelled); offset += MIGRATE_BYTES) {
        stand_still(m);
        rc = nf_mover_migrate(m, to + offset, end - offset < MIGRATE_BYTES ? end - offset : MIGRATE_BYTES, to_tier);
    }
    return rc;
}
