/* What gcc turns into calls for the exact source's engine tsan beside plain accesses: atomics of every width on several
 * threads, copies of structures, memcpy and its kin, volatile and misaligned accesses, bit fields. Each must do its work
 * and count. Prints what each op touches as examples/kernels.c does; exits 1 when a result is wrong. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nearfar_annotate.h"

enum { THREADS = 4, ROUNDS = 2000, BYTES = 32768, LARGE = 20000 /* gcc copies it by a call of memcpy */ };

static unsigned char *data, *other;

static void expect(bool right, const char *what)
{
    if (!right) {
        fprintf(stderr, "exact-atomics: %s\n", what);
        exit(1);
    }
}

static void end(const char *op, size_t read, size_t reads, size_t read_bytes, size_t written, size_t writes, size_t write_bytes)
{
    nf_annotate_op_end();
    if (reads)
        printf("%s data read %zu %zu %zu\n", op, read, reads, read_bytes);
    if (writes)
        printf("%s data write %zu %zu %zu\n", op, written, writes, write_bytes);
}

static void *add_up(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < ROUNDS; i++)
        atomic_fetch_add((_Atomic uint64_t *)data, 3);
    return NULL;
}

static void count_threads(void)
{
    pthread_t threads[THREADS];

    *(uint64_t *)data = 0;
    nf_annotate_op_begin("threads");
    for (unsigned i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, add_up, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    end("threads", 8, THREADS * ROUNDS, THREADS * ROUNDS * 8, 8, THREADS * ROUNDS, THREADS * ROUNDS * 8);
    expect(*(uint64_t *)data == 3ull * THREADS * ROUNDS, "an atomic addition was lost");
}

/* store, load, exchange, six fetches, two comparisons: the one that fails writes nothing. */
#define WIDTH(type, name)                                                                                             \
    static void name(void)                                                                                            \
    {                                                                                                                 \
        _Atomic type *p = (_Atomic type *)data;                                                                       \
        type wanted = 1, value[9];                                                                                    \
        bool met, missed;                                                                                             \
                                                                                                                      \
        nf_annotate_op_begin(#name);                                                                                  \
        atomic_store(p, 12);                                                                                          \
        value[0] = atomic_load(p);                                                                                    \
        value[1] = atomic_exchange(p, 10);                                                                            \
        value[2] = atomic_fetch_add(p, 5);                                                                            \
        value[3] = atomic_fetch_sub(p, 3);                                                                            \
        value[4] = atomic_fetch_and(p, 14);                                                                           \
        value[5] = atomic_fetch_or(p, 1);                                                                             \
        value[6] = atomic_fetch_xor(p, 6);                                                                            \
        value[7] = __atomic_fetch_nand((type *)p, 3, __ATOMIC_ACQUIRE);                                               \
        missed = atomic_compare_exchange_strong_explicit(p, &wanted, 9, memory_order_acq_rel, memory_order_relaxed);  \
        met = atomic_compare_exchange_weak(p, &wanted, 9);                                                            \
        value[8] = atomic_load_explicit(p, memory_order_relaxed);                                                     \
        end(#name, sizeof(type), 11, 11 * sizeof(type), sizeof(type), 9, 9 * sizeof(type));                           \
        expect(value[0] == 12 && value[1] == 12 && value[2] == 10 && value[3] == 15 && value[4] == 12 &&              \
               value[5] == 12 && value[6] == 13 && value[7] == 11, #name " went wrong");                              \
        expect(!missed && wanted == (type)~(11 & 3) && met && value[8] == 9, #name ": a comparison went wrong");      \
    }
WIDTH(uint8_t, atomic8)
WIDTH(uint16_t, atomic16)
WIDTH(uint32_t, atomic32)
WIDTH(uint64_t, atomic64)
WIDTH(unsigned __int128, atomic128)

struct record {
    char text[LARGE];
};

static void copies(void)
{
    struct record *to = (struct record *)data, *from = (struct record *)other;

    memset(other, 7, BYTES);
    nf_annotate_op_begin("structure");
    *to = *from;
    end("structure", 0, 0, 0, LARGE, 1, LARGE);
    expect(data[LARGE - 1] == 7, "a structure was not copied");
    nf_annotate_op_begin("memcpy");
    memcpy(data + 1, other, 300);
    memmove(data + 400, other, 50);
    memset(data + 1000, 9, 24);
    end("memcpy", 0, 0, 0, 374, 3, 374);
    expect(data[300] == 7 && data[449] == 7 && data[1023] == 9, "memory was not copied");
}

struct packed {
    char first;
    uint64_t second;
} __attribute__((packed));

static void odd(void)
{
    volatile uint32_t *v = (volatile uint32_t *)(data + 64);
    struct packed *p = (struct packed *)(data + 60);

    nf_annotate_op_begin("odd");
    *v = 5;                     /* 4 written */
    p->second = *v + p->second; /* 4 and 8 read, 8 written across a line */
    end("odd", 8, 2, 12, 8, 2, 12);
}

/* Two blocks that come and go within one op, the second where the first was. */
static void scratch(void)
{
    unsigned char *block;
    void *first;

    nf_annotate_op_begin("scratch");
    first = block = nf_annotate_alloc(BYTES);
    expect(block != NULL, "no memory");
    nf_annotate_tensor(block, BYTES, "first", NF_ANNOTATE_OTHER_ROLE, "uint8", NULL);
    memset(block, 1, BYTES);
    nf_annotate_free(block);
    block = nf_annotate_alloc(BYTES);
    expect(block != NULL, "no memory");
    nf_annotate_tensor(block, BYTES, "second", NF_ANNOTATE_OTHER_ROLE, "uint8", NULL);
    block[100] = 3;
    nf_annotate_free(block);
    nf_annotate_op_end();
    if (first == block)
        printf("scratch first write %d 1 %d\nscratch second write 1 1 1\n", BYTES, BYTES);
}

int main(void)
{
    nf_annotate_begin();
    data = nf_annotate_alloc(BYTES);
    other = aligned_alloc(16, BYTES); /* not watched */
    expect(data && other, "no memory");
    memset(data, 0, BYTES);
    nf_annotate_tensor(data, BYTES, "data", NF_ANNOTATE_PARAMETER, "uint8", NULL);
    nf_annotate_begin_training(THREADS);
    count_threads();
    atomic8();
    atomic16();
    atomic32();
    atomic64();
    atomic128();
    copies();
    odd();
    scratch();
    nf_annotate_step();
    return 0;
}
