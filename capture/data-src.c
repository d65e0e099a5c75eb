#include "capture/data-src.h"

#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>

#include "core/model/memory-level.h"

struct word {
    unsigned bit;
    const char *text;
};

static void add(char *out, size_t size, const char *a, const char *b)
{
    size_t n = strlen(out);

    snprintf(out + n, size - n, "%s%s%s", n ? ", " : "", a, b);
}

static void add_words(char *out, size_t size, unsigned bits, const struct word *words)
{
    for (; words->text; words++)
        if (bits & words->bit)
            add(out, size, words->text, "");
}

static void add_miss(char *out, size_t size, unsigned level)
{
    static const struct word missed[] = {{PERF_MEM_LVL_L1, "L1"}, {PERF_MEM_LVL_LFB, "fill buffer"},
                                         {PERF_MEM_LVL_L2, "L2"}, {PERF_MEM_LVL_L3, "L3"}, {0}};

    for (const struct word *w = missed; w->text; w++)
        if (level & PERF_MEM_LVL_MISS && level & w->bit)
            add(out, size, w->text, " missed");
}

static void add_tlb(char *out, size_t size, unsigned tlb)
{
    static const struct word where[] = {{PERF_MEM_TLB_L1, "L1 "}, {PERF_MEM_TLB_L2, "L2 "}, {PERF_MEM_TLB_WK, "walker "},
                                        {PERF_MEM_TLB_OS, "OS "}, {0}};
    char text[64] = "";

    if (!(tlb & (PERF_MEM_TLB_HIT | PERF_MEM_TLB_MISS)))
        return;
    for (const struct word *w = where; w->text; w++)
        if (tlb & w->bit)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", *text ? "or " : "", w->text);
    snprintf(text + strlen(text), sizeof text - strlen(text), "dtlb ");
    add(out, size, text, tlb & PERF_MEM_TLB_HIT ? "hit" : "miss");
}

const char *nf_data_src_text(uint64_t data_src, char *out, size_t size)
{
    static const struct word ops[] = {{PERF_MEM_OP_LOAD, "load"}, {PERF_MEM_OP_STORE, "store"},
                                      {PERF_MEM_OP_PFETCH, "prefetch"}, {PERF_MEM_OP_EXEC, "fetch"}, {0}};
    static const struct word snoops[] = {{PERF_MEM_SNOOP_NONE, "no snoop"}, {PERF_MEM_SNOOP_HIT, "snoop hit"},
                                         {PERF_MEM_SNOOP_MISS, "snoop miss"}, {PERF_MEM_SNOOP_HITM, "hitm"}, {0}};
    static const struct word extended[] = {{PERF_MEM_SNOOPX_FWD, "forwarded"}, {PERF_MEM_SNOOPX_PEER, "from a peer"}, {0}};
    static const struct word locks[] = {{PERF_MEM_LOCK_LOCKED, "locked"}, {0}};
    static const struct word blocks[] = {{PERF_MEM_BLK_DATA, "blocked by data"}, {PERF_MEM_BLK_ADDR, "blocked by address"},
                                         {0}};
    static const char *const hops[8] = {[PERF_MEM_HOPS_0] = "same node", [PERF_MEM_HOPS_1] = "same socket",
                                        [PERF_MEM_HOPS_2] = "same board", [PERF_MEM_HOPS_3] = "another board"};
    const union perf_mem_data_src d = {.val = data_src};
    enum nf_memory_level level = nf_memory_level_of(data_src);

    *out = '\0';
    add_words(out, size, d.mem_op, ops);
    if (level != NF_LEVEL_UNKNOWN)
        add(out, size, nf_memory_level_name(level), "");
    else
        add_miss(out, size, d.mem_lvl);
    if (hops[d.mem_hops])
        add(out, size, hops[d.mem_hops], "");
    add_words(out, size, d.mem_snoop, snoops);
    add_words(out, size, d.mem_snoopx, extended);
    add_tlb(out, size, d.mem_dtlb);
    add_words(out, size, d.mem_lock, locks);
    add_words(out, size, d.mem_blk, blocks);
    return out;
}
