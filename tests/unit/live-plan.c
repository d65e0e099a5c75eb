/* A plan from a policy's play over a small step, and the placer that follows it: loaded as a job would have it. */
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

#include "core/base/error.h"
#include "live/follow.h"
#include "live/plan-file.h"
#include "live/plan.h"
#include "live/play.h"
#include "pool/policy.h"
#include "tests/unit/live-bed.h"

enum { PAGE = 4096, OPS = 4 };

/* Two steps of one structure: a parameter of 4 pages that both find, and in each a saved activation (8 pages, ops 0 to 3), a
 * temporary (2 pages, op 1) and one that takes its place (2 pages, op 2). The first step makes the parameter. */
static struct nf_op ops[OPS];
static struct nf_visit visits[OPS];
static struct nf_tensor later[] = {
    {.bytes = 4 * PAGE, .address = 0x10000, .birth = NF_OP_BEFORE, .death = NF_OP_AFTER, .carry_in = 0, .carry_out = 0, .tracked = true},
    {.bytes = 8 * PAGE, .address = 0x20000, .birth = 0, .death = 3, .carry_in = NF_CARRY_NONE, .carry_out = NF_CARRY_NONE, .tracked = true},
    {.bytes = 2 * PAGE - 100, .address = 0x40000, .birth = 1, .death = 1, .carry_in = NF_CARRY_NONE, .carry_out = NF_CARRY_NONE, .tracked = true},
    {.bytes = 2 * PAGE, .address = 0x40000, .birth = 2, .death = 2, .carry_in = NF_CARRY_NONE, .carry_out = NF_CARRY_NONE, .tracked = true},
    {.bytes = 100, .address = 0x60000, .birth = 2, .death = 2, .carry_in = NF_CARRY_NONE, .carry_out = NF_CARRY_NONE, .tracked = true},
};
static struct nf_tensor first[] = {
    {.bytes = 4 * PAGE, .address = 0x10000, .birth = 0, .death = NF_OP_AFTER, .carry_in = NF_CARRY_NONE, .carry_out = 0, .tracked = true},
};
static struct nf_step_class classes[] = {
    {.ops = ops, .visits = visits, .tensors = first, .n_ops = OPS, .n_visits = 1, .n_tensors = 1, .n_steps = 1},
    {.ops = ops, .visits = visits, .tensors = later, .n_ops = OPS, .n_visits = OPS, .n_tensors = 5, .n_steps = 2},
};
static uint32_t sequence[] = {0, 1, 1};
static char *names[] = {(char[]){""}};
static const struct nf_stream stream = {.classes = classes, .n_classes = 2, .sequence = sequence, .n_sequence = 3, .n_carry = 1,
                                        .names = names, .n_names = 1, .threads = 1};
static const struct nf_live_tiers tiers = {.n = 2, .node = {-1, -1}, .evidence = NF_EVIDENCE_ASSUMED, .read_bps = {2e10, 1e10},
                                           .latency_ns = {100, 200}};

static int make(struct nf_live_plan *plan, const char *policy, double share)
{
    const struct nf_policy_ops *found = nf_policy_find(policy);
    struct nf_live_plan_wish wish = {.stream = &stream, .tiers = &tiers, .policy = found, .options = "", .near_share = share,
                                     .llc_bytes = 1, .seed = 1};

    assert_non_null(found);
    for (uint32_t i = 0; i < OPS; i++) {
        ops[i] = (struct nf_op){.first_visit = i, .n_visits = 1, .dur_ns = 1000, .regime = 1};
        visits[i] = (struct nf_visit){.op = i, .tensor = (uint32_t[]){0, 2, 3, 1}[i], .bytes = PAGE, .run = PAGE, .stride = PAGE,
                                      .touches_q8 = 256, .rw = NF_RW_READ};
    }
    return nf_live_plan_init(plan, &wish);
}

static const struct nf_plan_file *file_of(const struct nf_live_plan *p)
{
    return (const void *)p->data;
}

