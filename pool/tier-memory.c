#include "pool/tier-memory.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/units.h"
#include "core/model/stream.h"
#include "pool/tier-binding.h"

/* Arenas start on this boundary: where a transparent huge page can begin, and the same place in both page modes, so
 * that cache sets do not differ between them. */
static const size_t HUGE_PAGE_BYTES = 2 << 20;
/* /proc/cpuinfo is about 1.5 KiB a CPU. */
enum { PROBE_FILE_MAX = 16 << 20 };
/* MADV_COLLAPSE of kernel 6.1 and newer; older ones refuse it. */
enum { ADVICE_COLLAPSE = 25 };

int nf_tier_pages_parse(const char *text, enum nf_tier_pages *out)
{
    if (!strcmp(text, "4k"))
        *out = NF_TIER_PAGES_4K;
    else if (!strcmp(text, "thp"))
        *out = NF_TIER_PAGES_THP;
    else
        return nf_fail(-EINVAL, "page=%s: there are 4k and thp", text);
    return 0;
}

uint64_t nf_tier_memory_huge(const void *memory)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    unsigned long from, to, kib;
    bool inside = false;
    uint64_t bytes = 0;
    char line[512];

    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from <= (uintptr_t)memory && (uintptr_t)memory < to;
        else if (inside && sscanf(line, "AnonHugePages: %lu", &kib) == 1)
            bytes = (uint64_t)kib << 10;
    }
    if (f)
        fclose(f);
    return bytes;
}

/* All that can be is on huge pages; before: of a neighbour that the kernel counts as one mapping with this. A kernel that had none at
 * hand when the memory was touched is asked once more, to gather them. */
static int prove_huge(char *start, size_t bytes, uint64_t before)
{
    size_t whole = bytes & ~(HUGE_PAGE_BYTES - 1);
    char want[NF_UNITS_TEXT], have[NF_UNITS_TEXT];
    uint64_t huge = nf_tier_memory_huge(start) - before;

    if (huge < whole && !madvise(start, whole, ADVICE_COLLAPSE))
        huge = nf_tier_memory_huge(start) - before;
    if (huge >= whole)
        return 0;
    return nf_fail(-ENODEV, "page=thp: of %s that could be on huge pages the kernel put %s there: they are switched off, or memory is "
                   "fragmented", nf_format_bytes(want, (double)whole), nf_format_bytes(have, (double)huge));
}

int nf_tier_memory_map(size_t bytes, enum nf_tier_pages pages, int node, void **memory)
{
    char want[NF_UNITS_TEXT], have[NF_UNITS_TEXT], *whole, *start;
    uint64_t huge = 0;
    size_t head;
    int rc;

    if (bytes > SIZE_MAX - HUGE_PAGE_BYTES)
        return nf_fail(-ENOMEM, "%zu bytes are more than can be mapped", bytes);
    /* A bound mapping that does not fit is not refused but gets somebody killed when it is faulted. */
    if (node >= 0 && bytes > nf_binding_available(node))
        return nf_fail(-ENOMEM, "%s wanted on node %d, which has %s to spare", nf_format_bytes(want, (double)bytes),
                       node, nf_format_bytes(have, (double)nf_binding_available(node)));
    whole = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED)
        return nf_fail(-errno, "cannot map %s: %s", nf_format_bytes(want, (double)bytes), strerror(errno));
    head = -(uintptr_t)whole & (HUGE_PAGE_BYTES - 1);
    start = whole + head;
    if (head)
        munmap(whole, head);
    munmap(start + bytes, HUGE_PAGE_BYTES - head);
    /* A kernel without transparent huge pages refuses both advices; then 4 KiB pages are what there is. */
    if (madvise(start, bytes, pages == NF_TIER_PAGES_THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) &&
        pages == NF_TIER_PAGES_THP) {
        rc = nf_fail(-errno, "page=thp: the kernel refuses huge pages: %s", strerror(errno));
        goto fail;
    }
    if (node >= 0) {
        rc = nf_binding_bind(start, bytes, node);
        if (rc)
            goto fail;
    }
    if (pages == NF_TIER_PAGES_THP)
        huge = nf_tier_memory_huge(start);
    for (size_t i = 0; i < bytes; i += NF_PAGE_BYTES)
        *(volatile char *)(start + i) = 0;
    rc = pages == NF_TIER_PAGES_THP ? prove_huge(start, bytes, huge) : 0;
    if (rc)
        goto fail;
    *memory = start;
    return 0;
fail:
    munmap(start, bytes);
    return rc;
}

void nf_tier_memory_unmap(void *memory, size_t bytes)
{
    munmap(memory, bytes);
}

static bool file_says(const char *path, const char *word)
{
    struct nf_buf text = {0};
    bool found = !nf_buf_read_file(&text, path, PROBE_FILE_MAX) && text.data && strstr(text.data, word);

    nf_error_clear(); /* a file that is not there says nothing about the machine */
    nf_buf_deinit(&text);
    return found;
}

bool nf_tier_is_translated(void)
{
    return file_says("/proc/cpuinfo", ": QEMU ");
}

bool nf_tier_is_modelled_machine(void)
{
    return nf_tier_is_translated() || file_says("/sys/class/dmi/id/sys_vendor", "QEMU");
}
