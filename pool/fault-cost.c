#include "pool/fault-cost.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "core/base/log.h"
#include "core/model/stats.h"
#include "core/model/stream.h"

enum { PAGES = NF_FAULT_COST_BYTES / NF_PAGE_BYTES };

/* Pages of a shared mapping stay in memory when they are unmapped: the next touch only maps them again. */
double nf_fault_cost_measure_ns(void)
{
    double ns[PAGES];
    volatile char *memory = mmap(NULL, (size_t)PAGES * NF_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double middle;

    if (memory == MAP_FAILED)
        return 0;
    for (int i = 0; i < PAGES; i++)
        memory[i * NF_PAGE_BYTES] = 1;
    for (int i = 0; i < PAGES; i++) {
        uint64_t start;

        /* One at a time: the kernel maps neighbours of a shared page along with it. */
        madvise((void *)memory, (size_t)PAGES * NF_PAGE_BYTES, MADV_DONTNEED);
        start = nf_now_ns();
        memory[i * NF_PAGE_BYTES] = 2;
        ns[i] = (double)(nf_now_ns() - start);
    }
    middle = nf_median(ns, PAGES);
    munmap((void *)memory, (size_t)PAGES * NF_PAGE_BYTES);
    return middle;
}

double nf_fault_cost_ns(void)
{
    static double known;

    if (!(known > 0))
        known = nf_fault_cost_measure_ns();
    return known;
}
