#include "capture/et-plan.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/et-schema.h"
#include "core/base/error.h"
#include "core/model/words.h"

/* RecordScope::BACKWARD_FUNCTION and USER_SCOPE of PyTorch. */
enum { SCOPE_BACKWARD = 1, SCOPE_USER = 7 };
enum { MODULE_MAX = 256, RW_NONE = 0xff };

/* What the tree says of a node. */
struct place {
    uint32_t parent; /* index, NF_ET_NONE at the top */
    uint32_t end;    /* index of the last node inside it, itself where there is none */
    uint32_t module;
    uint32_t schema; /* place in planner.schemas */
    uint8_t phase;
    bool worked;     /* an operator inside it touched something */
    bool ends_step;
};

struct planner {
    struct nf_et_plan *p;
    struct nf_et_trace *t;
    struct place *places;
    NF_ARRAY(struct nf_et_schema) schemas;
    struct nf_id_map schema_of; /* schema text, or name text of those without, -> place in schemas */
    struct nf_id_map forward_module; /* seq_id and thread of a forward operator -> its module */
    NF_ARRAY(struct nf_et_touch) clips; /* extents of expanded views */
    struct nf_id_map clip_of;           /* tensor id -> place in clips, NF_ET_NONE for one that is no expanded view */
    uint32_t *current; /* slot -> its lifetime */
    uint32_t *seen;    /* slot -> 1 + the last node that touched it */
    uint32_t *input;   /* slot -> 1 + the last node that had it as an input */
    NF_ARRAY(uint32_t) optimizer_ends, profiler_starts; /* places in execs where a step ends */
};

static int out_of_memory(void)
{
    return nf_fail(-ENOMEM, "out of memory");
}

static bool starts_with(const char *text, const char *start)
{
    return !strncmp(text, start, strlen(start));
}

/* --- the tree: phases, modules --- */

/* "AddmmBackward0", "torch::autograd::CppNode<...>Backward" */
static bool is_backward_name(const char *name)
{
    size_t n = strlen(name);

    while (n && isdigit((unsigned char)name[n - 1]))
        n--;
    return n >= 8 && !strncmp(name + n - 8, "Backward", 8) && !strstr(name, "aten::");
}

static uint8_t phase_of(const struct nf_et_node *n, const char *name, uint8_t inherited)
{
    if (starts_with(name, "Optimizer.step"))
        return NF_PHASE_OPTIMIZER;
    if (starts_with(name, "Optimizer."))
        return NF_PHASE_OTHER;
    if (n->is_operator && n->scope != SCOPE_BACKWARD)
        return inherited;
    if (starts_with(name, "autograd::engine::evaluate_function") || starts_with(name, "torch::autograd::AccumulateGrad"))
        return NF_PHASE_BACKWARD;
    /* Its forward runs again directly inside it; the gradients of that run have a node of the engine around them. */
    if (strstr(name, "CheckpointFunctionBackward"))
        return NF_PHASE_RECOMPUTE;
    if (n->scope == SCOPE_BACKWARD || is_backward_name(name))
        return NF_PHASE_BACKWARD;
    return inherited;
}

/* The label a person or a module gave a stretch of the run; empty for what the recorder and the engine call theirs. */
static size_t label_of(const struct nf_et_node *n, const char *name, const char **label)
{
    static const char *const others[] = {"[", "Optimizer.", "ProfilerStep", "autograd::", "torch::", "enumerate(",
                                         "DataLoader", "PyTorch Profiler"};
    size_t length;

    if (n->is_operator || n->scope != SCOPE_USER)
        return 0;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (starts_with(name, others[i]))
            return 0;
    if (starts_with(name, "nn.Module:"))
        name += 10;
    name += strspn(name, "# ");
    length = strlen(name);
    while (length && strchr("# ", name[length - 1]))
        length--;
    *label = name;
    return length;
}

