/* Execution traces written by hand: what each node touches, whose lifetime it is, in which phase and step. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "capture/et-plan.h"
#include "capture/et-schema.h"
#include "capture/import.h"
#include "capture/json.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/model/words.h"
#include "core/store/records.h"
#include "core/store/study.h"

static char folder[] = "/tmp/nearfar-import-XXXXXX", trace_path[64], study_path[64], kineto_path[64];

/* --- a trace under construction --- */

struct writer {
    struct nf_buf b;
    bool old; /* schema 1.0: fields side by side */
    unsigned n;
};

static void begin_trace(struct writer *w, bool old)
{
    *w = (struct writer){.old = old};
    nf_buf_printf(&w->b, "{\"schema\": \"%s\", \"pid\": 7, \"nodes\": [", old ? "1.0.1" : "1.1.0-chakra.0.0.4");
}

struct node {
    int id, parent, tid, scope, seq, rf;
    const char *name, *schema;
    const char *in, *in_types, *in_shapes, *out, *in_strides;
    const char *extra; /* further attributes */
};

#define OR(text) ((text) ? (text) : "[]")

static void put(struct writer *w, struct node n)
{
    nf_buf_printf(&w->b, "%s\n{\"id\": %d, \"name\": \"%s\", ", w->n++ ? "," : "", n.id, n.name);
    if (w->old)
        nf_buf_printf(&w->b,
                      "\"parent\": %d, \"rf_id\": %d, \"tid\": %d, \"scope\": %d, \"seq_id\": %d, \"fw_tid\": 0, \"fw_parent\": 0, "
                      "\"op_schema\": \"%s\", \"inputs\": %s, \"input_shapes\": %s, \"input_types\": %s, \"outputs\": %s, "
                      "\"output_shapes\": [], \"output_types\": []}",
                      n.parent, n.rf, n.tid ? n.tid : 1, n.scope, n.seq ? n.seq : -1, n.schema ? n.schema : "", OR(n.in),
                      OR(n.in_shapes), OR(n.in_types), OR(n.out));
    else
        nf_buf_printf(&w->b,
                      "\"ctrl_deps\": %d, \"inputs\": {\"values\": %s, \"shapes\": %s, \"types\": %s, \"strides\": %s}, "
                      "\"outputs\": {\"values\": %s, \"shapes\": [], \"types\": []}, \"attrs\": [{\"name\": \"rf_id\", \"type\": "
                      "\"uint64\", \"value\": %d}, {\"name\": \"tid\", \"type\": \"uint64\", \"value\": %d}, {\"name\": "
                      "\"scope\", \"type\": \"uint64\", \"value\": %d}, {\"name\": \"seq_id\", \"type\": \"int64\", \"value\": "
                      "%d}, {\"name\": \"op_schema\", \"type\": \"string\", \"value\": \"%s\"}%s]}",
                      n.parent, OR(n.in), OR(n.in_shapes), OR(n.in_types), OR(n.in_strides), OR(n.out), n.rf,
                      n.tid ? n.tid : 1, n.scope, n.seq ? n.seq : -1, n.schema ? n.schema : "", n.extra ? n.extra : "");
}

static void end_trace(struct writer *w)
{
    nf_buf_puts(&w->b, "]}");
    assert_false(w->b.failed);
    assert_int_equal(nf_file_write(trace_path, w->b.data, w->b.n), 0);
    nf_buf_deinit(&w->b);
}

/* --- a plan, in words --- */

struct planned {
    struct nf_et_trace t;
    struct nf_et_plan p;
};

static void plan(struct planned *k)
{
    if (nf_et_trace_init(&k->t, trace_path) || nf_et_plan_init(&k->p, &k->t))
        fail_msg("%s", nf_error_text(0));
}

static void drop(struct planned *k)
{
    nf_et_plan_deinit(&k->p);
    nf_et_trace_deinit(&k->t);
}

/* "step phase name lifetime:rw@offset+bytes ...", one op a line. */
static char *told(const struct planned *k)
{
    static const char rw[] = "rwu";
    static char text[8192];
    size_t at = 0;

    *text = '\0';
    for (size_t i = 0; i < k->p.execs.n; i++) {
        const struct nf_et_exec *e = &k->p.execs.v[i];
        const struct nf_et_node *n = &k->t.nodes.v[e->node];
        const char *module = nf_texts_get(&k->t.texts, e->module);

        at += (size_t)snprintf(text + at, sizeof text - at, "%u %s%s%s %s", e->step, nf_phase_name(e->phase), *module ? "/" : "",
                               module, nf_texts_get(&k->t.texts, n->name));
        for (uint32_t o = n->first_operand; o < n->first_operand + n->n_operands; o++) {
            const struct nf_et_operand *x = &k->t.operands.v[o];
            struct nf_et_touch v;

            if (x->lifetime == NF_ET_NONE)
                continue;
            v = nf_et_plan_touch(x);
            at += (size_t)snprintf(text + at, sizeof text - at, " %u:%c@%llu+%llu", x->lifetime, rw[x->rw],
                                   (unsigned long long)v.offset, (unsigned long long)v.bytes);
            if (v.run != v.bytes)
                at += (size_t)snprintf(text + at, sizeof text - at, "(%llu/%llu)", (unsigned long long)v.run,
                                       (unsigned long long)v.stride);
        }
        at += (size_t)snprintf(text + at, sizeof text - at, "\n");
    }
    return text;
}

static void assert_told(struct writer *w, const char *expected)
{
    struct planned k;

    end_trace(w);
    plan(&k);
    assert_string_equal(told(&k), expected);
    drop(&k);
}