/* Tiers of the pages of entry i of a group, as text: "nnff". */
static const char *tiers_of(const struct nf_live_plan *p, uint32_t group, uint32_t i)
{
    const struct nf_plan_group *g = (const void *)(p->data + file_of(p)->groups_at);
    const struct nf_plan_entry *e = (const void *)(p->data + file_of(p)->entries_at);
    static char text[64];

    assert_true(i < g[group].n);
    e += g[group].first + i;
    for (uint32_t k = 0; k < e->pages; k++)
        text[k] = "nf"[(uint8_t)p->data[file_of(p)->page_tiers_at + e->pages_at + k]];
    text[e->pages] = '\0';
    return text;
}

static void holds_what_the_policy_decides(void **state)
{
    struct nf_live_plan p;

    assert_int_equal(make(&p, "first-touch", 0.5), 0);
    assert_int_equal(p.peak_bytes, 15 * PAGE); /* of the tiny one, too */
    assert_int_equal(p.near_bytes, 7 * PAGE);
    assert_int_equal(file_of(&p)->n_groups, 3);
    assert_int_equal(file_of(&p)->before, 2);
    assert_int_equal(file_of(&p)->steady, 1);
    /* The parameter has 4 of the 7 pages near, the activation the other 3. */
    assert_string_equal(tiers_of(&p, 1, 0), "nnnfffff");
    assert_string_equal(tiers_of(&p, 1, 1), "ff");
    assert_string_equal(tiers_of(&p, 0, 0), "nnnn"); /* what the first step hands on */
    assert_string_equal(tiers_of(&p, 2, 0), "nnnn");
    nf_live_plan_deinit(&p);

    assert_int_equal(make(&p, "near-first", 0.5), 0);
    assert_string_equal(tiers_of(&p, 1, 0), "ffffffff"); /* whole storages */
    assert_string_equal(tiers_of(&p, 1, 1), "nn");
    nf_live_plan_deinit(&p);
    assert_int_equal(make(&p, "all-far", 0.5), 0);
    assert_string_equal(tiers_of(&p, 1, 0), "ffffffff");
    nf_live_plan_deinit(&p);
    assert_int_equal(make(&p, "all-near", 1), 0);
    assert_string_equal(tiers_of(&p, 1, 1), "nn");
    nf_live_plan_deinit(&p);
}

static void refuses_what_cannot_be_told(void **state)
{
    struct nf_live_plan p;

    assert_int_equal(make(&p, "lru-drop", 0.5), 0);
    nf_live_plan_deinit(&p);
    assert_int_equal(make(&p, "hemem", 0.5), -EINVAL);
    assert_non_null(strstr(nf_error_text(0), "hemem does depends on"));
    nf_live_plan_deinit(&p);
    assert_int_equal(make(&p, "recompute", 0.5), -EINVAL);
    assert_non_null(strstr(nf_error_text(0), "operators again"));
    nf_live_plan_deinit(&p);
    assert_int_equal(make(&p, "near-first", 0), -EINVAL);
    nf_live_plan_deinit(&p);
    assert_int_equal(make(&p, "near-first", 1.5), -EINVAL);
    nf_live_plan_deinit(&p);
    assert_int_equal(make(&p, "all-near", 0.2), -ENOSPC);
    nf_live_plan_deinit(&p);
}

