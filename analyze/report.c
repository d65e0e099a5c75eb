#include "analyze/report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "analyze/writer.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/records.h"

static int make_directory(const char *path)
{
    struct stat st;

    if (!mkdir(path, 0777))
        return 0;
    if (errno != EEXIST)
        return nf_fail(-errno, "cannot make the folder %s: %s", path, strerror(errno));
    if (stat(path, &st) || !S_ISDIR(st.st_mode))
        return nf_fail(-ENOTDIR, "%s exists and is not a folder", path);
    return 0;
}

static void remove_file(const char *directory, const char *name, const char *suffix)
{
    struct nf_buf path = {0};

    nf_buf_printf(&path, "%s/%s%s", directory, name, suffix);
    if (!path.failed)
        unlink(path.data);
    nf_buf_deinit(&path);
}

/* What an earlier report left must not stand beside this one. */
static void remove_earlier(const char *directory)
{
    static const char *const suffixes[] = {".gp", ".dat", ".svg", ".pdf"};

    for (size_t i = 0; nf_figure_names[i]; i++) {
        for (size_t k = 0; k < sizeof suffixes / sizeof *suffixes; k++)
            remove_file(directory, nf_figure_names[i], suffixes[k]);
    }
    for (size_t i = 0; nf_writers[i]; i++) {
        for (size_t k = 0; nf_writers[i]->files[k]; k++)
            remove_file(directory, nf_writers[i]->files[k], "");
    }
}

/* The steady step class of the capture. */
static int load_step(struct nf_report *r, struct nf_study *study)
{
    int rc = nf_record_stream_load(study, r->data.capture.id, &r->stream);

    if (rc)
        return rc;
    r->class = r->stream->n_classes ? &r->stream->classes[nf_stream_steady_class(r->stream)] : NULL;
    return r->class && r->class->n_ops ? 0 : nf_fail(-ENOENT, "the capture holds no step with ops");
}

static int compute(struct nf_report *r, struct nf_study *study)
{
    double llc = r->data.replay.llc_effective_bytes;
    int rc = nf_curve_init(&r->curve, &r->data);

    if (!rc)
        rc = nf_rivals_init(&r->rivals, &r->curve);
    if (!rc)
        rc = nf_fidelity_compute(&r->fidelity, &r->data, &r->curve);
    if (rc)
        return rc;
    nf_progress("profiling the captured step");
    rc = load_step(r, study);
    if (!rc)
        rc = nf_recompute_view_init(&r->recompute, r->stream, r->class, isfinite(llc) ? (uint64_t)llc : 0,
                                    r->data.tiers.n > 1 ? r->data.tiers.v[r->data.tiers.n - 1].read_bps : NAN);
    if (!rc)
        rc = nf_usage_compute(&r->usage, r->stream, r->class, isfinite(llc) ? (uint64_t)llc : 0);
    nf_progress_end();
    if (rc == -ENOMEM)
        return rc;
    /* The curves do not hang on it: a damaged or absent profile is said, and the report goes on. */
    if (rc) {
        snprintf(r->usage_problem, sizeof r->usage_problem, "%s", nf_error_text(rc));
        r->class = NULL;
    }
    rc = nf_trial_record_init(&r->record, study, &r->data);
    if (!rc)
        rc = nf_fidelity_view_init(&r->belief, study, &r->data, &r->fidelity, &r->record);
    if (rc)
        return rc;
    nf_answer_compute(&r->answer, &r->data, &r->curve, &r->fidelity, *r->usage_problem ? NULL : &r->usage);
    return nf_accesses_init(&r->accesses, study, r->data.capture.id, &r->data.sources, r->stream, r->class);
}

static int write_files(struct nf_report *r, const char *directory)
{
    int rc = make_directory(directory);

    if (rc)
        return rc;
    remove_earlier(directory);
    rc = nf_figures_draw(r, directory);
    for (size_t i = 0; i < r->n_figures && !rc; i++) {
        if (*r->figures[i].problem)
            nf_warn("%s is not drawn: %s", r->figures[i].name, r->figures[i].problem);
    }
    for (size_t i = 0; nf_writers[i] && !rc; i++) {
        char why[256] = "";

        if (nf_writers[i]->probe && nf_writers[i]->probe(why, sizeof why))
            nf_warn("%s cannot be written here: %s", nf_writers[i]->name, why);
        else
            rc = nf_writers[i]->write(r, directory);
    }
    return rc;
}

int nf_report_write(struct nf_study *study, const struct nf_report_options *options)
{
    struct nf_report *r = calloc(1, sizeof *r); /* a few hundred KiB: too much for a stack */
    int rc;

    if (!r)
        return nf_fail(-ENOMEM, "out of memory for the report");
    rc = nf_dataset_init(&r->data, study, options->replay, options->capture);
    if (!rc)
        rc = compute(r, study);
    if (!rc)
        rc = write_files(r, options->directory);
    nf_accesses_deinit(&r->accesses);
    nf_recompute_view_deinit(&r->recompute);
    nf_fidelity_view_deinit(&r->belief);
    nf_trial_record_deinit(&r->record);
    nf_stream_free(r->stream);
    nf_rivals_deinit(&r->rivals);
    nf_curve_deinit(&r->curve);
    nf_dataset_deinit(&r->data);
    free(r);
    return rc;
}
