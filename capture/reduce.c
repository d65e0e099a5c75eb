#include "capture/reduce.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/rng.h"

/* A text longer than this is not a name; the rest is cut. */
enum { TEXT_MAX = 4096, TEXTS_MAX = 1 << 22 };
enum { TOUCHES_ONCE = 256, PHASE_UNSET = 0xff };
/* No user address is wider than with five-level page tables. Larger numbers come from a broken ring, and their sums would
 * not fit a study's signed integers. */
#define ADDRESS_MAX (1ull << 56)

struct text {
    char *chars;
    uint64_t hash;
};

/* A place for a storage that outlives its step. The same kind of storage gets the same slot again. */
struct slot {
    uint64_t key;
    struct nf_storage *occupant;
};

struct pending_free {
    struct nf_storage *storage;
    uint64_t time_ns;
};

struct nf_reduce {
    bool with_visits;
    int (*sink)(void *context, const struct nf_step *step);
    void *context;
    struct nf_reduce_totals totals;
    NF_ARRAY(struct text) texts;
    NF_ARRAY(uint32_t) threads; /* kernel ids, dense index = position */

    struct nf_storage_map map;
    NF_ARRAY(struct slot) slots;
    struct nf_sightings *sightings;
    bool training;
    bool op_open;         /* the last event was an op or one of its visits: more of them may come */
    size_t op_visits;     /* where its visits begin */

    /* The running step. */
    NF_ARRAY(struct nf_step_op) ops;
    NF_ARRAY(struct nf_visit) visits;
    NF_ARRAY(struct nf_storage *) visited; /* parallel to visits */
    NF_ARRAY(struct nf_storage *) storages; /* carried in by slot, then born in order */
    NF_ARRAY(struct pending_free) frees;
    size_t unphased; /* storages from here on have no birth phase yet */

    /* Scratch of a finished step. */
    NF_ARRAY(struct nf_step_tensor) tensors;
    NF_ARRAY(struct nf_step_role) roles;
    NF_ARRAY(int64_t) live_delta;
};

struct nf_reduce *nf_reduce_new(bool with_visits, int (*sink)(void *, const struct nf_step *), void *context)
{
    struct nf_reduce *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->with_visits = with_visits;
    r->sink = sink;
    r->context = context;
    r->totals.world = 1;
    r->sightings = nf_sightings_new();
    if (!r->sightings || nf_array_push(&r->texts, (struct text){NULL, 0}))
        return nf_reduce_free(r);
    return r;
}

struct nf_reduce *nf_reduce_free(struct nf_reduce *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->texts.n; i++)
        free(r->texts.v[i].chars);
    for (size_t i = 0; i < r->storages.n; i++)
        nf_storage_free(r->storages.v[i]);
    nf_sightings_free(r->sightings);
    nf_array_free(&r->texts);
    nf_array_free(&r->threads);
    nf_storage_map_deinit(&r->map);
    nf_array_free(&r->slots);
    nf_array_free(&r->ops);
    nf_array_free(&r->visits);
    nf_array_free(&r->visited);
    nf_array_free(&r->storages);
    nf_array_free(&r->frees);
    nf_array_free(&r->tensors);
    nf_array_free(&r->roles);
    nf_array_free(&r->live_delta);
    free(r);
    return NULL;
}

const struct nf_reduce_totals *nf_reduce_totals(const struct nf_reduce *r)
{
    return &r->totals;
}

const char *nf_reduce_text(const struct nf_reduce *r, uint32_t number)
{
    return number < r->texts.n && r->texts.v[number].chars ? r->texts.v[number].chars : "";
}

static uint64_t text_hash(const struct nf_reduce *r, uint32_t number)
{
    return number < r->texts.n ? r->texts.v[number].hash : 0;
}

