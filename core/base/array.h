#pragma once
/* Growable typed arrays. `NF_ARRAY(int) a = {0};` then nf_array_push(&a, 3), a.v[i], a.n. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define NF_ARRAY(T)                                                                                  \
    struct {                                                                                         \
        T *v;                                                                                        \
        size_t n, cap;                                                                               \
    }

/* Grows *v to at least need elements of size bytes. Returns 0 or -ENOMEM (array unchanged). */
int nf_array_grow(void **v, size_t *cap, size_t need, size_t size);

#define nf_array_reserve(a, need)                                                                    \
    ((need) <= (a)->cap ? 0 : nf_array_grow((void **)&(a)->v, &(a)->cap, (need), sizeof *(a)->v))
/* 0 or -ENOMEM. */
#define nf_array_push(a, ...)                                                                        \
    (nf_array_reserve((a), (a)->n + 1) ? -ENOMEM : ((a)->v[(a)->n++] = __VA_ARGS__, 0))
#define nf_array_free(a) (free((a)->v), (a)->v = NULL, (a)->n = (a)->cap = 0)
