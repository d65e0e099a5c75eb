#include "core/base/rng.h"

#include <string.h>

uint64_t nf_hash_bytes(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint64_t h = nf_mix64(n ^ 0x4e465354ull), v;

    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&v, p, 8);
        h = nf_hash_add(h, v);
    }
    v = 0;
    memcpy(&v, p, n);
    return n ? nf_hash_add(h, v) : h;
}
