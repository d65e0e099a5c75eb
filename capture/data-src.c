#include "capture/data-src.h"

#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Numbers of levels that kernels since 6.11 name, and older headers do not. */
enum { LVLNUM_L2_MHB = 5, LVLNUM_MSC = 6, LVLNUM_UNCACHED = 8, LVLNUM_CXL = 9 };

struct word {
    unsigned bit;
    const char *text;
};

static const char *const level_names[NF_LEVEL_COUNT] = {
    [NF_LEVEL_UNKNOWN] = "unknown", [NF_LEVEL_L1] = "L1", [NF_LEVEL_FILL_BUFFER] = "fill buffer", [NF_LEVEL_L2] = "L2",
    [NF_LEVEL_L3] = "L3", [NF_LEVEL_L4] = "L4", [NF_LEVEL_CACHE] = "cache", [NF_LEVEL_REMOTE_CACHE] = "remote cache",
    [NF_LEVEL_RAM] = "RAM", [NF_LEVEL_REMOTE_RAM] = "remote RAM", [NF_LEVEL_PMEM] = "PMEM",
    [NF_LEVEL_REMOTE_PMEM] = "remote PMEM", [NF_LEVEL_CXL] = "CXL", [NF_LEVEL_REMOTE_CXL] = "remote CXL",
    [NF_LEVEL_IO] = "I/O", [NF_LEVEL_UNCACHED] = "uncached",
};

const char *nf_memory_level_name(unsigned level)
{
    return level < NF_LEVEL_COUNT ? level_names[level] : "invalid";
}

static enum nf_memory_level by_number(unsigned number, bool remote)
{
    switch (number) {
    case PERF_MEM_LVLNUM_L1: return remote ? NF_LEVEL_REMOTE_CACHE : NF_LEVEL_L1;
    case PERF_MEM_LVLNUM_L2: return remote ? NF_LEVEL_REMOTE_CACHE : NF_LEVEL_L2;
    case PERF_MEM_LVLNUM_L3: return remote ? NF_LEVEL_REMOTE_CACHE : NF_LEVEL_L3;
    case PERF_MEM_LVLNUM_L4: return remote ? NF_LEVEL_REMOTE_CACHE : NF_LEVEL_L4;
    case LVLNUM_L2_MHB: return NF_LEVEL_FILL_BUFFER;
    case LVLNUM_MSC: return NF_LEVEL_CACHE;
    case LVLNUM_UNCACHED: return NF_LEVEL_UNCACHED;
    case LVLNUM_CXL: return remote ? NF_LEVEL_REMOTE_CXL : NF_LEVEL_CXL;
    case PERF_MEM_LVLNUM_IO: return NF_LEVEL_IO;
    case PERF_MEM_LVLNUM_ANY_CACHE: return remote ? NF_LEVEL_REMOTE_CACHE : NF_LEVEL_CACHE;
    case PERF_MEM_LVLNUM_LFB: return NF_LEVEL_FILL_BUFFER;
    case PERF_MEM_LVLNUM_RAM: return remote ? NF_LEVEL_REMOTE_RAM : NF_LEVEL_RAM;
    case PERF_MEM_LVLNUM_PMEM: return remote ? NF_LEVEL_REMOTE_PMEM : NF_LEVEL_PMEM;
    default: return NF_LEVEL_UNKNOWN;
    }
}

/* Older kernels: bits. A level that was missed is not where the data came from. */
static enum nf_memory_level by_bits(unsigned level)
{
    if (level & (PERF_MEM_LVL_REM_RAM1 | PERF_MEM_LVL_REM_RAM2))
        return NF_LEVEL_REMOTE_RAM;
    if (level & (PERF_MEM_LVL_REM_CCE1 | PERF_MEM_LVL_REM_CCE2))
        return NF_LEVEL_REMOTE_CACHE;
    if (level & PERF_MEM_LVL_LOC_RAM)
        return NF_LEVEL_RAM;
    if (level & PERF_MEM_LVL_IO)
        return NF_LEVEL_IO;
    if (level & PERF_MEM_LVL_UNC)
        return NF_LEVEL_UNCACHED;
    if (level & PERF_MEM_LVL_MISS || !(level & PERF_MEM_LVL_HIT))
        return NF_LEVEL_UNKNOWN;
    return level & PERF_MEM_LVL_L1    ? NF_LEVEL_L1
           : level & PERF_MEM_LVL_LFB ? NF_LEVEL_FILL_BUFFER
           : level & PERF_MEM_LVL_L2  ? NF_LEVEL_L2
           : level & PERF_MEM_LVL_L3  ? NF_LEVEL_L3
                                      : NF_LEVEL_UNKNOWN;
}

enum nf_memory_level nf_data_src_level(uint64_t data_src)
{
    const union perf_mem_data_src d = {.val = data_src};

    return d.mem_lvl_num && d.mem_lvl_num != PERF_MEM_LVLNUM_NA ? by_number(d.mem_lvl_num, d.mem_remote)
                                                                : by_bits(d.mem_lvl);
}

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
    enum nf_memory_level level = nf_data_src_level(data_src);

    *out = '\0';
    add_words(out, size, d.mem_op, ops);
    if (level != NF_LEVEL_UNKNOWN)
        add(out, size, level_names[level], "");
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
