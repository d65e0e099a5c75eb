#include "live/spread.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"
#include "live/spread-file.h"

/* Pages that may lie otherwise than dealt: the loader's, and what the job took of the heap since it was dealt out. */
static const double ASTRAY_MAX = 0.1;

int nf_live_spread_init(struct nf_live_spread *s, const struct nf_live_binding *b, uint64_t peak_bytes, const char *library_folder)
{
    /* Addresses for what lives at once, several times over: they cost nothing until they are used. */
    struct nf_spread_file f = {.version = NF_SPREAD_VERSION, .n_tiers = b->n_nodes, .arena_bytes = 4 * peak_bytes + ((uint64_t)256 << 20)};

    memcpy(f.magic, NF_SPREAD_MAGIC, sizeof f.magic);
    for (unsigned i = 0; i < b->n_nodes; i++) {
        f.node[i] = b->nodes[i];
        f.weight[i] = b->weights[i];
    }
    return nf_live_preloaded_init(&s->preloaded, library_folder, "libnearfar-spreader.so", NF_SPREAD_ENV, &f, sizeof f);
}

void nf_live_spread_deinit(struct nf_live_spread *s)
{
    nf_live_preloaded_deinit(&s->preloaded);
}

int nf_live_spread_enter(const struct nf_live_spread *s)
{
    return nf_live_preloaded_enter(&s->preloaded);
}

/* Pages of all that are not where the weights have them. */
static double astray(const struct nf_live_binding *b, const uint64_t *on, uint64_t elsewhere)
{
    uint64_t all = elsewhere;
    double sum = 0, off = (double)elsewhere;

    for (unsigned i = 0; i < b->n_nodes; i++) {
        all += on[i];
        sum += b->weights[i];
    }
    for (unsigned i = 0; i < b->n_nodes; i++)
        off += fmax(0, (double)on[i] - (double)all * b->weights[i] / sum);
    return all ? off / (double)all : 0;
}

int nf_live_spread_judge(const struct nf_live_spread *s, const struct nf_live_binding *b, char *text, size_t size)
{
    struct nf_spread_file *f = s->preloaded.file;
    uint64_t on[NF_SPREAD_TIERS] = {0}, wrong = atomic_load(&f->wrong);
    size_t at = (size_t)snprintf(text, size, "dealt by weight");
    double off;

    if (!atomic_load(&f->jobs))
        return nf_fail(-EPROTO, "the process that trained was not spread: it forked from one that was, or drops LD_PRELOAD");
    if (!atomic_load(&f->looked))
        return nf_fail(-EPROTO, "the job ended before its second step did, after which it is seen where its memory is");
    if (atomic_load(&f->refused))
        return nf_fail(-ENOSPC, "the job needs more memory than there are addresses for: it is not the job that was captured");
    for (unsigned i = 0; i < b->n_nodes; i++) {
        uint64_t blocks = atomic_load(&f->blocks[i]), others = atomic_load(&f->others[i]);

        on[i] = blocks + others;
        if (at < size)
            at += (size_t)snprintf(text + at, size - at, "%s %llu + %llu pages on node %d", i ? "," : ":", (unsigned long long)blocks,
                                   (unsigned long long)others, b->nodes[i]);
    }
    if (wrong)
        return nf_fail(-EXDEV, "%llu pages of the job's blocks are not on the node of their turn: a node is full (%s)", (unsigned long long)wrong,
                       text);
    off = astray(b, on, atomic_load(&f->elsewhere));
    if (off > ASTRAY_MAX)
        return nf_fail(-EXDEV, "%.0f %% of the job's memory is not where the weights have it: it takes too much in ways that cannot be spread (%s)",
                       100 * off, text);
    return 0;
}
