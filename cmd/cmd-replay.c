#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cmd/command.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/units.h"
#include "core/store/records.h"
#include "pool/policy.h"
#include "replay/session.h"

enum { SHARES_MAX = 64 };

struct arguments {
    struct nf_option_list policies, tiers;
    const char *near, *mode, *background;
    double far_latency_x, far_bandwidth_x, parallelism, scale;
    uint64_t capture, blocks, steps, seed, llc_bytes, batch_bytes, cpu;
    bool unfiltered, whole_sequence, reuse_testbed, hog, dry_run, quiet;
};

static const struct nf_option options[] = {
    {"policy", 'p', NF_OPTION_LIST, offsetof(struct arguments, policies), "NAME", "a policy, 'name:key=value', './mine.so' or 'all' (repeat or separate by commas; default all)"},
    {"near", 'n', NF_OPTION_STRING, offsetof(struct arguments, near), "SHARES", "near capacities as shares of peak live: 10%,20% or 10%..100% (default 10%..100%)"},
    {"mode", 'm', NF_OPTION_STRING, offsetof(struct arguments, mode), "LIST", "of asap,full,none: how compute time is spent (default all three; asap alone for a capture without op times)"},
    {"tier", 't', NF_OPTION_LIST, offsetof(struct arguments, tiers), "SPEC", "a tier, near first: numa:node=0, emulated:latency-x=3 (repeat; default local memory and an emulated far tier)"},
    {"far-latency", 0, NF_OPTION_F64, offsetof(struct arguments, far_latency_x), "X", "latency of the emulated far tier in multiples of local (default 2)"},
    {"far-bandwidth", 0, NF_OPTION_F64, offsetof(struct arguments, far_bandwidth_x), "X", "its bandwidth in multiples of local (default 0.5)"},
    {"blocks", 'b', NF_OPTION_U64, offsetof(struct arguments, blocks), "N", "repetitions; 10 or more for a published comparison (default 5)"},
    {"steps", 's', NF_OPTION_U64, offsetof(struct arguments, steps), "N", "measured steps of a trial (default 3)"},
    {"seed", 0, NF_OPTION_U64, offsetof(struct arguments, seed), "N", "of the random order and of policies (default 1)"},
    {"capture", 0, NF_OPTION_U64, offsetof(struct arguments, capture), "ID", "which capture (default the latest)"},
    {"sequence", 0, NF_OPTION_FLAG, offsetof(struct arguments, whole_sequence), NULL, "replay all captured steps in order instead of the steady one"},
    {"llc", 'l', NF_OPTION_BYTES, offsetof(struct arguments, llc_bytes), "BYTES", "effective LLC of the cache filter (default as measured)"},
    {"unfiltered", 0, NF_OPTION_FLAG, offsetof(struct arguments, unfiltered), NULL, "charge every visited byte, cached or not"},
    {"parallelism", 'k', NF_OPTION_F64, offsetof(struct arguments, parallelism), "X", "scale every assumed parallelism: 0.5 and 2 are the sensitivity runs"},
    {"scale", 0, NF_OPTION_F64, offsetof(struct arguments, scale), "X", "scale every storage, for a footprint larger than this machine (default 1)"},
    {"batch-bytes", 0, NF_OPTION_BYTES, offsetof(struct arguments, batch_bytes), "BYTES", "memory for the stream; a larger one is read in batches (default a quarter of what is available)"},
    {"cpu", 'c', NF_OPTION_U64, offsetof(struct arguments, cpu), "N", "the CPU that replays (default the one it runs on)"},
    {"reuse-testbed", 0, NF_OPTION_FLAG, offsetof(struct arguments, reuse_testbed), NULL, "take the tiers' numbers from the study instead of measuring again"},
    {"hog", 0, NF_OPTION_FLAG, offsetof(struct arguments, hog), NULL, "also all-near beside a bandwidth hog, to hold against the real job beside it"},
    {"background", 0, NF_OPTION_STRING, offsetof(struct arguments, background), "LIST", "every trial also under contention from other CPUs: read:50%@far, write:2GB@near, mixed:max@far (commas between several)"},
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

/* "a,b" is two policies, "a:x=1,y=2" one: a comma separates only where no options began. */
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
            char *comma = strpbrk(p, ",:");

            if (*n == NF_OPTION_LIST_MAX)
                return -EINVAL;
            out[(*n)++] = p;
            p = NULL;
            if (comma && *comma == ',') {
                *comma = '\0';
                p = comma + 1;
            }
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
        if (strcmp(name, "all") && !nf_policy_find(name))
            return -EINVAL;
    }
    return 0;
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    static const enum nf_overlap all_modes[] = {NF_OVERLAP_ASAP, NF_OVERLAP_FULL, NF_OVERLAP_NONE};
    struct arguments a = {.blocks = 5, .steps = 3, .seed = 1, .parallelism = 1, .scale = 1, .cpu = UINT64_MAX};
    struct nf_replay_options o = NF_REPLAY_OPTIONS_INIT;
    struct sigaction sa = {.sa_handler = on_signal};
    const char *policies[NF_OPTION_LIST_MAX];
    struct nf_replay_result result = {0};
    char store[4096], message[512];
    enum nf_overlap modes[NF_OVERLAP_COUNT];
    double shares[SHARES_MAX];
    struct nf_study *study;
    int64_t invocation = 0;
    int first, n, code = NF_EXIT_OK, rc;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    if (n != 1)
        return nf_command_usage(self, "one study is wanted");
    if (a.near && nf_parse_shares(a.near, shares, SHARES_MAX, &o.n_near_shares)) {
        nf_fail_in(-EINVAL, "--near");
        return nf_command_usage(self, nf_error_text(0));
    }
    o.near_shares = shares;
    if (a.mode && parse_modes(a.mode, modes, &o.n_overlaps))
        return nf_command_usage(self, "--mode wants a list of asap, full, none");
    o.overlaps = a.mode ? modes : all_modes;
    o.n_overlaps = a.mode ? o.n_overlaps : NF_OVERLAP_COUNT;
    o.overlaps_asked = a.mode;
    if (split_policies(&a.policies, store, sizeof store, policies, &o.n_policies))
        return nf_command_usage(self, "too many policies");
    if (check_policies(policies, o.n_policies))
        return nf_command_usage(self, nf_error_text(0));
    if (!a.blocks || a.blocks > 1000 || !a.steps || a.steps > 100000)
        return nf_command_usage(self, "--blocks wants 1 to 1000, --steps 1 to 100000");
    if (!(a.scale > 0 && a.scale <= 1))
        return nf_command_usage(self, "--scale wants a number in (0, 1]");
    if (!(a.parallelism > 0 && a.parallelism <= 64))
        return nf_command_usage(self, "--parallelism wants a number in (0, 64]");
    o.policies = policies;
    o.capture = (int64_t)a.capture;
    o.tiers = a.tiers.v;
    o.n_tiers = a.tiers.n;
    o.far_latency_x = a.far_latency_x;
    o.far_bandwidth_x = a.far_bandwidth_x;
    o.blocks = (unsigned)a.blocks;
    o.steps = (unsigned)a.steps;
    o.seed = a.seed;
    o.llc_bytes = a.llc_bytes;
    o.unfiltered = a.unfiltered;
    o.parallelism_scale = a.parallelism;
    o.scale = a.scale;
    o.batch_bytes = a.batch_bytes;
    o.cpu = a.cpu == UINT64_MAX ? -1 : (int)a.cpu;
    o.whole_sequence = a.whole_sequence;
    o.reuse_testbed = a.reuse_testbed;
    o.hog = a.hog;
    o.background = a.background;
    o.dry_run = a.dry_run;
    o.quiet = a.quiet;
    o.stop = &stop;
    o.out = stdout;
    rc = nf_study_open(argv[first], a.dry_run ? NF_STUDY_READ : NF_STUDY_WRITE, &study);
    if (rc)
        return nf_command_fail(rc);
    if (!a.dry_run) {
        invocation = nf_record_invocation(study, argc + 2, argv - 2);
        if (invocation < 0) {
            nf_study_close(study);
            return nf_command_fail((int)invocation);
        }
    }
    o.invocation = invocation;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    rc = nf_replay_run(study, &o, &result);
    nf_progress_end();
    snprintf(message, sizeof message, "%s", rc ? nf_error_text(rc) : "");
    if (!a.dry_run)
        nf_record_invocation_end(study, invocation, rc ? "failed" : "complete", message);
    nf_study_close(study);
    if (result.done)
        nf_info("%u of %u trials done, %u failed, %u unsteady; next: nearfar analyze %s -o report", result.done,
                result.planned, result.failed, result.unsteady, argv[first]);
    if (!rc)
        return result.done && result.failed == result.done ? NF_EXIT_FAILED : NF_EXIT_OK;
    fprintf(stderr, "nearfar: %s\n", message);
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
