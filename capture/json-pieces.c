#include "capture/json-pieces.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "capture/gunzip.h"
#include "core/base/array.h"
#include "core/base/error.h"

enum { CHUNK = 1 << 18, END = -1, BROKEN = -2 };
/* The place of the word "ustar" in the first header of a tar archive (POSIX.1-1988). */
enum { TAR_MAGIC = 257 };
/* No 64-bit integer has more digits; one with as many may be too large. */
enum { INTEGER_DIGITS = 18 };

enum state { AT_START, IN_OBJECT, IN_STREAM, AT_END };

struct nf_json_pieces {
    struct nf_gunzip *file;
    char *path, *streamed;
    enum state state;
    int nested; /* the streamed array is a member of the outermost object */
    int first;  /* nothing of the current container was read yet */
    int rc;     /* of the failed read */
    uint64_t base; /* offset of chunk[0] */
    size_t at, n;
    NF_ARRAY(char) piece;
    unsigned char chunk[CHUNK];
};

int nf_json_pieces_open(const char *path, const char *streamed, struct nf_json_pieces **out)
{
    struct nf_json_pieces *p = calloc(1, sizeof *p);
    int rc = -ENOMEM;

    *out = NULL;
    if (p) {
        p->path = strdup(path);
        p->streamed = strdup(streamed);
    }
    if (p && p->path && p->streamed)
        rc = nf_gunzip_open(path, &p->file);
    if (rc) {
        nf_json_pieces_close(p);
        return rc == -ENOMEM ? nf_fail(rc, "out of memory") : rc;
    }
    *out = p;
    return 0;
}

struct nf_json_pieces *nf_json_pieces_close(struct nf_json_pieces *p)
{
    if (!p)
        return NULL;
    nf_gunzip_close(p->file);
    nf_array_free(&p->piece);
    free(p->path);
    free(p->streamed);
    free(p);
    return NULL;
}

uint64_t nf_json_pieces_offset(const struct nf_json_pieces *p)
{
    return p->base + p->at;
}

int nf_json_pieces_fail(const struct nf_json_pieces *p, uint64_t offset, const char *fmt, ...)
{
    char text[256];
    va_list va;

    va_start(va, fmt);
    vsnprintf(text, sizeof text, fmt, va);
    va_end(va);
    return nf_fail(-EBADMSG, "%s: byte %llu: %s", p->path, (unsigned long long)offset, text);
}

/* The next byte without taking it; END; or BROKEN with p->rc set. */
static int peek(struct nf_json_pieces *p)
{
    long n;

    if (p->at < p->n)
        return p->chunk[p->at];
    p->base += p->n;
    p->at = p->n = 0;
    n = nf_gunzip_read(p->file, p->chunk, CHUNK);
    if (n < 0) {
        char why[200];

        snprintf(why, sizeof why, "%s", nf_error_text((int)n));
        p->rc = nf_fail((int)n, "%s: byte %llu: %s", p->path, (unsigned long long)p->base, why);
        return BROKEN;
    }
    p->n = (size_t)n;
    if (!p->base && n > TAR_MAGIC + 5 && !memcmp(p->chunk + TAR_MAGIC, "ustar", 5)) {
        p->rc = nf_fail(-EBADMSG, "%s: byte %d: is a tar archive: unpack it first (tar -xf)", p->path, TAR_MAGIC);
        return BROKEN;
    }
    return n ? p->chunk[0] : END;
}

static int peek_token(struct nf_json_pieces *p)
{
    int c;

    while ((c = peek(p)) == ' ' || c == '\t' || c == '\n' || c == '\r')
        p->at++;
    return c;
}

static int unexpected(struct nf_json_pieces *p, int c, const char *wanted)
{
    uint64_t at = nf_json_pieces_offset(p);

    if (c == BROKEN)
        return p->rc;
    if (c == END)
        return nf_json_pieces_fail(p, at, at ? "the file ends where %s is due" : "the file is empty; %s is due", wanted);
    if (isprint(c))
        return nf_json_pieces_fail(p, at, "'%c' where %s is due", c, wanted);
    return nf_json_pieces_fail(p, at, "byte value %d where %s is due", c, wanted);
}

