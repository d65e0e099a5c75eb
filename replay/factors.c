#include "replay/factors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/profile.h"
#include "replay/pages.h"

static enum nf_store other_store(enum nf_store asked)
{
    return asked == NF_STORE_NON_TEMPORAL ? NF_STORE_REGULAR : NF_STORE_NON_TEMPORAL;
}

/* Of every tier that has a choice, each of which gets the other pages. */
static const char *pages_name(const struct nf_testbed *t)
{
    const char *name = NULL;

    for (uint32_t i = 0; i < t->n_tiers; i++) {
        const char *other = nf_pages_has(t->tiers[i].ops) ? nf_pages_other(&t->tiers[i]) : name;

        if (name && strcmp(name, other))
            return "other-pages";
        name = other;
    }
    return name ? name : "";
}

const char *nf_factor_name(enum nf_factor v, enum nf_store asked, const struct nf_testbed *t)
{
    switch (v) {
    case NF_FACTOR_HALF_K: return "k/2";
    case NF_FACTOR_TWICE_K: return "2k";
    case NF_FACTOR_UNFILTERED: return "unfiltered";
    case NF_FACTOR_STORE: return nf_store_name(other_store(asked));
    case NF_FACTOR_PAGES: return pages_name(t);
    default: return "";
    }
}

bool nf_factors_pages_probe(const char *root, const char *const *specs, size_t n_specs, char *why, size_t size)
{
    bool choice = !n_specs; /* then far is an emulated one */
    char path[512], text[64] = "";
    FILE *f;

    for (size_t i = 0; i < n_specs; i++) {
        const struct nf_tier_ops *provider = nf_tier_provider(nf_tier_unnamed(specs[i]));

        choice |= provider && nf_pages_has(provider);
    }
    nf_error_clear(); /* who opens the tiers says that there is no such provider */
    if (!choice) {
        snprintf(why, size, "no tier has a choice of pages");
        return false;
    }
    snprintf(path, sizeof path, "%s/sys/kernel/mm/transparent_hugepage/enabled", root ? root : "");
    f = fopen(path, "re");
    if (!f || !fgets(text, sizeof text, f) || strstr(text, "[never]"))
        snprintf(why, size, "the kernel gives no huge pages (/sys/kernel/mm/transparent_hugepage/enabled)");
    if (f)
        fclose(f);
    return *text && !strstr(text, "[never]");
}

static int open_paged(struct nf_factors *v, const struct nf_testbed *t)
{
    const struct nf_tier_local local = {t->measured[0].latency_ns, t->measured[0].read_bps, t->measured[0].write_bps};
    int rc = 0;

    for (uint32_t i = 0; i < t->n_tiers && !rc; i++) {
        v->n_tiers = i + 1;
        v->own[i] = nf_pages_has(t->tiers[i].ops);
        if (v->own[i])
            rc = nf_pages_open(&t->tiers[i], nf_pages_other(&t->tiers[i]), &local, &v->paged[i]);
        else
            v->paged[i] = t->tiers[i];
    }
    return rc;
}

int nf_factors_init(struct nf_factors *v, const struct nf_stream *stream, uint64_t cache_bytes, uint64_t seed,
                     const struct nf_testbed *t, uint64_t window_bytes)
{
    int rc = 0;

    *v = (struct nf_factors){.n_classes = stream->n_classes};
    v->unfiltered = calloc(stream->n_classes + (size_t)1, sizeof *v->unfiltered);
    if (!v->unfiltered)
        return nf_fail(-ENOMEM, "out of memory for %u step classes", stream->n_classes);
    for (uint32_t i = 0; i < stream->n_classes && !rc; i++) {
        struct nf_profile profile;

        rc = nf_profile_init(&profile, &stream->classes[i], 0, cache_bytes);
        if (!rc)
            rc = nf_script_init(&v->unfiltered[i], &profile, seed);
        nf_profile_deinit(&profile); /* the script keeps nothing of it but the class */
    }
    if (!rc)
        rc = nf_batches_init(&v->batches, v->unfiltered, stream->n_classes, window_bytes);
    return rc ? rc : open_paged(v, t);
}

void nf_factors_deinit(struct nf_factors *v)
{
    nf_batches_deinit(&v->batches);
    for (uint32_t i = 0; v->unfiltered && i < v->n_classes; i++)
        nf_script_deinit(&v->unfiltered[i]);
    free(v->unfiltered);
    for (uint32_t i = 0; i < v->n_tiers; i++)
        if (v->own[i])
            nf_tier_close(&v->paged[i]);
    *v = (struct nf_factors){0};
}

void nf_factors_apply(const struct nf_factors *v, enum nf_factor which, struct nf_engine_config *c)
{
    switch (which) {
    case NF_FACTOR_HALF_K: c->parallelism_scale /= 2; break;
    case NF_FACTOR_TWICE_K: c->parallelism_scale *= 2; break;
    case NF_FACTOR_STORE: c->store = other_store(c->store); break;
    case NF_FACTOR_PAGES: c->pool.tiers = (struct nf_tier *)v->paged; break;
    case NF_FACTOR_UNFILTERED:
        c->scripts = v->unfiltered;
        c->between = nf_batches_needed(&v->batches) ? nf_batches_between : NULL;
        c->between_ctx = (void *)&v->batches;
        break;
    default: break;
    }
}
