#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/again.h"
#include "cmd/command.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/units.h"
#include "core/store/records.h"
#include "core/store/testbeds.h"
#include "pool/policy.h"
#include "replay/ledger.h"
#include "replay/session.h"
#include "replay/spoilers.h"
#include "replay/team.h"
#include "replay/trials.h"

enum { SHARES_MAX = 64 };

struct arguments {
    struct nf_option_list policies, tiers, again;
    const char *near, *mode, *until, *background, *store, *mover, *despite, *root;
    double policy_limit, far_latency_x, far_bandwidth_x, parallelism, scale;
    uint64_t capture, blocks, steps, seed, llc_bytes, batch_bytes, cpu, threads;
    const char *profile_from, *testbed;
    bool unfiltered, whole_sequence, reuse_testbed, hog, cold, sensitivity, resume, dry_run, quiet;
};

static const struct nf_option options[] = {
    {"policy", 'p', NF_OPTION_LIST, offsetof(struct arguments, policies), "NAME", "a policy, 'name:key=value', './mine.so' or 'all' (repeat or separate by commas; default all)"},
    {"near", 'n', NF_OPTION_STRING, offsetof(struct arguments, near), "SHARES", "near capacities as shares of peak live: 10%,20% or 10%..100% (default 10%..100%)"},
    {"mode", 'm', NF_OPTION_STRING, offsetof(struct arguments, mode), "LIST", "of asap,full,none: how compute time is spent (default all three; asap alone for a capture without op times)"},
    {"tier", 't', NF_OPTION_LIST, offsetof(struct arguments, tiers), "SPEC", "a tier, near first: numa:node=0, emulated:latency-x=3 (repeat; default local memory and an emulated far tier)"},
    {"far-latency", 0, NF_OPTION_F64, offsetof(struct arguments, far_latency_x), "X", "latency of the emulated far tier in multiples of local (default 2)"},
    {"far-bandwidth", 0, NF_OPTION_F64, offsetof(struct arguments, far_bandwidth_x), "X", "its bandwidth in multiples of local (default 0.5)"},
    {"blocks", 'b', NF_OPTION_U64, offsetof(struct arguments, blocks), "N", "repetitions; 10 or more for a published comparison (default 5)"},
    {"until", 'u', NF_OPTION_STRING, offsetof(struct arguments, until), "WIDTH", "end before --blocks (at least 5 run) once every median slowdown is known within this share: 2%"},
    {"steps", 's', NF_OPTION_U64, offsetof(struct arguments, steps), "N", "measured steps of a trial (default 3)"},
    {"seed", 0, NF_OPTION_U64, offsetof(struct arguments, seed), "N", "of the random order and of policies (default 1)"},
    {"capture", 0, NF_OPTION_U64, offsetof(struct arguments, capture), "ID", "which capture (default the latest)"},
    {"sequence", 0, NF_OPTION_FLAG, offsetof(struct arguments, whole_sequence), NULL, "replay all captured steps in order instead of the steady one"},
    {"llc", 'l', NF_OPTION_BYTES, offsetof(struct arguments, llc_bytes), "BYTES", "effective LLC of the cache filter (default as measured)"},
    {"unfiltered", 0, NF_OPTION_FLAG, offsetof(struct arguments, unfiltered), NULL, "charge every visited byte, cached or not"},
    {"parallelism", 'k', NF_OPTION_F64, offsetof(struct arguments, parallelism), "X", "scale every assumed parallelism: 0.5 and 2 are the sensitivity runs"},
    {"store", 0, NF_OPTION_STRING, offsetof(struct arguments, store), "KIND", "regular (default) or non-temporal: how visits that write do it, which a capture does not know"},
    {"scale", 0, NF_OPTION_F64, offsetof(struct arguments, scale), "X", "scale every storage, for a footprint larger than this machine (default 1)"},
    {"batch-bytes", 0, NF_OPTION_BYTES, offsetof(struct arguments, batch_bytes), "BYTES", "memory for the stream; a larger one is read in batches (default a quarter of what is available)"},
    {"cpu", 'c', NF_OPTION_U64, offsetof(struct arguments, cpu), "N", "the CPU that replays (default that of the tiers' numbers where they are taken over, else the one it runs on)"},
    {"threads", 0, NF_OPTION_U64, offsetof(struct arguments, threads), "N", "that share each operator, one CPU each (default as the job had, as far as there are CPUs)"},
    {"mover", 0, NF_OPTION_STRING, offsetof(struct arguments, mover), "KIND", "copy (default) or move_pages: how the moves of built-in policies that copy storages are made; move_pages wants tiers that are NUMA nodes"},
    {"policy-limit", 0, NF_OPTION_F64, offsetof(struct arguments, policy_limit), "SECONDS", "that a policy from a shared object may take to be rehearsed before its trial, or to answer in it (default 60)"},
    {"reuse-testbed", 0, NF_OPTION_FLAG, offsetof(struct arguments, reuse_testbed), NULL, "take the tiers' numbers from the study instead of measuring again"},
    {"testbed", 0, NF_OPTION_STRING, offsetof(struct arguments, testbed), "FILE", "take them from a testbed file that nearfar tiers --measure -o made on this machine, and copy it into the study"},
    {"hog", 0, NF_OPTION_FLAG, offsetof(struct arguments, hog), NULL, "also all-near beside a bandwidth hog, to hold against the real job beside it"},
    {"profile-from", 0, NF_OPTION_STRING, offsetof(struct arguments, profile_from), "STUDY", "policies that see a profile also plan on this study's latest capture: trained there, tested here"},
    {"cold", 0, NF_OPTION_FLAG, offsetof(struct arguments, cold), NULL, "every trial also cold: one step from empty caches, nothing warmed up; in no curve"},
    {"sensitivity", 0, NF_OPTION_FLAG, offsetof(struct arguments, sensitivity), NULL, "every trial also at k/2 and 2k, unfiltered, with the other kind of store and the other page size, one factor at a time"},
    {"background", 0, NF_OPTION_STRING, offsetof(struct arguments, background), "LIST", "every trial also under contention from other CPUs: read:50%@far, write:2GB@near, mixed:max@far (commas between several)"},
    {"again", 0, NF_OPTION_LIST, offsetof(struct arguments, again), "SOURCE", "instead of timing it, capture the replay itself (framework, page-fault, exact) and compare it with the capture"},
    {"resume", 0, NF_OPTION_FLAG, offsetof(struct arguments, resume), NULL, "go on with the study's latest replay where it stopped, with the options it was begun with"},
    {"despite", 0, NF_OPTION_STRING, offsetof(struct arguments, despite), "LIST", "go on although this would make figures wrong (names as a refusal gives them: load,thp); every trial says so"},
    {"root", 0, NF_OPTION_STRING, offsetof(struct arguments, root), "DIR", "with --dry-run: judge the machine whose /proc and /sys were copied below DIR"},
    {"dry-run", 'd', NF_OPTION_FLAG, offsetof(struct arguments, dry_run), NULL, "say how many trials, how long, how much memory, and what would spoil them"},
    {"quiet", 'q', NF_OPTION_FLAG, offsetof(struct arguments, quiet), NULL, "no progress line"},
    {0},
};

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    (void)signal;
    stop = 1;
}

