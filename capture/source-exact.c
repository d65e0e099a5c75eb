#include "capture/source-exact.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capture/exact/exact.h"
#include "capture/preload/arena.h"
#include "capture/source-framework.h"
#include "core/base/error.h"

#define EMULATOR "qemu-x86_64"

/* The emulator keeps a record of every page that the guest reserves, touched or not. */
#define QEMU_RESERVE_BYTES (1ull << 30)
#define TSAN_RESERVE_BYTES (16ull << 30)

struct options {
    const char *engine;
    uint64_t reserve_bytes, min_bytes;
};

static const struct nf_option options_table[] = {
    {"engine", 0, NF_OPTION_STRING, offsetof(struct options, engine), "ENGINE", "qemu (default): emulate the program; tsan: it was compiled for it"},
    {"reserve", 0, NF_OPTION_BYTES, offsetof(struct options, reserve_bytes), "BYTES", "room for the tensors that are watched (default 1GiB with qemu, 16GiB with tsan)"},
    {"min", 0, NF_OPTION_BYTES, offsetof(struct options, min_bytes), "BYTES", "watch tensors of so many bytes and more (default 1: all)"},
    {0},
};

struct nf_source {
    int unused; /* all the state is in the job */
};

static bool is_qemu(const struct options *o)
{
    return !o->engine || !strcmp(o->engine, NF_EXACT_ENGINE_QEMU);
}

static int check(const struct options *o)
{
    if (o->engine && strcmp(o->engine, NF_EXACT_ENGINE_QEMU) && strcmp(o->engine, NF_EXACT_ENGINE_TSAN))
        return nf_fail(-EINVAL, "source exact: engine is 'qemu' or 'tsan', not '%s'", o->engine);
    if (o->reserve_bytes && o->reserve_bytes < 4 << 20)
        return nf_fail(-EINVAL, "source exact: reserve is 4MiB or more");
    return 0;
}

/* --- can it work here? --- */

