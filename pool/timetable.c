#include "pool/timetable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

/* Where no tier was measured (tests, plans without a testbed): a link of one CXL 2.0 x8 device. */
static const double LINK_BPS_ASSUMED = 2e10, LINK_NS_ASSUMED = 250;

static int out_of_memory(const struct nf_timetable *t)
{
    return nf_fail(-ENOMEM, "no memory to plan %u tensors", t->of ? t->of->n_tensors : 0);
}

static int name_slots(struct nf_timetable *t)
{
    const struct nf_step_class *c = t->of;

    for (uint32_t i = 0; i < c->n_tensors; i++) {
        int32_t slot = nf_timetable_slot(&c->tensors[i]);

        t->n_slots = slot != NF_CARRY_NONE && (uint32_t)slot >= t->n_slots ? (uint32_t)slot + 1 : t->n_slots;
    }
    t->tensor_of_slot = malloc((t->n_slots + (size_t)1) * sizeof *t->tensor_of_slot);
    if (!t->tensor_of_slot)
        return out_of_memory(t);
    memset(t->tensor_of_slot, 0xff, t->n_slots * sizeof *t->tensor_of_slot);
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        int32_t slot = nf_timetable_slot(&c->tensors[i]);

        if (slot != NF_CARRY_NONE)
            t->tensor_of_slot[slot] = i;
    }
    return 0;
}

int nf_timetable_init(struct nf_timetable *t, const struct nf_policy_env *env, bool future)
{
    size_t n;
    int rc;

    *t = (struct nf_timetable){.env = env, .running_class = UINT32_MAX};
    if (!env->n_profiles)
        return 0;
    t->of = env->profiles[env->steady_class].of;
    n = t->of->n_tensors + (size_t)1;
    t->near_at_birth = malloc(n * sizeof *t->near_at_birth);
    t->reserved = calloc(n, sizeof *t->reserved);
    t->handle_of = malloc(n * sizeof *t->handle_of);
    if (!t->near_at_birth || !t->reserved || !t->handle_of)
        return out_of_memory(t);
    memset(t->near_at_birth, 0xff, n * sizeof *t->near_at_birth);
    memset(t->handle_of, 0xff, n * sizeof *t->handle_of);
    rc = name_slots(t);
    return rc || !future ? rc : nf_step_uses_init(&t->uses, t->of, env->read_bps[0]);
}

void nf_timetable_deinit(struct nf_timetable *t)
{
    nf_step_uses_deinit(&t->uses);
    nf_array_free(&t->entries);
    nf_array_free(&t->items);
    nf_array_free(&t->waiting);
    free(t->due);
    free(t->near_at_birth);
    free(t->reserved);
    free(t->handle_of);
    free(t->tensor_of_slot);
    *t = (struct nf_timetable){0};
}

int nf_timetable_add(struct nf_timetable *t, struct nf_timetable_entry entry)
{
    return nf_array_push(&t->entries, entry) ? out_of_memory(t) : 0;
}

/* Two stable passes: by kind, then by op. */
int nf_timetable_seal(struct nf_timetable *t)
{
    size_t n_ops = t->of ? t->of->n_ops : 0, n = t->entries.n, kept = 0;
    struct nf_timetable_entry *sorted = malloc((n + 1) * sizeof *sorted);
    uint32_t *at = calloc(n_ops + 2, sizeof *at);

    t->due = calloc(n_ops + 2, sizeof *t->due);
    if (!sorted || !at || !t->due) {
        free(sorted);
        free(at);
        return out_of_memory(t);
    }
    for (size_t i = 0; i < n; i++)
        t->due[t->entries.v[i].op + 1]++;
    for (size_t o = 0; o < n_ops; o++)
        t->due[o + 1] += t->due[o];
    memcpy(at, t->due, (n_ops + 1) * sizeof *at);
    for (int near = 0; near < 2; near++)
        for (size_t i = 0; i < n; i++)
            if (t->entries.v[i].near == near) {
                sorted[at[t->entries.v[i].op]++] = t->entries.v[i];
                kept++;
            }
    if (kept)
        memcpy(t->entries.v, sorted, n * sizeof *sorted);
    free(sorted);
    free(at);
    return 0;
}

int nf_timetable_policy_open(const struct nf_policy_env *env, int (*plan)(struct nf_timetable *t), void **policy)
{
    struct nf_timetable *t = malloc(sizeof *t);
    int rc;

    if (!t)
        return nf_fail(-ENOMEM, "no memory");
    rc = nf_timetable_init(t, env, true);
    if (!rc && t->of)
        rc = plan(t);
    if (!rc)
        rc = nf_timetable_seal(t);
    if (rc) {
        nf_timetable_close(t);
        return rc;
    }
    *policy = t;
    return 0;
}

void nf_timetable_close(void *policy)
{
    nf_timetable_deinit(policy);
    free(policy);
}

