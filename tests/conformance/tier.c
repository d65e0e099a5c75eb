/* One suite for every tier provider in the table, and the calibration of the one that injects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/stats.h"
#include "core/model/stream.h"
#include "pool/mover.h"
#include "pool/tier.h"

static const struct nf_tier_local local = {.latency_ns = 100, .read_bps = 10e9, .write_bps = 8e9};
enum { BYTES = 4 << 20 };

static const struct nf_tier_ops *provider_of(void **state)
{
    return *state;
}

static const char *asked_spec; /* of a provider, instead of its defaults; NULL: none */

static const char *spec_of(const struct nf_tier_ops *p)
{
    size_t n = strlen(p->name);

    return asked_spec && !strncmp(asked_spec, p->name, n) && (asked_spec[n] == ':' || !asked_spec[n]) ? asked_spec : p->name;
}

/* Opens the provider with its defaults, or skips the test with the provider's own reason. */
static void open_or_skip(const struct nf_tier_ops *p, struct nf_tier *t)
{
    char why[256] = "";

    if (p->probe(why, sizeof why)) {
        print_message("%s: %s\n", p->name, why);
        skip();
    }
    assert_int_equal(nf_tier_open("far", spec_of(p), &local, t), 0);
}

static void test_declares(void **state)
{
    const struct nf_tier_ops *p = provider_of(state);
    struct nf_tier_ops filled;
    char why[256] = "";
    int rc;

    assert_int_equal(nf_tier_check(p, &filled), 0);
    assert_true(filled.verify && filled.charge);
    assert_true(strlen(p->about) > 0);
    rc = p->probe(why, sizeof why);
    assert_true(rc <= 0);
    assert_true(strlen(why) > 0);
    for (const struct nf_option *o = p->options; o && o->name; o++)
        assert_true(o->about && o->offset < p->options_size);
}

static void test_memory(void **state)
{
    const struct nf_tier_ops *p = provider_of(state);
    struct nf_tier t, copy;
    void *memory[2];

    open_or_skip(p, &t);
    assert_string_equal(t.name, "far");
    assert_string_equal(t.spec, spec_of(p));
    copy = t; /* an opened tier may be copied about */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(copy.ops->map(copy.state, BYTES, &memory[i]), 0);
        assert_int_equal((uintptr_t)memory[i] % NF_PAGE_BYTES, 0);
        memset(memory[i], 0x5a + i, BYTES);
    }
    for (int i = 0; i < 2; i++)
        for (size_t at = 0; at < BYTES; at++)
            if (((char *)memory[i])[at] != 0x5a + i)
                fail_msg("byte %zu of mapping %d changed", at, i);
    assert_int_equal(t.ops->verify(t.state, memory[0], BYTES), 0);
    assert_int_equal(t.ops->verify(t.state, (char *)memory[1] + NF_PAGE_BYTES, 3 * NF_PAGE_BYTES), 0);
    for (int i = 0; i < 2; i++)
        t.ops->unmap(t.state, memory[i], BYTES);
    nf_tier_close(&t);
    nf_tier_close(&t); /* a closed one is like a zeroed one */
}

/* A provider says whether its pages can be shown to be where they are; who has no verify cannot. */
static void test_admits(void **state)
{
    const struct nf_tier_ops *p = provider_of(state);
    struct nf_tier t;

    open_or_skip(p, &t);
    if (!p->verify)
        assert_true(t.facts.unproved);
    if (!strcmp(p->name, "numa") || !strcmp(p->name, "dax") || !strcmp(p->name, "file"))
        assert_false(t.facts.unproved);
    if (!strcmp(p->name, "emulated"))
        assert_true(t.facts.unproved == (t.facts.node < 0));
    nf_tier_close(&t);
}

static void test_charge(void **state)
{
    const struct nf_tier_ops *p = provider_of(state);
    uint64_t now = nf_now_ns(), last = now, end;
    struct nf_tier t;

    open_or_skip(p, &t);
    assert_int_equal(t.ops->charge(t.state, &(struct nf_tier_charge){.parallelism = 1}, now), now);
    for (uint32_t lines = 1; lines < 1000000; lines *= 3) {
        struct nf_tier_charge c = {.read_bytes = lines * 64ull, .write_bytes = lines * 32ull, .lines = lines,
                                   .parallelism = 4};

        end = t.ops->charge(t.state, &c, now);
        assert_true(end >= now);
        assert_true(end >= last);
        last = end;
    }
    assert_true((last > now) == (t.facts.target_bps > 0));
    nf_tier_close(&t);
}