/* Takes n bytes of the chunk into the piece. */
static int keep(struct nf_json_pieces *p, size_t n)
{
    if (n > NF_JSON_PIECE_MAX - p->piece.n)
        return nf_json_pieces_fail(p, nf_json_pieces_offset(p), "a value is larger than %d MiB", NF_JSON_PIECE_MAX >> 20);
    if (nf_array_reserve(&p->piece, p->piece.n + n))
        return nf_fail(-ENOMEM, "out of memory");
    memcpy(p->piece.v + p->piece.n, p->chunk + p->at, n);
    p->piece.n += n;
    p->at += n;
    return 0;
}

/* Bytes of the chunk from here to the next that could end a string, or could begin or end one or a container. */
static size_t run_in_string(const struct nf_json_pieces *p)
{
    size_t i = p->at;

    while (i < p->n && p->chunk[i] != '"' && p->chunk[i] != '\\')
        i++;
    return i - p->at;
}

static size_t run_outside(const struct nf_json_pieces *p)
{
    size_t i = p->at;

    /* [ ] { } are 0x5b, 0x5d, 0x7b, 0x7d; the mask lets through four letters more, which the caller takes one by one. */
    while (i < p->n && p->chunk[i] != '"' && (p->chunk[i] & 0xd9) != 0x59)
        i++;
    return i - p->at;
}

/* From a quote to the one that ends it. */
static int cut_string(struct nf_json_pieces *p)
{
    int escaped = 1, c, rc; /* the opening quote ends nothing */

    for (;;) {
        c = peek(p);
        if (c < 0)
            return unexpected(p, c, "the end of a string");
        if (!escaped && c != '"' && c != '\\') {
            rc = keep(p, run_in_string(p));
            if (rc)
                return rc;
            continue;
        }
        rc = keep(p, 1);
        if (rc)
            return rc;
        if (c == '"' && !escaped)
            return 0;
        escaped = !escaped && c == '\\';
    }
}

static int ends_scalar(int c)
{
    return c < 0 || c == ',' || c == ']' || c == '}' || c == ':' || c == '"' || c == '{' || c == '[' || c == ' ' ||
           c == '\t' || c == '\n' || c == '\r';
}

/* Brackets need only balance in number here: the parser that gets the piece checks their kinds. */
static int cut_value(struct nf_json_pieces *p)
{
    unsigned depth = 0;
    int c = peek_token(p), rc;

    p->piece.n = 0;
    if (c < 0 || (ends_scalar(c) && c != '"' && c != '{' && c != '['))
        return unexpected(p, c, "a value");
    do {
        c = peek(p);
        if (c < 0)
            return unexpected(p, c, "the end of a value");
        if (c == '"') {
            rc = cut_string(p);
            if (rc)
                return rc;
            continue;
        }
        if (!depth && c != '{' && c != '[') {
            while (!ends_scalar(c = peek(p))) {
                rc = keep(p, 1);
                if (rc)
                    return rc;
            }
            return c == BROKEN ? p->rc : 0;
        }
        if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
        if (depth > NF_JSON_DEPTH_MAX)
            return nf_json_pieces_fail(p, nf_json_pieces_offset(p), "values are nested deeper than %d", NF_JSON_DEPTH_MAX);
        rc = keep(p, 1);
        if (!rc && depth)
            rc = keep(p, run_outside(p));
        if (rc)
            return rc;
    } while (depth);
    return 0;
}