double nf_timetable_link_bps(const struct nf_policy_env *env)
{
    double least = 0;

    for (uint32_t i = 0; i < env->n_tiers; i++)
        if (env->read_bps[i] > 0 && (!(least > 0) || env->read_bps[i] < least))
            least = env->read_bps[i];
    return least > 0 ? least : LINK_BPS_ASSUMED;
}

double nf_timetable_link_ns(const struct nf_policy_env *env)
{
    double most = 0;

    for (uint32_t i = 1; i < env->n_tiers; i++)
        most = env->latency_ns[i] > most ? env->latency_ns[i] : most;
    return most > 0 ? most : LINK_NS_ASSUMED;
}

/* --- as it runs --- */

static uint64_t room(const struct nf_timetable *t, uint32_t tier)
{
    return t->env->capacity[tier] - t->used[tier];
}

/* What is kept for those that may use the reserve, and is not used by them. */
static uint64_t kept_free(const struct nf_timetable *t)
{
    return t->reserve > t->used_reserved ? t->reserve - t->used_reserved : 0;
}

static uint64_t room_near(const struct nf_timetable *t, bool reserved)
{
    uint64_t keep = reserved ? 0 : kept_free(t);

    return room(t, 0) > keep ? room(t, 0) - keep : 0;
}

static uint32_t far_tier_for(const struct nf_timetable *t, uint64_t bytes)
{
    uint32_t i = 1;

    while (i < t->env->n_tiers && room(t, i) < bytes)
        i++;
    return i;
}

static void settle_on(struct nf_timetable *t, struct nf_timetable_item *item, uint64_t near, uint32_t far)
{
    item->near = near;
    item->far = far;
    t->used[0] += near;
    t->used_reserved += item->reserved ? near : 0;
    if (near < item->bytes)
        t->used[far] += item->bytes - near;
}

static void leave(struct nf_timetable *t, struct nf_timetable_item *item)
{
    t->used[0] -= item->near;
    t->used_reserved -= item->reserved ? item->near : 0;
    if (item->near < item->bytes)
        t->used[item->far] -= item->bytes - item->near;
}

static uint64_t bytes_of(uint32_t pages, uint64_t most)
{
    return pages < most / NF_PAGE_BYTES ? (uint64_t)pages * NF_PAGE_BYTES : most;
}

/* The steady class's tensor of a storage that is born; carried ones by their slot whatever class is running. */
static uint32_t tensor_for(const struct nf_timetable *t, const struct nf_policy_tensor *tensor)
{
    const struct nf_step_class *c;
    int32_t slot;

    if (!t->of || tensor->number == UINT32_MAX || tensor->step_class >= t->env->n_profiles)
        return NF_TIMETABLE_NONE;
    if (tensor->step_class == t->env->steady_class)
        return tensor->number;
    c = t->env->profiles[tensor->step_class].of;
    slot = tensor->number < c->n_tensors ? nf_timetable_slot(&c->tensors[tensor->number]) : NF_CARRY_NONE;
    return slot == NF_CARRY_NONE || (uint32_t)slot >= t->n_slots ? NF_TIMETABLE_NONE : t->tensor_of_slot[slot];
}

int nf_timetable_place(void *policy, const struct nf_policy_tensor *tensor, struct nf_policy_moves *evictions,
                       struct nf_placement *out)
{
    struct nf_timetable *t = policy;
    uint32_t number = tensor_for(t, tensor), far = 0;
    uint64_t near = number == NF_TIMETABLE_NONE ? t->unplanned_far ? 0 : tensor->bytes : bytes_of(t->near_at_birth[number], tensor->bytes);
    bool reserved = number != NF_TIMETABLE_NONE && t->reserved[number];
    struct nf_timetable_item *item;

    if (nf_array_reserve(&t->items, tensor->handle + (size_t)1))
        return nf_fail(-ENOMEM, "no memory for %u storages", tensor->handle + 1);
    while (t->items.n <= tensor->handle)
        t->items.v[t->items.n++] = (struct nf_timetable_item){.tensor = NF_TIMETABLE_NONE};
    if (near > room_near(t, reserved))
        near = t->parts ? room_near(t, reserved) & ~(uint64_t)(NF_PAGE_BYTES - 1) : 0;
    if (near < tensor->bytes) {
        far = far_tier_for(t, tensor->bytes - near);
        if (far == t->env->n_tiers && room(t, 0) >= tensor->bytes) { /* a full far tier is no reason to fail while near has room */
            near = tensor->bytes;
            far = 0;
        }
    }
    if (far == t->env->n_tiers)
        return nf_fail(-ENOSPC, "no tier has %llu bytes free", (unsigned long long)tensor->bytes);
    item = &t->items.v[tensor->handle];
    *item = (struct nf_timetable_item){.bytes = tensor->bytes, .tensor = number, .live = true, .reserved = reserved};
    settle_on(t, item, near, far);
    if (number != NF_TIMETABLE_NONE)
        t->handle_of[number] = tensor->handle;
    t->running_class = tensor->step_class;
    out->bytes[0] = near;
    if (near < tensor->bytes)
        out->bytes[far] = tensor->bytes - near;
    return 0;
}

