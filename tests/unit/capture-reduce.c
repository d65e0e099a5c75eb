/* The reducer: events written by hand, and the steps they must become. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "tests/unit/capture-events.h"

enum { F = NF_PHASE_FORWARD, B = NF_PHASE_BACKWARD, R = NF_PHASE_RECOMPUTE, O = NF_PHASE_OPTIMIZER };
enum { W = 0x1000, X = 0x2000, Y = 0x3000, Z = 0x4000, G = 0x5000, SIZE = 256 };

static int setup(void **state)
{
    struct events *j = malloc(sizeof *j);

    events_init(j, 1);
    *state = j;
    return 0;
}

static int teardown(void **state)
{
    events_deinit(*state);
    free(*state);
    return 0;
}

/* An op that reads a and writes b. */
static void copy_op(struct events *j, uint32_t name, uint8_t phase, uint32_t module, uint64_t a, uint64_t b)
{
    ev_op(j, name, phase, module);
    ev_visit(j, a, SIZE, NF_RW_READ);
    ev_visit(j, b, SIZE, NF_RW_WRITE);
}

/* --- lifetimes --- */

static void free_before_inside_after_an_op(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");
    uint64_t start;

    ev_alloc(j, X, SIZE);
    ev_alloc(j, Y, SIZE);
    ev_alloc(j, Z, SIZE);
    ev_op(j, op, F, 0); /* op 0 visits all three */
    ev_visit(j, X, SIZE, NF_RW_WRITE);
    ev_visit(j, Y, SIZE, NF_RW_WRITE);
    ev_visit(j, Z, SIZE, NF_RW_WRITE);
    ev_free(j, X); /* before op 1 begins */
    start = ++j->now;
    ev_free(j, Y); /* while op 1 runs */
    ev_op_at(j, op, F, start);
    ev_op(j, op, F, 0);
    ev_free(j, Z); /* after op 2, before the step's end */
    ev_step(j, 1);
    assert_int_equal(j->n_kept, 1);
    assert_int_equal(kept_at(j->kept, X)->death, 0);
    assert_int_equal(kept_at(j->kept, Y)->death, 1);
    assert_int_equal(kept_at(j->kept, Z)->death, 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(j->kept->tensors[i].birth, 0);
        assert_int_equal(j->kept->tensors[i].carry_out, NF_CARRY_NONE);
    }
}

static void allocation_inside_an_op(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");
    uint64_t start;

    ev_op(j, op, F, 0);
    start = ++j->now;
    ev_alloc(j, X, SIZE); /* born and gone inside op 1: its scratch */
    ev_free(j, X);
    ev_alloc(j, Y, SIZE);
    ev_op_at(j, op, F, start);
    ev_visit(j, Y, SIZE, NF_RW_WRITE);
    ev_step(j, 1);
    assert_int_equal(kept_at(j->kept, X)->birth, 1);
    assert_int_equal(kept_at(j->kept, X)->death, 1);
    assert_int_equal(kept_at(j->kept, X)->role, NF_ROLE_SCRATCH);
    assert_false(kept_at(j->kept, X)->tracked);
    assert_int_equal(kept_at(j->kept, Y)->birth, 1);
    assert_int_equal(kept_at(j->kept, Y)->death, NF_OP_AFTER);
    assert_int_equal(kept_at(j->kept, Y)->carry_out, 0);
}

static void recycled_address_is_a_new_tensor(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_alloc(j, X, SIZE);
    ev_op(j, op, F, 0);
    ev_visit(j, X, SIZE, NF_RW_WRITE);
    ev_free(j, X);
    ev_alloc(j, X, SIZE / 2);
    ev_op(j, op, F, 0);
    ev_visit(j, X, SIZE / 2, NF_RW_WRITE);
    ev_free(j, X);
    ev_step(j, 1);
    assert_int_equal(j->kept->step.n_tensors, 2);
    assert_int_equal(j->kept->visits[0].tensor, 0);
    assert_int_equal(j->kept->visits[1].tensor, 1);
    assert_int_equal(j->kept->tensors[0].bytes, SIZE);
    assert_int_equal(j->kept->tensors[1].bytes, SIZE / 2);
    assert_int_equal(j->kept->tensors[0].death, 0);
    assert_int_equal(j->kept->tensors[1].birth, 1);
}

