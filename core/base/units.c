#include "core/base/units.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

int nf_parse_f64(const char *text, double *out)
{
    char *end;
    double v;

    errno = 0;
    v = strtod(text, &end);
    if (end == text || *end || errno == ERANGE || !isfinite(v))
        return nf_fail(-EINVAL, "'%s' is not a number", text);
    *out = v;
    return 0;
}

int nf_parse_u64(const char *text, uint64_t *out)
{
    char *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (end == text || *end || errno == ERANGE || !isdigit((unsigned char)text[0]))
        return nf_fail(-EINVAL, "'%s' is not a whole number", text);
    *out = v;
    return 0;
}

int nf_parse_bytes(const char *text, uint64_t *out)
{
    static const char prefixes[] = "KMGT";
    char *end;
    double v, scale = 1;
    const char *p;

    errno = 0;
    v = strtod(text, &end);
    if (end == text || errno == ERANGE || !isfinite(v) || v < 0 || text[0] == '-')
        return nf_fail(-EINVAL, "'%s' is not a size (try 64MiB)", text);
    while (*end == ' ')
        end++;
    p = *end ? strchr(prefixes, toupper((unsigned char)*end)) : NULL;
    if (p) {
        int power = (int)(p - prefixes) + 1;
        double base = 1024;

        end++;
        if (end[0] == 'B')
            base = 1000;
        else if (end[0] == 'i' && end[1] == 'B')
            end++;
        else if (end[0])
            return nf_fail(-EINVAL, "'%s' is not a size (try 64MiB)", text);
        if (end[0] == 'B')
            end++;
        scale = pow(base, power);
    } else if (*end == 'B') {
        end++;
    }
    if (*end || v * scale >= 9.2e18)
        return nf_fail(-EINVAL, "'%s' is not a size (try 64MiB)", text);
    *out = (uint64_t)(v * scale);
    return 0;
}

static int parse_share(const char *text, double *out)
{
    char copy[64];
    size_t n = strlen(text);
    double scale = 1;
    int rc;

    if (n == 0 || n >= sizeof copy)
        return nf_fail(-EINVAL, "'%s' is not a share (try 20%%)", text);
    memcpy(copy, text, n + 1);
    if (copy[n - 1] == '%') {
        copy[n - 1] = '\0';
        scale = 100;
    }
    rc = nf_parse_f64(copy, out);
    if (rc)
        return nf_fail(rc, "'%s' is not a share (try 20%%)", text);
    *out /= scale;
    if (!(*out > 0 && *out <= 1))
        return nf_fail(-ERANGE, "%s is outside (0%%, 100%%]", text);
    return 0;
}

int nf_parse_shares(const char *text, double *out, size_t max, size_t *n)
{
    char copy[512], *save = NULL, *item;

    *n = 0;
    if (strlen(text) >= sizeof copy)
        return nf_fail(-EINVAL, "the list of shares is too long");
    memcpy(copy, text, strlen(text) + 1);
    for (item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
        char *dots = strstr(item, "..");
        double from, to;
        int rc;

        if (dots) {
            *dots = '\0';
            rc = parse_share(item, &from);
            if (!rc)
                rc = parse_share(dots + 2, &to);
            if (rc)
                return rc;
            if (to < from)
                return nf_fail(-EINVAL, "the range %s..%s runs backwards", item, dots + 2);
        } else {
            rc = parse_share(item, &from);
            if (rc)
                return rc;
            to = from;
        }
        /* Half a point of slack: 0.1 + 9 × 0.1 is not exactly 1. */
        for (int i = 0; from + i * 0.1 <= to + 0.005; i++) {
            if (*n == max)
                return nf_fail(-EINVAL, "more than %zu shares", max);
            out[(*n)++] = fmin(from + i * 0.1, 1.0);
        }
    }
    if (*n == 0)
        return nf_fail(-EINVAL, "an empty list of shares (try 10%%,20%%,40%%)");
    return 0;
}

char *nf_format_bytes(char *text, double bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;

    while (fabs(bytes) >= 1024 && i + 1 < sizeof unit / sizeof *unit) {
        bytes /= 1024;
        i++;
    }
    snprintf(text, NF_UNITS_TEXT, i ? "%.2f %s" : "%.0f %s", bytes, unit[i]);
    return text;
}

char *nf_format_ns(char *text, double ns)
{
    if (fabs(ns) < 1e3)
        snprintf(text, NF_UNITS_TEXT, "%.0f ns", ns);
    else if (fabs(ns) < 1e6)
        snprintf(text, NF_UNITS_TEXT, "%.2f us", ns / 1e3);
    else if (fabs(ns) < 1e9)
        snprintf(text, NF_UNITS_TEXT, "%.2f ms", ns / 1e6);
    else
        snprintf(text, NF_UNITS_TEXT, "%.2f s", ns / 1e9);
    return text;
}