static int module_of(struct planner *w, const struct nf_et_node *n, const char *name, uint32_t inherited, uint32_t *out)
{
    const char *label = NULL, *outer = nf_texts_get(&w->t->texts, inherited);
    size_t length = label_of(n, name, &label);
    char path[MODULE_MAX];
    int size;

    *out = inherited;
    if (!length)
        return 0;
    size = snprintf(path, sizeof path, "%s%s%.*s", outer, *outer ? "." : "", (int)(length < MODULE_MAX ? length : MODULE_MAX),
                    label);
    *out = nf_texts_add(&w->t->texts, path, size < MODULE_MAX ? (size_t)size : MODULE_MAX - 1);
    if (*out == NF_TEXTS_NONE)
        return out_of_memory();
    /* Labels inside labels: their paths are longer than what the trace said of them. */
    return w->t->texts.bytes > 2ull * NF_ET_TEXT_BYTES_MAX ? nf_fail(-EBADMSG, "the trace has more labels than can be kept")
                                                           : 0;
}

static uint64_t forward_key(const struct nf_et_node *n, uint32_t tid)
{
    return (uint64_t)n->seq_id ^ (uint64_t)tid << 48;
}

/* A backward node works for the module whose forward operator has its sequence number. */
static int pair_modules(struct planner *w, const struct nf_et_node *n, struct place *at)
{
    uint32_t *module;
    bool is_new;

    if (n->seq_id < 0)
        return 0;
    if (at->phase == NF_PHASE_FORWARD && at->module) {
        module = nf_id_map_add(&w->forward_module, forward_key(n, n->tid), at->module, &is_new);
        if (!module)
            return out_of_memory();
        *module = at->module;
    } else if (at->phase == NF_PHASE_BACKWARD && !at->module) {
        module = nf_id_map_find(&w->forward_module, forward_key(n, n->fw_tid ? n->fw_tid : n->tid));
        if (module)
            at->module = *module;
    }
    return 0;
}

static int schema_of(struct planner *w, const struct nf_et_node *n, uint32_t *out)
{
    struct nf_et_schema s;
    uint32_t *place;
    bool is_new;

    place = nf_id_map_add(&w->schema_of, (uint64_t)n->schema << 32 | n->name, (uint32_t)w->schemas.n, &is_new);
    if (!place)
        return out_of_memory();
    *out = *place;
    if (!is_new)
        return 0;
    nf_et_schema_parse(nf_texts_get(&w->t->texts, n->name), nf_texts_get(&w->t->texts, n->schema), &s);
    return nf_array_push(&w->schemas, s) ? out_of_memory() : 0;
}

/* Ids grow in the order of beginnings, so a parent stands before its children. */
static int climb_down(struct planner *w)
{
    struct nf_id_map index = {0};
    bool is_new;
    int rc = 0;

    for (uint32_t i = 0; !rc && i < w->t->nodes.n; i++) {
        const struct nf_et_node *n = &w->t->nodes.v[i];
        const char *name = nf_texts_get(&w->t->texts, n->name);
        struct place *at = &w->places[i];
        uint32_t *parent = n->parent == n->id ? NULL : nf_id_map_find(&index, n->parent);
        const struct place *above = parent ? &w->places[*parent] : NULL;

        w->p->totals.orphans += !parent && n->parent && n->parent != n->id;
        at->parent = parent ? *parent : NF_ET_NONE;
        if (!nf_id_map_add(&index, n->id, i, &is_new)) {
            rc = out_of_memory();
            break;
        }
        at->end = i;
        at->phase = phase_of(n, name, above ? above->phase : n->fw_tid ? NF_PHASE_BACKWARD : NF_PHASE_FORWARD);
        at->ends_step = at->phase == NF_PHASE_OPTIMIZER && !n->is_operator && (!above || above->phase != NF_PHASE_OPTIMIZER);
        rc = module_of(w, n, name, above ? above->module : 0, &at->module);
        if (!rc)
            rc = pair_modules(w, n, at);
        if (!rc && n->is_operator)
            rc = schema_of(w, n, &at->schema);
    }
    nf_id_map_deinit(&index);
    for (uint32_t i = (uint32_t)w->t->nodes.n; i-- > 0;) {
        struct place *at = &w->places[i];

        if (at->parent != NF_ET_NONE && w->places[at->parent].end < at->end)
            w->places[at->parent].end = at->end;
    }
    return rc;
}

/* --- extents --- */

/* An operand's extent, with views that repeat elements (expand) cut to what they repeat. */
static struct nf_et_touch extent_of(const struct planner *w, const struct nf_et_operand *o)
{
    const uint32_t *clip = o->has_strides ? NULL : nf_id_map_find(&w->clip_of, o->tensor);
    struct nf_et_touch e = {.offset = o->offset, .bytes = o->bytes, .run = o->run};

