/* Contention: what is asked for, the schedule followed without a clock, real threads, refusals. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "replay/background.h"
#include "replay/pin.h"

enum { PIECE = 65536 };
static const double BPS = 5e9;

static void parses(void **state)
{
    static const char *const wrong[] = {"", "read", "read:50%", "read@far", "@:", "walk:50%@far", "read:@far", "read:0%@far",
                                        "read:101%@far", "read:nan%@far", "read:-1%@far", "read:0@far", "read:fast@far",
                                        "read:50%@", "read:50%@far,", ",read:50%@far", "reads:50%@far", "read:1/s/s@far",
                                        "read:50%@a-name-that-is-longer-than-any-tier-may-have", "rea:50%@far",
                                        "read:1%@a,read:1%@a,read:1%@a,read:1%@a"};
    struct nf_background_spec s[3];
    size_t n;

    assert_int_equal(nf_background_parse("read:50%@far,write:2GB/s@near,mixed:max@my:tier", s, 3, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(s[0].kind, NF_BACKGROUND_READ);
    assert_true(s[0].share == 0.5 && !s[0].bps);
    assert_string_equal(s[0].tier, "far");
    assert_int_equal(s[1].kind, NF_BACKGROUND_WRITE);
    assert_true(s[1].share == 0 && s[1].bps == 2000000000);
    assert_string_equal(s[1].tier, "near");
    assert_int_equal(s[2].kind, NF_BACKGROUND_MIXED);
    assert_true(s[2].share == 0 && !s[2].bps);
    assert_string_equal(s[2].tier, "my:tier");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (nf_background_parse(wrong[i], s, 3, &n) != -EINVAL)
            fail_msg("'%s' was taken", wrong[i]);
    }
    nf_background_parse("walk:50%@far", s, 3, &n);
    assert_non_null(strstr(nf_error_text(0), "read, write, mixed, mostly-read and stream-out"));
}

static void mixes(void **state)
{
    static const double shares[NF_BACKGROUND_KINDS] = {1, 1.0 / 2, 2.0 / 3, 3.0 / 4, 0};
    struct nf_background_flow f;
    struct nf_tier t = {0};

    for (int k = 0; k < NF_BACKGROUND_KINDS; k++)
        assert_true(nf_background_read_share(k) > shares[k] - 1e-9 && nf_background_read_share(k) < shares[k] + 1e-9);
    /* A plain store is fetched and written back; a streamed one only written. */
    if (nf_tier_open("plain", "null", NULL, &t))
        fail_msg("%s", nf_error_text(0));
    nf_background_flow_init(&f, &t, 0, 0);
    nf_background_charge(&f, NF_RW_WRITE, NF_STORE_REGULAR, PIECE, 0);
    assert_int_equal(f.bytes, 2 * PIECE);
    nf_background_charge(&f, NF_RW_WRITE, NF_STORE_NON_TEMPORAL, PIECE, 0);
    assert_int_equal(f.bytes, 3 * PIECE);
    nf_background_charge(&f, NF_RW_READ, NF_STORE_NON_TEMPORAL, PIECE, 0);
    assert_int_equal(f.bytes, 4 * PIECE);
    nf_tier_close(&t);
}

static void open_emulated(struct nf_tier *t)
{
    const struct nf_tier_local local = {.latency_ns = 100, .read_bps = 2 * BPS, .write_bps = 2 * BPS};

    if (nf_tier_open("far", "emulated", &local, t))
        fail_msg("%s", nf_error_text(0));
}

/* What a stream that goes on without pause moves in a second beside a background on the same tier, as a share of the
 * tier's bandwidth. No clock runs: whoever may begin first begins. */
static double left_beside(const struct nf_tier *t, double bps, enum nf_rw rw, double *background)
{
    const uint64_t from = 1000000000, to = 2 * from;
    struct nf_background_flow mine, other;
    uint64_t me = from, it = from;

    nf_background_flow_init(&mine, t, 0, from);
    nf_background_flow_init(&other, t, bps, from);
    while (me < to || it < to) {
        if (it <= me)
            it = nf_background_charge(&other, rw, NF_STORE_REGULAR, PIECE, it);
        else
            me = nf_background_charge(&mine, NF_RW_READ, NF_STORE_REGULAR, PIECE, me);
    }
    *background = (double)other.bytes / BPS;
    return (double)mine.bytes / BPS;
}