/* The free's event was dropped by a full ring: the next allocation there ends the storage. */
static void lost_free(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_alloc(j, X, 0x1000);
    ev_alloc(j, X + 0x1000, 0x1000);
    ev_op(j, op, F, 0);
    ev_visit(j, X, 0x1000, NF_RW_WRITE);
    ev_alloc(j, X + 0x800, 0x1000); /* overlaps both */
    ev_op(j, op, F, 0);
    ev_visit(j, X + 0x800, 0x1000, NF_RW_WRITE);
    ev_step(j, 1);
    assert_int_equal(j->kept->step.n_tensors, 3);
    assert_int_equal(j->kept->tensors[0].death, 0);
    assert_int_equal(j->kept->tensors[1].death, 0);
    assert_int_equal(j->kept->visits[1].tensor, 2);
    assert_int_equal(j->kept->visits[1].offset, 0);
    assert_int_equal(nf_reduce_totals(j->reduce)->live_bytes, 0x1000);
    ev_free(j, X + 0x900); /* not a start: nobody's */
    ev_free(j, 0x999000);
    assert_int_equal(nf_reduce_totals(j->reduce)->live_bytes, 0x1000);
}

static void setup_before_training_is_forgotten(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_alloc(j, X, SIZE);
    ev_free(j, X);
    ev_alloc(j, W, SIZE);
    ev_mark(j, NF_MARK_TRAINING_BEGINS, 0, 0);
    ev_op(j, op, F, 0);
    ev_visit(j, W, SIZE, NF_RW_READ);
    ev_step(j, 1);
    assert_int_equal(j->kept->step.n_tensors, 1);
    assert_int_equal(j->kept->tensors[0].address, W);
}

/* --- carry slots --- */

static void grad_step(struct events *j, uint32_t op, uint64_t grad)
{
    copy_op(j, op, F, 0, W, W);
    ev_alloc(j, grad, SIZE);
    copy_op(j, op, B, 0, W, grad);
    copy_op(j, op, O, 0, grad, W);
    ev_step(j, 1);
}

static void carry_slots_are_stable(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op"), w = ev_text(j, "weight"), grad = ev_text(j, "weight.grad");

    ev_alloc(j, W, SIZE);
    ev_tensor(j, W, SIZE, NF_ROLE_PARAMETER, w, 0);
    for (int step = 0; step < 4; step++) {
        uint64_t at = G + (uint64_t)step * 0x1000;

        if (step)
            ev_free(j, at - 0x1000); /* zero_grad(set_to_none) frees the old one, at the start of the next step */
        copy_op(j, op, F, 0, W, W);
        ev_alloc(j, at, SIZE);
        ev_tensor(j, at, SIZE, NF_ROLE_GRADIENT, grad, 0);
        copy_op(j, op, B, 0, W, at);
        copy_op(j, op, O, 0, at, W);
        ev_step(j, 1);
    }
    for (int step = 1; step < 4; step++) {
        const struct kept_step *k = &j->kept[step];

        assert_int_equal(k->step.n_tensors, 3);
        assert_int_equal(k->tensors[0].carry_in, 0);
        assert_int_equal(k->tensors[0].carry_out, 0);
        assert_int_equal(k->tensors[0].birth, NF_OP_BEFORE);
        assert_int_equal(k->tensors[1].carry_in, 1); /* the old gradient */
        assert_int_equal(k->tensors[1].carry_out, NF_CARRY_NONE);
        assert_int_equal(k->tensors[1].death, 0);
        assert_int_equal(k->tensors[2].carry_in, NF_CARRY_NONE); /* the new one takes its slot again */
        assert_int_equal(k->tensors[2].carry_out, 1);
    }
    assert_true(j->kept[0].step.hash != j->kept[1].step.hash); /* the first has no old gradient */
    assert_true(j->kept[1].step.hash == j->kept[2].step.hash);
    assert_true(j->kept[2].step.hash == j->kept[3].step.hash);
}

/* --- roles --- */

