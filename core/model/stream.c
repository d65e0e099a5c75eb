#include "core/model/stream.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/spill.h"

struct nf_stream *nf_stream_free(struct nf_stream *s)
{
    if (!s)
        return NULL;
    for (uint32_t i = 0; s->classes && i < s->n_classes; i++) {
        free(s->classes[i].ops);
        nf_spill_free(s->classes[i].visits);
        free(s->classes[i].tensors);
    }
    for (uint32_t i = 0; s->names && i < s->n_names; i++)
        free(s->names[i]);
    free(s->classes);
    free(s->sequence);
    free(s->names);
    free(s);
    return NULL;
}

int nf_step_class_peak(const struct nf_step_class *c, uint64_t *bytes)
{
    uint32_t n_ops = c->n_ops ? c->n_ops : 1; /* a step without ops still holds what it carries */
    uint64_t live = 0, peak = 0;
    uint64_t *change = calloc((size_t)n_ops + 1, sizeof *change); /* modulo 2^64: falls are negative */

    if (!change)
        return nf_fail(-ENOMEM, "out of memory for %u ops", c->n_ops);
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const struct nf_tensor *t = &c->tensors[i];
        uint32_t from = t->birth == NF_OP_BEFORE ? 0 : (uint32_t)t->birth;
        uint32_t to = t->death == NF_OP_AFTER ? n_ops - 1 : (uint32_t)t->death;

        change[from] += nf_page_bytes(t->bytes);
        change[to + 1] -= nf_page_bytes(t->bytes);
    }
    for (uint32_t i = 0; i < n_ops; i++) {
        live += change[i];
        peak = live > peak ? live : peak;
    }
    free(change);
    *bytes = peak;
    return 0;
}

static bool is_time(double ns)
{
    return isfinite(ns) && ns >= 0;
}

static int check_op(const struct nf_step_class *c, const struct nf_stream *s, uint32_t i, uint32_t next_visit)
{
    const struct nf_op *op = &c->ops[i];

    if (op->name >= s->n_names || op->module >= s->n_names)
        return nf_fail(-EBADMSG, "op %u has no name", i);
    if (op->phase >= NF_PHASE_COUNT)
        return nf_fail(-EBADMSG, "op %u has the unknown phase %u", i, op->phase);
    if (!is_time(op->dur_ns) || !is_time(op->gap_ns))
        return nf_fail(-EBADMSG, "op %u has an impossible duration", i);
    if (op->n_visits && (op->first_visit != next_visit || op->n_visits > c->n_visits - next_visit))
        return nf_fail(-EBADMSG, "op %u claims visits that are not its own", i);
    return 0;
}

static int check_tensor(const struct nf_step_class *c, const struct nf_stream *s, uint32_t i)
{
    const struct nf_tensor *t = &c->tensors[i];
    int64_t death = t->death == NF_OP_AFTER ? (int64_t)c->n_ops : t->death;
    uint64_t end;

    if (t->name >= s->n_names || t->module >= s->n_names)
        return nf_fail(-EBADMSG, "tensor %u has no name", i);
    if (t->role >= NF_ROLE_COUNT)
        return nf_fail(-EBADMSG, "tensor %u has the unknown role %u", i, t->role);
    /* Leaves room for rounding the end up to a page. */
    if (__builtin_add_overflow(t->address, t->bytes, &end) || end > UINT64_MAX - NF_PAGE_BYTES)
        return nf_fail(-EBADMSG, "tensor %u is larger than the address space", i);
    if (t->birth < NF_OP_BEFORE || t->birth >= (int64_t)c->n_ops)
        return nf_fail(-EBADMSG, "tensor %u is born at op %d of %u", i, t->birth, c->n_ops);
    if (death < t->birth || death < 0 || (t->death != NF_OP_AFTER && death >= (int64_t)c->n_ops))
        return nf_fail(-EBADMSG, "tensor %u dies at op %d of %u, born at %d", i, t->death, c->n_ops, t->birth);
    if ((t->birth == NF_OP_BEFORE) != (t->carry_in != NF_CARRY_NONE) ||
        (t->death == NF_OP_AFTER) != (t->carry_out != NF_CARRY_NONE))
        return nf_fail(-EBADMSG, "tensor %u is carried over without a slot, or has a slot without being carried", i);
    if (t->carry_in < NF_CARRY_NONE || t->carry_in >= (int64_t)s->n_carry || t->carry_out < NF_CARRY_NONE ||
        t->carry_out >= (int64_t)s->n_carry)
        return nf_fail(-EBADMSG, "tensor %u has a carry slot beyond the %u there are", i, s->n_carry);
    return 0;
}

