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

const char *nf_tier_pages_size(enum nf_tier_pages pages)
{
    return pages == NF_TIER_PAGES_THP ? "2m" : "4k";
}

/* Of [start, start + bytes), which ends where mappings end, what transparent huge pages map. 0 or -EIO (cause set). */
static int count_huge(const char *start, size_t bytes, uint64_t *huge)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    unsigned long from, to, kib;
    bool inside = false;
    char line[512];

    *huge = 0;
    if (!f)
        return nf_fail(-EIO, "cannot read /proc/self/smaps, which tells huge pages: %s", strerror(errno));
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from < (uintptr_t)start + bytes && to > (uintptr_t)start;
        else if (inside && sscanf(line, "AnonHugePages: %lu", &kib) == 1)
            *huge += (uint64_t)kib << 10;
    }
    fclose(f);
    return 0;
}

static size_t whole_huge_pages(size_t bytes)
{
    return bytes & ~(HUGE_PAGE_BYTES - 1);
}

/* All that can be is on huge pages. A kernel that had none at hand when the memory was touched is asked once more, to gather them. */
static int prove_huge(char *start, size_t bytes)
{
    char want[NF_UNITS_TEXT], have[NF_UNITS_TEXT];
    size_t whole = whole_huge_pages(bytes);
    uint64_t huge;
    int rc = count_huge(start, bytes, &huge);

    if (!rc && huge < whole && !madvise(start, whole, ADVICE_COLLAPSE))
        rc = count_huge(start, bytes, &huge);
    if (rc || huge >= whole)
        return rc;
    return nf_fail(-ENODEV, "page=thp: of %s that could be on huge pages the kernel put %s there: they are switched off, or memory is "
                   "fragmented", nf_format_bytes(want, (double)whole), nf_format_bytes(have, (double)huge));
}

int nf_tier_memory_verify_huge(const void *memory, size_t bytes)
{
    char want[NF_UNITS_TEXT], have[NF_UNITS_TEXT];
    size_t whole = whole_huge_pages(bytes);
    uint64_t huge;
    int rc = count_huge(memory, bytes, &huge);

    if (rc || huge >= whole)
        return rc;
    return nf_fail(-EXDEV, "page=thp: of %s on huge pages %s are left there: the kernel split the others, under memory pressure or because "
                   "somebody asked it to", nf_format_bytes(want, (double)whole), nf_format_bytes(have, (double)huge));
}

/* Between two pages without access, lest the kernel counts a neighbour's huge pages as one mapping with these. 0 or -errno (cause set). */
static int map_guarded(size_t bytes, char **memory)
{
    size_t room = bytes + 2 * HUGE_PAGE_BYTES, before;
    char *whole = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), want[NF_UNITS_TEXT];
    int rc;

    before = HUGE_PAGE_BYTES - ((uintptr_t)whole & (HUGE_PAGE_BYTES - 1));
    if (whole == MAP_FAILED || mprotect(whole + before, bytes, PROT_READ | PROT_WRITE)) {
        rc = nf_fail(-errno, "cannot map %s: %s", nf_format_bytes(want, (double)bytes), strerror(errno));
        if (whole != MAP_FAILED)
            munmap(whole, room);
        return rc;
    }
    *memory = whole + before;
    if (before > NF_PAGE_BYTES)
        munmap(whole, before - NF_PAGE_BYTES);
    munmap(*memory + bytes + NF_PAGE_BYTES, room - before - bytes - NF_PAGE_BYTES);
    return 0;
}

int nf_tier_memory_map(size_t bytes, enum nf_tier_pages pages, int node, void **memory)
{
    char want[NF_UNITS_TEXT], have[NF_UNITS_TEXT], *start = NULL;
    int rc;

    if (bytes > SIZE_MAX - 2 * HUGE_PAGE_BYTES)
        return nf_fail(-ENOMEM, "%zu bytes are more than can be mapped", bytes);
    /* A bound mapping that does not fit is not refused but gets somebody killed when it is faulted. */
    if (node >= 0 && bytes > nf_binding_available(node))
        return nf_fail(-ENOMEM, "%s wanted on node %d, which has %s to spare", nf_format_bytes(want, (double)bytes),
                       node, nf_format_bytes(have, (double)nf_binding_available(node)));
    rc = map_guarded(bytes, &start);
    if (rc)
        return rc;
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
    for (size_t i = 0; i < bytes; i += NF_PAGE_BYTES)
        *(volatile char *)(start + i) = 0;
    rc = pages == NF_TIER_PAGES_THP ? prove_huge(start, bytes) : 0;
    if (rc)
        goto fail;
    *memory = start;
    return 0;
fail:
    nf_tier_memory_unmap(start, bytes);
    return rc;
}

void nf_tier_memory_unmap(void *memory, size_t bytes)
{
    munmap((char *)memory - NF_PAGE_BYTES, bytes + 2 * NF_PAGE_BYTES);
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

bool nf_tier_is_emulated_node(int node)
{
    return node < 0 || nf_binding_has_cpus(node) ? nf_tier_is_translated() : nf_tier_is_modelled_machine();
}
