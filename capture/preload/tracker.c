#include "capture/preload/tracker.h"

#include <string.h>
#include <sys/mman.h>

#include "capture/preload/boundary.h"
#include "capture/preload/writer.h"

struct block {
    uintptr_t address; /* 0: empty */
    size_t bytes;
};

/* Open addressing with linear probing; deletion shifts back, so that a table never fills with graves. The events of
 * a block are written under its shard's lock: FREE and the next ALLOC of an address keep their order. */
struct shard {
    _Alignas(64) _Atomic uint32_t lock;
    unsigned bits; /* log2 of the slots; 0: none yet */
    size_t used;
    struct block *slots;
};

enum { SHARD_BITS = 4, SHARDS = 1 << SHARD_BITS, FIRST_BITS = 8 };
enum { HASHED_BYTES = 4096 }; /* smaller storages vary with Python's moods and carry no traffic */

_Atomic int nf_tracker_state;

static struct shard shards[SHARDS];
static struct nf_ring_header private_counters; /* until a ring is attached; only its counters are used */
static struct nf_ring_header *counters = &private_counters;
static bool events_wanted;

static uint64_t block_hash(uintptr_t address)
{
    return (uint64_t)(address / NF_TRACKER_ALIGNMENT) * 0x9e3779b97f4a7c15ull; /* Fibonacci hashing, Knuth 6.4 */
}

static struct shard *shard_of(uint64_t hash)
{
    return &shards[hash >> (64 - SHARD_BITS)];
}

static size_t slot_of(const struct shard *s, uint64_t hash)
{
    return (size_t)((hash << SHARD_BITS) >> (64 - s->bits));
}

static void insert(struct shard *s, struct block block)
{
    size_t mask = ((size_t)1 << s->bits) - 1, i = slot_of(s, block_hash(block.address));

    while (s->slots[i].address)
        i = (i + 1) & mask;
    s->slots[i] = block;
    s->used++;
}

static bool grow(struct shard *s)
{
    struct shard bigger = {.bits = s->bits ? s->bits + 1 : FIRST_BITS};
    size_t n = s->bits ? (size_t)1 << s->bits : 0;

    bigger.slots = mmap(NULL, sizeof *bigger.slots << bigger.bits, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bigger.slots == MAP_FAILED)
        return false;
    for (size_t i = 0; i < n; i++)
        if (s->slots[i].address)
            insert(&bigger, s->slots[i]);
    if (n)
        munmap(s->slots, n * sizeof *s->slots);
    s->bits = bigger.bits;
    s->slots = bigger.slots;
    return true;
}

/* The slot of an address, or NULL. */
static struct block *find(struct shard *s, uintptr_t address)
{
    size_t mask, i;

    if (!s->bits)
        return NULL;
    mask = ((size_t)1 << s->bits) - 1;
    for (i = slot_of(s, block_hash(address)); s->slots[i].address; i = (i + 1) & mask)
        if (s->slots[i].address == address)
            return &s->slots[i];
    return NULL;
}

static void erase(struct shard *s, struct block *block)
{
    size_t mask = ((size_t)1 << s->bits) - 1, hole = (size_t)(block - s->slots);

    for (size_t i = (hole + 1) & mask; s->slots[i].address; i = (i + 1) & mask) {
        size_t home = slot_of(s, block_hash(s->slots[i].address));

        /* May move into the hole only when its home isn't between the hole and itself. */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            s->slots[hole] = s->slots[i];
            hole = i;
        }
    }
    s->slots[hole] = (struct block){0};
    s->used--;
}

static void count_alloc(size_t bytes)
{
    uint64_t live = atomic_fetch_add_explicit(&counters->live_bytes, bytes, memory_order_relaxed) + bytes;
    uint64_t peak = atomic_load_explicit(&counters->peak_bytes, memory_order_relaxed);
    uint64_t hash, mixed;

    while (live > peak && !atomic_compare_exchange_weak_explicit(&counters->peak_bytes, &peak, live,
                                                                 memory_order_relaxed, memory_order_relaxed))
        ;
    atomic_fetch_add_explicit(&counters->allocations, 1, memory_order_relaxed);
    if (bytes < HASHED_BYTES)
        return;
    hash = atomic_load_explicit(&counters->allocation_hash, memory_order_relaxed);
    do {
        mixed = (hash + bytes) * 0x9e3779b97f4a7c15ull;
        mixed ^= mixed >> 32;
    } while (!atomic_compare_exchange_weak_explicit(&counters->allocation_hash, &hash, mixed, memory_order_relaxed,
                                                    memory_order_relaxed));
}