static int check_visit(const struct nf_step_class *c, uint32_t i, uint32_t op)
{
    const struct nf_visit *v = &c->visits[i];
    const struct nf_tensor *t;
    uint64_t runs, end;

    if (v->op != op)
        return nf_fail(-EBADMSG, "visit %u belongs to op %u, but lies with op %u", i, v->op, op);
    if (v->tensor >= c->n_tensors)
        return nf_fail(-EBADMSG, "visit %u is of tensor %u of %u", i, v->tensor, c->n_tensors);
    if (v->rw >= NF_RW_COUNT || v->pattern >= NF_PATTERN_COUNT || v->evidence >= NF_ACCESS_COUNT)
        return nf_fail(-EBADMSG, "visit %u has an unknown kind of access", i);
    t = &c->tensors[v->tensor];
    if ((int64_t)op < t->birth || (int64_t)op > t->death)
        return nf_fail(-EBADMSG, "visit %u touches tensor %u outside its lifetime", i, v->tensor);
    if (v->run > v->bytes || (v->bytes && !v->run))
        return nf_fail(-EBADMSG, "visit %u has runs of %llu bytes in %llu", i, (unsigned long long)v->run,
                       (unsigned long long)v->bytes);
    runs = v->run ? v->bytes / v->run + (v->bytes % v->run != 0) : 0;
    if (runs > 1 && v->stride < v->run)
        return nf_fail(-EBADMSG, "visit %u has runs that overlap", i);
    if (__builtin_mul_overflow(runs ? runs - 1 : 0, v->stride, &end) || __builtin_add_overflow(end, v->run, &end) ||
        __builtin_add_overflow(end, v->offset, &end) || end > t->bytes)
        return nf_fail(-EBADMSG, "visit %u reaches beyond the end of tensor %u", i, v->tensor);
    return 0;
}

/* No two tensors of a class may enter, or leave, with one slot. */
static int check_carry(const struct nf_step_class *c, const struct nf_stream *s)
{
    enum { ENTERS = 1, LEAVES = 2 };
    uint8_t *used = calloc(s->n_carry ? s->n_carry : 1, 1);
    int rc = 0;

    if (!used)
        return nf_fail(-ENOMEM, "out of memory for %u carry slots", s->n_carry);
    for (uint32_t i = 0; i < c->n_tensors && !rc; i++) {
        const struct nf_tensor *t = &c->tensors[i];

        if ((t->carry_in != NF_CARRY_NONE && used[t->carry_in] & ENTERS) ||
            (t->carry_out != NF_CARRY_NONE && used[t->carry_out] & LEAVES))
            rc = nf_fail(-EBADMSG, "tensor %u shares its carry slot with another", i);
        if (t->carry_in != NF_CARRY_NONE)
            used[t->carry_in] |= ENTERS;
        if (t->carry_out != NF_CARRY_NONE)
            used[t->carry_out] |= LEAVES;
    }
    free(used);
    return rc;
}

int nf_step_class_check(const struct nf_step_class *c, const struct nf_stream *s)
{
    uint64_t total = 0;
    uint32_t next_visit = 0;
    int rc;

    if (c->n_ops >= INT32_MAX || s->n_carry > INT32_MAX)
        return nf_fail(-EBADMSG, "the step claims %u ops and %u carry slots", c->n_ops, s->n_carry);
    if (!is_time(c->bare_step_ns))
        return nf_fail(-EBADMSG, "the step has an impossible duration");
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        if ((rc = check_tensor(c, s, i)))
            return rc;
        if (__builtin_add_overflow(total, nf_page_bytes(c->tensors[i].bytes), &total))
            return nf_fail(-EBADMSG, "the tensors together are larger than the address space");
    }
    for (uint32_t i = 0; i < c->n_ops; i++) {
        if ((rc = check_op(c, s, i, next_visit)))
            return rc;
        next_visit += c->ops[i].n_visits;
        for (uint32_t v = next_visit - c->ops[i].n_visits; v < next_visit; v++) {
            if ((rc = check_visit(c, v, i)))
                return rc;
        }
    }
    if (next_visit != c->n_visits)
        return nf_fail(-EBADMSG, "%u visits belong to no op", c->n_visits - next_visit);
    return check_carry(c, s);
}

void nf_step_class_forget_visits(struct nf_step_class *c)
{
    c->visits = nf_spill_free(c->visits);
    c->n_visits = 0;
    for (uint32_t i = 0; i < c->n_ops; i++)
        c->ops[i].first_visit = c->ops[i].n_visits = 0;
}

int nf_step_class_seen_by(const struct nf_step_class *c, struct nf_visit *visits, uint32_t n, struct nf_step_class *out)
{
    *out = *c;
    out->ops = malloc((c->n_ops + (size_t)1) * sizeof *out->ops);
    if (!out->ops) {
        free(visits);
        *out = (struct nf_step_class){0};
        return nf_fail(-ENOMEM, "out of memory");
    }
    if (c->n_ops)
        memcpy(out->ops, c->ops, c->n_ops * sizeof *out->ops);
    for (uint32_t i = 0; i < c->n_ops; i++)
        out->ops[i].n_visits = out->ops[i].first_visit = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct nf_op *op = &out->ops[visits[i].op];

        if (!op->n_visits++)
            op->first_visit = i;
    }
    out->visits = visits;
    out->n_visits = n;
    return 0;
}

void nf_step_class_seen_deinit(struct nf_step_class *seen)
{
    free(seen->ops);
    free(seen->visits);
    *seen = (struct nf_step_class){0};
}

uint32_t nf_stream_steady_class(const struct nf_stream *s)
{
    uint32_t *steps = s->n_classes ? calloc(s->n_classes, sizeof *steps) : NULL;
    uint32_t best = 0;

    if (!steps)
        return 0;
    for (uint32_t i = s->n_sequence / 2; i < s->n_sequence; i++) {
        if (s->sequence[i] < s->n_classes)
            steps[s->sequence[i]]++;
    }
    for (uint32_t i = 1; i < s->n_classes; i++) {
        if (steps[i] > steps[best])
            best = i;
    }
    free(steps);
    return best;
}
