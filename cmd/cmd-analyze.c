#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#include "analyze/report.h"
#include "cmd/command.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/study.h"

struct arguments {
    const char *output;
    uint64_t replay, capture;
};

static const struct nf_option options[] = {
    {"output", 'o', NF_OPTION_STRING, offsetof(struct arguments, output), "DIR", "the report's folder (made when absent)"},
    {"replay", 'r', NF_OPTION_U64, offsetof(struct arguments, replay), "ID", "which replay (default the latest with trials)"},
    {"capture", 'c', NF_OPTION_U64, offsetof(struct arguments, capture), "ID", "of which capture (default any)"},
    {0},
};

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {0};
    struct nf_report_options o;
    struct nf_study *study;
    int first, n, code = NF_EXIT_OK, rc;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    if (n != 1)
        return nf_command_usage(self, "one study is wanted");
    if (!a.output)
        return nf_command_usage(self, "-o DIR is missing");
    rc = nf_study_open(argv[first], NF_STUDY_READ, &study);
    if (rc)
        return nf_command_fail(rc);
    o = (struct nf_report_options){a.output, (int64_t)a.replay, (int64_t)a.capture};
    rc = nf_report_write(study, &o);
    nf_study_close(study);
    if (rc)
        return nf_command_fail(rc);
    printf("%s/index.html\n", a.output);
    return NF_EXIT_OK;
}

const struct nf_command nf_cmd_analyze = {
    .name = "analyze",
    .about = "write the report: policy curve, tables, fidelity, provenance",
    .usage = "analyze STUDY -o DIR [OPTIONS]",
    .text = "The folder holds index.html (one offline file), summary.md, trials.csv, provenance.json and every\n"
            "figure as SVG and PDF beside its gnuplot script and data.",
    .options = options,
    .examples = {"nearfar analyze demo.nf -o report", "nearfar analyze demo.nf -o report-2 --replay 2"},
    .run = run,
};