static int parse_modes(const char *text, enum nf_overlap *out, size_t *n)
{
    char copy[64], *save = NULL;

    *n = 0;
    if (strlen(text) >= sizeof copy)
        return -EINVAL;
    memcpy(copy, text, strlen(text) + 1);
    for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        if (*n == NF_OVERLAP_COUNT)
            return -EINVAL;
        if (!strcmp(p, "asap"))
            out[(*n)++] = NF_OVERLAP_ASAP;
        else if (!strcmp(p, "full"))
            out[(*n)++] = NF_OVERLAP_FULL;
        else if (!strcmp(p, "none"))
            out[(*n)++] = NF_OVERLAP_NONE;
        else
            return -EINVAL;
    }
    return *n ? 0 : -EINVAL;
}

/* Whether an item of a list, as far as its comma, is an option without a value of the policy that spec begins with. */
static bool is_flag(const char *spec, const char *item)
{
    size_t n = strcspn(spec, ":,"), length = strcspn(item, ",");

    for (const struct nf_policy_ops *const *p = nf_policies; *p && spec[n] == ':'; p++)
        for (const struct nf_option *o = strlen((*p)->name) == n && !strncmp((*p)->name, spec, n) ? (*p)->options : NULL; o && o->name; o++)
            if (o->kind == NF_OPTION_FLAG && strlen(o->name) == length && !strncmp(o->name, item, length))
                return true;
    return false;
}

