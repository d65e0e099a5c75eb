#include "pool/lives.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

static uint32_t *no_handles(size_t n)
{
    uint32_t *v = malloc((n + 1) * sizeof *v);

    return v ? memset(v, 0xff, (n + 1) * sizeof *v) : NULL;
}

int nf_lives_init(struct nf_lives *l, const struct nf_stream *stream, const struct nf_seen_as *seen, const struct nf_lives_watch *watch)
{
    *l = (struct nf_lives){.stream = stream, .seen = seen, .carry = no_handles(stream->n_carry),
                           .handles = calloc(stream->n_classes + (size_t)1, sizeof *l->handles)};
    if (watch)
        l->watch = *watch;
    if (!l->handles || !l->carry)
        return nf_fail(-ENOMEM, "out of memory for the storages of %u step classes", stream->n_classes);
    for (uint32_t i = 0; i < stream->n_classes; i++) {
        l->handles[i] = no_handles(stream->classes[i].n_tensors);
        if (!l->handles[i])
            return nf_fail(-ENOMEM, "out of memory for %u tensors", stream->classes[i].n_tensors);
    }
    return 0;
}

void nf_lives_deinit(struct nf_lives *l)
{
    for (uint32_t i = 0; l->handles && i < l->stream->n_classes; i++)
        free(l->handles[i]);
    free(l->handles);
    free(l->carry);
    *l = (struct nf_lives){0};
}

static int arrive(struct nf_lives *l, uint32_t class_index, uint32_t number, enum nf_arrival how)
{
    return l->watch.arrives ? l->watch.arrives(l->watch.context, class_index, number, how) : 0;
}

static int allocate(struct nf_lives *l, uint32_t class_index, uint32_t number, uint32_t op, enum nf_arrival how)
{
    const struct nf_tensor *t = &l->stream->classes[class_index].tensors[number];
    struct nf_pool_alloc a = {
        .bytes = nf_page_bytes(t->bytes),
        .address = t->address,
        .op = nf_lives_seen_op(l, class_index, op),
        .step_class = class_index,
        .number = number,
        .role = t->role,
    };
    uint32_t *handle = &l->handles[class_index][number];
    int rc;

    if (l->seen) {
        a.step_class = l->seen[class_index].step_class;
        a.number = l->seen[class_index].tensor[number];
        a.role = a.number == UINT32_MAX ? NF_ROLE_UNKNOWN : t->role;
    }
    if (!t->bytes) /* never visited either */
        return 0;
    rc = nf_pool_allocate(l->pool, &a, handle);
    if (rc) {
        *handle = NF_NO_HANDLE;
        return nf_fail_in(rc, "tensor %u (%s, %llu bytes) at op %u", number, nf_role_name(t->role), (unsigned long long)a.bytes, op);
    }
    return arrive(l, class_index, number, how);
}

static void release(struct nf_lives *l, uint32_t *handle)
{
    if (*handle == NF_NO_HANDLE)
        return;
    if (l->watch.leaves)
        l->watch.leaves(l->watch.context, *handle);
    nf_pool_free(l->pool, *handle);
    *handle = NF_NO_HANDLE;
}

int nf_lives_enter(struct nf_lives *l, uint32_t class_index)
{
    const struct nf_step_class *c = &l->stream->classes[class_index];
    uint32_t *handles = l->handles[class_index];
    int rc = 0;

    for (uint32_t i = 0; i < c->n_tensors && !rc; i++) {
        int32_t slot = c->tensors[i].carry_in;

        if (slot == NF_CARRY_NONE)
            continue;
        handles[i] = l->carry[slot];
        l->carry[slot] = NF_NO_HANDLE;
        rc = handles[i] == NF_NO_HANDLE ? allocate(l, class_index, i, 0, NF_ARRIVES_COLD)
                                        : arrive(l, class_index, i, NF_ARRIVES_CARRIED);
    }
    return rc;
}

int nf_lives_bear(struct nf_lives *l, uint32_t class_index, uint32_t number, uint32_t op)
{
    return allocate(l, class_index, number, op, NF_ARRIVES_BORN);
}

void nf_lives_end(struct nf_lives *l, uint32_t class_index, uint32_t number)
{
    release(l, &l->handles[class_index][number]);
}

void nf_lives_leave(struct nf_lives *l, uint32_t class_index)
{
    const struct nf_step_class *c = &l->stream->classes[class_index];
    uint32_t *handles = l->handles[class_index];

    for (uint32_t i = 0; i < c->n_tensors; i++) {
        int32_t slot = c->tensors[i].carry_out;

        if (slot == NF_CARRY_NONE || handles[i] == NF_NO_HANDLE)
            continue;
        release(l, &l->carry[slot]);
        l->carry[slot] = handles[i];
        handles[i] = NF_NO_HANDLE;
    }
    for (uint32_t i = 0; i < c->n_tensors; i++)
        release(l, &handles[i]);
}