static int on_text(struct nf_reduce *r, const struct nf_event *e)
{
    size_t length = e->name < TEXT_MAX ? e->name : TEXT_MAX, at = e->module, n;
    struct text *t;

    if (!e->id || e->id > TEXTS_MAX)
        return nf_fail(-EBADMSG, "the job sent text number %u", e->id);
    while (r->texts.n <= e->id)
        if (nf_array_push(&r->texts, (struct text){NULL, 0}))
            return -ENOMEM;
    t = &r->texts.v[e->id];
    if (!t->chars)
        t->chars = calloc(length + 1, 1);
    if (!t->chars)
        return -ENOMEM;
    if (at >= length)
        return 0;
    n = length - at < NF_RING_TEXT ? length - at : NF_RING_TEXT;
    /* Pieces of one text come in order; an earlier length may be shorter only in a broken ring. */
    if (strlen(t->chars) != at)
        return 0;
    t->chars = realloc(t->chars, length + 1);
    if (!t->chars)
        return -ENOMEM;
    memcpy(t->chars + at, e->text, n);
    t->chars[at + n] = '\0';
    t->hash = nf_hash_bytes(t->chars, strlen(t->chars));
    return 0;
}

static int thread_index(struct nf_reduce *r, uint32_t tid, uint8_t *out)
{
    for (size_t i = 0; i < r->threads.n; i++) {
        if (r->threads.v[i] == tid) {
            *out = (uint8_t)(i < UINT8_MAX ? i : UINT8_MAX);
            return 0;
        }
    }
    *out = (uint8_t)(r->threads.n < UINT8_MAX ? r->threads.n : UINT8_MAX);
    return nf_array_push(&r->threads, tid);
}

/* --- storages --- */

static bool is_extent(uint64_t address, uint64_t bytes)
{
    return address && bytes && bytes <= ADDRESS_MAX && address <= ADDRESS_MAX - bytes;
}

static int new_storage(struct nf_reduce *r, uint64_t address, uint64_t bytes, bool foreign, struct nf_storage **out)
{
    struct nf_storage *s = nf_storage_new(address, bytes);
    int rc;

    if (!s)
        return -ENOMEM;
    s->birth = (int32_t)r->ops.n;
    s->birth_phase = PHASE_UNSET;
    s->foreign = foreign;
    rc = nf_array_push(&r->storages, s);
    if (rc) {
        nf_storage_free(s);
        return rc;
    }
    *out = s;
    return nf_storage_map_add(&r->map, s);
}

static int end_storage(struct nf_reduce *r, struct nf_storage *s, uint64_t time_ns)
{
    s->alive = false;
    nf_storage_map_remove(&r->map, s);
    if (!s->foreign)
        r->totals.live_bytes -= s->bytes;
    return nf_array_push(&r->frees, (struct pending_free){s, time_ns});
}

static int on_alloc(struct nf_reduce *r, const struct nf_event *e)
{
    struct nf_storage *s;
    int rc;

    if (!is_extent(e->address, e->a))
        return 0;
    /* Still known there: its free was lost, or it was foreign and its end unseen. */
    while ((s = nf_storage_map_overlap(&r->map, e->address, e->a))) {
        rc = end_storage(r, s, e->time_ns);
        if (rc)
            return rc;
    }
    r->totals.live_bytes += e->a;
    if (r->totals.live_bytes > r->totals.tracked_peak_bytes)
        r->totals.tracked_peak_bytes = r->totals.live_bytes;
    return new_storage(r, e->address, e->a, false, &s);
}

static int on_free(struct nf_reduce *r, const struct nf_event *e)
{
    struct nf_storage *s = nf_storage_map_find(&r->map, e->address);

    return s && s->address == e->address ? end_storage(r, s, e->time_ns) : 0;
}

