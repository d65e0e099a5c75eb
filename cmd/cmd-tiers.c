#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/tiers-figures.h"
#include "cmd/tiers-found.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/units.h"
#include "core/store/records.h"
#include "replay/testbed.h"

struct arguments {
    struct nf_option_list tiers;
    const char *output;
    double far_latency_x, far_bandwidth_x;
    struct nf_option_list cpus;
    const char *root, *plot;
    bool measure, llc, figures, tree, json, csv;
};

static const struct nf_option options[] = {
    {"measure", 'm', NF_OPTION_FLAG, offsetof(struct arguments, measure), NULL, "measure latency, bandwidth, both under load, copies, the effective LLC (a minute or so)"},
    {"tier", 't', NF_OPTION_LIST, offsetof(struct arguments, tiers), "SPEC", "a tier to measure, near first: numa:node=0, emulated:latency-x=3 (repeat; default this machine's nodes, or an emulated far tier where there is one)"},
    {"far-latency", 0, NF_OPTION_F64, offsetof(struct arguments, far_latency_x), "X", "latency of the emulated far tier in multiples of local (default 2)"},
    {"far-bandwidth", 0, NF_OPTION_F64, offsetof(struct arguments, far_bandwidth_x), "X", "its bandwidth in multiples of local (default 0.5)"},
    {"cpu", 'c', NF_OPTION_LIST, offsetof(struct arguments, cpus), "N", "the CPU that measures (repeat: each in turn; default the one it runs on)"},
    {"output", 'o', NF_OPTION_STRING, offsetof(struct arguments, output), "STUDY", "keep the measurement and its raw runs in a study"},
    {"figures", 0, NF_OPTION_FLAG, offsetof(struct arguments, figures), NULL, "print every figure with its conditions instead of a line a tier"},
    {"plot", 'p', NF_OPTION_STRING, offsetof(struct arguments, plot), "FILE", "draw latency beside traffic (.svg, .png or .pdf)"},
    {"llc", 'l', NF_OPTION_FLAG, offsetof(struct arguments, llc), NULL, "measure only the effective LLC and print its bytes"},
    {"tree", 0, NF_OPTION_FLAG, offsetof(struct arguments, tree), NULL, "found nodes and devices as a tree: what each stands on"},
    {"root", 0, NF_OPTION_STRING, offsetof(struct arguments, root), "DIR", "find below DIR/sys, the recorded files of another machine"},
    {"json", 'j', NF_OPTION_FLAG, offsetof(struct arguments, json), NULL, "rows as JSON objects"},
    {"csv", 0, NF_OPTION_FLAG, offsetof(struct arguments, csv), NULL, "rows as CSV"},
    {0},
};

/* More would take an hour. */
enum { INITIATORS_MAX = 16 };

static const struct nf_column measured_columns[] = {
    {"cpu", "CPU", NF_COLUMN_INTEGER},
    {"tier", "tier", NF_COLUMN_INTEGER},
    {"name", "name", NF_COLUMN_TEXT},
    {"provider", "provider", NF_COLUMN_TEXT},
    {"target_latency_ns", "target", NF_COLUMN_NS},
    {"latency_ns", "latency", NF_COLUMN_NS},
    {"latency_random_ns", "page-random", NF_COLUMN_NS},
    {"target_read_bytes_per_s", "target/s", NF_COLUMN_BYTES},
    {"read_bytes_per_s", "read/s", NF_COLUMN_BYTES},
    {"write_bytes_per_s", "write/s", NF_COLUMN_BYTES},
    {"stream_parallelism", "k stream", NF_COLUMN_REAL},
    {"gather_parallelism", "k gather", NF_COLUMN_REAL},
    {"llc_4k_bytes", "LLC 4k", NF_COLUMN_BYTES},
    {"llc_2m_bytes", "LLC 2m", NF_COLUMN_BYTES},
    {"flush_ns", "flush", NF_COLUMN_NS},
    {"fence_ns", "fence", NF_COLUMN_NS},
    {"placement", "placement", NF_COLUMN_TEXT},
    {"evidence", "evidence", NF_COLUMN_TEXT},
};

