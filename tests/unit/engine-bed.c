#include "tests/unit/engine-bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "replay/plausible.h"

enum { PAGE = NF_PAGE_BYTES };

/* --- a step --- */

void step_init(struct step *s)
{
    static char name[] = "";

    memset(s, 0, sizeof *s);
    s->c = (struct nf_step_class){.ops = s->ops, .visits = s->visits, .tensors = s->tensors};
    s->names[0] = name;
    s->stream = (struct nf_stream){.classes = &s->c, .n_classes = 1, .sequence = s->sequence, .n_sequence = 1,
                                   .n_carry = STEP_TENSORS_MAX, .names = s->names, .n_names = 1, .threads = 1};
}

uint32_t step_tensor(struct step *s, uint64_t bytes, int32_t birth, int32_t death)
{
    uint32_t i = s->c.n_tensors++;

    s->tensors[i] = (struct nf_tensor){
        .bytes = bytes,
        .address = (uint64_t)(i + 1) << 32,
        .birth = birth,
        .death = death,
        .carry_in = birth == NF_OP_BEFORE ? (int32_t)i : NF_CARRY_NONE,
        .carry_out = death == NF_OP_AFTER ? (int32_t)i : NF_CARRY_NONE,
        .tracked = true,
    };
    return i;
}

void step_op(struct step *s, double dur_ns)
{
    s->ops[s->c.n_ops++] = (struct nf_op){.first_visit = s->c.n_visits, .dur_ns = dur_ns, .regime = 1 + s->c.n_ops / 4};
}

struct nf_visit *step_visit(struct step *s, uint32_t tensor, uint64_t bytes, enum nf_rw rw)
{
    struct nf_visit *v = &s->visits[s->c.n_visits++];

    *v = (struct nf_visit){.op = s->c.n_ops - 1, .tensor = tensor, .bytes = bytes, .run = bytes, .stride = bytes,
                           .touches_q8 = 256, .rw = rw, .parallelism = 1};
    s->ops[s->c.n_ops - 1].n_visits++;
    return v;
}

void step_ready(struct step *s)
{
    assert_int_equal(nf_step_class_peak(&s->c, &s->c.peak_live_bytes), 0);
    assert_int_equal(nf_step_class_check(&s->c, &s->stream), 0);
    assert_int_equal(nf_profile_init(&s->profile, &s->c, 0, 1), 0);
    assert_int_equal(nf_script_init(&s->script, &s->profile, 1), 0);
}

void step_deinit(struct step *s)
{
    nf_script_deinit(&s->script);
    nf_profile_deinit(&s->profile);
}

/* --- tiers that remember --- */

static void tier_facts(const void *tier, struct nf_tier_facts *out)
{
    const struct bed_memory *m = tier;

    *out = (struct nf_tier_facts){.target_latency_ns = m->line_ns, .node = -1};
}

static int tier_map(void *tier, size_t bytes, void **out)
{
    struct bed_memory *m = tier;

    m->at = *out = aligned_alloc(PAGE, bytes);
    assert_non_null(m->at);
    memset(m->at, 0, bytes);
    return 0;
}

static void tier_unmap(void *tier, void *at, size_t bytes)
{
    struct bed_memory *m = tier;

    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word;

        memcpy(&word, (char *)at + i, sizeof word);
        m->words[word < 255 ? word : 255]++;
    }
    free(at);
}

static int tier_verify(void *tier, const void *at, size_t bytes)
{
    return 0;
}

static uint64_t tier_charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    struct bed_memory *m = tier;

    m->charges++;
    m->read_bytes += c->read_bytes;
    m->write_bytes += c->write_bytes;
    m->lines += c->lines;
    return start_ns + (uint64_t)(c->lines * m->line_ns / c->parallelism);
}

const struct nf_tier_ops bed_tier = {.abi = NF_TIER_ABI, .name = "counting", .about = "for tests",
                                     .facts = tier_facts, .map = tier_map, .unmap = tier_unmap,
                                     .verify = tier_verify, .charge = tier_charge};

/* --- a policy that remembers --- */

struct bed_script bed_script;

static int policy_open(const struct nf_policy_env *env, void **policy)
{
    *policy = (void *)env;
    return 0;
}

