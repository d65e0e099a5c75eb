#include "tests/bench/peer.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* folder/name, or with folder "" the name alone. Whether that fits and can be run. */
static bool is_program(const char *folder, const char *name, char *path, size_t size)
{
    size_t n = strlen(folder), m = strlen(name) + 1;

    if (n + 1 + m > size)
        return false;
    memcpy(path, folder, n);
    if (n)
        path[n++] = '/';
    memcpy(path + n, name, m);
    return !access(path, X_OK);
}

const char *bench_peer_find(const char *group, const char *name, const char *variable, char *path, size_t size)
{
    const char *given = getenv(variable), *list = getenv("PATH");
    char *copy = strdup(list ? list : ""), *rest = copy;
    bool found = false;

    if (given && *given)
        found = is_program("", given, path, size);
    for (char *folder = strsep(&rest, ":"); folder && !found && !(given && *given); folder = strsep(&rest, ":"))
        found = is_program(folder, name, path, size);
    free(copy);
    if (!found)
        printf("%s: rows beside %s left out: it is neither on PATH nor where %s says\n", group, name, variable);
    return found ? path : NULL;
}

/* word NULL: the field-th word; else the one after `word`. */
static double number_of(const char *group, const char *command, const char *separators, unsigned field, const char *word)
{
    char line[4096];
    double value = -1;
    FILE *f = popen(command, "re");

    if (!f)
        return -1;
    while (fgets(line, sizeof line, f)) {
        char *rest = line, *part, *end;
        unsigned i = 0;
        bool next = false;

        while ((part = strtok_r(rest, separators, &rest))) {
            double v = strtod(part, &end);

            if ((word ? next : i == field) && end > part && v > 0)
                value = v;
            next = word && !strcmp(part, word);
            i++;
        }
    }
    if (pclose(f) || value <= 0) {
        printf("%s: '%.200s' printed no speed\n", group, command);
        return -1;
    }
    return value;
}

double bench_peer_field(const char *group, const char *command, const char *separators, unsigned field)
{
    return number_of(group, command, separators, field, NULL);
}

double bench_peer_after(const char *group, const char *command, const char *word)
{
    return number_of(group, command, " \t,\n", 0, word);
}
