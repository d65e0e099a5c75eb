#include "capture/sightings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capture/key-sort.h"
#include "core/base/array.h"
#include "core/base/rng.h"

/* A touch that waits for its op. */
struct touch {
    struct nf_storage *storage;
    uint64_t offset, bytes; /* whole units of the source's resolution, clipped to the storage */
    uint64_t time_ns, accesses, accessed_bytes;
    uint32_t order;
    uint8_t rw;
};

struct waiting {
    struct nf_sample sample;
    struct nf_storage *storage; /* NULL: none lived there yet; asked again when the op has ended */
};

struct source {
    struct nf_sighting_source is;
    struct nf_sighting_totals totals;
    struct nf_sighting_totals now; /* of the running step: counts once it has ended */
    NF_ARRAY(struct touch) touches;
    NF_ARRAY(struct nf_key) keys, scratch; /* touches in order */
    NF_ARRAY(struct nf_visit) visits;
    NF_ARRAY(struct nf_storage *) visited; /* parallel to visits */
    NF_ARRAY(struct waiting) waiting;
    NF_ARRAY(struct waiting) settled;
    NF_ARRAY(struct nf_sample) samples; /* of a finished step */
};

struct nf_sightings {
    struct source sources[NF_SIGHTING_SOURCES_MAX];
    unsigned n;
};

struct nf_sightings *nf_sightings_new(void)
{
    return calloc(1, sizeof(struct nf_sightings));
}

struct nf_sightings *nf_sightings_free(struct nf_sightings *s)
{
    if (!s)
        return NULL;
    for (unsigned i = 0; i < s->n; i++) {
        nf_array_free(&s->sources[i].touches);
        nf_array_free(&s->sources[i].keys);
        nf_array_free(&s->sources[i].scratch);
        nf_array_free(&s->sources[i].visits);
        nf_array_free(&s->sources[i].visited);
        nf_array_free(&s->sources[i].waiting);
        nf_array_free(&s->sources[i].settled);
        nf_array_free(&s->sources[i].samples);
    }
    free(s);
    return NULL;
}

int nf_sightings_add_source(struct nf_sightings *s, const struct nf_sighting_source *source)
{
    if (s->n == NF_SIGHTING_SOURCES_MAX)
        return -E2BIG;
    s->sources[s->n].is = *source;
    if (!source->resolution_bytes)
        s->sources[s->n].is.resolution_bytes = 1;
    return (int)s->n++;
}

unsigned nf_sightings_sources(const struct nf_sightings *s)
{
    return s->n;
}

int nf_sightings_ring_source(const struct nf_sightings *s)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->sources[i].is.in_ring)
            return (int)i;
    return -1;
}

const struct nf_sighting_totals *nf_sightings_totals(const struct nf_sightings *s, unsigned source)
{
    return &s->sources[source].totals;
}

int nf_sightings_touch(struct nf_sightings *s, unsigned source, uint64_t address, uint64_t bytes, uint8_t rw,
                       uint64_t accesses, uint64_t accessed_bytes, uint64_t time_ns, const struct nf_storage_map *live)
{
    struct source *from = &s->sources[source];
    uint64_t unit = from->is.resolution_bytes, end, counted = 0;

    from->totals.samples += accesses;
    if (__builtin_add_overflow(address, bytes, &end)) {
        from->now.unattributed += accesses;
        return 0;
    }
    /* A run may reach from one storage into its neighbour. */
    while (address < end) {
        struct nf_storage *storage = nf_storage_map_overlap(live, address, end - address);
        struct touch t = {.storage = storage, .time_ns = time_ns, .rw = rw};
        uint64_t start, stop, touched, share;

        if (!storage)
            break;
        start = address > storage->address ? address - storage->address : 0;
        touched = end - storage->address < storage->bytes ? end - storage->address : storage->bytes;
        touched -= start;
        address = storage->address + start + touched;
        t.offset = start / unit * unit;
        stop = (start + touched + unit - 1) / unit * unit;
        t.bytes = (stop < storage->bytes ? stop : storage->bytes) - t.offset;
        /* What is left goes to the last storage, so that nothing is lost to rounding. */
        share = address >= end ? accesses - counted : (uint64_t)((double)accesses * (double)touched / (double)bytes);
        t.accesses = share;
        t.accessed_bytes = (uint64_t)((double)accessed_bytes * (double)touched / (double)bytes);
        counted += share;
        t.order = (uint32_t)from->touches.n;
        if (nf_array_push(&from->touches, t))
            return -ENOMEM;
    }
    from->now.unattributed += accesses - counted;
    return 0;
}

