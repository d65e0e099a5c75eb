#pragma once
/* Whether the figures of a trial can be those of what was replayed: for trials whose memory somebody else wrote to as well. */
#include "replay/engine.h"

/* What cannot be, in words ("its steps are not its time"); NULL: nothing. Held against the script are the bytes that visits issued and
 * the most lines that they can be charged; against the config steps, capacities and settings; against each other moves, times and steps.
 * Of a failed trial, which stands for no figure, only that each can be read. A false figure that could be true is not found. */
const char *nf_trial_implausible(const struct nf_trial *t, const struct nf_engine_config *c);
