/* The replay as a job that nearfar captures: it runs with the preloaded library, to which it says what the engine does as the
 * PyTorch hook says what a model does. It never reads what it is compared with. */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "capture/ring.h"
#include "cmd/again.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "replay/again.h"
#include "replay/team.h"

enum { STEPS = 3, WORDS_OP = 5, WORDS_VISIT = 6, VISITS_MAX = UINT16_MAX };
/* A full ring is read by a tool that has lost its core for a while. */
enum { TRIES = 5000 };
static const struct timespec PAUSE = {.tv_nsec = 1000000};

struct job {
    const struct nf_stream *stream;
    uint8_t *told;   /* by text number: the text is there */
    uint32_t n_tensors;
    bool claimed;
    int failed;      /* first error; storage() and gone() cannot return it */
    uint64_t op_began_ns;
    NF_ARRAY(uint64_t) words;
    /* capture/preload/hook.h */
    int (*track)(void);
    int (*claim)(void);
    int (*emit)(const void *events, uint32_t n);
    int (*op)(const uint64_t *words, uint32_t n);
    void (*op_begins)(void);
    void (*foreign)(uint64_t address);
    int (*text)(uint32_t id, const char *text, uint32_t length);
    int (*mark)(uint32_t mark, uint32_t name, uint32_t module, uint64_t a);
    int (*step)(void);
    void (*close)(void);
};

/* Texts: 1 and 2 name the ops and the runtime, then come tensors and slots. */
enum { TEXT_OP = 1, TEXT_REPLAY = 2, TEXT_TENSORS = 3 };

void nf_again_name(const struct nf_tensor *t, uint32_t number, char text[32])
{
    if (t->carry_out != NF_CARRY_NONE)
        snprintf(text, 32, "slot %d", t->carry_out);
    else if (t->carry_in != NF_CARRY_NONE)
        snprintf(text, 32, "slot %d", t->carry_in);
    else
        snprintf(text, 32, "tensor %u", number);
}

static int find_hooks(struct job *j)
{
    const struct {
        const char *name;
        void **at;
    } hooks[] = {{"nf_hook_track", (void **)&j->track}, {"nf_hook_claim", (void **)&j->claim}, {"nf_hook_emit", (void **)&j->emit},
                 {"nf_hook_op", (void **)&j->op}, {"nf_hook_op_begins", (void **)&j->op_begins},
                 {"nf_hook_foreign", (void **)&j->foreign}, {"nf_hook_text", (void **)&j->text},
                 {"nf_hook_mark", (void **)&j->mark}, {"nf_hook_step", (void **)&j->step}, {"nf_hook_close", (void **)&j->close}};

    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
        *hooks[i].at = dlsym(RTLD_DEFAULT, hooks[i].name);
        if (!*hooks[i].at)
            return nf_fail(-ENOENT, "this command is the job of 'nearfar replay --again', which captures it: there is no %s here",
                           hooks[i].name);
    }
    return 0;
}

static int lost(void)
{
    return nf_fail(-EIO, "nobody reads what the replay says");
}

static int emit(struct job *j, const struct nf_event *e)
{
    for (int i = 0; i < TRIES; i++) {
        if (!j->emit(e, 1))
            return 0;
        nanosleep(&PAUSE, NULL);
    }
    return lost();
}

static int say(struct job *j, uint32_t id, const char *text)
{
    if (j->told[id])
        return 0;
    for (int i = 0; i < TRIES; i++) {
        if (!j->text(id, text, (uint32_t)strlen(text))) {
            j->told[id] = 1;
            return 0;
        }
        nanosleep(&PAUSE, NULL);
    }
    return lost();
}

/* The arena's memory is taken before allocations are followed: it is no storage, but holds them. */
static int map(void *context, size_t bytes, void **memory)
{
    int error = posix_memalign(memory, NF_PAGE_BYTES, bytes);

    return error ? nf_fail(-error, "no memory for the %zu bytes that the replay wants", bytes) : 0;
}

static void unmap(void *context, void *memory, size_t bytes)
{
    free(memory);
}

static int claim(struct job *j)
{
    int rc = j->claimed ? 0 : j->track() || j->claim() ? nf_fail(-EIO, "the replay is not captured by anybody") : 0;

    j->claimed = true;
    if (!rc)
        rc = say(j, TEXT_OP, "replayed op");
    return rc ? rc : say(j, TEXT_REPLAY, "replay");
}

