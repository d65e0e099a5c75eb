#include "capture/id-map.h"

#include <stdlib.h>

#include "core/base/rng.h"

enum { PLACES_MIN = 64 };

static struct nf_id_place *place_of(const struct nf_id_map *m, uint64_t id)
{
    size_t i = (size_t)nf_mix64(id) & m->mask;

    while (m->places[i].used && m->places[i].id != id)
        i = (i + 1) & m->mask;
    return &m->places[i];
}

static int grow(struct nf_id_map *m)
{
    struct nf_id_map bigger = {.n = m->n, .mask = m->places ? 2 * m->mask + 1 : PLACES_MIN - 1};

    bigger.places = calloc(bigger.mask + 1, sizeof *bigger.places);
    if (!bigger.places)
        return -1;
    for (size_t i = 0; m->places && i <= m->mask; i++)
        if (m->places[i].used)
            *place_of(&bigger, m->places[i].id) = m->places[i];
    free(m->places);
    *m = bigger;
    return 0;
}

uint32_t *nf_id_map_add(struct nf_id_map *m, uint64_t id, uint32_t value, bool *is_new)
{
    struct nf_id_place *p;

    /* At most two thirds full. */
    if ((!m->places || 3 * (m->n + 1) > 2 * (m->mask + 1)) && grow(m))
        return NULL;
    p = place_of(m, id);
    *is_new = !p->used;
    if (!p->used) {
        *p = (struct nf_id_place){id, value, true};
        m->n++;
    }
    return &p->value;
}

uint32_t *nf_id_map_find(const struct nf_id_map *m, uint64_t id)
{
    struct nf_id_place *p = m->places ? place_of(m, id) : NULL;

    return p && p->used ? &p->value : NULL;
}

void nf_id_map_deinit(struct nf_id_map *m)
{
    free(m->places);
    *m = (struct nf_id_map){0};
}
