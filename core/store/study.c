#include "core/store/study.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/store/migration.h"
#include "core/store/sample-table.h"
#include "core/store/visit-table.h"

/* "NFST" in the file's application_id says that it is a study. */
#define APPLICATION_ID 0x4e465354
/* A reader may meet the writer's commit; it waits this long for it. */
enum { BUSY_MS = 10000 };

struct nf_query {
    sqlite3_stmt *stmt;
    struct nf_study *study;
    const char *key; /* address of the literal it was prepared from; NULL: not cached */
    bool in_use;
};

struct nf_study {
    sqlite3 *db;
    char *path;
    int lock_fd;
    bool in_transaction;
    NF_ARRAY(struct nf_query *) cache;
};

static int sqlite_errno(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK: return 0;
    case SQLITE_NOMEM: return -ENOMEM;
    case SQLITE_FULL: return -ENOSPC;
    case SQLITE_READONLY: return -EROFS;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return -EBUSY;
    case SQLITE_CANTOPEN: return -ENOENT;
    case SQLITE_PERM:
    case SQLITE_AUTH: return -EPERM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return -EBADMSG;
    default: return -EIO;
    }
}

static int fail(struct nf_study *s, int rc, const char *doing)
{
    int e = sqlite_errno(rc);

    switch (e) {
    case -ENOSPC: return nf_fail(e, "%s: no space left on the disk; everything committed before is kept", s->path);
    case -EROFS: return nf_fail(e, "%s cannot be written: it, its folder or its disk is read-only", s->path);
    case -EBADMSG: return nf_fail(e, "%s is damaged (%s)", s->path, sqlite3_errmsg(s->db));
    case -EBUSY: return nf_fail(e, "%s is locked by another process", s->path);
    default: return nf_fail(e, "%s: %s: %s", s->path, doing, sqlite3_errmsg(s->db));
    }
}

/* Not by opening the file and trying its lock: closing a descriptor would drop SQLite's locks on it. */
long nf_study_writer(const struct nf_study *s)
{
    struct stat st;
    char line[256];
    long pid = 0;
    FILE *f;

    if (stat(s->path, &st))
        return 0;
    f = fopen("/proc/locks", "re");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f)) {
        unsigned long long inode;
        long holder;

        if (sscanf(line, "%*d: FLOCK %*s %*s %ld %*x:%*x:%llu", &holder, &inode) == 2 && inode == st.st_ino)
            pid = holder;
    }
    fclose(f);
    return pid;
}

/* flock, not fcntl: SQLite's own locks are of the other kind, and closing any descriptor of the file would drop them. */
static int take_lock(struct nf_study *s, enum nf_study_mode mode)
{
    int flags = O_RDWR | O_CLOEXEC | (mode == NF_STUDY_CREATE ? O_CREAT : 0);

    s->lock_fd = open(s->path, flags, 0644);
    if (s->lock_fd < 0) {
        if (errno == ENOENT && mode == NF_STUDY_CREATE)
            return nf_fail(-ENOENT, "cannot create %s: its folder does not exist", s->path);
        if (errno == ENOENT)
            return nf_fail(-ENOENT, "there is no study %s", s->path);
        if (errno == EROFS || errno == EACCES)
            return nf_fail(-EROFS, "%s cannot be written: it, its folder or its disk is read-only", s->path);
        return nf_fail(-errno, "cannot open %s: %s", s->path, strerror(errno));
    }
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB)) {
        long pid = nf_study_writer(s);

        if (pid)
            return nf_fail(NF_STUDY_E_BUSY, "%s is being written by process %ld; wait for it or copy the file", s->path,
                           pid);
        return nf_fail(NF_STUDY_E_BUSY, "%s is being written by another process; wait for it or copy the file", s->path);
    }
    return 0;
}

static int pragma_i64(struct nf_study *s, const char *sql, int64_t *out)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *out = sqlite3_column_int64(stmt, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? SQLITE_ERROR : rc;
}

static int exec(struct nf_study *s, const char *sql)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

    return rc ? fail(s, rc, "writing") : 0;
}

static int migrate(struct nf_study *s, int64_t version)
{
    char stamp[96];
    int rc;

    for (unsigned i = 0; i < nf_migration_count; i++) {
        if (nf_migrations[i].version <= version)
            continue;
        snprintf(stamp, sizeof stamp, "PRAGMA application_id = %d; PRAGMA user_version = %d;", APPLICATION_ID,
                 nf_migrations[i].version);
        rc = exec(s, "BEGIN IMMEDIATE");
        if (!rc)
            rc = exec(s, nf_migrations[i].sql);
        if (!rc)
            rc = exec(s, stamp);
        if (!rc)
            rc = exec(s, "COMMIT");
        if (rc) {
            sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
            return nf_fail_in(rc, "bringing the study to schema %d", nf_migrations[i].version);
        }
    }
    return 0;
}

