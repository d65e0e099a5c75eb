#include "pool/copy.h"

#include <emmintrin.h>

#include "core/model/stream.h"

const bool nf_copy_fetches_destination = false;

/* Pages copied side by side: one stream of loads keeps a single hardware prefetcher busy, four use several of them
 * (13 against 22 GB/s on an AVX-512 guest; two are in between, eight no better). */
enum { SIDE_BY_SIDE = 4 };

static inline void copy_line(char *to, const char *from)
{
    __m128i a = _mm_load_si128((const __m128i *)from), b = _mm_load_si128((const __m128i *)from + 1);
    __m128i c = _mm_load_si128((const __m128i *)from + 2), d = _mm_load_si128((const __m128i *)from + 3);

    _mm_stream_si128((__m128i *)to, a);
    _mm_stream_si128((__m128i *)to + 1, b);
    _mm_stream_si128((__m128i *)to + 2, c);
    _mm_stream_si128((__m128i *)to + 3, d);
}

void nf_copy_pages(char *to, const char *from, size_t bytes)
{
    size_t group = (size_t)SIDE_BY_SIDE * NF_PAGE_BYTES;

    for (; bytes >= group; bytes -= group, to += group, from += group)
        for (size_t i = 0; i < NF_PAGE_BYTES; i += NF_LINE_BYTES)
            for (size_t p = 0; p < SIDE_BY_SIDE; p++)
                copy_line(to + p * NF_PAGE_BYTES + i, from + p * NF_PAGE_BYTES + i);
    for (size_t i = 0; i < bytes; i += NF_LINE_BYTES)
        copy_line(to + i, from + i);
    _mm_sfence(); /* streamed stores are ordered with nothing else */
}
