#include "capture/source-framework.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/ring.h"

const char *nf_source_library_folder(void)
{
    static char folder[PATH_MAX];
    static const char *const places[] = {"capture", "../lib/nearfar"};
    char exe[PATH_MAX], probe[PATH_MAX + 64];
    const char *wanted = getenv("NEARFAR_LIBDIR");
    ssize_t n;

    if (folder[0])
        return folder;
    if (wanted) {
        snprintf(folder, sizeof folder, "%s", wanted);
        return folder;
    }
    n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return folder;
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char candidate[PATH_MAX + 32];

        snprintf(candidate, sizeof candidate, "%s/%s", exe, places[i]);
        snprintf(probe, sizeof probe, "%.*s/preload/libnearfar-preload.so", PATH_MAX, candidate);
        if (!access(probe, R_OK) && strlen(candidate) < sizeof folder) {
            memcpy(folder, candidate, strlen(candidate) + 1);
            break;
        }
    }
    return folder;
}

static int probe(char *why, size_t size)
{
    char path[PATH_MAX + 64];

    snprintf(path, sizeof path, "%s/hook/sitecustomize.py", nf_source_library_folder());
    if (!*nf_source_library_folder() || access(path, R_OK)) {
        snprintf(why, size, "its hook is not beside the program; set NEARFAR_LIBDIR to the folder with hook/");
        return -ENOENT;
    }
    return 0;
}

static size_t environment(const void *options, enum nf_pass_kind pass, const char *ring_path, const char **out, size_t max)
{
    static char preload[PATH_MAX + 64], hook[PATH_MAX + 64], ring[PATH_MAX], kind[64];
    const char *const all[] = {preload, hook, ring, kind};
    size_t n = 0;

    snprintf(preload, sizeof preload, "LD_PRELOAD+=%s/preload/libnearfar-preload.so", nf_source_library_folder());
    snprintf(hook, sizeof hook, "PYTHONPATH+=%s/hook", nf_source_library_folder());
    snprintf(ring, sizeof ring, NF_RING_ENV "=%s", ring_path);
    snprintf(kind, sizeof kind, NF_PASS_ENV "=%s", nf_pass_kind_name(pass));
    for (; n < sizeof all / sizeof *all && n < max; n++)
        out[n] = all[n];
    return n;
}

const struct nf_source_ops nf_source_framework = {
    .abi = NF_SOURCE_ABI,
    .name = "framework",
    .about = "PyTorch says which operator touches which extent of which tensor",
    .evidence = NF_ACCESS_FRAMEWORK,
    .probe = probe,
    .environment = environment,
};
