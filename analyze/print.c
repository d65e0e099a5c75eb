#include "analyze/print.h"

#include <math.h>
#include <string.h>

#include "core/base/units.h"

void nf_print_fixed(struct nf_buf *b, double v, int decimals)
{
    if (isfinite(v))
        nf_buf_printf(b, "%.*f", decimals, v);
    else
        nf_buf_puts(b, "unknown");
}

void nf_print_share(struct nf_buf *b, double share)
{
    if (isfinite(share))
        nf_buf_printf(b, "%.3g %%", share * 100);
    else
        nf_buf_puts(b, "unknown");
}

void nf_print_bytes(struct nf_buf *b, double bytes)
{
    char text[NF_UNITS_TEXT];

    nf_buf_puts(b, isfinite(bytes) ? nf_format_bytes(text, bytes) : "unknown");
}

void nf_print_bps(struct nf_buf *b, double bps)
{
    if (isfinite(bps))
        nf_buf_printf(b, "%.3g GB/s", bps / 1e9);
    else
        nf_buf_puts(b, "unknown");
}

void nf_print_ns(struct nf_buf *b, double ns)
{
    char text[NF_UNITS_TEXT];

    nf_buf_puts(b, isfinite(ns) ? nf_format_ns(text, ns) : "unknown");
}

void nf_print_estimate(struct nf_buf *b, const struct nf_estimate *e)
{
    nf_print_fixed(b, e->median, 3);
    if (isfinite(e->low) && isfinite(e->high))
        nf_buf_printf(b, " [%.3f, %.3f]", e->low, e->high);
}

void nf_print_evidence(struct nf_buf *b, unsigned bits)
{
    bool first = true;

    for (unsigned e = 0; e < NF_EVIDENCE_COUNT; e++) {
        if (!(bits >> e & 1))
            continue;
        nf_buf_printf(b, "%s%s", first ? "" : " + ", nf_evidence_name(e));
        first = false;
    }
    if (first)
        nf_buf_puts(b, "unknown");
}

/* Bytes of the well-formed UTF-8 sequence at s, 0 if there is none. */
static size_t sequence(const unsigned char *s)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : 4;

    if (n == 4 && (s[0] < 0xf0 || s[0] > 0xf4))
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f)) /* overlong forms, surrogates, beyond U+10FFFF */
        return 0;
    return n;
}

void nf_print_clean(struct nf_buf *b, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    nf_buf_puts(b, "");
    while (*s) {
        size_t n = sequence(s);

        if (n == 1 && (*s < 0x20 || *s == 0x7f))
            nf_buf_puts(b, " ");
        else if (n == 3 && s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe) /* U+FFFE, U+FFFF: not allowed in XML */
            nf_buf_puts(b, "\xef\xbf\xbd");
        else if (n)
            nf_buf_add(b, s, n);
        else
            nf_buf_puts(b, "\xef\xbf\xbd");
        s += n ? n : 1;
    }
}

void nf_print_keep(char *to, size_t size, const struct nf_buf *from)
{
    size_t n = from->n < size ? from->n : size - 1;

    while (n && n < from->n && (from->data[n] & 0xc0) == 0x80)
        n--;
    if (n)
        memcpy(to, from->data, n);
    to[n] = '\0';
}

void nf_print_markdown(struct nf_buf *b, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            nf_buf_puts(b, "&lt;");
        else if (*text == '>')
            nf_buf_puts(b, "&gt;");
        else if (*text == '&')
            nf_buf_puts(b, "&amp;");
        else if (strchr("\\`*_[]|", *text))
            nf_buf_printf(b, "\\%c", *text);
        else
            nf_buf_add(b, text, 1);
    }
}