    if (clip && *clip != NF_ET_NONE && o->bytes > w->clips.v[*clip].bytes)
        e = w->clips.v[*clip];
    return e;
}

static int set_clip(struct planner *w, uint64_t tensor, const struct nf_et_touch *clip)
{
    uint32_t *place = nf_id_map_find(&w->clip_of, tensor);
    bool is_new;

    if (!clip) {
        if (place)
            *place = NF_ET_NONE;
        return 0;
    }
    if (!place)
        place = nf_id_map_add(&w->clip_of, tensor, NF_ET_NONE, &is_new);
    if (!place || (*place == NF_ET_NONE && nf_array_push(&w->clips, *clip)))
        return out_of_memory();
    if (*place == NF_ET_NONE)
        *place = (uint32_t)w->clips.n - 1;
    w->clips.v[*place] = *clip;
    return 0;
}

/* A view cannot hold more elements than its base unless it repeats them. */
static int follow_view(struct planner *w, const struct nf_et_node *n)
{
    const struct nf_et_operand *o = w->t->operands.v + n->first_operand, *base = NULL;

    for (uint32_t i = 0; i < n->n_operands; i++) {
        struct nf_et_touch e;
        int rc = 0;

        if (!o[i].is_output) {
            if (!base && o[i].bytes)
                base = &o[i];
            continue;
        }
        if (!base || o[i].slot != base->slot || o[i].has_strides)
            continue;
        e = extent_of(w, base);
        if (o[i].bytes > e.bytes)
            rc = set_clip(w, o[i].tensor, &e);
        else if (o[i].tensor != base->tensor)
            rc = set_clip(w, o[i].tensor, NULL);
        if (rc)
            return rc;
    }
    return 0;
}

/* --- lifetimes --- */

static int begin_lifetime(struct planner *w, const struct nf_et_operand *o, uint32_t node, bool made, uint32_t *out)
{
    struct nf_et_lifetime l = {.slot = o->slot, .device = o->device, .dtype = o->dtype, .shape = o->shape, .made = made,
                               .sized = made, .began = node, .first = NF_ET_NONE, .last = NF_ET_NONE};

    if (w->current[o->slot] != NF_ET_NONE)
        w->p->lifetimes.v[w->current[o->slot]].succeeded = true;
    *out = w->current[o->slot] = (uint32_t)w->p->lifetimes.n;
    return nf_array_push(&w->p->lifetimes, l) ? out_of_memory() : 0;
}

/* The lifetime behind an operand of the node, a new one where a rule says so. */
static int lifetime_of(struct planner *w, const struct nf_et_operand *o, uint32_t node, bool fresh, bool resized,
                       uint32_t *out)
{
    struct nf_et_touch e = extent_of(w, o);
    uint64_t end = e.offset + (o->has_strides ? o->span : e.bytes);
    struct nf_et_lifetime *l = w->current[o->slot] == NF_ET_NONE ? NULL : &w->p->lifetimes.v[w->current[o->slot]];
    bool young = l && l->began >= node; /* it began inside this node */
    int rc = 0;

    *out = w->current[o->slot];
    if (!l || (fresh && !young)) {
        rc = begin_lifetime(w, o, node, fresh, out);
    } else if (l->device != o->device) {
        w->p->totals.device_splits++;
        rc = begin_lifetime(w, o, node, fresh, out);
    } else if (l->sized && end > l->bytes && !young && !resized) {
        w->p->totals.size_splits++;
        rc = begin_lifetime(w, o, node, false, out);
    }
    if (rc)
        return rc;
    l = &w->p->lifetimes.v[*out];
    if (end > l->bytes) {
        l->bytes = end;
        l->dtype = o->dtype;
        l->shape = o->shape;
    }
    return 0;
}

/* --- what an operator touches --- */

static bool has_bit(uint64_t bits, unsigned argument)
{
    return argument < NF_ET_ARGUMENTS && bits >> argument & 1;
}