int nf_timetable_access(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw, size_t n,
                        struct nf_policy_moves *moves)
{
    struct nf_timetable *t = policy;
    const struct nf_step_uses *u = &t->uses;

    t->op = op;
    if (!u->of || t->running_class != t->env->steady_class || op >= u->of->n_ops ||
        n != u->operand_first[op + 1] - u->operand_first[op])
        return 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t tensor = u->operand[u->operand_first[op] + i];

        t->items.v[handles[i]].tensor = tensor;
        t->handle_of[tensor] = handles[i];
    }
    return 0;
}

static struct nf_timetable_item *item_of(struct nf_timetable *t, uint32_t tensor)
{
    uint32_t handle = t->handle_of[tensor];

    if (handle == NF_TIMETABLE_NONE || !t->items.v[handle].live || t->items.v[handle].tensor != tensor)
        return NULL;
    return &t->items.v[handle];
}

/* So that the first `near` bytes are near, the others on `far`. */
static void send(struct nf_timetable *t, struct nf_timetable_item *item, uint64_t near, uint32_t far, struct nf_policy_moves *moves)
{
    uint64_t first = near < item->near ? near : item->near, bytes = near < item->near ? item->near - near : near - item->near;
    struct nf_policy_move move = {.handle = t->handle_of[item->tensor], .to_tier = near > item->near ? 0 : far};

    if (bytes < item->bytes) {
        move.first_page = (uint32_t)(first / NF_PAGE_BYTES);
        move.n_pages = (uint32_t)(bytes / NF_PAGE_BYTES);
    }
    moves->v[moves->n++] = move;
    leave(t, item);
    settle_on(t, item, near, far);
}

/* Where bytes of it go that leave near: to its others. n_tiers: nowhere. */
static uint32_t way_out(const struct nf_timetable *t, const struct nf_timetable_item *item, uint64_t bytes)
{
    if (item->near == item->bytes)
        return far_tier_for(t, bytes);
    return room(t, item->far) >= bytes ? item->far : t->env->n_tiers;
}

/* Whether the use an entry is for has come: forward from the op it was due at, round the end of the step. */
static bool too_late(const struct nf_timetable *t, const struct nf_timetable_entry *e, uint32_t op)
{
    uint32_t n = t->of->n_ops, ahead = (e->by_op + n - e->op) % n, gone = (op + n - e->op) % n;

    return gone >= (ahead ? ahead : n);
}

/* Both copies of a fetch count while it is under way, and its far copy is room for nobody: used[] frees it only for the
 * decisions of later ops, whose execution waits for it. */
static void fetch_waiting(struct nf_timetable *t, uint32_t op, struct nf_policy_moves *moves)
{
    size_t kept = 0;

    for (size_t i = 0; i < t->waiting.n; i++) {
        struct nf_timetable_entry e = t->waiting.v[i];
        struct nf_timetable_item *item = item_of(t, e.tensor);
        uint64_t near = item ? bytes_of(e.pages ? e.pages : NF_TIMETABLE_ALL, item->bytes) : 0;

        if (!item || item->near >= near || too_late(t, &e, op))
            continue;
        if (moves->n < NF_POLICY_MOVES_MAX && near - item->near <= room_near(t, item->reserved))
            send(t, item, near, item->far, moves);
        else
            t->waiting.v[kept++] = e;
    }
    t->waiting.n = kept;
}

int nf_timetable_after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    struct nf_timetable *t = policy;

    if (!t->due || !t->of || t->running_class != t->env->steady_class || op >= t->of->n_ops)
        return 0;
    for (uint32_t i = t->due[op]; i < t->due[op + 1]; i++) {
        const struct nf_timetable_entry *e = &t->entries.v[i];
        struct nf_timetable_item *item = item_of(t, e->tensor);
        uint64_t stays;
        uint32_t tier;

        if (!item)
            continue;
        if (e->near) {
            if (item->near < item->bytes && nf_array_push(&t->waiting, *e))
                return nf_fail(-ENOMEM, "no memory for moves that wait");
            continue;
        }
        stays = bytes_of(e->pages, item->bytes);
        tier = item->near > stays && moves->n < NF_POLICY_MOVES_MAX ? way_out(t, item, item->near - stays) : t->env->n_tiers;
        if (tier < t->env->n_tiers)
            send(t, item, stays, tier, moves);
    }
    fetch_waiting(t, op, moves);
    return 0;
}

void nf_timetable_freed(void *policy, uint32_t handle)
{
    struct nf_timetable *t = policy;
    struct nf_timetable_item *item = &t->items.v[handle];

    if (item->tensor != NF_TIMETABLE_NONE && t->handle_of[item->tensor] == handle)
        t->handle_of[item->tensor] = NF_TIMETABLE_NONE;
    leave(t, item);
    *item = (struct nf_timetable_item){.tensor = NF_TIMETABLE_NONE};
}
