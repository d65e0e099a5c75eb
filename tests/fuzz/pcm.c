/* pcm-memory's output: whatever it writes, in whatever pieces, what is summed are bytes. Input: the output. */
#include <math.h>
#include <stdlib.h>

#include "replay/counters-pcm.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct nf_pcm_bytes *b)
{
    if (!(b->read >= 0 && isfinite(b->read) && b->write >= 0 && isfinite(b->write)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nf_pcm *p = malloc(2 * sizeof *p);

    if (!p)
        return 0;
    nf_pcm_init(&p[0], 0.1);
    nf_pcm_init(&p[1], 0.1);
    nf_pcm_feed(&p[0], (const char *)data, size);
    for (size_t i = 0; i < size; i++)
        nf_pcm_feed(&p[1], (const char *)data + i, 1);
    if (p[0].rows != p[1].rows || p[0].bad != p[1].bad || p[0].bad > p[0].rows || p[0].n_packages > NF_PCM_PACKAGES)
        abort();
    for (unsigned i = 0; i < p[0].n_packages; i++) {
        check(&p[0].dram[i]);
        if (p[0].dram[i].read != p[1].dram[i].read)
            abort();
    }
    check(&p[0].cxl);
    free(p);
    return 0;
}
