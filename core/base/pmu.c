#include "core/base/pmu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/error.h"

int nf_root_read(const char *root, const char *path, char *text, size_t size)
{
    char full[2 * NF_PMU_PATH];
    size_t n = 0;
    ssize_t got;
    int fd;

    if ((size_t)snprintf(full, sizeof full, "%s%s", root, path) >= sizeof full)
        return -ENAMETOOLONG;
    fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (n < size && (got = read(fd, text + n, size - n)) > 0)
        n += (size_t)got;
    close(fd);
    if (n == size) {
        text[size - 1] = '\0';
        return -EBADMSG;
    }
    text[n] = '\0';
    return 0;
}

int nf_pmu_read(const struct nf_pmu *pmu, const char *file, char *text, size_t size)
{
    char path[2 * NF_PMU_PATH];
    int rc;

    snprintf(path, sizeof path, "%s/%s", pmu->folder, file);
    rc = nf_root_read("", path, text, size);
    if (rc == -EBADMSG)
        return nf_fail(rc, "%s is longer than %zu bytes", path, size - 1);
    if (rc)
        return nf_fail(-ENOENT, "%s: %s", path, strerror(-rc));
    text[strcspn(text, "\n")] = '\0';
    return 0;
}

bool nf_pmu_has(const struct nf_pmu *pmu, const char *file)
{
    char path[2 * NF_PMU_PATH];

    snprintf(path, sizeof path, "%s/%s", pmu->folder, file);
    return !access(path, R_OK);
}

/* Whole text as one unsigned number of any C notation. */
static int number(const char *text, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 0);
    return errno || end == text || *end || strchr(text, '-') ? -EBADMSG : 0;
}

int nf_pmu_open(const char *root, const char *name, struct nf_pmu *out)
{
    char text[32];
    uint64_t type;
    int rc;

    if ((size_t)snprintf(out->name, sizeof out->name, "%s", name) >= sizeof out->name ||
        (size_t)snprintf(out->folder, sizeof out->folder, "%s/sys/bus/event_source/devices/%s", root, name) >=
            sizeof out->folder)
        return nf_fail(-ENAMETOOLONG, "the name of PMU %.32s... is too long", name);
    rc = nf_pmu_read(out, "type", text, sizeof text);
    if (rc)
        return rc;
    if (number(text, &type) || type > UINT32_MAX)
        return nf_fail(-EBADMSG, "%s/type says '%s', which is no PMU's type", out->folder, text);
    out->type = (uint32_t)type;
    return 0;
}

static uint64_t *field_of(struct nf_event_encoding *e, const char *name, size_t n)
{
    static const char *const names[] = {"config", "config1", "config2"};
    uint64_t *fields[] = {&e->config, &e->config1, &e->config2};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == n && !memcmp(names[i], name, n))
            return fields[i];
    return NULL;
}

/* Spreads value over "config:0-7,32": its lowest bits into the first range, and so on. */
static int spread(const char *format, uint64_t value, struct nf_event_encoding *e)
{
    const char *colon = strchr(format, ':'), *p;
    uint64_t *field = colon ? field_of(e, format, (size_t)(colon - format)) : NULL;

    if (!field)
        return -EBADMSG;
    for (p = colon + 1;; p++) {
        char *end;
        unsigned long low = strtoul(p, &end, 10), high = low, width;
        uint64_t mask;

        if (end == p)
            return -EBADMSG;
        p = end;
        if (*p == '-') {
            high = strtoul(p + 1, &end, 10);
            if (end == p + 1)
                return -EBADMSG;
            p = end;
        }
        if (low > high || high > 63)
            return -EBADMSG;
        width = high - low + 1;
        mask = width == 64 ? UINT64_MAX : (1ull << width) - 1;
        *field = (*field & ~(mask << low)) | (value & mask) << low;
        value = width == 64 ? 0 : value >> width;
        if (!*p)
            return value ? -ERANGE : 0;
        if (*p != ',')
            return -EBADMSG;
    }
}

static int term(const struct nf_pmu *pmu, const char *name, const char *text, struct nf_event_encoding *e)
{
    char file[96], format[128];
    uint64_t value = 1, *field = field_of(e, name, strlen(name));
    int rc;

    if (text && number(text, &value))
        return nf_fail(-EBADMSG, "PMU %s: '%s' is no value for %s", pmu->name, text, name);
    if (field) {
        *field = value;
        return 0;
    }
    if ((size_t)snprintf(file, sizeof file, "format/%s", name) >= sizeof file || strchr(name, '/'))
        return nf_fail(-ENOENT, "PMU %s has no term '%.40s'", pmu->name, name);
    rc = nf_pmu_read(pmu, file, format, sizeof format);
    if (rc == -ENOENT)
        return nf_fail(rc, "PMU %s has no term '%s' (no %s)", pmu->name, name, file);
    if (rc)
        return rc;
    rc = spread(format, value, e);
    if (rc == -ERANGE)
        return nf_fail(rc, "PMU %s: %s=%s does not fit its bits, %s", pmu->name, name, text ? text : "1", format);
    if (rc)
        return nf_fail(rc, "PMU %s: %s says '%s', which is no bit field", pmu->name, file, format);
    return 0;
}

int nf_pmu_terms(const struct nf_pmu *pmu, const char *terms, struct nf_event_encoding *out)
{
    char *copy = strdup(terms), *rest = copy, *one;
    int rc = copy ? 0 : -ENOMEM;

    while (!rc && (one = strsep(&rest, ","))) {
        char *value = strchr(one, '=');

        if (value)
            *value++ = '\0';
        rc = *one ? term(pmu, one, value, out) : nf_fail(-EBADMSG, "PMU %s: '%s' names no term", pmu->name, terms);
    }
    free(copy);
    return rc;
}

int nf_pmu_event(const struct nf_pmu *pmu, const char *event, struct nf_event_encoding *out)
{
    char file[96], terms[256];
    int rc;

    if ((size_t)snprintf(file, sizeof file, "events/%s", event) >= sizeof file)
        return nf_fail(-ENOENT, "PMU %s has no event '%.40s...'", pmu->name, event);
    rc = nf_pmu_read(pmu, file, terms, sizeof terms);
    if (rc)
        return rc;
    *out = (struct nf_event_encoding){.type = pmu->type};
    return nf_pmu_terms(pmu, terms, out);
}
