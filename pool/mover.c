#include "pool/mover.h"

#include "core/base/log.h"
#include "core/model/stream.h"
#include "pool/copy.h"

/* One charge per chunk. Smaller ones lose time to dispatch (64 KiB: 3 %, 256 KiB: 1 %), larger ones hold a shared
 * tier's queue longer than a visit's chunk does. */
enum { CHUNK_BYTES = 256 * 1024 };
/* A preempted thread catches up at most this much: gaps of up to 2 ms were seen on a quiet guest. */
enum { CATCH_UP_NS = 1000000 };
/* Outstanding fetches of a streaming copy on one core: Little's law on what was measured, within what cores have:
 * the queue between L2 and the interconnect holds 48 lines on current server cores, and a stream keeps at least the
 * dozen buffers of its L1 busy. Unknown: what 15 GB/s at 100 ns come to. */
static const double PARALLELISM_MIN = 12, PARALLELISM_MAX = 48, PARALLELISM_UNKNOWN = 24;

void nf_mover_init(struct nf_mover *m, const struct nf_tier *tiers, uint32_t n_tiers, double near_latency_ns,
                   double near_read_bps)
{
    double k = near_latency_ns * near_read_bps / 1e9 / NF_LINE_BYTES;

    if (!(k > 0))
        k = PARALLELISM_UNKNOWN;
    else if (k < PARALLELISM_MIN)
        k = PARALLELISM_MIN;
    else if (k > PARALLELISM_MAX)
        k = PARALLELISM_MAX;
    *m = (struct nf_mover){.tiers = tiers, .n_tiers = n_tiers, .parallelism = k};
}

static uint64_t charge(const struct nf_tier *t, const struct nf_tier_charge *c, uint64_t start, uint64_t deadline)
{
    uint64_t end = t->ops->charge(t->state, c, start);

    return end > deadline ? end : deadline;
}

/* Copies the chunk and returns when it may end at the earliest. */
static uint64_t copy_chunk(const struct nf_mover *m, const struct nf_pool_storage *from, uint64_t offset,
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
            deadline = charge(&m->tiers[t],
                              &(struct nf_tier_charge){.read_bytes = read[t],
                                                       .lines = (uint32_t)(read[t] / NF_LINE_BYTES),
                                                       .parallelism = m->parallelism},
                              start, deadline);
    /* Streamed stores are posted: they cost bandwidth but nobody waits for their latency. */
    return charge(&m->tiers[to_tier],
                  &(struct nf_tier_charge){.read_bytes = fetched, .write_bytes = bytes,
                                           .lines = (uint32_t)(fetched / NF_LINE_BYTES),
                                           .parallelism = m->parallelism},
                  start, deadline);
}

void nf_mover_copy(struct nf_mover *m, const struct nf_pool_storage *from, char *to, uint32_t to_tier)
{
    uint64_t now = nf_now_ns(), start = now;

    for (uint64_t offset = 0; offset < from->bytes;) {
        uint64_t bytes = from->bytes - offset < CHUNK_BYTES ? from->bytes - offset : CHUNK_BYTES;
        uint64_t deadline = copy_chunk(m, from, offset, bytes, to + offset, to_tier, start);

        while ((now = nf_now_ns()) < deadline)
            ;
        start = deadline == start ? now : deadline; /* nothing injected: no schedule to keep */
        if (now - start > CATCH_UP_NS) {
            m->forgiven_ns += now - start - CATCH_UP_NS;
            start = now - CATCH_UP_NS;
        }
        offset += bytes;
    }
}
