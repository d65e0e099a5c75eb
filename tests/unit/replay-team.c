/* The team of replay threads: they work together, on the right CPUs, and share an op so that each byte is touched by exactly
 * one of them. */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "replay/pin.h"
#include "replay/team.h"
#include "replay/visit-walk.h"
#include "replay/worker.h"

/* --- together --- */

enum { MEMBERS = 3, PIECES = 2000 };

struct tally {
    unsigned round, wrong;
    unsigned seen[MEMBERS];
    atomic_uint calls;
    int cpu[MEMBERS];
};

static void tally(void *context, unsigned index)
{
    struct tally *t = context;

    /* Each sees what the caller wrote just before, and is called once a piece. */
    t->wrong += t->seen[index] + 1 != t->round && index < MEMBERS;
    t->seen[index] = t->round;
    t->cpu[index] = sched_getcpu();
    atomic_fetch_add(&t->calls, 1);
}

static void every_thread_does_every_piece_once(void **state)
{
    int cpus[MEMBERS], cpu = sched_getcpu();
    struct tally t = {0};
    struct nf_team *team;

    for (int i = 0; i < MEMBERS; i++)
        cpus[i] = cpu; /* more threads than CPUs: slow, and still right */
    assert_int_equal(nf_team_start(MEMBERS, cpus, tally, &t, &team), 0);
    for (t.round = 1; t.round <= PIECES; t.round++) {
        nf_team_run(team);
        for (int i = 0; i < MEMBERS; i++)
            assert_int_equal(t.seen[i], t.round);
    }
    assert_int_equal(t.calls, MEMBERS * PIECES);
    assert_int_equal(t.wrong, 0);
    assert_null(nf_team_stop(team));
    assert_null(nf_team_stop(NULL));
}

struct meeting {
    atomic_uint arrived, missed;
};

static void meet(void *context, unsigned index)
{
    const uint64_t give_up_ns = nf_now_ns() + 20000000000ull;
    struct meeting *m = context;

    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) % MEMBERS && nf_now_ns() < give_up_ns)
        sched_yield();
    /* The next piece begins only when all of them left. */
    atomic_fetch_add(&m->missed, atomic_load(&m->arrived) % MEMBERS != 0);
}

/* They are at the same piece at the same time, the caller among them: nobody waits for another one's end. */
static void threads_work_at_the_same_time(void **state)
{
    int cpus[MEMBERS], cpu = sched_getcpu();
    struct meeting m = {0};
    struct nf_team *team;

    for (int i = 0; i < MEMBERS; i++)
        cpus[i] = cpu;
    assert_int_equal(nf_team_start(MEMBERS, cpus, meet, &m, &team), 0);
    for (int i = 0; i < 20 && !m.missed; i++)
        nf_team_run(team);
    assert_int_equal(m.missed, 0);
    nf_team_stop(team);
}

static void threads_are_born_on_their_cpus(void **state)
{
    struct nf_pin pin;
    struct tally t = {.round = 1};
    struct nf_team *team;
    int cpus[2], first = sched_getcpu(), nowhere[2] = {first, CPU_SETSIZE - 1};

    if (nf_pin_team("", NULL, first, 2, cpus) < 2)
        skip();
    /* The caller's own single CPU is not inherited. */
    assert_int_equal(nf_pin_init(&pin, first), 0);
    assert_int_equal(nf_team_start(2, cpus, tally, &t, &team), 0);
    nf_team_run(team);
    assert_int_equal(t.cpu[0], cpus[0]);
    assert_int_equal(t.cpu[1], cpus[1]);
    assert_int_not_equal(t.cpu[0], t.cpu[1]);
    nf_team_stop(team);
    nf_pin_deinit(&pin);
    assert_true(nf_team_start(2, nowhere, tally, &t, &team) < 0);
    assert_true(nf_team_start(0, cpus, tally, &t, &team) == -EINVAL);
}

/* --- on the right CPUs --- */

static char root[] = "/tmp/nearfar-team-XXXXXX";