static void test_options(void **state)
{
    const struct nf_tier_ops *p = provider_of(state);
    struct nf_tier t;
    char spec[128];

    open_or_skip(p, &t);
    nf_tier_close(&t);
    snprintf(spec, sizeof spec, "%s:no-such-option=1", p->name);
    assert_int_equal(nf_tier_open("far", spec, &local, &t), -EINVAL);
    assert_true(strlen(nf_error_text(-EINVAL)) > 0);
    assert_null(t.ops);
    nf_tier_close(&t);
}

static bool takes(const struct nf_tier_ops *p, const char *option)
{
    for (const struct nf_option *o = p->options; o && o->name; o++)
        if (!strcmp(o->name, option))
            return true;
    return false;
}

static void test_pages_and_nodes(void **state)
{
    const struct nf_tier_ops *p = provider_of(state);
    struct nf_tier t;
    char spec[128];

    open_or_skip(p, &t);
    nf_tier_close(&t);
    if (!takes(p, "page") || !takes(p, "node"))
        skip(); /* memory that is where it is: null, dax, file */
    snprintf(spec, sizeof spec, "%s:page=3k", p->name);
    assert_int_equal(nf_tier_open("far", spec, &local, &t), -EINVAL);
    snprintf(spec, sizeof spec, "%s:node=4000", p->name);
    assert_int_equal(nf_tier_open("far", spec, &local, &t), -ENODEV);
    assert_non_null(strstr(nf_error_text(-ENODEV), "4000"));
    snprintf(spec, sizeof spec, "%s:page=thp", p->name);
    assert_int_equal(nf_tier_open("far", spec, &local, &t), 0);
    nf_tier_close(&t);
}

/* --- not per provider --- */

static void test_unknown_lists(void **state)
{
    struct nf_tier t;
    char spec[512];

    assert_int_equal(nf_tier_open("far", "no-such:x=1", &local, &t), -EINVAL);
    for (const struct nf_tier_ops *const *p = nf_tier_providers; *p; p++)
        assert_non_null(strstr(nf_error_text(-EINVAL), (*p)->name));
    memset(spec, 'x', sizeof spec);
    spec[sizeof spec - 1] = '\0';
    assert_int_equal(nf_tier_open("far", spec, &local, &t), -EINVAL);
}

static void test_incomplete(void **state)
{
    struct nf_tier_ops broken = *nf_tier_providers[0], filled;

    broken.abi++;
    assert_int_equal(nf_tier_check(&broken, &filled), -EINVAL);
    broken = *nf_tier_providers[0];
    broken.map = NULL;
    assert_int_equal(nf_tier_check(&broken, &filled), -EINVAL);
    broken = *nf_tier_providers[0];
    broken.verify = NULL;
    broken.charge = NULL;
    assert_int_equal(nf_tier_check(&broken, &filled), 0);
    assert_int_equal(filled.verify(NULL, NULL, 0), 0);
    assert_int_equal(filled.charge(NULL, &(struct nf_tier_charge){.lines = 9, .parallelism = 1}, 5), 5);
}

/* A page that was never written is nowhere, and verify says so. */
static void test_numa_proves(void **state)
{
    char why[256];
    struct nf_tier t;
    void *memory;
    int rc = nf_tier_open("near", "numa", NULL, &t);

    if (rc == -ENODEV) {
        snprintf(why, sizeof why, "%s", nf_error_text(rc));
        print_message("%s\n", why);
        skip();
    }
    assert_int_equal(rc, 0);
    assert_true(t.facts.node >= 0);
    assert_true(t.facts.evidence == NF_EVIDENCE_MEASURED_DEVICE || t.facts.evidence == NF_EVIDENCE_EMULATED_MACHINE);
    memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(t.ops->verify(t.state, memory, BYTES), -EXDEV);
    assert_non_null(strstr(nf_error_text(-EXDEV), "nowhere"));
    munmap(memory, BYTES);
    assert_int_equal(t.ops->map(t.state, (size_t)1 << 50, &memory), -ENOMEM);
    nf_tier_close(&t);
}

/* --- huge pages --- */

