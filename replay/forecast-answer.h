#pragma once
/* A forecast as a child process hands it over (pool/guard.h), without what this process finds out itself: bounds, and the gaps of a
 * tensor's course. */
#include "core/base/buf.h"
#include "replay/forecast.h"

void nf_forecast_add(const struct nf_forecast *f, struct nf_buf *answer);
/* Of a step of this class, whose policy holds all storages. f: with steady, peak_bytes and near_bytes, which are kept. What it then has
 * can be what a policy comes to, whoever wrote the answer: no index, share or time is out of its range, and what does not depend on the
 * policy is right. 0, -EPROTO, -ENOMEM, without a cause; the caller deinits f in every case. */
int nf_forecast_take(struct nf_forecast *f, const struct nf_step_class *c, const struct nf_profile *profile, const struct nf_buf *answer);
