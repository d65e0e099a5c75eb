#include "capture/storage.h"

#include <stdlib.h>
#include <string.h>

struct nf_storage *nf_storage_new(uint64_t address, uint64_t bytes)
{
    struct nf_storage *s = calloc(1, sizeof *s);

    if (s) {
        s->address = address;
        s->bytes = bytes;
        s->number = UINT32_MAX;
        s->born_by = UINT32_MAX;
        s->carry_in = -1;
        s->alive = true;
    }
    return s;
}

struct nf_storage *nf_storage_free(struct nf_storage *s)
{
    if (s)
        nf_array_free(&s->roles);
    free(s);
    return NULL;
}

/* Index of the first live storage that starts after address. */
static size_t upper(const struct nf_storage_map *m, uint64_t address)
{
    size_t low = 0, high = m->live.n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (m->live.v[mid]->address <= address)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct nf_storage *nf_storage_map_find(const struct nf_storage_map *m, uint64_t address)
{
    size_t i = upper(m, address);
    struct nf_storage *s = i ? m->live.v[i - 1] : NULL;

    return s && address - s->address < s->bytes ? s : NULL;
}

struct nf_storage *nf_storage_map_overlap(const struct nf_storage_map *m, uint64_t address, uint64_t bytes)
{
    struct nf_storage *s = nf_storage_map_find(m, address);
    size_t i;

    if (s)
        return s;
    i = upper(m, address);
    s = i < m->live.n ? m->live.v[i] : NULL;
    return s && s->address - address < bytes ? s : NULL;
}

int nf_storage_map_add(struct nf_storage_map *m, struct nf_storage *s)
{
    size_t i = upper(m, s->address);

    if (nf_array_reserve(&m->live, m->live.n + 1))
        return -ENOMEM;
    memmove(m->live.v + i + 1, m->live.v + i, (m->live.n - i) * sizeof *m->live.v);
    m->live.v[i] = s;
    m->live.n++;
    return 0;
}

void nf_storage_map_remove(struct nf_storage_map *m, struct nf_storage *s)
{
    size_t i = upper(m, s->address);

    if (!i || m->live.v[i - 1] != s)
        return;
    memmove(m->live.v + i - 1, m->live.v + i, (m->live.n - i) * sizeof *m->live.v);
    m->live.n--;
}

int nf_storage_add_role(struct nf_storage *s, uint8_t role, uint32_t name)
{
    for (size_t i = 0; i < s->roles.n; i++)
        if (s->roles.v[i].role == role && s->roles.v[i].name == name)
            return 0;
    return nf_array_push(&s->roles, (struct nf_storage_role){role, name});
}

bool nf_storage_has_role(const struct nf_storage *s, uint8_t role)
{
    for (size_t i = 0; i < s->roles.n; i++)
        if (s->roles.v[i].role == role)
            return true;
    return false;
}
