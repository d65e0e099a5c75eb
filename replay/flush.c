#include "replay/flush.h"

#include <cpuid.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/base/log.h"
#include "core/model/stats.h"
#include "core/model/stream.h"

enum { PIECES = 8, PIECE_LINES = 256 /* half of a first-level cache: what is stored to is still in it when it is written back */ };

/* Encoded by hand: that a compiler may use them everywhere must not be asked for. */
static void clflush(char *p)
{
    __asm__ volatile("clflush %0" : "+m"(*(volatile char *)p));
}

static void clflushopt(char *p)
{
    __asm__ volatile(".byte 0x66; clflush %0" : "+m"(*(volatile char *)p));
}

static void clwb(char *p)
{
    __asm__ volatile(".byte 0x66; xsaveopt %0" : "+m"(*(volatile char *)p));
}

static const struct instruction {
    const char *name;
    void (*flush)(char *line);
} instructions[] = {{"clwb", clwb}, {"clflushopt", clflushopt}, {"clflush", clflush}};

/* The least that does it: clwb keeps the line, clflushopt is unordered, clflush is what every x86-64 has. */
static const struct instruction *best(void)
{
    unsigned a, b = 0, c, d;

    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        b = 0;
    return &instructions[b & 1u << 24 ? 0 : b & 1u << 23 ? 1 : 2];
}

const char *nf_flush_name(void)
{
    return best()->name;
}

static double run_lines(char *memory, uint64_t bytes, unsigned run, bool each)
{
    void (*flush)(char *) = best()->flush;
    uint64_t lines = bytes / NF_LINE_BYTES, at = (uint64_t)run * PIECES * PIECE_LINES, start, end;
    double ns[PIECES];

    for (unsigned i = 0; i < PIECES; i++, at += PIECE_LINES) {
        char *first = memory + at % (lines - PIECE_LINES + 1) * NF_LINE_BYTES;

        /* Fetched before the clock starts: a fetch is another figure. */
        for (size_t j = 0; j < PIECE_LINES; j++)
            *(volatile char *)(first + j * NF_LINE_BYTES) = 1;
        start = nf_now_ns();
        for (size_t j = 0; j < PIECE_LINES; j++) {
            *(volatile char *)(first + j * NF_LINE_BYTES) = 2;
            flush(first + j * NF_LINE_BYTES);
            if (each)
                __asm__ volatile("sfence" : : : "memory");
        }
        __asm__ volatile("sfence" : : : "memory");
        end = nf_now_ns();
        ns[i] = (double)(end - start) / PIECE_LINES;
    }
    return nf_median(ns, PIECES);
}

double nf_flush_run(char *memory, uint64_t bytes, unsigned run)
{
    return run_lines(memory, bytes, run, false);
}

double nf_flush_fence_run(char *memory, uint64_t bytes, unsigned run)
{
    return run_lines(memory, bytes, run, true);
}
