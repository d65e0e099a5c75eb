/* The audit on streams written by hand, one kind each, and at random against a model that looks at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/model/audit.h"

enum { PAGE = 4096, OPS = 40, TENSORS = 6, VISITS = 6, BETWEEN = 0, IN_OP = 256, BYTES_MAX = 12 * PAGE };

static struct nf_op ops[OPS];
static struct nf_tensor tensors[TENSORS];
static struct nf_visit visits[OPS * VISITS], sightings[OPS * VISITS * 4];
static struct nf_step_class c;
static uint32_t n_sightings;
static struct nf_audit audit;

/* Ops 0 to n - 1, named 0; tensors of 10 pages, all operands. */
static void begin(uint32_t n)
{
    memset(ops, 0, sizeof ops);
    memset(tensors, 0, sizeof tensors);
    for (uint32_t i = 0; i < TENSORS; i++) {
        tensors[i].bytes = 10 * PAGE;
        tensors[i].address = (uint64_t)(i + 1) << 20;
        tensors[i].tracked = true;
    }
    n_sightings = 0;
    c = (struct nf_step_class){.ops = ops, .visits = visits, .tensors = tensors, .n_ops = n, .n_tensors = TENSORS};
}

/* Of ops in their order. */
static void declare(uint32_t op, uint32_t tensor, uint64_t offset, uint64_t bytes, uint8_t rw)
{
    struct nf_op *o = &ops[op];

    if (!o->n_visits)
        o->first_visit = c.n_visits;
    o->n_visits++;
    visits[c.n_visits++] = (struct nf_visit){.op = op, .tensor = tensor, .offset = offset, .bytes = bytes, .run = bytes,
                                             .stride = bytes, .rw = rw};
}

static void see(uint32_t op, uint32_t tensor, uint64_t offset, uint64_t bytes, uint8_t rw, uint16_t touches)
{
    sightings[n_sightings++] = (struct nf_visit){.op = op, .tensor = tensor, .offset = offset, .bytes = bytes, .run = bytes,
                                                 .stride = bytes, .rw = rw, .touches_q8 = touches};
}

static const struct nf_audit *judged(uint32_t resolution, uint32_t boundary, bool rw)
{
    const struct nf_audit_source source = {resolution, boundary, 0, 0, rw};

    nf_audit_deinit(&audit);
    assert_int_equal(nf_audit_init(&audit, &c, sightings, n_sightings, &source), 0);
    return &audit;
}

static int teardown(void **state)
{
    nf_audit_deinit(&audit);
    return 0;
}

/* That many bytes of a kind, and none of any other. */
static void all_is(const struct nf_audit *a, enum nf_audit_kind kind, uint64_t bytes)
{
    for (int k = 0; k < NF_AUDIT_KINDS; k++)
        if (a->bytes[k] != (k == (int)kind ? bytes : 0))
            fail_msg("%s: %llu bytes", nf_audit_kind_name(k), (unsigned long long)a->bytes[k]);
    if (bytes) {
        assert_int_equal(a->n_rows, 1);
        assert_int_equal(a->rows[0].kind, kind);
        assert_int_equal(a->rows[0].bytes, bytes);
    }
}

static void agree(void **state)
{
    begin(1);
    declare(0, 0, 100, 5000, NF_RW_READ);
    see(0, 0, 0, 2 * PAGE, NF_RW_READ, IN_OP);
    all_is(judged(PAGE, 1, true), NF_AUDIT_AGREE, 2 * PAGE);
    assert_int_equal(audit.tensors[0].declared, 2 * PAGE);
    assert_int_equal(audit.tensors[0].seen, 2 * PAGE);
    assert_int_equal(audit.tensors[0].agreed, 2 * PAGE);
    assert_true(audit.tensors[0].watched);
    assert_int_equal(audit.rw_bytes[NF_AUDIT_RW_AGREE], 2 * PAGE);
    /* To the byte: what was touched beside the operand's 5,000 is beyond it. */
    judged(1, 0, true);
    assert_int_equal(audit.bytes[NF_AUDIT_AGREE], 5000);
    assert_int_equal(audit.bytes[NF_AUDIT_BEYOND], 2 * PAGE - 5000);
}