static int announce(struct job *j, const struct nf_tensor *t, uint32_t number, char *memory, bool carried)
{
    uint32_t slot = (uint32_t)(t->carry_out != NF_CARRY_NONE ? t->carry_out : t->carry_in);
    bool in_slot = t->carry_out != NF_CARRY_NONE || t->carry_in != NF_CARRY_NONE;
    uint32_t id = TEXT_TENSORS + (in_slot ? j->n_tensors + slot : number);
    struct nf_event e = {.kind = NF_EVENT_ALLOC, .address = (uint64_t)(uintptr_t)memory, .a = t->bytes};
    char text[32];
    int rc = claim(j);

    nf_again_name(t, number, text);
    if (!rc)
        rc = say(j, id, text);
    if (!rc && !carried)
        rc = emit(j, &e);
    e = (struct nf_event){.kind = NF_EVENT_TENSOR, .address = e.address, .a = t->bytes, .name = id, .b = NF_ROLE_INPUT};
    return rc ? rc : emit(j, &e);
}

static void storage(void *context, const struct nf_tensor *t, uint32_t number, char *memory, bool carried)
{
    struct job *j = context;
    int rc = j->failed ? 0 : announce(j, t, number, memory, carried);

    j->failed = j->failed ? j->failed : rc;
}

static void gone(void *context, char *memory)
{
    struct job *j = context;
    struct nf_event e = {.kind = NF_EVENT_FREE, .address = (uint64_t)(uintptr_t)memory};

    if (!j->failed && j->claimed)
        j->failed = emit(j, &e);
}

static int measuring(void *context)
{
    struct job *j = context;
    struct nf_event e = {.kind = NF_EVENT_MARK, .id = NF_MARK_RUNTIME, .name = TEXT_REPLAY, .module = TEXT_REPLAY,
                         .a = j->stream->threads, .b = 1};
    int rc = j->failed ? j->failed : claim(j);

    if (!rc)
        rc = emit(j, &e);
    return rc ? rc : j->mark(NF_MARK_TRAINING_BEGINS, 0, 0, 0) ? lost() : 0;
}

static void op_begins(void *context)
{
    struct job *j = context;

    j->op_begins();
    j->op_began_ns = nf_now_ns();
}

/* The op's words, as capture/preload/hook.h has them. */
static int put_words(struct job *j, const struct nf_observed_visits *visits)
{
    uint64_t n = visits->a.n;
    uint64_t op[WORDS_OP] = {TEXT_OP, NF_PHASE_FORWARD, j->op_began_ns, nf_now_ns() - j->op_began_ns, n};
    int rc = n > VISITS_MAX ? nf_fail(-E2BIG, "an op touches %llu extents, more than an event can hold", (unsigned long long)n) : 0;

    j->words.n = 0;
    for (int i = 0; i < WORDS_OP && !rc; i++)
        rc = nf_array_push(&j->words, op[i]);
    for (size_t i = 0; i < n && !rc; i++) {
        const struct nf_observed_visit *v = &visits->a.v[i];
        uint64_t storage = (uint64_t)(uintptr_t)v->memory;
        uint64_t visit[WORDS_VISIT] = {storage + v->offset, v->bytes, v->run, v->stride, v->rw | (uint64_t)v->pattern << 8, storage};

        for (int k = 0; k < WORDS_VISIT && !rc; k++)
            rc = nf_array_push(&j->words, visit[k]);
    }
    return rc == -ENOMEM ? nf_fail(rc, "out of memory for an op") : rc;
}

static int op_ends(void *context, uint32_t op, const struct nf_observed_visits *visits)
{
    struct job *j = context;
    int rc = j->failed ? j->failed : put_words(j, visits);

    for (int i = 0; !rc && i < TRIES; i++) {
        int said = j->op(j->words.v, (uint32_t)j->words.n);

        if (!said)
            return 0;
        /* The storages were announced by events of our own, which the library does not look at. */
        for (size_t k = WORDS_OP; said == 1 && k < j->words.n; k += WORDS_VISIT)
            j->foreign(j->words.v[k + 5]);
        if (said < 0)
            nanosleep(&PAUSE, NULL);
    }
    return rc ? rc : lost();
}

static int step_ends(void *context)
{
    struct job *j = context;

    if (j->failed)
        return j->failed;
    return j->claimed && j->step() ? lost() : 0;
}

/* --- the command --- */

struct arguments {
    const char *policy, *moves;
    uint64_t capture, threads, cpu, seed;
    double scale, near_share;
};

