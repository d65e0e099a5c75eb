/* The sample codec: decoding anything either fails or yields samples, which encode and decode again; and any samples at all
 * survive encoding. Input: what it is, number of samples, how much of the columns is loose (of 255) or the raw size; then
 * samples, raw columns or a whole blob. */
#include <stdlib.h>
#include <string.h>

#include "core/store/crc32c.h"
#include "core/store/sample-codec.h"
#include "tests/fuzz/fuzz.h"

enum { HEAD = 4, LENGTH = 4, FRAME_HEAD = 4 + 1 + 4 + 3, BLOB = 0, COLUMNS = 1, SAMPLES = 2, KINDS = 3,
       BLOCK_MAX = 128 << 10 };

/* A blob whose dense part is a zstd frame of one uncompressed block (RFC 8878, 3.1.1), so that the columns themselves are
 * what is fuzzed. The first `loose` bytes are the loose part. */
static uint8_t *wrap(const uint8_t *raw, size_t all, size_t loose, size_t *size)
{
    size_t n = all - loose;
    uint32_t block = (uint32_t)n << 3 | 1;
    const uint8_t length[LENGTH] = {(uint8_t)loose, (uint8_t)(loose >> 8), (uint8_t)(loose >> 16)};
    const uint8_t head[FRAME_HEAD] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
                                      (uint8_t)(n >> 24), (uint8_t)block, (uint8_t)(block >> 8), (uint8_t)(block >> 16)};
    uint8_t *blob = malloc(LENGTH + FRAME_HEAD + all);

    if (blob) {
        memcpy(blob, length, LENGTH);
        memcpy(blob + LENGTH, raw, loose);
        memcpy(blob + LENGTH + loose, head, FRAME_HEAD);
        memcpy(blob + LENGTH + loose + FRAME_HEAD, raw + loose, n);
        *size = LENGTH + FRAME_HEAD + all;
    }
    return blob;
}

static void survive(struct nf_sample_codec *c, const struct nf_sample *s, size_t n)
{
    struct nf_sample *again = calloc(n, sizeof *again);
    size_t size, raw;
    const void *data;
    uint32_t crc;

    if (again && !nf_sample_encode(c, s, n, &data, &size, &raw, &crc)) {
        uint8_t *copy = malloc(size);

        if (copy) {
            memcpy(copy, data, size);
            if (nf_sample_decode(c, copy, size, raw, crc, again, n) || memcmp(s, again, n * sizeof *s))
                abort();
        }
        free(copy);
    }
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nf_sample_codec *c;
    struct nf_sample *s;
    size_t n, raw, length;
    uint8_t *frame = NULL;

    if (size < HEAD || size > BLOCK_MAX)
        return 0;
    n = data[1] | (size_t)(data[2] & 0x1f) << 8;
    raw = length = size - HEAD;
    c = nf_sample_codec_new();
    s = calloc(n + 1, sizeof *s);
    if (!c || !s)
        abort();
    if (data[0] % KINDS == SAMPLES) {
        n = n < raw / sizeof *s ? n : raw / sizeof *s;
        for (size_t i = 0; i < n; i++) {
            memcpy(&s[i], data + HEAD + i * sizeof *s, sizeof *s);
            memset((char *)&s[i] + offsetof(struct nf_sample, kernel) + 1, 0,
                   sizeof *s - offsetof(struct nf_sample, kernel) - 1); /* padding is not kept */
        }
        if (n && n <= NF_SAMPLE_CHUNK)
            survive(c, s, n);
    } else {
        frame = data[0] % KINDS == COLUMNS ? wrap(data + HEAD, raw, raw * data[3] / 255, &length) : malloc(raw + 1);
        if (!frame)
            abort();
        if (data[0] % KINDS == BLOB) {
            memcpy(frame, data + HEAD, raw);
            raw = 247 + n * data[3]; /* what its row would say */
        }
        if (!nf_sample_decode(c, frame, length, raw, data[0] % KINDS == COLUMNS ? nf_crc32c(data + HEAD, raw) : 0, s, n))
            survive(c, s, n);
    }
    free(frame);
    free(s);
    nf_sample_codec_free(c);
    return 0;
}
