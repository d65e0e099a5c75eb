#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "capture/import.h"
#include "cmd/command.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/records.h"

struct arguments {
    const char *output;
    struct nf_import_options format;
};

/* The first is everybody's; the others belong to the formats that name them in `takes`. */
static const struct nf_option options[] = {
    {"output", 'o', NF_OPTION_STRING, offsetof(struct arguments, output), "STUDY", "the study to add the capture to (created when absent)"},
    {"kineto", 'k', NF_OPTION_STRING, offsetof(struct arguments, format.kineto), "FILE", "pytorch-et: durations from a Kineto trace of the same run"},
    {0},
};

/* The name of an option that was given and that the format does not understand, or NULL. */
static const char *not_taken(const struct nf_import_ops *ops, const struct arguments *a)
{
    for (const struct nf_option *o = options + 1; o->name; o++) {
        bool taken = !*(const char *const *)(const void *)((const char *)a + o->offset);

        for (size_t i = 0; i < NF_IMPORT_TAKES && ops->takes[i]; i++)
            taken |= !strcmp(ops->takes[i], o->name);
        if (!taken)
            return o->name;
    }
    return NULL;
}

static int store(const struct nf_import_ops *ops, struct nf_import *im, const struct arguments *a, int argc, char **argv)
{
    int64_t invocation, capture = 0;
    struct nf_study *study;
    char message[512];
    int rc = nf_study_open(a->output, NF_STUDY_CREATE, &study);

    if (rc)
        return nf_command_fail(rc);
    invocation = nf_record_invocation(study, argc, argv);
    if (invocation < 0) {
        nf_study_close(study);
        return nf_command_fail((int)invocation);
    }
    rc = ops->store(im, study, invocation, &capture);
    snprintf(message, sizeof message, "%s", rc ? nf_error_text(rc) : "");
    nf_record_invocation_end(study, invocation, rc ? "failed" : "complete", message);
    nf_study_close(study);
    nf_progress_end();
    if (rc) {
        fprintf(stderr, "nearfar: %s\n", message);
        return NF_EXIT_FAILED;
    }
    ops->summarize(im, stderr);
    nf_info("imported into %s as capture %lld; next: nearfar show %s", a->output, (long long)capture, a->output);
    return NF_EXIT_OK;
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    char **const full = argv - 2;
    const int n_full = argc + 2;
    const struct nf_import_ops *ops;
    struct nf_import *im = NULL;
    struct arguments a = {0};
    char *kept[64];
    const char *stranger;
    char text[160], why[256];
    int first, n, code = NF_EXIT_OK, rc;

    /* Parsing moves the operands to the front; the study keeps the command as it was typed. */
    if (argc > (int)(sizeof kept / sizeof *kept))
        return nf_command_usage(self, "too many arguments");
    memcpy(kept, argv, (size_t)argc * sizeof *argv);
    if (nf_command_parse(self, argc, kept, &a, 1, &first, &n, &code))
        return code;
    if (n < 1)
        return nf_command_usage(self, "the format is missing");
    ops = nf_import_find(kept[first]);
    if (!ops)
        return nf_command_usage(self, nf_error_text(0));
    if (n != 2)
        return nf_command_usage(self, n < 2 ? "the file is missing" : "one file at a time");
    if (!a.output)
        return nf_command_usage(self, "-o STUDY is missing");
    stranger = not_taken(ops, &a);
    if (stranger) {
        snprintf(text, sizeof text, "format %s takes no --%s", ops->name, stranger);
        return nf_command_usage(self, text);
    }
    if (ops->probe(why, sizeof why)) {
        fprintf(stderr, "nearfar: format %s: %s\n", ops->name, why);
        return NF_EXIT_CANNOT;
    }
    rc = ops->open(kept[first + 1], &a.format, &im);
    if (rc == -ENOTSUP) {
        nf_command_fail(rc);
        return NF_EXIT_CANNOT;
    }
    code = rc ? nf_command_fail(rc) : store(ops, im, &a, n_full, full);
    ops->close(im);
    return code;
}

const struct nf_command nf_cmd_import = {
    .name = "import",
    .about = "make a capture of what another recorder wrote down of a job",
    .usage = "import FORMAT FILE -o STUDY [OPTIONS]",
    .text = "FORMAT is pytorch-et: a PyTorch execution trace (JSON, also gzipped);\n"
            "or perf-data: what perf record wrote, to a file or a pipe.\n"
            "What a format cannot tell is said in the summary and in nearfar-import(1).",
    .options = options,
    .examples = {"nearfar import pytorch-et trace.json.gz -o trace.nf",
                 "nearfar import perf-data perf.data -o job.nf"},
    .run = run,
};
