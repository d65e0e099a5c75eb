/* The chapter "How the trials ran", and the real job bound to a tier for "Can it be believed?". */
#include "analyze/document.h"
#include "analyze/print.h"
#include "analyze/writer.h"

enum { MARKED_ROWS = 40, ALL_ROWS = 1000 };

void nf_chapter_live(struct nf_document *doc, const struct nf_report *r)
{
    const struct nf_table *t = r->record.tables[NF_RECORD_LIVE];

    if (!t) {
        nf_document_say(doc, NF_BLOCK_TEXT,
                        "The real job was not bound to a tier (nearfar run STUDY --bind far -- JOB, where there is a second node).");
        return;
    }
    nf_document_table(doc, "The real job on a tier, and its replay: nothing was fitted", t, NULL, ALL_ROWS);
}

void nf_chapter_trials(struct nf_document *doc, const struct nf_report *r)
{
    static const char *const words[] = {"trial", "block", "policy", "near_share", "overlap", "status", "what", NULL};
    const struct nf_trial_record *record = &r->record;
    const struct nf_table *marked = record->tables[NF_RECORD_MARKED];
    size_t n = marked ? nf_table_rows(marked) : 0;

    nf_document_say(doc, NF_BLOCK_HEADING, "How the trials ran");
    if (record->until_width > 0)
        nf_document_say(doc, NF_BLOCK_TEXT,
                        "Blocks were added until every median slowdown was known within %.2g %% (95 %% interval), or the most "
                        "that were allowed.", 100 * record->until_width);
    if (record->resumed)
        nf_document_say(doc, NF_BLOCK_TEXT, "The replay was stopped and taken up again %lld times.", (long long)record->resumed);
    if (record->tables[NF_RECORD_RAN])
        nf_document_table(doc, "Threads, proofs of placement, deadlines", record->tables[NF_RECORD_RAN], NULL, ALL_ROWS);
    if (record->tables[NF_RECORD_COUNTED])
        nf_document_table(doc, "The replay's own bytes beside those that hardware counters saw, summed over trials",
                          record->tables[NF_RECORD_COUNTED], NULL, ALL_ROWS);
    if (!n)
        nf_document_say(doc, NF_BLOCK_TEXT, "No trial failed, was unsteady, or was disturbed as far as the machine shows it.");
    else
        nf_document_say(doc, NF_BLOCK_TEXT,
                        "%zu trial%s: failed, unsteady or disturbed. Nothing is left out; what came between stands beside%s.", n,
                        n == 1 ? " stands out" : "s stand out", n > MARKED_ROWS ? ", here for the first 40, in disturbed.csv for all" : "");
    if (n)
        nf_document_table(doc, "Marked trials", marked, words, MARKED_ROWS);
    if (record->tables[NF_RECORD_PREDICTED])
        nf_document_table(doc, "Modelled before, replayed after: one model of bandwidth, no latency (nearfar plan)",
                          record->tables[NF_RECORD_PREDICTED], NULL, ALL_ROWS);
    if (record->tables[NF_RECORD_CONTENTION])
        nf_document_table(doc, "Under contention from other CPUs, paired within a block", record->tables[NF_RECORD_CONTENTION],
                          NULL, ALL_ROWS);
    if (record->tables[NF_RECORD_SENSITIVITY])
        nf_document_table(doc, "What hangs on the assumptions: one factor changed, paired within a block; in no curve",
                          record->tables[NF_RECORD_SENSITIVITY], NULL, ALL_ROWS);
    if (record->tables[NF_RECORD_COLD])
        nf_document_table(doc, "Cold: one step from empty caches, nothing warmed up; in no curve", record->tables[NF_RECORD_COLD],
                          NULL, ALL_ROWS);
    if (record->tables[NF_RECORD_STALE])
        nf_document_table(doc, "Stale profile: planned on another capture, tested on this one; in no curve", record->tables[NF_RECORD_STALE],
                          NULL, ALL_ROWS);
}
