/* The chapter "Does seeing the profile pay?". */
#include "analyze/document.h"
#include "analyze/print.h"
#include "analyze/writer.h"

enum { ALL_ROWS = 1000 };

static bool same_place(const struct nf_rivalry *a, const struct nf_rivalry *b)
{
    return a->point->near_share == b->point->near_share && a->point->overlap == b->point->overlap;
}

/* "regime-plan", or with `against` "gap-greedy (slower than lru, not told apart from interleave)": comparisons first to end - 1. */
static void name(struct nf_buf *b, const struct nf_report *r, size_t first, size_t end, bool against)
{
    static const char *const than[] = {"than ", "than ", "from ", "with "};

    nf_buf_puts(b, r->curve.policies.v[r->rivals.v.v[first].point->policy].label);
    for (size_t i = first; against && i < end; i++) {
        const struct nf_rivalry *v = &r->rivals.v.v[i];

        nf_buf_printf(b, "%s%s %s%s", i == first ? " (" : ", ", nf_rivals_word(v->verdict), than[v->verdict],
                      r->curve.policies.v[v->rival->policy].label);
    }
    nf_buf_puts(b, against ? ")" : "");
}

/* Comparisons first to end - 1 of one near share and mode, `wins` of them to be listed: policies that are faster than all of their
 * rivals, or those that are not. Returns how many. */
static size_t list(struct nf_buf *b, const struct nf_report *r, size_t first, size_t end, bool wins)
{
    size_t listed = 0;

    for (size_t i = first, next; i < end; i = next) {
        bool faster = true;

        for (next = i; next < end && r->rivals.v.v[next].point == r->rivals.v.v[i].point; next++)
            faster = faster && r->rivals.v.v[next].verdict == NF_RIVALS_FASTER;
        if (faster != wins)
            continue;
        nf_buf_puts(b, listed++ ? ", " : "");
        name(b, r, i, next, !wins);
    }
    return listed;
}

static void say_place(struct nf_document *doc, const struct nf_report *r, size_t first, size_t end)
{
    const struct nf_point *at = r->rivals.v.v[first].point;
    struct nf_buf b = {0}, others = {0};

    nf_print_share(&b, at->near_share);
    nf_buf_printf(&b, " near, %s: faster than LRU and the best interleave, as far as both were replayed: ", nf_overlap_name(at->overlap));
    if (!list(&b, r, first, end, true))
        nf_buf_puts(&b, "none");
    if (list(&others, r, first, end, false))
        nf_buf_printf(&b, ". Not so: %s", others.data ? others.data : "");
    nf_buf_puts(&b, ".");
    b.failed = b.failed || others.failed;
    nf_buf_deinit(&others);
    nf_document_say_buf(doc, NF_BLOCK_TEXT, &b);
}

void nf_chapter_rivals(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_rivals *rivals = &r->rivals;

    if (!r->data.capture.has_durations)
        return;
    nf_document_say(doc, NF_BLOCK_HEADING, "Does seeing the profile pay?");
    if (!rivals->v.n) {
        nf_document_say(doc, NF_BLOCK_TEXT, "Unknown: no policy that sees the profile has a trial in a block with LRU or an interleave.");
        return;
    }
    nf_document_say(doc, NF_BLOCK_TEXT,
                    "Step times paired within a block; faster and slower where the 95 %% bootstrap interval of the ratio's median leaves out 1, and "
                    "at least %d blocks have both. Beside it where the time goes, in brackets with the other; medians per step.",
                    NF_RIVALS_BLOCKS_MIN);
    for (size_t i = 0, next; i < rivals->v.n; i = next) {
        for (next = i; next < rivals->v.n && same_place(&rivals->v.v[i], &rivals->v.v[next]); next++)
            ;
        say_place(doc, r, i, next);
    }
    nf_document_table(doc, "Policies that see the profile, against LRU and the best interleave", rivals->rows, NULL, ALL_ROWS);
}
