#include "pool/stays.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"

/* Bytes of each use, beside uses->op. */
static uint64_t *bytes_of_uses(const struct nf_profile *p, const struct nf_step_uses *u)
{
    const struct nf_step_class *c = p->of;
    uint64_t *bytes = calloc(u->first[c->n_tensors] + (size_t)1, sizeof *bytes);
    uint32_t *at = malloc((c->n_tensors + (size_t)1) * sizeof *at);

    for (uint32_t t = 0; bytes && at && t < c->n_tensors; t++)
        at[t] = u->first[t];
    for (uint32_t v = 0; bytes && at && v < c->n_visits; v++) {
        uint32_t tensor = c->visits[v].tensor;

        while (u->op[at[tensor]] != c->visits[v].op) /* visits are in order of op */
            at[tensor]++;
        bytes[at[tensor]] += p->visit_miss_bytes[v];
    }
    if (!at) {
        free(bytes);
        bytes = NULL;
    }
    free(at);
    return bytes;
}

/* A use reaches far with no more than a fetch of its storage would, however often it visits it. */
static void cap_by_fetch(const struct nf_step_uses *u, uint64_t *bytes)
{
    for (uint32_t t = 0; t < u->of->n_tensors; t++) {
        uint64_t whole = nf_page_bytes(u->of->tensors[t].bytes);

        for (uint32_t k = u->first[t]; k < u->first[t + 1]; k++)
            bytes[k] = bytes[k] < whole ? bytes[k] : whole;
    }
}

static uint32_t pages_of(const struct nf_tensor *t)
{
    uint64_t pages = nf_page_bytes(t->bytes) / NF_PAGE_BYTES;

    return pages < UINT32_MAX / 2 ? (uint32_t)pages : UINT32_MAX / 2; /* fits nowhere either way */
}

static void add(struct nf_stays *s, const struct nf_step_uses *u, struct nf_stay stay)
{
    stay.first = stay.born ? stay.from : stay.from + 1 == s->n_ops ? 0 : stay.from + 1;
    stay.since = stay.born ? (uint32_t)u->of->tensors[stay.tensor].birth : stay.first;
    stay.last = stay.until = stay.to;
    s->v[s->n++] = stay;
}

/* Round the end of the step: from the last use there, of the storage that goes on as this tensor. */
static void add_round(struct nf_stays *s, const struct nf_step_uses *u, const uint64_t *bytes, struct nf_stay stay, uint32_t before)
{
    uint32_t uses = before == UINT32_MAX ? 0 : nf_step_uses_n(u, before);

    if (before == UINT32_MAX)
        return;
    stay.before = before;
    stay.from = uses ? nf_step_uses_op(u, before, uses - 1) : (uint32_t)(u->of->tensors[before].birth < 0 ? 0 : u->of->tensors[before].birth);
    stay.to = u->op[u->first[stay.tensor]];
    stay.bytes = stay.last_bytes = bytes[u->first[stay.tensor]];
    add(s, u, stay);
}

/* before: the tensor that leaves the step by the slot this one enters by; UINT32_MAX: none. apart: its birth is a stay of its own. */
static void add_tensor(struct nf_stays *s, const struct nf_step_uses *u, const uint64_t *bytes, uint32_t tensor, uint32_t before, bool apart)
{
    const struct nf_tensor *t = &u->of->tensors[tensor];
    uint32_t n = nf_step_uses_n(u, tensor), first = u->first[tensor], joined = n > 1 && !apart;
    struct nf_stay stay = {.tensor = tensor, .before = tensor, .pages = pages_of(t)};

    for (uint32_t k = 0; k < n; k++)
        s->bytes += bytes[first + k];
    if (!n || !stay.pages)
        return;
    if (t->birth >= 0) {
        stay.use = joined;
        stay.from = u->op[first];
        stay.to = u->op[first + joined];
        stay.bytes = bytes[first] + (joined ? bytes[first + 1] : 0);
        stay.last_bytes = bytes[first + joined];
        stay.born = true;
        add(s, u, stay);
    } else {
        add_round(s, u, bytes, stay, before);
    }
    stay.born = false;
    for (uint32_t k = t->birth >= 0 ? 1 + joined : 1; k < n; k++) {
        stay.use = k;
        stay.from = u->op[first + k - 1];
        stay.to = u->op[first + k];
        stay.bytes = stay.last_bytes = bytes[first + k];
        add(s, u, stay);
    }
    if (s->n && s->v[s->n - 1].tensor == tensor && t->death != NF_OP_AFTER && s->v[s->n - 1].first <= s->v[s->n - 1].last &&
        (uint32_t)t->death > s->v[s->n - 1].last)
        s->v[s->n - 1].until = (uint32_t)t->death;
}

