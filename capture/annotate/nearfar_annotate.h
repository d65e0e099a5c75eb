#pragma once
/* Tells nearfar what a C or C++ job does: its tensors, operators, phases and steps, as the PyTorch hook does for a
 * PyTorch job. One file, nothing to link with: it looks for nearfar's preloaded library when it is first used. Without
 * it (the job runs on its own) every call is one test and a return, and nf_annotate_alloc is posix_memalign.
 *
 *     float *w = nf_annotate_alloc(bytes);
 *     nf_annotate_tensor(w, bytes, "layer.weight", NF_ANNOTATE_PARAMETER, "float32", "256x256");
 *     nf_annotate_begin_training(1);
 *     for (...) {
 *         nf_annotate_set_phase(NF_ANNOTATE_FORWARD);
 *         nf_annotate_op_begin("my::matmul");
 *         ... the kernel ...
 *         nf_annotate_visit(w, 0, bytes, NF_ANNOTATE_READ, NF_ANNOTATE_BLOCKED);
 *         nf_annotate_op_end();
 *         nf_annotate_step();
 *     }
 *
 * and then, with the program unchanged: nearfar capture -o study.nf -- ./program
 *
 * One thread annotates, the one that annotated first; calls from others do nothing. An op may use as many threads as it
 * likes. Texts are copied. Needs gnu11 or later or _GNU_SOURCE, or C++17. */
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef CLOCK_MONOTONIC
#error "nearfar_annotate.h needs POSIX: compile with -std=gnu11 or later, or with -D_GNU_SOURCE"
#endif

/* What a tensor is for. The others (saved activation, temporary...) follow from what is done with it. */
enum nf_annotate_role {
    NF_ANNOTATE_OTHER_ROLE = 0,
    NF_ANNOTATE_PARAMETER = 1,
    NF_ANNOTATE_FROZEN = 2, /* a parameter without gradient */
    NF_ANNOTATE_GRADIENT = 3,
    NF_ANNOTATE_OPTIMIZER_STATE = 4,
    NF_ANNOTATE_INPUT = 5
};

enum nf_annotate_phase {
    NF_ANNOTATE_OTHER_PHASE = 0,
    NF_ANNOTATE_FORWARD = 1,
    NF_ANNOTATE_BACKWARD = 2,
    NF_ANNOTATE_RECOMPUTE = 3,
    NF_ANNOTATE_OPTIMIZER = 4
};

enum nf_annotate_rw { NF_ANNOTATE_READ = 0, NF_ANNOTATE_WRITE = 1, NF_ANNOTATE_UPDATE = 2 };

enum nf_annotate_pattern {
    NF_ANNOTATE_STREAM = 0,  /* one contiguous run */
    NF_ANNOTATE_STRIDED = 1, /* runs at a constant stride */
    NF_ANNOTATE_GATHER = 2,  /* rows chosen by an index */
    NF_ANNOTATE_BLOCKED = 3  /* operand of a matrix product */
};

/* --- how it works; nothing to call up to the next heading --- */

#if defined(__GNUC__) && !defined(__clang__)
#define NF_ANNOTATE_FN_ __attribute__((unused, no_sanitize_thread)) static inline
#else
#define NF_ANNOTATE_FN_ __attribute__((unused, no_sanitize("thread"))) static inline
#endif

/* One event of the ring, and the words of an op: the layout of nearfar's capture/ring.h and capture/preload/hook.h. */
struct nf_annotate_event_ {
    uint64_t time_ns;
    uint8_t kind, phase, rw, pattern;
    uint16_t microbatch, n;
    uint32_t thread, id, name, module;
    uint64_t address, a, b, c;
};

enum {
    NF_ANNOTATE_EVENT_TENSOR_ = 4,
    NF_ANNOTATE_EVENT_MARK_ = 8,
    NF_ANNOTATE_MARK_TRAINING_ = 1,
    NF_ANNOTATE_MARK_RUNTIME_ = 6,
    NF_ANNOTATE_MARK_RANK_ = 8,
    NF_ANNOTATE_OP_WORDS_ = 5,
    NF_ANNOTATE_VISIT_WORDS_ = 6,
    NF_ANNOTATE_VISITS_MAX_ = 0xffff,
    NF_ANNOTATE_ALIGNMENT_ = 64
};

