/* Runs a job with the hook, on a ring of its own, and prints what arrives as one JSON object per line; the last one
 * is the header and how the job ended. Numbers of texts are resolved where they are known by then.
 *
 * usage: ring-dump SLOTS PASS PRELOAD HOOKDIR [--deaf] -- CMD...    --deaf: read only after the job ended */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capture/ring.h"

static const char *const kind_names[] = {
    [NF_EVENT_ALLOC] = "alloc",   [NF_EVENT_FREE] = "free",   [NF_EVENT_TEXT] = "text", [NF_EVENT_TENSOR] = "tensor",
    [NF_EVENT_OP] = "op",         [NF_EVENT_VISIT] = "visit", [NF_EVENT_STEP] = "step", [NF_EVENT_MARK] = "mark",
    [NF_EVENT_CHECKPOINT] = "checkpoint", [NF_EVENT_SAVED] = "saved",
    [NF_EVENT_TOUCH] = "touch",
};

enum { TEXTS = 1 << 16 };
static char *texts[TEXTS];

static void die(const char *what)
{
    fprintf(stderr, "ring-dump: %s: %s\n", what, strerror(errno));
    exit(99);
}

static void take_text(const struct nf_event *e)
{
    uint32_t left;

    if (e->id >= TEXTS || e->module > e->name)
        return;
    if (!texts[e->id] && !(texts[e->id] = calloc(1, (size_t)e->name + 1)))
        die("calloc");
    left = e->name - e->module;
    memcpy(texts[e->id] + e->module, e->text, left < NF_RING_TEXT ? left : NF_RING_TEXT);
}

static void print_text(const char *key, uint64_t id)
{
    const char *text = id < TEXTS && texts[id] ? texts[id] : "";

    printf(", \"%s\": \"", key);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text >= ' ')
            putchar(*text);
    putchar('"');
}

static void print_event(const struct nf_event *e)
{
    if (e->kind == NF_EVENT_TEXT) {
        take_text(e);
        return;
    }
    printf("{\"kind\": \"%s\", \"time\": %" PRIu64 ", \"thread\": %u, \"address\": %" PRIu64 ", \"a\": %" PRIu64
           ", \"b\": %" PRIu64 ", \"c\": %" PRIu64,
           e->kind < sizeof kind_names / sizeof *kind_names && kind_names[e->kind] ? kind_names[e->kind] : "?",
           e->time_ns, e->thread, e->address, e->a, e->b, e->c);
    switch (e->kind) {
    case NF_EVENT_TENSOR:
        print_text("dtype", e->id);
        print_text("name", e->name);
        print_text("module", e->module);
        print_text("shape", e->c);
        break;
    case NF_EVENT_OP:
        print_text("name", e->id);
        print_text("module", e->module);
        printf(", \"phase\": %u, \"microbatch\": %u, \"n\": %u", e->phase, e->microbatch, e->n);
        break;
    case NF_EVENT_VISIT: printf(", \"rw\": %u, \"pattern\": %u", e->rw, e->pattern); break;
    case NF_EVENT_TOUCH: printf(", \"rw\": %u, \"owner\": %u", e->rw, e->id); break;
    case NF_EVENT_MARK:
        printf(", \"mark\": %u", e->id);
        print_text("name", e->name);
        print_text("module", e->module);
        break;
    default: break;
    }
    puts("}");
}

static void drain(struct nf_ring_header *ring)
{
    const struct nf_event *slots = (const struct nf_event *)(ring + 1);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    for (; tail < head; tail++)
        print_event(&slots[tail % ring->slots]);
    atomic_store_explicit(&ring->tail, tail, memory_order_release);
}

static void run_job(int ring_fd, char **argv, char **command)
{
    char path[64], python_path[4096], preload[4096];
    const char *more_python = getenv("PYTHONPATH"), *more_preload = getenv("LD_PRELOAD");

    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getppid(), ring_fd);
    snprintf(python_path, sizeof python_path, more_python ? "%s:%s" : "%s", argv[4], more_python);
    snprintf(preload, sizeof preload, more_preload ? "%s:%s" : "%s", argv[3], more_preload);
    setenv(NF_RING_ENV, path, 1);
    setenv(NF_PASS_ENV, argv[2], 1);
    setenv("PYTHONPATH", python_path, 1);
    setenv("LD_PRELOAD", preload, 1);
    /* The events have standard output to themselves. */
    dup2(STDERR_FILENO, STDOUT_FILENO);
    execvp(command[0], command);
    die(command[0]);
}

int main(int argc, char **argv)
{
    struct nf_ring_header *ring;
    char **command = argv + 5;
    bool deaf = false, ended = false;
    uint32_t slots;
    size_t bytes;
    int fd, status = 0;
    pid_t job;

    if (argc < 7)
        return 2;
    if (!strcmp(*command, "--deaf")) {
        deaf = true;
        command++;
    }
    if (strcmp(*command++, "--") != 0 || !*command)
        return 2;
    slots = (uint32_t)strtoul(argv[1], NULL, 10);
    bytes = sizeof *ring + (size_t)slots * sizeof(struct nf_event);
    fd = memfd_create("ring", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
        die("memfd");
    ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ring == MAP_FAILED)
        die("mmap");
    ring->slots = slots;
    ring->version = NF_RING_VERSION;
    ring->magic = NF_RING_MAGIC;

    job = fork();
    if (job < 0)
        die("fork");
    if (job == 0)
        run_job(fd, argv, command);
    while (!ended) {
        ended = waitpid(job, &status, deaf ? 0 : WNOHANG) == job;
        drain(ring);
        if (!ended)
            usleep(500);
    }
    drain(ring);
    printf("{\"kind\": \"end\", \"job\": %d, \"owner\": %u, \"others\": %u, \"lost\": %" PRIu64 ", \"live\": %" PRIu64
           ", \"peak\": %" PRIu64 ", \"allocations\": %" PRIu64 ", \"closed\": %u, "
           "\"watching\": %u, \"exit\": %d, \"signal\": %d}\n",
           (int)job, ring->owner, ring->others, ring->lost, ring->live_bytes, ring->peak_bytes, ring->allocations,
           ring->closed, ring->exact_watching, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
           WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return 0;
}
