#include "pool/copy.h"

#include <immintrin.h>

#include "core/model/stream.h"

const bool nf_copy_fetches_destination = false;

/* Pages copied side by side: one stream of loads keeps a single hardware prefetcher busy, four use several of them
 * (13 against 22 GB/s on an AVX-512 guest; two are in between, eight no better). */
enum { SIDE_BY_SIDE = 4, GROUP_BYTES = SIDE_BY_SIDE * NF_PAGE_BYTES, PIECE_LINES = 4 };

static inline void copy_line(char *to, const char *from)
{
    __m128i a = _mm_load_si128((const __m128i *)from), b = _mm_load_si128((const __m128i *)from + 1);
    __m128i c = _mm_load_si128((const __m128i *)from + 2), d = _mm_load_si128((const __m128i *)from + 3);

    _mm_stream_si128((__m128i *)to, a);
    _mm_stream_si128((__m128i *)to + 1, b);
    _mm_stream_si128((__m128i *)to + 2, c);
    _mm_stream_si128((__m128i *)to + 3, d);
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

void nf_copy_pages(char *to, const char *from, size_t bytes)
{
    void (*group)(char *, const char *) = __builtin_cpu_supports("avx512f") ? copy_group_avx512 : copy_group;

    for (; bytes >= GROUP_BYTES; bytes -= GROUP_BYTES, to += GROUP_BYTES, from += GROUP_BYTES)
        group(to, from);
    for (size_t i = 0; i < bytes; i += NF_LINE_BYTES)
        copy_line(to + i, from + i);
    _mm_sfence(); /* streamed stores are ordered with nothing else */
}