/* By carry slot: who leaves by it. */
static uint32_t *leavers(const struct nf_step_class *c, uint32_t *n_slots)
{
    uint32_t *of;

    *n_slots = 0;
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        if (c->tensors[i].carry_out != NF_CARRY_NONE && (uint32_t)c->tensors[i].carry_out >= *n_slots)
            *n_slots = (uint32_t)c->tensors[i].carry_out + 1;
    }
    of = malloc((*n_slots + (size_t)1) * sizeof *of);
    for (uint32_t i = 0; of && i < *n_slots; i++)
        of[i] = UINT32_MAX;
    for (uint32_t i = 0; of && i < c->n_tensors; i++) {
        if (c->tensors[i].carry_out != NF_CARRY_NONE)
            of[c->tensors[i].carry_out] = i;
    }
    return of;
}

static int init(struct nf_stays *s, const struct nf_profile *profile, const struct nf_step_uses *uses, bool apart)
{
    const struct nf_step_class *c = profile->of;
    uint64_t *bytes = bytes_of_uses(profile, uses);
    uint32_t n_slots, *leaver = leavers(c, &n_slots);

    *s = (struct nf_stays){.v = malloc((uses->first[c->n_tensors] + (size_t)1) * sizeof *s->v), .n_ops = c->n_ops};
    if (!bytes || !s->v || !leaver) {
        free(bytes);
        free(leaver);
        return nf_fail(-ENOMEM, "out of memory for the uses of %u tensors", c->n_tensors);
    }
    if (apart)
        cap_by_fetch(uses, bytes);
    for (uint32_t t = 0; t < c->n_tensors; t++) {
        int32_t slot = c->tensors[t].carry_in;

        add_tensor(s, uses, bytes, t, slot != NF_CARRY_NONE && (uint32_t)slot < n_slots ? leaver[slot] : UINT32_MAX, apart);
    }
    free(bytes);
    free(leaver);
    return 0;
}

int nf_stays_init(struct nf_stays *s, const struct nf_profile *profile, const struct nf_step_uses *uses)
{
    return init(s, profile, uses, false);
}

int nf_stays_init_apart(struct nf_stays *s, const struct nf_profile *profile, const struct nf_step_uses *uses)
{
    return init(s, profile, uses, true);
}

/* From birth to death within the step. */
static struct nf_stay life_of(const struct nf_step_uses *u, const uint64_t *bytes, uint32_t tensor)
{
    const struct nf_tensor *t = &u->of->tensors[tensor];
    struct nf_stay life = {.tensor = tensor, .before = tensor, .pages = pages_of(t), .born = t->birth >= 0};

    life.first = life.since = life.from = t->birth < 0 ? 0 : (uint32_t)t->birth;
    life.last = life.until = life.to = t->death == NF_OP_AFTER ? u->of->n_ops - 1 : (uint32_t)t->death;
    for (uint32_t k = u->first[tensor]; k < u->first[tensor + 1]; k++)
        life.bytes += bytes[k];
    return life;
}

/* Whether a storage that is born in the step leaves it as one tensor and dies in the next as another, before its like is born. */
static bool goes_on(const struct nf_step_class *c, uint32_t leaver, uint32_t enterer)
{
    const struct nf_tensor *a = &c->tensors[leaver], *b = &c->tensors[enterer];

    return leaver != enterer && a->birth >= 0 && b->death != NF_OP_AFTER && b->death < a->birth;
}

