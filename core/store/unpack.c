#include "core/store/unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#include "core/base/error.h"

/* What compressors ask for at their levels up to 19. */
enum { WINDOW_LOG_MAX = 23 };

struct nf_unpack {
    ZSTD_DCtx *context;
    ZSTD_inBuffer in;
};

struct nf_unpack *nf_unpack_new(void)
{
    struct nf_unpack *u = calloc(1, sizeof *u);

    if (!u)
        return NULL;
    u->context = ZSTD_createDCtx();
    if (!u->context || ZSTD_isError(ZSTD_DCtx_setParameter(u->context, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
        return nf_unpack_free(u);
    return u;
}

struct nf_unpack *nf_unpack_free(struct nf_unpack *u)
{
    if (u)
        ZSTD_freeDCtx(u->context);
    free(u);
    return NULL;
}

void nf_unpack_reset(struct nf_unpack *u)
{
    ZSTD_DCtx_reset(u->context, ZSTD_reset_session_only);
    u->in = (ZSTD_inBuffer){0};
}

void nf_unpack_feed(struct nf_unpack *u, const void *data, size_t n)
{
    u->in = (ZSTD_inBuffer){.src = data, .size = n};
}

int nf_unpack_take(struct nf_unpack *u, void *out, size_t room, size_t *got)
{
    ZSTD_outBuffer to = {.dst = out, .size = room};

    *got = 0;
    while (to.pos < to.size) {
        size_t before = to.pos, rc = ZSTD_decompressStream(u->context, &to, &u->in);

        if (ZSTD_isError(rc))
            return nf_fail(-EBADMSG, "compressed data does not decompress: %s", ZSTD_getErrorName(rc));
        if (u->in.pos == u->in.size && to.pos == before)
            break;
    }
    *got = to.pos;
    return 0;
}