/* What a child answers comes over as it is, and nothing comes over that a plan cannot be. */
static void takes_no_nonsense(void **state)
{
    const struct nf_step_class *c = &classes[1];
    uint64_t pages_at[] = {0, 4, 12, 14, UINT64_MAX};
    uint8_t page_tiers[16] = {0};
    struct nf_plan_op o[OPS + 1] = {{.n_moves = 1}, {.first_move = 1}, {.first_move = 1}, {.first_move = 1, .n_moves = 1}, {.first_move = 2}};
    struct nf_plan_move m[] = {{.storage = 1, .to_tier = 1, .n_pages = 8}, {.storage = 0, .first_page = 3, .n_pages = 1}};
    const struct nf_live_play good = {.pages_at = pages_at, .page_tiers = {page_tiers, 16, 16}, .ops = o, .moves = {m, 2, 2}};
    const struct {
        void *at;
        uint64_t size, value;
    } bad[] = {
        {&pages_at[1], 8, 9}, {&pages_at[0], 8, 17}, {&pages_at[0], 8, UINT64_MAX - 1}, {&page_tiers[15], 1, 2}, {&o[0].first_move, 4, 1},
        {&o[1].first_move, 4, 0}, {&o[4].n_moves, 4, 1}, {&o[3].n_moves, 4, 0}, {&o[2].n_moves, 4, UINT32_MAX}, {&m[0].storage, 4, 5},
        {&m[0].to_tier, 4, 2}, {&m[0].n_pages, 4, 9}, {&m[0].n_pages, 4, 0}, {&m[1].first_page, 4, 4}, {&m[1].first_page, 4, UINT32_MAX},
    };
    struct nf_buf answer = {0}, again = {0};
    struct nf_live_play p;

    nf_live_play_add(&good, c, &answer);
    assert_int_equal(nf_live_play_take(&p, c, 2, &answer), 0);
    nf_live_play_add(&p, c, &again);
    assert_int_equal(again.n, answer.n);
    assert_memory_equal(again.data, answer.data, answer.n);
    nf_live_play_deinit(&p);
    nf_buf_deinit(&again);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t before = 0;

        memcpy(&before, bad[i].at, bad[i].size);
        memcpy(bad[i].at, &bad[i].value, bad[i].size);
        nf_buf_clear(&again);
        nf_live_play_add(&good, c, &again);
        if (nf_live_play_take(&p, c, 2, &again) != -EPROTO)
            fail_msg("case %zu is taken for a plan", i);
        nf_live_play_deinit(&p);
        memcpy(bad[i].at, &before, bad[i].size);
    }
    for (size_t n = 0; n < answer.n; n++) { /* cut off; and where each byte is another one, it is a plan or none */
        nf_buf_clear(&again);
        nf_buf_add(&again, answer.data, n);
        assert_int_equal(nf_live_play_take(&p, c, 2, &again), -EPROTO);
        nf_live_play_deinit(&p);
        nf_buf_add(&again, answer.data + n, answer.n - n);
        again.data[n] ^= (char)0x81;
        nf_live_play_take(&p, c, 2, &again);
        nf_live_play_deinit(&p);
    }
    nf_buf_add(&answer, "", 1);
    assert_int_equal(nf_live_play_take(&p, c, 2, &answer), -EPROTO);
    nf_live_play_deinit(&p);
    nf_buf_deinit(&answer);
    nf_buf_deinit(&again);
}

/* --- the placer --- */

static const char *folder; /* with preload/libnearfar-placer.so */

struct placed {
    struct nf_live_plan plan;
    struct nf_live_placing placing;
    const struct nf_job_placer *job;
};

static void load(struct placed *p, const char *policy, double share)
{
    assert_int_equal(make(&p->plan, policy, share), 0);
    if (nf_live_placing_init(&p->placing, &p->plan, folder))
        fail_msg("%s", nf_error_text(0));
    p->job = bed_load(&p->placing.preloaded);
    assert_non_null(p->job);
}

static struct nf_live_placed unload(struct placed *p)
{
    struct nf_live_placed counts;
    char path[sizeof p->placing.preloaded.path];

    memcpy(path, p->placing.preloaded.path, sizeof path);
    nf_live_placing_read(&p->placing, &counts);
    nf_live_placing_deinit(&p->placing);
    if (!access(path, F_OK)) {
        fprintf(stderr, "%s is left behind\n", path);
        _exit(1);
    }
    nf_live_plan_deinit(&p->plan);
    return counts; /* the library stays: what it registered for forks would point nowhere */
}

static void op(struct placed *p);