static void part(void **state)
{
    begin(1);
    declare(0, 1, 0, 10 * PAGE, NF_RW_READ);
    see(0, 1, 3 * PAGE, PAGE, NF_RW_READ, IN_OP);
    judged(PAGE, 1, true);
    assert_int_equal(audit.bytes[NF_AUDIT_PART], 9 * PAGE);
    assert_int_equal(audit.bytes[NF_AUDIT_AGREE], PAGE);
    assert_int_equal(audit.rows[0].kind, NF_AUDIT_PART); /* what agrees comes last */
    assert_int_equal(audit.rows[0].example_tensor, 1);
}

static void untouched(void **state)
{
    begin(1);
    declare(0, 0, 0, 3 * PAGE, NF_RW_WRITE);
    all_is(judged(PAGE, 1, true), NF_AUDIT_UNTOUCHED, 3 * PAGE);
    all_is(judged(1, 0, true), NF_AUDIT_UNTOUCHED, 3 * PAGE);
}

static void seen_earlier(void **state)
{
    begin(5);
    declare(0, 0, 0, 4 * PAGE, NF_RW_READ);
    declare(1, 0, 0, 6 * PAGE, NF_RW_READ);
    declare(4, 0, 0, 4 * PAGE, NF_RW_READ);
    see(0, 0, 0, 4 * PAGE, NF_RW_READ, IN_OP);
    judged(PAGE, 4, true);
    assert_int_equal(audit.bytes[NF_AUDIT_EARLIER], 4 * PAGE);
    /* Two pages of op 1 that nothing touched, and op 4's, which begins after a boundary. */
    assert_int_equal(audit.bytes[NF_AUDIT_UNTOUCHED], 2 * PAGE + 4 * PAGE);
    judged(PAGE, 1, true);
    assert_int_equal(audit.bytes[NF_AUDIT_EARLIER], 0);
    assert_int_equal(audit.bytes[NF_AUDIT_UNTOUCHED], 10 * PAGE);
}

/* Memory that was another tensor's when an op of the same window touched it: its pages were mapped already. */
static void seen_earlier_as_another(void **state)
{
    begin(3);
    tensors[2].address = tensors[1].address + 2 * PAGE;
    see(0, 1, 0, 5 * PAGE - 1000, NF_RW_WRITE, IN_OP);
    declare(1, 2, 0, 6 * PAGE, NF_RW_WRITE);
    see(1, 2, 3 * PAGE, 3 * PAGE, NF_RW_WRITE, IN_OP);
    judged(PAGE, 16, true);
    assert_int_equal(audit.bytes[NF_AUDIT_AGREE], 3 * PAGE);
    assert_int_equal(audit.bytes[NF_AUDIT_EARLIER], 3 * PAGE);
    judged(PAGE, 1, true);
    assert_int_equal(audit.bytes[NF_AUDIT_PART], 3 * PAGE);
}

static void gathered_rows(void **state)
{
    begin(1);
    declare(0, 0, 0, 2 * PAGE, NF_RW_READ);
    visits[0] = (struct nf_visit){.tensor = 0, .bytes = 2 * 512, .run = 512, .stride = 8 * 512, .pattern = NF_PATTERN_GATHER};
    see(0, 0, 5 * PAGE, PAGE, NF_RW_READ, IN_OP);
    all_is(judged(PAGE, 1, true), NF_AUDIT_ROWS, 3 * PAGE); /* two rows that were told, one page that was touched */
}

