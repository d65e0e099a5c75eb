/* Tier provider `trace`: another provider, with every call of it written down: what, how much, what came back. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/tiers.h"

struct options {
    const char *inner, *inner_options, *file;
};

static const struct nf_option table[] = {
    {"inner", 0, NF_OPTION_STRING, offsetof(struct options, inner), "NAME", "provider to trace (default: null)"},
    {"inner-options", 0, NF_OPTION_STRING, offsetof(struct options, inner_options), "K=V;...",
     "its options, separated by semicolons"},
    {"file", 0, NF_OPTION_STRING, offsetof(struct options, file), "PATH", "where to (default: stderr)"},
    {NULL},
};
static const struct options defaults = {.inner = "null", .inner_options = ""};

struct trace {
    struct nf_tier inner;
    FILE *to; /* a stream locks itself: lines of several threads do not mix */
};

static int probe(char *why, size_t size)
{
    snprintf(why, size, "usable");
    return 0;
}

static int open_inner(struct trace *t, const struct options *o, const struct nf_tier_local *local)
{
    char spec[sizeof t->inner.spec];
    int n = snprintf(spec, sizeof spec, "%s%s%s", o->inner, *o->inner_options ? ":" : "", o->inner_options);

    if (n < 0 || (size_t)n >= sizeof spec)
        return nf_fail(-EINVAL, "the options of '%s' are too long", o->inner);
    for (char *p = spec; *p; p++)
        if (*p == ';')
            *p = ',';
    return nf_tier_open("traced", spec, local, &t->inner);
}

static void trace_free(struct trace *t)
{
    if (t->to && t->to != stderr)
        fclose(t->to);
    free(t);
}

static int open_tier(const void *options, const struct nf_tier_local *local, void **tier)
{
    const struct options *o = options;
    struct trace *t = calloc(1, sizeof *t);
    int rc = 0;

    if (!t)
        return nf_fail(-ENOMEM, "no memory");
    t->to = o->file ? fopen(o->file, "we") : stderr;
    if (!t->to)
        rc = nf_fail(-errno, "cannot write %s: %s", o->file, strerror(errno));
    if (!rc)
        rc = open_inner(t, o, local);
    if (rc) {
        trace_free(t);
        return rc;
    }
    fprintf(t->to, "open %s node=%d evidence=%s\n", t->inner.spec, t->inner.facts.node,
            nf_evidence_name(t->inner.facts.evidence));
    *tier = t;
    return 0;
}

static void close_tier(void *tier)
{
    struct trace *t = tier;

    nf_tier_close(&t->inner);
    fprintf(t->to, "close\n");
    trace_free(t);
}

static void facts(const void *tier, struct nf_tier_facts *out)
{
    const struct trace *t = tier;

    *out = t->inner.facts;
}

static int map(void *tier, size_t bytes, void **memory)
{
    struct trace *t = tier;
    int rc = t->inner.ops->map(t->inner.state, bytes, memory);

    if (rc)
        fprintf(t->to, "map %zu failed: %s\n", bytes, nf_error_text(rc));
    else
        fprintf(t->to, "map %zu at=%p\n", bytes, *memory);
    return rc;
}

static void unmap(void *tier, void *memory, size_t bytes)
{
    struct trace *t = tier;

    fprintf(t->to, "unmap %zu at=%p\n", bytes, memory);
    t->inner.ops->unmap(t->inner.state, memory, bytes);
}

static int verify(void *tier, const void *memory, size_t bytes)
{
    struct trace *t = tier;
    int rc = t->inner.ops->verify(t->inner.state, memory, bytes);

    fprintf(t->to, "verify %zu at=%p%s%s\n", bytes, memory, rc ? " failed: " : " proved", rc ? nf_error_text(rc) : "");
    return rc;
}

static uint64_t charge(void *tier, const struct nf_tier_charge *c, uint64_t start_ns)
{
    struct trace *t = tier;
    uint64_t end = t->inner.ops->charge(t->inner.state, c, start_ns);

    fprintf(t->to, "charge read=%" PRIu64 " write=%" PRIu64 " lines=%u k=%g ns=%" PRIu64 "\n", c->read_bytes,
            c->write_bytes, c->lines, c->parallelism, end - start_ns);
    return end;
}

const struct nf_tier_ops nf_tier_trace = {
    .abi = NF_TIER_ABI,
    .name = "trace",
    .about = "another provider, every call written down: for authors of providers",
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .probe = probe,
    .open = open_tier,
    .close = close_tier,
    .facts = facts,
    .map = map,
    .unmap = unmap,
    .verify = verify,
    .charge = charge,
};