static void shares_the_tier(void **state)
{
    static const double shares[] = {0.25, 0.5, 0.75};
    double left, taken;

    for (int i = 0; i < 3; i++) {
        for (enum nf_rw rw = NF_RW_READ; rw <= NF_RW_WRITE; rw++) {
            struct nf_tier t;

            open_emulated(&t);
            left = left_beside(&t, shares[i] * BPS, rw, &taken);
            /* One that asks for more than its half of the queue gets what is left by a stream that asks for all. */
            if (!(left > 1 - shares[i] - 0.01 && left + taken > 0.99 && left + taken < 1.01))
                fail_msg("beside %g the stream has %g, and the background %g", shares[i], left, taken);
            if (shares[i] <= 0.5 && !(left < 1 - shares[i] + 0.01 && taken > shares[i] - 0.01))
                fail_msg("beside %g the stream has %g, and the background %g", shares[i], left, taken);
            nf_tier_close(&t);
        }
    }
}

static void keeps_its_schedule(void **state)
{
    const uint64_t from = 1000000000;
    struct nf_background_flow f;
    struct nf_tier t;
    uint64_t next = from;

    open_emulated(&t);
    nf_background_flow_init(&f, &t, 1e9, from);
    for (int i = 0; i < 1000; i++)
        next = nf_background_charge(&f, NF_RW_READ, NF_STORE_REGULAR, PIECE, next);
    assert_true(next - from == (uint64_t)(1000.0 * PIECE)); /* 1 ns a byte */
    /* Held up for 3 ms it catches up, for a second it does not. */
    next = nf_background_charge(&f, NF_RW_READ, NF_STORE_REGULAR, PIECE, next + 3000000);
    for (int i = 0; i < 999; i++)
        next = nf_background_charge(&f, NF_RW_READ, NF_STORE_REGULAR, PIECE, next);
    assert_true(next - from == (uint64_t)(2000.0 * PIECE));
    assert_int_equal(f.forgiven_ns, 0);
    next = nf_background_charge(&f, NF_RW_READ, NF_STORE_REGULAR, PIECE, next + 1000000000);
    for (int i = 0; i < 1000; i++)
        next = nf_background_charge(&f, NF_RW_READ, NF_STORE_REGULAR, PIECE, next);
    assert_true(next - from > (uint64_t)(3000.0 * PIECE) + 1000000000);
    assert_in_range(f.forgiven_ns, 990000000, 1010000000);
    /* A store moves its bytes twice. */
    f.bytes = 0;
    nf_background_charge(&f, NF_RW_WRITE, NF_STORE_REGULAR, PIECE, next);
    assert_int_equal(f.bytes, 2 * PIECE);
    nf_tier_close(&t);
}

/* --- threads --- */

static struct {
    size_t mapped, unmapped;
    _Atomic uint64_t read_bytes, write_bytes;
    int cpu;
} counted;

static int count_map(void *tier, size_t bytes, void **memory)
{
    counted.mapped += bytes;
    *memory = aligned_alloc(4096, bytes);
    return *memory ? 0 : -ENOMEM;
}

static void count_unmap(void *tier, void *memory, size_t bytes)
{
    counted.unmapped += bytes;
    free(memory);
}

static int count_verify(void *tier, const void *memory, size_t bytes)
{
    return 0;
}

static uint64_t count_charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    counted.read_bytes += c->read_bytes;
    counted.write_bytes += c->write_bytes;
    counted.cpu = sched_getcpu();
    return start_ns;
}

static const struct nf_tier_ops counting = {.abi = NF_TIER_ABI, .name = "counting", .about = "for tests", .map = count_map,
                                            .unmap = count_unmap, .verify = count_verify, .charge = count_charge};
