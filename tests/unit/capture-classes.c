/* Step classes in a study: one structure stored once, times merged and corrected, and what comes back equals what went in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "capture/classes.h"
#include "core/base/error.h"
#include "core/store/records.h"
#include "tests/unit/capture-events.h"

enum { F = NF_PHASE_FORWARD, B = NF_PHASE_BACKWARD, O = NF_PHASE_OPTIMIZER };
enum { W = 0x10000, X = 0x20000, G = 0x30000, SIZE = 4096 };

static char path[] = "/tmp/nearfar-classes-XXXXXX";

struct fixture {
    struct nf_study *study;
    struct nf_classes *classes;
    struct events events;
    int64_t capture, pass, machine, ids[KEPT_STEPS];
    size_t n;
};

static int64_t insert(struct nf_study *s, const char *sql, int64_t a, int64_t b)
{
    struct nf_query *q;

    assert_int_equal(nf_study_query(s, sql, &q), 0);
    nf_query_bind_i64(q, 1, a);
    nf_query_bind_i64(q, 2, b);
    assert_int_equal(nf_query_run(q), 0);
    return nf_study_last_id(s);
}

static double number(struct nf_study *s, const char *sql)
{
    struct nf_query *q;
    double v;

    assert_int_equal(nf_study_query_text(s, sql, &q), 0);
    assert_int_equal(nf_query_step(q), 1);
    v = nf_query_f64(q, 0);
    nf_query_done(q);
    return v;
}

/* Stores each step of the access pass as the session does. */
static int put(void *context, const struct nf_step *step)
{
    struct fixture *f = context;
    struct nf_query *q;
    int64_t id = nf_classes_put(f->classes, f->events.reduce, step, 0);

    assert_true(id > 0);
    f->ids[f->n++] = id;
    assert_int_equal(nf_study_query(f->study, "INSERT INTO step(pass_id, rank, number, class_id, dur_ns, "
                                              "allocation_hash, host_id) VALUES(?1, 0, ?2, ?3, ?4, ?5, ?6)", &q), 0);
    nf_query_bind_i64(q, 1, f->pass);
    nf_query_bind_i64(q, 2, step->number);
    nf_query_bind_i64(q, 3, id);
    nf_query_bind_i64(q, 4, (int64_t)step->dur_ns);
    nf_query_bind_i64(q, 5, (int64_t)step->allocation_hash);
    nf_query_bind_i64(q, 6, f->machine);
    assert_int_equal(nf_query_run(q), 0);
    return 0;
}

static int setup(void **state)
{
    static char *argv[] = {"nearfar", "capture", NULL};
    struct fixture *f = calloc(1, sizeof *f);
    int64_t invocation;

    unlink(path);
    assert_int_equal(nf_study_open(path, NF_STUDY_CREATE, &f->study), 0);
    invocation = nf_record_invocation(f->study, 2, argv);
    assert_true(invocation > 0);
    f->machine = nf_record_machine(f->study);
    f->capture = insert(f->study, "INSERT INTO capture(invocation_id, job, job_number, threads) VALUES(?1, '[]', ?2, 1)",
                        invocation, 1);
    f->pass = insert(f->study, "INSERT INTO pass(capture_id, kind, source, access_evidence) "
                               "VALUES(?1, ?2, 'framework', 1)", f->capture, NF_PASS_ACCESS);
    f->classes = nf_classes_new(f->study, f->capture, 1);
    events_init(&f->events, 1);
    f->events.also = put;
    f->events.context = f;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    events_deinit(&f->events);
    nf_classes_free(f->classes);
    nf_study_close(f->study);
    free(f);
    return 0;
}

/* A step with a parameter, an activation of x bytes and a gradient that lives on into the next step. */
static void train_step(struct events *j, uint64_t x_bytes, uint64_t grad)
{
    static uint32_t linear, add, module;

    if (!j->texts) {
        uint32_t weight, dtype;

        linear = ev_text(j, "aten::addmm");
        add = ev_text(j, "aten::add_");
        module = ev_text(j, "blocks.3.mlp");
        weight = ev_text(j, "blocks.3.mlp.weight");
        dtype = ev_text(j, "float32");
        ev_alloc(j, W, SIZE);
        ev_raw(j, &(struct nf_event){.kind = NF_EVENT_TENSOR, .address = W, .a = SIZE, .b = NF_ROLE_PARAMETER,
                                     .id = dtype, .name = weight, .module = module, .c = dtype});
    }
    if (j->n_kept)
        ev_free(j, grad == G ? G + SIZE : G);
    ev_alloc(j, X, x_bytes);
    ev_op(j, linear, F, module);
    ev_visit(j, W, SIZE, NF_RW_READ);
    ev_visit(j, X, x_bytes, NF_RW_WRITE);
    ev_alloc(j, grad, SIZE);
    ev_op(j, linear, B, 0);
    ev_runs(j, X, 128, 32, 64, NF_RW_READ);
    ev_visit(j, grad, SIZE, NF_RW_WRITE);
    ev_free(j, X);
    ev_op(j, add, O, 0);
    ev_visit(j, grad, SIZE, NF_RW_READ);
    ev_visit(j, W, SIZE, NF_RW_UPDATE);
    ev_step(j, x_bytes);
}