struct nf_annotate_string_ {
    char *chars;
    int sent;
};

struct nf_annotate_state_ {
    int captured; /* 0: not looked yet, 1: yes, -1: no */
    int wants_ops, wants_visits, wants_boundaries, training, depth;
    pthread_t thread;
    uint32_t module, phase, microbatch;
    uint64_t op_began_ns;
    /* The words of the open op. */
    uint64_t *words;
    size_t n_words, room_words;
    struct nf_annotate_string_ *texts; /* number = index + 1 */
    size_t n_texts, room_texts;
    struct nf_annotate_event_ *tensors; /* as announced */
    size_t n_tensors, room_tensors;
    int (*hook_track)(void);
    int (*hook_claim)(void);
    int (*hook_emit)(const void *events, uint32_t n);
    int (*hook_op)(const uint64_t *words, uint32_t n);
    void (*hook_op_begins)(void); /* may be missing */
    void (*hook_foreign)(uint64_t address);
    void (*hook_boundary)(uint64_t op); /* may be missing, as the next */
    void (*hook_named)(uint64_t address, uint64_t name);
    int (*hook_text)(uint32_t id, const char *text, uint32_t length);
    int (*hook_mark)(uint32_t mark, uint32_t name, uint32_t module, uint64_t a);
    int (*hook_step)(void);
    void (*hook_close)(void);
};

/* One for all files of a program that include this one. */
__attribute__((weak)) struct nf_annotate_state_ nf_annotate_state_;

/* Makes room for n more elements. 0 when there is no memory: what does not fit is left out. */
NF_ANNOTATE_FN_ int nf_annotate_reserve_(void **array, size_t used, size_t *room, size_t n, size_t element)
{
    size_t wanted = *room ? *room : 64;
    void *grown;

    if (used + n <= *room)
        return 1;
    while (wanted < used + n)
        wanted *= 2;
    grown = realloc(*array, wanted * element);
    if (!grown)
        return 0;
    *array = grown;
    *room = wanted;
    return 1;
}

NF_ANNOTATE_FN_ uint64_t nf_annotate_now_ns_(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* FNV-1a, as nearfar's core/base/job-placer.h has it. */
NF_ANNOTATE_FN_ uint64_t nf_annotate_hash_(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325ull;

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3ull;
    return hash;
}

/* The number of a text; 0 for none. */
NF_ANNOTATE_FN_ uint32_t nf_annotate_text_(const char *text)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;
    struct nf_annotate_string_ *t;

    if (!text || !*text)
        return 0;
    for (size_t i = 0; i < s->n_texts; i++)
        if (!strcmp(s->texts[i].chars, text))
            return (uint32_t)i + 1;
    if (!nf_annotate_reserve_((void **)&s->texts, s->n_texts, &s->room_texts, 1, sizeof *s->texts))
        return 0;
    t = &s->texts[s->n_texts];
    t->chars = strdup(text);
    if (!t->chars)
        return 0;
    s->n_texts++;
    t->sent = s->hook_text((uint32_t)s->n_texts, text, (uint32_t)strlen(text)) == 0;
    return (uint32_t)s->n_texts;
}

NF_ANNOTATE_FN_ void nf_annotate_close_(void)
{
    if (nf_annotate_state_.captured > 0)
        nf_annotate_state_.hook_close();
    nf_annotate_state_.captured = -1;
}