static int is_number_name(const char *word, size_t n)
{
    static const char *const names[] = {"nan", "inf", "infinity"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (n == strlen(names[i]) && !strncasecmp(word, names[i], n))
            return 1;
    return 0;
}

/* Numbers JSON has no word for, replaced at their length, so that offsets stay. */
static void mend_numbers(char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t from = i;

        if (text[i] == '"') {
            for (i++; i < n && text[i] != '"'; i++)
                i += text[i] == '\\';
            i++;
        } else if (isalpha((unsigned char)text[i])) {
            while (i < n && isalpha((unsigned char)text[i]))
                i++;
            if (is_number_name(text + from, i - from)) {
                from -= from && text[from - 1] == '-';
                memset(text + from, ' ', i - from);
                text[from] = '0';
            }
        } else if (isdigit((unsigned char)text[i])) {
            int integer = 1;
            size_t digits;

            while (i < n && isdigit((unsigned char)text[i]))
                i++;
            digits = i - from;
            while (i < n && (isdigit((unsigned char)text[i]) || strchr(".eE+-", text[i]))) {
                integer = 0;
                i++;
            }
            if (integer && digits > INTEGER_DIGITS) {
                text[i - 2] = 'e';
                text[i - 1] = '2';
            }
        } else {
            i++;
        }
    }
}

static int put_piece(struct nf_json_pieces *p, struct nf_json_piece *out, int is_element)
{
    int c = peek_token(p), rc;

    if (c < 0)
        return unexpected(p, c, "a value");
    out->offset = nf_json_pieces_offset(p);
    rc = cut_value(p);
    if (rc)
        return rc;
    mend_numbers(p->piece.v, p->piece.n);
    out->text = p->piece.v;
    out->n = p->piece.n;
    out->is_element = is_element;
    p->first = 0;
    return 1;
}

static int start(struct nf_json_pieces *p)
{
    int c = peek_token(p);

    if (c != '{' && c != '[')
        return unexpected(p, c, "the '{' or '[' of a JSON file");
    p->at++;
    p->state = c == '{' ? IN_OBJECT : IN_STREAM;
    p->nested = 0;
    p->first = 1;
    return 0;
}

/* After an element: 1 when the container goes on, 0 when it ended (its bracket is taken), or -errno. */
static int goes_on(struct nf_json_pieces *p, int closing)
{
    int c = peek_token(p);

    if (c == closing) {
        p->at++;
        return 0;
    }
    if (p->first)
        return 1;
    if (c != ',')
        return unexpected(p, c, closing == ']' ? "',' or ']'" : "',' or '}'");
    p->at++;
    return 1;
}

static int read_key(struct nf_json_pieces *p, struct nf_json_piece *out)
{
    int c = peek_token(p), rc;
    size_t n;

    if (c != '"')
        return unexpected(p, c, "the name of a member");
    p->piece.n = 0;
    rc = cut_string(p);
    if (rc)
        return rc;
    n = p->piece.n - 2 < sizeof out->key - 1 ? p->piece.n - 2 : sizeof out->key - 1;
    memcpy(out->key, p->piece.v + 1, n);
    out->key[n] = '\0';
    c = peek_token(p);
    if (c != ':')
        return unexpected(p, c, "':'");
    p->at++;
    return 0;
}

int nf_json_pieces_next(struct nf_json_pieces *p, struct nf_json_piece *out)
{
    int rc, c;

    if (p->state == AT_START) {
        rc = start(p);
        if (rc)
            return rc;
    }
    for (;;) {
        switch (p->state) {
        case IN_STREAM:
            rc = goes_on(p, ']');
            if (rc < 0)
                return rc;
            if (rc) {
                snprintf(out->key, sizeof out->key, "%s", p->nested ? p->streamed : "");
                return put_piece(p, out, 1);
            }
            p->state = p->nested ? IN_OBJECT : AT_END;
            p->first = 0;
            break;
        case IN_OBJECT:
            rc = goes_on(p, '}');
            if (rc < 0)
                return rc;
            if (!rc) {
                p->state = AT_END;
                break;
            }
            rc = read_key(p, out);
            if (rc)
                return rc;
            if (strcmp(out->key, p->streamed) || peek_token(p) != '[')
                return put_piece(p, out, 0);
            p->at++;
            p->state = IN_STREAM;
            p->nested = p->first = 1;
            break;
        default:
            c = peek_token(p);
            return c == END ? 0 : unexpected(p, c, "the end of the file");
        }
    }
}