static int on_tensor(struct nf_reduce *r, const struct nf_event *e)
{
    struct nf_storage *s = nf_storage_map_find(&r->map, e->address);
    int rc;

    if (!is_extent(e->address, e->a))
        return 0;
    if (!s) {
        struct nf_storage *old;

        while ((old = nf_storage_map_overlap(&r->map, e->address, e->a))) {
            rc = end_storage(r, old, e->time_ns);
            if (rc)
                return rc;
        }
        rc = new_storage(r, e->address, e->a, true, &s);
        if (rc)
            return rc;
    }
    if (e->id)
        s->dtype = e->id;
    if (e->c && e->c <= TEXTS_MAX)
        s->shape = (uint32_t)e->c;
    if (e->n)
        s->device = e->n;
    if (e->name && (e->b || !s->name))
        s->name = e->name;
    if (e->module && (e->b || !s->module))
        s->module = e->module;
    return e->b && e->b < NF_ROLE_COUNT ? nf_storage_add_role(s, (uint8_t)e->b, e->name) : 0;
}

/* --- ops and visits --- */

/* A free is seen at its time, an op only at its end: what was freed before the op began died with the op before. */
static void settle_frees(struct nf_reduce *r, int32_t op, uint64_t start_ns)
{
    for (size_t i = 0; i < r->frees.n; i++) {
        struct nf_storage *s = r->frees.v[i].storage;

        s->death = r->frees.v[i].time_ns >= start_ns || op == 0 ? op : op - 1;
        if (s->death < s->birth)
            s->death = s->birth;
    }
    r->frees.n = 0;
}

static int on_op(struct nf_reduce *r, const struct nf_event *e)
{
    struct nf_step_op op = {
        .name = e->id,
        .module = e->module,
        .raw_module = e->module,
        .microbatch = e->microbatch,
        .phase = e->phase < NF_PHASE_COUNT ? e->phase : NF_PHASE_OTHER,
        .start_ns = e->a,
        .dur_ns = e->b,
    };
    int rc = thread_index(r, e->thread, &op.thread);

    if (rc)
        return rc;
    settle_frees(r, (int32_t)r->ops.n, e->a);
    for (; r->unphased < r->storages.n; r->unphased++)
        if (r->storages.v[r->unphased]->birth_phase == PHASE_UNSET)
            r->storages.v[r->unphased]->birth_phase = op.phase;
    r->totals.ops++;
    r->op_open = true;
    r->op_visits = r->visits.n;
    return nf_array_push(&r->ops, op);
}

/* Once an op's visits are all there, what the other sources saw until it ended is its. */
static int close_op(struct nf_reduce *r)
{
    if (!r->op_open)
        return 0;
    r->op_open = false;
    return nf_sightings_op(r->sightings, (uint32_t)r->ops.n - 1, r->ops.v[r->ops.n - 1].start_ns,
                           r->visits.v + r->op_visits, r->visited.v + r->op_visits, r->visits.n - r->op_visits);
}

int nf_reduce_add_source(struct nf_reduce *r, const struct nf_sighting_source *source)
{
    return nf_sightings_add_source(r->sightings, source);
}

int nf_reduce_samples(struct nf_reduce *r, unsigned source, const struct nf_sample *const *samples, size_t n)
{
    int rc = close_op(r);

    if (rc)
        return rc;
    if (r->training)
        return nf_sightings_samples(r->sightings, source, samples, n, &r->map);
    nf_sightings_outside(r->sightings, source, n);
    return 0;
}

static int on_touch(struct nf_reduce *r, const struct nf_event *e)
{
    int source = nf_sightings_ring_source(r->sightings);

    if (source < 0)
        return 0;
    if (r->training)
        return nf_sightings_touch(r->sightings, (unsigned)source, e->address, e->a, e->rw, e->b, e->c, e->time_ns, &r->map);
    nf_sightings_outside(r->sightings, (unsigned)source, e->b);
    return 0;
}

const struct nf_storage_map *nf_reduce_live(const struct nf_reduce *r)
{
    return &r->map;
}

const struct nf_sighting_totals *nf_reduce_sighted(const struct nf_reduce *r, unsigned source)
{
    return nf_sightings_totals(r->sightings, source);
}