static const struct nf_step_role *role_of(const struct kept_step *k, uint32_t tensor, uint8_t role)
{
    for (uint32_t i = 0; i < k->step.n_roles; i++)
        if (k->roles[i].tensor == tensor && k->roles[i].role == role)
            return &k->roles[i];
    return NULL;
}

static void roles_follow_birth_and_visits(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_alloc(j, X, SIZE); /* forward, read in backward: saved */
    copy_op(j, op, F, 0, X, X);
    ev_alloc(j, Y, SIZE); /* forward only */
    copy_op(j, op, F, 0, X, Y);
    ev_free(j, Y);
    ev_alloc(j, Z, SIZE); /* backward */
    copy_op(j, op, B, 0, X, Z);
    ev_alloc(j, G, SIZE); /* optimizer */
    copy_op(j, op, O, 0, Z, G);
    ev_step(j, 1);
    assert_int_equal(kept_at(j->kept, X)->role, NF_ROLE_SAVED);
    assert_int_equal(kept_at(j->kept, Y)->role, NF_ROLE_FORWARD_TEMP);
    assert_int_equal(kept_at(j->kept, Z)->role, NF_ROLE_BACKWARD_TEMP);
    assert_int_equal(kept_at(j->kept, G)->role, NF_ROLE_OPTIMIZER_TEMP);
    assert_int_equal(kept_at(j->kept, X)->birth_phase, F);
    assert_int_equal(kept_at(j->kept, Z)->birth_phase, B);
}

static void a_tied_weight_has_two_roles(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op"), tokens = ev_text(j, "tokens.weight"), head = ev_text(j, "head.weight");

    ev_alloc(j, W, SIZE);
    ev_tensor(j, W, SIZE, NF_ROLE_PARAMETER, tokens, 0);
    ev_tensor(j, W, SIZE, NF_ROLE_PARAMETER, head, 0);
    ev_tensor(j, W, SIZE, NF_ROLE_PARAMETER, head, 0); /* said again: no third */
    copy_op(j, op, F, 0, W, W);
    ev_step(j, 1);
    assert_int_equal(j->kept->step.n_tensors, 1);
    assert_int_equal(j->kept->step.n_roles, 2);
    assert_int_equal(j->kept->roles[0].role, NF_ROLE_PARAMETER);
    assert_int_equal(j->kept->roles[1].role, NF_ROLE_PARAMETER);
    assert_int_equal(j->kept->roles[0].name, tokens);
    assert_int_equal(j->kept->roles[1].name, head);
}

static void checkpoints_and_recomputation(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_alloc(j, X, SIZE);
    copy_op(j, op, F, 0, X, X);
    ev_checkpoint(j, X);
    ev_alloc(j, Y, SIZE); /* an activation of the segment, dropped */
    copy_op(j, op, F, 0, X, Y);
    ev_free(j, Y);
    ev_alloc(j, Z, SIZE); /* computed again */
    copy_op(j, op, R, 0, X, Z);
    ev_alloc(j, G, SIZE);
    copy_op(j, op, B, 0, Z, G);
    ev_step(j, 1);
    assert_int_equal(kept_at(j->kept, X)->role, NF_ROLE_CHECKPOINT);
    assert_int_equal(kept_at(j->kept, Y)->role, NF_ROLE_FORWARD_TEMP);
    assert_int_equal(kept_at(j->kept, Z)->role, NF_ROLE_SAVED);
    assert_int_equal(kept_at(j->kept, Z)->birth_phase, R);
    assert_non_null(role_of(j->kept, 0, NF_ROLE_CHECKPOINT));
    /* A checkpoint of one step is not one of the next. */
    copy_op(j, op, F, 0, X, X);
    ev_step(j, 1);
    assert_int_not_equal(kept_at(&j->kept[1], X)->role, NF_ROLE_CHECKPOINT);
}

/* --- modules --- */

