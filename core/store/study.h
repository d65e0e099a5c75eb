#pragma once
/* Study files: open, migrate, lock, query. SQLite stays behind this header.
 *
 * One process writes a study at a time (an advisory lock on the file, released by the kernel when the process dies);
 * any number reads. Every commit is durable: a killed writer leaves what it committed. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nf_study;
struct nf_query;

enum nf_study_mode {
    NF_STUDY_READ,   /* must exist; SQL writes fail. An older schema is migrated first, which takes the writer's lock */
    NF_STUDY_WRITE,  /* must exist; takes the writer's lock, migrates an older schema */
    NF_STUDY_CREATE, /* created when absent; otherwise as WRITE */
};

/* Conditions of nf_study_open beside -errno, all with the cause set in one sentence. */
enum {
    NF_STUDY_E_NOT_A_STUDY = 1, /* exists, but is not a nearfar study */
    NF_STUDY_E_NEWER = 2,       /* its schema is newer than this program's */
    NF_STUDY_E_BUSY = 3,        /* another process is writing it */
    NF_STUDY_E_DAMAGED = 4,     /* SQLite finds it corrupt */
};

int nf_study_open(const char *path, enum nf_study_mode mode, struct nf_study **out);
/* Rolls back an open transaction. NULL is fine; returns NULL. */
struct nf_study *nf_study_close(struct nf_study *s);
const char *nf_study_path(const struct nf_study *s);
/* The process that writes the file now, as far as /proc tells; 0: none. */
long nf_study_writer(const struct nf_study *s);

/* Transactions do not nest. 0 or -errno (-ENOSPC: disk full, -EROFS: read-only, -EIO; cause set). */
int nf_study_begin(struct nf_study *s);
int nf_study_commit(struct nf_study *s);
void nf_study_rollback(struct nf_study *s);

/* One fixed SQL statement; values are bound, never pasted. Prepared statements are cached by their text's address,
 * so pass string literals. *out is reset and unbound; give it back with nf_query_done.
 * 0 or -errno (cause set). */
int nf_study_query(struct nf_study *s, const char *sql, struct nf_query **out);
/* Like nf_study_query, for text a person typed: one read-only statement, nothing after it. -EINVAL (cause set). */
int nf_study_query_text(struct nf_study *s, const char *sql, struct nf_query **out);
/* Parameters count from 1. Text and blobs must live until nf_query_done. */
void nf_query_bind_i64(struct nf_query *q, int at, int64_t v);
void nf_query_bind_f64(struct nf_query *q, int at, double v); /* NAN: NULL */
void nf_query_bind_text(struct nf_query *q, int at, const char *v); /* NULL binds NULL */
void nf_query_bind_blob(struct nf_query *q, int at, const void *v, size_t n);
void nf_query_bind_null(struct nf_query *q, int at);
/* 1: a row is ready, 0: done, -errno (cause set). */
int nf_query_step(struct nf_query *q);
/* Columns count from 0. NULL reads as 0, NAN-free 0.0 and "". Pointers live until the next step or done. */
int64_t nf_query_i64(const struct nf_query *q, int column);
double nf_query_f64(const struct nf_query *q, int column);
double nf_query_f64_known(const struct nf_query *q, int column); /* NULL reads as NAN */
const char *nf_query_text(const struct nf_query *q, int column);
const void *nf_query_blob(const struct nf_query *q, int column, size_t *n);
bool nf_query_is_null(const struct nf_query *q, int column);
bool nf_query_is_number(const struct nf_query *q, int column);
int nf_query_columns(const struct nf_query *q);
const char *nf_query_column_name(const struct nf_query *q, int column);
/* NULL is fine. */
void nf_query_done(struct nf_query *q);
/* For statements without result rows: step once, done. 0 or -errno (cause set). */
int nf_query_run(struct nf_query *q);
int64_t nf_study_last_id(const struct nf_study *s);

/* The id of an interned text (added when new). > 0, or -errno (cause set). */
int64_t nf_study_name(struct nf_study *s, const char *text);
