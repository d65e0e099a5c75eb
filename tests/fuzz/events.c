/* The reducer: whatever a job writes into the ring, every step that comes out is one a study can hold and load again.
 * Input: events, each 0xff and the 64 bytes of the ring, or eight bytes that name the likely values. */
#include <stdlib.h>
#include <string.h>

#include "capture/reduce.h"
#include "tests/fuzz/fuzz.h"

enum { RAW = 0xff, SHORT = 8 };
/* As many names and slots as anything can have. */
enum { NAMES = UINT32_MAX, CARRY_MAX = 1 << 20 };

static int check(void *context, const struct nf_step *step)
{
    struct nf_stream s = {.n_carry = CARRY_MAX, .n_names = NAMES};
    struct nf_step_class c = {.n_ops = step->n_ops, .n_visits = step->n_visits, .n_tensors = step->n_tensors};
    uint32_t at = 0;

    c.ops = calloc(step->n_ops + 1, sizeof *c.ops);
    c.tensors = calloc(step->n_tensors + 1, sizeof *c.tensors);
    c.visits = calloc(step->n_visits + 1, sizeof *c.visits);
    if (!c.ops || !c.tensors || !c.visits)
        goto out;
    if (step->n_visits)
        memcpy(c.visits, step->visits, step->n_visits * sizeof *c.visits);
    for (uint32_t i = 0; i < step->n_ops; i++) {
        c.ops[i].phase = step->ops[i].phase;
        c.ops[i].first_visit = at;
        while (at < step->n_visits && step->visits[at].op == i)
            at++;
        c.ops[i].n_visits = at - c.ops[i].first_visit;
    }
    for (uint32_t i = 0; i < step->n_tensors; i++) {
        const struct nf_step_tensor *t = &step->tensors[i];

        c.tensors[i] = (struct nf_tensor){.bytes = t->bytes, .address = t->address, .birth = t->birth, .death = t->death,
                                          .carry_in = t->carry_in, .carry_out = t->carry_out, .role = t->role};
    }
    if (nf_step_class_check(&c, &s))
        abort();
    for (uint32_t i = 0; i < step->n_roles; i++)
        if (step->roles[i].tensor >= step->n_tensors || step->roles[i].role >= NF_ROLE_COUNT)
            abort();
out:
    free(c.ops);
    free(c.tensors);
    free(c.visits);
    return 0;
}

/* kind, phase and rw and pattern, address, a, b, c, text numbers, time. */
static struct nf_event expand(const uint8_t *p, uint64_t now)
{
    struct nf_event e = {.kind = p[0] % 11, .phase = p[1] & 7, .rw = p[1] >> 3 & 3, .pattern = p[1] >> 5 & 7};

    e.time_ns = now;
    e.microbatch = p[7] & 1;
    e.id = p[6] & 7;
    e.name = p[6] >> 3 & 7;
    e.module = p[6] >> 6;
    if (e.kind == NF_EVENT_TEXT) {
        e.module = 0;
        e.text[0] = (char)p[2];
    } else {
        e.address = 0x1000 + p[2] * 16ull;
        e.a = e.kind == NF_EVENT_OP ? now - p[3] : p[3] * 8ull;
        e.b = p[4];
        e.c = p[5];
    }
    return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t now = 1000;
    struct nf_reduce *r;

    if (size < 1)
        return 0;
    r = nf_reduce_new(!(data[0] & 1), check, NULL);
    for (size_t at = 1; r && at < size;) {
        struct nf_event e;

        if (data[at] == RAW && size - at > sizeof e) {
            memcpy(&e, data + at + 1, sizeof e);
            at += 1 + sizeof e;
        } else if (size - at >= SHORT) {
            now += data[at + 7];
            e = expand(data + at, now);
            at += SHORT;
        } else {
            break;
        }
        if (nf_reduce_event(r, &e))
            break;
    }
    nf_reduce_free(r);
    return 0;
}
