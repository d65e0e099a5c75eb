#include "tests/unit/capture-events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int keep(void *context, const struct nf_step *step)
{
    struct events *j = context;
    struct kept_step *k = &j->kept[j->n_kept];

    assert_in_range(j->n_kept, 0, KEPT_STEPS - 1);
    assert_in_range(step->n_ops, 0, KEPT_OPS);
    assert_in_range(step->n_visits, 0, KEPT_VISITS);
    assert_in_range(step->n_tensors, 0, KEPT_TENSORS);
    assert_in_range(step->n_roles, 0, KEPT_ROLES);
    k->step = *step;
    k->step.ops = k->ops;
    k->step.visits = k->visits;
    k->step.tensors = k->tensors;
    k->step.roles = k->roles;
    if (step->n_ops)
        memcpy(k->ops, step->ops, step->n_ops * sizeof *step->ops);
    if (step->n_visits)
        memcpy(k->visits, step->visits, step->n_visits * sizeof *step->visits);
    if (step->n_tensors)
        memcpy(k->tensors, step->tensors, step->n_tensors * sizeof *step->tensors);
    if (step->n_roles)
        memcpy(k->roles, step->roles, step->n_roles * sizeof *step->roles);
    j->n_kept++;
    return j->also ? j->also(j->context, step) : 0;
}

void events_init(struct events *j, int with_visits)
{
    *j = (struct events){.now = 1000};
    j->kept = calloc(KEPT_STEPS, sizeof *j->kept);
    assert_non_null(j->kept);
    j->reduce = nf_reduce_new(with_visits, keep, j);
    assert_non_null(j->reduce);
}

void events_deinit(struct events *j)
{
    nf_reduce_free(j->reduce);
    free(j->kept);
}

void ev_raw(struct events *j, const struct nf_event *e)
{
    assert_int_equal(nf_reduce_event(j->reduce, e), 0);
}

uint32_t ev_text(struct events *j, const char *text)
{
    size_t length = strlen(text);
    uint32_t id = ++j->texts;

    for (size_t at = 0; at == 0 || at < length; at += NF_RING_TEXT) {
        struct nf_event e = {.time_ns = j->now, .kind = NF_EVENT_TEXT, .id = id, .name = (uint32_t)length,
                             .module = (uint32_t)at};

        memcpy(e.text, text + at, length - at < NF_RING_TEXT ? length - at : NF_RING_TEXT);
        ev_raw(j, &e);
    }
    return id;
}

void ev_alloc(struct events *j, uint64_t address, uint64_t bytes)
{
    ev_raw(j, &(struct nf_event){.time_ns = ++j->now, .kind = NF_EVENT_ALLOC, .address = address, .a = bytes});
}

void ev_free(struct events *j, uint64_t address)
{
    ev_raw(j, &(struct nf_event){.time_ns = ++j->now, .kind = NF_EVENT_FREE, .address = address});
}

void ev_tensor(struct events *j, uint64_t address, uint64_t bytes, uint8_t role, uint32_t name, uint32_t module)
{
    ev_raw(j, &(struct nf_event){.time_ns = ++j->now, .kind = NF_EVENT_TENSOR, .address = address, .a = bytes,
                                 .b = role, .name = name, .module = module});
}

static void op(struct events *j, uint32_t name, uint8_t phase, uint32_t module, uint64_t start_ns)
{
    ev_raw(j, &(struct nf_event){.time_ns = j->now, .kind = NF_EVENT_OP, .id = name, .phase = phase, .module = module,
                                 .thread = 77, .a = start_ns, .b = j->now - start_ns});
}

void ev_op(struct events *j, uint32_t name, uint8_t phase, uint32_t module)
{
    uint64_t start_ns = ++j->now;

    j->now += 100;
    op(j, name, phase, module, start_ns);
}

void ev_op_at(struct events *j, uint32_t name, uint8_t phase, uint64_t start_ns)
{
    ++j->now;
    op(j, name, phase, 0, start_ns);
}

void ev_runs(struct events *j, uint64_t address, uint64_t bytes, uint64_t run, uint64_t stride, uint8_t rw)
{
    ev_raw(j, &(struct nf_event){.time_ns = j->now, .kind = NF_EVENT_VISIT, .address = address, .a = bytes, .b = run,
                                 .c = stride, .rw = rw});
}

void ev_visit(struct events *j, uint64_t address, uint64_t bytes, uint8_t rw)
{
    ev_runs(j, address, bytes, bytes, bytes, rw);
}

void ev_checkpoint(struct events *j, uint64_t address)
{
    ev_raw(j, &(struct nf_event){.time_ns = ++j->now, .kind = NF_EVENT_CHECKPOINT, .address = address});
}

void ev_mark(struct events *j, uint32_t mark, uint64_t a, uint64_t b)
{
    ev_raw(j, &(struct nf_event){.time_ns = ++j->now, .kind = NF_EVENT_MARK, .id = mark, .a = a, .b = b});
}

void ev_step(struct events *j, uint64_t allocation_hash)
{
    ev_raw(j, &(struct nf_event){.time_ns = ++j->now, .kind = NF_EVENT_STEP, .a = 5000, .b = allocation_hash});
}

const struct nf_step_tensor *kept_at(const struct kept_step *k, uint64_t address)
{
    for (uint32_t i = 0; i < k->step.n_tensors; i++)
        if (k->tensors[i].address == address)
            return &k->tensors[i];
    fail_msg("no tensor at %#llx", (unsigned long long)address);
    return NULL;
}
