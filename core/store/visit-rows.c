#include "core/store/visit-rows.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/store/visit-codec.h"

static int read_rows(struct nf_query *q, const char *what, const struct nf_step_class *c, const uint64_t *sizes,
                     struct nf_visit_codec *codec, struct nf_visit *out, uint32_t room)
{
    uint32_t at = 0;
    int rc;

    while ((rc = nf_query_step(q)) == 1) {
        size_t size, n = (size_t)nf_query_i64(q, 0);
        const void *data = nf_query_blob(q, 3, &size);

        if (n > room - at)
            return nf_fail(-EBADMSG, "step class %lld has more %s than it says", (long long)c->id, what);
        if (nf_query_i64(q, 4) != NF_VISIT_CODEC)
            return nf_fail(-EBADMSG, "%s of step class %lld are coded in the unknown way %lld", what, (long long)c->id,
                           (long long)nf_query_i64(q, 4));
        rc = nf_visit_decode(codec, data, size, (size_t)nf_query_i64(q, 1), (uint32_t)nf_query_i64(q, 2), sizes,
                             c->n_tensors, out + at, n);
        if (rc)
            return rc;
        at += (uint32_t)n;
    }
    if (!rc && at != room)
        rc = nf_fail(-EBADMSG, "step class %lld has fewer %s than it says", (long long)c->id, what);
    return rc;
}

int nf_visit_rows_read(struct nf_query *q, const char *what, const struct nf_step_class *c, struct nf_visit *out,
                       uint32_t n)
{
    uint64_t *sizes = malloc((c->n_tensors + (size_t)1) * sizeof *sizes);
    struct nf_visit_codec *codec = nf_visit_codec_new();
    int rc = -ENOMEM;

    if (sizes && codec) {
        for (uint32_t i = 0; i < c->n_tensors; i++)
            sizes[i] = c->tensors[i].bytes;
        rc = read_rows(q, what, c, sizes, codec, out, n);
    }
    nf_query_done(q);
    for (uint32_t i = 0; !rc && i < n; i++)
        if (out[i].op >= c->n_ops || (i && out[i].op < out[i - 1].op))
            rc = nf_fail(-EBADMSG, "%s of step class %lld are out of order", what, (long long)c->id);
    nf_visit_codec_free(codec);
    free(sizes);
    return rc;
}