/* Not for callers: a reader met a study that has to be brought up to date first. */
enum { NF_STUDY_E_OLDER = 100 };

static int check_identity(struct nf_study *s, enum nf_study_mode mode)
{
    int64_t application = 0, version = 0, objects = 0;
    int newest = nf_migrations[nf_migration_count - 1].version;
    int rc;

    rc = pragma_i64(s, "PRAGMA application_id", &application);
    if (!rc)
        rc = pragma_i64(s, "PRAGMA user_version", &version);
    if (!rc)
        rc = pragma_i64(s, "SELECT count(*) FROM sqlite_schema", &objects);
    if ((rc & 0xff) == SQLITE_NOTADB)
        return nf_fail(NF_STUDY_E_NOT_A_STUDY, "%s is not a nearfar study", s->path);
    if ((rc & 0xff) == SQLITE_CORRUPT)
        return nf_fail(NF_STUDY_E_DAMAGED, "%s is damaged: %s", s->path, sqlite3_errmsg(s->db));
    if (rc)
        return fail(s, rc, "opening");
    if (!objects && !application && mode == NF_STUDY_CREATE)
        return migrate(s, 0);
    /* Also what a capture leaves that was killed before its first commit. */
    if (!objects && !application && !version)
        return nf_fail(NF_STUDY_E_NOT_A_STUDY, "%s is empty, not a study yet: nothing was captured into it", s->path);
    if (application != APPLICATION_ID)
        return nf_fail(NF_STUDY_E_NOT_A_STUDY, "%s is not a nearfar study", s->path);
    if (version > newest)
        return nf_fail(NF_STUDY_E_NEWER, "%s has schema %lld, this nearfar knows up to %d: use a newer nearfar", s->path,
                       (long long)version, newest);
    if (version < newest) {
        return mode == NF_STUDY_READ ? NF_STUDY_E_OLDER : migrate(s, version);
    }
    return 0;
}

/* A stranger's file must not run code through its schema. */
static void distrust(sqlite3 *db)
{
    sqlite3_extended_result_codes(db, 1);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
}

static int connect_file(struct nf_study *s, int flags)
{
    int rc = sqlite3_open_v2(s->path, &s->db, flags, NULL);

    if (rc)
        return s->db ? fail(s, rc, "opening") : nf_fail(-ENOMEM, "out of memory");
    /* A rollback journal, not WAL: the study is one file at rest, readable from read-only media. */
    sqlite3_busy_timeout(s->db, BUSY_MS);
    distrust(s->db);
    return 0;
}

/* A killed writer leaves the journal of its last, unfinished transaction. SQLite rolls it back when the study is next
 * read, which a read-only connection may not do: a writing one does it first. */
static int connect_reader(struct nf_study *s)
{
    int rc = connect_file(s, SQLITE_OPEN_READONLY);
    int64_t objects;

    if (rc || pragma_i64(s, "SELECT count(*) FROM sqlite_schema", &objects) != SQLITE_READONLY_ROLLBACK)
        return rc;
    sqlite3_close(s->db);
    rc = connect_file(s, SQLITE_OPEN_READWRITE);
    if (rc)
        return rc;
    if (pragma_i64(s, "SELECT count(*) FROM sqlite_schema", &objects) == SQLITE_READONLY_ROLLBACK)
        return nf_fail(-EROFS, "%s was left in the middle of a write, and mending it needs a place that can be written: "
                       "copy it there together with %s-journal", s->path, s->path);
    sqlite3_close(s->db);
    return connect_file(s, SQLITE_OPEN_READONLY);
}

/* A study on read-only media keeps its schema; what is read is a copy in memory that got the newest one. */
static int copy_up_to_date(struct nf_study *s)
{
    sqlite3 *copy = NULL;
    sqlite3_backup *backup;
    int64_t version = 0;
    int rc = sqlite3_open_v2(":memory:", &copy, SQLITE_OPEN_READWRITE, NULL);

    if (!rc)
        distrust(copy);
    backup = rc ? NULL : sqlite3_backup_init(copy, "main", s->db, "main");
    if (backup) {
        sqlite3_backup_step(backup, -1);
        rc = sqlite3_backup_finish(backup);
    } else if (!rc) {
        rc = SQLITE_NOMEM;
    }
    if (rc) {
        rc = fail(s, rc, "copying");
        sqlite3_close(copy);
        return rc;
    }
    sqlite3_close(s->db);
    s->db = copy;
    rc = pragma_i64(s, "PRAGMA user_version", &version);
    rc = rc ? fail(s, rc, "opening") : migrate(s, version);
    return rc ? rc : check_identity(s, NF_STUDY_READ);
}