int nf_stays_init_lives(struct nf_stays *s, const struct nf_profile *profile, const struct nf_step_uses *uses)
{
    const struct nf_step_class *c = profile->of;
    uint64_t *bytes = bytes_of_uses(profile, uses);
    uint32_t n_slots, *leaver = leavers(c, &n_slots), *life = malloc((c->n_tensors + (size_t)1) * sizeof *life);
    int rc = 0;

    *s = (struct nf_stays){.v = malloc((c->n_tensors + (size_t)1) * sizeof *s->v), .n_ops = c->n_ops};
    if (!bytes || !s->v || !leaver || !life)
        rc = nf_fail(-ENOMEM, "out of memory for the lives of %u tensors", c->n_tensors);
    for (uint32_t t = 0; !rc && t < c->n_tensors; t++) {
        struct nf_stay l = life_of(uses, bytes, t);

        s->bytes += l.bytes;
        life[t] = s->n;
        if (l.pages)
            s->v[s->n++] = l;
    }
    for (uint32_t t = 0; !rc && t < c->n_tensors; t++) {
        int32_t slot = c->tensors[t].carry_in;
        uint32_t before = slot != NF_CARRY_NONE && (uint32_t)slot < n_slots ? leaver[slot] : UINT32_MAX;

        if (before == UINT32_MAX || !pages_of(&c->tensors[t]) || !pages_of(&c->tensors[before]) || !goes_on(c, before, t))
            continue;
        s->v[life[before]].last = s->v[life[t]].last; /* round the end of the step */
        s->v[life[before]].bytes += s->v[life[t]].bytes;
        s->v[life[t]].bytes = 0; /* holds for nothing, and is never taken */
    }
    free(bytes);
    free(leaver);
    free(life);
    return rc;
}

void nf_stays_deinit(struct nf_stays *s)
{
    free(s->v);
    *s = (struct nf_stays){0};
}

uint32_t nf_stay_length(const struct nf_stay *s, uint32_t n_ops)
{
    return s->first <= s->last ? s->last - s->first + 1 : n_ops - s->first + s->last + 1;
}

uint32_t nf_stay_room(const struct nf_stay *s, const struct nf_load *l, uint32_t n_ops, uint32_t capacity_pages)
{
    bool round = s->first > s->last;
    uint32_t peak = nf_load_peak(l, s->since, round ? n_ops - 1 : s->until), left;

    if (round) {
        uint32_t early = nf_load_peak(l, 0, s->last);

        peak = early > peak ? early : peak;
    }
    left = peak < capacity_pages ? capacity_pages - peak : 0;
    return left < s->pages ? left : s->pages;
}

void nf_stay_hold(const struct nf_stay *s, struct nf_load *l, uint32_t n_ops, uint32_t pages)
{
    bool round = s->first > s->last;

    nf_load_add(l, s->since, round ? n_ops - 1 : s->until, pages);
    if (round)
        nf_load_add(l, 0, s->last, pages);
}

struct nf_plan_item nf_stays_item(const struct nf_stays *s, uint32_t first, uint32_t last)
{
    const struct nf_stay *a = &s->v[first], *b = &s->v[last];
    struct nf_plan_item item = {.pages = a->pages, .n_spans = 1};

    for (uint32_t i = first; i <= last; i++)
        item.benefit += (double)s->v[i].bytes;
    item.span[0].first = a->since;
    item.span[0].last = b->until;
    if (a->first > a->last) {
        item.n_spans = 2;
        item.span[0].last = s->n_ops - 1;
        item.span[1].first = 0;
        item.span[1].last = a->last;
    }
    return item;
}

double nf_stays_saved(const struct nf_stays *s, const uint32_t *kept)
{
    double bytes = 0;

    for (uint32_t i = 0; i < s->n; i++)
        bytes += (double)s->v[i].bytes * kept[i] / s->v[i].pages;
    return bytes;
}

int nf_stays_choose(const struct nf_stays *s, uint64_t capacity_pages, bool parts, uint32_t *kept)
{
    struct nf_plan_item *items = malloc((s->n + (size_t)1) * sizeof *items);
    bool *whole = parts ? NULL : malloc((s->n + (size_t)1) * sizeof *whole);
    uint32_t capacity = nf_stays_capacity(capacity_pages);
    int rc = items && (parts || whole) ? 0 : -ENOMEM;

    for (uint32_t i = 0; !rc && i < s->n; i++)
        items[i] = nf_stays_item(s, i, i);
    if (!rc && s->n_ops)
        rc = parts ? nf_plan_choose_parts(items, s->n, s->n_ops, capacity, 0, kept) : nf_plan_choose(items, s->n, s->n_ops, capacity, 0, whole);
    for (uint32_t i = 0; !rc && !parts && i < s->n; i++)
        kept[i] = whole[i] ? s->v[i].pages : 0;
    free(items);
    free(whole);
    return rc ? nf_fail(rc, "out of memory for %u stays", s->n) : 0;
}
