/* The whole replay of a small study: rows, order, interruption, dry run, refusals; and the pieces it is made of:
 * trials, scaling, spoilers, the knee. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/store/records.h"
#include "core/store/visit-codec.h"
#include "replay/measure.h"
#include "replay/pin.h"
#include "replay/scale.h"
#include "replay/session.h"
#include "replay/spoilers.h"
#include "replay/trials.h"
#include "tests/unit/replay-bed.h"

enum { PAGE = NF_PAGE_BYTES };

/* The same bytes in the same ops, page by page: enough visits for a file. */
static void write_many_visits(struct nf_study *s)
{
    enum { N = 4096 };
    const uint64_t tensor_bytes[] = {1024 * PAGE, 1024 * PAGE};
    struct nf_visit *v = calloc(N, sizeof *v);
    struct nf_visit_codec *c = nf_visit_codec_new();
    struct nf_query *q;
    const void *data;
    size_t size, raw;
    uint32_t crc;

    for (uint32_t i = 0; i < N; i++)
        v[i] = (struct nf_visit){.op = i / (N / 2), .tensor = i / (N / 4) % 3 ? 1 : 0, .offset = i % (N / 4) * PAGE,
                                 .bytes = PAGE, .run = PAGE, .stride = PAGE, .touches_q8 = 256,
                                 .rw = i < N / 4 || i / (N / 4) == 2 ? NF_RW_READ : i < N / 2 ? NF_RW_WRITE : NF_RW_UPDATE};
    assert_int_equal(nf_visit_encode(c, v, N, tensor_bytes, 2, &data, &size, &raw, &crc), 0);
    assert_int_equal(nf_study_query(s, "UPDATE visit_chunk SET visits = 4096, codec = ?1, crc32 = ?2, raw_bytes = ?3, data = "
                                       "?4", &q), 0);
    nf_query_bind_i64(q, 1, NF_VISIT_CODEC);
    nf_query_bind_i64(q, 2, crc);
    nf_query_bind_i64(q, 3, (int64_t)raw);
    nf_query_bind_blob(q, 4, data, size);
    assert_int_equal(nf_query_run(q), 0);
    replay_bed_execute(s, "UPDATE step_class SET visits = 4096");
    nf_visit_codec_free(c);
    free(v);
}

/* A parameter of 4 MiB and a temporary of 4 MiB, 2 ms an op. */
static struct nf_study *write_study(bool timed)
{
    static const uint64_t pages[] = {1024, 1024};
    const struct replay_bed_shape shape = {.pages = pages, .n = 2, .untimed = !timed};

    return replay_bed_study(&shape);
}

static const double shares[] = {0.5, 1};
static const char *const policies[] = {"near-first", "all-far"};

/* Two shares, near-first and all-far beside all-near; the cache's size is given, so that it is not measured. */
static struct nf_replay_options small_replay(void)
{
    struct nf_replay_options o = NF_REPLAY_OPTIONS_INIT;

    o.despite = "load"; /* of the other tests */
    o.invocation = replay_bed_invocation();
    o.policies = policies;
    o.n_policies = 2;
    o.near_shares = shares;
    o.n_near_shares = 2;
    o.blocks = 2;
    o.llc_bytes = 1 << 20;
    o.root = replay_bed_folder(); /* however busy this machine is */
    o.quiet = true;
    return o;
}

/* The same on tiers that need not be measured. */
static struct nf_replay_options quick_replay(struct nf_study *s)
{
    static const char *const tiers[] = {"null", "emulated"};
    struct nf_replay_options o = small_replay();

    replay_bed_know_tiers(s, tiers[1]);
    o.tiers = tiers;
    o.n_tiers = 2;
    o.reuse_testbed = true;
    o.blocks = 1;
    return o;
}

