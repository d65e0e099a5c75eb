/* The map of live storages against one that looks at every storage, while storages come and go between the queries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "capture/storage.h"
#include "core/base/rng.h"

enum { STORAGES = 700, ROUNDS = 60000, SPAN = 2 << 20 };

static struct nf_storage *all[STORAGES];
static size_t n_all;

static struct nf_storage *look(uint64_t address, uint64_t bytes)
{
    struct nf_storage *first = NULL;

    for (size_t i = 0; i < n_all; i++) {
        struct nf_storage *s = all[i];

        if (s->address < address + bytes && address < s->address + s->bytes && (!first || s->address < first->address))
            first = s;
    }
    return first;
}

static void find_each(const struct nf_storage_map *map, struct nf_rng *r, size_t n)
{
    uint64_t addresses[30] = {0};
    struct nf_storage *out[30];

    for (size_t i = 0; i < n; i++)
        addresses[i] = i % 10 ? 0x7f0000000000 + nf_rng_below(r, SPAN) : nf_rng_below(r, 2) - 1;
    nf_storage_map_find_each(map, addresses, n, out);
    for (size_t i = 0; i < n; i++)
        assert_ptr_equal(out[i], look(addresses[i], 1));
}

static void finds_what_lives(void **state)
{
    static struct nf_storage_map map;
    struct nf_rng r = {31};
    unsigned found = 0;

    assert_null(nf_storage_map_find(&map, 0));
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t address = 0x7f0000000000 + nf_rng_below(&r, SPAN), bytes = 1 + nf_rng_below(&r, 1ull << nf_rng_below(&r, 16));
        struct nf_storage *s;

        switch (nf_rng_below(&r, 16)) {
        case 0:
            s = look(address, bytes);
            assert_ptr_equal(nf_storage_map_overlap(&map, address, bytes), s);
            if (s || n_all == STORAGES)
                break;
            all[n_all] = nf_storage_new(address, bytes);
            assert_int_equal(nf_storage_map_add(&map, all[n_all++]), 0);
            break;
        case 1:
            if (n_all && nf_rng_below(&r, 4) == 0) {
                size_t i = nf_rng_below(&r, n_all);

                nf_storage_map_remove(&map, all[i]);
                nf_storage_free(all[i]); /* a sanitizer sees any use of it after this */
                all[i] = all[--n_all];
            }
            break;
        case 2: /* the edges */
            if (n_all) {
                s = all[nf_rng_below(&r, n_all)];
                assert_ptr_equal(nf_storage_map_find(&map, s->address), s);
                assert_ptr_equal(nf_storage_map_find(&map, s->address + s->bytes - 1), s);
                assert_ptr_equal(nf_storage_map_find(&map, s->address + s->bytes), look(s->address + s->bytes, 1));
                assert_ptr_equal(nf_storage_map_find(&map, s->address - 1), look(s->address - 1, 1));
            }
            break;
        default:
            s = look(address, 1);
            found += s != NULL;
            assert_ptr_equal(nf_storage_map_find(&map, address), s);
            find_each(&map, &r, round % 30);
        }
    }
    assert_true(found > ROUNDS / 10 && n_all > 100);
    assert_null(nf_storage_map_find(&map, UINT64_MAX));
    assert_null(nf_storage_map_find(&map, 0));
    while (n_all) {
        nf_storage_map_remove(&map, all[--n_all]);
        nf_storage_free(all[n_all]);
    }
    assert_null(nf_storage_map_find(&map, 0x7f0000000000));
    nf_storage_map_deinit(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_what_lives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
