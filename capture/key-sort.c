#include "capture/key-sort.h"

#include <string.h>

/* Below INSERT keys, moving them one by one is faster than counting digits. */
enum { DIGIT = 8, RADIX = 1 << DIGIT, INSERT = 24 };

static void insert_each(struct nf_key *v, size_t n, size_t sorted)
{
    for (size_t i = sorted; i < n; i++) {
        struct nf_key key = v[i];
        size_t k = i;

        for (; k && v[k - 1].key > key.key; k--)
            v[k] = v[k - 1];
        v[k] = key;
    }
}

/* To `to`, in the order of one digit. */
static void by_digit(const struct nf_key *v, size_t n, struct nf_key *to, unsigned shift)
{
    size_t at[RADIX] = {0}, sum = 0;

    for (size_t i = 0; i < n; i++)
        at[v[i].key >> shift & (RADIX - 1)]++;
    for (unsigned d = 0; d < RADIX; d++) {
        size_t count = at[d];

        at[d] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++)
        to[at[v[i].key >> shift & (RADIX - 1)]++] = v[i];
}

void nf_keys_sort(struct nf_key *v, size_t n, struct nf_key *scratch)
{
    struct nf_key *from = v, *to = scratch, *swap;
    uint64_t differ = 0;
    size_t sorted = 1;

    while (sorted < n && v[sorted - 1].key <= v[sorted].key)
        sorted++;
    if (sorted >= n)
        return;
    if (n <= INSERT) {
        insert_each(v, n, sorted);
        return;
    }
    for (size_t i = 1; i < n; i++)
        differ |= v[i].key ^ v[0].key;
    /* The lowest digit first; a digit that is the same in all changes nothing. */
    while (differ) {
        unsigned shift = (unsigned)__builtin_ctzll(differ);

        by_digit(from, n, to, shift);
        swap = from;
        from = to;
        to = swap;
        differ = shift + DIGIT < 64 ? differ >> (shift + DIGIT) << (shift + DIGIT) : 0;
    }
    if (from != v)
        memcpy(v, from, n * sizeof *v);
}