static void follow(void)
{
    struct placed p;
    struct nf_live_placed c;
    char *parameter, *activation, *temporary, *other, *again, *stray;

    load(&p, "first-touch", 0.5);
    stray = p.job->allocate(64, 4 * PAGE); /* of the parameter's size, but gone before training: its place is given back */
    MUST(stray && p.job->owns(stray) && p.job->usable(stray) == 4 * PAGE);
    p.job->release(stray);
    parameter = p.job->allocate(64, 4 * PAGE);
    MUST(!p.job->allocate(64, 100) && !p.job->allocate(2 << 20, 4 * PAGE)); /* the heap's */
    p.job->training();
    p.job->step();
    for (int i = 0; i < 3; i++) {
        activation = p.job->allocate(64, 8 * PAGE);
        stray = p.job->allocate(64, 3 * PAGE); /* not of the plan: shifts nothing */
        temporary = p.job->allocate(64, 2 * PAGE - 100);
        again = temporary;
        p.job->release(temporary);
        other = p.job->allocate(64, 2 * PAGE);
        MUST(other == again); /* as it was captured: one address, one place */
        memset(parameter, 1, 4 * PAGE);
        memset(activation, 2, 8 * PAGE);
        memset(stray, 3, 3 * PAGE);
        memset(other, 4, 2 * PAGE);
        MUST(parameter[4 * PAGE - 1] == 1 && activation[0] == 2 && stray[0] == 3);
        p.job->release(activation);
        p.job->release(stray);
        p.job->release(other);
        p.job->step();
    }
    c = unload(&p);
    MUST(c.jobs == 1 && c.placed == 9 && c.unplaced == 3 && c.unplaced_bytes == 9 * PAGE && !c.refused && !c.unbound_bytes);
    MUST(c.near_peak_bytes == 7 * PAGE && !c.spilled_bytes);
}

static void fork_one(void)
{
    struct placed p;
    struct nf_live_placed c;
    char *parameter;
    pid_t pid;

    load(&p, "near-first", 0.5);
    parameter = p.job->allocate(64, 4 * PAGE);
    memset(parameter, 7, 4 * PAGE);
    pid = fork();
    if (!pid) {
        MUST(!p.job->allocate(64, 8 * PAGE) && p.job->owns(parameter) && parameter[100] == 7);
        parameter[100] = 8;
        p.job->release(parameter);
        p.job->training(); /* not the parent's */
        _exit(0);
    }
    MUST(bed_ended_well(pid));
    MUST(parameter[100] == 7 && p.job->usable(parameter) == 4 * PAGE);
    c = unload(&p);
    MUST(c.jobs == 0);
}

/* Every byte of a plan may be wrong: then there is none. */
static void spoil(void)
{
    for (size_t at = 0; at < sizeof(struct nf_plan_file); at += 4) {
        struct placed p;
        pid_t pid = fork();

        if (!pid) {
            MUST(!make(&p.plan, "lru", 0.5));
            memset(p.plan.data + at, 0xff, 4);
            MUST(!nf_live_placing_init(&p.placing, &p.plan, folder));
            p.job = bed_load(&p.placing.preloaded);
            for (int i = 0; i < 3; i++) {
                void *block = p.job->allocate(64, 8 * PAGE);

                if (block)
                    memset(block, 1, 8 * PAGE);
                p.job->training();
                op(&p);
                p.job->step();
            }
            unload(&p);
            _exit(0);
        }
        if (!bed_ended_well(pid)) {
            fprintf(stderr, "byte %zu of the header\n", at);
            _exit(1);
        }
    }
}

static void follows_the_plan(void **state)
{
    bed_apart(follow);
}

static void leaves_children_their_copy(void **state)
{
    bed_apart(fork_one);
}

static void survives_a_broken_plan(void **state)
{
    bed_apart(spoil);
}

/* --- moves --- */

/* lru has room for 5 pages: the parameter (4) is fetched at op 0 and leaves when the activation (8, too large) or the
 * temporaries (2, ops 1 and 2) want its place. The text: per op, storage > tier. */
static char *moves_of(const struct nf_live_plan *p, char *text, size_t size)
{
    const struct nf_plan_file *f = file_of(p);
    const struct nf_plan_op *o = (const void *)(p->data + f->ops_at);
    const struct nf_plan_move *m = (const void *)(p->data + f->moves_at);
    size_t at = 0;

    *text = '\0';
    for (uint32_t i = 0; i <= f->n_ops; i++) {
        for (uint32_t k = o[i].first_move; k < o[i].first_move + o[i].n_moves; k++)
            at += (size_t)snprintf(text + at, size - at, "%u:%u>%u(%u+%u) ", i, m[k].storage, m[k].to_tier, m[k].first_page, m[k].n_pages);
    }
    return text;
}