static const struct nf_tier tiers[] = {{.ops = &counting, .name = "near"}, {.ops = &counting, .name = "far"}};
static const double tier_bps[] = {1e9, 4e8};

static void need_cpus(int n)
{
    if (nf_pin_cpus() < n)
        skip();
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* On a CPU that nobody else wants the rate is kept; others' work there is bad luck, and tried again. */
static void keeps_its_rate(void **state)
{
    const struct nf_background_spec spec = {.kind = NF_BACKGROUND_MIXED, .share = 0.5, .tier = "far"};
    int taken = sched_getcpu();
    const struct nf_background_where where = {.tiers = tiers, .read_bps = tier_bps, .n_tiers = 2, .taken = &taken, .n_taken = 1, .llc_bytes = 1 << 20};
    double bps = 0;

    need_cpus(2);
    for (int try = 0; try < 20; try++) {
        struct nf_background *b;
        uint64_t charged;

        memset(&counted, 0, sizeof counted);
        assert_int_equal(nf_background_start(&spec, 1, &where, &b), 0);
        sleep_ms(try < 10 ? 100 : 300);
        assert_int_equal(nf_background_stop(b, &bps), 0);
        charged = counted.read_bytes + counted.write_bytes;
        assert_int_equal(counted.mapped, nf_background_bytes(1, 1 << 20));
        assert_int_equal(counted.unmapped, counted.mapped);
        assert_true(counted.cpu != taken);
        /* A read, a write: two thirds of the traffic are loads. */
        assert_true(charged > 0 && counted.read_bytes >= 2 * counted.write_bytes);
        assert_true(counted.read_bytes <= 2 * counted.write_bytes + PIECE);
        if (bps > 0.95 * 0.5 * tier_bps[1] && bps < 1.05 * 0.5 * tier_bps[1])
            return;
    }
    fail_msg("asked for %g bytes/s, reached %g", 0.5 * tier_bps[1], bps);
}

static void takes_all_there_is(void **state)
{
    struct nf_background *b;
    double bps;

    need_cpus(2);
    assert_int_equal(nf_background_start_hog((int[]){sched_getcpu()}, 1, 1 << 20, &b), 0);
    sleep_ms(30);
    assert_int_equal(nf_background_stop(b, &bps), 0);
    assert_true(bps > 1e8); /* on the slowest machine and beside anything */
    assert_int_equal(nf_background_stop(NULL, NULL), 0);
}

static void refuses_in_words(void **state)
{
    const struct nf_background_spec nowhere = {.kind = NF_BACKGROUND_READ, .share = 0.5, .tier = "away"};
    const struct nf_background_spec far = {.kind = NF_BACKGROUND_READ, .share = 0.5, .tier = "far"};
    int taken = sched_getcpu();
    const struct nf_background_where where = {.tiers = tiers, .read_bps = tier_bps, .n_tiers = 2, .taken = &taken, .n_taken = 1, .llc_bytes = 1 << 20};
    struct nf_background *b;
    struct nf_pin pin;

    assert_int_equal(nf_background_start(&nowhere, 1, &where, &b), -EINVAL);
    assert_non_null(strstr(nf_error_text(0), "no tier 'away' for a background; there are: near, far"));
    assert_int_equal(nf_background_probe(100000, 1), -ENODEV);
    assert_int_equal(nf_pin_init(&pin, taken), 0); /* one CPU only, and it is taken */
    assert_int_equal(nf_background_probe(1, 1), -ENODEV);
    assert_int_equal(nf_background_start(&far, 1, &where, &b), -ENODEV);
    assert_non_null(strstr(nf_error_text(0), "1 background thread beside 1 busy one wants 2 CPUs, and this process may "
                                             "use 1"));
    assert_int_equal(nf_background_start_hog(&taken, 1, 1 << 20, &b), -ENODEV);
    nf_pin_deinit(&pin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses), cmocka_unit_test(mixes),
        cmocka_unit_test(shares_the_tier),
        cmocka_unit_test(keeps_its_schedule),
        cmocka_unit_test(keeps_its_rate),
        cmocka_unit_test(takes_all_there_is),
        cmocka_unit_test(refuses_in_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