/* One unit of the source was touched at an address: it is the storage's there, else that of one with bytes in the unit. */
static int touch_unit(struct source *from, const struct nf_sample *sample, struct nf_storage *storage,
                      const struct nf_storage_map *live)
{
    uint64_t unit = from->is.resolution_bytes, at = sample->address / unit * unit, end;
    struct touch t;

    from->totals.samples++;
    if (!storage && at <= UINT64_MAX - unit)
        storage = nf_storage_map_overlap(live, at, unit);
    if (!storage) {
        from->now.unattributed++;
        return 0;
    }
    end = at + unit - storage->address;
    t = (struct touch){
        .storage = storage,
        .offset = at > storage->address ? at - storage->address : 0,
        .time_ns = sample->time_ns,
        .accesses = 1,
        .accessed_bytes = unit,
        .order = (uint32_t)from->touches.n,
        .rw = sample->rw,
    };
    t.bytes = (end < storage->bytes ? end : storage->bytes) - t.offset;
    return nf_array_push(&from->touches, t);
}

static int keep_sample(struct source *from, const struct nf_sample *sample, struct nf_storage *storage)
{
    struct waiting w = {*sample, storage};

    from->totals.samples++;
    if (!storage) {
        from->now.unattributed++;
        return 0;
    }
    w.sample.offset = sample->address - storage->address;
    return nf_array_push(&from->waiting, w);
}

int nf_sightings_samples(struct nf_sightings *s, unsigned source, const struct nf_sample *const *samples, size_t n,
                         const struct nf_storage_map *live)
{
    enum { AT_ONCE = 64 };
    struct source *from = &s->sources[source];
    struct nf_storage *storages[AT_ONCE];
    uint64_t addresses[AT_ONCE];
    int rc = 0;

    for (size_t i = 0, m; i < n && !rc; i += m) {
        m = n - i < AT_ONCE ? n - i : AT_ONCE;
        for (size_t k = 0; k < m; k++)
            addresses[k] = samples[i + k]->address;
        nf_storage_map_find_each(live, addresses, m, storages);
        for (size_t k = 0; k < m && !rc; k++)
            rc = from->is.sees_all ? touch_unit(from, samples[i + k], storages[k], live)
                                   : keep_sample(from, samples[i + k], storages[k]);
    }
    return rc;
}

static int by_place(const void *a, const void *b)
{
    const struct touch *x = a, *y = b;

    if (x->storage != y->storage)
        return x->storage->address != y->storage->address ? (x->storage->address > y->storage->address) * 2 - 1
                                                          : (x->storage > y->storage) * 2 - 1;
    if (x->offset != y->offset)
        return x->offset > y->offset ? 1 : -1;
    return x->order > y->order ? 1 : -1;
}

static int by_place_of(const void *a, const void *b, void *touches)
{
    const struct nf_key *x = a, *y = b;
    const struct touch *t = touches;

    return by_place(&t[x->at], &t[y->at]);
}

/* keys.v[0..n): the touches by place. Storages that live do not overlap, so that an address tells them apart; the dead,
 * whose place may have been given away since, stand behind them. */
static int sort_touches(struct source *from)
{
    size_t n = from->touches.n, live = 0, dead = n;

    if (nf_array_reserve(&from->keys, n) || nf_array_reserve(&from->scratch, n))
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct touch *t = &from->touches.v[i];

        from->keys.v[t->storage->alive ? live++ : --dead] =
            (struct nf_key){t->storage->address + t->offset, (uint32_t)i};
    }
    nf_keys_sort(from->keys.v, live, from->scratch.v);
    if (dead < n)
        qsort_r(from->keys.v + dead, n - dead, sizeof *from->keys.v, by_place_of, from->touches.v);
    return 0;
}

