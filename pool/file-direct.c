#include "pool/file-direct.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/model/stream.h"

static int ask_attributes(int fd, uint64_t *attributes)
{
    struct statx s;
    int rc = statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &s);

    *attributes = rc ? 0 : s.stx_attributes;
    return rc;
}

/* Nothing is touched, so that the file may be empty. */
static int try_map_sync(int fd)
{
    void *page = mmap(NULL, NF_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);

    return page == MAP_FAILED ? -1 : munmap(page, NF_PAGE_BYTES);
}

const struct nf_file_system_calls nf_file_kernel = {ask_attributes, try_map_sync};

bool nf_file_is_direct(const struct nf_file_system_calls *calls, int fd)
{
    uint64_t attributes;

    return calls->attributes(fd, &attributes) >= 0 && attributes & STATX_ATTR_DAX && calls->map_sync(fd) >= 0;
}

enum nf_evidence nf_file_evidence(bool direct, bool modelled_machine)
{
    return modelled_machine ? NF_EVIDENCE_EMULATED_MACHINE : direct ? NF_EVIDENCE_MEASURED_DEVICE : NF_EVIDENCE_MEASURED_PROXY;
}
