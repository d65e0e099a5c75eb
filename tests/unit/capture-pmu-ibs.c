/* IBS records as the kernel makes them of the CPU's registers (perf_ibs_parse_ld_st_data): by hand, and of a recorded run
 * where NEARFAR_SHARED has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/pmu-sampler.h"
#include "core/base/error.h"
#include "core/model/memory-level.h"
#include "tests/unit/pmu-records.h"
#include "tests/unit/pmu-tree.h"

/* What the CPU says of one op: fields of IbsOpData2 and IbsOpData3. */
struct op {
    bool load, store, miss, l2_miss, lin_valid;
    uint64_t address, rip;
    uint32_t latency, tag_to_retire, tid;
    uint64_t level; /* what DataSrc says beyond L2, in data_src's bits */
};

#define LVL(x) ((uint64_t)PERF_MEM_LVL_##x << PERF_MEM_LVL_SHIFT)
#define NUM(x) ((uint64_t)(x) << 33)
enum { OP_NA = 1 << 0, OP_LOAD = 1 << 1, OP_STORE = 1 << 2 };

static struct nf_sample kernel_sample(const struct op *o)
{
    struct nf_sample s = {.ip = o->rip, .pid = o->tid, .tid = o->tid, .time_ns = 1, .cpu = 33};
    uint64_t none = LVL(NA) | NUM(15);

    s.data_src = OP_NA | none;
    if (!o->load && !o->store)
        return s; /* neither address nor level */
    s.data_src = o->load ? OP_LOAD : OP_STORE;
    if (!o->miss)
        s.data_src |= LVL(L1) | LVL(HIT) | NUM(1);
    else if (!o->l2_miss)
        s.data_src |= LVL(L2) | LVL(HIT) | NUM(2);
    else
        s.data_src |= o->load && o->level ? o->level : none; /* DataSrc is valid for loads only */
    if (o->miss && o->load) {
        s.weight = o->latency;
        s.weight2 = (uint16_t)o->tag_to_retire;
    }
    s.address = o->lin_valid ? o->address : 0;
    return s;
}

struct fixture {
    struct pmu_tree tree;
    struct nf_pmu_plan plan;
    struct nf_record_layout layout;
};

static int setup(void **state)
{
    static struct fixture f;
    struct nf_pmu pmu;

    pmu_tree_new(&f.tree);
    pmu_tree_ibs(&f.tree, 1, 1);
    if (nf_pmu_open(f.tree.root, "ibs_op", &pmu) ||
        nf_ibs_plan(&(struct nf_ibs_options){.period = 10400}, &pmu, &f.plan))
        return -1;
    f.layout = nf_record_layout_of(&f.plan.attrs[0]);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    pmu_tree_delete(&f->tree);
    return 0;
}

static int decode(const struct fixture *f, const struct op *o, struct nf_sample *out)
{
    struct nf_sample in = kernel_sample(o);
    uint8_t record[PMU_RECORD_MAX];

    pmu_record_put(record, &f->plan.attrs[0], 1, &in);
    return nf_pmu_decode(&f->plan, &f->layout, 0, (const void *)record, out);
}

static enum nf_memory_level level_of(const struct fixture *f, const struct nf_sample *s)
{
    return nf_memory_level_of_sample(f->plan.attrs[0].type, f->plan.attrs[0].config, s->data_src);
}