/* What follows a comma: "key=value", or a key that takes no value, is an option of the policy before it, everything else a policy. */
static bool begins_policy(const char *spec, const char *item)
{
    return *item == '.' || *item == '/' || (item[strcspn(item, ":=,")] != '=' && !is_flag(spec, item));
}

/* "a,b:x=1,y=2,c" is three policies. */
static int split_policies(const struct nf_option_list *given, char *store, size_t size, const char **out, size_t *n)
{
    size_t used = 0;

    *n = 0;
    for (size_t i = 0; i < given->n; i++) {
        char *p = store + used;
        size_t length = strlen(given->v[i]) + 1;

        if (length > size - used)
            return -EINVAL;
        memcpy(p, given->v[i], length);
        used += length;
        while (p) {
            char *comma = strchr(p, ',');

            if (*n == NF_OPTION_LIST_MAX)
                return -EINVAL;
            out[(*n)++] = p;
            while (comma && !begins_policy(p, comma + 1))
                comma = strchr(comma + 1, ',');
            if (comma)
                *comma++ = '\0';
            p = comma;
        }
    }
    return 0;
}

static int exit_code(int rc)
{
    switch (rc) {
    case -EINVAL:
    case -ERANGE: return NF_EXIT_USAGE;
    case -ENOMEM:
    case -ENODEV: return NF_EXIT_CANNOT;
    default: return NF_EXIT_FAILED;
    }
}

static int check_policies(const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char name[256];

        snprintf(name, sizeof name, "%.*s", (int)strcspn(names[i], ":"), names[i]);
        if (strcmp(name, "all") && strcmp(name, NF_TRIALS_SWEEP) && !nf_policy_find(name))
            return -EINVAL;
    }
    return 0;
}

/* A misspelt name would be found out only once it matters. */
static int check_despite(const char *list)
{
    char copy[256], all[512] = "", *save = NULL;

    if (strlen(list) >= sizeof copy)
        return nf_fail(-EINVAL, "--despite: the list is too long");
    memcpy(copy, list, strlen(list) + 1);
    for (size_t i = 0; nf_spoiler_names[i]; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", nf_spoiler_names[i]);
    for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        size_t i = 0;

        while (nf_spoiler_names[i] && strcmp(nf_spoiler_names[i], p))
            i++;
        if (!nf_spoiler_names[i])
            return nf_fail(-EINVAL, "--despite: nothing is called '%s'; there are: %s", p, all);
    }
    return 0;
}

/* Everything that outlives the parsing of options. */
struct parsed {
    struct arguments a;
    struct nf_replay_options o;
    const char *policies[NF_OPTION_LIST_MAX];
    char store[4096];
    enum nf_overlap modes[NF_OVERLAP_COUNT];
    double shares[SHARES_MAX];
    const char *study;
};

/* "2%" or "0.02"; an interval may well be wider than what it is of. */
static int parse_until(const char *text, double *width)
{
    char *end;

    *width = strtod(text, &end);
    if (end > text && *end == '%') {
        *width /= 100;
        end++;
    }
    return end > text && !*end && *width > 0 && *width < INFINITY ? 0 : -EINVAL;
}