static uint8_t rw_of(const struct nf_et_node *n, const struct nf_et_schema *s, const struct nf_et_operand *o)
{
    if (n->is_kernel)
        return NF_RW_UPDATE;
    if (!has_bit(s->mutated, o->argument))
        return NF_RW_READ;
    return has_bit(s->overwritten, o->argument) ? NF_RW_WRITE : NF_RW_UPDATE;
}

static bool is_fresh(const struct planner *w, const struct nf_et_operand *o, uint32_t node)
{
    return o->is_output && w->input[o->slot] != node + 1;
}

/* All its results alias inputs, and it changes none: a view. */
static bool is_view(const struct planner *w, const struct nf_et_node *n, const struct nf_et_schema *s, uint32_t node)
{
    const struct nf_et_operand *o = w->t->operands.v + n->first_operand;
    bool any = false;

    if (s->mutated || n->is_kernel)
        return false;
    for (uint32_t i = 0; i < n->n_operands; i++) {
        if (!o[i].is_output || !*nf_texts_get(&w->t->texts, o[i].device))
            continue;
        if (w->input[o[i].slot] != node + 1)
            return false;
        any = true;
    }
    return any;
}

/* Bytes that lie together in a row of the table: all its dims but the first. */
static uint64_t row_bytes(const struct planner *w, const struct nf_et_operand *table)
{
    const char *shape = nf_texts_get(&w->t->texts, table->shape);
    uint64_t rows = strtoull(shape, NULL, 10);

    return strchr(shape, 'x') && rows && table->bytes % rows == 0 ? table->bytes / rows : table->element;
}

/* Which rows an index picks is not known: they are taken to be spread evenly, and never more than the table has. */
static void pick(const struct planner *w, const struct nf_et_node *n, const struct nf_et_schema *s, struct nf_et_operand *table)
{
    const struct nf_et_operand *o = w->t->operands.v + n->first_operand;
    uint64_t row = s->picks_elements ? table->element : row_bytes(w, table), rows = UINT64_MAX;

    for (uint32_t i = 0; i < n->n_operands && rows == UINT64_MAX; i++)
        if (!o[i].is_output && o[i].argument == s->picked_by && o[i].element)
            rows = o[i].bytes / o[i].element;
    if (!row || row > UINT32_MAX || rows >= table->bytes / row)
        return;
    table->pattern = NF_PATTERN_GATHER;
    table->bytes = rows * row;
    table->run = (uint32_t)row;
    if (!rows)
        table->lifetime = NF_ET_NONE;
}

static int touch(struct planner *w, const struct nf_et_node *n, uint32_t node, struct nf_et_operand *o, uint8_t rw)
{
    const struct nf_et_schema *s = &w->schemas.v[w->places[node].schema];
    bool fresh = is_fresh(w, o, node);
    struct nf_et_touch e;
    int rc;

    if (!o->bytes)
        return 0;
    if (fresh && !o->has_strides) {
        rc = set_clip(w, o->tensor, NULL);
        if (rc)
            return rc;
    }
    rc = lifetime_of(w, o, node, fresh, false, &o->lifetime);
    if (rc)
        return rc;
    e = extent_of(w, o);
    if (e.bytes < o->bytes) {
        w->p->totals.expanded++;
        o->offset = e.offset;
        o->bytes = o->span = e.bytes;
        o->run = 0;
    }
    w->p->totals.unknown_rw += n->is_kernel;
    o->rw = rw;
    o->pattern = !o->is_output && has_bit(s->blocked, o->argument) ? NF_PATTERN_BLOCKED
                 : o->run                                          ? NF_PATTERN_STRIDED
                                                                   : NF_PATTERN_STREAM;
    if (!o->is_output && !o->argument && s->picked_by >= 0)
        pick(w, n, s, o);
    return 0;
}

/* Was the operand touched by an operator inside the node? */
static bool seen_inside(const struct planner *w, const struct nf_et_operand *o, uint32_t node)
{
    return w->seen[o->slot] > node + 1;
}

static bool leaves_inputs(const struct planner *w, const struct nf_et_node *n, const struct nf_et_schema *s, uint32_t node)
{
    const struct nf_et_operand *o = w->t->operands.v + n->first_operand;

    for (uint32_t i = 0; i < n->n_operands; i++)
        if (!o[i].is_output && o[i].bytes && !has_bit(s->shape_only, o[i].argument) && !seen_inside(w, &o[i], node))
            return true;
    return false;
}