struct asked {
    char text[256];
    uint32_t absent; /* this storage is not there */
};

static bool ask(void *context, const struct nf_plan_move *m)
{
    struct asked *a = context;
    size_t at = strlen(a->text);

    snprintf(a->text + at, sizeof a->text - at, "%u>%u ", m->storage, m->to_tier);
    return m->storage != a->absent;
}

/* A script of three ops with moves before the second and at the end, followed by a mover that only remembers. Blocks a, b and c are
 * allocated by the ops in turn; a is gone when the third begins, c when the step ends, b outlives it, as does x, that is carried in. */
struct script {
    struct nf_plan_file f;
    struct nf_plan_group group;
    struct nf_plan_entry entries[3];
    struct nf_plan_storage x;
    struct nf_plan_op ops[4];
    struct nf_plan_move moves[3];
};
static const struct script script = {
    .f = {.n_ops = 3, .n_moves = 3, .n_groups = 1, .n_entries = 3, .n_storages = 1, .groups_at = offsetof(struct script, group),
          .entries_at = offsetof(struct script, entries), .storages_at = offsetof(struct script, x), .ops_at = offsetof(struct script, ops),
          .moves_at = offsetof(struct script, moves)},
    .group = {.n = 3},
    .entries = {{.born = 0, .gone = 2}, {.born = 1, .gone = NF_PLAN_NONE}, {.born = 2, .gone = 3}},
    .x = {.pages = 1, .gone = NF_PLAN_NONE},
    .ops = {{.name = 11}, {.name = 12, .n_moves = 2, .anchor = 1}, {.name = 13, .first_move = 2, .anchor = 2}, {.first_move = 2, .n_moves = 1, .anchor = 3}},
    .moves = {{.storage = 4, .to_tier = 1}, {.storage = 2, .to_tier = 0}, {.storage = 4, .to_tier = 0}},
};

/* A step by its blocks: a letter is one that is allocated, a capital one that is freed, ? one that the plan does not know. */
static void play_blocks(struct nf_follower *f, const struct script *s, const char *events)
{
    nf_follower_enter(f, true);
    for (; *events; events++) {
        if (*events >= 'A' && *events <= 'X') {
            nf_follower_gone(f, *events == 'X' ? s->x.gone : s->entries[*events - 'A'].gone);
        } else {
            nf_follower_born(f, *events == '?' ? NF_PLAN_NONE : (uint32_t)(*events - 'a'));
            nf_follower_placed(f);
        }
    }
    nf_follower_leave(f);
}

static void play_ops(struct nf_follower *f, const char *names_of_ops)
{
    nf_follower_enter(f, true);
    for (; *names_of_ops; names_of_ops++)
        nf_follower_op(f, (uint64_t)(10 + *names_of_ops - '0'));
    nf_follower_leave(f);
}

static void follows_a_script(void **state)
{
    struct asked a = {.absent = UINT32_MAX};
    struct script s = script;
    struct nf_follower f;

    nf_follower_init(&f, &s.f, ask, &a);
    nf_follower_enter(&f, false); /* another kind of step: nothing is known of it */
    nf_follower_op(&f, 99);
    nf_follower_leave(&f);
    assert_string_equal(a.text, "");
    nf_follower_enter(&f, true);
    nf_follower_op(&f, 11);
    assert_string_equal(a.text, "");
    nf_follower_op(&f, 12);
    assert_string_equal(a.text, "4>1 2>0 ");
    nf_follower_op(&f, 13);
    assert_string_equal(a.text, "4>1 2>0 ");
    nf_follower_leave(&f);
    assert_string_equal(a.text, "4>1 2>0 4>0 ");
    play_ops(&f, "123");
    assert_string_equal(a.text, "4>1 2>0 4>0 4>1 2>0 4>0 ");
    assert_int_equal(s.f.asked_moves, 6);
    assert_int_equal(s.f.due_moves, 6);
    assert_int_equal(s.f.absent_moves, 0);
    assert_int_equal(s.f.followed_steps, 2);
    assert_int_equal(s.f.deviation, NF_PLAN_FOLLOWS);
}