/* Do all runs of the visit end within room bytes of its start? */
static bool fits(const struct nf_visit *v, uint64_t room)
{
    uint64_t runs = v->bytes / v->run + (v->bytes % v->run != 0), last;

    return v->bytes <= room && !__builtin_mul_overflow(runs - 1, v->stride, &last) && last <= room &&
           v->run <= room - last;
}

static int on_visit(struct nf_reduce *r, const struct nf_event *e)
{
    struct nf_storage *s = nf_storage_map_find(&r->map, e->address);
    struct nf_visit v = {.touches_q8 = e->n ? e->n : TOUCHES_ONCE, .parallelism = e->id < UINT8_MAX ? (uint8_t)e->id : UINT8_MAX, .evidence = NF_ACCESS_FRAMEWORK, .rw = e->rw, .pattern = e->pattern};
    const struct nf_step_op *op;
    int rc;

    if (!r->with_visits)
        return 0;
    /* A storage that came after the op cannot have been touched by it. */
    if (!s || !r->ops.n || s->birth >= (int32_t)r->ops.n || !e->a || e->rw >= NF_RW_COUNT ||
        e->pattern >= NF_PATTERN_COUNT) {
        r->totals.unattributed_visits++;
        r->totals.unattributed_bytes += e->a;
        return 0;
    }
    op = &r->ops.v[r->ops.n - 1];
    v.op = (uint32_t)r->ops.n - 1;
    v.offset = e->address - s->address;
    v.bytes = e->a;
    v.run = e->b && e->b < e->a ? e->b : e->a;
    v.stride = v.run < v.bytes && e->c > v.run ? e->c : v.run;
    if (v.stride == v.run)
        v.run = v.stride = v.bytes;
    if (!fits(&v, s->bytes - v.offset)) {
        uint64_t room = s->bytes - v.offset;

        /* The average stride of a several-dimensional view may overshoot by less than a run; more is a mistake. */
        if (v.bytes > room)
            v.bytes = room;
        v.run = v.stride = v.bytes;
    }
    if (v.rw != NF_RW_READ && s->born_by == UINT32_MAX) {
        s->born_by = v.op;
        if (!s->module)
            s->module = op->raw_module;
        if (!s->name)
            s->name = op->name;
    }
    s->is_operand = s->visited_step = true;
    if (op->phase == NF_PHASE_BACKWARD || op->phase == NF_PHASE_RECOMPUTE)
        s->visited_backward = true;
    rc = nf_array_push(&r->visits, v);
    return rc ? rc : nf_array_push(&r->visited, s);
}

/* Backward and optimizer ops carry no module of their own: they work for the module whose forward made (or which owns)
 * the first of their operands that has one; without any, for the one the op before worked for. */
static void attribute_modules(struct nf_reduce *r)
{
    uint32_t last = 0;
    size_t at = 0;

    for (size_t i = 0; i < r->ops.n; i++) {
        struct nf_step_op *op = &r->ops.v[i];
        bool derived = !op->raw_module && (op->phase == NF_PHASE_BACKWARD || op->phase == NF_PHASE_OPTIMIZER);

        for (; at < r->visits.n && r->visits.v[at].op == i; at++)
            if (derived && !op->module)
                op->module = r->visited.v[at]->module;
        if (derived && !op->module)
            op->module = last;
        if (derived)
            last = op->module;
    }
}

/* --- the end of a step --- */

static uint64_t slot_key(const struct nf_reduce *r, const struct nf_storage *s)
{
    uint64_t key = nf_hash_add(s->bytes, text_hash(r, s->name));

    return nf_hash_add(key, s->roles.n ? s->roles.v[0].role : 0);
}