static int add_exec(struct planner *w, uint32_t node)
{
    struct nf_et_exec e = {.node = node, .module = w->places[node].module, .phase = w->places[node].phase};

    return nf_array_push(&w->p->execs, e) ? out_of_memory() : 0;
}

static int touch_all(struct planner *w, const struct nf_et_node *n, uint32_t node, bool remainder)
{
    const struct nf_et_schema *s = &w->schemas.v[w->places[node].schema];
    struct nf_et_operand *o = w->t->operands.v + n->first_operand;
    bool any = false;
    int rc = 0;

    for (uint32_t i = 0; !rc && i < n->n_operands; i++) {
        bool inside = remainder && seen_inside(w, &o[i], node);

        if (o[i].is_output) {
            /* What was filled inside is added to; an alias of an input stands there already. */
            if (is_fresh(w, &o[i], node))
                rc = touch(w, n, node, &o[i], inside ? NF_RW_UPDATE : NF_RW_WRITE);
        } else if (!has_bit(s->shape_only, o[i].argument) && (!inside || has_bit(s->mutated, o[i].argument))) {
            rc = touch(w, n, node, &o[i], rw_of(n, s, &o[i]));
        }
        any |= o[i].lifetime != NF_ET_NONE;
    }
    for (uint32_t i = 0; i < n->n_operands; i++)
        if (o[i].lifetime != NF_ET_NONE && w->seen[o[i].slot] < node + 1)
            w->seen[o[i].slot] = node + 1;
    if (rc || !any) {
        w->p->totals.idle += !rc;
        return rc;
    }
    w->p->totals.remainders += remainder;
    w->places[node].worked = true;
    return add_exec(w, node);
}

/* Allocations begin lifetimes, resizes let them grow, views name a storage again. */
static int pass_silent(struct planner *w, const struct nf_et_node *n, uint32_t node, const struct nf_et_schema *s)
{
    const struct nf_et_operand *o = w->t->operands.v + n->first_operand;
    uint32_t unused;
    int rc = 0;

    w->p->totals.silent++;
    for (uint32_t i = 0; !rc && i < n->n_operands; i++) {
        if (!o[i].is_output || !o[i].bytes)
            continue;
        if (s->allocates || s->resizes)
            rc = lifetime_of(w, &o[i], node, s->allocates || is_fresh(w, &o[i], node), s->resizes, &unused);
        if (!rc && (s->allocates || s->resizes) && !o[i].has_strides)
            rc = set_clip(w, o[i].tensor, NULL);
    }
    return rc || s->allocates || s->resizes ? rc : follow_view(w, n);
}

static int end_operator(struct planner *w, uint32_t node)
{
    const struct nf_et_node *n = &w->t->nodes.v[node];
    const struct nf_et_schema *s = &w->schemas.v[w->places[node].schema];
    const struct nf_et_operand *o = w->t->operands.v + n->first_operand;

    w->p->totals.operators++;
    for (uint32_t i = 0; i < n->n_operands; i++)
        if (!o[i].is_output && o[i].bytes)
            w->input[o[i].slot] = node + 1;
    if (s->silent || (!w->places[node].worked && is_view(w, n, s, node)))
        return pass_silent(w, n, node, s);
    if (!w->places[node].worked)
        return touch_all(w, n, node, false);
    return leaves_inputs(w, n, s, node) ? touch_all(w, n, node, true) : 0;
}

static int end_node(struct planner *w, uint32_t node)
{
    const struct place *at = &w->places[node];
    int rc = w->t->nodes.v[node].is_operator ? end_operator(w, node) : 0;

    if (at->worked && at->parent != NF_ET_NONE)
        w->places[at->parent].worked = true;
    if (!rc && at->ends_step && nf_array_push(&w->optimizer_ends, (uint32_t)w->p->execs.n))
        rc = out_of_memory();
    return rc;
}