static void known(struct nf_table *t, double v)
{
    if (v > 0)
        nf_table_number(t, v);
    else
        nf_table_unknown(t);
}

/* Of the figure of this kind; page NULL: of any. 0 where there is none. */
static double figure(const struct nf_testbed *b, uint32_t tier, const char *what, const char *page)
{
    for (size_t i = 0; i < b->figures.list.n; i++) {
        const struct nf_tier_figure *f = &b->figures.list.v[i];

        if (f->tier == tier && !strcmp(f->what, what) && (!page || !strcmp(f->page, page)))
            return f->value;
    }
    return 0;
}

static void measured_row(struct nf_table *t, const struct nf_testbed *b, uint32_t i)
{
    const struct nf_measured *m = &b->measured[i];

    nf_table_integer(t, b->cpu);
    nf_table_integer(t, i);
    nf_table_text(t, b->tiers[i].name);
    nf_table_text(t, b->tiers[i].spec);
    known(t, b->tiers[i].facts.target_latency_ns);
    known(t, m->latency_ns);
    known(t, m->latency_random_ns);
    known(t, b->tiers[i].facts.target_bps);
    known(t, m->read_bps);
    known(t, m->write_bps);
    known(t, m->parallelism.stream);
    known(t, m->parallelism.gather);
    known(t, figure(b, i, "llc", "4k"));
    known(t, figure(b, i, "llc", "2m"));
    known(t, figure(b, i, "flush", NULL));
    known(t, figure(b, i, "fence", NULL));
    nf_table_text(t, nf_tiers_placement(&b->tiers[i]));
    nf_table_text(t, nf_evidence_name(b->tiers[i].facts.evidence));
}

static int print_measured(const struct nf_testbed *beds, size_t n, enum nf_table_format format)
{
    struct nf_table *t = nf_table_new(measured_columns, sizeof measured_columns / sizeof *measured_columns);
    int rc;

    if (!t)
        return -ENOMEM;
    for (const struct nf_testbed *b = beds; b < beds + n; b++)
        for (uint32_t i = 0; i < b->n_tiers; i++)
            measured_row(t, b, i);
    rc = nf_table_print(t, format, stdout);
    nf_table_free(t);
    return rc;
}

static int keep(const struct arguments *a, struct nf_testbed *beds, size_t n, int argc, char **argv)
{
    struct nf_study *study;
    int64_t invocation, machine;
    int rc = nf_study_open(a->output, NF_STUDY_CREATE, &study);

    if (rc)
        return rc;
    invocation = nf_record_invocation(study, argc + 2, argv - 2);
    machine = invocation < 0 ? invocation : nf_record_machine(study);
    rc = machine < 0 ? (int)machine : 0;
    for (size_t i = 0; i < n && !rc; i++)
        rc = nf_testbed_record(&beds[i], study, invocation, machine);
    if (!rc)
        rc = nf_record_invocation_end(study, invocation, "complete", "");
    nf_study_close(study);
    return rc;
}

/* Everything a table, a picture and a study are made of. */
static int print(const struct arguments *a, enum nf_table_format format, const struct nf_testbed *beds, size_t n)
{
    int rc = 0;

    for (size_t i = 0; i < n && a->llc; i++)
        printf("%llu\n", (unsigned long long)beds[i].llc_bytes);
    if (a->llc)
        return 0;
    if (!a->figures)
        rc = print_measured(beds, n, format);
    if (!rc && (a->figures || format == NF_TABLE_TEXT))
        rc = nf_tiers_print_figures(beds, n, format);
    for (size_t i = 0; i < n; i++)
        nf_info("effective LLC %.1f MiB (the knee of the latency curve), measured from CPU %d", (double)beds[i].llc_bytes / (1 << 20),
                beds[i].cpu);
    return rc;
}