/* Arguments into options. 1: *code is the exit code of what was said. */
static int parse(const struct nf_command *self, int argc, char **argv, struct parsed *p, int *code)
{
    static const enum nf_overlap all_modes[] = {NF_OVERLAP_ASAP, NF_OVERLAP_FULL, NF_OVERLAP_NONE};
    struct arguments *a = &p->a;
    struct nf_replay_options *o = &p->o;
    const char *wrong = NULL;
    int first, n;

    *p = (struct parsed){.a = {.blocks = 5, .steps = 3, .seed = 1, .parallelism = 1, .scale = 1, .cpu = UINT64_MAX,
                                .policy_limit = NF_GUARD_LIMIT_S},
                         .o = NF_REPLAY_OPTIONS_INIT};
    if (nf_command_parse(self, argc, argv, a, 1, &first, &n, code))
        return 1;
    if (n == 1)
        p->study = argv[first];
    else
        wrong = "one study is wanted";
    if (!wrong && a->near && nf_parse_shares(a->near, p->shares, SHARES_MAX, &o->n_near_shares)) {
        nf_fail_in(-EINVAL, "--near");
        wrong = nf_error_text(0);
    }
    o->near_shares = p->shares;
    if (!wrong && a->mode && parse_modes(a->mode, p->modes, &o->n_overlaps))
        wrong = "--mode wants a list of asap, full, none";
    o->overlaps = a->mode ? p->modes : all_modes;
    o->n_overlaps = a->mode ? o->n_overlaps : NF_OVERLAP_COUNT;
    o->overlaps_asked = a->mode;
    if (!wrong && split_policies(&a->policies, p->store, sizeof p->store, p->policies, &o->n_policies))
        wrong = "too many policies";
    if (!wrong && check_policies(p->policies, o->n_policies))
        wrong = nf_error_text(0);
    if (!wrong && (!a->blocks || a->blocks > 1000 || !a->steps || a->steps > 100000))
        wrong = "--blocks wants 1 to 1000, --steps 1 to 100000";
    if (!wrong && a->threads > NF_TEAM_MAX)
        wrong = "--threads wants at most 256";
    if (!wrong && !(a->scale > 0 && a->scale <= 1))
        wrong = "--scale wants a number in (0, 1]";
    if (!wrong && !(a->parallelism > 0 && a->parallelism <= 64))
        wrong = "--parallelism wants a number in (0, 64]";
    if (!wrong && a->sensitivity && (a->unfiltered || a->parallelism != 1))
        wrong = "--sensitivity varies the parallelism and the cache filter itself: neither --parallelism nor --unfiltered beside it";
    if (!wrong && !(a->policy_limit > 0 && a->policy_limit <= NF_GUARD_LIMIT_MAX_S))
        wrong = "--policy-limit wants seconds above 0";
    if (!wrong && a->mover && strcmp(a->mover, "copy") && strcmp(a->mover, "move_pages"))
        wrong = "--mover wants copy or move_pages";
    if (!wrong && a->store && strcmp(a->store, "regular") && strcmp(a->store, "non-temporal"))
        wrong = "--store wants regular or non-temporal";
    if (!wrong && a->despite && check_despite(a->despite))
        wrong = nf_error_text(0);
    if (!wrong && a->root && !a->dry_run)
        wrong = "--root judges a machine that is not here: only with --dry-run";
    if (!wrong && a->until && parse_until(a->until, &o->until_width))
        wrong = "--until wants a share: 2%";
    if (!wrong && a->until && a->blocks < NF_REPLAY_BLOCKS_MIN)
        wrong = "--until wants room for at least five blocks (--blocks is the most)";
    if (wrong) {
        *code = nf_command_usage(self, wrong);
        return 1;
    }
    o->policies = p->policies;
    o->capture = (int64_t)a->capture;
    o->tiers = a->tiers.v;
    o->n_tiers = a->tiers.n;
    o->far_latency_x = a->far_latency_x;
    o->far_bandwidth_x = a->far_bandwidth_x;
    o->blocks = (unsigned)a->blocks;
    o->steps = (unsigned)a->steps;
    o->seed = a->seed;
    o->llc_bytes = a->llc_bytes;
    o->unfiltered = a->unfiltered;
    o->despite = a->despite;
    o->root = a->root;
    o->parallelism_scale = a->parallelism;
    o->store = a->store && !strcmp(a->store, "non-temporal") ? NF_STORE_NON_TEMPORAL : NF_STORE_REGULAR;
    o->migrate = a->mover && !strcmp(a->mover, "move_pages");
    o->scale = a->scale;
    o->batch_bytes = a->batch_bytes;
    o->cpu = a->cpu == UINT64_MAX ? -1 : (int)a->cpu;
    o->threads = (unsigned)a->threads;
    o->whole_sequence = a->whole_sequence;
    o->reuse_testbed = a->reuse_testbed;
    o->hog = a->hog;
    o->cold = a->cold;
    o->profile_from = a->profile_from;
    o->sensitivity = a->sensitivity;
    o->background = a->background;
    o->dry_run = a->dry_run;
    o->policy_limit_s = a->policy_limit;
    o->quiet = a->quiet;
    o->stop = &stop;
    o->out = stdout;
    return 0;
}