NF_ANNOTATE_FN_ int nf_annotate_look_(void)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;
    const char *pass = getenv("NEARFAR_PASS"), *rank = getenv("RANK"), *world = getenv("WORLD_SIZE");
    struct nf_annotate_event_ mark;
    void *program;

    s->captured = -1;
    program = pass ? dlopen(NULL, RTLD_LAZY) : NULL;
    if (!program)
        return 0;
    *(void **)&s->hook_track = dlsym(program, "nf_hook_track");
    *(void **)&s->hook_claim = dlsym(program, "nf_hook_claim");
    *(void **)&s->hook_emit = dlsym(program, "nf_hook_emit");
    *(void **)&s->hook_op = dlsym(program, "nf_hook_op");
    *(void **)&s->hook_op_begins = dlsym(program, "nf_hook_op_begins");
    *(void **)&s->hook_foreign = dlsym(program, "nf_hook_foreign");
    *(void **)&s->hook_boundary = dlsym(program, "nf_hook_boundary");
    *(void **)&s->hook_named = dlsym(program, "nf_hook_named");
    *(void **)&s->hook_text = dlsym(program, "nf_hook_text");
    *(void **)&s->hook_mark = dlsym(program, "nf_hook_mark");
    *(void **)&s->hook_step = dlsym(program, "nf_hook_step");
    *(void **)&s->hook_close = dlsym(program, "nf_hook_close");
    if (!s->hook_track || !s->hook_claim || !s->hook_emit || !s->hook_op || !s->hook_foreign || !s->hook_text ||
        !s->hook_mark || !s->hook_step || !s->hook_close)
        return 0;
    if (s->hook_track() || s->hook_claim())
        return 0;
    s->thread = pthread_self();
    s->wants_ops = strcmp(pass, "bare") != 0;
    s->wants_visits = !strcmp(pass, "access");
    s->wants_boundaries = getenv("NEARFAR_MOVES") && !s->wants_ops && s->hook_boundary && s->hook_named;
    s->captured = 1;
    atexit(nf_annotate_close_);
    memset(&mark, 0, sizeof mark);
    mark.kind = NF_ANNOTATE_EVENT_MARK_;
    mark.id = NF_ANNOTATE_MARK_RANK_;
    mark.a = rank ? strtoull(rank, NULL, 10) : 0;
    mark.b = world && *world ? strtoull(world, NULL, 10) : 1;
    s->hook_emit(&mark, 1);
    return 1;
}

/* Is there somebody to tell, and is this the thread that tells? */
NF_ANNOTATE_FN_ int nf_annotate_on_(void)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;

    if (s->captured < 0 || (!s->captured && !nf_annotate_look_()))
        return 0;
    return pthread_equal(s->thread, pthread_self());
}

NF_ANNOTATE_FN_ struct nf_annotate_event_ *nf_annotate_find_(const void *tensor)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;

    for (size_t i = 0; i < s->n_tensors; i++)
        if (s->tensors[i].address == (uint64_t)(uintptr_t)tensor)
            return &s->tensors[i];
    return NULL;
}

/* The storages of the open op that came from no allocator that nearfar sees: say again what they are. */
NF_ANNOTATE_FN_ void nf_annotate_foreign_(void)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;

    for (size_t at = NF_ANNOTATE_OP_WORDS_; at < s->n_words; at += NF_ANNOTATE_VISIT_WORDS_) {
        const uint64_t *visit = s->words + at;
        const struct nf_annotate_event_ *known = nf_annotate_find_((const void *)(uintptr_t)visit[5]);
        struct nf_annotate_event_ e;

        memset(&e, 0, sizeof e);
        e.kind = NF_ANNOTATE_EVENT_TENSOR_;
        e.address = visit[5];
        e.a = visit[0] - visit[5] + visit[1];
        s->hook_emit(known ? known : &e, 1);
        s->hook_foreign(visit[5]);
    }
}

/* --- the annotations --- */

/* Begins to follow allocations. Optional: the first of the other calls does it. Call it first when tensors do not come
 * from nf_annotate_alloc but from posix_memalign and friends. Returns whether the job is being captured. */
NF_ANNOTATE_FN_ int nf_annotate_begin(void)
{
    return nf_annotate_on_();
}

/* A block for a tensor, 64-byte aligned as nearfar wants it, not cleared. NULL when there is no memory. Any thread. */
NF_ANNOTATE_FN_ void *nf_annotate_alloc(size_t bytes)
{
    void *block = NULL;

    nf_annotate_on_();
    return posix_memalign(&block, NF_ANNOTATE_ALIGNMENT_, bytes ? bytes : 1) ? NULL : block;
}

/* free, for a block with annotations. */
NF_ANNOTATE_FN_ void nf_annotate_free(void *block)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;

    if (block && nf_annotate_on_()) {
        struct nf_annotate_event_ *known = nf_annotate_find_(block);

        if (known)
            *known = s->tensors[--s->n_tensors];
    }
    free(block);
}

/* What the storage at `tensor` is. Static and mapped memory may be announced too. dtype as "float32", shape as "8x128";
 * both may be NULL. Saying it again replaces it. */