/* Two of a kind side by side, so that the kernel could take them for one mapping; or skips the test with the kernel's reason. */
static void map_huge_or_skip(struct nf_tier *t, char *memory[2])
{
    assert_int_equal(nf_tier_open("far", "emulated:page=thp", &local, t), 0);
    for (int i = 0; i < 2; i++) {
        int rc = t->ops->map(t->state, BYTES, (void **)&memory[i]);

        if (!rc)
            continue;
        print_message("%s\n", nf_error_text(rc));
        assert_int_equal(rc, -ENODEV);
        skip();
    }
}

static int advise_small(char *page)
{
    return madvise(page, NF_PAGE_BYTES, MADV_NOHUGEPAGE);
}

static int forbid_writing(char *page)
{
    return mprotect(page, NF_PAGE_BYTES, PROT_READ);
}

static int give_back(char *page)
{
    int rc = madvise(page, NF_PAGE_BYTES, MADV_DONTNEED);

    *(volatile char *)page = 0; /* somewhere on the node again, as a small one */
    return rc;
}

/* One that is split behind the tier's back is seen, wherever the range that is proved lies and whatever a neighbour has. */
static void test_split_pages(void **state)
{
    static int (*const split[])(char *page) = {advise_small, forbid_writing, give_back};
    static const size_t at[] = {0, BYTES / 2 - NF_PAGE_BYTES, BYTES / 2, BYTES - NF_PAGE_BYTES};

    for (size_t i = 0; i < sizeof split / sizeof *split * 4; i++) {
        struct nf_tier t;
        char *memory[2];

        map_huge_or_skip(&t, memory);
        assert_int_equal(nf_tier_verify(&t, memory[0], BYTES), 0);
        assert_int_equal(nf_tier_verify(&t, memory[1], BYTES), 0);
        assert_int_equal(split[i / 4](memory[1] + at[i % 4]), 0);
        assert_int_equal(nf_tier_verify(&t, memory[0], BYTES), 0);
        assert_int_equal(t.ops->verify(t.state, memory[1], BYTES), 0); /* where they are says nothing of it */
        assert_int_equal(nf_tier_verify(&t, memory[1], BYTES), -EXDEV);
        if (!strstr(nf_error_text(-EXDEV), "of 4.00 MiB on huge pages 2.00 MiB are left"))
            fail_msg("split %zu: '%s'", i, nf_error_text(-EXDEV));
        for (int k = 0; k < 2; k++)
            t.ops->unmap(t.state, memory[k], BYTES);
        nf_tier_close(&t);
    }
}

/* --- files --- */

/* A file is proved by what is mapped: something else at the same address is noticed, and so is a full filesystem. */
static void test_file_proves(void **state)
{
    struct nf_tier t;
    void *memory[2], *other;

    assert_int_equal(nf_tier_open("far", "file", NULL, &t), 0);
    assert_int_equal(t.ops->map(t.state, BYTES, &memory[0]), 0);
    assert_int_equal(t.ops->map(t.state, NF_PAGE_BYTES, &memory[1]), 0);
    assert_int_equal(t.ops->verify(t.state, memory[0], BYTES), 0);
    assert_int_equal(t.ops->verify(t.state, memory[1], NF_PAGE_BYTES), 0);
    other = mmap((char *)memory[0] + 4 * NF_PAGE_BYTES, NF_PAGE_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    assert_true(other != MAP_FAILED);
    assert_int_equal(t.ops->verify(t.state, memory[0], 4 * NF_PAGE_BYTES), 0);
    assert_int_equal(t.ops->verify(t.state, memory[0], BYTES), -EXDEV);
    assert_int_equal(t.ops->verify(t.state, &t, NF_PAGE_BYTES), -EXDEV);
    t.ops->unmap(t.state, memory[0], BYTES);
    /* Freed places are used again, and the rest is still itself. */
    assert_int_equal(t.ops->map(t.state, BYTES, &memory[0]), 0);
    assert_int_equal(t.ops->verify(t.state, memory[0], BYTES), 0);
    assert_int_equal(t.ops->verify(t.state, memory[1], NF_PAGE_BYTES), 0);
    assert_true(t.ops->map(t.state, (size_t)1 << 50, &other) < 0);
    t.ops->unmap(t.state, memory[0], BYTES);
    t.ops->unmap(t.state, memory[1], NF_PAGE_BYTES);
    nf_tier_close(&t);
}

/* A file that is cut short under its users costs nobody his life: the proof says it, and so does the next mapping. */
static void test_file_disappears(void **state)
{
    char path[] = "/tmp/nearfar-tier-XXXXXX", spec[128];
    int fd = mkstemp(path);
    struct nf_tier t;
    char *memory;

    assert_true(fd >= 0);
    snprintf(spec, sizeof spec, "file:path=%s", path);
    assert_int_equal(nf_tier_open("far", spec, NULL, &t), 0);
    assert_int_equal(t.ops->map(t.state, BYTES, (void **)&memory), 0);
    memset(memory, 1, BYTES);
    assert_int_equal(t.ops->verify(t.state, memory, BYTES), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    memset(memory, 2, BYTES);
    assert_int_equal(memory[BYTES - 1], 2);
    assert_int_equal(t.ops->verify(t.state, memory, BYTES), -EXDEV);
    assert_non_null(strstr(nf_error_text(-EXDEV), "disappeared"));
    t.ops->unmap(t.state, memory, BYTES);
    assert_int_equal(t.ops->map(t.state, BYTES, (void **)&memory), 0);
    assert_int_equal(t.ops->verify(t.state, memory, BYTES), 0);
    t.ops->unmap(t.state, memory, BYTES);
    nf_tier_close(&t);
    close(fd);
    unlink(path);
}

/* Whether the kernel lists a mapping as one that only memory of the device itself can be. */
static bool is_synchronous(const void *memory)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    unsigned long from, to;
    bool inside = false, found = false;
    char line[512];

    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from <= (uintptr_t)memory && (uintptr_t)memory < to;
        else if (inside && !strncmp(line, "VmFlags:", 8))
            found = strstr(line, " sf");
    }
    fclose(f);
    return found;
}