static void backward_works_for_the_module_that_made_its_operand(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op"), a = ev_text(j, "blocks.0"), b = ev_text(j, "blocks.1");

    ev_alloc(j, X, SIZE);
    ev_alloc(j, Y, SIZE);
    copy_op(j, op, F, a, X, X);
    copy_op(j, op, F, b, X, Y);
    ev_alloc(j, Z, SIZE);
    copy_op(j, op, B, 0, Y, Z); /* reads what blocks.1 made */
    ev_op(j, op, B, 0);         /* no operand: goes on for the same */
    copy_op(j, op, B, 0, X, Z);
    ev_op(j, op, NF_PHASE_OTHER, 0); /* never derived */
    ev_step(j, 1);
    assert_int_equal(j->kept->ops[2].module, b);
    assert_int_equal(j->kept->ops[3].module, b);
    assert_int_equal(j->kept->ops[4].module, a);
    assert_int_equal(j->kept->ops[5].module, 0);
    assert_int_equal(j->kept->ops[2].raw_module, 0);
}

/* --- hashes --- */

struct shape {
    uint64_t base, size, offset;
    uint8_t offset_phase, rw;
};

/* A two-op step somewhere in memory, in a reducer of its own. */
static struct nf_step hash_of(const struct shape *s)
{
    struct events j;
    struct nf_step step;
    uint32_t op;

    events_init(&j, 1);
    op = ev_text(&j, "op");
    ev_alloc(&j, s->base, s->size);
    ev_alloc(&j, s->base + 0x10000, s->size);
    ev_op(&j, op, F, 0);
    ev_visit(&j, s->base, s->size, NF_RW_WRITE);
    ev_op(&j, op, s->offset_phase, 0);
    ev_visit(&j, s->base + s->offset, 16, NF_RW_READ);
    ev_visit(&j, s->base + 0x10000, s->size, s->rw);
    ev_free(&j, s->base);
    ev_step(&j, 3);
    step = j.kept->step;
    events_deinit(&j);
    return step;
}

static void hash_is_of_structure(void **state)
{
    const struct shape plain = {0x100000, 512, 0, F, NF_RW_WRITE};
    struct shape moved = plain, larger = plain, elsewhere = plain, other = plain, other_elsewhere = plain, read = plain;
    uint64_t h = hash_of(&plain).hash;

    moved.base = 0x7000000;
    larger.size = 1024;
    elsewhere.offset = 64;
    read.rw = NF_RW_READ;
    other.offset_phase = other_elsewhere.offset_phase = NF_PHASE_OTHER;
    other_elsewhere.offset = 64;
    assert_true(h == hash_of(&moved).hash);
    assert_true(h != hash_of(&larger).hash);
    assert_true(h != hash_of(&elsewhere).hash);
    assert_true(h != hash_of(&read).hash);
    assert_true(hash_of(&plain).op_hash == hash_of(&elsewhere).op_hash);
    /* Where a batch is read from the data set is data, not structure. */
    assert_true(hash_of(&other).hash == hash_of(&other_elsewhere).hash);
    assert_true(hash_of(&other).hash != h);
}

/* --- visits --- */

static void unattributed_visits_are_counted(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_alloc(j, X, SIZE);
    ev_visit(j, X, SIZE, NF_RW_READ); /* before any op */
    ev_op(j, op, F, 0);
    ev_visit(j, 0x999000, 40, NF_RW_READ);           /* nobody's */
    ev_visit(j, X + SIZE, 8, NF_RW_READ);            /* one past the end */
    ev_visit(j, X, 8, NF_RW_COUNT);                  /* no such access */
    ev_visit(j, X, 0, NF_RW_READ);                   /* nothing */
    ev_visit(j, X, SIZE, NF_RW_READ);
    ev_step(j, 1);
    assert_int_equal(j->kept->step.n_visits, 1);
    assert_int_equal(nf_reduce_totals(j->reduce)->unattributed_visits, 5);
    assert_int_equal(nf_reduce_totals(j->reduce)->unattributed_bytes, SIZE + 40 + 8 + 8);
}

