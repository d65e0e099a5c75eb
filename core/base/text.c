#include "core/base/text.h"

#include <link.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

static int fetch_object(struct dl_phdr_info *info, size_t size, void *ctx)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t begin = (info->dlpi_addr + p->p_vaddr) & -page;
        uintptr_t end = (info->dlpi_addr + p->p_vaddr + p->p_filesz + page - 1) & -page;

        if (p->p_type == PT_LOAD && p->p_flags & PF_X)
            madvise((void *)begin, end - begin, MADV_POPULATE_READ); /* advice: without it, code faults when it first runs */
    }
    return 0;
}

void nf_text_fetch(void)
{
    dl_iterate_phdr(fetch_object, NULL);
}