static int assign_slot(struct nf_reduce *r, struct nf_storage *s, int32_t *out)
{
    uint64_t key = slot_key(r, s);

    for (size_t i = 0; i < r->slots.n; i++) {
        if (r->slots.v[i].key == key && !r->slots.v[i].occupant) {
            r->slots.v[i].occupant = s;
            *out = (int32_t)i;
            return 0;
        }
    }
    *out = (int32_t)r->slots.n;
    return nf_array_push(&r->slots, (struct slot){key, s});
}

static uint8_t derive_role(const struct nf_storage *s)
{
    static const uint8_t announced[] = {NF_ROLE_PARAMETER, NF_ROLE_FROZEN, NF_ROLE_OPTIMIZER, NF_ROLE_GRADIENT};

    for (size_t i = 0; i < sizeof announced; i++)
        if (nf_storage_has_role(s, announced[i]))
            return announced[i];
    if (s->checkpoint)
        return NF_ROLE_CHECKPOINT;
    if (nf_storage_has_role(s, NF_ROLE_INPUT))
        return NF_ROLE_INPUT;
    if (!s->is_operand)
        return NF_ROLE_SCRATCH;
    switch (s->birth_phase) {
    case NF_PHASE_FORWARD:
    case NF_PHASE_RECOMPUTE: return s->visited_backward ? NF_ROLE_SAVED : NF_ROLE_FORWARD_TEMP;
    case NF_PHASE_BACKWARD: return NF_ROLE_BACKWARD_TEMP;
    case NF_PHASE_OPTIMIZER: return NF_ROLE_OPTIMIZER_TEMP;
    default: return NF_ROLE_UNKNOWN;
    }
}

static int add_roles(struct nf_reduce *r, const struct nf_storage *s, const struct nf_step_tensor *t, uint32_t number)
{
    struct nf_step_role role = {.tensor = number, .from_op = t->birth, .to_op = t->death};
    bool has_main = false;
    int rc;

    for (size_t i = 0; i < s->roles.n; i++) {
        role.role = s->roles.v[i].role;
        role.name = s->roles.v[i].name;
        has_main |= role.role == t->role;
        rc = nf_array_push(&r->roles, role);
        if (rc)
            return rc;
    }
    if (has_main)
        return 0;
    role.role = t->role;
    role.name = s->name;
    return nf_array_push(&r->roles, role);
}

/* A recomputed storage is born in phase recompute; whether it is "saved" shows like that of any other. A storage born in
 * forward and visited only by the recomputation is an input of the segment: a checkpoint also when not announced. */
static int build_tensors(struct nf_reduce *r)
{
    int32_t last_op = (int32_t)r->ops.n - 1;
    int rc;

    for (size_t i = 0; i < r->storages.n; i++) {
        struct nf_storage *s = r->storages.v[i];
        struct nf_step_tensor t = {
            .bytes = s->bytes,
            .address = s->address,
            .carry_in = s->carry_in,
            .carry_out = -1,
            .dtype = s->dtype,
            .shape = s->shape,
            .name = s->name,
            .module = s->module,
            .device = s->device,
            .birth_phase = s->birth_phase == PHASE_UNSET ? NF_PHASE_OTHER : s->birth_phase,
            .tracked = s->is_operand,
        };

        s->number = (uint32_t)i;
        t.birth = s->carry_in >= 0 ? NF_OP_BEFORE : s->birth > last_op ? last_op : s->birth;
        t.death = s->alive ? NF_OP_AFTER : s->death > last_op ? last_op : s->death;
        t.role = derive_role(s);
        if (s->alive) {
            if (s->carry_in >= 0)
                t.carry_out = s->carry_in;
            else
                rc = assign_slot(r, s, &t.carry_out);
            if (s->carry_in < 0 && rc)
                return rc;
        }
        rc = nf_array_push(&r->tensors, t);
        if (!rc)
            rc = add_roles(r, s, &t, (uint32_t)i);
        if (rc)
            return rc;
    }
    return 0;
}