static void beyond_scratch_undeclared_between(void **state)
{
    begin(1);
    tensors[1].tracked = false;
    declare(0, 0, 0, PAGE, NF_RW_READ);
    see(0, 0, 0, 3 * PAGE, NF_RW_READ, IN_OP);
    see(0, 0, 5 * PAGE, PAGE, NF_RW_READ, BETWEEN);
    see(0, 1, 0, 4 * PAGE, NF_RW_WRITE, IN_OP);
    see(0, 2, 0, 5 * PAGE, NF_RW_WRITE, IN_OP);
    judged(PAGE, 1, true);
    assert_int_equal(audit.bytes[NF_AUDIT_AGREE], PAGE);
    assert_int_equal(audit.bytes[NF_AUDIT_BEYOND], 2 * PAGE);
    assert_int_equal(audit.bytes[NF_AUDIT_BETWEEN], PAGE);
    assert_int_equal(audit.bytes[NF_AUDIT_SCRATCH], 4 * PAGE);
    assert_int_equal(audit.bytes[NF_AUDIT_UNDECLARED], 5 * PAGE);
    assert_int_equal(audit.n_rows, 5);
    for (uint32_t i = 1; i + 1 < audit.n_rows; i++)
        assert_true(audit.rows[i].bytes <= audit.rows[i - 1].bytes);
}

static void reads_and_writes(void **state)
{
    static const struct {
        uint8_t declared, seen;
        enum nf_audit_rw kind;
    } cases[] = {
        {NF_RW_READ, NF_RW_READ, NF_AUDIT_RW_AGREE},        {NF_RW_WRITE, NF_RW_WRITE, NF_AUDIT_RW_AGREE},
        {NF_RW_UPDATE, NF_RW_UPDATE, NF_AUDIT_RW_AGREE},    {NF_RW_READ, NF_RW_WRITE, NF_AUDIT_RW_WRITTEN},
        {NF_RW_READ, NF_RW_UPDATE, NF_AUDIT_RW_WRITTEN},    {NF_RW_WRITE, NF_RW_READ, NF_AUDIT_RW_NOT_WRITTEN},
        {NF_RW_UPDATE, NF_RW_READ, NF_AUDIT_RW_NOT_WRITTEN}, {NF_RW_WRITE, NF_RW_UPDATE, NF_AUDIT_RW_READ_TOO},
        {NF_RW_UPDATE, NF_RW_WRITE, NF_AUDIT_RW_AGREE}, /* a page that was written first may have been read */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (uint32_t resolution = 1; resolution <= PAGE; resolution *= PAGE) {
            begin(3);
            declare(2, 1, PAGE, 2 * PAGE, cases[i].declared);
            see(2, 1, PAGE, 2 * PAGE, cases[i].seen, IN_OP);
            judged(resolution, 1, true);
            for (int k = 0; k < NF_AUDIT_RWS; k++)
                if (audit.rw_bytes[k] != (k == (int)cases[i].kind ? 2 * PAGE : 0))
                    fail_msg("case %zu: kind %d has %llu bytes", i, k, (unsigned long long)audit.rw_bytes[k]);
            assert_int_equal(audit.rw_example_op[cases[i].kind], 2);
            assert_int_equal(audit.rw_example_tensor[cases[i].kind], 1);
            judged(resolution, 1, false);
            for (int k = 0; k < NF_AUDIT_RWS; k++)
                assert_int_equal(audit.rw_bytes[k], 0); /* who infers them from the operands does not judge them */
        }
    }
}

static void tensors_outside_are_not_compared(void **state)
{
    const struct nf_audit_source source = {PAGE, 1, 2 << 20, 1 << 20, true};

    begin(1);
    declare(0, 0, 0, 777, NF_RW_READ);
    declare(0, 1, 0, PAGE, NF_RW_READ);
    see(0, 1, 0, PAGE, NF_RW_READ, IN_OP);
    nf_audit_deinit(&audit);
    assert_int_equal(nf_audit_init(&audit, &c, sightings, n_sightings, &source), 0);
    assert_int_equal(audit.unwatched_bytes, 777);
    assert_false(audit.tensors[0].watched);
    all_is(&audit, NF_AUDIT_AGREE, PAGE);
}

static void an_empty_step_has_nothing(void **state)
{
    begin(0);
    all_is(judged(PAGE, 1, true), NF_AUDIT_AGREE, 0);
    assert_int_equal(audit.n_rows, 0);
    begin(2);
    all_is(judged(PAGE, 1, true), NF_AUDIT_AGREE, 0);
}