static void follows_blocks(void **state)
{
    struct asked a = {.absent = UINT32_MAX};
    struct script s = script;
    struct nf_follower f;

    nf_follower_init(&f, &s.f, ask, &a);
    nf_follower_enter(&f, false);
    nf_follower_born(&f, 1);
    nf_follower_gone(&f, 3);
    nf_follower_leave(&f);
    assert_string_equal(a.text, "");
    nf_follower_enter(&f, true);
    nf_follower_born(&f, 0);
    nf_follower_placed(&f);
    assert_string_equal(a.text, "");
    nf_follower_born(&f, 1); /* before it has a place: room is made for it */
    assert_string_equal(a.text, "4>1 2>0 ");
    nf_follower_placed(&f);
    nf_follower_gone(&f, 2);
    nf_follower_born(&f, 2);
    nf_follower_gone(&f, 3);
    assert_string_equal(a.text, "4>1 2>0 ");
    nf_follower_leave(&f);
    assert_string_equal(a.text, "4>1 2>0 4>0 ");
    assert_int_equal(s.f.due_moves, 3);
    assert_int_equal(s.f.followed_steps, 1);
    play_blocks(&f, &s, "abcAC"); /* the same but for an order that nobody can know within an op */
    assert_int_equal(s.f.followed_steps, 2);
    assert_int_equal(s.f.deviation, NF_PLAN_FOLLOWS);

    /* An op without an event: its moves are made when the last block before it has its place, as they may be that block's own. */
    s = script;
    a = (struct asked){.absent = UINT32_MAX};
    s.ops[1].anchor = 0;
    s.entries[1].born = 2;
    nf_follower_init(&f, &s.f, ask, &a);
    nf_follower_enter(&f, true);
    nf_follower_born(&f, 0);
    assert_string_equal(a.text, "");
    nf_follower_placed(&f);
    assert_string_equal(a.text, "4>1 2>0 ");

    /* What is freed before the first block may be all that a job has when it ends. */
    s = script;
    s.x.gone = 2;
    nf_follower_init(&f, &s.f, ask, &a);
    nf_follower_enter(&f, true);
    for (int i = 0; i < 10; i++)
        nf_follower_gone(&f, NF_PLAN_NONE);
    assert_int_equal(s.f.deviation, NF_PLAN_FOLLOWS);
    assert_int_equal(s.f.due_moves, 0);
}

static void notices_other_blocks(void **state)
{
    static const struct {
        const char *came, *asked;
        uint32_t op;
        uint64_t count;
    } cases[] = {
        {"ab?AcC", "4>1 2>0 ", 1, 1},  /* one too many */
        {"acAC", "", 0, 1},            /* one passed over */
        {"abA", "4>1 2>0 ", 2, 2},     /* the end comes too soon */
        {"abAc", "4>1 2>0 ", 2, 1},    /* one stays */
        {"", "", 0, 5},
        {"aCbAc", "", 0, 1},           /* one goes before another comes */
        {"aXbAcC", "", 0, 1},          /* one goes that was to stay */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct asked a = {.absent = UINT32_MAX};
        struct script s = script;
        struct nf_follower f;

        nf_follower_init(&f, &s.f, ask, &a);
        play_blocks(&f, &s, cases[i].came);
        assert_string_equal(a.text, cases[i].asked);
        assert_int_equal(s.f.deviation, NF_PLAN_OTHER_BLOCKS);
        assert_int_equal(s.f.deviation_op, cases[i].op);
        assert_int_equal(s.f.deviation_count, cases[i].count);
        play_blocks(&f, &s, "abAcC");
        assert_string_equal(a.text, cases[i].asked);
        assert_int_equal(s.f.followed_steps, 0);
    }
}