/* How much of the step's peak was never an operand: at op granularity, at the op where all live bytes peak. */
static int account_untracked(struct nf_reduce *r)
{
    size_t n = r->ops.n + 1;
    int64_t live = 0, untracked = 0, best = -1;

    if (nf_array_reserve(&r->live_delta, 2 * n))
        return -ENOMEM;
    memset(r->live_delta.v, 0, 2 * n * sizeof *r->live_delta.v);
    for (size_t i = 0; i < r->tensors.n; i++) {
        const struct nf_step_tensor *t = &r->tensors.v[i];
        size_t from = t->birth < 0 ? 0 : (size_t)t->birth;
        size_t to = t->death >= (int32_t)r->ops.n ? n - 1 : (size_t)t->death + 1;

        r->live_delta.v[2 * from] += (int64_t)t->bytes;
        r->live_delta.v[2 * to] -= (int64_t)t->bytes;
        if (!t->tracked) {
            r->live_delta.v[2 * from + 1] += (int64_t)t->bytes;
            r->live_delta.v[2 * to + 1] -= (int64_t)t->bytes;
        }
    }
    for (size_t i = 0; i + 1 < n; i++) {
        live += r->live_delta.v[2 * i];
        untracked += r->live_delta.v[2 * i + 1];
        if (live > best) {
            best = live;
            r->totals.untracked_peak_bytes = (uint64_t)untracked;
        }
    }
    return 0;
}

/* Where a batch is read from the data set is data, not structure: outside the training phases offsets do not count. */
static uint64_t hash_step(const struct nf_reduce *r)
{
    uint64_t h = nf_hash_add(r->ops.n, r->visits.n);

    for (size_t i = 0; i < r->ops.n; i++) {
        const struct nf_step_op *o = &r->ops.v[i];

        h = nf_hash_add(h, text_hash(r, o->name));
        h = nf_hash_add(h, text_hash(r, o->module) ^ (uint64_t)o->phase << 32 ^ o->microbatch);
    }
    for (size_t i = 0; i < r->tensors.n; i++) {
        const struct nf_step_tensor *t = &r->tensors.v[i];

        h = nf_hash_add(h, t->bytes);
        h = nf_hash_add(h, (uint64_t)(uint32_t)t->birth << 32 | (uint32_t)t->death);
        h = nf_hash_add(h, (uint64_t)(uint32_t)t->carry_in << 32 | (uint32_t)t->carry_out);
        h = nf_hash_add(h, t->role);
    }
    for (size_t i = 0; i < r->visits.n; i++) {
        const struct nf_visit *v = &r->visits.v[i];

        h = nf_hash_add(h, (uint64_t)v->op << 32 | v->tensor);
        h = nf_hash_add(h, r->ops.v[v->op].phase == NF_PHASE_OTHER ? 0 : v->offset);
        h = nf_hash_add(h, v->bytes);
        h = nf_hash_add(h, v->run ^ v->stride << 20);
        /* What is not stated changes nothing. */
        h = nf_hash_add(h, (uint64_t)(v->touches_q8 ^ TOUCHES_ONCE) << 32 | (uint64_t)v->parallelism << 16 | (uint64_t)v->rw << 8 | v->pattern);
    }
    return h;
}

static uint64_t hash_ops(const struct nf_reduce *r, uint64_t allocation_hash)
{
    uint64_t h = nf_hash_add(allocation_hash, r->ops.n);

    for (size_t i = 0; i < r->ops.n; i++) {
        h = nf_hash_add(h, text_hash(r, r->ops.v[i].name));
        h = nf_hash_add(h, text_hash(r, r->ops.v[i].raw_module) ^ r->ops.v[i].phase);
    }
    return h;
}

static int by_slot(const void *a, const void *b)
{
    const struct nf_storage *x = *(struct nf_storage *const *)a, *y = *(struct nf_storage *const *)b;

    return (x->carry_in > y->carry_in) - (x->carry_in < y->carry_in);
}

