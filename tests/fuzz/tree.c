#include "tests/fuzz/tree.h"

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 1024 };

static char root[64];

static int drop(const char *path, const struct stat *s, int kind, struct FTW *ftw)
{
    return ftw->level ? remove(path) : 0;
}

void fuzz_tree_clear(void)
{
    nftw(root, drop, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_root(void)
{
    fuzz_tree_clear();
    rmdir(root);
}

const char *fuzz_tree_root(void)
{
    if (!*root) {
        snprintf(root, sizeof root, "/tmp/nearfar-fuzz-XXXXXX");
        if (!mkdtemp(root))
            abort();
        atexit(remove_root);
    }
    return root;
}

static void folders(char *full)
{
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(full, 0755);
        *p = '/';
    }
}

static bool write_file(const char *full, const void *data, size_t n)
{
    FILE *f = fopen(full, "we");
    bool whole = f && fwrite(data, 1, n, f) == n;

    return f && !fclose(f) && whole;
}

void fuzz_tree_put(const char *path, const void *data, size_t n)
{
    char full[PATH_BYTES];

    snprintf(full, sizeof full, "%s%s", fuzz_tree_root(), path);
    folders(full);
    if (!write_file(full, data, n))
        abort();
}

/* folder/name as a path below the root without "." and ".."; false where that leads out of it or is too long. */
static bool normal(char out[PATH_BYTES], const char *folder, const char *name)
{
    char both[PATH_BYTES], *rest = both;
    size_t n = (size_t)snprintf(out, PATH_BYTES, "%s", root);
    const size_t bottom = n;
    const char *part;

    if (snprintf(both, sizeof both, "%s/%s", folder, name) >= (int)sizeof both)
        return false;
    while ((part = strsep(&rest, "/"))) {
        if (!*part || !strcmp(part, "."))
            continue;
        if (!strcmp(part, "..")) {
            if (n == bottom)
                return false;
            while (out[--n] != '/')
                ;
            out[n] = '\0';
        } else {
            n += (size_t)snprintf(out + n, PATH_BYTES - n, "/%s", part);
            if (n >= PATH_BYTES)
                return false;
        }
    }
    return n > bottom;
}

/* "\n" in a file's text is a line's end. */
static size_t unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; from++)
        *to++ = from[0] == '\\' && from[1] == 'n' ? (from++, '\n') : *from;
    return (size_t)(to - text);
}

void fuzz_tree_unpack(char *text)
{
    char folder[PATH_BYTES] = "", full[PATH_BYTES], target[PATH_BYTES], *line, *to, *content;

    fuzz_tree_root();
    while ((line = strsep(&text, "\n"))) {
        if (*line == '#')
            continue;
        if (*line == '[') {
            line[strcspn(line, "]")] = '\0';
            snprintf(folder, sizeof folder, "%s", line + 1);
        } else if ((to = strstr(line, " -> "))) {
            *to = '\0';
            /* Whole and without "..", so that it stays inside whatever is a link on its way. */
            if (normal(full, folder, line) && normal(target, folder, to + 4)) {
                folders(full);
                if (symlink(target, full))
                    continue;
            }
        } else if ((content = strstr(line, " = "))) {
            *content = '\0';
            if (normal(full, folder, line)) {
                folders(full);
                write_file(full, content + 3, unescape(content + 3));
            }
        }
    }
}
