/* A stream of two million visits replayed with a few MiB for it, held against the same one in memory: the same accesses in
 * the same order, no page fault while the clock runs, and memory for no more than was allowed. Each replay in a process
 * of its own, so that memory can be limited and what earlier ones left does not count. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/base/spill.h"
#include "core/base/text.h"
#include "pool/policy.h"
#include "replay/batches.h"
#include "replay/engine.h"

#if defined(__has_feature)
#define ASAN (__has_feature(address_sanitizer))
#elif defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#else
#define ASAN 0
#endif

enum { OPS = 200000, VISITS_PER_OP = 10, TENSORS = 64, TENSOR_BYTES = 65536, PAGE = NF_PAGE_BYTES };
static const uint64_t WINDOW = 8ull << 20;

/* What a replay came to. */
struct outcome {
    int rc;
    char why[256];
    uint64_t order; /* hash of all charges in their order */
    uint64_t read_bytes[2], write_bytes[2], charged_lines[2];
    uint64_t page_faults, file_pages; /* pages of files in memory, at most, while replaying, */
    uint64_t program_pages;           /* and those of the program and its libraries, all of their code in memory */
    unsigned reads, calls;
};
static struct outcome *out; /* shared with the child */

/* --- a stream --- */

static int build(struct nf_stream *s, struct nf_step_class *c)
{
    struct nf_rng rng = {7};

    c->n_ops = OPS;
    c->n_tensors = TENSORS;
    c->n_visits = OPS * VISITS_PER_OP;
    c->ops = calloc(OPS, sizeof *c->ops);
    c->tensors = calloc(TENSORS, sizeof *c->tensors);
    c->visits = nf_spill_alloc(c->n_visits, sizeof *c->visits);
    if (!c->ops || !c->tensors || !c->visits)
        return -ENOMEM;
    for (uint32_t i = 0; i < TENSORS; i++)
        c->tensors[i] = (struct nf_tensor){.bytes = TENSOR_BYTES, .address = (i + 1ull) << 20, .birth = NF_OP_BEFORE,
                                           .death = NF_OP_AFTER, .carry_in = (int32_t)i, .carry_out = (int32_t)i};
    for (uint32_t i = 0; i < OPS; i++)
        c->ops[i] = (struct nf_op){.first_visit = i * VISITS_PER_OP, .n_visits = VISITS_PER_OP, .regime = 1 + i / 1000};
    for (uint32_t i = 0; i < c->n_visits; i++) {
        uint64_t bytes = 64 * (1 + nf_rng_below(&rng, 8)), offset = 64 * nf_rng_below(&rng, TENSOR_BYTES / 64 - 8);

        c->visits[i] = (struct nf_visit){.op = i / VISITS_PER_OP, .tensor = (uint32_t)nf_rng_below(&rng, TENSORS),
                                         .offset = offset, .bytes = bytes, .run = bytes, .stride = bytes,
                                         .touches_q8 = 256, .rw = (uint8_t)nf_rng_below(&rng, NF_RW_COUNT),
                                         .parallelism = (uint8_t)(1 + nf_rng_below(&rng, 200))};
    }
    *s = (struct nf_stream){.classes = c, .n_classes = 1, .n_carry = TENSORS, .threads = 1};
    return nf_step_class_peak(c, &c->peak_live_bytes);
}

/* --- tiers that remember the order --- */

static void facts(const void *tier, struct nf_tier_facts *f)
{
    *f = (struct nf_tier_facts){.target_latency_ns = 1, .node = -1};
}

static int map(void *tier, size_t bytes, void **memory)
{
    *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return *memory == MAP_FAILED ? -ENOMEM : 0;
}

static void unmap(void *tier, void *memory, size_t bytes)
{
    munmap(memory, bytes);
}

static int verify(void *tier, const void *memory, size_t bytes)
{
    return 0;
}

static uint64_t charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    uint64_t what = (uint64_t)(uintptr_t)tier << 60 | c->read_bytes << 40 | c->write_bytes << 20 | (uint64_t)c->parallelism;

    out->order = nf_hash_add(out->order, what);
    return start_ns;
}

static const struct nf_tier_ops ops = {.abi = NF_TIER_ABI, .name = "order", .about = "for tests", .facts = facts, .map = map,
                                       .unmap = unmap, .verify = verify, .charge = charge};