static void visits_are_cut_to_their_storage(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_alloc(j, X, SIZE);
    ev_op(j, op, F, 0);
    ev_visit(j, X + 64, 4096, NF_RW_READ);                 /* past the end */
    ev_runs(j, X, 64, 16, 32, NF_RW_READ);                 /* 4 runs of 16, fits: 112 bytes */
    ev_runs(j, X, 64, 16, 1024, NF_RW_READ);               /* strides far past the end */
    ev_runs(j, X, 64, 16, 8, NF_RW_READ);                  /* runs that would overlap: contiguous */
    ev_runs(j, X, 64, 100, 200, NF_RW_READ);               /* a run longer than all */
    ev_runs(j, X + 8, UINT64_MAX, 2, UINT64_MAX / 2, NF_RW_READ); /* a span that wraps around */
    ev_runs(j, X, 1ull << 60, 1, 1ull << 60, NF_RW_READ);
    ev_step(j, 1);
    assert_int_equal(j->kept->step.n_visits, 7);
    for (uint32_t i = 0; i < j->kept->step.n_visits; i++) {
        const struct nf_visit *v = &j->kept->visits[i];
        uint64_t runs = (v->bytes + v->run - 1) / v->run;

        assert_in_range(v->bytes, 1, SIZE);
        assert_in_range(v->run, 1, v->bytes);
        assert_in_range(v->offset + (runs - 1) * v->stride + v->run, 1, SIZE);
    }
    assert_int_equal(j->kept->visits[0].bytes, SIZE - 64);
    assert_int_equal(j->kept->visits[1].run, 16);
    assert_int_equal(j->kept->visits[1].stride, 32);
    assert_int_equal(j->kept->visits[3].run, 64);
}

static void foreign_storages(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_tensor(j, X, SIZE, 0, 0, 0); /* not from the interposed allocator */
    copy_op(j, op, F, 0, X, X);
    ev_step(j, 1);
    copy_op(j, op, F, 0, X, X);
    ev_step(j, 1);
    ev_op(j, op, F, 0); /* a step without it: gone as far as can be told */
    ev_step(j, 1);
    ev_op(j, op, F, 0);
    ev_step(j, 1);
    assert_int_equal(j->kept[1].step.n_tensors, 1);
    assert_int_equal(j->kept[1].tensors[0].carry_in, 0);
    assert_int_equal(j->kept[2].tensors[0].death, 0);
    assert_int_equal(j->kept[3].step.n_tensors, 0);
    assert_int_equal(nf_reduce_totals(j->reduce)->live_bytes, 0);
    assert_int_equal(nf_reduce_totals(j->reduce)->tracked_peak_bytes, 0);
}

static void tracked_peak_in_exact_order(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");
    uint64_t start = ++j->now;

    ev_alloc(j, 0x10000, 1000);
    ev_alloc(j, 0x20000, 500);
    ev_free(j, 0x20000);
    ev_alloc(j, 0x30000, 499); /* never beside the 500 */
    ev_op_at(j, op, F, start);
    ev_visit(j, 0x10000, 1000, NF_RW_WRITE);
    ev_step(j, 1);
    assert_int_equal(nf_reduce_totals(j->reduce)->tracked_peak_bytes, 1500);
    assert_int_equal(nf_reduce_totals(j->reduce)->live_bytes, 1499);
    /* At op granularity the three overlap; the untracked share of that op is reported. */
    assert_int_equal(nf_reduce_totals(j->reduce)->untracked_peak_bytes, 999);
}

/* --- passes without visits --- */

static void timing_pass_keeps_ops_only(void **state)
{
    struct events j, *access = *state;
    uint32_t op;

    events_init(&j, 0);
    op = ev_text(&j, "op");
    ev_text(access, "op");
    ev_alloc(&j, X, SIZE);
    ev_op(&j, op, F, 0);
    ev_visit(&j, X, SIZE, NF_RW_READ);
    ev_step(&j, 9);
    ev_op(access, op, F, 0);
    ev_step(access, 9);
    assert_int_equal(j.kept->step.n_ops, 1);
    assert_int_equal(j.kept->step.n_visits, 0);
    assert_int_equal(j.kept->step.n_tensors, 0);
    assert_int_equal(j.kept->ops[0].dur_ns, 100);
    assert_true(j.kept->step.op_hash == access->kept->step.op_hash);
    ev_step(&j, 9);
    assert_int_equal(j.kept[1].step.n_ops, 0);
    assert_int_equal(nf_reduce_totals(j.reduce)->unattributed_visits, 0);
    events_deinit(&j);
}