static void one_structure_is_stored_once(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 6; i++)
        train_step(&f->events, i == 4 ? 2048 : 1024, i % 2 ? G : G + SIZE);
    /* The first step has no old gradient; the fifth is of another size. */
    assert_int_equal(nf_classes_count(f->classes), 3);
    assert_int_equal(f->ids[1], f->ids[2]);
    assert_int_equal(f->ids[1], f->ids[3]);
    assert_int_equal(f->ids[1], f->ids[5]);
    assert_true(f->ids[0] != f->ids[1] && f->ids[4] != f->ids[1] && f->ids[4] != f->ids[0]);
    assert_int_equal(number(f->study, "SELECT count(*) FROM op"), 9);
    /* Carried storages are one row for all classes: the parameter and the gradient's slot. */
    assert_int_equal(number(f->study, "SELECT count(*) FROM tensor WHERE carry_slot IS NOT NULL"), 2);
    assert_int_equal(number(f->study, "SELECT count(*) FROM regime"), 9); /* 3 phases of 3 classes */
    assert_int_equal(number(f->study, "SELECT count(*) FROM name WHERE text LIKE 'forward, blocks.3, step class _'"), 3);
}

static const struct nf_step_class *class_of(const struct nf_stream *s, int64_t id)
{
    for (uint32_t i = 0; i < s->n_classes; i++)
        if (s->classes[i].id == id)
            return &s->classes[i];
    fail_msg("class %lld is not in the stream", (long long)id);
    return NULL;
}

static void assert_same(const struct nf_stream *s, const struct nf_step_class *c, const struct kept_step *k,
                        const struct nf_reduce *r)
{
    assert_int_equal(c->hash, k->step.hash);
    assert_int_equal(c->n_ops, k->step.n_ops);
    assert_int_equal(c->n_visits, k->step.n_visits);
    assert_int_equal(c->n_tensors, k->step.n_tensors);
    for (uint32_t i = 0; i < c->n_ops; i++) {
        assert_string_equal(s->names[c->ops[i].name], nf_reduce_text(r, k->ops[i].name));
        assert_string_equal(s->names[c->ops[i].module], nf_reduce_text(r, k->ops[i].module));
        assert_int_equal(c->ops[i].phase, k->ops[i].phase);
        assert_int_equal(c->ops[i].microbatch, k->ops[i].microbatch);
        assert_int_equal(c->ops[i].thread, k->ops[i].thread);
    }
    for (uint32_t i = 0; i < c->n_visits; i++)
        assert_memory_equal(&c->visits[i], &k->visits[i], sizeof *c->visits);
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const struct nf_tensor *a = &c->tensors[i];
        const struct nf_step_tensor *b = &k->tensors[i];

        assert_int_equal(a->bytes, b->bytes);
        assert_int_equal(a->address, b->address);
        assert_int_equal(a->birth, b->birth);
        assert_int_equal(a->death, b->death);
        assert_int_equal(a->carry_in, b->carry_in);
        assert_int_equal(a->carry_out, b->carry_out);
        assert_int_equal(a->role, b->role);
        assert_int_equal(a->tracked, b->tracked);
        assert_string_equal(s->names[a->name], nf_reduce_text(r, b->name));
        assert_string_equal(s->names[a->module], nf_reduce_text(r, b->module));
    }
}

static void what_went_in_comes_out(void **state)
{
    struct fixture *f = *state;
    struct nf_stream *s;
    int rc;

    for (int i = 0; i < 4; i++)
        train_step(&f->events, i == 2 ? 2048 : 1024, i % 2 ? G : G + SIZE);
    rc = nf_record_stream_load(f->study, f->capture, &s);
    if (rc)
        fail_msg("%s", nf_error_text(rc));
    assert_int_equal(s->n_classes, 3);
    assert_int_equal(s->n_sequence, 4);
    assert_int_equal(s->n_carry, 2);
    assert_int_equal(s->threads, 1);
    for (uint32_t i = 0; i < s->n_sequence; i++)
        assert_int_equal(s->classes[s->sequence[i]].id, f->ids[i]);
    for (size_t i = 0; i < 3; i++)
        assert_same(s, class_of(s, f->ids[i]), &f->events.kept[i], f->events.reduce);
    assert_int_equal(class_of(s, f->ids[1])->n_steps, 2);
    /* parameter 4096 + activation 1024 -> a page + two gradients, the old one until op 0 */
    assert_int_equal(class_of(s, f->ids[1])->peak_live_bytes, 3 * 4096);
    nf_stream_free(s);
}

/* --- times --- */