/* The last op has no event when the scratch before it is gone within its own op. */
static void knows_how_early_events_are(void **state)
{
    struct nf_tensor tensors[5];
    struct nf_step_class c = classes[1];
    struct nf_plan_op o[OPS + 1] = {{0}};
    struct nf_live_early early;
    struct nf_live_plan p;

    assert_int_equal(make(&p, "lru", 0.35), 0); /* sets the ops */
    assert_int_equal(p.early.moves, 0);
    assert_int_equal(p.early.ops_max, 0);
    nf_live_plan_deinit(&p);
    memcpy(tensors, later, sizeof tensors);
    c.tensors = tensors;
    o[3].n_moves = 3;
    o[4].first_move = 3;
    o[4].n_moves = 1;
    assert_int_equal(nf_live_anchor(&c, o, &early), 0);
    assert_int_equal(early.moves, 0);
    for (uint32_t i = 0; i <= OPS; i++)
        assert_int_equal(o[i].anchor, i);
    tensors[3].tracked = false;
    assert_int_equal(nf_live_anchor(&c, o, &early), 0);
    assert_int_equal(o[3].anchor, 2);
    assert_int_equal(o[4].anchor, 4);
    assert_int_equal(early.moves, 3);
    assert_int_equal(early.ops_max, 1);
    assert_true(early.ops_median == 1 && early.ns_median == 1000 && early.ns_max == 1000);
    tensors[1].bytes = tensors[2].bytes = tensors[3].bytes = 100; /* below a page none is seen */
    assert_int_equal(nf_live_anchor(&c, o, &early), 0);
    assert_int_equal(o[3].anchor, 0);
    assert_true(early.ops_max == 3 && early.ns_max == 3000);
}

static void notices_another_job(void **state)
{
    static const struct {
        const char *began, *asked;
        enum nf_plan_deviation how;
        uint32_t op;
        uint64_t name, count;
    } cases[] = {
        {"113", "", NF_PLAN_OTHER_OP, 1, 11, 2},
        {"12", "4>1 2>0 ", NF_PLAN_FEWER_OPS, 2, 0, 2},
        {"", "", NF_PLAN_FEWER_OPS, 0, 0, 0},
        {"1231", "4>1 2>0 ", NF_PLAN_MORE_OPS, 3, 11, 4},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct asked a = {.absent = UINT32_MAX};
        struct script s = script;
        struct nf_follower f;

        nf_follower_init(&f, &s.f, ask, &a);
        nf_follower_op(&f, 99); /* in its first step it has said that it says them */
        play_ops(&f, cases[i].began);
        assert_int_equal(s.f.deviation, cases[i].how);
        assert_int_equal(s.f.deviation_op, cases[i].op);
        assert_int_equal(s.f.deviation_name, cases[i].name);
        assert_int_equal(s.f.deviation_count, cases[i].count);
        play_ops(&f, "123"); /* it goes on as planned, but where its storages are nobody knows any more */
        assert_string_equal(a.text, cases[i].asked);
        assert_int_equal(s.f.followed_steps, 0);
    }
    {
        struct asked a = {.absent = 2};
        struct script s = script;
        struct nf_follower f;

        nf_follower_init(&f, &s.f, ask, &a);
        nf_follower_op(&f, 99);
        play_ops(&f, "123");
        play_ops(&f, "123");
        assert_int_equal(s.f.deviation, NF_PLAN_OTHER_SIZES);
        assert_int_equal(s.f.deviation_count, 1);
        assert_int_equal(s.f.asked_moves, 2);
        assert_int_equal(s.f.absent_moves, 1);
        assert_string_equal(a.text, "4>1 2>0 4>0 ");
    }
}

static void holds_what_moves(void **state)
{
    struct nf_live_plan p;
    char text[256];

    assert_int_equal(make(&p, "lru", 0.35), 0);
    assert_int_equal(p.n_ops, OPS);
    assert_string_equal(moves_of(&p, text, sizeof text), "0:0>0(0+4) 1:0>1(0+4) ");
    nf_live_plan_deinit(&p);
    assert_int_equal(make(&p, "near-first", 0.5), 0);
    assert_int_equal(p.n_ops, 0);
    nf_live_plan_deinit(&p);
}

static void op(struct placed *p)
{
    p->job->boundary(nf_job_name_hash("")); /* the name that all ops of the step have */
}