static void marks_fill_the_totals(void **state)
{
    struct events *j = *state;
    uint32_t torch = ev_text(j, "1.13.1"), python = ev_text(j, "3.11.2"), why = ev_text(j, "torch.compile");
    const struct nf_reduce_totals *t = nf_reduce_totals(j->reduce);

    ev_raw(j, &(struct nf_event){.kind = NF_EVENT_MARK, .id = NF_MARK_RUNTIME, .name = torch, .module = python, .a = 3});
    ev_raw(j, &(struct nf_event){.kind = NF_EVENT_MARK, .id = NF_MARK_UNSUPPORTED, .name = why});
    ev_raw(j, &(struct nf_event){.kind = NF_EVENT_MARK, .id = NF_MARK_UNSUPPORTED, .name = why});
    ev_raw(j, &(struct nf_event){.kind = NF_EVENT_MARK, .id = NF_MARK_PARAMETER_HASH, .address = 0x0102030405060708,
                                 .a = 0, .b = 0, .c = 0xff});
    ev_mark(j, NF_MARK_RANK, 2, 8);
    ev_mark(j, NF_MARK_SKIPPED_DEVICE, 5, 0);
    ev_mark(j, 12345, 0, 0); /* from a newer hook: no harm */
    assert_string_equal(t->framework, "torch 1.13.1");
    assert_string_equal(t->language, "python 3.11.2");
    assert_string_equal(t->notes, "torch.compile");
    assert_int_equal(t->threads, 3);
    assert_int_equal(t->rank, 2);
    assert_int_equal(t->world, 8);
    assert_int_equal(t->skipped_device_storages, 5);
    assert_true(t->has_parameter_sha256);
    assert_int_equal(t->parameter_sha256[0], 1);
    assert_int_equal(t->parameter_sha256[31], 0xff);
}

static void long_texts_come_in_pieces(void **state)
{
    struct events *j = *state;
    char text[5000], cut[4097];
    uint32_t id;

    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + i % 23);
    text[sizeof text - 1] = '\0';
    id = ev_text(j, text);
    memcpy(cut, text, 4096);
    cut[4096] = '\0';
    assert_string_equal(nf_reduce_text(j->reduce, id), cut);
    text[100] = '\0';
    id = ev_text(j, text);
    assert_string_equal(nf_reduce_text(j->reduce, id), text);
    assert_string_equal(nf_reduce_text(j->reduce, 999999), "");
}

/* --- hostile events --- */

static void refuses_what_contradicts_the_format(void **state)
{
    struct events *j = *state;
    struct nf_event e = {.kind = 200};

    assert_int_equal(nf_reduce_event(j->reduce, &e), -EBADMSG);
    assert_non_null(strstr(nf_error_text(0), "200"));
    e = (struct nf_event){.kind = NF_EVENT_TEXT, .id = 0};
    assert_int_equal(nf_reduce_event(j->reduce, &e), -EBADMSG);
    e = (struct nf_event){.kind = NF_EVENT_TEXT, .id = UINT32_MAX};
    assert_int_equal(nf_reduce_event(j->reduce, &e), -EBADMSG);
    e = (struct nf_event){.kind = 0};
    assert_int_equal(nf_reduce_event(j->reduce, &e), -EBADMSG);
}

static void wild_texts(void **state)
{
    struct events *j = *state;
    struct nf_event e = {.kind = NF_EVENT_TEXT, .id = 7, .name = UINT32_MAX, .module = UINT32_MAX, .text = "abc"};

    ev_raw(j, &e); /* a piece far past its text's end */
    e.module = 0;
    e.name = 10;
    memset(e.text, 'x', sizeof e.text);
    ev_raw(j, &e);
    assert_string_equal(nf_reduce_text(j->reduce, 7), "xxxxxxxxxx");
    e.name = 4096; /* longer all at once */
    e.module = 10;
    ev_raw(j, &e);
    assert_int_equal(strlen(nf_reduce_text(j->reduce, 7)), 10 + NF_RING_TEXT);
    e.id = 8;
    e.name = 64;
    e.module = 32; /* the second piece without the first */
    ev_raw(j, &e);
    assert_string_equal(nf_reduce_text(j->reduce, 8), "");
}

