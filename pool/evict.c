#include "pool/evict.h"

#include <stdint.h>

#include "core/model/stream.h"

#if defined(__x86_64__)
#include <immintrin.h>

static void evict_line(char *line)
{
    _mm_clflush(line);
}

static void evict_done(void)
{
    _mm_mfence();
}
#elif defined(__aarch64__)
/* Cleaned and invalidated to the point of coherency, where all CPUs see the same. */
static void evict_line(char *line)
{
    __asm__ volatile("dc civac, %0" : : "r"(line) : "memory");
}

static void evict_done(void)
{
    __asm__ volatile("dsb ish" : : : "memory");
}
#else
#include <stdlib.h>
#include <string.h>

static void evict_line(char *line)
{
}

/* More than last-level caches hold: what was there before is gone, whatever replaced it. */
static void evict_done(void)
{
    enum { BYTES = 512 << 20 };
    char *other = malloc(BYTES);

    if (other)
        memset(other, 1, BYTES);
    __asm__ volatile("" : : "r"(other) : "memory");
    free(other);
}
#endif

void nf_evict(void *memory, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += NF_LINE_BYTES)
        evict_line((char *)memory + i);
    if (bytes)
        evict_done();
}