static const struct nf_option options[] = {
    {"capture", 0, NF_OPTION_U64, offsetof(struct arguments, capture), "ID", "which capture"},
    {"scale", 0, NF_OPTION_F64, offsetof(struct arguments, scale), "X", "of every storage"},
    {"threads", 0, NF_OPTION_U64, offsetof(struct arguments, threads), "N", "that share each operator"},
    {"cpu", 0, NF_OPTION_U64, offsetof(struct arguments, cpu), "N", "the CPU that replays"},
    {"seed", 0, NF_OPTION_U64, offsetof(struct arguments, seed), "N", "of the order of rows"},
    {"policy", 0, NF_OPTION_STRING, offsetof(struct arguments, policy), "NAME", "that places and moves (default everything near)"},
    {"near", 0, NF_OPTION_F64, offsetof(struct arguments, near_share), "X", "near's share of peak live"},
    {"moves", 0, NF_OPTION_STRING, offsetof(struct arguments, moves), "FILE", "that the number of moves is written to"},
    {0},
};

/* For the tests: a replay that errs, by leaving so many bytes of each long visit out, has to be found out. */
#define ERR_ENV "NEARFAR_AGAIN_DROP"
enum { LONG_BYTES = 8192 };

static void err(struct nf_step_class *c)
{
    const char *text = getenv(ERR_ENV);
    uint64_t drop = text ? strtoull(text, NULL, 10) : 0;

    for (uint32_t i = 0; drop && drop < LONG_BYTES && i < c->n_visits; i++) {
        struct nf_visit *v = &c->visits[i];

        if (v->bytes <= LONG_BYTES || v->run != v->bytes)
            continue;
        v->bytes -= drop;
        v->run = v->stride = v->bytes;
    }
}

static int tell_moves(const char *path, uint64_t moves)
{
    FILE *f = path ? fopen(path, "we") : NULL;
    int rc = f && fprintf(f, "%llu\n", (unsigned long long)moves) > 0 ? 0 : -EIO;

    if (f && fclose(f))
        rc = -EIO;
    return path && rc ? nf_fail(rc, "cannot write %s", path) : 0;
}

static int replay(const char *path, const struct arguments *a)
{
    struct job j = {0};
    struct nf_replay_observer observer = {
        .context = &j, .map = map, .unmap = unmap, .storage = storage, .gone = gone, .measuring = measuring,
        .op_begins = op_begins, .op_ends = op_ends, .step_ends = step_ends,
    };
    struct nf_again_options o = {.steps = STEPS, .threads = (unsigned)a->threads, .seed = a->seed,
                                 .cpu = a->cpu == UINT64_MAX ? -1 : (int)a->cpu};
    struct nf_again again = {0};
    struct nf_study *study = NULL;
    uint64_t moves;
    int rc = find_hooks(&j);

    if (!rc)
        rc = nf_study_open(path, NF_STUDY_READ, &study);
    if (!rc)
        rc = nf_again_load(&again, study, (int64_t)a->capture, a->scale);
    if (!rc && a->policy)
        rc = nf_again_take_policy(&again, a->policy, a->near_share);
    study = nf_study_close(study); /* nothing of it is held while it is replayed */
    if (!rc) {
        err(&again.stream->classes[again.steady]);
        j.stream = again.stream;
        j.n_tensors = again.stream->classes[again.steady].n_tensors;
        j.told = calloc(TEXT_TENSORS + (size_t)j.n_tensors + again.stream->n_carry + 1, 1);
        rc = j.told ? nf_again_replay(&again, &o, &observer, &moves) : nf_fail(-ENOMEM, "out of memory");
        if (!rc)
            rc = tell_moves(a->moves, moves);
    }
    if (j.claimed)
        j.close();
    nf_again_deinit(&again);
    nf_array_free(&j.words);
    free(j.told);
    return rc;
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {.cpu = UINT64_MAX, .scale = 1, .seed = 1, .near_share = 1};
    int first, n, code = NF_EXIT_OK, rc;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    if (n != 1 || a.threads > NF_TEAM_MAX)
        return nf_command_usage(self, "one study is wanted");
    rc = replay(argv[first], &a);
    return rc ? nf_command_fail(rc) : NF_EXIT_OK;
}

const struct nf_command nf_cmd_again_job = {
    .name = "again-job",
    .about = "the job of 'nearfar replay --again'",
    .usage = "again-job STUDY [OPTIONS]",
    .options = options,
    .examples = {"nearfar replay demo.nf --again page-fault", "nearfar replay demo.nf --again framework --scale 0.25"},
    .run = run,
};