/* The tiers of a testbed file become the study's. 0 or another exit path's error (cause set). */
static int take_testbed(struct nf_study *study, const char *path, int64_t *id)
{
    struct nf_study *file;
    int64_t machine, row;
    int rc = nf_study_open(path, NF_STUDY_READ, &file);

    if (rc)
        return rc;
    row = nf_record_testbed_copy(file, study, &machine);
    nf_study_close(file);
    if (row < 0)
        return (int)row;
    *id = row;
    return 0;
}

/* A resumed replay is told what it was told when it began. */
struct resumed {
    struct nf_ledger_partial partial;
    char **argv;
    int argc;
};

static void resumed_deinit(struct resumed *r)
{
    for (int i = 0; i < r->argc; i++)
        free(r->argv[i]);
    free(r->argv);
    nf_buf_deinit(&r->partial.command);
}

/* The command's arguments behind "nearfar replay". 0 or -errno (cause set). */
static int resume(struct nf_study *study, struct resumed *r)
{
    struct nf_query *q;
    int rc = nf_ledger_find_partial(study, &r->partial);

    if (!rc)
        rc = nf_study_query(study, "SELECT value FROM json_each(?1) WHERE key >= 2 ORDER BY key", &q);
    if (rc)
        return rc;
    nf_query_bind_text(q, 1, r->partial.command.data);
    while ((rc = nf_query_step(q)) == 1) {
        char **more = realloc(r->argv, ((size_t)r->argc + 2) * sizeof *more);

        if (!more) {
            rc = nf_fail(-ENOMEM, "out of memory");
            break;
        }
        r->argv = more;
        r->argv[r->argc] = strdup(nf_query_text(q, 0));
        r->argv[++r->argc] = NULL;
    }
    nf_query_done(q);
    return rc;
}

static void summarize(const struct nf_replay_result *r, const struct nf_replay_options *o, const char *study)
{
    if (!r->done && !r->kept)
        return;
    if (r->kept)
        nf_info("%u trials were there already", r->kept);
    if (o->until_width > 0 && r->blocks >= NF_REPLAY_BLOCKS_MIN)
        nf_info("the widest interval of a median slowdown is %.1f %% of it after %u blocks (asked: %.1f %%)%s", 100 * r->width,
                r->blocks, 100 * o->until_width, r->width <= o->until_width ? "" : ": not reached, more --blocks would narrow it");
    if (r->disturbed)
        nf_info("%u of %u trials were disturbed and are marked so: nearfar sql %s 'SELECT id, interference FROM trial'",
                r->disturbed, r->done, study);
    if (r->failed)
        fprintf(stderr, "nearfar: %u of %u trials failed, the first: %s\n", r->failed, r->done, r->first_failure);
    nf_info("%u of %u trials done, %u failed, %u unsteady; next: nearfar analyze %s -o report", r->kept + r->done, r->planned,
            r->failed, r->unsteady, study);
}

