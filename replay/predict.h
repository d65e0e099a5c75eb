#pragma once
/* What a model says of every policy of a replay, kept beside its trials so that a report can set one against the other. */
#include "replay/session-parts.h"

/* Rows of the tables prediction and far_bound for the session's replay: one forecast (replay/forecast.h) per policy and near share,
 * one bound per near share. What cannot be forecast is kept with the reason, and is no error. Rows that are there already stay.
 * 0, NF_REPLAY_E_STOPPED, -errno (cause set). */
int nf_session_predict(struct nf_session *s);