/* The page cache is never taken for a device; on a file system mounted for direct access the mapping is the device's memory. */
static void test_file_direct(void **state)
{
    const char *spec = asked_spec && !strncmp(asked_spec, "file", 4) ? asked_spec : "file";
    struct nf_tier t;
    void *memory;

    assert_int_equal(nf_tier_open("far", spec, NULL, &t), 0);
    assert_int_equal(t.ops->map(t.state, BYTES, &memory), 0);
    print_message("%s: %s\n", spec, is_synchronous(memory) ? "memory of the device" : "the page cache");
    assert_true(is_synchronous(memory) || t.facts.evidence != NF_EVIDENCE_MEASURED_DEVICE);
    assert_int_equal(nf_tier_verify(&t, memory, BYTES), 0);
    t.ops->unmap(t.state, memory, BYTES);
    nf_tier_close(&t);
}

/* What a file holds is not overwritten unless that is asked for. */
static void test_file_is_kept(void **state)
{
    char path[] = "/tmp/nearfar-tier-XXXXXX", spec[128];
    int fd = mkstemp(path);
    struct nf_tier t;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    snprintf(spec, sizeof spec, "file:path=%s", path);
    assert_int_equal(nf_tier_open("far", spec, NULL, &t), -EINVAL);
    assert_non_null(strstr(nf_error_text(-EINVAL), "erase=yes"));
    assert_int_equal(lseek(fd, 0, SEEK_END), 1);
    snprintf(spec, sizeof spec, "file:path=%s,erase=yes", path);
    assert_int_equal(nf_tier_open("far", spec, NULL, &t), 0);
    nf_tier_close(&t);
    assert_int_equal(nf_tier_open("far", "file:path=/no-such-folder/file", NULL, &t), -ENOENT);
    assert_int_equal(nf_tier_open("far", "file:path=/dev/null", NULL, &t), -EINVAL);
    close(fd);
    unlink(path);
}