NF_ANNOTATE_FN_ void nf_annotate_tensor(const void *tensor, size_t bytes, const char *name, enum nf_annotate_role role,
                                        const char *dtype, const char *shape)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;
    struct nf_annotate_event_ e, *known;

    if (!tensor || !nf_annotate_on_())
        return;
    if (s->wants_boundaries && name)
        s->hook_named((uint64_t)(uintptr_t)tensor, (nf_annotate_hash_(name) ^ (uint64_t)role) * 0x100000001b3ull);
    if (!s->wants_visits)
        return;
    memset(&e, 0, sizeof e);
    e.kind = NF_ANNOTATE_EVENT_TENSOR_;
    e.address = (uint64_t)(uintptr_t)tensor;
    e.a = bytes;
    e.b = (uint64_t)role;
    e.id = nf_annotate_text_(dtype);
    e.name = nf_annotate_text_(name);
    e.module = s->module;
    e.c = nf_annotate_text_(shape);
    s->hook_emit(&e, 1);
    known = nf_annotate_find_(tensor);
    if (known)
        *known = e;
    else if (nf_annotate_reserve_((void **)&s->tensors, s->n_tensors, &s->room_tensors, 1, sizeof e))
        s->tensors[s->n_tensors++] = e;
}

/* The first step begins now; everything before was preparation. threads: how many the ops use. */
NF_ANNOTATE_FN_ void nf_annotate_begin_training(unsigned threads)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;
    struct nf_annotate_event_ runtime;

    if (!nf_annotate_on_() || s->training)
        return;
    s->training = 1;
    memset(&runtime, 0, sizeof runtime);
    runtime.kind = NF_ANNOTATE_EVENT_MARK_;
    runtime.id = NF_ANNOTATE_MARK_RUNTIME_;
    runtime.name = nf_annotate_text_("annotated");
    runtime.module = nf_annotate_text_(
#ifdef __cplusplus
        "C++"
#else
        "C"
#endif
    );
    runtime.a = threads;
    runtime.b = 1; /* the texts are whole, not versions of torch and Python */
    s->hook_emit(&runtime, 1);
    s->hook_mark(NF_ANNOTATE_MARK_TRAINING_, 0, 0, 0);
}

/* For the tensors and ops from here on: the path of their module ("" or NULL: none), phase, microbatch. */
NF_ANNOTATE_FN_ void nf_annotate_set_module(const char *path)
{
    if (nf_annotate_on_())
        nf_annotate_state_.module = nf_annotate_text_(path);
}

NF_ANNOTATE_FN_ void nf_annotate_set_phase(enum nf_annotate_phase phase)
{
    if (nf_annotate_on_())
        nf_annotate_state_.phase = (uint32_t)phase;
}

NF_ANNOTATE_FN_ void nf_annotate_set_microbatch(unsigned number)
{
    if (nf_annotate_on_())
        nf_annotate_state_.microbatch = number < 0xffff ? number : 0xffff;
}

/* An operator runs from here to nf_annotate_op_end, on this thread and any it starts. Of nested ones only the outermost
 * counts. The first begins the training if nothing else did. */
NF_ANNOTATE_FN_ void nf_annotate_op_begin(const char *name)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;

    if (!nf_annotate_on_() || !(s->wants_ops || s->wants_boundaries))
        return;
    if (s->depth++)
        return;
    nf_annotate_begin_training(1);
    if (s->wants_boundaries) {
        s->hook_boundary(nf_annotate_hash_(name ? name : ""));
        return;
    }
    if (!nf_annotate_reserve_((void **)&s->words, 0, &s->room_words, NF_ANNOTATE_OP_WORDS_, sizeof *s->words))
        return;
    s->words[0] = nf_annotate_text_(name) | (uint64_t)s->module << 32;
    s->words[1] = s->phase | (uint64_t)s->microbatch << 32;
    s->n_words = NF_ANNOTATE_OP_WORDS_;
    if (s->hook_op_begins)
        s->hook_op_begins();
    s->op_began_ns = nf_annotate_now_ns_();
}

/* Runs of `run` bytes, `stride` bytes apart from one start to the next, `bytes` in all, from `offset` bytes into the
 * tensor on. Only within an op. */
