#pragma once
/* From what two breakpoints on one word report to accesses. x86 has no breakpoint for reads alone: one fires for reads and
 * writes, the other for writes, so a trap that both report was a write, or an instruction that reads and writes. Pure. */
#include <stddef.h>
#include <stdint.h>

struct nf_watch_hit {
    uint64_t time_ns, ip;
    uint32_t tid, cpu;
    uint32_t with;      /* filled by nf_watch_pair: index of the other half, UINT32_MAX none */
    uint8_t slot;       /* which word */
    uint8_t write_only; /* 1: of the breakpoint for writes */
    uint8_t kernel;
    uint8_t rw; /* filled as well: NF_RW_READ or NF_RW_WRITE; NF_WATCH_HALF: the other half of a hit that is here too */
    /* Of nf_watch_pair. */
    uint8_t together, last;
    uint32_t before;
    double cost;
};

enum { NF_WATCH_HALF = 255 };

/* Both breakpoints report from one trap handler, in either order: one follows the other in their thread, from the same
 * instruction, mostly within a microsecond, now and then later when the machine loses its core in between. Of all ways to
 * read a thread's reports of a word as traps, the one is taken that leaves the fewest writes without their other half, and
 * of those the one with the shortest gaps.
 *
 * Hits in order of time. Fills rw of each; returns how many writes came without their first half (each stands as a write of
 * its own). */
size_t nf_watch_pair(struct nf_watch_hit *hits, size_t n);