/* Storages that live on enter the next step with their slot; the dead are let go. */
static void turn_step(struct nf_reduce *r)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->storages.n; i++) {
        struct nf_storage *s = r->storages.v[i];

        if (!s->alive) {
            nf_storage_free(s);
            continue;
        }
        s->carry_in = r->tensors.v[i].carry_out;
        s->visited_backward = s->visited_step = s->checkpoint = false;
        s->birth = NF_OP_BEFORE;
        r->storages.v[kept++] = s;
    }
    r->storages.n = kept;
    if (kept)
        qsort(r->storages.v, kept, sizeof *r->storages.v, by_slot);
    r->unphased = kept;
    r->ops.n = r->visits.n = r->visited.n = 0;
}

/* The structure of a finished step: every storage's lifetime, role and slot, and whom each visit was to. */
static int finish_structure(struct nf_reduce *r)
{
    int rc;

    settle_frees(r, (int32_t)r->ops.n - 1, 0);
    /* A foreign storage that nobody touched in a whole step is gone as far as can be told. */
    for (size_t i = 0; i < r->storages.n; i++) {
        struct nf_storage *s = r->storages.v[i];

        if (s->foreign && s->alive && !s->visited_step && s->carry_in >= 0) {
            s->alive = false;
            s->death = 0;
            nf_storage_map_remove(&r->map, s);
        }
    }
    for (size_t i = 0; i < r->slots.n; i++)
        if (r->slots.v[i].occupant && !r->slots.v[i].occupant->alive)
            r->slots.v[i].occupant = NULL;
    attribute_modules(r);
    rc = build_tensors(r);
    if (!rc)
        rc = account_untracked(r);
    for (size_t i = 0; !rc && i < r->visits.n; i++)
        r->visits.v[i].tensor = r->visited.v[i]->number;
    return rc;
}

static int end_step(struct nf_reduce *r, const struct nf_event *e)
{
    struct nf_step step = {.dur_ns = e->a, .allocation_hash = e->b};
    struct nf_seen seen[NF_SIGHTING_SOURCES_MAX] = {{0}};
    /* Lifetimes are told in ops. What lived and died while none ran shows in the next step that has some. */
    bool has_structure = r->with_visits && r->ops.n;
    int rc;

    r->tensors.n = r->roles.n = 0;
    rc = has_structure ? finish_structure(r) : 0;
    if (rc)
        return rc;
    step.number = (uint32_t)r->totals.steps++;
    step.op_hash = hash_ops(r, step.allocation_hash);
    step.hash = r->with_visits ? hash_step(r) : 0;
    step.ops = r->ops.v;
    step.n_ops = (uint32_t)r->ops.n;
    step.visits = r->visits.v;
    step.n_visits = (uint32_t)r->visits.n;
    step.tensors = r->tensors.v;
    step.n_tensors = (uint32_t)r->tensors.n;
    step.roles = r->roles.v;
    step.n_roles = (uint32_t)r->roles.n;
    if (has_structure) {
        rc = nf_sightings_finish(r->sightings, step.number, seen);
        if (rc)
            return rc;
        step.seen = seen;
        step.n_seen = nf_sightings_sources(r->sightings);
    }
    rc = r->sink(r->context, &step);
    if (has_structure) {
        turn_step(r);
        nf_sightings_turn(r->sightings);
    }
    r->ops.n = 0;
    return rc;
}

/* What was allocated and freed before training began belongs to no step. */
static void forget_setup(struct nf_reduce *r)
{
    size_t kept = 0;

    r->frees.n = 0;
    for (size_t i = 0; i < r->storages.n; i++) {
        if (r->storages.v[i]->alive)
            r->storages.v[kept++] = r->storages.v[i];
        else
            nf_storage_free(r->storages.v[i]);
    }
    r->storages.n = kept;
    r->unphased = 0;
}

