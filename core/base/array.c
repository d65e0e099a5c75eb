#include "core/base/array.h"

#include <stdint.h>

int nf_array_grow(void **v, size_t *cap, size_t need, size_t size)
{
    size_t want = *cap ? *cap : 16;
    void *p;

    while (want < need) {
        if (want > SIZE_MAX / 2)
            return -ENOMEM;
        want *= 2;
    }
    if (want > SIZE_MAX / size)
        return -ENOMEM;
    p = realloc(*v, want * size);
    if (!p)
        return -ENOMEM;
    *v = p;
    *cap = want;
    return 0;
}
