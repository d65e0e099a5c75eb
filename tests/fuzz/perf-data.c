/* perf.data files: reading anything either fails with a cause or yields samples of the events it described, the same ones
 * each time. Input: the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "capture/data-src.h"
#include "capture/perf-data.h"
#include "core/base/error.h"
#include "core/base/rng.h"
#include "tests/fuzz/fuzz.h"

struct seen {
    struct nf_perf_data *d;
    uint64_t samples, hash;
};

static int on_sample(void *context, struct nf_sample *s)
{
    struct seen *seen = context;
    char text[NF_DATA_SRC_TEXT];

    if (s->event >= nf_perf_data_events(seen->d) || s->tensor != NF_SAMPLE_NONE || s->kernel > 1)
        abort();
    seen->samples++;
    seen->hash = nf_hash_add(seen->hash, nf_hash_bytes(s, sizeof *s));
    nf_data_src_text(s->data_src, text, sizeof text);
    return 0;
}

static int on_mapping(void *context, uint32_t pid, uint64_t address, uint64_t bytes, bool data, const char *name)
{
    return strlen(name) >= 512 ? abort(), 0 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen first = {0}, second = {0};
    struct nf_perf_reader reader = {.sample = on_sample, .mapping = on_mapping};
    char path[64];
    int fd = memfd_create("perf.data", MFD_CLOEXEC);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    nf_error_clear();
    if (!nf_perf_data_open(path, &first.d)) {
        int rc;

        second.d = first.d;
        reader.context = &first;
        rc = nf_perf_data_read(first.d, &reader);
        if (first.samples + nf_perf_data_totals(first.d)->strangers > nf_perf_data_totals(first.d)->samples)
            abort();
        reader.context = &second;
        if (nf_perf_data_read(first.d, &reader) != rc || first.hash != second.hash || first.samples != second.samples)
            abort();
        if (rc && !strstr(nf_error_text(rc), "byte"))
            abort();
        nf_perf_data_close(first.d);
    } else if (!*nf_error_text(0)) {
        abort();
    }
    close(fd);
    return 0;
}
