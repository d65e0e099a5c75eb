#pragma once
/* The report of a study: one folder with index.html, figures, tables, summary.md and provenance.json. */
#include <stdint.h>

struct nf_study;

struct nf_report_options {
    const char *directory;   /* made when absent; files of an earlier report in it are replaced, others stay */
    int64_t replay, capture; /* 0: the latest replay with trials (of the capture, 0: of any) */
};

/* A figure that cannot be drawn is said in the report and warned of; its data files are written all the same.
 * 0, -ENOENT (cause set) when there are no trials to report, -errno (cause set). */
int nf_report_write(struct nf_study *study, const struct nf_report_options *options);