static const char mm[] = "aten::mm(Tensor self, Tensor mat2) -> Tensor";
static const char add_[] = "aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)";
static const char empty[] = "aten::empty.memory_format(SymInt[] size, *, ScalarType? dtype=None) -> Tensor";
static const char relu[] = "aten::relu(Tensor self) -> Tensor";
static const char view[] = "aten::view(Tensor(a) self, SymInt[] size) -> Tensor(a)";

/* --- reading and writing --- */

static void reads_both_layouts(void **state)
{
    for (int old = 0; old < 2; old++) {
        struct writer w;

        begin_trace(&w, old);
        put(&w, (struct node){.id = 1, .parent = 1, .name = "[pytorch|profiler|execution_trace|process]", .scope = 7});
        put(&w, (struct node){.id = 2, .parent = 1, .name = "aten::mm", .schema = mm,
                              .in = "[[10,11,0,4,4,\"cpu\"],[12,13,2,4,4,\"cpu\"]]",
                              .in_types = "[\"Tensor(float)\",\"Tensor(float)\"]", .in_shapes = "[[2,2],[2,2]]",
                              .out = "[[14,15,0,4,4,\"cpu\"]]"});
        assert_told(&w, "0 forward aten::mm 0:r@0+16 1:r@8+16 2:w@0+16\n");
    }
}

static void tells_reads_from_writes(void **state)
{
    struct writer w;

    begin_trace(&w, false);
    put(&w, (struct node){.id = 1, .name = "aten::add_", .schema = add_,
                          .in = "[[10,11,0,4,4,\"cpu\"],[12,13,0,4,4,\"cpu\"],1]", .out = "[[10,11,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 2, .name = "aten::copy_",
                          .schema = "aten::copy_(Tensor(a!) self, Tensor src, bool non_blocking=False) -> Tensor(a!)",
                          .in = "[[10,11,0,4,4,\"cpu\"],[12,13,0,4,4,\"cpu\"],false]", .out = "[[10,11,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 3, .name = "aten::mul",
                          .schema = "aten::mul.out(Tensor self, Tensor other, *, Tensor(a!) out) -> Tensor(a!)",
                          .in = "[[12,13,0,4,4,\"cpu\"],[12,13,0,4,4,\"cpu\"],[10,11,0,4,4,\"cpu\"]]",
                          .out = "[[10,11,0,4,4,\"cpu\"]]"});
    /* No schema: the trailing underscore tells. */
    put(&w, (struct node){.id = 4, .name = "mine::scale_", .in = "[[10,11,0,4,4,\"cpu\"],[12,13,0,4,4,\"cpu\"]]",
                          .out = "[]"});
    put(&w, (struct node){.id = 5, .name = "triton_poi_fused_0", .in = "[[10,11,0,4,4,\"cpu\"]]",
                          .extra = ", {\"name\": \"kernel_backend\", \"type\": \"string\", \"value\": \"triton\"}"});
    assert_told(&w, "0 forward aten::add_ 0:u@0+16 1:r@0+16\n"
                    "0 forward aten::copy_ 0:w@0+16 1:r@0+16\n"
                    "0 forward aten::mul 1:r@0+16 0:w@0+16\n"
                    "0 forward mine::scale_ 0:u@0+16 1:r@0+16\n"
                    "0 forward triton_poi_fused_0 0:u@0+16\n");
}

static void lists_nothing_and_zero_sizes(void **state)
{
    struct writer w;

    begin_trace(&w, false);
    put(&w, (struct node){.id = 1, .name = "aten::_foreach_add_",
                          .schema = "aten::_foreach_add_.List(Tensor(a!)[] self, Tensor[] other, *, Scalar alpha=1) -> ()",
                          .in = "[[[10,11,0,4,4,\"cpu\"],[12,13,0,4,4,\"cpu\"]],[[14,15,0,4,4,\"cpu\"],[16,17,0,0,4,\"cpu\"]],1]",
                          .in_types = "[\"GenericList[Tensor(float),Tensor(half)]\",\"GenericList[Tensor(float),Tensor(float)]\","
                                      "\"Int\"]", .in_shapes = "[[[2,2],[4]],[[4],[0]],[]]"});
    put(&w, (struct node){.id = 2, .name = "aten::thing", .schema = "aten::thing(Tensor? a, Tensor b, int[] c, float d) -> Tensor",
                          .in = "[\"<None>\",[20,0,0,0,0,\"\"],[1,2,3,4,5,6],nan]", .out = "[[22,23,0,3,8,\"cpu\"]]"});
    /* A tuple of results, one in another's storage. */
    put(&w, (struct node){.id = 3, .name = "aten::two", .schema = "aten::two(Tensor a) -> (Tensor, Tensor)",
                          .in = "[[22,23,0,3,8,\"cpu\"]]", .out = "[[24,25,0,2,4,\"cpu\"],[26,25,2,2,4,\"cpu\"]]"});
    assert_told(&w, "0 forward aten::_foreach_add_ 0:u@0+16 1:u@0+16 2:r@0+16\n"
                    "0 forward aten::thing 3:w@0+24\n"
                    "0 forward aten::two 3:r@0+24 4:w@0+8 4:w@8+8\n");
}

