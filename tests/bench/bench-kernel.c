/* The replay's access kernels against what this machine's memory can do: a plain C loop, glibc's own, and a
 * STREAM-like read as the limit; gathers of known parallelism against as many pointers that are chased by hand. One thread, a buffer far
 * larger than any cache. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/log.h"
#include "replay/kernel.h"
#include "replay/visit-walk.h"
#include "tests/bench/bench.h"

#if defined(__x86_64__) && defined(__ELF__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

struct state {
    char *memory, *other;
    size_t bytes;
    enum nf_rw rw;
    struct nf_rows rows; /* of a gather: lines */
    unsigned k;          /* and how many are under way at once */
};

static double gbps(double bytes, uint64_t begun)
{
    return bytes / (double)(nf_now_ns() - begun);
}

typedef uint64_t line __attribute__((vector_size(64), may_alias));

/* As STREAM would read: eight independent sums of whole lines. */
CLONES static uint64_t stream_read(const char *memory, size_t bytes)
{
    const line *v = (const line *)memory;
    line sum[8] = {0}, all = {0};
    uint64_t total = 0;

    for (size_t i = 0; i + 8 <= bytes / sizeof *v; i += 8)
        for (size_t j = 0; j < 8; j++)
            sum[j] += v[i + j];
    for (size_t j = 0; j < 8; j++)
        all += sum[j];
    for (size_t j = 0; j < 8; j++)
        total += all[j];
    return total;
}

/* A value that differs from byte to byte: the compiler may not make it a memset, which would bypass the caches. */
CLONES static void stream_write(uint64_t *restrict v, size_t n, uint64_t x)
{
    for (size_t i = 0; i < n; i++)
        v[i] = x;
}

CLONES static void stream_update(uint64_t *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] += 1;
}

static double run(void *state, unsigned contender)
{
    const struct state *s = state;
    const struct nf_kernels *kernels = contender == 0 ? nf_kernels_best() : nf_kernels_of(NF_KERNEL_PORTABLE);
    uint64_t begun = nf_now_ns();
    size_t n = s->bytes / sizeof(uint64_t);
    uint64_t *v = (void *)s->memory;

    if (contender < 2)
        kernels->touch[s->rw](s->memory, s->bytes, s->bytes, 1);
    else if (s->rw == NF_RW_READ)
        bench_keep(stream_read(s->memory, s->bytes));
    else if (s->rw == NF_RW_WRITE)
        stream_write(v, n, 0x0123456789abcdef);
    else
        stream_update(v, n);
    return gbps((double)s->bytes, begun);
}

/* glibc's memset leaves the caches out as well at this size. */
static double run_past_caches(void *state, unsigned contender)
{
    const struct state *s = state;
    uint64_t begun = nf_now_ns();

    if (contender)
        memset(s->memory, 1, s->bytes);
    else
        nf_kernels_best()->stream_out(s->memory, s->bytes, s->bytes, 1);
    bench_keep((uint64_t)s->memory[s->bytes / 2]);
    return gbps((double)s->bytes, begun);
}

/* --- gathers of known parallelism --- */

enum { CHAINS_MAX = 8 };

/* Each line of the gather begins with where the k-th after it lies; the last ones lead back to the first. */
static void link_lines(const struct state *s)
{
    uint64_t n = s->bytes / sizeof(line);

    for (uint64_t i = 0; i < n; i++) {
        uint64_t *at = (void *)(s->memory + nf_rows_at(&s->rows, i) * sizeof(line));

        *at = nf_rows_at(&s->rows, (i + s->k) % n) * sizeof(line);
    }
}

/* k is a constant to the compiler. */
__attribute__((always_inline)) static inline uint64_t chase(const struct state *s, unsigned k)
{
    const char *at[CHAINS_MAX];
    line sum = {0};

    for (unsigned c = 0; c < k; c++)
        at[c] = s->memory + nf_rows_at(&s->rows, c) * sizeof(line);
    for (uint64_t i = 0; i < s->bytes / sizeof(line); i += k) {
        for (unsigned c = 0; c < k; c++) {
            sum += *(const line *)at[c];
            at[c] = s->memory + *(const uint64_t *)at[c];
        }
    }
    return sum[0];
}

CLONES static uint64_t chase_by_hand(const struct state *s)
{
    switch (s->k) {
    case 1: return chase(s, 1);
    case 2: return chase(s, 2);
    case 4: return chase(s, 4);
    default: return chase(s, CHAINS_MAX);
    }
}

/* ns per line. */
static double run_chains(void *state, unsigned contender)
{
    const struct state *s = state;
    const struct nf_script_visit v = {.bytes = s->bytes, .run = sizeof(line), .stride = sizeof(line), .total = s->bytes, .grain = sizeof(line),
                                      .rows = s->rows, .pattern = NF_PATTERN_GATHER, .rw = NF_RW_READ, .parallelism = (uint8_t)s->k};
    const struct nf_pool_storage storage = {.piece = {{s->memory, s->bytes}}, .bytes = s->bytes};
    const struct nf_kernels kernels = *nf_kernels_best();
    uint64_t begun = nf_now_ns();

    bench_keep(contender ? chase_by_hand(s) : nf_visit_walk(&kernels, &v, &storage, 0, true, 0, v.bytes));
    return (double)(nf_now_ns() - begun) / (double)(s->bytes / sizeof(line));
}

static int bench_chains(struct bench *b, struct state *s)
{
    int rc = 0;

    nf_rows_init(&s->rows, s->bytes / sizeof(line), 11);
    for (s->k = 1; s->k <= CHAINS_MAX && !rc; s->k *= 2) {
        char name[64];
        const struct bench_row row = {
            .name = name, .unit = "ns/line", .lower_is_better = true, .contender = {"ours", "k pointers chased by hand"}, .run = run_chains,
        };

        snprintf(name, sizeof name, "gather of lines, k = %u", s->k);
        link_lines(s);
        rc = bench_row(b, &row, s);
    }
    return rc;
}

int bench_kernel(struct bench *b)
{
    struct state s = {.bytes = b->smoke ? 1 << 20 : 256 << 20};
    static const char *const names[] = {[NF_RW_READ] = "replay read kernel", [NF_RW_WRITE] = "replay write kernel",
                                        [NF_RW_UPDATE] = "replay update kernel"};
    int rc = 0;

    s.memory = mmap(NULL, s.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s.memory == MAP_FAILED) {
        perror("mmap");
        return -1;
    }
    madvise(s.memory, s.bytes, MADV_HUGEPAGE);
    memset(s.memory, 1, s.bytes);
    for (unsigned rw = 0; rw < NF_RW_COUNT && !rc; rw++) {
        const struct bench_row row = {
            .name = names[rw], .unit = "GB/s", .contender = {"ours", "its portable variant", "STREAM-like loop (limit)"},
            .run = run,
        };

        s.rw = rw;
        rc = bench_row(b, &row, &s);
    }
    if (!rc) {
        const struct bench_row row = {
            .name = "replay non-temporal stores", .unit = "GB/s", .contender = {"ours", "glibc memset"}, .run = run_past_caches,
        };

        rc = bench_row(b, &row, &s);
    }
    if (!rc)
        rc = bench_chains(b, &s);
    munmap(s.memory, s.bytes);
    return rc;
}