NF_ANNOTATE_FN_ void nf_annotate_visit_runs(const void *tensor, size_t offset, size_t bytes, size_t run, size_t stride,
                                            enum nf_annotate_rw rw, enum nf_annotate_pattern pattern)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;
    uint64_t *visit;

    if (!nf_annotate_on_() || !s->wants_visits || s->depth == 0 || !s->n_words || !bytes)
        return;
    if (s->n_words >= NF_ANNOTATE_OP_WORDS_ + (size_t)NF_ANNOTATE_VISITS_MAX_ * NF_ANNOTATE_VISIT_WORDS_ ||
        !nf_annotate_reserve_((void **)&s->words, s->n_words, &s->room_words, NF_ANNOTATE_VISIT_WORDS_,
                              sizeof *s->words))
        return;
    visit = s->words + s->n_words;
    visit[0] = (uint64_t)(uintptr_t)tensor + offset;
    visit[1] = bytes;
    visit[2] = run;
    visit[3] = stride;
    visit[4] = (uint64_t)rw | (uint64_t)pattern << 8;
    visit[5] = (uint64_t)(uintptr_t)tensor;
    s->n_words += NF_ANNOTATE_VISIT_WORDS_;
}

/* One contiguous extent of a tensor that the open op reads, writes or both. */
NF_ANNOTATE_FN_ void nf_annotate_visit(const void *tensor, size_t offset, size_t bytes, enum nf_annotate_rw rw,
                                       enum nf_annotate_pattern pattern)
{
    nf_annotate_visit_runs(tensor, offset, bytes, bytes, bytes, rw, pattern);
}

/* What is known of the visit stated last, by who wrote the kernel or measured it: how often a line of it is fetched from beyond L2 while
 * the op runs (as often as passes over more than a cache holds), and how many fetches are under way at a time (1 for a chase of pointers,
 * k for k independent ones). 0: not known; a replay then takes one pass, and what it assumes of the pattern. At most 255 of both. */
NF_ANNOTATE_FN_ void nf_annotate_known(double touches, unsigned parallelism)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;
    uint64_t touches_q8;

    if (!nf_annotate_on_() || !s->depth || s->n_words < NF_ANNOTATE_OP_WORDS_ + NF_ANNOTATE_VISIT_WORDS_)
        return;
    touches_q8 = touches > 0 ? (uint64_t)((touches < 255 ? touches : 255) * 256 + 0.5) : 0;
    s->words[s->n_words - 2] = (s->words[s->n_words - 2] & 0xffff) | (uint64_t)(parallelism < 255 ? parallelism : 255) << 16 |
                               (touches > 0 && !touches_q8 ? 1 : touches_q8) << 32;
}

NF_ANNOTATE_FN_ void nf_annotate_op_end(void)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;
    uint64_t now_ns;

    if (!nf_annotate_on_() || !s->depth || --s->depth || !s->n_words)
        return;
    now_ns = nf_annotate_now_ns_();
    s->words[2] = s->op_began_ns;
    s->words[3] = now_ns - s->op_began_ns;
    s->words[4] = (s->n_words - NF_ANNOTATE_OP_WORDS_) / NF_ANNOTATE_VISIT_WORDS_;
    if (s->hook_op(s->words, (uint32_t)s->n_words) == 1) {
        nf_annotate_foreign_();
        s->hook_op(s->words, (uint32_t)s->n_words);
    }
    s->n_words = 0;
}

/* A training step is complete. */
NF_ANNOTATE_FN_ void nf_annotate_step(void)
{
    struct nf_annotate_state_ *s = &nf_annotate_state_;

    if (!nf_annotate_on_())
        return;
    for (size_t i = 0; i < s->n_texts; i++) /* those that a full ring had no room for */
        if (!s->texts[i].sent)
            s->texts[i].sent = s->hook_text((uint32_t)i + 1, s->texts[i].chars,
                                            (uint32_t)strlen(s->texts[i].chars)) == 0;
    s->hook_step();
    s->microbatch = 0;
}

/* No annotations after this one. Optional: done at exit. */
NF_ANNOTATE_FN_ void nf_annotate_close(void)
{
    if (nf_annotate_on_())
        nf_annotate_close_();
}