/* Queries know the newest schema only, so that an older study is brought to it also by who only reads; nothing that it
 * holds changes. */
static int bring_up_to_date(struct nf_study *s)
{
    struct nf_study *writer;
    int rc = nf_study_open(s->path, NF_STUDY_WRITE, &writer);

    if (rc == -EACCES || rc == -EROFS || rc == -EPERM)
        return copy_up_to_date(s);
    if (rc)
        return nf_fail_in(rc, "%s has an older schema, which must be brought up to date once", s->path);
    nf_study_close(writer);
    sqlite3_close(s->db);
    s->db = NULL;
    rc = connect_reader(s);
    return rc ? rc : check_identity(s, NF_STUDY_READ);
}

int nf_study_open(const char *path, enum nf_study_mode mode, struct nf_study **out)
{
    struct nf_study *s = calloc(1, sizeof *s);
    struct stat st;
    bool exists;
    int rc;

    *out = NULL;
    if (!s)
        return nf_fail(-ENOMEM, "out of memory");
    s->lock_fd = -1;
    s->path = strdup(path);
    if (!s->path) {
        free(s);
        return nf_fail(-ENOMEM, "out of memory");
    }
    exists = !stat(path, &st);
    if (exists && S_ISDIR(st.st_mode)) {
        rc = nf_fail(NF_STUDY_E_NOT_A_STUDY, "%s is a folder, not a study", path);
        goto fail;
    }
    /* Opening a pipe would wait for somebody to write into it. */
    if (exists && !S_ISREG(st.st_mode)) {
        rc = nf_fail(NF_STUDY_E_NOT_A_STUDY, "%s is a pipe or a device, not a study", path);
        goto fail;
    }
    if (mode == NF_STUDY_READ) {
        if (access(path, R_OK)) {
            rc = errno == ENOENT ? nf_fail(-ENOENT, "there is no study %s", path)
                                 : nf_fail(-errno, "cannot read %s: %s", path, strerror(errno));
            goto fail;
        }
    } else {
        rc = take_lock(s, mode);
        if (rc)
            goto fail;
    }
    rc = mode == NF_STUDY_READ ? connect_reader(s) : connect_file(s, SQLITE_OPEN_READWRITE);
    if (rc)
        goto fail;
    rc = check_identity(s, mode);
    if (rc == NF_STUDY_E_OLDER)
        rc = bring_up_to_date(s);
    if (rc)
        goto fail;
    rc = exec(s, "PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536;");
    if (rc)
        goto fail;
    rc = nf_visit_table_register(s->db);
    if (!rc)
        rc = nf_sample_table_register(s->db);
    if (rc) {
        rc = fail(s, rc, "registering visits(), sightings() and samples()");
        goto fail;
    }
    *out = s;
    return 0;
fail:
    nf_study_close(s);
    return rc;
}

struct nf_study *nf_study_close(struct nf_study *s)
{
    if (!s)
        return NULL;
    nf_study_rollback(s);
    for (size_t i = 0; i < s->cache.n; i++) {
        sqlite3_finalize(s->cache.v[i]->stmt);
        free(s->cache.v[i]);
    }
    nf_array_free(&s->cache);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->path);
    free(s);
    return NULL;
}

const char *nf_study_path(const struct nf_study *s)
{
    return s->path;
}

int nf_study_begin(struct nf_study *s)
{
    int rc = exec(s, "BEGIN IMMEDIATE");

    s->in_transaction = !rc;
    return rc;
}

int nf_study_commit(struct nf_study *s)
{
    int rc = sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);

    if (rc) {
        rc = fail(s, rc, "committing");
        nf_study_rollback(s);
        return rc;
    }
    s->in_transaction = false;
    return 0;
}

void nf_study_rollback(struct nf_study *s)
{
    if (s->in_transaction)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    s->in_transaction = false;
}

static int prepare(struct nf_study *s, const char *sql, const char *key, struct nf_query **out)
{
    struct nf_query *q = calloc(1, sizeof *q);
    const char *tail = NULL;
    int rc;

    if (!q)
        return nf_fail(-ENOMEM, "out of memory");
    rc = sqlite3_prepare_v2(s->db, sql, -1, &q->stmt, &tail);
    if (rc) {
        free(q);
        return fail(s, rc, "query");
    }
    q->study = s;
    q->key = key;
    q->in_use = true;
    if (!key) {
        while (tail && (*tail == ' ' || *tail == '\n' || *tail == '\t' || *tail == ';'))
            tail++;
        if (!q->stmt || (tail && *tail) || !sqlite3_stmt_readonly(q->stmt)) {
            sqlite3_finalize(q->stmt);
            free(q);
            return nf_fail(-EINVAL, "one SELECT statement is wanted, and nothing that writes");
        }
    } else if (nf_array_push(&s->cache, q)) {
        sqlite3_finalize(q->stmt);
        free(q);
        return nf_fail(-ENOMEM, "out of memory");
    }
    *out = q;
    return 0;
}

