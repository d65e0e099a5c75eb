#pragma once
/* Imports: what another recorder wrote down of a job, made into a capture of the study. One ops struct per format, in one
 * table. A file is read and checked whole before anything is written: what is refused leaves the study as it was. */
#include <stdio.h>

#include "core/store/study.h"

enum { NF_IMPORT_TAKES = 4 };

/* What the person gave, the file apart; an option that was not given is NULL. */
struct nf_import_options {
    const char *kineto; /* durations: a Kineto trace of the same run */
};

struct nf_import; /* one file; each format has its own */

struct nf_import_ops {
    const char *name, *about;
    const char *takes[NF_IMPORT_TAKES]; /* names of the options it understands; NULL ends the list */
    /* 0, or -errno with why it cannot work here and what would mend it. */
    int (*probe)(char *why, size_t size);
    /* Reads and checks the file. 0; -errno, -EBADMSG for a file that is broken or not of this format (cause set: one
     * sentence, with the byte offset where there is one). path and options are borrowed until close. */
    int (*open)(const char *path, const struct nf_import_options *o, struct nf_import **out);
    /* Adds one capture in transactions of its own. *capture_id: the row, > 0 once it exists. 0 or -errno (cause set). */
    int (*store)(struct nf_import *im, struct nf_study *study, int64_t invocation, int64_t *capture_id);
    /* What was found and what could not be told, as indented lines. After store. */
    void (*summarize)(const struct nf_import *im, FILE *to);
    struct nf_import *(*close)(struct nf_import *im); /* NULL is fine; returns NULL */
};

extern const struct nf_import_ops *const nf_imports[]; /* NULL-terminated */
/* NULL with the cause set to the list of names when there is none of that name. */
const struct nf_import_ops *nf_import_find(const char *name);
