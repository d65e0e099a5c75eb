#include "pool/copy.h"

#include <immintrin.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/log.h"
#include "core/model/stream.h"

const bool nf_copy_fetches_destination = false;

/* One stream of loads keeps one hardware prefetcher busy, several pages side by side more of them; on other CPUs loads and stores of pages
 * side by side seem to hinder each other, being equal in the address bits below a page. Which way is fastest is therefore timed, once
 * a process (./bench copy shows each beside the others). */
enum { SIDE_BY_SIDE = 4, GROUP_BYTES = SIDE_BY_SIDE * NF_PAGE_BYTES, PIECE_LINES = 4 };

static inline void copy_line(char *to, const char *from)
{
    __m128i a = _mm_load_si128((const __m128i *)from), b = _mm_load_si128((const __m128i *)from + 1);
    __m128i c = _mm_load_si128((const __m128i *)from + 2), d = _mm_load_si128((const __m128i *)from + 3);

    _mm_stream_si128((__m128i *)to, a);
    _mm_stream_si128((__m128i *)to + 1, b);
    _mm_stream_si128((__m128i *)to + 2, c);
    _mm_stream_si128((__m128i *)to + 3, d);
    atomic_signal_fence(memory_order_seq_cst); /* a line whose parts the compiler stores apart leaves in parts */
}

static void copy_group(char *to, const char *from)
{
    for (size_t i = 0; i < NF_PAGE_BYTES; i += NF_LINE_BYTES)
        for (size_t p = 0; p < SIDE_BY_SIDE; p++)
            copy_line(to + p * NF_PAGE_BYTES + i, from + p * NF_PAGE_BYTES + i);
}

/* A store of a whole line leaves its buffer sooner than four of its quarters; four lines of a page at a time, the next four
 * asked for beforehand, are a fifth faster than line by line. */
__attribute__((target("avx512f"))) static void copy_group_avx512(char *to, const char *from)
{
    for (size_t i = 0; i < NF_PAGE_BYTES; i += (size_t)PIECE_LINES * NF_LINE_BYTES) {
        for (size_t p = 0; p < SIDE_BY_SIDE; p++) {
            const char *f = from + p * NF_PAGE_BYTES + i;
            char *t = to + p * NF_PAGE_BYTES + i;
            __m512i line[PIECE_LINES];

            for (size_t l = 0; l < PIECE_LINES; l++) {
                if (i + (size_t)PIECE_LINES * NF_LINE_BYTES < NF_PAGE_BYTES)
                    _mm_prefetch(f + (PIECE_LINES + l) * NF_LINE_BYTES, _MM_HINT_T0);
                line[l] = _mm512_load_si512(f + l * NF_LINE_BYTES);
            }
            for (size_t l = 0; l < PIECE_LINES; l++)
                _mm512_stream_si512((void *)(t + l * NF_LINE_BYTES), line[l]);
        }
    }
}

static void copy_lines(char *to, const char *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += NF_LINE_BYTES)
        copy_line(to + i, from + i);
}

__attribute__((target("avx2"))) static void copy_lines_avx2(char *to, const char *from, size_t bytes)
{
    enum { WORDS = PIECE_LINES * NF_LINE_BYTES / sizeof(__m256i) };

    for (size_t i = 0; i < bytes; i += (size_t)PIECE_LINES * NF_LINE_BYTES) {
        __m256i word[WORDS];

#pragma GCC unroll 8
        for (size_t w = 0; w < WORDS; w++)
            word[w] = _mm256_load_si256((const __m256i *)(from + i) + w);
#pragma GCC unroll 8
        for (size_t w = 0; w < WORDS; w++) {
            _mm256_stream_si256((__m256i *)(to + i) + w, word[w]);
            atomic_signal_fence(memory_order_seq_cst); /* as in copy_line */
        }
    }
}

static void copy_groups(char *to, const char *from, size_t bytes, void (*group)(char *, const char *))
{
    for (; bytes >= GROUP_BYTES; bytes -= GROUP_BYTES, to += GROUP_BYTES, from += GROUP_BYTES)
        group(to, from);
    copy_lines(to, from, bytes);
}

bool nf_copy_way_works(enum nf_copy_way way)
{
    switch (way) {
    case NF_COPY_ORDERED_AVX2: return __builtin_cpu_supports("avx2");
    case NF_COPY_ASIDE_AVX512: return __builtin_cpu_supports("avx512f");
    default: return true;
    }
}

void nf_copy_pages_by(enum nf_copy_way way, char *to, const char *from, size_t bytes)
{
    switch (way) {
    case NF_COPY_ORDERED_AVX2: copy_lines_avx2(to, from, bytes); break;
    case NF_COPY_ASIDE: copy_groups(to, from, bytes, copy_group); break;
    case NF_COPY_ASIDE_AVX512: copy_groups(to, from, bytes, copy_group_avx512); break;
    default: copy_lines(to, from, bytes);
    }
    _mm_sfence(); /* streamed stores are ordered with nothing else */
}

enum { TRIED_BYTES = 2 << 20, ROUNDS = 3 };
static _Atomic int chosen = NF_COPY_ORDERED;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Turn by turn, each time on memory that no other turn touched; a way's best turn counts, since others were disturbed. */
static void choose(void)
{
    size_t bytes = (size_t)ROUNDS * NF_COPY_WAYS * TRIED_BYTES;
    char *to = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *from = to + bytes;
    uint64_t best = UINT64_MAX;

    if (to == MAP_FAILED)
        return;
    madvise(to, 2 * bytes, MADV_HUGEPAGE);
    memset(to, 1, 2 * bytes);
    for (unsigned turn = 0; turn < ROUNDS * NF_COPY_WAYS; turn++) {
        enum nf_copy_way way = turn % NF_COPY_WAYS;
        uint64_t begun = nf_now_ns(), took;

        if (!nf_copy_way_works(way))
            continue;
        nf_copy_pages_by(way, to + (size_t)turn * TRIED_BYTES, from + (size_t)turn * TRIED_BYTES, TRIED_BYTES);
        took = nf_now_ns() - begun;
        if (took < best) {
            best = took;
            chosen = (int)way;
        }
    }
    munmap(to, 2 * bytes);
}

void nf_copy_choose(void)
{
    pthread_once(&once, choose);
}

void nf_copy_pages(char *to, const char *from, size_t bytes)
{
    nf_copy_pages_by((enum nf_copy_way)chosen, to, from, bytes);
}
