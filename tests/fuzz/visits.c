/* The visit codec: decoding anything either fails or yields visits of the class, which encode and decode again.
 * Input: how it is wrapped, number of visits, number of tensors, then raw columns or a whole blob. */
#include <stdlib.h>
#include <string.h>

#include "core/store/visit-codec.h"
#include "tests/fuzz/fuzz.h"

enum { HEAD = 4, FRAME_HEAD = 4 + 1 + 4 + 3, WRAPPED = 1, TENSORS_MAX = 255 };

static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t crc = ~0u;

    while (n--) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

/* A zstd frame of one uncompressed block (RFC 8878, 3.1.1), so that the columns themselves are what is fuzzed. */
static uint8_t *wrap(const uint8_t *raw, size_t n, size_t *size)
{
    uint32_t block = (uint32_t)n << 3 | 1;
    const uint8_t head[FRAME_HEAD] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
                                      (uint8_t)(n >> 24), (uint8_t)block, (uint8_t)(block >> 8), (uint8_t)(block >> 16)};
    uint8_t *frame = malloc(FRAME_HEAD + n);

    if (frame) {
        memcpy(frame, head, FRAME_HEAD);
        memcpy(frame + FRAME_HEAD, raw, n);
        *size = FRAME_HEAD + n;
    }
    return frame;
}

static void check(const struct nf_visit *v, size_t n, size_t n_tensors, const uint64_t *sizes, struct nf_visit_codec *c)
{
    struct nf_visit *again = calloc(n + 1, sizeof *again);
    size_t size, raw;
    const void *data;
    uint32_t crc;

    for (size_t i = 0; i < n; i++)
        if (v[i].tensor >= n_tensors || (i && v[i].op < v[i - 1].op) || v[i].evidence >= NF_ACCESS_COUNT)
            abort();
    if (again && !nf_visit_encode(c, v, n, sizes, n_tensors, &data, &size, &raw, &crc)) {
        uint8_t *copy = malloc(size);

        if (copy) {
            memcpy(copy, data, size);
            if (nf_visit_decode(c, copy, size, raw, crc, sizes, n_tensors, again, n) || memcmp(v, again, n * sizeof *v))
                abort();
        }
        free(copy);
    }
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nf_visit_codec *c;
    uint64_t sizes[TENSORS_MAX];
    struct nf_visit *out;
    uint8_t *frame;
    size_t n, n_tensors, length, raw;
    uint32_t crc;

    if (size < HEAD || size > 65536)
        return 0;
    n = data[1] | (size_t)data[2] << 8;
    n_tensors = data[3];
    raw = size - HEAD;
    for (size_t i = 0; i < TENSORS_MAX; i++)
        sizes[i] = i << i % 40;
    crc = crc32c(data + HEAD, raw);
    length = raw;
    c = nf_visit_codec_new();
    out = calloc(n + 1, sizeof *out);
    frame = data[0] & WRAPPED ? wrap(data + HEAD, raw, &length) : malloc(raw + 1);
    if (c && out && frame) {
        if (!(data[0] & WRAPPED)) {
            memcpy(frame, data + HEAD, raw);
            raw = 3 * n + data[0]; /* what its row would say */
        }
        if (!nf_visit_decode(c, frame, length, raw, crc, sizes, n_tensors, out, n))
            check(out, n, n_tensors, sizes, c);
    }
    free(frame);
    free(out);
    nf_visit_codec_free(c);
    return 0;
}