/* --- a replay --- */

/* most: raised to the pages of files that are in memory now. */
static void look_at_memory(uint64_t *most)
{
    char text[128] = "";
    unsigned long all, resident, file;
    FILE *f = fopen("/proc/self/statm", "r");

    if (!f)
        return;
    if (fgets(text, sizeof text, f) && sscanf(text, "%lu %lu %lu", &all, &resident, &file) == 3 && file > *most)
        *most = file;
    fclose(f);
}

static int between(void *ctx, uint32_t class_index, uint32_t next_op)
{
    if (out->calls++ % 1000 == 0)
        look_at_memory(&out->file_pages);
    return nf_batches_between(ctx, class_index, next_op);
}

static int replay(bool batched)
{
    struct nf_tier tiers[2] = {{.ops = &ops, .state = (void *)1}, {.ops = &ops, .state = (void *)2}};
    struct nf_engine_config config = NF_ENGINE_CONFIG_INIT;
    struct nf_batches batches = {0};
    struct nf_profile profile = {0};
    struct nf_script script = {0};
    struct nf_step_class c = {0};
    struct nf_trial trial = {0};
    struct nf_stream stream;
    int rc;

    nf_spill_limit(batched ? WINDOW : UINT64_MAX);
    rc = build(&stream, &c);
    if (!rc)
        rc = nf_profile_init(&profile, &c, 1 << 20, 0);
    if (!rc)
        rc = nf_script_init(&script, &profile, 1);
    if (!rc)
        rc = nf_batches_init(&batches, &script, 1, WINDOW);
    if (!rc)
        rc = nf_spill_settle();
    for (int i = 0; i < 2; i++)
        facts(NULL, &tiers[i].facts);
    config.stream = &stream;
    config.scripts = &script;
    config.pool = (struct nf_pool_config){
        .tiers = tiers, .n_tiers = 2, .capacity = {TENSORS / 2 * TENSOR_BYTES, UINT64_MAX},
        .arena_bytes = {TENSORS * TENSOR_BYTES, TENSORS * TENSOR_BYTES}, .policy = nf_policy_find("near-first"),
        .policy_options = "", .profiles = &profile, .n_profiles = 1};
    config.warmup_min = config.warmup_max = 1;
    config.cycles = 1;
    if (nf_batches_needed(&batches)) {
        config.between = between;
        config.between_ctx = &batches;
    }
    if (!rc)
        rc = nf_trial_run(&config, &trial);
    if (!rc && trial.status != NF_TRIAL_OK)
        rc = nf_fail(-EIO, "%s", trial.message);
    for (int i = 0; i < 2; i++) {
        out->read_bytes[i] = trial.tier[i].read_bytes;
        out->write_bytes[i] = trial.tier[i].write_bytes;
        out->charged_lines[i] = trial.tier[i].charged_lines;
    }
    out->page_faults = trial.page_faults;
    out->reads = batches.reads;
    nf_trial_deinit(&trial);
    nf_batches_deinit(&batches);
    nf_script_deinit(&script);
    nf_profile_deinit(&profile);
    nf_spill_free(c.visits);
    free(c.ops);
    free(c.tensors);
    return rc;
}

/* beyond: bytes of memory of its own the process may take from now on, beside files; 0: as many as it likes. */
static struct outcome in_a_process(bool batched, uint64_t beyond)
{
    unsigned long long kib = 0;
    char line[256];
    FILE *f;
    int status;
    pid_t pid;

    memset(out, 0, sizeof *out);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        f = fopen("/proc/self/status", "r");
        while (f && fgets(line, sizeof line, f))
            sscanf(line, "VmData: %llu", &kib);
        if (f)
            fclose(f);
        if (beyond)
            setrlimit(RLIMIT_DATA, &(struct rlimit){kib * 1024 + beyond, kib * 1024 + beyond});
        nf_text_fetch();
        look_at_memory(&out->program_pages);
        out->rc = replay(batched);
        if (out->rc)
            snprintf(out->why, sizeof out->why, "%s", nf_error_text(out->rc));
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        fail_msg("the replay ended with status %x", (unsigned)status);
    return *out;
}

