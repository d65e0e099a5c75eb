#pragma once
/* A thread of the job's process that puts runs of its pages on other nodes, in the order in which they were asked for. The
 * pages keep their addresses: an op that touches one that is on its way waits in the kernel until it has come. */
#include <stdbool.h>
#include <stdint.h>

struct nf_move_run {
    uint32_t first, pages;
    uint8_t tier;
};

/* bind: does it, and takes no lock. 0 or an errno. */
int nf_move_thread_start(void (*bind)(uint32_t first, uint32_t pages, uint8_t tier));
/* Hands over a run. False: no room, the caller moves it; after nf_move_thread_settle of its pages. */
bool nf_move_thread_post(const struct nf_move_run *run);
/* Nothing of these pages is on its way any more: what had not begun is told to `cancelled` and never will. */
void nf_move_thread_settle(uint32_t first, uint32_t pages, void (*cancelled)(const struct nf_move_run *run));
/* Waits until all is done. */
void nf_move_thread_drain(void);
/* In a forked child there is no such thread. */
void nf_move_thread_forget(void);