static int walk(struct planner *w)
{
    struct nf_et_trace *t = w->t;

    for (size_t i = 0; i < t->operands.n; i++) {
        t->operands.v[i].lifetime = NF_ET_NONE;
        t->operands.v[i].rw = RW_NONE;
    }
    for (uint32_t i = 0; i < t->nodes.n; i++) {
        const struct nf_et_node *n = &t->nodes.v[i];
        uint32_t node = i;

        if (!n->is_operator && starts_with(nf_texts_get(&t->texts, n->name), "ProfilerStep") &&
            nf_array_push(&w->profiler_starts, (uint32_t)w->p->execs.n))
            return out_of_memory();
        /* Whatever ends here, the innermost first. */
        for (; node != NF_ET_NONE && w->places[node].end == i; node = w->places[node].parent) {
            int rc = end_node(w, node);

            if (rc)
                return rc;
        }
    }
    return 0;
}

/* --- steps --- */

static bool holds_backward(const struct nf_et_plan *p, size_t from)
{
    for (size_t i = from; i < p->execs.n; i++)
        if (p->execs.v[i].phase == NF_PHASE_BACKWARD)
            return true;
    return false;
}

/* Ends of optimizer steps; without any, beginnings of profiler steps. What follows the last end counts as a step of its
 * own only where it holds backward work; else it is what a script does between steps. */
static int divide(struct planner *w)
{
    struct nf_et_plan *p = w->p;
    bool by_optimizer = w->optimizer_ends.n > 0;
    const uint32_t *ends = by_optimizer ? w->optimizer_ends.v : w->profiler_starts.v;
    size_t n = by_optimizer ? w->optimizer_ends.n : w->profiler_starts.n, at = 0, last = 0;
    uint16_t microbatch = 0;
    bool was_backward = false;

    p->totals.boundary = by_optimizer ? "optimizer steps" : "profiler steps";
    for (size_t i = 0; i < n; i++)
        last = ends[i] && ends[i] > last ? ends[i] : last;
    if (!last)
        p->totals.boundary = "nothing: the trace counts as one";
    if (by_optimizer && last && last < p->execs.n) {
        if (holds_backward(p, last)) {
            p->totals.cut_step = true;
        } else {
            p->totals.dropped = p->execs.n - last;
            p->execs.n = last;
        }
    }
    for (size_t i = 0; i < p->execs.n; i++) {
        struct nf_et_exec *e = &p->execs.v[i];
        bool turned = false;

        for (; at < n && ends[at] <= i; at++)
            turned |= ends[at] && ends[at] == i;
        if (turned) {
            p->n_steps++;
            microbatch = 0;
            was_backward = false;
        }
        /* A forward after a backward is the next microbatch. */
        if (e->phase == NF_PHASE_FORWARD && was_backward && microbatch < UINT16_MAX)
            microbatch++;
        if (e->phase == NF_PHASE_FORWARD || e->phase == NF_PHASE_BACKWARD)
            was_backward = e->phase == NF_PHASE_BACKWARD;
        e->microbatch = microbatch;
        e->step = p->n_steps;
    }
    p->n_steps += p->execs.n > 0;
    if (p->n_steps > NF_ET_STEPS_MAX)
        return nf_fail(-EBADMSG, "the trace has more than %d steps", NF_ET_STEPS_MAX);
    return p->n_steps ? 0 : nf_fail(-ENODATA, "no operator of the trace touches a tensor");
}

/* --- what the lifetimes were for --- */

/* Of two operands of one node that name the same extent, the first stands for both. True when o was such a second. */
static bool merge_same(const struct nf_et_operand *o, struct nf_et_operand *before)
{
    if (before->offset != o->offset || before->bytes != o->bytes ||
        before->run != o->run)
        return false;
    if (before->rw != o->rw)
        before->rw = NF_RW_UPDATE;
    return true;
}

static void measure(struct planner *w)
{
    struct nf_et_plan *p = w->p;

    for (uint32_t i = 0; i < p->execs.n; i++) {
        const struct nf_et_exec *e = &p->execs.v[i];
        const struct nf_et_node *n = &w->t->nodes.v[e->node];
        struct nf_et_operand *o = w->t->operands.v + n->first_operand;

        for (uint32_t k = 0; k < n->n_operands; k++) {
            struct nf_et_lifetime *l;

            if (o[k].lifetime == NF_ET_NONE)
                continue;
            l = &p->lifetimes.v[o[k].lifetime];
            if (l->last == i && merge_same(&o[k], &o[l->operand])) {
                o[k].lifetime = NF_ET_NONE;
                continue;
            }
            l->operand = k;
            if (l->first == NF_ET_NONE)
                l->first = i;
            l->last = i;
            if (o[k].rw != NF_RW_WRITE)
                l->reads |= (uint8_t)(1u << e->phase);
            if (o[k].rw != NF_RW_READ)
                l->writes |= (uint8_t)(1u << e->phase);
        }
    }
}