static void write_event(uint8_t kind, uintptr_t address, size_t bytes)
{
    struct nf_event *event;

    if (!events_wanted || !nf_writer_begin(1, NF_WRITER_ORDINARY))
        return;
    event = nf_writer_slot(0);
    event->kind = kind;
    event->address = address;
    event->a = bytes;
    nf_writer_commit();
}

bool nf_tracker_start(void)
{
    int state = NF_TRACKER_IDLE;

    return atomic_compare_exchange_strong(&nf_tracker_state, &state, NF_TRACKER_COUNTING) ||
           state == NF_TRACKER_COUNTING;
}

void nf_tracker_attach(struct nf_ring_header *header, bool events)
{
    for (unsigned i = 0; i < SHARDS; i++)
        nf_spin_lock(&shards[i].lock);
    atomic_store(&header->live_bytes, atomic_load(&counters->live_bytes));
    atomic_store(&header->peak_bytes, atomic_load(&counters->peak_bytes));
    atomic_store(&header->allocations, atomic_load(&counters->allocations));
    atomic_store(&header->allocation_hash, 0);
    counters = header;
    events_wanted = events;
    for (unsigned i = 0; i < SHARDS; i++)
        for (size_t j = 0; shards[i].bits && j < (size_t)1 << shards[i].bits; j++)
            if (shards[i].slots[j].address)
                write_event(NF_EVENT_ALLOC, shards[i].slots[j].address, shards[i].slots[j].bytes);
    for (unsigned i = 0; i < SHARDS; i++)
        nf_spin_unlock(&shards[i].lock);
}

void nf_tracker_detach(void)
{
    for (unsigned i = 0; i < SHARDS; i++)
        nf_spin_lock(&shards[i].lock);
    events_wanted = false;
    for (unsigned i = 0; i < SHARDS; i++)
        nf_spin_unlock(&shards[i].lock);
}

void nf_tracker_forget(bool go_on)
{
    if (!go_on) {
        atomic_store(&nf_tracker_state, NF_TRACKER_ABANDONED);
        return;
    }
    /* The tables are left to the parent's pages: walking them is not safe if a lock was held. */
    memset(shards, 0, sizeof shards);
    memset(&private_counters, 0, sizeof private_counters);
}

static void forget(struct shard *s, struct block *block)
{
    atomic_fetch_sub_explicit(&counters->live_bytes, block->bytes, memory_order_relaxed);
    nf_boundary_block(block->address, block->bytes);
    write_event(NF_EVENT_FREE, block->address, 0);
    erase(s, block);
}

void nf_tracker_add(const void *block, size_t bytes)
{
    uintptr_t address = (uintptr_t)block;
    struct shard *s = shard_of(block_hash(address));
    struct block *stale;

    nf_spin_lock(&s->lock);
    /* Freed behind our back, as reallocarray does inside the C library. */
    stale = find(s, address);
    if (stale)
        forget(s, stale);
    /* At most 5/8 full: linear probing stays short. Without memory the block goes untracked. */
    if (s->bits && s->used * 8 < ((size_t)5 << s->bits) ? true : grow(s)) {
        insert(s, (struct block){address, bytes});
        count_alloc(bytes);
        write_event(NF_EVENT_ALLOC, address, bytes);
    }
    nf_spin_unlock(&s->lock);
}

bool nf_tracker_remove(const void *block, size_t *bytes)
{
    uintptr_t address = (uintptr_t)block;
    struct shard *s = shard_of(block_hash(address));
    struct block *found;

    nf_spin_lock(&s->lock);
    found = find(s, address);
    if (found) {
        *bytes = found->bytes;
        forget(s, found);
    }
    nf_spin_unlock(&s->lock);
    return found;
}

bool nf_tracker_holds(const void *block)
{
    struct shard *s = shard_of(block_hash((uintptr_t)block));
    bool held;

    nf_spin_lock(&s->lock);
    held = find(s, (uintptr_t)block);
    nf_spin_unlock(&s->lock);
    return held;
}
