#include "core/base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/array.h"
#include "core/base/error.h"

void nf_buf_add(struct nf_buf *b, const void *data, size_t n)
{
    if (b->failed)
        return;
    if (n > SIZE_MAX - b->n - 1 ||
        (b->n + n + 1 > b->cap && nf_array_grow((void **)&b->data, &b->cap, b->n + n + 1, 1))) {
        b->failed = true;
        return;
    }
    if (n)
        memcpy(b->data + b->n, data, n);
    b->n += n;
    b->data[b->n] = '\0';
}

void nf_buf_puts(struct nf_buf *b, const char *text)
{
    nf_buf_add(b, text, strlen(text));
}

void nf_buf_printf(struct nf_buf *b, const char *fmt, ...)
{
    char small[512];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
    } else if ((size_t)n < sizeof small) {
        nf_buf_add(b, small, (size_t)n);
    } else {
        char *big = malloc((size_t)n + 1);

        if (!big) {
            b->failed = true;
            return;
        }
        va_start(ap, fmt);
        vsnprintf(big, (size_t)n + 1, fmt, ap);
        va_end(ap);
        nf_buf_add(b, big, (size_t)n);
        free(big);
    }
}

/* Length of the valid UTF-8 sequence at s, 0 if there is none (overlong forms and surrogates refused). */
static size_t utf8_len(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        return (s[1] & 0xc0) == 0x80 ? 2 : 0;
    if ((s[0] & 0xf0) == 0xe0) {
        if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80)
            return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))
            return 0;
        return 3;
    }
    if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
            return 0;
        if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
            return 0;
        return 4;
    }
    return 0;
}

void nf_buf_json(struct nf_buf *b, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    nf_buf_puts(b, "\"");
    while (*s) {
        size_t n = utf8_len(s);

        if (!n) {
            nf_buf_puts(b, "\\ufffd");
            n = 1;
        } else if (*s == '"' || *s == '\\') {
            nf_buf_printf(b, "\\%c", *s);
        } else if (*s < 0x20) {
            nf_buf_printf(b, "\\u%04x", *s);
        } else {
            nf_buf_add(b, s, n);
        }
        s += n;
    }
    nf_buf_puts(b, "\"");
}

void nf_buf_csv(struct nf_buf *b, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        nf_buf_puts(b, text);
        return;
    }
    nf_buf_puts(b, "\"");
    for (; *text; text++)
        nf_buf_puts(b, *text == '"' ? "\"\"" : (char[]){*text, '\0'});
    nf_buf_puts(b, "\"");
}

void nf_buf_html(struct nf_buf *b, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&': nf_buf_puts(b, "&amp;"); break;
        case '<': nf_buf_puts(b, "&lt;"); break;
        case '>': nf_buf_puts(b, "&gt;"); break;
        case '"': nf_buf_puts(b, "&quot;"); break;
        default: nf_buf_add(b, text, 1);
        }
    }
}

void nf_buf_clear(struct nf_buf *b)
{
    b->n = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

void nf_buf_deinit(struct nf_buf *b)
{
    free(b->data);
    *b = (struct nf_buf){0};
}

int nf_buf_read_file(struct nf_buf *b, const char *path, size_t max)
{
    char chunk[65536];
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;

    if (fd < 0)
        return nf_fail(-errno, "cannot open %s: %s", path, strerror(errno));
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = nf_fail(-errno, "cannot read %s: %s", path, strerror(errno));
        if (n <= 0)
            break;
        if (b->n + (size_t)n > max) {
            rc = nf_fail(-EFBIG, "%s is larger than %zu bytes", path, max);
            break;
        }
        nf_buf_add(b, chunk, (size_t)n);
    }
    close(fd);
    nf_buf_add(b, "", 0);
    if (!rc && b->failed)
        rc = nf_fail(-ENOMEM, "out of memory reading %s", path);
    return rc;
}

int nf_file_write(const char *path, const void *data, size_t n)
{
    struct nf_buf temporary = {0};
    const char *p = data;
    int fd, rc = 0;

    nf_buf_printf(&temporary, "%s.%d.tmp", path, (int)getpid());
    if (temporary.failed)
        return nf_fail(-ENOMEM, "out of memory");
    fd = open(temporary.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        rc = nf_fail(-errno, "cannot write %s: %s", path, strerror(errno));
        goto out;
    }
    while (n) {
        ssize_t w = write(fd, p, n);

        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0) {
            rc = nf_fail(-errno, "cannot write %s: %s", path, strerror(errno));
            break;
        }
        p += w;
        n -= (size_t)w;
    }
    if (close(fd) && !rc)
        rc = nf_fail(-errno, "cannot write %s: %s", path, strerror(errno));
    if (!rc && rename(temporary.data, path))
        rc = nf_fail(-errno, "cannot write %s: %s", path, strerror(errno));
    if (rc)
        unlink(temporary.data);
out:
    nf_buf_deinit(&temporary);
    return rc;
}