static uint8_t infer_role(const struct nf_et_lifetime *l, bool lasts)
{
    const uint8_t forward = 1 << NF_PHASE_FORWARD, backward = 1 << NF_PHASE_BACKWARD, optimizer = 1 << NF_PHASE_OPTIMIZER;
    const uint8_t recompute = 1 << NF_PHASE_RECOMPUTE;

    if (l->writes & backward && l->reads & optimizer)
        return NF_ROLE_GRADIENT;
    if (l->writes & optimizer && l->reads & (forward | backward | recompute))
        return NF_ROLE_PARAMETER;
    if (lasts && (l->reads | l->writes) & optimizer && !((l->reads | l->writes) & (forward | backward | recompute)))
        return NF_ROLE_OPTIMIZER;
    return NF_ROLE_UNKNOWN;
}

static void judge(struct planner *w)
{
    struct nf_et_plan *p = w->p;
    uint32_t *touched = w->seen; /* slot -> 1 when one of its lifetimes was */

    memset(touched, 0, w->t->n_slots * sizeof *touched);
    for (size_t i = 0; i < p->lifetimes.n; i++) {
        struct nf_et_lifetime *l = &p->lifetimes.v[i];
        uint32_t from, to;

        if (l->first == NF_ET_NONE) {
            p->totals.never_touched++;
            continue;
        }
        from = p->execs.v[l->first].step;
        to = p->execs.v[l->last].step;
        l->carried_in = !l->made && !from && (p->n_steps == 1 || to > 0);
        l->outlives = !l->succeeded && to == p->n_steps - 1 && (l->carried_in || from < to);
        l->role = infer_role(l, l->carried_in || from < to);
        p->totals.splits += touched[l->slot];
        p->totals.slots_touched += !touched[l->slot];
        touched[l->slot] = 1;
    }
}

static int plan(struct planner *w)
{
    size_t slots = w->t->n_slots;
    int rc;

    w->places = calloc(w->t->nodes.n + 1, sizeof *w->places);
    w->current = malloc((slots + 1) * sizeof *w->current);
    w->seen = calloc(slots + 1, sizeof *w->seen);
    w->input = calloc(slots + 1, sizeof *w->input);
    if (!w->places || !w->current || !w->seen || !w->input)
        return out_of_memory();
    for (size_t i = 0; i < slots; i++)
        w->current[i] = NF_ET_NONE;
    rc = climb_down(w);
    if (!rc)
        rc = walk(w);
    if (!rc)
        rc = divide(w);
    if (rc)
        return rc;
    measure(w);
    judge(w);
    return 0;
}

int nf_et_plan_init(struct nf_et_plan *p, struct nf_et_trace *trace)
{
    struct planner w = {.p = p, .t = trace};
    int rc;

    *p = (struct nf_et_plan){.trace = trace};
    rc = plan(&w);
    free(w.places);
    free(w.current);
    free(w.seen);
    free(w.input);
    nf_array_free(&w.schemas);
    nf_array_free(&w.clips);
    nf_array_free(&w.optimizer_ends);
    nf_array_free(&w.profiler_starts);
    nf_id_map_deinit(&w.schema_of);
    nf_id_map_deinit(&w.forward_module);
    nf_id_map_deinit(&w.clip_of);
    return rc;
}

void nf_et_plan_deinit(struct nf_et_plan *p)
{
    nf_array_free(&p->execs);
    nf_array_free(&p->lifetimes);
}

struct nf_et_touch nf_et_plan_touch(const struct nf_et_operand *o)
{
    struct nf_et_touch v = {.offset = o->offset, .bytes = o->bytes, .run = o->bytes, .stride = o->bytes};
    uint64_t runs = o->run ? o->bytes / o->run : 0;

    if (runs && o->run < o->span) {
        v.run = o->run;
        v.stride = runs > 1 ? (o->span - o->run) / (runs - 1) : o->run;
    }
    return v;
}