/* Every call is a line, and the inner provider's answers come through unchanged. */
static void test_trace_writes(void **state)
{
    static const char *const wanted[] = {"open emulated:latency-x=3", "map 4194304 at=", "verify 4194304 at=", "charge read=64",
                                         "unmap 4194304", "map 1125899906842624 failed: ", "close\n"};
    char path[] = "/tmp/nearfar-trace-XXXXXX", spec[160], text[4096] = "";
    int fd = mkstemp(path);
    struct nf_tier t;
    void *memory;

    assert_true(fd >= 0);
    snprintf(spec, sizeof spec, "trace:inner=emulated,inner-options=latency-x=3;bandwidth-x=0.5,file=%s", path);
    assert_int_equal(nf_tier_open("far", spec, &local, &t), 0);
    assert_float_equal(t.facts.target_latency_ns, 300, 1e-9);
    assert_int_equal(t.facts.evidence, NF_EVIDENCE_INJECTED_DELAY);
    assert_int_equal(t.ops->map(t.state, BYTES, &memory), 0);
    assert_int_equal(t.ops->verify(t.state, memory, BYTES), 0);
    assert_int_equal(t.ops->charge(t.state, &(struct nf_tier_charge){.read_bytes = 64, .lines = 1, .parallelism = 1}, 5000), 5300);
    t.ops->unmap(t.state, memory, BYTES);
    assert_true(t.ops->map(t.state, (size_t)1 << 50, &memory) < 0);
    nf_tier_close(&t);
    assert_true(read(fd, text, sizeof text - 1) > 0);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!strstr(text, wanted[i]))
            fail_msg("no line '%s' in:\n%s", wanted[i], text);
    close(fd);
    unlink(path);
    assert_int_equal(nf_tier_open("far", "trace:inner=no-such", &local, &t), -EINVAL);
}

/* --- the emulated tier: targets and calibration --- */

/* What is open; a test that is skipped midway leaves it to its teardown. */
static struct nf_tier left[2];
static size_t n_left;

static void keep(const struct nf_tier *t)
{
    assert_true(n_left < sizeof left / sizeof *left);
    left[n_left++] = *t;
}

static int close_left(void **state)
{
    while (n_left)
        nf_tier_close(&left[--n_left]);
    return 0;
}

static void emulated(struct nf_tier *t, const char *options)
{
    char spec[160];

    snprintf(spec, sizeof spec, "emulated%s%s", *options ? ":" : "", options);
    assert_int_equal(nf_tier_open("far", spec, &local, t), 0);
    keep(t);
    assert_int_equal(t->facts.evidence, NF_EVIDENCE_INJECTED_DELAY);
}

static void test_targets(void **state)
{
    static const struct {
        const char *options;
        double latency_ns, bps;
    } good[] = {
        {"", 200, 5e9}, {"latency-x=3", 300, 5e9}, {"latency-ns=250", 250, 5e9}, {"bandwidth-x=1", 200, 10e9},
        {"read-bps=2GB,latency-x=1", 100, 2e9},
    };
    static const struct {
        const char *spec, *says;
    } bad[] = {
        {"emulated:latency-ns=99", "100.0 ns"}, {"emulated:latency-x=0.9", "100.0 ns"},
        {"emulated:read-bps=11GB", "9.31 GiB/s"}, {"emulated:bandwidth-x=1.1", "9.31 GiB/s"},
        {"emulated:bandwidth-x=0", "above 0"}, {"emulated:latency-x=-1", "100.0 ns"},
    };
    struct nf_tier t;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        emulated(&t, good[i].options);
        assert_float_equal(t.facts.target_latency_ns, good[i].latency_ns, 1e-9);
        assert_float_equal(t.facts.target_bps, good[i].bps, 1);
        close_left(NULL);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(nf_tier_open("far", bad[i].spec, &local, &t), -ERANGE);
        assert_non_null(strstr(nf_error_text(-ERANGE), "out of reach"));
        assert_non_null(strstr(nf_error_text(-ERANGE), bad[i].says));
    }
    assert_int_equal(nf_tier_open("far", "emulated", NULL, &t), -EINVAL);
    assert_int_equal(nf_tier_open("far", "emulated", &(struct nf_tier_local){0}, &t), -EINVAL);
}

/* Small charges must not be rounded away or up: a thousand lines one by one cost what they cost at once. */
static void test_no_rounding_loss(void **state)
{
    struct nf_tier_charge line = {.read_bytes = 64, .lines = 1, .parallelism = 64};
    uint64_t start = nf_now_ns(), end = 0;
    struct nf_tier t;

    emulated(&t, "read-bps=9GB");
    for (int i = 0; i < 100000; i++)
        end = t.ops->charge(t.state, &line, start);
    assert_float_equal((double)(end - start), 100000 * 64 / 9.0, 100000 * 64 / 9.0 * 0.003);
    assert_true((double)(end - start) >= 100000 * 64 / 9.0);
    close_left(NULL);
}