/* The first step carries in what is alive before its first op. Only there: a running step has numbered its storages. */
static int carry_alive(struct nf_reduce *r)
{
    if (!r->with_visits || r->ops.n || r->totals.steps || r->slots.n)
        return 0;
    forget_setup(r);
    for (size_t i = 0; i < r->storages.n; i++) {
        struct nf_storage *s = r->storages.v[i];

        /* None is free before the first step: no need to look for one. */
        s->carry_in = (int32_t)r->slots.n;
        if (nf_array_push(&r->slots, (struct slot){slot_key(r, s), s}))
            return -ENOMEM;
        s->birth = NF_OP_BEFORE;
    }
    if (r->storages.n)
        qsort(r->storages.v, r->storages.n, sizeof *r->storages.v, by_slot);
    r->unphased = r->storages.n;
    return 0;
}

static void on_mark(struct nf_reduce *r, const struct nf_event *e)
{
    struct nf_reduce_totals *t = &r->totals;

    switch (e->id) {
    case NF_MARK_TRAINING_BEGINS:
        r->training = true;
        if (!r->ops.n && !t->steps)
            forget_setup(r);
        break;
    case NF_MARK_SKIPPED_DEVICE: t->skipped_device_storages += e->a; break;
    case NF_MARK_PARAMETER_HASH: {
        const uint64_t words[4] = {e->address, e->a, e->b, e->c};

        for (int i = 0; i < 32; i++)
            t->parameter_sha256[i] = (uint8_t)(words[i / 8] >> (56 - 8 * (i % 8)));
        t->has_parameter_sha256 = true;
        break;
    }
    case NF_MARK_RUNTIME:
        snprintf(t->framework, sizeof t->framework, "%s%.50s", e->b ? "" : "torch ", nf_reduce_text(r, e->name));
        snprintf(t->language, sizeof t->language, "%s%.50s", e->b ? "" : "python ", nf_reduce_text(r, e->module));
        t->threads = e->a < UINT32_MAX ? (uint32_t)e->a : 0;
        break;
    case NF_MARK_UNSUPPORTED: {
        const char *text = nf_reduce_text(r, e->name);
        size_t n = strlen(t->notes);

        if (!strstr(t->notes, text))
            snprintf(t->notes + n, sizeof t->notes - n, "%s%s", n ? "; " : "", text);
        break;
    }
    case NF_MARK_RANK:
        t->rank = (int64_t)e->a;
        t->world = (int64_t)e->b;
        break;
    default: break;
    }
}

int nf_reduce_event(struct nf_reduce *r, const struct nf_event *e)
{
    int rc = e->kind == NF_EVENT_VISIT ? 0 : close_op(r);

    r->totals.events++;
    if (rc)
        return rc;
    switch (e->kind) {
    case NF_EVENT_ALLOC: return r->with_visits ? on_alloc(r, e) : 0;
    case NF_EVENT_FREE: return r->with_visits ? on_free(r, e) : 0;
    case NF_EVENT_TEXT: return on_text(r, e);
    case NF_EVENT_TENSOR: return r->with_visits ? on_tensor(r, e) : 0;
    case NF_EVENT_OP: return on_op(r, e);
    case NF_EVENT_VISIT: return on_visit(r, e);
    case NF_EVENT_STEP: return end_step(r, e);
    case NF_EVENT_MARK:
        if (e->id == NF_MARK_CARRIED)
            return carry_alive(r);
        on_mark(r, e);
        return 0;
    case NF_EVENT_CHECKPOINT: {
        struct nf_storage *s = nf_storage_map_find(&r->map, e->address);

        if (s)
            s->checkpoint = true;
        return 0;
    }
    case NF_EVENT_TOUCH: return r->with_visits ? on_touch(r, e) : 0;
    case NF_EVENT_SAVED: return 0; /* a confirmation; the visits decide */
    default: return nf_fail(-EBADMSG, "the job sent an event of kind %u", e->kind);
    }
}