int nf_study_query(struct nf_study *s, const char *sql, struct nf_query **out)
{
    for (size_t i = 0; i < s->cache.n; i++) {
        struct nf_query *q = s->cache.v[i];

        if (q->key == sql && !q->in_use) {
            q->in_use = true;
            *out = q;
            return 0;
        }
    }
    return prepare(s, sql, sql, out);
}

int nf_study_query_text(struct nf_study *s, const char *sql, struct nf_query **out)
{
    return prepare(s, sql, NULL, out);
}

void nf_query_bind_i64(struct nf_query *q, int at, int64_t v)
{
    sqlite3_bind_int64(q->stmt, at, v);
}

void nf_query_bind_f64(struct nf_query *q, int at, double v)
{
    sqlite3_bind_double(q->stmt, at, v);
}

void nf_query_bind_text(struct nf_query *q, int at, const char *v)
{
    sqlite3_bind_text(q->stmt, at, v, -1, SQLITE_STATIC);
}

void nf_query_bind_blob(struct nf_query *q, int at, const void *v, size_t n)
{
    sqlite3_bind_blob64(q->stmt, at, v, n, SQLITE_STATIC);
}

void nf_query_bind_null(struct nf_query *q, int at)
{
    sqlite3_bind_null(q->stmt, at);
}

int nf_query_step(struct nf_query *q)
{
    int rc = sqlite3_step(q->stmt);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    return fail(q->study, rc, "query");
}

int64_t nf_query_i64(const struct nf_query *q, int column)
{
    return sqlite3_column_int64(q->stmt, column);
}

double nf_query_f64(const struct nf_query *q, int column)
{
    return sqlite3_column_double(q->stmt, column);
}

double nf_query_f64_known(const struct nf_query *q, int column)
{
    return nf_query_is_null(q, column) ? NAN : nf_query_f64(q, column);
}

const char *nf_query_text(const struct nf_query *q, int column)
{
    const char *t = (const char *)sqlite3_column_text(q->stmt, column);

    return t ? t : "";
}

const void *nf_query_blob(const struct nf_query *q, int column, size_t *n)
{
    const void *p = sqlite3_column_blob(q->stmt, column);

    *n = (size_t)sqlite3_column_bytes(q->stmt, column);
    return p;
}

bool nf_query_is_null(const struct nf_query *q, int column)
{
    return sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
}

bool nf_query_is_number(const struct nf_query *q, int column)
{
    int type = sqlite3_column_type(q->stmt, column);

    return type == SQLITE_INTEGER || type == SQLITE_FLOAT;
}

int nf_query_columns(const struct nf_query *q)
{
    return sqlite3_column_count(q->stmt);
}

const char *nf_query_column_name(const struct nf_query *q, int column)
{
    return sqlite3_column_name(q->stmt, column);
}

void nf_query_done(struct nf_query *q)
{
    if (!q)
        return;
    if (!q->key) {
        sqlite3_finalize(q->stmt);
        free(q);
        return;
    }
    sqlite3_reset(q->stmt);
    sqlite3_clear_bindings(q->stmt);
    q->in_use = false;
}

int nf_query_run(struct nf_query *q)
{
    int rc = nf_query_step(q);

    nf_query_done(q);
    return rc < 0 ? rc : 0;
}

int64_t nf_study_last_id(const struct nf_study *s)
{
    return sqlite3_last_insert_rowid(s->db);
}

int64_t nf_study_name(struct nf_study *s, const char *text)
{
    struct nf_query *q;
    int64_t id = 0;
    int rc;

    rc = nf_study_query(s, "SELECT id FROM name WHERE text = ?", &q);
    if (rc)
        return rc;
    nf_query_bind_text(q, 1, text);
    rc = nf_query_step(q);
    if (rc == 1)
        id = nf_query_i64(q, 0);
    nf_query_done(q);
    if (rc)
        return rc < 0 ? rc : id;
    rc = nf_study_query(s, "INSERT INTO name(text) VALUES(?)", &q);
    if (rc)
        return rc;
    nf_query_bind_text(q, 1, text);
    rc = nf_query_run(q);
    return rc ? rc : nf_study_last_id(s);
}
