#include "core/base/big.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_BYTES = 2 << 20 };

static size_t mapped(size_t size)
{
    return (size + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
}

void *nf_big_alloc(size_t size)
{
    size_t whole = mapped(size), before;
    char *p;

    if (size < HUGE_BYTES)
        return calloc(size ? size : 1, 1);
    if (whole < size || whole + HUGE_BYTES < whole)
        return NULL;
    /* One huge page more than needed, to cut an aligned piece out of it. */
    p = mmap(NULL, whole + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    before = (HUGE_BYTES - (uintptr_t)p % HUGE_BYTES) % HUGE_BYTES;
    if (before)
        munmap(p, before);
    if (before < HUGE_BYTES)
        munmap(p + before + whole, HUGE_BYTES - before);
    madvise(p + before, whole, MADV_HUGEPAGE); /* a wish: small pages work as well */
    return p + before;
}

void nf_big_free(void *p, size_t size)
{
    if (size < HUGE_BYTES)
        free(p);
    else if (p)
        munmap(p, mapped(size));
}

void *nf_big_grow(void *p, size_t size, size_t new_size)
{
    void *larger = nf_big_alloc(new_size);

    if (!larger)
        return NULL;
    if (size)
        memcpy(larger, p, size);
    nf_big_free(p, size);
    return larger;
}