/* --- at random --- */

enum { DECLARED = 1, SEEN = 2, SEEN_BETWEEN = 4 };
static uint8_t map[OPS][TENSORS][BYTES_MAX];

static void naive(uint32_t unit, uint32_t boundary, uint64_t bytes[NF_AUDIT_KINDS], struct nf_audit_tensor *of)
{
    static bool gathers[OPS][TENSORS], any[OPS][TENSORS];

    for (uint32_t op = 0; op < c.n_ops; op++)
        for (uint32_t t = 0; t < TENSORS; t++)
            memset(map[op][t], 0, tensors[t].bytes);
    memset(gathers, 0, sizeof gathers);
    memset(any, 0, sizeof any);
    for (uint32_t i = 0; i < c.n_visits; i++) {
        const struct nf_visit *v = &visits[i];
        uint64_t size = tensors[v->tensor].bytes, last = UINT64_MAX;

        gathers[v->op][v->tensor] |= v->pattern == NF_PATTERN_GATHER;
        for (uint64_t k = 0; k < v->bytes; k++) {
            uint64_t at = (v->offset + k / v->run * v->stride + k % v->run) / unit * unit;

            for (uint64_t b = at; at != last && b < at + unit && b < size; b++)
                map[v->op][v->tensor][b] |= DECLARED;
            last = at;
        }
    }
    for (uint32_t i = 0; i < n_sightings; i++) {
        const struct nf_visit *v = &sightings[i];

        any[v->op][v->tensor] = true;
        for (uint64_t k = 0; k < v->bytes; k++)
            map[v->op][v->tensor][v->offset + k] |= v->touches_q8 ? SEEN : SEEN_BETWEEN;
    }
    for (uint32_t op = 0; op < c.n_ops; op++) {
        for (uint32_t t = 0; t < TENSORS; t++) {
            bool declared = memchr(map[op][t], DECLARED, tensors[t].bytes) != NULL;

            for (uint64_t b = 0; b < tensors[t].bytes && !declared; b++)
                declared = map[op][t][b] & DECLARED;
            for (uint64_t b = 0; b < tensors[t].bytes; b++) {
                uint8_t m = map[op][t][b];
                bool earlier = false;

                of[t].declared += (m & DECLARED) != 0;
                of[t].seen += (m & (SEEN | SEEN_BETWEEN)) != 0;
                if ((m & DECLARED) && (m & (SEEN | SEEN_BETWEEN))) {
                    of[t].agreed++;
                    bytes[NF_AUDIT_AGREE]++;
                } else if (m & DECLARED) {
                    for (uint32_t o = boundary > 1 ? op / boundary * boundary : op; o < op; o++)
                        earlier |= (map[o][t][b] & (SEEN | SEEN_BETWEEN)) != 0;
                    bytes[earlier              ? NF_AUDIT_EARLIER
                          : gathers[op][t] ? NF_AUDIT_ROWS
                          : any[op][t]     ? NF_AUDIT_PART
                                           : NF_AUDIT_UNTOUCHED]++;
                } else if (m & SEEN) {
                    bytes[gathers[op][t]         ? NF_AUDIT_ROWS
                          : declared             ? NF_AUDIT_BEYOND
                          : tensors[t].tracked   ? NF_AUDIT_UNDECLARED
                                                 : NF_AUDIT_SCRATCH]++;
                } else if (m & SEEN_BETWEEN) {
                    bytes[NF_AUDIT_BETWEEN]++;
                }
            }
        }
    }
}

