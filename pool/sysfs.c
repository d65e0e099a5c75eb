#include "pool/sysfs.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 1024 };

static bool join(char path[PATH_BYTES], const char *root, const char *fmt, va_list args)
{
    int at = snprintf(path, PATH_BYTES, "%s/", root), n;

    if (at < 0 || at >= PATH_BYTES)
        return false;
    n = vsnprintf(path + at, (size_t)(PATH_BYTES - at), fmt, args);
    return n >= 0 && at + n < PATH_BYTES;
}

static bool read_line(char *text, size_t size, const char *path)
{
    FILE *f = fopen(path, "re");

    text[0] = '\0';
    if (!f)
        return false;
    if (!fgets(text, (int)size, f))
        text[0] = '\0';
    /* What is cut says so. */
    if (size > 4 && strlen(text) == size - 1 && text[size - 2] != '\n' && getc(f) != EOF)
        memcpy(text + size - 4, "...", 4);
    fclose(f);
    text[strcspn(text, "\n")] = '\0';
    return text[0];
}

bool nf_sysfs_line(char *text, size_t size, const char *root, const char *fmt, ...)
{
    char path[PATH_BYTES];
    va_list args;
    bool fits;

    va_start(args, fmt);
    fits = join(path, root, fmt, args);
    va_end(args);
    text[0] = '\0';
    return fits && read_line(text, size, path);
}

bool nf_sysfs_number(double *out, const char *root, const char *fmt, ...)
{
    char path[PATH_BYTES], text[64], *end;
    va_list args;
    double value;
    bool fits;

    va_start(args, fmt);
    fits = join(path, root, fmt, args);
    va_end(args);
    if (!fits || !read_line(text, sizeof text, path))
        return false;
    value = strtod(text, &end);
    if (end == text || !(value >= 0 && value < 0x1p64)) /* fits a uint64_t */
        return false;
    *out = value;
    return true;
}

bool nf_sysfs_link(char *text, size_t size, const char *root, const char *fmt, ...)
{
    char path[PATH_BYTES], target[PATH_BYTES];
    const char *last;
    va_list args;
    ssize_t n;
    bool fits;

    va_start(args, fmt);
    fits = join(path, root, fmt, args);
    va_end(args);
    text[0] = '\0';
    n = fits ? readlink(path, target, sizeof target - 1) : -1;
    if (n <= 0)
        return false;
    target[n] = '\0';
    last = strrchr(target, '/');
    snprintf(text, size, "%s", last ? last + 1 : target);
    return text[0];
}

bool nf_sysfs_named(const char *name, const char *prefix, unsigned *number)
{
    size_t n = strlen(prefix);
    char *end;

    if (strncmp(name, prefix, n) || !isdigit((unsigned char)name[n]))
        return false;
    *number = (unsigned)strtoul(name + n, &end, 10);
    return !*end || *end == '.';
}

bool nf_sysfs_list_holds(const char *list, int number)
{
    while (isdigit((unsigned char)*list)) {
        char *end;
        long low = strtol(list, &end, 10), high = *end == '-' ? strtol(end + 1, &end, 10) : low;

        if (low <= number && number <= high)
            return true;
        list = *end == ',' ? end + 1 : end;
        if (*end && *end != ',')
            break;
    }
    return false;
}