static void replays_a_study(void **state)
{
    struct nf_study *s = write_study(true);
    struct nf_replay_options o = small_replay();
    struct nf_replay_result r;
    int rc;

    replay_bed_execute(s, "INSERT INTO testbed(id, invocation_id, machine_id, llc_effective_bytes, page_bytes, conditions) VALUES(7, 1, 1, 1, 4096, '{}')");
    replay_bed_execute(s, "INSERT INTO replay(invocation_id, capture_id, testbed_id, seed, peak_live_bytes, planned_trials, blocks, "
               "threads, llc_filter_bytes) VALUES(1, 1, 7, 1, 1, 1, 1, 1, 1)");
    rc = nf_replay_run(s, &o, &r);
    if (rc)
        fail_msg("%d: %s", rc, nf_error_text(rc));
    assert_int_equal(replay_bed_int(s, "SELECT status = 'partial' FROM replay WHERE id = 1"), 1); /* its writer is dead */
    assert_int_equal(replay_bed_int(s, "SELECT status = 'complete' FROM replay WHERE id = 2"), 1);
    assert_int_equal(r.planned, 2 * 2 * 4);
    assert_int_equal(r.done, r.planned);
    assert_int_equal(r.failed, 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial"), 16);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM (SELECT DISTINCT block, position FROM trial)"), 16);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE policy = 'all-near' AND near_share = 1"), 4);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE policy = 'all-far' AND near_share = 0 AND near_bytes = "
                               "0"), 4);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial_tier"), 32);
    /* Every visited byte is on one of the tiers, whatever the policy: 3 steps of 12 MiB read, 8 MiB written. */
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM (SELECT sum(read_bytes) r, sum(write_bytes) w FROM trial_tier GROUP "
                               "BY trial_id) WHERE r = 3 * 12582912 AND w = 3 * 8388608"), 16);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE overlap = 1 AND wall_ns < 3 * 4000000"), 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE json_array_length(step_ns) <> 3"), 0);
    assert_int_equal(replay_bed_int(s, "SELECT min(n) >= 9 FROM (SELECT count(*) n FROM tier_sample GROUP BY testbed_id, "
                               "tier_number, what, parallelism)"), 1);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM tier WHERE number = 1 AND target_latency_ns > 0 AND latency_ns >= "
                               "0.99 * target_latency_ns"), 1);

    /* Again, with the numbers in the study: no new testbed. Every trial has its pair under contention. */
    o.reuse_testbed = true;
    o.blocks = 1;
    o.background = nf_pin_cpus() > 2 ? "read:20%@far,write:100MB@near" : nf_pin_cpus() > 1 ? "mixed:20%@far" : NULL;
    rc = nf_replay_run(s, &o, &r);
    if (rc)
        fail_msg("%d: %s", rc, nf_error_text(rc));
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM testbed"), 2);
    assert_int_equal(r.testbed, replay_bed_int(s, "SELECT max(id) FROM testbed"));
    assert_int_equal(r.done, o.background ? 16 : 8);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE replay_id = 3 AND (background <> '') <> (background_bps "
                               "> 0)"), 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE replay_id = 3 AND background = ''"), 8);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial a JOIN trial b USING (replay_id, block, policy, near_share, "
                               "overlap) WHERE replay_id = 3 AND a.background = '' AND b.background <> ''"),
                     o.background ? 8 : 0);
    assert_int_equal(replay_bed_int(s, "SELECT sum(batches) + (SELECT sum(batch_bytes) FROM replay) FROM trial"), 0);

    /* Again, the stream in files, an op at a time: the same bytes. */
    write_many_visits(s);
    o.background = NULL;
    o.batch_bytes = 4096;
    rc = nf_replay_run(s, &o, &r);
    if (rc)
        fail_msg("%d: %s", rc, nf_error_text(rc));
    assert_int_equal(r.done, 8);
    assert_int_equal(replay_bed_int(s, "SELECT batch_bytes FROM replay WHERE id = 4"), 4096);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE replay_id = 4 AND batches >= 2 * steps AND status = 'ok'"), 8);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM (SELECT sum(read_bytes) r, sum(write_bytes) w FROM trial_tier JOIN trial "
                               "ON trial_id = id WHERE replay_id = 4 GROUP BY trial_id) WHERE r = 3 * 12582912 AND w = 3 * "
                               "8388608"), 8);
    assert_int_equal(replay_bed_int(s, "SELECT sum(page_faults) FROM trial WHERE replay_id = 4"), 0);
    nf_study_close(s);
}