/* The moves of the plan reach the blocks, whatever happened before the planned step. */
static void move_blocks(void)
{
    struct placed p;
    struct nf_live_placed c;
    char *parameter, *activation, *temporary, *other;
    uint32_t planned;

    load(&p, "lru", 0.35);
    parameter = p.job->allocate(64, 4 * PAGE);
    p.job->training();
    op(&p);
    p.job->step();
    for (int i = 0; i < 3; i++) {
        op(&p);
        activation = p.job->allocate(64, 8 * PAGE);
        op(&p);
        temporary = p.job->allocate(64, 2 * PAGE - 100);
        p.job->release(temporary);
        op(&p);
        other = p.job->allocate(64, 2 * PAGE);
        p.job->release(other);
        op(&p);
        if (i == 2)
            op(&p); /* one too many */
        p.job->release(activation);
        p.job->step();
    }
    MUST(parameter);
    planned = p.plan.n_moves;
    c = unload(&p);
    MUST(planned && c.due_moves > 2 * planned);
    MUST(c.asked_moves == c.due_moves && !c.absent_moves && c.followed_steps == 2);
    MUST(c.deviation == NF_PLAN_MORE_OPS && c.deviation_step == 3 && c.deviation_op == OPS);
    MUST(c.near_peak_bytes == 4 * PAGE && c.placed == 9 && !c.unplaced);
}

/* The same of a job that says no ops: each move is made at the event that stands for its op. */
static void move_by_blocks(void)
{
    struct placed p;
    struct nf_live_placed c;
    char *parameter, *activation, *temporary, *other;

    load(&p, "lru", 0.35); /* moves 1 storage at op 0 and 1 at op 1 (holds_what_moves) */
    parameter = p.job->allocate(64, 4 * PAGE);
    p.job->training();
    p.job->step();
    for (int i = 0; i < 3; i++) {
        struct nf_plan_file *f = p.placing.preloaded.file;
        uint64_t before = f->asked_moves;

        activation = p.job->allocate(64, 8 * PAGE);
        MUST(before == 2 * (uint64_t)i + 1 && f->asked_moves == before); /* the first op's was made when the step before ended */
        temporary = p.job->allocate(64, 2 * PAGE - 100);
        MUST(f->asked_moves == before + 1);
        p.job->release(temporary);
        other = p.job->allocate(64, 2 * PAGE);
        p.job->release(other);
        if (i == 2)
            p.job->release(p.job->allocate(64, 3 * PAGE)); /* one too many */
        p.job->release(activation);
        p.job->step();
    }
    MUST(parameter);
    c = unload(&p);
    MUST(c.asked_moves == c.due_moves && !c.absent_moves && c.followed_steps == 2);
    MUST(c.deviation == NF_PLAN_OTHER_BLOCKS && c.deviation_step == 3 && c.deviation_count == 1);
    MUST(c.near_peak_bytes == 4 * PAGE && c.placed == 9 && c.unplaced == 1);
}

static void moves_blocks(void **state)
{
    bed_apart(move_blocks);
    bed_apart(move_by_blocks);
}

static void needs_its_library(void **state)
{
    struct nf_live_placing placing;
    struct nf_live_plan plan;

    assert_int_equal(make(&plan, "near-first", 0.5), 0);
    assert_int_equal(nf_live_placing_init(&placing, &plan, "/nowhere"), -ENOENT);
    nf_live_placing_deinit(&placing);
    nf_live_plan_deinit(&plan);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_the_policy_decides), cmocka_unit_test(refuses_what_cannot_be_told), cmocka_unit_test(takes_no_nonsense),
        cmocka_unit_test(needs_its_library),             cmocka_unit_test(follows_the_plan),
        cmocka_unit_test(leaves_children_their_copy),    cmocka_unit_test(survives_a_broken_plan),
        cmocka_unit_test(follows_a_script),           cmocka_unit_test(notices_another_job),
        cmocka_unit_test(follows_blocks),             cmocka_unit_test(notices_other_blocks),
        cmocka_unit_test(knows_how_early_events_are),
        cmocka_unit_test(holds_what_moves),           cmocka_unit_test(moves_blocks),
    };

    if (argc != 2)
        return 2;
    folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