/* An idle link saves nothing up: after a pause the first stretch still takes its full time. */
static void test_idle_is_not_saved(void **state)
{
    struct nf_tier_charge c = {.read_bytes = 5000000, .parallelism = 1}; /* 1 ms at 5 GB/s */
    uint64_t start = nf_now_ns();
    struct nf_tier t;

    emulated(&t, "");
    assert_int_equal(t.ops->charge(t.state, &c, start), start + 1000000);
    start += 1000000000;
    assert_int_equal(t.ops->charge(t.state, &c, start), start + 1000000);
    /* Back to back, both ways counted, in whatever order they ask. */
    c.write_bytes = 2500000;
    assert_int_equal(t.ops->charge(t.state, &c, start), start + 2500000);
    assert_int_equal(t.ops->charge(t.state, &c, start - 1000), start + 4000000);
    close_left(NULL);
}

/* Two clock reads of a spinning thread are some 40 ns apart; this far apart, it did not run. */
enum { GAP_NS = 20000 };

struct spinner {
    struct nf_tier *tier;
    struct nf_tier_charge charge;
    unsigned n;
    uint64_t start, end;
    _Atomic unsigned *missing; /* threads that have not come yet; spinning for them makes all start at once */
    bool disturbed;            /* somebody else ran on this CPU */
};

static long preemptions(void)
{
    struct rusage u;

    getrusage(RUSAGE_THREAD, &u);
    return u.ru_nivcsw;
}

/* n charged stretches one after the other, each waited for. */
static void *spin(void *arg)
{
    struct spinner *s = arg;
    uint64_t deadline, now, last;
    long before;

    atomic_fetch_sub(s->missing, 1);
    while (atomic_load(s->missing))
        ;
    before = preemptions();
    s->start = deadline = last = nf_now_ns();
    s->disturbed = false;
    for (unsigned i = 0; i < s->n; i++) {
        deadline = s->tier->ops->charge(s->tier->state, &s->charge, deadline);
        do {
            now = nf_now_ns();
            /* The host takes the CPU away without the guest noticing but for this gap, also where it outlasts the deadline. */
            s->disturbed = s->disturbed || now - last > GAP_NS;
            last = now;
        } while (now < deadline);
    }
    s->end = nf_now_ns();
    s->disturbed = s->disturbed || preemptions() != before;
    return NULL;
}

enum { RUNS = 9, TRIES = 300 };

/* The lower bound holds in every run, disturbed or not; the upper one for the median of undisturbed runs. */
static void assert_paced(struct spinner *s, size_t threads, double target_ns, const char *what)
{
    double ratio[RUNS];
    size_t runs = 0;

    for (unsigned try = 0; runs < RUNS && try < TRIES; try++) {
        _Atomic unsigned missing = (unsigned)threads;
        pthread_t thread[2];
        uint64_t start = UINT64_MAX, last_start = 0, end = 0;
        bool disturbed = false;

        for (size_t i = 0; i < threads; i++) {
            s[i].missing = &missing;
            assert_int_equal(pthread_create(&thread[i], NULL, spin, &s[i]), 0);
        }
        for (size_t i = 0; i < threads; i++) {
            pthread_join(thread[i], NULL);
            start = s[i].start < start ? s[i].start : start;
            last_start = s[i].start > last_start ? s[i].start : last_start;
            end = s[i].end > end ? s[i].end : end;
            disturbed = disturbed || s[i].disturbed;
        }
        if ((double)(end - start) < target_ns)
            fail_msg("%s: %.0f ns, less than the target of %.0f", what, (double)(end - start), target_ns);
        if (!disturbed && last_start - start < GAP_NS)
            ratio[runs++] = (double)(end - start) / target_ns;
    }
    if (runs < RUNS) {
        print_message("%s: only %zu undisturbed runs of %d on this busy machine\n", what, runs, TRIES);
        skip();
    }
    print_message("%s: %.4f of the target time\n", what, nf_median(ratio, RUNS));
    if (nf_median(ratio, RUNS) > 1.03)
        fail_msg("%s: the median run took %.3f of the target", what, nf_median(ratio, RUNS));
}

static void test_latency_by_parallelism(void **state)
{
    struct nf_tier t;

    emulated(&t, "");
    for (unsigned k = 1; k <= 8; k *= 2) {
        struct spinner s = {.tier = &t, .charge = {.lines = 512 * k, .parallelism = k}, .n = 20};
        char what[64];

        snprintf(what, sizeof what, "latency at k = %u", k);
        assert_paced(&s, 1, 20 * 512 * 200.0, what);
    }
    close_left(NULL);
}