static void random_stream(struct nf_rng *r, uint32_t unit)
{
    begin(1 + (uint32_t)nf_rng_below(r, OPS - 1));
    for (uint32_t t = 0; t < TENSORS; t++) {
        tensors[t].bytes = 1 + nf_rng_below(r, unit == 1 ? 300 : BYTES_MAX);
        tensors[t].tracked = nf_rng_below(r, 4) != 0;
    }
    for (uint32_t op = 0; op < c.n_ops; op++) {
        for (uint64_t n = nf_rng_below(r, VISITS); n; n--) {
            uint32_t t = (uint32_t)nf_rng_below(r, TENSORS);
            uint64_t size = tensors[t].bytes, offset = nf_rng_below(r, size), bytes = 1 + nf_rng_below(r, size - offset);
            struct nf_visit *v = &visits[c.n_visits];

            declare(op, t, offset, bytes, (uint8_t)nf_rng_below(r, 3));
            v->pattern = nf_rng_below(r, 5) ? NF_PATTERN_STREAM : NF_PATTERN_GATHER;
            if (nf_rng_below(r, 2)) {
                v->run = 1 + nf_rng_below(r, bytes);
                v->stride = v->run + nf_rng_below(r, 100);
                while (v->offset + nf_visit_span(v) > size)
                    v->bytes = v->bytes > v->run ? v->bytes - v->run : (v->run = 1, v->stride = 1, 1);
            }
        }
        /* Sightings are ordered by tensor and whole in their unit, as sources give them. */
        for (uint32_t t = 0; t < TENSORS; t++) {
            uint64_t at = 0, size = tensors[t].bytes;

            while (nf_rng_below(r, 3) && at < size) {
                uint64_t from = (at + nf_rng_below(r, size - at)) / unit * unit, n = (1 + nf_rng_below(r, 5)) * unit;

                from = from < at ? at : from;
                n = n < size - from ? n : size - from;
                if (!n)
                    break;
                see(op, t, from, n, (uint8_t)nf_rng_below(r, 3), nf_rng_below(r, 4) ? IN_OP : BETWEEN);
                /* The exact source may see the same bytes twice, between ops and in one. */
                at = unit == 1 && nf_rng_below(r, 2) ? from : from + n;
            }
        }
    }
}

static void every_byte_is_in_one_kind(void **state)
{
    struct nf_rng r = {2024};

    for (int round = 0; round < 300; round++) {
        uint32_t unit = round % 2 ? 1 : PAGE, boundary = (uint32_t[]){0, 1, 4, 16}[round / 2 % 4];
        uint64_t wanted[NF_AUDIT_KINDS] = {0}, rw = 0, rows = 0, found = 0;
        struct nf_audit_tensor of[TENSORS] = {0};

        random_stream(&r, unit);
        if (unit == PAGE && round % 20)
            continue; /* whole pages are slow to look at byte by byte */
        naive(unit, boundary, wanted, of);
        judged(unit, boundary, true);
        for (int k = 0; k < NF_AUDIT_KINDS; k++) {
            if (audit.bytes[k] != wanted[k])
                fail_msg("round %d: %s: %llu bytes instead of %llu", round, nf_audit_kind_name(k),
                         (unsigned long long)audit.bytes[k], (unsigned long long)wanted[k]);
            found += audit.bytes[k];
        }
        for (uint32_t t = 0; t < TENSORS; t++) {
            assert_int_equal(audit.tensors[t].declared, of[t].declared);
            assert_int_equal(audit.tensors[t].seen, of[t].seen);
            assert_int_equal(audit.tensors[t].agreed, of[t].agreed);
            found += audit.tensors[t].agreed - of[t].declared - of[t].seen;
        }
        assert_int_equal(found, 0); /* |declared ∪ seen| = |declared| + |seen| - |both| */
        for (int k = 0; k < NF_AUDIT_RWS; k++)
            rw += audit.rw_bytes[k];
        assert_int_equal(rw, audit.bytes[NF_AUDIT_AGREE]);
        for (uint32_t i = 0; i < audit.n_rows; i++)
            rows += audit.rows[i].bytes;
        for (int k = 0; k < NF_AUDIT_KINDS; k++)
            rows -= wanted[k];
        assert_int_equal(rows, 0);
    }
}

#define T(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(agree), T(part), T(untouched), T(seen_earlier), T(seen_earlier_as_another), T(gathered_rows), T(beyond_scratch_undeclared_between),
        T(reads_and_writes), T(tensors_outside_are_not_compared), T(an_empty_step_has_nothing), T(every_byte_is_in_one_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