static void time_steps(struct fixture *f, uint64_t forward_ns, uint64_t rest_ns, uint32_t n)
{
    const struct kept_step *k = &f->events.kept[1];
    struct nf_step step = k->step;
    struct nf_step_op ops[3];

    memcpy(ops, k->ops, sizeof ops);
    ops[0].dur_ns = forward_ns;
    ops[1].dur_ns = ops[2].dur_ns = rest_ns;
    step.ops = ops;
    step.dur_ns = 2 * (forward_ns + 2 * rest_ns);
    for (uint32_t i = 0; i < n; i++) {
        step.number = i;
        assert_true(nf_classes_time(f->classes, &step) > 0);
    }
}

static void times_are_merged_and_corrected(void **state)
{
    struct fixture *f = *state;
    struct nf_stream *s;
    const struct nf_step_class *c;
    struct nf_step strange = {.op_hash = 4711, .n_ops = 3};

    for (int i = 0; i < 4; i++)
        train_step(&f->events, 1024, i % 2 ? G : G + SIZE);
    time_steps(f, 1000, 500, 3);
    time_steps(f, 3000, 500, 1);
    assert_int_equal(nf_classes_time(f->classes, &strange), 0); /* like no class */
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(nf_classes_bare(f->classes, i, 1024, 2600 + i), 0); /* median 2601.5 */
    assert_int_equal(nf_classes_write_times(f->classes, f->pass), 0);
    assert_int_equal(nf_record_stream_load(f->study, f->capture, &s), 0);
    c = class_of(s, f->ids[1]);
    assert_true(c->bare_step_ns == 2601.5);
    assert_true(c->ops[0].dur_ns == 1000);
    assert_true(c->ops[1].dur_ns == 500);
    /* The bare step leaves 601.5 ns beside 2000 ns of ops: 200.5 before each. */
    assert_true(c->ops[0].gap_ns == 200.5);
    assert_int_equal(number(f->study, "SELECT timed FROM op WHERE class_id = 2 AND number = 0"), 4);
    assert_int_equal(number(f->study, "SELECT dur_mean_ns FROM op WHERE class_id = 2 AND number = 0"), 1500);
    assert_int_equal(number(f->study, "SELECT dur_max_ns FROM op WHERE class_id = 2 AND number = 0"), 3000);
    nf_stream_free(s);
}

static void ops_longer_than_the_bare_step_shrink(void **state)
{
    struct fixture *f = *state;
    struct nf_stream *s;
    const struct nf_step_class *c;

    for (int i = 0; i < 2; i++)
        train_step(&f->events, 1024, i % 2 ? G : G + SIZE);
    time_steps(f, 1000, 500, 2);
    assert_int_equal(nf_classes_bare(f->classes, 1, 1024, 1500), 0);
    assert_int_equal(nf_classes_bare(f->classes, 0, 999, 99), 0); /* of other sizes: no part of it */
    assert_int_equal(nf_classes_write_times(f->classes, f->pass), 0);
    assert_int_equal(nf_record_stream_load(f->study, f->capture, &s), 0);
    c = class_of(s, f->ids[1]);
    assert_true(c->bare_step_ns == 1500);
    assert_true(c->ops[0].dur_ns == 750);
    assert_true(c->ops[1].dur_ns == 375);
    assert_true(c->ops[0].gap_ns == 0);
    nf_stream_free(s);
}

static void bare_steps_find_their_class(void **state)
{
    struct fixture *f = *state;
    int64_t bare;

    for (int i = 0; i < 4; i++)
        train_step(&f->events, i == 2 ? 2048 : 1024, i % 2 ? G : G + SIZE);
    bare = insert(f->study, "INSERT INTO pass(capture_id, kind, source, access_evidence) "
                            "VALUES(?1, ?2, 'framework', 0)", f->capture, NF_PASS_BARE);
    for (uint32_t i = 0; i < 5; i++) {
        uint64_t sizes = i == 2 ? 2048 : i == 4 ? 77 : 1024;
        struct nf_query *q;

        assert_int_equal(nf_study_query(f->study, "INSERT INTO step(pass_id, rank, number, dur_ns, allocation_hash, "
                                                  "host_id) VALUES(?1, 0, ?2, 100, 0, ?3)", &q), 0);
        nf_query_bind_i64(q, 1, bare);
        nf_query_bind_i64(q, 2, i);
        nf_query_bind_i64(q, 3, f->machine);
        assert_int_equal(nf_query_run(q), 0);
        assert_int_equal(nf_classes_bare(f->classes, i, sizes, 100), 0);
    }
    assert_int_equal(nf_classes_write_times(f->classes, bare), 0);
    for (int i = 0; i < 4; i++) {
        char sql[100];

        snprintf(sql, sizeof sql, "SELECT class_id FROM step WHERE pass_id = %lld AND number = %d", (long long)bare, i);
        assert_int_equal(number(f->study, sql), f->ids[i]);
    }
    /* Sizes like no other class: known to be unmatched, not guessed. */
    assert_int_equal(number(f->study, "SELECT class_id IS NULL FROM step WHERE number = 4"), 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(one_structure_is_stored_once), T(what_went_in_comes_out), T(times_are_merged_and_corrected),
        T(ops_longer_than_the_bare_step_shrink), T(bare_steps_find_their_class),
    };
    int failed, fd = mkstemp(path);

    if (fd < 0)
        return 1;
    close(fd);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