static void policy_close(void *policy)
{
}

static int policy_place(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions,
                        struct nf_placement *out)
{
    uint64_t pages = t->bytes / PAGE, far = pages * bed_script.far_percent[bed_script.next++ % bed_script.n] / 100;

    nf_buf_printf(&bed_script.told, "+%u@%u ", t->number, t->op);
    out->bytes[0] = (pages - far) * PAGE;
    out->bytes[1] = bed_script.illegal ? t->bytes : far * PAGE;
    out->striped = bed_script.striped;
    return 0;
}

static int policy_access(void *policy, nf_regime regime, uint32_t op, const uint32_t *handles, const uint8_t *rw,
                         size_t n, struct nf_policy_moves *moves)
{
    nf_buf_printf(&bed_script.told, "[%u:%llu", op, (unsigned long long)regime);
    for (size_t i = 0; i < n; i++)
        nf_buf_printf(&bed_script.told, " %s", nf_rw_name(rw[i]));
    nf_buf_puts(&bed_script.told, "] ");
    return 0;
}

static int policy_after(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    nf_buf_printf(&bed_script.told, "/%u ", op);
    return 0;
}

static void policy_freed(void *policy, uint32_t handle)
{
    nf_buf_puts(&bed_script.told, "- ");
}

const struct nf_policy_ops bed_policy = {
    NF_POLICY_INTERFACE(NF_POLICY_HAS_ON_OP | NF_POLICY_HAS_ON_OP_END | NF_POLICY_HAS_ON_FREE), .name = "scripted",
    .about = "for tests", .semantics = {.sees_profile = true},
    .init = policy_open, .deinit = policy_close, .on_alloc = policy_place, .on_op = policy_access, .on_op_end = policy_after,
    .on_free = policy_freed};

void bed_place_all(unsigned far_percent, bool striped)
{
    nf_buf_clear(&bed_script.told);
    bed_script.far_percent[0] = far_percent;
    bed_script.n = 1;
    bed_script.next = 0;
    bed_script.striped = striped;
    bed_script.illegal = false;
}

/* --- a trial --- */

void bed_init(struct bed *b, const struct step *s, double far_line_ns)
{
    memset(b, 0, sizeof *b);
    b->memory[1].line_ns = far_line_ns;
    for (int i = 0; i < 2; i++) {
        b->tiers[i] = (struct nf_tier){.ops = &bed_tier, .state = &b->memory[i]};
        tier_facts(&b->memory[i], &b->tiers[i].facts);
    }
    b->config = (struct nf_engine_config)NF_ENGINE_CONFIG_INIT;
    b->config.stream = &s->stream;
    b->config.scripts = &s->script;
    b->config.pool = (struct nf_pool_config){
        .tiers = b->tiers, .n_tiers = 2, .capacity = {UINT64_MAX, UINT64_MAX}, .arena_bytes = {BED_ARENA, BED_ARENA},
        .policy = &bed_policy, .policy_options = "", .profiles = &s->profile, .n_profiles = 1};
}

void bed_run(const struct bed *b, struct nf_trial *t)
{
    int rc = nf_trial_run(&b->config, t);

    if (rc || t->status == NF_TRIAL_FAILED)
        fail_msg("the trial failed: %d %s %s", rc, nf_error_text(rc), t->message);
    if (nf_trial_implausible(t, &b->config))
        fail_msg("the trial cannot be: %s", nf_trial_implausible(t, &b->config));
}

double bed_best_step(const struct nf_trial *t)
{
    double best = t->step_ns[0];

    for (unsigned i = 1; i < t->steps; i++)
        best = t->step_ns[i] < best ? t->step_ns[i] : best;
    return best;
}

void bed_run_until(const struct bed *b, double most_ns, struct nf_trial *t)
{
    enum { TRIES = 50 };
    int tries = 0;

    for (bed_run(b, t); bed_best_step(t) > most_ns; bed_run(b, t)) {
        if (++tries == TRIES)
            fail_msg("a step takes %.4g ms at least, and not the %.4g ms it might", bed_best_step(t) / 1e6, most_ns / 1e6);
        nf_trial_deinit(t);
    }
}

int bed_forget(void **state)
{
    nf_buf_deinit(&bed_script.told);
    return 0;
}
