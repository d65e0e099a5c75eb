#include "core/model/load.h"

#include <errno.h>
#include <stdlib.h>

int nf_load_init(struct nf_load *l, uint32_t n)
{
    uint32_t leaves = 4;

    *l = (struct nf_load){0};
    if (n > UINT32_MAX / 4)
        return -ENOMEM;
    while (leaves < n + 2)
        leaves *= 2;
    l->node = calloc((size_t)leaves * 2, sizeof *l->node);
    if (!l->node)
        return -ENOMEM;
    l->leaves = leaves;
    return 0;
}

void nf_load_deinit(struct nf_load *l)
{
    free(l->node);
    *l = (struct nf_load){0};
}

static inline uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline void settle(struct nf_load_node *node, uint32_t i)
{
    node[i].max = larger(node[2 * i].max, node[2 * i + 1].max) + node[i].add;
}

void nf_load_add(struct nf_load *l, uint32_t first, uint32_t last, uint32_t pages)
{
    struct nf_load_node *node = l->node;
    /* Leaf 0 stands before op 0: op i is leaf i + 1. */
    uint32_t left = first + l->leaves, right = last + l->leaves + 2;

    while ((left ^ right) != 1) {
        if (!(left & 1)) {
            node[left ^ 1].max += pages;
            node[left ^ 1].add += pages;
        }
        if (right & 1) {
            node[right ^ 1].max += pages;
            node[right ^ 1].add += pages;
        }
        left >>= 1;
        right >>= 1;
        settle(node, left);
        settle(node, right);
    }
    /* Above what changed nothing changes: most short ranges end here, well below the root. */
    while (left >>= 1) {
        uint32_t before = node[left].max;

        settle(node, left);
        if (node[left].max == before)
            break;
    }
}

void nf_load_fill(struct nf_load *l, const uint32_t *change, uint32_t n)
{
    uint32_t pages = 0;

    for (uint32_t i = 0; i < n; i++) {
        pages += change[i];
        l->node[l->leaves + i + 1].max = l->node[l->leaves + i + 1].add = pages;
    }
    for (uint32_t i = l->leaves - 1; i; i--)
        settle(l->node, i);
}

uint32_t nf_load_peak(const struct nf_load *l, uint32_t first, uint32_t last)
{
    const struct nf_load_node *node = l->node;
    uint32_t left = first + l->leaves, right = last + l->leaves + 2;
    uint32_t left_max = 0, right_max = 0, max;
    int left_any = 0, right_any = 0; /* an ancestor's add counts only once something below it was seen */

    for (;;) {
        if ((left ^ right) == 1)
            break;
        if (!(left & 1)) {
            left_max = larger(left_max, node[left ^ 1].max);
            left_any = 1;
        }
        if (right & 1) {
            right_max = larger(right_max, node[right ^ 1].max);
            right_any = 1;
        }
        left >>= 1;
        right >>= 1;
        if (left_any)
            left_max += node[left].add;
        if (right_any)
            right_max += node[right].add;
    }
    max = larger(left_max, right_max);
    while (left >>= 1)
        max += node[left].add;
    return max;
}
