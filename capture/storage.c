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

void nf_storage_map_deinit(struct nf_storage_map *m)
{
    nf_array_free(&m->live);
    nf_array_free(&m->starts);
}

/* Index of the first live storage that starts after address. Without a branch on what is compared: the addresses of
 * samples are unpredictable, and each wrong guess of the CPU costs as much as half the search. Three comparisons at once,
 * so that half as many steps wait for the one before. */
static size_t upper(const struct nf_storage_map *m, uint64_t address)
{
    const uint64_t *base = m->starts.v;
    size_t n = m->starts.n, more = 0;

    for (; n >= 4; n -= n / 4 * 3) {
        size_t q = n / 4;

        base += q * ((size_t)(base[q - 1] <= address) + (size_t)(base[2 * q - 1] <= address) +
                     (size_t)(base[3 * q - 1] <= address));
    }
    for (size_t i = 0; i < n; i++)
        more += base[i] <= address;
    return (size_t)(base - m->starts.v) + more;
}

struct nf_storage *nf_storage_map_find(const struct nf_storage_map *m, uint64_t address)
{
    size_t i = upper(m, address);
    struct nf_storage *s = i ? m->live.v[i - 1] : NULL;

    return s && address - s->address < s->bytes ? s : NULL;
}

/* Eight searches in step: each waits for memory while the others go on. A constant, so that all of it is unrolled. */
enum { LANES = 8 };

static inline __attribute__((always_inline)) void find_lanes(const struct nf_storage_map *m, const uint64_t *addresses,
                                                             struct nf_storage **out)
{
    const uint64_t *starts = m->starts.v;
    size_t at[LANES] = {0};

    /* Of what is left, at[] is known not to start after the address; the lowest never does: it is below all or checked. */
    for (size_t n = m->starts.n; n > 1; n -= n / 2)
        for (unsigned l = 0; l < LANES; l++)
            at[l] += starts[at[l] + n / 2] <= addresses[l] ? n / 2 : 0;
    for (unsigned l = 0; l < LANES; l++)
        __builtin_prefetch(m->live.v[at[l]]);
    for (unsigned l = 0; l < LANES; l++) {
        struct nf_storage *s = m->live.v[at[l]];

        out[l] = addresses[l] - s->address < s->bytes ? s : NULL;
    }
}

void nf_storage_map_find_each(const struct nf_storage_map *m, const uint64_t *addresses, size_t n, struct nf_storage **out)
{
    size_t i = 0;

    for (; m->starts.n && i + LANES <= n; i += LANES)
        find_lanes(m, addresses + i, out + i);
    for (; i < n; i++)
        out[i] = nf_storage_map_find(m, addresses[i]);
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

    if (nf_array_reserve(&m->live, m->live.n + 1) || nf_array_reserve(&m->starts, m->starts.n + 1))
        return -ENOMEM;
    memmove(m->live.v + i + 1, m->live.v + i, (m->live.n - i) * sizeof *m->live.v);
    memmove(m->starts.v + i + 1, m->starts.v + i, (m->starts.n - i) * sizeof *m->starts.v);
    m->live.v[i] = s;
    m->starts.v[i] = s->address;
    m->live.n++;
    m->starts.n++;
    return 0;
}

void nf_storage_map_remove(struct nf_storage_map *m, struct nf_storage *s)
{
    size_t i = upper(m, s->address);

    if (!i || m->live.v[i - 1] != s)
        return;
    memmove(m->live.v + i - 1, m->live.v + i, (m->live.n - i) * sizeof *m->live.v);
    memmove(m->starts.v + i - 1, m->starts.v + i, (m->starts.n - i) * sizeof *m->starts.v);
    m->live.n--;
    m->starts.n--;
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
