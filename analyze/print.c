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
