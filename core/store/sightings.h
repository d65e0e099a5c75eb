#pragma once
/* What sources that see everything saw of a step class: extents per op, in the form of visits. */
#include <stdint.h>

#include "core/model/stream.h"
#include "core/store/samples.h"
#include "core/store/study.h"

/* The latest observation of a capture that has sightings of a class, or that of a given source. Texts of out are static or
 * empty. > 0 its id, -ENOENT (cause set), -errno. */
int64_t nf_sightings_find(struct nf_study *s, int64_t capture, int64_t class_id, const char *source,
                          struct nf_observation *out);
/* The sightings, ordered by op, tensor, offset; *visits is malloc'ed, the caller's. 0, -EBADMSG for contradictory rows
 * (cause set), -ENOENT, -ENOMEM. */
int nf_sightings_load(struct nf_study *s, int64_t observation, const struct nf_step_class *c, struct nf_visit **visits,
                      uint32_t *n);