static void the_same_in_batches(void **state)
{
    const uint64_t memory = 96ull << 20; /* ops, plans and pools; the visits alone are 92 MiB, and their script 200 */
    struct outcome whole = in_a_process(false, 0), batched = in_a_process(true, ASAN ? 0 : memory);

    if (whole.rc || batched.rc)
        fail_msg("whole: %d %s; batched: %d %s", whole.rc, whole.why, batched.rc, batched.why);
    assert_int_equal(whole.reads, 0);
    assert_true(batched.reads >= 2 * ((uint64_t)OPS * VISITS_PER_OP * sizeof(struct nf_script_visit) / WINDOW));
    assert_true(batched.order == whole.order);
    for (int i = 0; i < 2; i++) {
        assert_true(whole.read_bytes[i] > 0);
        assert_int_equal(batched.read_bytes[i], whole.read_bytes[i]);
        assert_int_equal(batched.write_bytes[i], whole.write_bytes[i]);
        assert_int_equal(batched.charged_lines[i], whole.charged_lines[i]);
    }
    assert_int_equal(whole.page_faults, 0);
    assert_int_equal(batched.page_faults, 0);
    /* One batch, and the program itself. */
    assert_true(batched.program_pages > 0 && batched.file_pages > batched.program_pages);
    assert_in_range((batched.file_pages - batched.program_pages) * PAGE, 1, WINDOW + (4 << 20));
}

static void does_not_fit_otherwise(void **state)
{
    struct outcome whole;

    if (ASAN) /* its own memory is beyond any such limit */
        skip();
    whole = in_a_process(false, 96ull << 20);
    assert_int_equal(whole.rc, -ENOMEM);
}

/* --- batches by themselves --- */

static void cuts_at_ops(void **state)
{
    enum { N = 5000 };
    struct nf_op *op = calloc(N, sizeof *op);
    struct nf_step_class c = {.ops = op, .n_ops = N};
    struct nf_script s = {.of = &c};
    const struct nf_batches_class *cut;
    struct nf_batches b;
    uint32_t visits = 0;

    nf_spill_limit(0);
    s.ops = nf_spill_alloc(N, sizeof *s.ops);
    for (uint32_t i = 0; i < N; i++) {
        s.ops[i].visits = (struct nf_script_range){visits, i % 100 == 7 ? 5000 : i % 3};
        visits += s.ops[i].visits.n;
    }
    s.visits = nf_spill_alloc(visits, sizeof *s.visits);
    s.operands = nf_spill_alloc(0, 4);
    s.operand_rw = nf_spill_alloc(0, 1);
    assert_int_equal(nf_batches_init(&b, &s, 1, 100000), 0);
    assert_true(nf_batches_needed(&b));
    cut = &b.classes[0];
    assert_int_equal(cut->first[0], 0);
    assert_int_equal(cut->first[cut->n], N);
    for (uint32_t i = 0; i < cut->n; i++) {
        uint64_t bytes = 0;

        assert_true(cut->first[i] < cut->first[i + 1]);
        for (uint32_t k = cut->first[i]; k < cut->first[i + 1]; k++)
            bytes += sizeof *s.ops + s.ops[k].visits.n * sizeof *s.visits;
        assert_true(bytes <= 100000 || cut->first[i + 1] - cut->first[i] == 1);
    }
    /* Read once each on the way through, and again after the end. */
    for (int step = 0; step < 2; step++) {
        for (uint32_t i = 0; i < N; i++)
            assert_int_equal(nf_batches_between(&b, 0, i), 0);
        assert_int_equal(b.reads, cut->n * (step + 1u));
    }
    nf_batches_deinit(&b);
    nf_spill_free(s.ops);
    nf_spill_free(s.visits);
    nf_spill_free(s.operands);
    nf_spill_free(s.operand_rw);
    free(op);
    nf_spill_limit(UINT64_MAX);
}

static int share_outcome(void **state)
{
    out = mmap(NULL, sizeof *out, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return out == MAP_FAILED;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_in_batches),
        cmocka_unit_test(does_not_fit_otherwise),
        cmocka_unit_test(cuts_at_ops),
    };

    return cmocka_run_group_tests(tests, share_outcome, NULL);
}
