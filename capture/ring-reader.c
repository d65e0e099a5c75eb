#include "capture/ring-reader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/error.h"

static size_t ring_bytes(uint32_t slots)
{
    return sizeof(struct nf_ring_header) + (size_t)slots * sizeof(struct nf_event);
}

int nf_ring_init(struct nf_ring *r, uint32_t slots)
{
    int rc;

    *r = (struct nf_ring){.fd = -1};
    /* A memory file has no name to leave behind when the tool is killed; the job opens it through /proc. */
    r->fd = memfd_create("nearfar-ring", MFD_CLOEXEC);
    if (r->fd < 0)
        return nf_fail(-errno, "cannot create the event ring: %s", strerror(errno));
    if (ftruncate(r->fd, (off_t)ring_bytes(slots))) {
        rc = nf_fail(-errno, "cannot size the event ring: %s", strerror(errno));
        close(r->fd);
        return rc;
    }
    r->header = mmap(NULL, ring_bytes(slots), PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
    if (r->header == MAP_FAILED) {
        rc = nf_fail(-errno, "cannot map the event ring: %s", strerror(errno));
        close(r->fd);
        return rc;
    }
    r->slots = (struct nf_event *)(r->header + 1);
    r->n_slots = slots;
    r->header->slots = slots;
    r->header->version = NF_RING_VERSION;
    r->header->magic = NF_RING_MAGIC;
    snprintf(r->path, sizeof r->path, "/proc/%d/fd/%d", (int)getpid(), r->fd);
    return 0;
}

void nf_ring_deinit(struct nf_ring *r)
{
    if (!r->header)
        return;
    munmap(r->header, ring_bytes(r->n_slots));
    close(r->fd);
    *r = (struct nf_ring){.fd = -1};
}

void nf_ring_reset(struct nf_ring *r)
{
    memset(r->header, 0, sizeof *r->header);
    r->header->slots = r->n_slots;
    r->header->version = NF_RING_VERSION;
    r->header->magic = NF_RING_MAGIC;
    r->tail = 0;
}

uint32_t nf_ring_read(struct nf_ring *r, struct nf_event *out, uint32_t max)
{
    uint64_t head = atomic_load_explicit(&r->header->head, memory_order_acquire);
    uint64_t n = head - r->tail;

    if (n > r->n_slots) /* only a job that scribbled over the header gets here */
        n = 0;
    if (n > max)
        n = max;
    for (uint64_t i = 0; i < n; i++)
        out[i] = r->slots[(r->tail + i) & (r->n_slots - 1)];
    r->tail += n;
    atomic_store_explicit(&r->header->tail, r->tail, memory_order_release);
    return (uint32_t)n;
}

uint64_t nf_ring_lost(const struct nf_ring *r)
{
    return atomic_load_explicit(&r->header->lost, memory_order_relaxed);
}
