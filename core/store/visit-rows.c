#include "core/store/visit-rows.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"

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

int nf_visit_rows_write(struct nf_study *s, const char *sql, const int64_t *keys, int n_keys, struct nf_visit_codec *codec,
                        const struct nf_visit *visits, uint32_t n, const uint64_t *tensor_bytes, size_t n_tensors)
{
    int rc = 0;

    for (uint32_t at = 0, chunk = 0; !rc && at < n; at += NF_VISIT_CHUNK, chunk++) {
        uint32_t some = n - at < NF_VISIT_CHUNK ? n - at : NF_VISIT_CHUNK, crc;
        size_t size, raw;
        const void *data;
        struct nf_query *q;

        rc = nf_visit_encode(codec, visits + at, some, tensor_bytes, n_tensors, &data, &size, &raw, &crc);
        if (!rc)
            rc = nf_study_query(s, sql, &q);
        if (rc)
            break;
        for (int k = 0; k < n_keys; k++)
            nf_query_bind_i64(q, 1 + k, keys[k]);
        nf_query_bind_i64(q, n_keys + 1, chunk);
        nf_query_bind_i64(q, n_keys + 2, visits[at].op);
        nf_query_bind_i64(q, n_keys + 3, visits[at + some - 1].op);
        nf_query_bind_i64(q, n_keys + 4, some);
        nf_query_bind_i64(q, n_keys + 5, NF_VISIT_CODEC);
        nf_query_bind_i64(q, n_keys + 6, crc);
        nf_query_bind_i64(q, n_keys + 7, (int64_t)raw);
        nf_query_bind_blob(q, n_keys + 8, data, size);
        rc = nf_query_run(q);
    }
    return rc;
}