/* Runs a program without input; the last line it printed. Its exit status, or -errno. */
static int ask(char *const *argv, char *text, size_t size)
{
    int ends[2], status;
    pid_t pid;
    FILE *out;

    *text = '\0';
    if (pipe2(ends, O_CLOEXEC))
        return -errno;
    pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDONLY);

        dup2(null, STDIN_FILENO);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(ends[1]);
    out = pid < 0 ? NULL : fdopen(ends[0], "r");
    if (out) {
        char line[512]; /* a longer one goes on in the next */

        while (fgets(line, sizeof line, out)) {
            line[strcspn(line, "\n")] = '\0';
            if (*line)
                snprintf(text, size, "%.250s", line);
        }
        fclose(out);
    } else {
        close(ends[0]);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static const char *plugin_path(void)
{
    static char path[PATH_MAX + 64];

    snprintf(path, sizeof path, "%s/exact/libnearfar-qemu.so", nf_source_library_folder());
    return path;
}

static int probe_qemu(char *text, size_t size)
{
    char *version[] = {(char *)EMULATOR, (char *)"--version", NULL};
    char *trial[] = {(char *)EMULATOR, (char *)"-cpu", (char *)"max", (char *)"-plugin", (char *)plugin_path(),
                     (char *)"/bin/true", NULL};
    char said[256];
    int rc = ask(version, said, sizeof said);

    if (rc) {
        snprintf(text, size, "there is no " EMULATOR " (package qemu-user)");
        return -ENOENT;
    }
    if (access(plugin_path(), R_OK)) {
        snprintf(text, size, "its plugin is not beside the program; set NEARFAR_LIBDIR to the folder with exact/");
        return -ENOENT;
    }
    rc = ask(trial, said, sizeof said);
    if (rc) {
        snprintf(text, size, EMULATOR " does not run with the plugin (it needs plugin interface 1; tried with QEMU 7.2): %.160s",
                 *said ? said : "it said nothing");
        return -ENOTSUP;
    }
    snprintf(text, size, "emulates prebuilt programs; no AVX-512; 2 to 100 times slower");
    return 0;
}

static int probe_tsan(char *text, size_t size)
{
    char *compile[] = {(char *)"gcc", (char *)"-fsanitize=thread", (char *)"-x", (char *)"c", (char *)"-c", (char *)"-o",
                       (char *)"/dev/null", (char *)"/dev/null", NULL};
    char said[256], path[PATH_MAX + 64];

    snprintf(path, sizeof path, "%s/exact/libnearfar-tsan.a", nf_source_library_folder());
    if (access(path, R_OK)) {
        snprintf(text, size, "libnearfar-tsan.a is not beside the program; set NEARFAR_LIBDIR to the folder with exact/");
        return -ENOENT;
    }
    if (ask(compile, said, sizeof said)) {
        snprintf(text, size, "no gcc here that knows -fsanitize=thread to build such a program (clang leaves vector accesses out)");
        return -ENOENT;
    }
    snprintf(text, size, "runs programs that gcc -fsanitize=thread compiled, linked with %.150s", path);
    return 0;
}

int nf_source_exact_probe(const char *engine, char *text, size_t size)
{
    return strcmp(engine, NF_EXACT_ENGINE_QEMU) ? probe_tsan(text, size) : probe_qemu(text, size);
}

/* A program for engine tsan may have been built elsewhere: only the emulator can be missing, and open says so. */
static int probe(char *why, size_t size)
{
    char path[PATH_MAX + 64];

    snprintf(path, sizeof path, "%s/preload/libnearfar-preload.so", nf_source_library_folder());
    if (access(path, R_OK)) {
        snprintf(why, size, "the preloaded library is not beside the program; set NEARFAR_LIBDIR to the folder with preload/");
        return -ENOENT;
    }
    return 0;
}

/* --- the job --- */

static size_t environment(const void *options, enum nf_pass_kind pass, const char *ring_path, const char **out, size_t max)
{
    static char engine[64], arena[96];
    const char *const all[] = {engine, arena};
    const struct options *o = options;
    size_t n = 0;
    uint64_t reserve = o->reserve_bytes ? o->reserve_bytes : is_qemu(o) ? QEMU_RESERVE_BYTES : TSAN_RESERVE_BYTES;

    if (pass != NF_PASS_ACCESS)
        return 0;
    snprintf(engine, sizeof engine, NF_EXACT_ENV "=%s", is_qemu(o) ? NF_EXACT_ENGINE_QEMU : NF_EXACT_ENGINE_TSAN);
    snprintf(arena, sizeof arena, NF_ARENA_ENV "=min=%llu,every=0,reserve=%llu",
             (unsigned long long)(o->min_bytes ? o->min_bytes : 1), (unsigned long long)reserve);
    for (; n < sizeof all / sizeof *all && n < max; n++)
        out[n] = all[n];
    return n;
}

/* As execvp would find it. */
static int find_program(const char *name, char *path, size_t size)
{
    const char *folders = getenv("PATH");

    if (strchr(name, '/'))
        return (size_t)snprintf(path, size, "%s", name) < size ? 0 : -ENAMETOOLONG;
    for (const char *at = folders ? folders : "/bin:/usr/bin"; *at;) {
        size_t n = strcspn(at, ":");

        if ((size_t)snprintf(path, size, "%.*s/%s", n ? (int)n : 1, n ? at : ".", name) < size && !access(path, X_OK))
            return 0;
        at += n + (at[n] == ':');
    }
    return -ENOENT;
}

/* The emulator runs the machine's own programs; what a script starts would run outside of it. */
static int check_program(const char *path)
{
    Elf64_Ehdr header;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return nf_fail(-errno, "cannot run '%s': %s", path, strerror(errno));
    n = read(fd, &header, sizeof header);
    close(fd);
    if (n != (ssize_t)sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_machine != EM_X86_64)
        return nf_fail(-EINVAL, "source exact: '%s' is no x86-64 program but perhaps a script that starts one; engine qemu "
                       "wants the program itself (for python3: the interpreter's own path)", path);
    return 0;
}

/* The preloaded library is for the guest, not for the emulator, which has allocators of its own. The shell takes it out of
 * the environment that they would share. */
static const char take_preload[] = "preload=$LD_PRELOAD; unset LD_PRELOAD; exec " EMULATOR " -E \"LD_PRELOAD=$preload\" \"$@\"";

static int command(const void *options, enum nf_pass_kind pass, char *const *argv, char ***out)
{
    static char program[PATH_MAX], name[PATH_MAX];
    char *const before[] = {(char *)"/bin/sh", (char *)"-c", (char *)take_preload, (char *)EMULATOR, (char *)"-cpu", (char *)"max",
                            (char *)"-plugin", (char *)plugin_path(), (char *)"-0", name, program};
    enum { BEFORE = sizeof before / sizeof *before };
    size_t n = 0;
    int rc;

    *out = NULL;
    if (pass != NF_PASS_ACCESS || !is_qemu(options))
        return 0;
    if (find_program(argv[0], program, sizeof program) || strlen(argv[0]) >= sizeof name)
        return nf_fail(-ENOENT, "cannot run '%s': %s", argv[0], strerror(ENOENT));
    rc = check_program(program);
    if (rc)
        return rc;
    snprintf(name, sizeof name, "%s", argv[0]);
    while (argv[n])
        n++;
    *out = calloc(BEFORE + n, sizeof **out);
    if (!*out)
        return nf_fail(-ENOMEM, "out of memory");
    memcpy(*out, before, sizeof before);
    memcpy(*out + BEFORE, argv + 1, (n - 1) * sizeof *argv);
    return 0;
}

static int open_source(const void *options, struct nf_source **out, struct nf_source_facts *facts)
{
    const struct options *o = options;
    char why[320];
    int rc = check(o);

    *out = NULL;
    if (rc)
        return rc;
    if (is_qemu(o) && probe_qemu(why, sizeof why))
        return nf_fail(-ENOTSUP, "source exact: %s", why);
    if (is_qemu(o) && strchr(nf_source_library_folder(), ','))
        return nf_fail(-ENOTSUP, "source exact: the emulator takes no preloaded library from a folder with a comma in its name");
    *out = calloc(1, sizeof **out);
    if (!*out)
        return -ENOMEM;
    *facts = (struct nf_source_facts){
        .resolution_bytes = 1, .boundary_ops = 1, .rw = "observed", .sees_all = true, .validated = true};
    snprintf(facts->notes, sizeof facts->notes, "%s", is_qemu(o)
             ? "not seen: what the kernel touches for the job; accesses count in pieces of at most 8 bytes, as QEMU makes them; a "
               "masked vector load counts whole"
             : "not seen: code that was not compiled with -fsanitize=thread, the C library but for memcpy, memmove and memset, "
               "what the kernel touches for the job");
    return 0;
}

static struct nf_source *close_source(struct nf_source *s)
{
    free(s);
    return NULL;
}

const struct nf_source_ops nf_source_exact = {
    .abi = NF_SOURCE_ABI,
    .name = "exact",
    .about = "every access to every byte of a tensor, in instrumented or emulated code; for tests and small jobs",
    .evidence = NF_ACCESS_EXACT,
    .options = options_table,
    .options_size = sizeof(struct options),
    .probe = probe,
    .environment = environment,
    .command = command,
    .open = open_source,
    .close = close_source,
};
