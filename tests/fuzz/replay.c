/* Feeds every file of the folders it is given to a fuzz target. usage: fuzz-NAME FOLDER... */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

/* Larger than any corpus file is meant to be. */
enum { INPUT_MAX = 1 << 20 };

static int is_visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static int feed(const char *path)
{
    uint8_t *data = malloc(INPUT_MAX);
    FILE *f = fopen(path, "rb");
    size_t n;

    if (!data || !f) {
        perror(path);
        free(data);
        return -1;
    }
    n = fread(data, 1, INPUT_MAX, f);
    fclose(f);
    /* To its exact size, so that a sanitizer sees a read past the end. */
    data = realloc(data, n ? n : 1);
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    int fed = 0, failed = 0;

    for (int a = 1; a < argc; a++) {
        struct dirent **files = NULL;
        int n = scandir(argv[a], &files, is_visible, alphasort);

        if (n < 0)
            perror(argv[a]);
        failed |= n < 0;
        for (int i = 0; i < n; i++) {
            char path[4096];

            snprintf(path, sizeof path, "%s/%s", argv[a], files[i]->d_name);
            failed |= feed(path) != 0;
            fed++;
            free(files[i]);
        }
        free(files);
    }
    printf("%d inputs\n", fed);
    return failed || !fed;
}
