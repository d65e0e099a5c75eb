/* Policies from outside that err, each in its own way: compiled by outside.py with -DHOW=a number from below. Where nothing is wrong they
 * are first fit, and say what they are told in a file that TOLD names. With -DLATER=1 they keep the rules until they have been closed once,
 * in whatever process, and err in the middle of a step. */
#include <errno.h>
#include <fcntl.h>
#include <nearfar_policy.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GOOD, LIAR, CRASHER, LOOPER, GREEDY, QUITTER, POSITIVE, OLD, SHORT, LACKS, HIDES, BUILT_IN, SLEEPER, FORGER, SCRIBBLER };

#define MARK NAME ".mark"

static const struct nf_policy_env *env;
static uint32_t last_handle;
static uint64_t regimes, pressures, ticks, plans, ops;

static int init(const struct nf_policy_env *e, void **policy)
{
    env = e;
    *policy = &env;
    regimes = pressures = ticks = plans = ops = 0;
    return e->profiles ? e->fail(-EPERM, "what is not of the interface is shown") : 0;
}

/* Turns the figures of the trial around, where they lie ready to be handed over: what is there and is no address. */
static void scribble(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned long from, to;

    while (maps && fgets(line, sizeof line, maps)) {
        if (!strstr(line, " rw-s ") || !strstr(line, "/dev/zero") || sscanf(line, "%lx-%lx", &from, &to) != 2)
            continue;
        for (uint64_t *at = (uint64_t *)(from + 64); at < (uint64_t *)to; at++)
            if (*at && *at >> 40 != (uintptr_t)line >> 40 && *at >> 40 != (uintptr_t)maps >> 40 && *at >> 40 != (uintptr_t)scribble >> 40)
                *at = ~*at;
    }
    if (maps)
        fclose(maps);
}

static void deinit(void *policy)
{
    FILE *to = LATER ? fopen(MARK, "w") : NULL;

    if (to)
        fclose(to);
    to = getenv("TOLD") ? fopen(getenv("TOLD"), "a") : NULL;

    (void)policy;
    if (HOW == SCRIBBLER)
        scribble();
    if (!to)
        return;
    fprintf(to, "%d %d %llu %llu %llu %llu %llu\n", (int)getpid(), (int)getppid(), (unsigned long long)plans, (unsigned long long)ops,
            (unsigned long long)regimes, (unsigned long long)pressures, (unsigned long long)ticks);
    fclose(to);
}

/* Says in the place of the process that it plans in that all went well: into its pipe, which no program that is started gets. */
static void forge(void)
{
    static const char well[sizeof(int) + 768];
    struct stat s;

    for (int fd = 3; fd < 64; fd++)
        if (!fstat(fd, &s) && S_ISFIFO(s.st_mode) && fcntl(fd, F_GETFD) & FD_CLOEXEC && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY &&
            write(fd, well, sizeof well) == sizeof well)
            _exit(0);
}

static void err(void)
{
    if (HOW == CRASHER)
        *(volatile int *)16 = 1;
    while (HOW == LOOPER)
        __asm__ volatile("");
    if (HOW == SLEEPER)
        sleep(1000);
    if (HOW == QUITTER)
        exit(7);
    if (HOW == FORGER)
        forge();
}

static int plan(void *policy, nf_regime regime, uint32_t epoch)
{
    (void)policy, (void)regime, (void)epoch;
    plans++;
    if (!LATER)
        err();
    return 0;
}

static int on_alloc(void *policy, const struct nf_policy_tensor *t, struct nf_policy_moves *evictions, struct nf_placement *out)
{
    (void)policy, (void)evictions;
    last_handle = t->handle;
    for (uint32_t i = 0; i < env->n_tiers; i++)
        if (HOW == GREEDY || env->free_bytes(env->pool, i) >= t->bytes) {
            out->bytes[i] = t->bytes;
            return 0;
        }
    return env->fail(-ENOSPC, "no room");
}

static int on_op_end(void *policy, uint32_t op, struct nf_policy_moves *moves)
{
    (void)policy, (void)op;
    ops++;
    if (LATER && ops == 20 && !access(MARK, F_OK))
        err();
    if (HOW == LIAR) {
        moves->v[0] = (struct nf_policy_move){last_handle, env->n_tiers - 1, 0, 0};
        moves->n = 1;
    }
    return 0;
}

static int on_regime(void *policy, nf_regime regime, uint32_t epoch, struct nf_policy_moves *moves)
{
    (void)policy, (void)regime, (void)moves;
    regimes += epoch == 1;
    return 0;
}

static int on_pressure(void *policy, uint32_t tier, uint64_t bytes, struct nf_policy_moves *moves)
{
    (void)policy, (void)moves;
    pressures += tier == 0 && bytes > 0;
    return 0;
}

static int tick(void *policy, const struct nf_policy_counters *c, struct nf_policy_moves *moves)
{
    (void)policy, (void)moves;
    ticks += c->ops > 0;
    return HOW == POSITIVE ? 2 : 0;
}

extern const struct nf_policy_ops nf_policy_plugin;
const struct nf_policy_ops nf_policy_plugin = {
    .abi = HOW == OLD ? NF_POLICY_ABI - 1 : NF_POLICY_ABI,
    .size = HOW == SHORT ? sizeof(struct nf_policy_ops) - 8 : sizeof(struct nf_policy_ops),
    .capabilities = (HOW == HIDES ? 0 : NF_POLICY_HAS_PLAN) | (HOW == LACKS ? NF_POLICY_HAS_ON_FREE : 0) | NF_POLICY_HAS_ON_OP_END |
                    NF_POLICY_HAS_ON_REGIME | NF_POLICY_HAS_ON_PRESSURE | NF_POLICY_HAS_TICK,
    .name = HOW == BUILT_IN ? "all-near" : NAME,
    .about = "for tests",
    .semantics = {.access = NF_ACCESS_IN_PLACE, .insert = NF_INSERT_NEAR, .demote = NF_DEMOTE_NEVER, .mover = NF_MOVER_NONE},
    .init = init,
    .deinit = deinit,
    .plan = plan,
    .on_alloc = on_alloc,
    .on_op_end = on_op_end,
    .on_regime = on_regime,
    .on_pressure = on_pressure,
    .tick = tick,
};