static void test_bandwidth(void **state)
{
    struct nf_tier t;

    emulated(&t, "");
    for (int writes = 0; writes < 2; writes++) {
        struct spinner s = {.tier = &t, .charge = {.read_bytes = 65536, .write_bytes = writes ? 65536 : 0, .lines = 1024,
                                                   .parallelism = 64}, .n = 100};

        assert_paced(&s, 1, 100 * 65536.0 * (1 + writes) / 5, writes ? "bandwidth, updates" : "bandwidth, reads");
    }
    close_left(NULL);
}

static void test_two_threads_share(void **state)
{
    struct spinner s[2];
    struct nf_tier t;

    emulated(&t, "");
    s[0] = (struct spinner){.tier = &t, .charge = {.read_bytes = 65536, .lines = 1024, .parallelism = 64}, .n = 60};
    s[1] = (struct spinner){.tier = &t, .charge = {.write_bytes = 32768, .parallelism = 64}, .n = 120};
    assert_paced(s, 2, (60 * 65536.0 + 120 * 32768.0) / 5, "two threads, one link");
    close_left(NULL);
}

/* --- a mover beside the accesses --- */

enum { MOVED_BYTES = 8 << 20, ACCESSES = 160 /* of 64 KiB */ };

struct moving {
    struct nf_mover mover;
    struct nf_pool_storage from;
    char *to;
    uint32_t to_tier;
    _Atomic unsigned *missing;
    uint64_t start, end;
    bool disturbed;
};

static void *move(void *arg)
{
    struct moving *m = arg;
    long before;

    atomic_fetch_sub(m->missing, 1);
    while (atomic_load(m->missing))
        ;
    before = preemptions();
    m->start = nf_now_ns();
    nf_mover_move(&m->mover, &m->from, 0, m->from.bytes, m->to, m->to_tier, NULL);
    m->end = nf_now_ns();
    m->disturbed = preemptions() != before;
    return NULL;
}

/* Accesses and a move share the far tier's link: together they take what the link takes for all their bytes, whatever the
 * move does, for as long as both go on and until the later one ends. */
static double with_mover(struct spinner *s, struct moving *m, bool *disturbed)
{
    uint64_t before = atomic_load(&m->mover.charged_bytes[1]), start, end;
    _Atomic unsigned missing = 2;
    pthread_t thread[2];
    double target;

    s->missing = m->missing = &missing;
    assert_int_equal(pthread_create(&thread[0], NULL, spin, s), 0);
    assert_int_equal(pthread_create(&thread[1], NULL, move, m), 0);
    pthread_join(thread[0], NULL);
    pthread_join(thread[1], NULL);
    start = s->start < m->start ? s->start : m->start;
    end = s->end > m->end ? s->end : m->end;
    target = (ACCESSES * 65536.0 + (double)(atomic_load(&m->mover.charged_bytes[1]) - before)) / 5;
    *disturbed = s->disturbed || m->disturbed || (s->start > m->start ? s->start - m->start : m->start - s->start) > GAP_NS;
    if ((double)(end - start) < target)
        fail_msg("a concurrent mover: %.0f ns, less than the target of %.0f", (double)(end - start), target);
    return (double)(end - start) / target;
}

/* Whoever was kept from running catches up, so that most disturbed runs end in time as well. A median that is late counts
 * when the runs were undisturbed. */
static void assert_median_in_time(struct spinner *s, struct moving *m, const char *what)
{
    double quiet[RUNS], all[RUNS];
    size_t n_quiet = 0, n = 0;

    for (unsigned try = 0; n_quiet < RUNS && try < TRIES; try++) {
        bool disturbed;
        double one = with_mover(s, m, &disturbed);

        all[n++] = one;
        if (!disturbed)
            quiet[n_quiet++] = one;
        if (n == RUNS && nf_median(all, RUNS) <= 1.03) {
            print_message("a concurrent mover, %s: %.4f of the target time\n", what, nf_median(all, RUNS));
            return;
        }
        n %= RUNS;
    }
    if (n_quiet == RUNS)
        fail_msg("a concurrent mover, %s: the median run took %.3f of the target", what, nf_median(quiet, RUNS));
    print_message("a concurrent mover, %s: late, and only %zu undisturbed runs of %d on this busy machine\n", what, n_quiet, TRIES);
    skip();
}

