#include "pool/copy.h"

#include <immintrin.h>
#include <stdatomic.h>

#include "core/model/stream.h"

const bool nf_copy_fetches_destination = false;

/* On Intel's cores one stream of loads keeps a single hardware prefetcher busy, four pages side by side use several of them
 * (13 against 22 GB/s on an AVX-512 guest; two are in between, eight no better). AMD's cores lose three quarters of their speed by
 * it, since loads and stores of pages side by side are equal in the address bits below a page: pages in order there. */
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

static enum nf_copy_way best_way(void)
{
    if (__builtin_cpu_is("intel"))
        return nf_copy_way_works(NF_COPY_ASIDE_AVX512) ? NF_COPY_ASIDE_AVX512 : NF_COPY_ASIDE;
    return nf_copy_way_works(NF_COPY_ORDERED_AVX2) ? NF_COPY_ORDERED_AVX2 : NF_COPY_ORDERED;
}

void nf_copy_pages(char *to, const char *from, size_t bytes)
{
    nf_copy_pages_by(best_way(), to, from, bytes);
}