static void put(const char *path, const char *text)
{
    char full[256];
    FILE *f;

    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + sizeof root; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(full, 0755);
        *p = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int remove_root(void **state)
{
    char command[64];

    snprintf(command, sizeof command, "rm -rf %s/sys", root);
    return system(command);
}

/* Two packages, two clusters (nodes) each, two cores a cluster, two threads a core: CPU 0..7 are the first threads of the
 * cores, 8..15 their siblings. */
static void make_machine(void)
{
    for (int cpu = 0; cpu < 16; cpu++) {
        char path[96], text[16];
        int core = cpu % 8;

        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/core_id", cpu);
        snprintf(text, sizeof text, "%d\n", core % 4); /* counted anew in each package, as real ones are */
        put(path, text);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/physical_package_id", cpu);
        snprintf(text, sizeof text, "%d\n", core / 4);
        put(path, text);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/node%d", cpu, core / 2);
        put(path, "");
    }
}

static cpu_set_t sixteen(void)
{
    cpu_set_t all;

    CPU_ZERO(&all);
    for (int i = 0; i < 16; i++)
        CPU_SET(i, &all);
    return all;
}

static void cores_of_one_cluster_come_first(void **state)
{
    static const int want[8] = {2, 3, 0, 1, 4, 5, 6, 7};
    cpu_set_t all = sixteen();
    int cpus[17];

    make_machine();
    assert_int_equal(nf_pin_team(root, &all, 2, 8, cpus), 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(cpus[i], want[i]);
    /* Siblings only when there is nothing else: first those of the same cluster. */
    assert_int_equal(nf_pin_team(root, &all, 2, 10, cpus), 10);
    assert_int_equal(cpus[8], 10);
    assert_int_equal(cpus[9], 11);
    assert_int_equal(nf_pin_team(root, &all, 2, 17, cpus), 16);
    /* What is not allowed is not used: the core's other thread is as good, then the next cluster. */
    CPU_CLR(3, &all);
    assert_int_equal(nf_pin_team(root, &all, 2, 2, cpus), 2);
    assert_int_equal(cpus[1], 11);
    CPU_CLR(11, &all);
    assert_int_equal(nf_pin_team(root, &all, 2, 2, cpus), 2);
    assert_int_equal(cpus[1], 0);
}

/* Traffic runs on the initiator's node before others, on its core's other thread last, and never where somebody is. */
static void others_go_beside(void **state)
{
    static const int alone[5] = {6, 7, 0, 1, 2}, beside[9] = {7, 0, 1, 2, 3, 4, 5, 14, 15};
    const int taken[] = {6};
    cpu_set_t all = sixteen();
    int cpus[16];

    make_machine();
    assert_int_equal(nf_pin_beside(root, &all, 6, NULL, 0, 5, cpus), 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(cpus[i], alone[i]);
    assert_int_equal(nf_pin_beside(root, &all, 6, taken, 1, 9, cpus), 9);
    for (int i = 0; i < 9; i++)
        assert_int_equal(cpus[i], beside[i]);
    assert_int_equal(nf_pin_beside(root, &all, 6, taken, 1, 16, cpus), 15);
    assert_int_equal(nf_pin_node_cpus(root, &all, 6), 4);
    CPU_CLR(15, &all);
    assert_int_equal(nf_pin_node_cpus(root, &all, 6), 3);
    assert_int_equal(nf_pin_beside(root, &all, 6, taken, 1, 16, cpus), 14);
}

static void lists_name_cpus(void **state)
{
    char text[16];

    nf_pin_list((const int[]){5, 3, 4, 9, 0}, 5, text, sizeof text);
    assert_string_equal(text, "0,3-5,9");
    nf_pin_list(NULL, 0, text, sizeof text);
    assert_string_equal(text, "");
    nf_pin_list((const int[]){1, 3, 5, 7, 9, 11, 13, 15}, 8, text, sizeof text); /* too many for it */
    assert_string_equal(text, "1,3,5,7,9,11,13");
}

static void unknown_topology_counts_on(void **state)
{
    cpu_set_t all;
    int cpus[3];

    CPU_ZERO(&all);
    for (int i = 0; i < 4; i++)
        CPU_SET(i, &all);
    assert_int_equal(nf_pin_team(root, &all, 1, 3, cpus), 3);
    assert_int_equal(cpus[0], 1);
    assert_int_equal(cpus[1], 0);
    assert_int_equal(cpus[2], 2);
}

/* --- each byte by one of them --- */

enum { WORDS = 96 * 1024 };

static uint64_t data[WORDS] __attribute__((aligned(4096)));

static void share(struct nf_script_visit v, uint32_t parts, uint32_t chunks)
{
    struct nf_pool_storage storage = {.piece = {{(char *)data, sizeof data}}, .bytes = sizeof data};
    const struct nf_pool_storage *storages[1] = {&storage};
    const struct nf_script_op op = {.operands = {0, 1}, .visits = {0, 1}, .chunks = chunks * parts};
    const struct nf_script script = {.visits = &v};
    const uint32_t only[1] = {0};
    const struct nf_worker_rules rules = {.n_tiers = 1, .kernels = *nf_kernels_best(), .parallelism_scale = 1};
    const struct nf_worker_op o = {.script = &script, .op = &op, .storages = storages, .only_tier = only, .parts = parts,
                                   .chunks = chunks, .measuring = true};
    uint64_t bytes = 0;

    memset(data, 0, sizeof data);
    for (uint32_t part = 0; part < parts; part++) {
        struct nf_worker w = {0};

        nf_worker_run(&w, &rules, &o, part);
        assert_int_equal(w.tier[0].read_bytes, w.tier[0].write_bytes);
        /* A fair share: as much as the others, up to a chunk's grain. */
        assert_true(w.tier[0].read_bytes <= v.total / parts + (chunks + 1) * v.grain);
        bytes += w.tier[0].read_bytes;
    }
    assert_int_equal(bytes, v.total);
}

static void check_words(const struct nf_script_visit *v, uint64_t times)
{
    uint64_t touched = 0;

    for (uint64_t run = 0; run < v->bytes / v->run; run++) {
        for (uint64_t at = 0; at < v->run; at += sizeof *data) {
            uint64_t word = (v->offset + run * v->stride + at) / sizeof *data;

            if (data[word] != times)
                fail_msg("word %llu was touched %llu times, not %llu", (unsigned long long)word,
                         (unsigned long long)data[word], (unsigned long long)times);
            touched++;
        }
    }
    for (uint64_t i = 0; i < WORDS; i++)
        touched -= data[i] != 0;
    assert_int_equal(touched, 0); /* and nothing beside */
}

static void parts_touch_every_word_once(void **state)
{
    static const struct {
        uint64_t offset, bytes, run, stride, passes;
        bool gather;
    } shapes[] = {
        {0, WORDS * 8, WORDS * 8, WORDS * 8, 1, false}, {4096, 300000 / 8 * 8, 300000 / 8 * 8, 300000 / 8 * 8, 1, false},
        {64, 64 * 1000, 64, 256, 1, false},             {0, 512 * 700, 512, 1024, 1, true},
        {0, 200000, 200000, 200000, 3, false},          {8, 4096, 4096, 4096, 2, false},
    };
    static const uint32_t parts[] = {1, 2, 3, 7};

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct nf_script_visit v = {.offset = shapes[i].offset, .bytes = shapes[i].bytes, .run = shapes[i].run,
                                    .stride = shapes[i].stride, .total = shapes[i].bytes * shapes[i].passes,
                                    .grain = shapes[i].run < shapes[i].bytes ? shapes[i].run : 64, .rw = NF_RW_UPDATE};

        if (shapes[i].gather)
            nf_rows_init(&v.rows, v.bytes / v.run, 7);
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
            for (uint32_t chunks = 1; chunks < 6; chunks += 2) {
                share(v, parts[p], chunks);
                check_words(&v, shapes[i].passes);
            }
        }
    }
}

/* --- k chains --- */

/* Time that this thread ran: waiting for memory counts, waiting for a CPU that others have does not. */
static double ran_ns(void)
{
    struct timespec t;

    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* split: its last page is on another tier. */
static double gather_ns(const struct nf_script_visit *v, char *memory, size_t bytes, bool split, uint64_t from, uint64_t to)
{
    const uint64_t other = split ? NF_PAGE_BYTES : 0;
    struct nf_pool_storage storage = {.piece = {{memory, bytes - other}, {memory + bytes - other, other}}, .bytes = bytes};
    uint64_t touched;
    double start = ran_ns();

    touched = nf_visit_walk(nf_kernels_best(), v, &storage, 0, !split, from, to);
    assert_in_range(touched, to - from - other, to - from);
    return ran_ns() - start;
}

/* One chain waits for every line, eight overlap: at least twice as fast on any machine that has a cache miss. Others who use the
 * memory or the core cost the eight more than the one: of many short attempts, lines from all over the memory, some are left in
 * peace, and the fastest of each are compared. */
static void known_parallelism_limits(bool split)
{
    enum { ATTEMPTS = 400 };
    const size_t bytes = 64 << 20;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct nf_script_visit v = {.bytes = bytes / 4, .run = 64, .stride = 256, .total = bytes / 4, .grain = 64, .rw = NF_RW_READ,
                                .pattern = NF_PATTERN_GATHER};
    const uint64_t slice = v.bytes / 16;
    double one = INFINITY, eight = INFINITY, faster = 0;

#if defined(__SANITIZE_ADDRESS__)
    skip(); /* the checks at each load take longer than the load */
#endif
    assert_true(memory != MAP_FAILED);
    madvise(memory, bytes, MADV_HUGEPAGE); /* walks of page tables, of which a CPU has few at a time, are not in question */
    memset(memory, 0x55, bytes);           /* values that would lead astray, were they not masked */
    nf_rows_init(&v.rows, v.bytes / v.run, 3);
    for (uint64_t attempt = 0; attempt < ATTEMPTS && faster < 2; attempt++) {
        uint64_t from = attempt * slice % v.bytes;

        v.parallelism = 1;
        one = fmin(one, gather_ns(&v, memory, bytes, split, from, from + slice));
        v.parallelism = 8;
        from = (from + v.bytes / 2) % v.bytes; /* whose lines no cache has from just now */
        eight = fmin(eight, gather_ns(&v, memory, bytes, split, from, from + slice));
        faster = one / eight;
    }
    munmap(memory, bytes);
    if (faster < 2)
        fail_msg("eight chains are only %.2f times as fast as one", faster);
}

static void known_parallelism_limits_a_gather(void **state)
{
    known_parallelism_limits(false);
}

static void known_parallelism_limits_a_gather_of_what_is_split(void **state)
{
    known_parallelism_limits(true);
}

/* Every byte of a gather by chains, where it lies, once. */
static void chains_walk_what_lies_on_their_tier(void **state)
{
    enum { PAGES = 6, RUN = 3 * 64, PULLED = 47 /* of rows, some over two pages */ };
    static uint64_t near[PAGES * NF_PAGE_BYTES / 8] __attribute__((aligned(4096))), far[PAGES * NF_PAGE_BYTES / 8] __attribute__((aligned(4096)));
    _Atomic uint8_t tier_of[PAGES] = {0, 1, 1, 0, 1, 0};
    struct nf_pool_storage storage = {.piece = {{(char *)near, 3 * NF_PAGE_BYTES}, {(char *)far, 3 * NF_PAGE_BYTES}},
                                      .bytes = PAGES * NF_PAGE_BYTES, .page_tier = tier_of};
    struct nf_script_visit v = {.offset = 448, .bytes = PULLED * RUN, .run = RUN, .stride = 512, .rw = NF_RW_UPDATE,
                                .pattern = NF_PATTERN_GATHER, .parallelism = 5};
    uint64_t touched = 0;

    v.total = v.bytes;
    nf_rows_init(&v.rows, v.bytes / v.run, 3);
    for (uint32_t tier = 0; tier < 2; tier++) /* in two pieces that end within a row */
        touched += nf_visit_walk(nf_kernels_best(), &v, &storage, tier, false, 0, 1000) +
                   nf_visit_walk(nf_kernels_best(), &v, &storage, tier, false, 1000, v.bytes);
    assert_int_equal(touched, v.bytes);
    for (uint64_t at = 0; at < sizeof near; at += 8) {
        uint64_t in = (at - v.offset) % v.stride;
        bool visited = at >= v.offset && at < v.offset + PULLED * v.stride && in < RUN, on_far = tier_of[at / NF_PAGE_BYTES];

        if (near[at / 8] != (visited && !on_far) || far[at / 8] != (visited && on_far))
            fail_msg("byte %llu: %llu near, %llu far", (unsigned long long)at, (unsigned long long)near[at / 8], (unsigned long long)far[at / 8]);
    }
}

/* The far tier of these tests only remembers. */
static struct nf_tier_charge last_charge;

static uint64_t remember(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    last_charge = *c;
    return start_ns;
}

static void plain_stores_pay_for_their_fetch(void **state)
{
    static const struct nf_tier_ops ops = {.charge = remember};
    struct nf_tier tier = {.ops = &ops};
    struct nf_pool_storage storage = {.piece = {{(char *)data, sizeof data}}, .bytes = sizeof data};
    const struct nf_pool_storage *storages[1] = {&storage};
    const uint32_t only[1] = {0};
    const uint64_t lines = 100;

    for (unsigned rw = 0; rw < NF_RW_COUNT; rw++) {
        for (unsigned store = NF_STORE_REGULAR; store <= NF_STORE_NON_TEMPORAL; store++) {
            struct nf_script_visit v = {.bytes = lines * 64, .run = lines * 64, .stride = lines * 64, .total = lines * 64,
                                        .grain = 64, .rw = (uint8_t)rw, .miss_first = 1.0 / 64, .parallelism = 1};
            const struct nf_script_op op = {.operands = {0, 1}, .visits = {0, 1}, .chunks = 1};
            const struct nf_script script = {.visits = &v};
            const struct nf_worker_rules rules = {.tiers = &tier, .n_tiers = 1, .injects = {true}, .parallelism_scale = 1,
                                                  .kernels = nf_kernels_storing(nf_kernels_best(), (enum nf_store)store),
                                                  .store = (enum nf_store)store};
            const struct nf_worker_op o = {.script = &script, .op = &op, .storages = storages, .only_tier = only, .parts = 1,
                                           .chunks = 1, .measuring = true};
            bool past = rw == NF_RW_WRITE && store == NF_STORE_NON_TEMPORAL;
            struct nf_worker w = {0};

            nf_pace_init(&w.pace);
            nf_worker_run(&w, &rules, &o, 0);
            assert_int_equal(last_charge.read_bytes, past ? 0 : lines * 64);
            assert_int_equal(last_charge.write_bytes, rw == NF_RW_READ ? 0 : lines * 64);
            assert_int_equal(last_charge.lines, past ? 0 : lines);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_does_every_piece_once),
        cmocka_unit_test(threads_work_at_the_same_time),
        cmocka_unit_test(threads_are_born_on_their_cpus),
        cmocka_unit_test_teardown(cores_of_one_cluster_come_first, remove_root),
        cmocka_unit_test_teardown(others_go_beside, remove_root),
        cmocka_unit_test(lists_name_cpus),
        cmocka_unit_test(unknown_topology_counts_on),
        cmocka_unit_test(parts_touch_every_word_once),
        cmocka_unit_test(known_parallelism_limits_a_gather),
        cmocka_unit_test(known_parallelism_limits_a_gather_of_what_is_split),
        cmocka_unit_test(chains_walk_what_lies_on_their_tier),
        cmocka_unit_test(plain_stores_pay_for_their_fetch),
    };
    int failed;

    if (!mkdtemp(root))
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(root);
    return failed;
}