static void test_concurrent_mover(void **state)
{
    struct nf_tier tiers[2];
    struct moving m = {0};
    void *memory[2];

    assert_int_equal(nf_tier_open("near", "null", NULL, &tiers[0]), 0);
    keep(&tiers[0]);
    emulated(&tiers[1], "");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tiers[i].ops->map(tiers[i].state, MOVED_BYTES, &memory[i]), 0);
        memset(memory[i], 1, MOVED_BYTES);
    }
    nf_mover_init(&m.mover, NF_MOVER_COPY, tiers, 2, local.latency_ns, local.read_bps, NULL);
    m.mover.chunk_bytes = NF_MOVER_CHUNK_BESIDE;
    for (uint32_t to = 0; to < 2; to++) {
        struct spinner s = {.tier = &tiers[1], .charge = {.read_bytes = 65536, .lines = 1024, .parallelism = 64}, .n = ACCESSES};

        m.from = (struct nf_pool_storage){.bytes = MOVED_BYTES};
        m.from.piece[!to] = (struct nf_extent){memory[!to], MOVED_BYTES};
        m.to = memory[to];
        m.to_tier = to;
        assert_median_in_time(&s, &m, to ? "demoting" : "promoting");
    }
    for (int i = 0; i < 2; i++)
        tiers[i].ops->unmap(tiers[i].state, memory[i], MOVED_BYTES);
    close_left(NULL);
}

/* [PATTERN [SPEC]]: only tests of these names; the provider of the spec with its options. */
/* Which node a tier would be bound to, and which tiers are nodes: asked of the provider, before anything is opened. */
static void test_nodes(void **state)
{
    static const struct {
        const char *spec;
        int wanted;
        bool is_node;
    } cases[] = {{"numa", 5, true}, {"numa:node=3", 3, true}, {"numa:page=thp,node=3", 3, true}, {"emulated", 5, false},
                 {"emulated:latency-x=3,node=2", 2, false}, {"file:path=/node=1", -1, false}, {"null", -1, false}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(nf_tier_wanted_node(cases[i].spec, 5), cases[i].wanted);
        assert_int_equal(nf_tier_is_node(nf_tier_provider(cases[i].spec)), cases[i].is_node);
    }
    assert_int_equal(nf_tier_wanted_node("numa:node=x", 5), -1);
    assert_int_equal(nf_tier_wanted_node("numanode", 5), -1);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void **);
    } each[] = {
        {"declares itself", test_declares}, {"memory", test_memory}, {"admits what it cannot prove", test_admits}, {"charge", test_charge},
        {"refuses unknown options", test_options}, {"pages and nodes", test_pages_and_nodes},
    };
    static const struct CMUnitTest once[] = {
        cmocka_unit_test(test_unknown_lists), cmocka_unit_test(test_incomplete), cmocka_unit_test(test_numa_proves),
        cmocka_unit_test(test_split_pages), cmocka_unit_test(test_file_proves), cmocka_unit_test(test_file_disappears), cmocka_unit_test(test_file_is_kept),
        cmocka_unit_test(test_file_direct), cmocka_unit_test(test_trace_writes),
        cmocka_unit_test_teardown(test_targets, close_left),
        cmocka_unit_test_teardown(test_no_rounding_loss, close_left),
        cmocka_unit_test_teardown(test_idle_is_not_saved, close_left),
        cmocka_unit_test_teardown(test_latency_by_parallelism, close_left),
        cmocka_unit_test_teardown(test_bandwidth, close_left), cmocka_unit_test(test_nodes),
        cmocka_unit_test_teardown(test_two_threads_share, close_left),
        cmocka_unit_test_teardown(test_concurrent_mover, close_left),
    };
    enum { EACH = sizeof each / sizeof *each, ONCE = sizeof once / sizeof *once, PROVIDERS_MAX = 32 };
    static struct CMUnitTest tests[EACH * PROVIDERS_MAX + ONCE];
    static char names[EACH * PROVIDERS_MAX][64];
    size_t n = 0;

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    asked_spec = argc > 2 ? argv[2] : NULL;
    for (size_t p = 0; nf_tier_providers[p] && p < PROVIDERS_MAX; p++)
        for (size_t i = 0; i < EACH; i++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", nf_tier_providers[p]->name, each[i].name);
            tests[n] = (struct CMUnitTest){.name = names[n], .test_func = each[i].run,
                                           .initial_state = (void *)nf_tier_providers[p]};
        }
    memcpy(tests + n, once, sizeof once);
    return _cmocka_run_group_tests("tiers", tests, n + ONCE, NULL, NULL);
}