/* What the op's own visits say of an extent that was touched once by who knows what. */
static uint8_t inferred_rw(const struct nf_storage *storage, const struct nf_visit *visits,
                           struct nf_storage *const *visited, size_t n)
{
    uint8_t rw = NF_RW_READ;

    for (size_t i = 0; i < n; i++)
        if (visited[i] == storage && visits[i].rw != NF_RW_READ)
            rw = visits[i].rw == NF_RW_WRITE && rw == NF_RW_READ ? NF_RW_WRITE : NF_RW_UPDATE;
    return rw;
}

struct op_view {
    uint32_t op;
    uint64_t start_ns;
    const struct nf_visit *visits;
    struct nf_storage *const *visited;
    size_t n_visits;
};

/* All touches of one page in one op are one touch: read, write, or read and then written. */
static struct nf_visit page_visit(const struct source *from, const struct nf_key *keys, size_t n, const struct op_view *op)
{
    const struct touch *t = &from->touches.v[keys[0].at], *last = &from->touches.v[keys[n - 1].at];
    struct nf_visit v = {.op = op->op, .offset = t->offset, .bytes = t->bytes, .run = t->bytes, .stride = t->bytes,
                         .touches_q8 = 256, .evidence = from->is.evidence, .pattern = NF_PATTERN_STREAM};

    if (last->time_ns < op->start_ns)
        v.touches_q8 = NF_SIGHTING_BETWEEN;
    if (from->is.rw_observed)
        v.rw = t->rw == NF_RW_WRITE ? NF_RW_WRITE : last->rw == NF_RW_WRITE ? NF_RW_UPDATE : NF_RW_READ;
    else
        v.rw = n > 1 ? NF_RW_UPDATE : inferred_rw(t->storage, op->visits, op->visited, op->n_visits);
    return v;
}

static struct nf_visit counted_visit(const struct source *from, const struct touch *t, const struct op_view *op)
{
    uint64_t touches = t->bytes ? (t->accessed_bytes * 256 + t->bytes / 2) / t->bytes : 0;

    touches = touches < 1 ? 1 : touches > UINT16_MAX ? UINT16_MAX : touches;
    return (struct nf_visit){.op = op->op, .offset = t->offset, .bytes = t->bytes, .run = t->bytes, .stride = t->bytes,
                             .touches_q8 = t->time_ns < op->start_ns ? NF_SIGHTING_BETWEEN : (uint16_t)touches,
                             .evidence = from->is.evidence, .pattern = NF_PATTERN_STREAM,
                             .rw = t->rw == NF_RW_WRITE ? NF_RW_WRITE : NF_RW_READ};
}

static int add_visit(struct source *from, const struct nf_visit *v, struct nf_storage *storage)
{
    struct nf_visit *last = from->visits.n ? &from->visits.v[from->visits.n - 1] : NULL;

    if (last && last->op == v->op && from->visited.v[from->visited.n - 1] == storage && last->rw == v->rw &&
        last->touches_q8 == v->touches_q8 && last->offset + last->bytes == v->offset) {
        last->bytes += v->bytes;
        last->run = last->stride = last->bytes;
        return 0;
    }
    if (nf_array_reserve(&from->visits, from->visits.n + 1) || nf_array_push(&from->visited, storage))
        return -ENOMEM;
    return nf_array_push(&from->visits, *v);
}

static int settle_touches(struct source *from, const struct op_view *op)
{
    size_t n = from->touches.n, next;
    int rc = n ? sort_touches(from) : 0;

    for (size_t i = 0; i < n && !rc; i = next) {
        const struct nf_key *keys = from->keys.v + i;
        const struct touch *t = &from->touches.v[keys->at], *other;
        struct nf_visit v;

        for (next = i; next < n; next++) {
            other = &from->touches.v[from->keys.v[next].at];
            if (next > i && (from->is.in_ring || other->storage != t->storage || other->offset != t->offset))
                break;
            from->now.attributed += other->accesses;
            from->now.between_ops += other->time_ns < op->start_ns ? other->accesses : 0;
        }
        v = from->is.in_ring ? counted_visit(from, t, op) : page_visit(from, keys, next - i, op);
        rc = add_visit(from, &v, t->storage);
    }
    from->touches.n = 0;
    return rc;
}