static void wild_addresses(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_alloc(j, UINT64_MAX - 10, 100); /* wraps around */
    ev_alloc(j, X, 0);
    ev_alloc(j, 0, UINT64_MAX);
    ev_tensor(j, UINT64_MAX - 10, 100, 0, 0, 0);
    ev_tensor(j, X, UINT64_MAX, NF_ROLE_COUNT + 3, 0, 0);
    ev_tensor(j, 0, 100, 0, 0, 0);
    ev_checkpoint(j, 0x123);
    ev_alloc(j, Y, SIZE);
    ev_op(j, op, 99, 123456789);
    ev_visit(j, UINT64_MAX, UINT64_MAX, NF_RW_READ);
    ev_visit(j, Y, SIZE, NF_RW_READ);
    ev_step(j, 1);
    assert_int_equal(j->kept->ops[0].phase, NF_PHASE_OTHER);
    assert_int_equal(j->kept->step.n_tensors, 1);
    assert_int_equal(j->kept->step.n_visits, 1);
    assert_int_equal(nf_reduce_totals(j->reduce)->tracked_peak_bytes, SIZE);
}

/* A storage that appears between an op and its visit cannot have been touched by it. */
static void visit_before_birth(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_op(j, op, F, 0);
    ev_alloc(j, X, SIZE);
    ev_visit(j, X, SIZE, NF_RW_READ);
    ev_op(j, op, F, 0);
    ev_visit(j, X, SIZE, NF_RW_WRITE);
    ev_step(j, 1);
    assert_int_equal(j->kept->step.n_visits, 1);
    assert_int_equal(nf_reduce_totals(j->reduce)->unattributed_visits, 1);
}

/* Lifetimes are told in ops: what happened while none ran shows in the next step that has some. */
static void steps_without_ops(void **state)
{
    struct events *j = *state;
    uint32_t op = ev_text(j, "op");

    ev_step(j, 1);
    ev_alloc(j, X, SIZE);
    ev_alloc(j, Y, SIZE);
    ev_free(j, Y);
    ev_step(j, 1);
    ev_free(j, X);
    ev_step(j, 1);
    ev_op(j, op, F, 0);
    ev_step(j, 1);
    assert_int_equal(j->n_kept, 4);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(j->kept[i].step.number, i);
        assert_int_equal(j->kept[i].step.n_ops, 0);
        assert_int_equal(j->kept[i].step.n_tensors, 0);
    }
    assert_int_equal(j->kept[3].step.n_tensors, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(j->kept[3].tensors[i].birth, 0);
        assert_int_equal(j->kept[3].tensors[i].death, 0);
    }
}

/* What a class of the study must fulfil, of every step of a random stream of events. */
static int is_consistent(void *context, const struct nf_step *step)
{
    struct nf_stream s = {.n_carry = 1 << 20, .n_names = UINT32_MAX};
    struct nf_step_class c = {.n_ops = step->n_ops, .n_visits = step->n_visits, .n_tensors = step->n_tensors};
    uint32_t at = 0;
    int rc;

    c.ops = calloc(step->n_ops + 1, sizeof *c.ops);
    c.tensors = calloc(step->n_tensors + 1, sizeof *c.tensors);
    c.visits = calloc(step->n_visits + 1, sizeof *c.visits);
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
    rc = nf_step_class_check(&c, &s);
    free(c.ops);
    free(c.tensors);
    free(c.visits);
    ++*(size_t *)context;
    return rc;
}