static void views_and_allocations_touch_nothing(void **state)
{
    struct writer w;

    begin_trace(&w, false);
    put(&w, (struct node){.id = 1, .name = "aten::empty", .schema = empty, .in = "[[4]]", .out = "[[10,11,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 2, .name = "aten::view", .schema = view, .in = "[[10,11,0,4,4,\"cpu\"],[2,2]]",
                          .out = "[[12,11,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 3, .name = "aten::_unsafe_view", .schema = "aten::_unsafe_view(Tensor self, SymInt[] size) -> Tensor",
                          .in = "[[10,11,0,4,4,\"cpu\"],[2,2]]", .out = "[[12,11,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 4, .name = "aten::result_type", .schema = "aten::result_type.Tensor(Tensor a, Tensor b) -> ScalarType",
                          .in = "[[10,11,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 5, .name = "aten::relu", .schema = relu, .in = "[[12,11,0,4,4,\"cpu\"]]",
                          .out = "[[14,15,0,4,4,\"cpu\"]]"});
    assert_told(&w, "0 forward aten::relu 0:r@0+16 1:w@0+16\n");
}

static void an_operand_is_touched_once(void **state)
{
    struct writer w;

    begin_trace(&w, false);
    put(&w, (struct node){.id = 1, .name = "aten::mul", .schema = "aten::mul.Tensor(Tensor self, Tensor other) -> Tensor",
                          .in = "[[10,11,0,4,4,\"cpu\"],[10,11,0,4,4,\"cpu\"]]", .out = "[[12,13,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 2, .name = "aten::add_", .schema = add_,
                          .in = "[[10,11,0,4,4,\"cpu\"],[10,11,0,4,4,\"cpu\"],1]", .out = "[[10,11,0,4,4,\"cpu\"]]"});
    assert_told(&w, "0 forward aten::mul 0:r@0+16 1:w@0+16\n0 forward aten::add_ 0:u@0+16\n");
}

static void strides_tell_runs_and_expanded_views_count_once(void **state)
{
    struct writer w;

    begin_trace(&w, false);
    /* A column block of a 4 x 8 matrix: four runs of two floats, a row apart. */
    put(&w, (struct node){.id = 1, .name = "aten::relu", .schema = relu, .in = "[[10,11,2,8,4,\"cpu\"]]", .in_shapes = "[[4,2]]",
                          .in_strides = "[[8,1]]", .out = "[[12,13,0,8,4,\"cpu\"]]"});
    /* Strides say that a row is repeated ... */
    put(&w, (struct node){.id = 2, .name = "aten::relu", .schema = relu, .in = "[[14,15,0,800,4,\"cpu\"]]",
                          .in_shapes = "[[100,8]]", .in_strides = "[[0,1]]", .out = "[[16,17,0,800,4,\"cpu\"]]"});
    /* ... and without them, that the view is larger than its base. */
    put(&w, (struct node){.id = 3, .name = "aten::expand", .schema = "aten::expand(Tensor(a) self, SymInt[] size) -> Tensor(a)",
                          .in = "[[20,21,1,8,4,\"cpu\"],[100,8]]", .out = "[[22,21,1,800,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 4, .name = "aten::relu", .schema = relu, .in = "[[22,21,1,800,4,\"cpu\"]]",
                          .out = "[[24,25,0,800,4,\"cpu\"]]"});
    assert_told(&w, "0 forward aten::relu 0:r@8+32(8/32) 1:w@0+32\n"
                    "0 forward aten::relu 2:r@0+32 3:w@0+3200\n"
                    "0 forward aten::relu 4:r@4+32 5:w@0+3200\n");
}

static void tables_are_picked_from(void **state)
{
    struct writer w;

    begin_trace(&w, false);
    put(&w, (struct node){.id = 1, .name = "aten::index_select",
                          .schema = "aten::index_select(Tensor self, int dim, Tensor index) -> Tensor",
                          .in = "[[10,11,0,1000,4,\"cpu\"],0,[12,13,0,2,8,\"cpu\"]]", .in_shapes = "[[100,10],[],[2]]",
                          .out = "[[14,15,0,20,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 2, .name = "aten::nll_loss_forward",
                          .schema = "aten::nll_loss_forward(Tensor self, Tensor target, Tensor? weight) -> (Tensor, Tensor)",
                          .in = "[[10,11,0,1000,4,\"cpu\"],[12,13,0,2,8,\"cpu\"],\"<None>\"]", .in_shapes = "[[100,10],[2],[]]",
                          .out = "[[16,17,0,1,4,\"cpu\"]]"});
    assert_told(&w, "0 forward aten::index_select 0:r@0+80(40/3960) 1:r@0+16 2:w@0+80\n"
                    "0 forward aten::nll_loss_forward 0:r@0+8(4/3996) 1:r@0+16 3:w@0+4\n");
}

/* --- the tree --- */

static void the_innermost_operator_works(void **state)
{
    struct writer w;

    begin_trace(&w, false);
    /* Listed as the recorder does, when they end. */
    put(&w, (struct node){.id = 3, .parent = 2, .name = "aten::empty", .schema = empty, .in = "[[4]]",
                          .out = "[[14,15,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 2, .parent = 1, .name = "aten::mm", .schema = mm,
                          .in = "[[10,11,0,4,4,\"cpu\"],[12,13,0,4,4,\"cpu\"]]", .out = "[[14,15,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 1, .parent = 0, .name = "aten::linear", .schema = "aten::linear(Tensor a, Tensor b) -> Tensor",
                          .in = "[[10,11,0,4,4,\"cpu\"],[12,13,0,4,4,\"cpu\"]]", .out = "[[14,15,0,4,4,\"cpu\"]]"});
    /* The lifetime of the result began with the allocation, 0. */
    assert_told(&w, "0 forward aten::mm 1:r@0+16 2:r@0+16 0:w@0+16\n");
}

static void what_is_left_is_done_after(void **state)
{
    struct writer w;
    struct planned k;

    begin_trace(&w, false);
    put(&w, (struct node){.id = 1, .name = "aten::embedding_dense_backward",
                          .schema = "aten::embedding_dense_backward(Tensor grad_output, Tensor indices, SymInt n) -> Tensor",
                          .in = "[[10,11,0,4,4,\"cpu\"],[12,13,0,2,8,\"cpu\"],9]", .out = "[[14,15,0,18,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 2, .parent = 1, .name = "aten::zeros", .schema = "aten::zeros(SymInt[] size) -> Tensor",
                          .in = "[[9,2]]", .out = "[[14,15,0,18,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 3, .parent = 2, .name = "aten::empty", .schema = empty, .in = "[[9,2]]",
                          .out = "[[14,15,0,18,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 4, .parent = 2, .name = "aten::zero_", .schema = "aten::zero_(Tensor(a!) self) -> Tensor(a!)",
                          .in = "[[14,15,0,18,4,\"cpu\"]]", .out = "[[14,15,0,18,4,\"cpu\"]]"});
    end_trace(&w);
    plan(&k);
    assert_string_equal(told(&k), "0 forward aten::zero_ 0:w@0+72\n"
                                  "0 forward aten::embedding_dense_backward 1:r@0+16 2:r@0+16 0:u@0+72\n");
    assert_int_equal(k.p.totals.remainders, 1);
    assert_int_equal(k.p.totals.splits, 0);
    drop(&k);
}

/* Two steps of forward, backward, optimizer; the parameter is 11, its gradient 31, the momentum 41. */
static void put_step(struct writer *w, int at)
{
    put(w, (struct node){.id = at, .parent = 1, .name = "## block.0 ##", .scope = 7});
    put(w, (struct node){.id = at + 1, .parent = at, .name = "aten::mm", .schema = mm, .seq = at, .rf = at + 1,
                         .in = "[[10,11,0,4,4,\"cpu\"],[50,51,0,4,4,\"cpu\"]]", .out = "[[20,21,0,4,4,\"cpu\"]]"});
    put(w, (struct node){.id = at + 2, .parent = 1, .name = "autograd::engine::evaluate_function: MmBackward0", .tid = 2});
    put(w, (struct node){.id = at + 3, .parent = at + 2, .name = "MmBackward0", .scope = 1, .seq = at, .tid = 2,
                         .extra = ", {\"name\": \"fw_tid\", \"type\": \"uint64\", \"value\": 1}"});
    put(w, (struct node){.id = at + 4, .parent = at + 3, .name = "aten::mm", .schema = mm, .tid = 2, .rf = at + 4,
                         .in = "[[20,21,0,4,4,\"cpu\"],[50,51,0,4,4,\"cpu\"]]", .out = "[[30,31,0,4,4,\"cpu\"]]"});
    put(w, (struct node){.id = at + 5, .parent = 1, .name = "Optimizer.step#SGD.step", .scope = 7});
    put(w, (struct node){.id = at + 6, .parent = at + 5, .name = "aten::add_", .schema = add_, .rf = at + 6,
                         .in = "[[40,41,0,4,4,\"cpu\"],[30,31,0,4,4,\"cpu\"],1]", .out = "[[40,41,0,4,4,\"cpu\"]]"});
    put(w, (struct node){.id = at + 7, .parent = at + 5, .name = "aten::add_", .schema = add_, .rf = at + 7,
                         .in = "[[10,11,0,4,4,\"cpu\"],[40,41,0,4,4,\"cpu\"],1]", .out = "[[10,11,0,4,4,\"cpu\"]]"});
}

static void put_run(struct writer *w)
{
    begin_trace(w, false);
    put(w, (struct node){.id = 1, .parent = 1, .name = "[pytorch|profiler|execution_trace|process]", .scope = 7});
    put_step(w, 10);
    put_step(w, 30);
    /* After the last step: no backward, no step. */
    put(w, (struct node){.id = 90, .parent = 1, .name = "aten::relu", .schema = relu, .in = "[[10,11,0,4,4,\"cpu\"]]",
                         .out = "[[60,61,0,4,4,\"cpu\"]]"});
    end_trace(w);
}

static void phases_steps_modules_and_roles(void **state)
{
    static const struct {
        bool carried_in, outlives;
        uint8_t role;
    } wanted[] = {
        {true, true, NF_ROLE_PARAMETER}, {true, true, NF_ROLE_UNKNOWN},    {false, false, NF_ROLE_UNKNOWN},
        {false, false, NF_ROLE_GRADIENT}, {true, true, NF_ROLE_OPTIMIZER}, {false, false, NF_ROLE_UNKNOWN},
        {false, false, NF_ROLE_GRADIENT},
    };
    struct planned k;
    struct writer w;

    put_run(&w);
    plan(&k);
    assert_string_equal(told(&k), "0 forward/block.0 aten::mm 0:r@0+16 1:r@0+16 2:w@0+16\n"
                                  "0 backward/block.0 aten::mm 2:r@0+16 1:r@0+16 3:w@0+16\n"
                                  "0 optimizer aten::add_ 4:u@0+16 3:r@0+16\n"
                                  "0 optimizer aten::add_ 0:u@0+16 4:r@0+16\n"
                                  "1 forward/block.0 aten::mm 0:r@0+16 1:r@0+16 5:w@0+16\n"
                                  "1 backward/block.0 aten::mm 5:r@0+16 1:r@0+16 6:w@0+16\n"
                                  "1 optimizer aten::add_ 4:u@0+16 6:r@0+16\n"
                                  "1 optimizer aten::add_ 0:u@0+16 4:r@0+16\n");
    assert_int_equal(k.p.n_steps, 2);
    assert_int_equal(k.p.totals.dropped, 1);
    assert_int_equal(k.p.totals.splits, 2); /* the activation and the gradient came again */
    assert_int_equal(k.t.n_threads, 2);
    assert_string_equal(k.p.totals.boundary, "optimizer steps");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        assert_int_equal(k.p.lifetimes.v[i].carried_in, wanted[i].carried_in);
        assert_int_equal(k.p.lifetimes.v[i].outlives, wanted[i].outlives);
        assert_int_equal(k.p.lifetimes.v[i].role, wanted[i].role);
    }
    drop(&k);
}

static void what_follows_counts_with_a_backward(void **state)
{
    struct planned k;
    struct writer w;

    begin_trace(&w, false);
    put(&w, (struct node){.id = 1, .name = "Optimizer.step#SGD.step", .scope = 7});
    put(&w, (struct node){.id = 2, .parent = 1, .name = "aten::add_", .schema = add_,
                          .in = "[[10,11,0,4,4,\"cpu\"],[30,31,0,4,4,\"cpu\"],1]", .out = "[[10,11,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 3, .name = "CheckpointFunctionBackward", .scope = 1});
    put(&w, (struct node){.id = 4, .parent = 3, .name = "aten::relu", .schema = relu, .in = "[[10,11,0,4,4,\"cpu\"]]",
                          .out = "[[60,61,0,4,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 5, .parent = 3, .name = "autograd::engine::evaluate_function: ReluBackward0"});
    put(&w, (struct node){.id = 6, .parent = 5, .name = "aten::relu", .schema = relu, .in = "[[60,61,0,4,4,\"cpu\"]]",
                          .out = "[[62,63,0,4,4,\"cpu\"]]"});
    end_trace(&w);
    plan(&k);
    assert_string_equal(told(&k), "0 optimizer aten::add_ 0:u@0+16 1:r@0+16\n"
                                  "1 recompute aten::relu 0:r@0+16 2:w@0+16\n"
                                  "1 backward aten::relu 2:r@0+16 3:w@0+16\n");
    assert_true(k.p.totals.cut_step);
    drop(&k);
}

static void profiler_steps_divide_without_an_optimizer(void **state)
{
    struct planned k;
    struct writer w;

    begin_trace(&w, false);
    for (int i = 0; i < 3; i++) {
        put(&w, (struct node){.id = 10 * i + 1, .name = i == 0 ? "ProfilerStep#4" : "ProfilerStep#5", .scope = 7});
        put(&w, (struct node){.id = 10 * i + 2, .parent = 10 * i + 1, .name = "aten::relu", .schema = relu,
                              .in = "[[10,11,0,4,4,\"cpu\"]]", .out = "[[60,61,0,4,4,\"cpu\"]]"});
    }
    end_trace(&w);
    plan(&k);
    assert_int_equal(k.p.n_steps, 3);
    assert_string_equal(k.p.totals.boundary, "profiler steps");
    drop(&k);
}

/* --- ids that come again --- */

static void reused_ids_are_lifetimes(void **state)
{
    struct planned k;
    struct writer w;

    begin_trace(&w, false);
    put(&w, (struct node){.id = 1, .name = "aten::relu", .schema = relu, .in = "[[10,11,0,4,4,\"cpu\"]]",
                          .out = "[[12,13,0,4,4,\"cpu\"]]"});
    /* A result again: lifetime 2. */
    put(&w, (struct node){.id = 2, .name = "aten::relu", .schema = relu, .in = "[[10,11,0,4,4,\"cpu\"]]",
                          .out = "[[12,13,0,2,4,\"cpu\"]]"});
    /* Past the end of what was allocated: 3. */
    put(&w, (struct node){.id = 3, .name = "aten::relu", .schema = relu, .in = "[[12,13,0,9,4,\"cpu\"]]",
                          .out = "[[14,15,0,9,4,\"cpu\"]]"});
    /* On another device: 5. */
    put(&w, (struct node){.id = 4, .name = "aten::relu", .schema = relu, .in = "[[12,13,0,9,4,\"cuda:0\"]]",
                          .out = "[[16,17,0,9,4,\"cuda:0\"]]"});
    /* A resize lets one grow: no new one. */
    put(&w, (struct node){.id = 5, .name = "aten::resize_", .schema = "aten::resize_(Tensor(a!) self, SymInt[] size) -> Tensor(a!)",
                          .in = "[[14,15,0,9,4,\"cpu\"],[20]]", .out = "[[14,15,0,20,4,\"cpu\"]]"});
    put(&w, (struct node){.id = 6, .name = "aten::zero_", .schema = "aten::zero_(Tensor(a!) self) -> Tensor(a!)",
                          .in = "[[14,15,0,20,4,\"cpu\"]]", .out = "[[14,15,0,20,4,\"cpu\"]]"});
    end_trace(&w);
    plan(&k);
    assert_string_equal(told(&k), "0 forward aten::relu 0:r@0+16 1:w@0+16\n"
                                  "0 forward aten::relu 0:r@0+16 2:w@0+8\n"
                                  "0 forward aten::relu 3:r@0+36 4:w@0+36\n"
                                  "0 forward aten::relu 5:r@0+36 6:w@0+36\n"
                                  "0 forward aten::zero_ 4:w@0+80\n");
    assert_int_equal(k.p.totals.splits, 3);
    assert_int_equal(k.p.totals.size_splits, 1);
    assert_int_equal(k.p.totals.device_splits, 1);
    assert_int_equal(k.p.totals.slots_touched, 4);
    assert_int_equal(k.p.lifetimes.v[4].bytes, 80);
    assert_true(k.p.lifetimes.v[0].carried_in && k.p.lifetimes.v[0].outlives);
    assert_false(k.p.lifetimes.v[1].outlives);
    drop(&k);
}

/* --- files that are none --- */

static void refuses(const char *text, size_t n, const char *why)
{
    struct planned k = {0};
    const char *said;
    int rc;

    assert_int_equal(nf_file_write(trace_path, text, n), 0);
    rc = nf_et_trace_init(&k.t, trace_path);
    if (!rc)
        rc = nf_et_plan_init(&k.p, &k.t);
    said = nf_error_text(rc);
    if (!rc || !strstr(said, why) || strchr(said, '\n'))
        fail_msg("%.80s: %d: %s", text, rc, said);
    drop(&k);
}

static void broken_files_say_where(void **state)
{
#define NODES(x) "{\"schema\":\"1.0.1\",\"nodes\":[" x "]}"
#define OP(inputs) NODES("{\"id\":1,\"name\":\"aten::x\",\"inputs\":" inputs "}")
    static const struct {
        const char *text, *why;
    } files[] = {
        {"", "byte 0: the file is empty"},
        {"hello", "byte 0: 'h' where the '{' or '[' of a JSON file is due"},
        {"[1]", "byte 0: the file is a list"},
        {"{}", "byte 2: the file ended without a \"schema\""},
        {"{\"schema\":\"2.0\"}", "byte 10: schema 2.0 is not one"},
        {"{\"schema\":7}", "byte 10: schema without a text"},
        {"{\"schema\":\"1.0.1\",\"nodes\":{}}", "byte 26: \"nodes\" is not a list"},
        {NODES(""), "without a node"},
        {"{\"schema\":\"1.0.1\",\"nodes\":[{", "byte 28: the file ends where the end of a value is due"},
        {NODES("{]"), "byte 28"},
        {NODES("{\"id\":1,\"name\":\"x\"}") "x", "byte 48: 'x' where the end of the file is due"},
        {NODES("7"), "byte 27: a node is not an object"},
        {NODES("{\"id\":1}"), "byte 27: a node has no id or no name"},
        {NODES("{\"id\":nan,\"name\":\"x\",\"parent\":-1}"), "byte 27: the parent of a node is not a whole number"},
        {NODES("{\"id\":1.5,\"name\":\"x\"}"), "the id of a node is not a whole number"},
        {NODES("{\"id\":99999999999999999999,\"name\":\"x\"}"), "the id of a node is not a whole number"},
        {NODES("{\"id\":1,\"name\":\"x\",\"parent\":2}"), "byte 27: a node names a parent that began after it"},
        {NODES("{\"id\":1,\"name\":\"x\"},{\"id\":1,\"name\":\"y\"}"), "byte 47: a second node has the id 1"},
        {NODES("{\"id\":1,\"name\":\"x\"},"), "']' where a value is due"},
        {NODES("{\"id\":1,\"name\":\"x\"} {"), "'{' where ',' or ']' is due"},
        {NODES("{\"id\":1,\"name\":\"x\xff\"}"), "byte 4"},
        {NODES("{\"id\":1,\"name\":7}"), "the name of a node is not a text"},
        {NODES("{\"id\":1,\"name\":\"x\",\"tid\":4294967296}"), "the tid of a node is too large"},
        {NODES("{\"id\":1,\"name\":\"x\",\"seq_id\":\"a\"}"), "the seq_id of a node"},
        {OP("7"), "the inputs or outputs of a node are not a list"},
        {OP("[[1,2,-3,4,4,\"cpu\"]]"), "byte 27: a tensor of a node has a number that is negative"},
        {OP("[[1,2,0,4.5,4,\"cpu\"]]"), "byte 27: a tensor of a node has a number that is negative, not whole"},
        {OP("[[1,2,0,4611686018427387904,8,\"cpu\"]]"), "or of more than 18 digits"},
        {OP("[[1,2,0,999999999999999999,999999999999999999,\"cpu\"]]"), "a tensor of a node reaches past 64 TiB"},
        {OP("[[1,2,999999999999999999,4,8,\"cpu\"]]"), "a tensor of a node reaches past 64 TiB"},
        {OP("[[1,2,0,70368744177664,4,\"cpu\"]]"), "a tensor of a node reaches past 64 TiB"},
        {OP("[1e999]"), "byte"},
        {OP("[]"), "no operator of the trace touches a tensor"},
        {NODES("{\"id\":1,\"name\":\"x\\u0000\"}"), "byte"},
        {"{\"schema\":\"1.0.1\",\"nodes\":[{\"id\":1,\"na", "byte 38: the file ends where the end of a string is due"},
    };
    struct nf_buf deep = {0};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        refuses(files[i].text, strlen(files[i].text), files[i].why);
    nf_buf_puts(&deep, "{\"schema\":\"1.0.1\",\"nodes\":[");
    for (int i = 0; i < 100000; i++)
        nf_buf_puts(&deep, "[");
    refuses(deep.data, deep.n, "byte 91: values are nested deeper than 64");
    nf_buf_clear(&deep);
    nf_buf_puts(&deep, "{\"x\":\"");
    while (deep.n < (17u << 20))
        nf_buf_puts(&deep, "................................................................................................");
    refuses(deep.data, deep.n, "a value is larger than 16 MiB");
    nf_buf_clear(&deep);
    for (int i = 0; i < 600; i++)
        nf_buf_add(&deep, i == 257 ? "u" : i == 258 ? "s" : i == 259 ? "t" : i == 260 ? "a" : i == 261 ? "r" : "\0", 1);
    refuses(deep.data, deep.n, "is a tar archive: unpack it first");
    nf_buf_deinit(&deep);
}

/* A trace cut anywhere is refused, and never read past its end. */
static void every_cut_is_refused(void **state)
{
    struct nf_buf whole = {0};
    struct writer w;

    put_run(&w);
    assert_int_equal(nf_buf_read_file(&whole, trace_path, 1 << 20), 0);
    for (size_t n = 0; n < whole.n; n += n < 600 ? 1 : 37)
        refuses(whole.data, n, n ? "the file ends where" : "the file is empty");
    nf_buf_deinit(&whole);
}

/* --- whole imports --- */

static int64_t number(struct nf_study *s, const char *sql)
{
    struct nf_query *q;
    int64_t n;

    assert_int_equal(nf_study_query_text(s, sql, &q), 0);
    assert_int_equal(nf_query_step(q), 1);
    n = nf_query_i64(q, 0);
    nf_query_done(q);
    return n;
}

static struct nf_study *import(const struct nf_import_options *o)
{
    const struct nf_import_ops *ops = nf_import_find("pytorch-et");
    char *const command[] = {"nearfar", "import"};
    struct nf_import *im;
    struct nf_study *s;
    int64_t capture;
    FILE *none = fopen("/dev/null", "w");

    unlink(study_path);
    if (ops->open(trace_path, o, &im))
        fail_msg("%s", nf_error_text(0));
    assert_int_equal(nf_study_open(study_path, NF_STUDY_CREATE, &s), 0);
    if (ops->store(im, s, nf_record_invocation(s, 2, command), &capture))
        fail_msg("%s", nf_error_text(0));
    assert_true(capture > 0);
    ops->summarize(im, none);
    fclose(none);
    ops->close(im);
    return s;
}

static void an_import_is_a_capture(void **state)
{
    struct nf_import_options o = {0};
    struct nf_stream *stream;
    struct nf_study *s;
    struct writer w;

    put_run(&w);
    s = import(&o);
    assert_int_equal(number(s, "SELECT count(*) FROM capture WHERE lifetimes = 'inferred' AND phases = 'inferred' AND durations "
                               "= 'unknown' AND status = 'complete' AND framework = 'pytorch execution trace "
                               "1.1.0-chakra.0.0.4'"), 1);
    /* Two threads call operators in it, and none says into how many it was split: a replay does not split them. */
    assert_int_equal(number(s, "SELECT threads FROM capture"), 0);
    assert_int_equal(number(s, "SELECT count(*) FROM pass WHERE kind = 3 AND access_evidence = 1 AND status = 'complete' AND "
                               "steps = 2 AND ops = 8"), 1);
    assert_int_equal(number(s, "SELECT count(*) FROM pass"), 1);
    /* Both steps are of one structure: what was there before is carried in from the first. */
    assert_int_equal(number(s, "SELECT count(*) FROM step_class"), 1);
    assert_int_equal(number(s, "SELECT count(*) FROM step"), 2);
    assert_int_equal(number(s, "SELECT count(*) FROM tensor WHERE carry_slot IS NOT NULL"), 3);
    assert_int_equal(number(s, "SELECT count(*) FROM lifetime WHERE carry_in = carry_out AND birth_op = -1"), 3);
    assert_int_equal(number(s, "SELECT unattributed_visits FROM pass"), 0);
    assert_int_equal(number(s, "SELECT sum(bytes) FROM visits(1)"), 10 * 16);
    assert_int_equal(nf_record_stream_load(s, 1, &stream), 0);
    assert_int_equal(stream->n_classes, 1);
    assert_int_equal(stream->classes[0].n_ops, 4);
    assert_true(stream->classes[0].ops[0].dur_ns == 0);
    nf_stream_free(stream);
    nf_study_close(s);
}

static void devices_reach_the_study(void **state)
{
    struct nf_import_options o = {0};
    struct nf_study *s;
    struct writer w;

    begin_trace(&w, true);
    put(&w, (struct node){.id = 1, .name = "aten::copy_",
                          .schema = "aten::copy_(Tensor(a!) self, Tensor src, bool non_blocking=False) -> Tensor(a!)",
                          .in = "[[10,11,0,4,4,\"cuda:1\"],[12,13,0,4,4,\"cpu\"],false]", .out = "[[10,11,0,4,4,\"cuda:1\"]]",
                          .in_types = "[\"Tensor(long int)\",\"Tensor(float)\",\"Bool\"]"});
    end_trace(&w);
    s = import(&o);
    assert_int_equal(number(s, "SELECT count(*) FROM tensor t JOIN name n ON n.id = t.dtype_id WHERE device = 'cuda:1' AND "
                               "n.text = 'long int'"), 1);
    assert_int_equal(number(s, "SELECT count(*) FROM tensor WHERE device = 'cpu'"), 1);
    nf_study_close(s);
}

static void write_kineto(const char *text)
{
    assert_int_equal(nf_file_write(kineto_path, text, strlen(text)), 0);
}

#define EVENT(name, ts, dur, ids) "{\"ph\":\"X\",\"cat\":\"cpu_op\",\"name\":\"" name "\",\"ts\":" ts ",\"dur\":" dur ",\"args\":{" ids "}}"

static void durations_come_from_kineto(void **state)
{
    struct nf_import_options o = {.kineto = kineto_path};
    struct nf_stream *stream;
    struct nf_study *s;
    struct writer w;

    put_run(&w);
    /* Ids for the first step and for one op of the second, the rest of it by name and order; a kernel of the first. */
    write_kineto("{\"schemaVersion\":1,\"traceEvents\":[" EVENT("aten::mm", "1.5", "1", "\"Record function id\":11,\"External id\":71")
                 "," EVENT("aten::mm", "2", "2", "\"Record function id\":14") "," EVENT("aten::add_", "3", "3",
                 "\"Record function id\":16") "," EVENT("aten::add_", "4", "4", "\"Record function id\":17") ","
                 EVENT("aten::mm", "5", "1", "\"Record function id\":31,\"External id\":72") "," EVENT("aten::mm", "6", "2", "") ","
                 EVENT("aten::add_", "7", "3", "") "," EVENT("aten::add_", "8", "4", "") ","
                 "{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"gemm\",\"ts\":9,\"dur\":50,\"args\":{\"External id\":71}},"
                 "{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"gemm\",\"ts\":9,\"dur\":50,\"args\":{\"External id\":72}},"
                 "{\"ph\":\"M\",\"name\":\"process_name\"}]}");
    s = import(&o);
    assert_int_equal(number(s, "SELECT count(*) FROM capture WHERE durations = 'imported'"), 1);
    assert_int_equal(number(s, "SELECT count(*) FROM pass WHERE kind = 2 AND source = 'kineto' AND steps = 2"), 1);
    assert_int_equal(number(s, "SELECT max(timed) FROM op"), 2);
    assert_int_equal(number(s, "SELECT count(*) FROM op WHERE timed = 2"), 4);
    assert_int_equal(nf_record_stream_load(s, 1, &stream), 0);
    assert_true(stream->classes[0].ops[0].dur_ns == 50000); /* on its device */
    assert_true(stream->classes[0].ops[1].dur_ns == 2000);
    assert_true(stream->classes[0].ops[2].dur_ns == 3000);
    assert_true(stream->classes[0].ops[3].dur_ns == 4000);
    nf_stream_free(stream);
    nf_study_close(s);
}

static void another_runs_kineto_is_refused(void **state)
{
    static const struct {
        const char *text, *why;
    } files[] = {
        {"{\"traceEvents\":[" EVENT("aten::conv", "1", "1", "\"External id\":11") "]}", "0 of 8 operators of the trace: it is of "
                                                                                       "another run"},
        {"{\"traceEvents\":[]}", "byte 18: the file ended without an operator's event"},
        {"{\"traceEvents\":[{\"ph\":]}", "byte 22"},
        {"{\"traceEvents\":[" EVENT("aten::mm", "1", "-5", "") "]}", "without an operator's event"},
        {"", "byte 0: the file is empty"},
    };
    struct nf_import_options o = {.kineto = kineto_path};
    struct nf_import *im;
    struct writer w;

    put_run(&w);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_kineto(files[i].text);
        assert_int_equal(nf_import_find("pytorch-et")->open(trace_path, &o, &im), -EBADMSG);
        if (!strstr(nf_error_text(0), files[i].why))
            fail_msg("%s", nf_error_text(0));
    }
    unlink(kineto_path);
    assert_int_equal(nf_import_find("pytorch-et")->open(trace_path, &o, &im), -ENOENT);
}

static void schemas_are_read(void **state)
{
    struct nf_et_schema s;

    nf_et_schema_parse("aten::_fused_adamw_", "aten::_fused_adamw_(Tensor(a!)[] self, Tensor(b!)[] grads, *, float lr, Tensor? "
                                              "grad_scale=None) -> ()", &s);
    assert_int_equal(s.mutated, 3);
    assert_int_equal(s.overwritten, 0);
    nf_et_schema_parse("aten::max", "aten::max.dim_max(Tensor self, int dim, bool keepdim=False, *, Tensor(a!) max, Tensor(b!) "
                                    "max_values) -> (Tensor(a!) max, Tensor(b!) values)", &s);
    assert_int_equal(s.mutated, 0x18);
    assert_int_equal(s.overwritten, 0x18);
    nf_et_schema_parse("aten::x", "aten::x(Tensor a, str mode='!(', Tensor(a!) b", &s); /* cut off: never past its end */
    nf_et_schema_parse("aten::x", "(((((", &s);
    nf_et_schema_parse("", "", &s);
    assert_int_equal(s.mutated, 0);
    nf_et_schema_parse("mine::__or__", "", &s);
    assert_int_equal(s.mutated, 0);
}

static int prepare(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(trace_path, sizeof trace_path, "%s/trace.json", folder);
    snprintf(study_path, sizeof study_path, "%s/study.nf", folder);
    snprintf(kineto_path, sizeof kineto_path, "%s/kineto.json", folder);
    return 0;
}

static int clean(void **state)
{
    unlink(trace_path);
    unlink(study_path);
    unlink(kineto_path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_both_layouts),
        cmocka_unit_test(tells_reads_from_writes),
        cmocka_unit_test(lists_nothing_and_zero_sizes),
        cmocka_unit_test(views_and_allocations_touch_nothing),
        cmocka_unit_test(an_operand_is_touched_once),
        cmocka_unit_test(strides_tell_runs_and_expanded_views_count_once),
        cmocka_unit_test(tables_are_picked_from),
        cmocka_unit_test(the_innermost_operator_works),
        cmocka_unit_test(what_is_left_is_done_after),
        cmocka_unit_test(phases_steps_modules_and_roles),
        cmocka_unit_test(what_follows_counts_with_a_backward),
        cmocka_unit_test(profiler_steps_divide_without_an_optimizer),
        cmocka_unit_test(reused_ids_are_lifetimes),
        cmocka_unit_test(broken_files_say_where),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(an_import_is_a_capture),
        cmocka_unit_test(devices_reach_the_study),
        cmocka_unit_test(durations_come_from_kineto),
        cmocka_unit_test(another_runs_kineto_is_refused),
        cmocka_unit_test(schemas_are_read),
    };
    char why[160];

    if (nf_json_probe(why, sizeof why)) {
        printf("skipped: %s\n", why);
        return 77;
    }
    return cmocka_run_group_tests(tests, prepare, clean);
}
