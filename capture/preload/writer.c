#include "capture/preload/writer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct nf_ring_header *ring;
static struct nf_event *slots;
static uint64_t slot_mask;
static uint64_t reserved_slots; /* for vital events */
static _Atomic bool patient;

/* The open batch; guarded by the ring's writer lock. */
static uint64_t batch_head, batch_time_ns;
static uint32_t batch_events, batch_thread;

static __thread uint32_t thread_id __attribute__((tls_model("initial-exec")));

uint64_t nf_writer_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool header_is_ours(const struct nf_ring_header *header, uint64_t bytes)
{
    uint64_t n = header->slots;

    return header->magic == NF_RING_MAGIC && header->version == NF_RING_VERSION && n >= 2 && !(n & (n - 1)) &&
           bytes >= sizeof *header + n * sizeof(struct nf_event);
}

struct nf_ring_header *nf_writer_map(const char *path)
{
    struct nf_ring_header *header;
    struct stat st;
    size_t bytes;
    int fd;

    if (ring)
        return ring;
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof *header) {
        close(fd);
        return NULL;
    }
    bytes = (size_t)st.st_size;
    header = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (header == MAP_FAILED)
        return NULL;
    if (!header_is_ours(header, bytes)) {
        munmap(header, bytes);
        return NULL;
    }
    slots = (struct nf_event *)(header + 1);
    slot_mask = header->slots - 1;
    reserved_slots = header->slots / 16;
    ring = header;
    return header;
}

void nf_writer_be_patient(void)
{
    atomic_store(&patient, true);
}

/* Sleeps until the reader has moved on from `tail`; false when it seems to be dead. */
static bool reader_moved(uint64_t tail)
{
    const struct timespec nap = {.tv_nsec = 50000};
    uint64_t since_ns = nf_writer_now_ns();

    while (atomic_load(&patient)) {
        nanosleep(&nap, NULL);
        if (atomic_load_explicit(&ring->tail, memory_order_acquire) != tail)
            return true;
        if (nf_writer_now_ns() - since_ns > NF_WRITER_PATIENCE_NS)
            atomic_store(&patient, false);
    }
    return false;
}

/* Takes the writer's lock when there is room for n slots. */
static bool find_room(uint64_t n, uint64_t *head)
{
    for (;;) {
        uint64_t tail;

        nf_spin_lock(&ring->writer_lock);
        *head = atomic_load_explicit(&ring->head, memory_order_relaxed);
        tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (*head - tail + n <= slot_mask + 1)
            return true;
        nf_spin_unlock(&ring->writer_lock);
        if (n > slot_mask + 1 || !reader_moved(tail))
            return false;
    }
}

bool nf_writer_begin(uint32_t n, enum nf_writer_class class)
{
    uint64_t keep = class == NF_WRITER_VITAL ? 0 : reserved_slots;
    uint64_t head;

    if (!thread_id)
        thread_id = (uint32_t)syscall(SYS_gettid);
    if (!find_room(n + keep, &head)) {
        atomic_fetch_add_explicit(&ring->lost, n, memory_order_relaxed);
        return false;
    }
    batch_head = head;
    batch_events = n;
    batch_thread = thread_id;
    batch_time_ns = nf_writer_now_ns();
    return true;
}

struct nf_event *nf_writer_slot(uint32_t i)
{
    struct nf_event *event = &slots[(batch_head + i) & slot_mask];

    memset(event, 0, sizeof *event);
    event->time_ns = batch_time_ns;
    event->thread = batch_thread;
    return event;
}

void nf_writer_commit(void)
{
    atomic_store_explicit(&ring->head, batch_head + batch_events, memory_order_release);
    nf_spin_unlock(&ring->writer_lock);
}