/* Whatever a job sends, what reaches the sink can be stored and loaded again. */
static void random_events_make_consistent_steps(void **state)
{
    struct nf_rng rng = {.state = 42};
    size_t steps = 0;

    for (int turn = 0; turn < 200; turn++) {
        struct nf_reduce *r = nf_reduce_new(true, is_consistent, &steps);

        for (int i = 0; i < 400; i++) {
            static const uint8_t kinds[] = {NF_EVENT_ALLOC, NF_EVENT_ALLOC, NF_EVENT_FREE, NF_EVENT_TENSOR, NF_EVENT_OP,
                                            NF_EVENT_VISIT, NF_EVENT_VISIT, NF_EVENT_MARK, NF_EVENT_CHECKPOINT,
                                            NF_EVENT_TEXT};
            struct nf_event e = {.time_ns = (uint64_t)i * 10 + nf_rng_below(&rng, 50)};

            e.kind = nf_rng_below(&rng, 50) ? kinds[nf_rng_below(&rng, sizeof kinds)] : NF_EVENT_STEP;
            e.phase = (uint8_t)nf_rng_below(&rng, NF_PHASE_COUNT + 1);
            e.rw = (uint8_t)nf_rng_below(&rng, NF_RW_COUNT + 1);
            e.pattern = (uint8_t)nf_rng_below(&rng, NF_PATTERN_COUNT + 1);
            e.id = 1 + (uint32_t)nf_rng_below(&rng, 9);
            e.name = (uint32_t)nf_rng_below(&rng, 9);
            e.module = (uint32_t)nf_rng_below(&rng, 9);
            e.address = nf_rng_below(&rng, 20) ? 0x1000 + nf_rng_below(&rng, 64) * 64 : nf_rng_next(&rng);
            e.a = e.kind == NF_EVENT_OP ? e.time_ns - nf_rng_below(&rng, 60) :
                  nf_rng_below(&rng, 20) ? nf_rng_below(&rng, 300) : nf_rng_next(&rng);
            e.b = nf_rng_below(&rng, 20) ? nf_rng_below(&rng, 40) : nf_rng_next(&rng);
            e.c = nf_rng_below(&rng, 20) ? nf_rng_below(&rng, 80) : nf_rng_next(&rng);
            if (nf_reduce_event(r, &e))
                fail_msg("turn %d, event %d: %s", turn, i, nf_error_text(0));
        }
        nf_reduce_free(r);
    }
    assert_true(steps > 1000);
}

static int refuse(void *context, const struct nf_step *step)
{
    return -ENOSPC;
}

static void the_sinks_error_comes_back(void **state)
{
    struct nf_reduce *r = nf_reduce_new(true, refuse, NULL);

    assert_int_equal(nf_reduce_event(r, &(struct nf_event){.kind = NF_EVENT_ALLOC, .address = X, .a = 8}), 0);
    assert_int_equal(nf_reduce_event(r, &(struct nf_event){.kind = NF_EVENT_STEP}), -ENOSPC);
    nf_reduce_free(r);
}

static void like_storages_do_not_share_a_slot(void **state)
{
    struct events *j = *state;

    /* Two gradients of one size and no name share a slot key, not a slot. */
    ev_alloc(j, W, SIZE);
    grad_step(j, ev_text(j, "op"), G);
    grad_step(j, 1, G + 0x1000);
    assert_int_equal(kept_at(&j->kept[1], G)->carry_in, 1);
    assert_int_equal(kept_at(&j->kept[1], G)->carry_out, 1);
    assert_int_equal(kept_at(&j->kept[1], G + 0x1000)->carry_out, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(free_before_inside_after_an_op), T(allocation_inside_an_op), T(recycled_address_is_a_new_tensor),
        T(lost_free), T(setup_before_training_is_forgotten), T(carry_slots_are_stable),
        T(like_storages_do_not_share_a_slot), T(roles_follow_birth_and_visits), T(a_tied_weight_has_two_roles),
        T(checkpoints_and_recomputation), T(backward_works_for_the_module_that_made_its_operand),
        cmocka_unit_test(hash_is_of_structure), T(unattributed_visits_are_counted), T(visits_are_cut_to_their_storage),
        T(foreign_storages), T(tracked_peak_in_exact_order), T(timing_pass_keeps_ops_only), T(marks_fill_the_totals),
        T(long_texts_come_in_pieces), T(refuses_what_contradicts_the_format), T(wild_texts), T(wild_addresses),
        T(visit_before_birth), T(steps_without_ops), cmocka_unit_test(random_events_make_consistent_steps),
        cmocka_unit_test(the_sinks_error_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