static void keeps_what_was_done(void **state)
{
    struct nf_study *s = write_study(true);
    struct nf_replay_options o = quick_replay(s);
    volatile sig_atomic_t stop = 0;
    struct nf_replay_result r;

    o.stop = &stop;
    assert_int_equal(nf_replay_run(s, &o, &r), 0);
    stop = 1; /* the calibration already meets it */
    assert_int_equal(nf_replay_run(s, &o, &r), NF_REPLAY_E_STOPPED);
    assert_int_equal(r.done, 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial"), 8);
    nf_study_close(s);
}

static void untimed_captures_run_as_fast_as_possible(void **state)
{
    struct nf_study *s = write_study(false);
    struct nf_replay_options o = quick_replay(s);
    struct nf_replay_result r;

    assert_int_equal(nf_replay_run(s, &o, &r), 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE overlap = 0"), 4);
    assert_int_equal(r.planned, 4);
    nf_study_close(s);
}

static void untimed_captures_are_not_paced(void **state)
{
    static const enum nf_overlap asap[] = {NF_OVERLAP_ASAP}, paced[] = {NF_OVERLAP_ASAP, NF_OVERLAP_NONE};
    struct nf_study *s = write_study(false);
    struct nf_replay_options o = quick_replay(s);
    struct nf_replay_result r;

    o.overlaps_asked = true;
    o.overlaps = paced;
    o.n_overlaps = 2;
    assert_int_equal(nf_replay_run(s, &o, &r), -EINVAL);
    assert_non_null(strstr(nf_error_text(-EINVAL), "holds no op times, and overlap=none paces by them: --mode asap"));
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM replay"), 0);
    o.overlaps = asap;
    o.n_overlaps = 1;
    assert_int_equal(nf_replay_run(s, &o, &r), 0);
    assert_int_equal(r.planned, 4);
    nf_study_close(s);
}

static void a_dry_run_writes_nothing(void **state)
{
    static const char *const recompute[] = {"recompute"};
    struct nf_study *s = write_study(true);
    struct nf_replay_options o = small_replay();
    struct nf_replay_result r;
    char text[4096] = "";

    nf_study_close(s);
    assert_int_equal(nf_study_open(replay_bed_path(), NF_STUDY_READ, &s), 0);
    o.dry_run = true;
    o.out = fmemopen(text, sizeof text, "w");
    assert_int_equal(nf_replay_run(s, &o, &r), 0);
    fclose(o.out);
    assert_non_null(strstr(text, "trials: 16 (8 a block, 2 blocks), 3 policies"));
    assert_non_null(strstr(text, "peak live 8.00 MiB"));
    assert_null(strstr(text, "batch of the stream"));
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM replay"), 0);
    nf_study_close(s);

    /* A stream in files takes memory for a batch: half the budget. */
    assert_int_equal(nf_study_open(replay_bed_path(), NF_STUDY_WRITE, &s), 0);
    write_many_visits(s);
    o.batch_bytes = 4096;
    o.out = fmemopen(text, sizeof text, "w");
    assert_int_equal(nf_replay_run(s, &o, &r), 0);
    fclose(o.out);
    assert_non_null(strstr(text, "beside 2.00 KiB for a batch of the stream"));

    /* Nor does it promise what the replay would refuse. */
    o.policies = recompute;
    o.n_policies = 1;
    o.out = fmemopen(text, sizeof text, "w");
    assert_int_equal(nf_replay_run(s, &o, &r), -ENODEV);
    fclose(o.out);
    assert_non_null(strstr(nf_error_text(-ENODEV), "policy recompute changes the stream"));
    nf_study_close(s);
}

static void refuses_in_words(void **state)
{
    static const char *const nobody[] = {"nobody"}, *const bad_option[] = {"near-first:what=1"};
    static const char *const named[] = {"numa:node=0", "pool=emulated:latency-x=3", "emulated:latency-x=4"};
    const double beyond[] = {1.5};
    char text[4096] = "", mend[128];
    struct nf_study *s = write_study(true);
    struct nf_replay_options o = small_replay();
    struct nf_replay_result r;

    o.policies = nobody;
    o.n_policies = 1;
    assert_int_equal(nf_replay_run(s, &o, &r), -EINVAL);
    assert_non_null(strstr(nf_error_text(-EINVAL), "near-first")); /* what there is */
    o.policies = bad_option;
    assert_int_equal(nf_replay_run(s, &o, &r), -EINVAL);
    o = small_replay();
    o.near_shares = beyond;
    o.n_near_shares = 1;
    assert_int_equal(nf_replay_run(s, &o, &r), -EINVAL);
    o = small_replay();
    o.capture = 5;
    assert_int_equal(nf_replay_run(s, &o, &r), -ENOENT);
    o = small_replay();
    o.cpu = 100000;
    assert_int_equal(nf_replay_run(s, &o, &r), -EINVAL);
    o = small_replay();
    o.background = "read:150%@far";
    assert_int_equal(nf_replay_run(s, &o, &r), -EINVAL);
    o.background = "read:50%@pool,read:50%@away";
    o.tiers = named;
    o.n_tiers = 3;
    assert_int_equal(nf_replay_run(s, &o, &r), -EINVAL); /* before any tier is opened */
    assert_non_null(strstr(nf_error_text(-EINVAL), "no tier 'away' for a background; there are: near, pool, far2"));
    o = small_replay();
    replay_bed_execute(s, "UPDATE tensor SET bytes = 1 << 50");
    assert_int_equal(nf_replay_run(s, &o, &r), -ENOMEM);
    assert_non_null(strstr(nf_error_text(-ENOMEM), "--scale"));
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM replay"), 0);
    o.dry_run = true;
    o.out = fmemopen(text, sizeof text, "w");
    assert_int_equal(nf_replay_run(s, &o, &r), -ENOMEM);
    fclose(o.out);
    snprintf(mend, sizeof mend, "; mend: nearfar replay %s --scale ", replay_bed_path());
    assert_non_null(strstr(text, mend));
    assert_true(atof(strstr(text, mend) + strlen(mend)) > 0);
    nf_study_close(s);
}

/* --- pieces --- */

static void sweeps_ratios(void **state)
{
    static const char *const wished[] = {"best-interleave:ratios=5:12.5", "interleave", "best-interleave"};
    const enum nf_overlap overlaps[] = {NF_OVERLAP_NONE};
    struct nf_trials_wish w = {wished, 3, shares, 2, overlaps, 1};
    struct nf_trials t;

    assert_int_equal(nf_trials_init(&t, &w), 0);
    assert_int_equal(t.n_policies, 1 + 2 + 1 + 9);
    assert_string_equal(t.policies[1].options, "ratio=5");
    assert_string_equal(t.policies[2].options, "ratio=12.5");
    assert_string_equal(t.policies[3].options, "");
    assert_string_equal(t.policies[12].options, "ratio=90");
    for (uint32_t i = 1; i < t.n_policies; i++)
        assert_string_equal(t.policies[i].ops->name, "interleave");
    assert_int_equal(t.n, 1 + 12 * 2);
    nf_trials_deinit(&t);
    w.n_policies = 1;
    w.policies = (const char *const[]){"best-interleave:ratios=20"};
    assert_int_equal(nf_trials_init(&t, &w), -EINVAL);
    nf_trials_deinit(&t);
    w.policies = (const char *const[]){"best-interleave:ratios=20:101"};
    assert_int_equal(nf_trials_init(&t, &w), -EINVAL);
    nf_trials_deinit(&t);
}

static void plans_every_trial_once(void **state)
{
    static const char *const wished[] = {"all-near", "lru", "lru", "all-far"};
    const enum nf_overlap overlaps[] = {NF_OVERLAP_FULL, NF_OVERLAP_NONE};
    struct nf_trials_wish w = {wished, 4, shares, 2, overlaps, 2, true, true};
    uint32_t order[2][18], seen = 0;
    struct nf_trials t;

    assert_int_equal(nf_trials_init(&t, &w), 0);
    assert_int_equal(t.n_policies, 3); /* lru once */
    assert_true(nf_trials_is_all_near(t.policies[0].ops));
    assert_int_equal(t.n, 2 * (2 * (1 + 2 + 1) + 1)); /* plain and under contention, the hog once */
    nf_trials_order(&t, 1, 0, order[0]);
    nf_trials_order(&t, 1, 1, order[1]);
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
    for (uint32_t i = 0; i < t.n; i++)
        seen |= 1u << order[0][i];
    assert_int_equal(seen, (1u << t.n) - 1);
    nf_trials_order(&t, 1, 0, order[1]);
    assert_memory_equal(order[0], order[1], sizeof order[0]); /* the seed decides */
    nf_trials_deinit(&t);
}

/* How moves are made is changed where a policy copies storages, and nowhere else. */
static void moves_are_migrated_where_asked(void **state)
{
    static const char *const wished[] = {"lru", "near-first", "nbt"};
    const enum nf_overlap overlaps[] = {NF_OVERLAP_ASAP};
    struct nf_trials_wish w = {.policies = wished, .n_policies = 3, .near_shares = shares, .n_near_shares = 1, .overlaps = overlaps,
                               .n_overlaps = 1, .migrate = true};
    char text[256];
    struct nf_trials t;

    assert_int_equal(nf_trials_init(&t, &w), 0);
    assert_int_equal(t.n_policies, 4);
    for (uint32_t i = 0; i < t.n_policies; i++) {
        const struct nf_policy_ops *ops = t.policies[i].ops, *declared = nf_policy_find(ops->name);

        assert_int_equal(ops->semantics.mover, strcmp(ops->name, "lru") ? declared->semantics.mover : NF_MOVER_MOVE_PAGES);
        assert_true(ops->on_alloc == declared->on_alloc);
    }
    assert_int_equal(nf_policy_find("lru")->semantics.mover, NF_MOVER_COPY);
    assert_true(nf_policy_find("nbt")->semantics.by_page);
    assert_non_null(strstr(nf_policy_semantics_text(&t.policies[1].ops->semantics, text, sizeof text), "moved by move_pages"));
    nf_trials_deinit(&t);
}

/* At any factor the stream stays one that passes its own checks. */
static void scaled_streams_stay_sound(void **state)
{
    for (double factor = 1; factor > 0.001; factor *= 0.7) {
        char name[] = "", *names[] = {name};
        struct nf_op op = {.n_visits = 3, .dur_ns = 100};
        struct nf_tensor tensors[] = {
            {.bytes = 1000000, .address = 1 << 30, .birth = -1, .death = NF_OP_AFTER, .carry_in = 0, .carry_out = 0},
            {.bytes = 12, .address = 1 << 20, .birth = 0, .death = 0, .carry_in = -1, .carry_out = -1}};
        struct nf_visit visits[] = {
            {.offset = 500000, .bytes = 500000, .run = 500000, .stride = 500000},
            {.bytes = 100 * 640, .run = 640, .stride = 9000, .offset = 100000},
            {.tensor = 1, .bytes = 12, .run = 12, .stride = 12},
        };
        struct nf_step_class c = {.ops = &op, .visits = visits, .tensors = tensors, .n_ops = 1, .n_visits = 3,
                                  .n_tensors = 2};
        struct nf_stream s = {.classes = &c, .n_classes = 1, .n_carry = 1, .names = names, .n_names = 1};

        assert_int_equal(nf_stream_scale(&s, factor), 0);
        if (nf_step_class_check(&c, &s))
            fail_msg("scaled by %g: %s", factor, nf_error_text(0));
        assert_true(tensors[0].bytes <= 1000000 * factor + 64);
        assert_true(op.dur_ns == 100 * factor);
    }
}

static void finds_the_knee(void **state)
{
    uint64_t sizes[20];
    double ns[20];

    for (int i = 0; i < 20; i++) {
        sizes[i] = (uint64_t)(1 << 20) << (i / 2);
        sizes[i] += i % 2 ? sizes[i] * 2 / 5 : 0; /* about √2 */
    }
    for (int i = 0; i < 20; i++) /* 8 MiB of cache, noise on both plateaus */
        ns[i] = (sizes[i] < 8 << 20 ? 20 : sizes[i] < 12 << 20 ? 60 : 100) + (i * 7 % 3);
    assert_in_range(nf_measure_knee(sizes, ns, 20, 1 << 20), 6 << 20, 12 << 20);
    for (int i = 0; i < 20; i++)
        ns[i] = i == 4 ? 90 : sizes[i] < 8 << 20 ? 20 : 100; /* one disturbed point does not make a knee */
    assert_in_range(nf_measure_knee(sizes, ns, 20, 1 << 20), 4 << 20, 12 << 20);
    for (int i = 0; i < 20; i++)
        ns[i] = 100 + i % 2;
    assert_int_equal(nf_measure_knee(sizes, ns, 20, 123), 123);
}

static void put(const char *file, const char *text)
{
    char full[256], *slash;
    FILE *f;

    snprintf(full, sizeof full, "%s%s", replay_bed_folder(), file);
    for (slash = strchr(full + strlen(replay_bed_folder()) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void names_what_spoils(void **state)
{
    const struct nf_spoilers_of of = {.root = replay_bed_folder()};
    struct nf_spoiler s[NF_SPOILERS_MAX];
    bool governor = false, load = false, demotion = false, limit = false;
    size_t n;

    put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    put("/sys/devices/system/cpu/intel_pstate/no_turbo", "1\n");
    put("/sys/devices/system/cpu/smt/active", "0\n");
    put("/proc/loadavg", "0.40 1.0 1.0 1/100 4\n");
    put("/proc/swaps", "Filename Type Size Used Priority\n");
    n = nf_spoilers(&of, s);
    for (size_t i = 0; i < n; i++) {
        governor |= strstr(s[i].what, "powersave") && strstr(s[i].mend, "cpupower") && s[i].wrong;
        assert_null(strstr(s[i].what, "turbo"));
        assert_null(strstr(s[i].what, "SMT"));
        assert_null(strstr(s[i].what, "swap"));
        assert_null(strstr(s[i].what, "load"));
        assert_null(strstr(s[i].what, "demotes"));
        assert_null(strstr(s[i].what, "limited"));
    }
    assert_true(governor);
    put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
    put("/proc/loadavg", "3.20 1.0 1.0 1/100 4\n");
    put("/sys/kernel/mm/numa/demotion_enabled", "true\n");
    put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "2000000\n");
    put("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3500000\n");
    n = nf_spoilers(&of, s);
    for (size_t i = 0; i < n; i++) {
        load |= !!strstr(s[i].what, "3.20");
        demotion |= strstr(s[i].what, "demotes") && strstr(s[i].mend, "demotion_enabled");
        assert_false(s[i].wrong); /* one node: nowhere to move pages to */
        limit |= strstr(s[i].what, "2000000 of 3500000 kHz") && strstr(s[i].mend, "-u 3500000kHz");
    }
    assert_true(load && demotion && limit);
    put("/sys/devices/system/node/has_memory", "0-1\n");
    n = nf_spoilers(&of, s);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(s[i].wrong, !!strstr(s[i].what, "demotes"));
}

/* Of the CPUs that will measure, each that says something else is named once; CPU 0 is not asked for another. */
static void looks_at_the_cpus_that_measure(void **state)
{
    const int cpus[] = {1, 2, 3};
    struct nf_spoilers_of of = {.root = replay_bed_folder(), .cpus = cpus, .n_cpus = 3};
    struct nf_spoiler s[NF_SPOILERS_MAX];
    unsigned wrong = 0, limited = 0;

    put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "1000000\n");
    for (int cpu = 1; cpu <= 3; cpu++) {
        char file[96];

        snprintf(file, sizeof file, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu);
        put(file, cpu == 1 ? "performance\n" : "schedutil\n");
        snprintf(file, sizeof file, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_max_freq", cpu);
        put(file, cpu == 3 ? "2000000\n" : "3500000\n");
        snprintf(file, sizeof file, "/sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq", cpu);
        put(file, "3500000\n");
    }
    for (size_t i = 0, n = nf_spoilers(&of, s); i < n; i++) {
        wrong += !strcmp(s[i].name, "governor") && s[i].wrong && strstr(s[i].what, "CPU 2 follows demand (governor schedutil)");
        limited += !strcmp(s[i].name, "frequency-limit") && strstr(s[i].what, "CPU 3 is limited to 2000000 of 3500000");
        assert_null(strstr(s[i].what, "CPU 0"));
        assert_true(strcmp(s[i].name, "governor") || strstr(s[i].what, "CPU 2"));
    }
    assert_int_equal(wrong, 1);
    assert_int_equal(limited, 1);
    of.n_cpus = 1;
    for (size_t i = 0, n = nf_spoilers(&of, s); i < n; i++)
        assert_true(strcmp(s[i].name, "governor") && strcmp(s[i].name, "frequency-limit"));
}

/* A node that is too small is mended by a scale, from the one that is asked for on. */
static void scales_from_the_present_scale(void **state)
{
    struct nf_spoilers_of of = {.root = replay_bed_folder(), .study = "job.nf", .scale = 0.5, .node_bytes = {1000 << 20}};
    struct nf_spoiler s[NF_SPOILERS_MAX];
    const char *mend = NULL;

    put("/sys/devices/system/node/has_memory", "0-1\n");
    put("/sys/devices/system/node/node0/meminfo", "Node 0 MemFree: 512000 kB\nNode 0 Active(file): 0 kB\nNode 0 Inactive(file): 0 kB\n");
    for (size_t i = 0, n = nf_spoilers(&of, s); i < n; i++)
        mend = strcmp(s[i].name, "node-memory") ? mend : s[i].mend;
    assert_non_null(mend);
    assert_string_equal(mend, "nearfar replay job.nf --scale 0.237");
    put("/sys/devices/system/node/node0/meminfo", "Node 0 MemFree: 99999999 kB\n");
    put("/sys/devices/system/node/has_memory", "0\n");
}

/* CPUs set aside for measuring: silent while they idle, refused when somebody runs on one that will measure. */
static void watches_isolated_cpus(void **state)
{
    const int cpus[] = {2, 3}, beside[] = {0};
    char later[64];
    struct nf_spoilers_of of = {.root = replay_bed_folder(), .root_later = later, .cpus = cpus, .n_cpus = 2};
    struct nf_spoiler s[NF_SPOILERS_MAX];
    const char *found = NULL;

    snprintf(later, sizeof later, "%s/later", replay_bed_folder());
    put("/sys/devices/system/cpu/isolated", "2-3\n");
    put("/proc/stat", "cpu 9 9 9 9 9 9 9 9\ncpu2 10 0 0 100 0 0 0 0\ncpu3 10 0 0 100 0 0 0 0\n");
    put("/later/proc/stat", "cpu 9 9 9 9 9 9 9 9\ncpu2 11 0 0 104 0 0 0 0\ncpu3 10 0 0 105 0 0 0 0\n");
    for (size_t i = 0, n = nf_spoilers(&of, s); i < n; i++)
        assert_string_not_equal(s[i].name, "isolated-cpus"); /* one tick is rounding */
    put("/later/proc/stat", "cpu 9 9 9 9 9 9 9 9\ncpu2 11 0 0 104 0 0 0 0\ncpu3 11 0 1 103 0 0 0 0\n");
    for (size_t i = 0, n = nf_spoilers(&of, s); i < n; i++)
        found = !strcmp(s[i].name, "isolated-cpus") && s[i].wrong ? s[i].what : found;
    assert_non_null(found);
    assert_string_equal(found, "CPU 3 is set aside for measuring and 40 % busy with something else");
    of.cpus = beside;
    of.n_cpus = 1;
    found = NULL;
    for (size_t i = 0, n = nf_spoilers(&of, s); i < n; i++)
        found = !strcmp(s[i].name, "isolated-cpus") && !s[i].wrong ? s[i].mend : found;
    assert_non_null(found);
    assert_string_equal(found, "nearfar replay STUDY --cpu 2");
    put("/sys/devices/system/cpu/isolated", "\n");
}

/* The replay itself, not only its rehearsal: refused before anything is measured or written; and gone on with, the trials say so. */
static void refuses_what_spoils(void **state)
{
    struct nf_study *s = write_study(false);
    struct nf_replay_options o = quick_replay(s);
    struct nf_replay_result r;

    put("/proc/loadavg", "0.10 1.0 1.0 1/100 4\n");
    put("/proc/sys/kernel/numa_balancing", "1\n");
    put("/sys/kernel/mm/numa/demotion_enabled", "1\n");
    put("/sys/devices/system/node/has_memory", "0-1\n");
    o.root = replay_bed_folder();
    assert_int_equal(nf_replay_run(s, &o, &r), -ENODEV);
    assert_non_null(strstr(nf_error_text(-ENODEV), "--despite numa-balancing,demotion "));
    o.despite = "demotion,thp";
    assert_int_equal(nf_replay_run(s, &o, &r), -ENODEV);
    assert_non_null(strstr(nf_error_text(-ENODEV), "--despite numa-balancing "));
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM replay"), 0);
    o.despite = "demotion,thp,numa-balancing";
    assert_int_equal(nf_replay_run(s, &o, &r), 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE despite = 'numa-balancing,demotion'"), 4);
    put("/sys/devices/system/node/has_memory", "0\n");
    assert_int_equal(nf_replay_run(s, &o, &r), 0);
    assert_int_equal(replay_bed_int(s, "SELECT count(*) FROM trial WHERE despite = ''"), 4);
    nf_study_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_a_study),
        cmocka_unit_test(keeps_what_was_done),
        cmocka_unit_test(untimed_captures_run_as_fast_as_possible),
        cmocka_unit_test(untimed_captures_are_not_paced),
        cmocka_unit_test(a_dry_run_writes_nothing),
        cmocka_unit_test(refuses_in_words),
        cmocka_unit_test(sweeps_ratios), cmocka_unit_test(moves_are_migrated_where_asked), cmocka_unit_test(plans_every_trial_once),
        cmocka_unit_test(scaled_streams_stay_sound),
        cmocka_unit_test(finds_the_knee),
        cmocka_unit_test(names_what_spoils),
        cmocka_unit_test(looks_at_the_cpus_that_measure),
        cmocka_unit_test(scales_from_the_present_scale),
        cmocka_unit_test(watches_isolated_cpus),
        cmocka_unit_test(refuses_what_spoils),
    };

    return cmocka_run_group_tests(tests, replay_bed_setup, replay_bed_teardown);
}