static int settle_samples(struct source *from, const struct op_view *op)
{
    for (size_t i = 0; i < from->waiting.n; i++) {
        struct waiting *w = &from->waiting.v[i];

        from->now.attributed++;
        if (w->sample.time_ns < op->start_ns)
            from->now.between_ops++;
        w->sample.op = w->sample.time_ns < op->start_ns ? NF_SAMPLE_NONE : op->op;
        if (nf_array_push(&from->settled, *w))
            return -ENOMEM;
    }
    from->waiting.n = 0;
    return 0;
}

int nf_sightings_op(struct nf_sightings *s, uint32_t op, uint64_t start_ns, const struct nf_visit *visits,
                    struct nf_storage *const *visited, size_t n_visits)
{
    const struct op_view view = {op, start_ns, visits, visited, n_visits};
    int rc = 0;

    for (unsigned i = 0; i < s->n && !rc; i++) {
        rc = settle_touches(&s->sources[i], &view);
        if (!rc)
            rc = settle_samples(&s->sources[i], &view);
    }
    return rc;
}

static int by_number(const void *a, const void *b)
{
    const struct nf_visit *x = a, *y = b;

    if (x->op != y->op)
        return x->op > y->op ? 1 : -1;
    if (x->tensor != y->tensor)
        return x->tensor > y->tensor ? 1 : -1;
    if (x->offset != y->offset)
        return x->offset > y->offset ? 1 : -1;
    return (x->rw > y->rw) - (x->rw < y->rw);
}

/* What still waits at the end of a step goes to the next one's first op, unless its storage goes away with this step. */
static void forget_dead(struct source *from)
{
    size_t kept = 0;

    for (size_t i = 0; i < from->touches.n; i++) {
        if (from->touches.v[i].storage->alive)
            from->touches.v[kept++] = from->touches.v[i];
        else
            from->now.unattributed += from->touches.v[i].accesses;
    }
    from->touches.n = kept;
    kept = 0;
    for (size_t i = 0; i < from->waiting.n; i++) {
        if (!from->waiting.v[i].storage || from->waiting.v[i].storage->alive)
            from->waiting.v[kept++] = from->waiting.v[i];
        else
            from->now.unattributed++;
    }
    from->waiting.n = kept;
}

int nf_sightings_finish(struct nf_sightings *s, uint32_t step, struct nf_seen *seen)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct source *from = &s->sources[i];
        uint64_t hash = from->visits.n;

        from->samples.n = 0;
        forget_dead(from);
        for (size_t k = 0; k < from->visits.n; k++)
            from->visits.v[k].tensor = from->visited.v[k]->number;
        /* Addresses differ from step to step, numbers do not. */
        if (from->visits.n)
            qsort(from->visits.v, from->visits.n, sizeof *from->visits.v, by_number);
        for (size_t k = 0; k < from->visits.n; k++) {
            const struct nf_visit *v = &from->visits.v[k];

            hash = nf_hash_add(hash, (uint64_t)v->op << 32 | v->tensor);
            hash = nf_hash_add(hash, v->offset);
            hash = nf_hash_add(hash, v->bytes ^ (uint64_t)v->rw << 62);
        }
        for (size_t k = 0; k < from->settled.n; k++) {
            struct nf_sample *sample = &from->settled.v[k].sample;

            sample->step = step;
            sample->tensor = from->settled.v[k].storage->number;
            if (nf_array_push(&from->samples, *sample))
                return -ENOMEM;
        }
        from->totals.attributed += from->now.attributed;
        from->totals.between_ops += from->now.between_ops;
        from->totals.unattributed += from->now.unattributed;
        from->now = (struct nf_sighting_totals){0};
        seen[i] = (struct nf_seen){from->visits.v, (uint32_t)from->visits.n, hash, from->samples.v,
                                   (uint32_t)from->samples.n};
    }
    return 0;
}

void nf_sightings_turn(struct nf_sightings *s)
{
    for (unsigned i = 0; i < s->n; i++)
        s->sources[i].visits.n = s->sources[i].visited.n = s->sources[i].settled.n = 0;
}

void nf_sightings_outside(struct nf_sightings *s, unsigned source, uint64_t samples)
{
    s->sources[source].totals.samples += samples;
}
