#include "capture/perf-feature.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"

/* Numbers of features as perf's header.h has them. */
enum {
    HOSTNAME = 3, OSRELEASE = 4, VERSION = 5, ARCH = 6, NRCPUS = 7, CPUDESC = 8, CPUID = 9, CMDLINE = 11, EVENT_DESC = 12,
    PMU_MAPPINGS = 16, MEM_TOPOLOGY = 22, CLOCKID = 23
};
static const char *const names[] = {
    [HOSTNAME] = "HOSTNAME", [OSRELEASE] = "OSRELEASE", [VERSION] = "VERSION", [ARCH] = "ARCH", [NRCPUS] = "NRCPUS",
    [CPUDESC] = "CPUDESC", [CPUID] = "CPUID", [CMDLINE] = "CMDLINE", [EVENT_DESC] = "EVENT_DESC",
    [PMU_MAPPINGS] = "PMU_MAPPINGS", [MEM_TOPOLOGY] = "MEM_TOPOLOGY", [CLOCKID] = "CLOCKID",
};

struct cursor {
    const uint8_t *p;
    size_t left;
};

bool nf_perf_feature_wanted(unsigned feature)
{
    return feature < sizeof names / sizeof *names && names[feature];
}

const char *nf_perf_feature_name(unsigned feature)
{
    return nf_perf_feature_wanted(feature) ? names[feature] : "unknown";
}

static bool take(struct cursor *c, void *out, size_t n)
{
    if (c->left < n)
        return false;
    if (out)
        memcpy(out, c->p, n);
    c->p += n;
    c->left -= n;
    return true;
}

static bool take_u32(struct cursor *c, uint32_t *v)
{
    return take(c, v, sizeof *v);
}

static bool take_u64(struct cursor *c, uint64_t *v)
{
    return take(c, v, sizeof *v);
}

/* Bytes of the UTF-8 sequence at p (RFC 3629, without overlong forms and surrogates), 0 when it is none. */
static size_t sequence(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;

    if (!n || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (p[i] >> 6 != 2)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

void nf_perf_text(char *out, size_t size, const void *text, size_t n)
{
    const unsigned char *p = text;
    size_t at = 0;

    n = strnlen(text, n);
    while (n && at + 1 < size) {
        size_t m = sequence(p, n);

        if (m > size - 1 - at)
            break;
        if (m > 1)
            memcpy(out + at, p, m);
        else
            out[at] = !m ? '?' : *p < ' ' || *p == 0x7f ? ' ' : (char)*p;
        m = m ? m : 1;
        at += m;
        p += m;
        n -= m;
    }
    out[at] = '\0';
}

/* A length, and as many bytes, ended by a NUL before or at their end. */
static bool take_raw(struct cursor *c, const char **text, uint32_t *length)
{
    if (!take_u32(c, length))
        return false;
    *text = (const char *)c->p;
    return take(c, NULL, *length);
}

static bool take_text(struct cursor *c, char *out, size_t size)
{
    const char *text;
    uint32_t length;

    if (!take_raw(c, &text, &length))
        return false;
    nf_perf_text(out, size, text, length);
    return true;
}

static int take_command(struct cursor *c, struct nf_perf_facts *facts)
{
    struct nf_buf json = {0};
    uint32_t n;
    bool good = take_u32(c, &n);

    nf_buf_puts(&json, "[");
    for (uint32_t i = 0; good && i < n; i++) {
        const char *text;
        uint32_t length;
        char *word;

        good = take_raw(c, &text, &length);
        word = good ? strndup(text, length) : NULL;
        if (word) {
            nf_buf_puts(&json, i ? "," : "");
            nf_buf_json(&json, word);
        }
        json.failed |= good && !word;
        free(word);
    }
    nf_buf_puts(&json, "]");
    if (!good || json.failed) {
        int rc = good ? -ENOMEM : -EBADMSG;

        nf_buf_deinit(&json);
        return rc;
    }
    free(facts->command);
    facts->command = json.data;
    return 0;
}

/* In the order of the events, whose attributes stand in the header already. */
static bool take_names(struct cursor *c, struct nf_perf_event *events, size_t n_events)
{
    uint32_t n, attr_bytes;

    if (!take_u32(c, &n) || !take_u32(c, &attr_bytes))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        char rest[sizeof events->name];
        uint32_t ids;

        if (!take(c, NULL, attr_bytes) || !take_u32(c, &ids) ||
            !take_text(c, i < n_events ? events[i].name : rest, sizeof rest) || ids > c->left / 8 || !take(c, NULL, ids * 8ull))
            return false;
    }
    return true;
}

static bool take_pmus(struct cursor *c, struct nf_perf_facts *facts)
{
    uint32_t n, type;
    char name[64];

    if (!take_u32(c, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!take_u32(c, &type) || !take_text(c, name, sizeof name))
            return false;
        if (!strcmp(name, "ibs_op"))
            facts->ibs_op_type = type;
        else if (!strcmp(name, "ibs_fetch"))
            facts->ibs_fetch_type = type;
        else if (!strncmp(name, "arm_spe", 7))
            facts->spe_type = type;
    }
    return true;
}

static bool take_memory(struct cursor *c, struct nf_perf_facts *facts)
{
    uint64_t version, nodes;

    if (!take_u64(c, &version) || !take_u64(c, &facts->memory_block_bytes) || !take_u64(c, &nodes))
        return false;
    facts->memory_nodes = nodes > UINT32_MAX ? UINT32_MAX : (uint32_t)nodes;
    return nodes <= c->left / (2 * sizeof(uint64_t)); /* a number and a size for each, before its bits */
}

int nf_perf_feature_read(unsigned feature, const uint8_t *data, size_t n, struct nf_perf_facts *f,
                         struct nf_perf_event *events, size_t n_events)
{
    struct cursor c = {data, n};
    uint32_t available;
    bool good = true;

    switch (feature) {
    case HOSTNAME: good = take_text(&c, f->host, sizeof f->host); break;
    case OSRELEASE: good = take_text(&c, f->release, sizeof f->release); break;
    case VERSION: good = take_text(&c, f->version, sizeof f->version); break;
    case ARCH: good = take_text(&c, f->arch, sizeof f->arch); break;
    case CPUDESC: good = take_text(&c, f->cpu, sizeof f->cpu); break;
    case CPUID: good = take_text(&c, f->cpu_id, sizeof f->cpu_id); break;
    case NRCPUS: good = take_u32(&c, &available) && take_u32(&c, &f->cpus); break;
    case CMDLINE: return take_command(&c, f);
    case EVENT_DESC: good = take_names(&c, events, n_events); break;
    case PMU_MAPPINGS: good = take_pmus(&c, f); break;
    case MEM_TOPOLOGY: good = take_memory(&c, f); break;
    case CLOCKID: good = take_u64(&c, &f->clock_resolution_ns); break;
    default: break;
    }
    return good ? 0 : -EBADMSG;
}