/* Not a timing: no tier, mode or block has a say in it. */
static int watch_again(const struct nf_command *self, const struct parsed *p, int argc, char **argv)
{
    const struct arguments *a = &p->a;
    struct nf_again_request r = {
        .study = p->study,
        .sources = p->a.again.v,
        .n_sources = p->a.again.n,
        .capture = p->o.capture,
        .scale = p->o.scale,
        .threads = p->o.threads,
        .cpu = p->o.cpu,
        .seed = p->o.seed,
        .quiet = p->o.quiet,
        .policy = a->policies.n ? a->policies.v[0] : NULL,
        .near_share = 1,
    };
    double shares[2];
    size_t n_shares = 0;

    if (a->tiers.n || a->mode || a->until || a->background || a->store || a->mover || a->far_latency_x > 0 ||
        a->far_bandwidth_x > 0 || a->parallelism != 1 || a->llc_bytes || a->batch_bytes || a->unfiltered || a->whole_sequence ||
        a->reuse_testbed || a->testbed || a->hog || a->cold || a->sensitivity || a->profile_from || a->resume || a->dry_run || a->despite)
        return nf_command_usage(self, "--again times nothing: only --policy, --near, --capture, --scale, --threads, --cpu, --seed and "
                                "--quiet may stand beside it");
    if (a->policies.n > 1 || !a->policies.n != !a->near)
        return nf_command_usage(self, "--again watches one --policy at one --near, or everything near without them");
    if (a->near && (nf_parse_shares(a->near, shares, sizeof shares / sizeof *shares, &n_shares) || n_shares != 1))
        return nf_command_usage(self, "--again wants one share for --near: 20%");
    if (a->near)
        r.near_share = shares[0];
    return nf_again_command(&r, argc, argv);
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct parsed asked, begun, *p = &asked;
    struct resumed again = {0};
    struct sigaction sa = {.sa_handler = on_signal};
    struct nf_replay_result result = {0};
    char message[512];
    struct nf_study *study;
    int64_t invocation = 0;
    int code = NF_EXIT_OK, rc;

    if (parse(self, argc, argv, &asked, &code))
        return code;
    if (asked.a.again.n)
        return watch_again(self, &asked, argc + 2, argv - 2);
    if (asked.a.resume && argc > 2 + asked.a.quiet)
        return nf_command_usage(self, "--resume takes its options from the replay it goes on with; only --quiet may stand beside it");
    if (asked.a.testbed && asked.a.dry_run)
        return nf_command_usage(self, "--dry-run measures no tiers: --testbed would copy them into the study");
    if (asked.a.testbed && asked.a.reuse_testbed)
        return nf_command_usage(self, "--reuse-testbed takes the study's own testbed, --testbed that of a file");
    rc = nf_study_open(asked.study, asked.a.dry_run ? NF_STUDY_READ : NF_STUDY_WRITE, &study);
    if (rc)
        return nf_command_fail(rc);
    if (asked.a.resume) {
        p = &begun;
        rc = resume(study, &again);
        if (!rc && parse(self, again.argc, again.argv, p, &code))
            rc = nf_fail(-EINVAL, "this nearfar does not know the options that replay %lld was begun with",
                         (long long)again.partial.replay);
        if (rc) {
            nf_study_close(study);
            resumed_deinit(&again);
            return nf_command_fail(rc);
        }
        p->o.resume = again.partial.replay;
        p->o.resume_testbed = again.partial.testbed;
        p->o.capture = again.partial.capture;
        p->o.quiet |= asked.a.quiet;
    }
    if (!p->o.dry_run) {
        invocation = nf_record_invocation(study, argc + 2, argv - 2);
        if (invocation < 0) {
            nf_study_close(study);
            resumed_deinit(&again);
            return nf_command_fail((int)invocation);
        }
    }
    p->o.invocation = invocation;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    rc = p->a.testbed && !p->o.resume ? take_testbed(study, p->a.testbed, &p->o.resume_testbed) : 0;
    if (!rc)
        rc = nf_replay_run(study, &p->o, &result);
    nf_progress_end();
    snprintf(message, sizeof message, "%s", rc ? nf_error_text(rc) : "");
    if (!p->o.dry_run)
        nf_record_invocation_end(study, invocation, rc ? "failed" : "complete", message);
    nf_study_close(study);
    summarize(&result, &p->o, asked.study);
    resumed_deinit(&again);
    if (!rc)
        return result.failed ? NF_EXIT_FAILED : NF_EXIT_OK;
    fprintf(stderr, "nearfar: %s\n", message);
    if (rc == NF_REPLAY_E_STOPPED)
        nf_info("nearfar replay %s --resume goes on where this stopped", asked.study);
    return exit_code(rc);
}

const struct nf_command nf_cmd_replay = {
    .name = "replay",
    .about = "reissue a captured access stream on memory tiers under placement policies",
    .usage = "replay STUDY [OPTIONS]",
    .text = "Every visit is really read or written on the memory its policy placed it in, in captured order.\n"
            "Trials are committed one by one: an interrupted replay keeps what it did.",
    .options = options,
    .examples = {"nearfar replay demo.nf --policy all --near 10%,20%,40%,80%",
                 "nearfar replay demo.nf --policy lru,lifetime-density --near 20% --blocks 10 --dry-run"},
    .run = run,
};