static void test_by_hand(void **state)
{
    const struct fixture *f = *state;
    static const struct {
        struct op op;
        int rc;
        uint8_t rw;
        enum nf_memory_level level;
    } cases[] = {
        {{.rip = 1}, NF_PMU_E_NO_ACCESS, 0, 0},
        {{.load = true, .lin_valid = true, .address = 0x7000}, 0, NF_RW_READ, NF_LEVEL_L1},
        {{.store = true, .lin_valid = true, .address = 0x7000}, 0, NF_RW_WRITE, NF_LEVEL_L1},
        {{.load = true}, 0, NF_RW_READ, NF_LEVEL_L1}, /* its address was not caught: kept, and nobody's */
        {{.load = true, .miss = true, .lin_valid = true, .address = 8, .latency = 11}, 0, NF_RW_READ, NF_LEVEL_L2},
        {{.load = true, .miss = true, .l2_miss = true, .lin_valid = true, .address = 8, .level = LVL(L3) | LVL(HIT) | NUM(3)},
         0, NF_RW_READ, NF_LEVEL_LLC},
        {{.load = true, .miss = true, .l2_miss = true, .lin_valid = true, .address = 8, .level = NUM(9), .latency = 900},
         0, NF_RW_READ, NF_LEVEL_CXL},
        {{.store = true, .miss = true, .l2_miss = true, .lin_valid = true, .address = 8}, 0, NF_RW_WRITE, NF_LEVEL_UNKNOWN},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nf_sample s;

        assert_int_equal(decode(f, &cases[i].op, &s), cases[i].rc);
        if (cases[i].rc)
            continue;
        assert_int_equal(s.rw, cases[i].rw);
        assert_int_equal(level_of(f, &s), cases[i].level);
        assert_int_equal(s.address, cases[i].op.lin_valid ? cases[i].op.address : 0);
        assert_int_equal(s.weight, cases[i].op.load && cases[i].op.miss ? cases[i].op.latency : 0);
        assert_int_equal(s.period, 10400);
    }
}

enum { FIELDS = 64 };

static unsigned split(char *line, char **fields)
{
    unsigned n = 0;
    char *one;

    while (n < FIELDS && (one = strsep(&line, ",\n")))
        fields[n++] = one;
    return n;
}

static uint64_t column(char *const *names, char *const *fields, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++)
        if (!strcmp(names[i], name))
            return strtoull(fields[i], NULL, 0); /* "-" is 0 */
    fail_msg("no column %s", name);
    return 0;
}

/* 1,000 samples of a Zen 3: 182 of them touched memory, 175 with an address, 11 missed the data cache. */
static void test_recorded(void **state)
{
    const struct fixture *f = *state;
    const char *shared = getenv("NEARFAR_SHARED");
    char path[512], header[4096], line[4096], *names[FIELDS], *fields[FIELDS];
    unsigned rows = 0, kept = 0, addresses = 0, misses = 0, others = 0, columns;
    FILE *in;

    snprintf(path, sizeof path, "%s/data/amd-ibs-op-1k.csv", shared ? shared : "../shared");
    in = fopen(path, "re");
    if (!in) {
        print_message("no recorded IBS samples at %s (set NEARFAR_SHARED)\n", path);
        skip();
    }
    assert_non_null(fgets(header, sizeof header, in));
    columns = split(header, names);
    while (fgets(line, sizeof line, in)) {
        struct nf_sample s;
        struct op o;
        int rc;

        if (split(line, fields) < 43)
            continue;
#define COLUMN(name) column(names, fields, columns, name)
        o = (struct op){.load = COLUMN("IbsLdOp"), .store = COLUMN("IbsStOp"), .miss = COLUMN("IbsDcMiss"),
                        .l2_miss = COLUMN("IbsL2Miss"), .lin_valid = COLUMN("IbsDcLinAddrValid"),
                        .address = COLUMN("IbsDcLinAd"), .rip = COLUMN("IbsOpRip"), .latency = (uint32_t)COLUMN("IbsDcMissLat"),
                        .tag_to_retire = (uint32_t)COLUMN("IbsTagToRetCtr"), .tid = (uint32_t)COLUMN("TID")};
        assert_int_equal(COLUMN("IbsOpMaxCnt[26:0]"), 10400); /* what a sample stands for */
        rows++;
        rc = decode(f, &o, &s);
        others += rc == NF_PMU_E_NO_ACCESS;
        if (rc)
            continue;
        kept++;
        addresses += s.address != 0;
        misses += level_of(f, &s) != NF_LEVEL_L1;
        assert_true(s.address == (o.lin_valid ? o.address : 0) && s.ip == o.rip && s.tid == o.tid);
        assert_int_equal(s.rw, o.load ? NF_RW_READ : NF_RW_WRITE);
    }
    fclose(in);
    assert_int_equal(rows, 999);
    assert_int_equal(kept, 182);
    assert_int_equal(kept + others, rows);
    assert_int_equal(addresses, 175);
    assert_int_equal(misses, 11);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_hand), cmocka_unit_test(test_recorded)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
