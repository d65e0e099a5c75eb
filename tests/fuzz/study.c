/* A study from anywhere: opening it, loading its stream and profiling it ends with a stream that is consistent or an
 * error. Input: 0 and the bytes of a file, or 1 and patches (position u32, length u8, bytes) to a good study: whole
 * files of random bytes never get past the first page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/classes.h"
#include "core/model/profile.h"
#include "core/store/records.h"
#include "tests/fuzz/fuzz.h"

enum { STEPS = 3, PATCH_HEAD = 5, LLC_BYTES = 1 << 16 };
/* A profile takes time in proportion to the bytes that a step visits, and a study may claim any number of them. */
enum { PROFILED_BYTES_MAX = 64 << 20 };

static char folder[] = "/tmp/nearfar-fuzz-XXXXXX";
static char path[64];
static uint8_t *template;
static size_t template_size;

static void remove_folder(void)
{
    unlink(path);
    rmdir(folder);
}

static void must(int rc)
{
    if (rc < 0)
        abort();
}

struct sink {
    struct nf_study *study;
    struct nf_classes *classes;
    struct nf_reduce *reduce;
};

static int put(void *context, const struct nf_step *step)
{
    struct sink *k = context;
    struct nf_query *q;
    int64_t id = nf_classes_put(k->classes, k->reduce, step, 0);

    must((int)id);
    must(nf_study_query(k->study, "INSERT INTO step VALUES(1, 0, ?1, ?2, 1000, 1, 1)", &q));
    nf_query_bind_i64(q, 1, step->number);
    nf_query_bind_i64(q, 2, id);
    return nf_query_run(q);
}

static void event(struct nf_reduce *r, uint8_t kind, uint64_t address, uint64_t a, uint64_t b)
{
    static uint64_t now = 1000;
    struct nf_event e = {.time_ns = now += 10, .kind = kind, .phase = NF_PHASE_FORWARD, .address = address, .a = a, .b = b};

    if (kind == NF_EVENT_OP)
        e.a = now;
    if (kind == NF_EVENT_VISIT)
        e.rw = NF_RW_UPDATE;
    must(nf_reduce_event(r, &e));
}

static void statement(struct nf_study *s, const char *sql)
{
    struct nf_query *q;

    must(nf_study_query(s, sql, &q));
    must(nf_query_run(q));
}

/* Two step classes (the first step carries nothing in), a parameter, an activation, partial and strided visits. */
static void make_template(void)
{
    char *argv[] = {"nearfar", NULL};
    struct sink k;
    FILE *f;

    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof path, "%s/s.nf", folder);
    atexit(remove_folder);
    must(nf_study_open(path, NF_STUDY_CREATE, &k.study));
    must((int)nf_record_invocation(k.study, 1, argv));
    must(nf_study_begin(k.study));
    statement(k.study, "INSERT INTO capture(invocation_id, job, job_number) VALUES(1, '[]', 1)");
    statement(k.study, "INSERT INTO pass(capture_id, kind, source, access_evidence) VALUES(1, 3, 'framework', 1)");
    k.classes = nf_classes_new(k.study, 1, 1);
    k.reduce = nf_reduce_new(true, put, &k);
    if (!k.classes || !k.reduce)
        abort();
    event(k.reduce, NF_EVENT_ALLOC, 0x1000, 8192, 0);
    event(k.reduce, NF_EVENT_TENSOR, 0x1000, 8192, NF_ROLE_PARAMETER);
    for (int step = 0; step < STEPS; step++) {
        for (int op = 0; op < 4; op++) {
            event(k.reduce, NF_EVENT_ALLOC, 0x10000, 4096, 0);
            event(k.reduce, NF_EVENT_OP, 0, 0, 5);
            event(k.reduce, NF_EVENT_VISIT, 0x1000, 8192, 0);
            event(k.reduce, NF_EVENT_VISIT, 0x1100, 512, 64);
            event(k.reduce, NF_EVENT_VISIT, 0x10000, 4096, 0);
        }
        event(k.reduce, NF_EVENT_STEP, 0, 1000, 1);
    }
    must(nf_classes_write_times(k.classes, 1));
    must(nf_study_commit(k.study));
    nf_reduce_free(k.reduce);
    nf_classes_free(k.classes);
    nf_study_close(k.study);
    f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END))
        abort();
    template_size = (size_t)ftell(f);
    template = malloc(template_size);
    rewind(f);
    if (!template || fread(template, 1, template_size, f) != template_size)
        abort();
    fclose(f);
}

static void write_file(const uint8_t *data, size_t size)
{
    FILE *f = fopen(path, "wb");

    if (!f || fwrite(data, 1, size, f) != size || fclose(f))
        abort();
}

static void write_patched(const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(template_size);

    if (!bytes)
        abort();
    memcpy(bytes, template, template_size);
    while (size > PATCH_HEAD) {
        size_t at = (data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16 | (size_t)data[3] << 24) % template_size;
        size_t n = data[4];

        data += PATCH_HEAD;
        size -= PATCH_HEAD;
        n = n < size ? n : size;
        n = n < template_size - at ? n : template_size - at;
        memcpy(bytes + at, data, n);
        data += n;
        size -= n;
    }
    write_file(bytes, template_size);
    free(bytes);
}

static int is_small(const struct nf_step_class *c)
{
    uint64_t room = PROFILED_BYTES_MAX;

    for (uint32_t i = 0; i < c->n_visits; i++) {
        uint64_t span = nf_visit_span(&c->visits[i]);

        if (span > room)
            return 0;
        room -= span;
    }
    return 1;
}

static void profile(const struct nf_stream *stream)
{
    for (uint32_t i = 0; i < stream->n_classes; i++) {
        struct nf_profile p;
        uint64_t peak;

        if (!nf_step_class_peak(&stream->classes[i], &peak) && is_small(&stream->classes[i]) &&
            !nf_profile_init(&p, &stream->classes[i], LLC_BYTES, 0))
            nf_profile_deinit(&p);
    }
    if (stream->n_classes && nf_stream_steady_class(stream) >= stream->n_classes)
        abort();
}

static void load(struct nf_study *s)
{
    struct nf_stream *stream = NULL;
    struct nf_query *q;
    int64_t capture = nf_record_capture_find(s, 0);

    if (!nf_study_query_text(s, "SELECT count(*), sum(bytes), max(offset) FROM visits", &q)) {
        while (nf_query_step(q) == 1)
            ;
        nf_query_done(q);
    }
    if (capture > 0 && !nf_record_stream_load(s, capture, &stream))
        profile(stream);
    nf_stream_free(stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nf_study *s;

    if (!template)
        make_template();
    if (size < 1)
        return 0;
    if (data[0] & 1)
        write_patched(data + 1, size - 1);
    else
        write_file(data + 1, size - 1);
    if (!nf_study_open(path, data[0] & 2 ? NF_STUDY_CREATE : NF_STUDY_READ, &s)) {
        load(s);
        nf_study_close(s);
    }
    return 0;
}