static int parse_cpu(const char *text, int *cpu)
{
    uint64_t number;
    int rc = nf_parse_u64(text, &number);

    if (rc || number > INT_MAX)
        return nf_fail(-EINVAL, "--cpu '%s': the number of a CPU is wanted", text);
    *cpu = (int)number;
    return 0;
}

static int measure_from(const struct arguments *a, bool figures, const char *cpu, struct nf_testbed *b)
{
    struct nf_testbed_options o = {
        .specs = a->tiers.v,
        .n_specs = a->tiers.n,
        .nodes = true,
        .far_latency_x = a->far_latency_x,
        .far_bandwidth_x = a->far_bandwidth_x,
        .cpu = -1,
    };
    int rc = cpu ? parse_cpu(cpu, &o.cpu) : 0;

    if (!rc)
        rc = nf_testbed_init(b, &o);
    return rc || !figures ? rc : nf_testbed_measure_figures(b, false);
}

static int measure(const struct arguments *a, enum nf_table_format format, int argc, char **argv)
{
    bool figures = a->figures || a->plot || a->output || (format == NF_TABLE_TEXT && !a->llc);
    size_t n = a->cpus.n ? a->cpus.n : 1;
    struct nf_testbed *beds = calloc(n, sizeof *beds);
    int rc = !beds ? nf_fail(-ENOMEM, "no memory") : a->plot ? nf_tiers_plot_check(a->plot) : 0;

    for (size_t i = 0; i < n && !rc; i++)
        rc = measure_from(a, figures, a->cpus.n ? a->cpus.v[i] : NULL, &beds[i]);
    nf_progress_end();
    if (!rc)
        rc = print(a, format, beds, n);
    if (!rc && a->plot)
        rc = nf_tiers_plot(beds, a->plot);
    if (!rc && a->output)
        rc = keep(a, beds, n, argc, argv);
    for (size_t i = 0; i < n && beds; i++)
        nf_testbed_deinit(&beds[i]);
    free(beds);
    return rc;
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {0};
    enum nf_table_format format;
    int first, n, code = NF_EXIT_OK, rc;
    bool measuring;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    if (n)
        return nf_command_usage(self, "tiers takes no operands");
    format = a.json ? NF_TABLE_JSON : a.csv ? NF_TABLE_CSV : NF_TABLE_TEXT;
    measuring = a.measure || a.llc || a.figures || a.plot || a.output;
    if (measuring && (a.root || a.tree))
        return nf_command_usage(self, "--root and --tree are about what is found; another machine cannot be measured here");
    if (a.cpus.n > INITIATORS_MAX || (a.plot && a.cpus.n > 1))
        return nf_command_usage(self, a.plot ? "--plot draws what one CPU measured" : "more than 16 CPUs that measure");
    if (a.tree && (a.json || a.csv))
        return nf_command_usage(self, "--tree is for people; --json and --csv name what each stands on in the column 'on'");
    rc = measuring ? measure(&a, format, argc, argv) : nf_tiers_print_found(a.root ? a.root : "", a.tree, format);
    if (!rc)
        return NF_EXIT_OK;
    code = nf_command_fail(rc);
    return rc == -EINVAL ? NF_EXIT_USAGE : rc == -ENODEV || rc == -EXDEV || rc == -ERANGE ? NF_EXIT_CANNOT : code;
}

const struct nf_command nf_cmd_tiers = {
    .name = "tiers",
    .about = "show this machine's memory: what the firmware says, or (--measure) what it does",
    .usage = "tiers [--measure] [OPTIONS]",
    .text = "Without --measure: nodes and devices, how they hang together, what the firmware rates them at. With it: every tier\n"
            "measured the way it would be replayed, injected delay included, target beside achieved.",
    .options = options,
    .examples = {"nearfar tiers", "nearfar tiers --measure --far-latency 3"},
    .run = run,
};
