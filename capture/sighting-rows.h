#pragma once
/* The sightings of step classes in the study: written once for the first step of a class, later steps only say whether
 * they were alike. */
#include <stdint.h>

#include "capture/reduce.h"
#include "core/store/study.h"

struct nf_sighting_rows;

struct nf_sighting_rows *nf_sighting_rows_new(struct nf_study *study); /* NULL: no memory. study is borrowed */
struct nf_sighting_rows *nf_sighting_rows_free(struct nf_sighting_rows *r);
/* Inside a transaction of the caller: what one observation saw of one step of a class. 0 or -errno (cause set). */
int nf_sighting_rows_put(struct nf_sighting_rows *r, int64_t observation, int64_t class_id, const struct nf_step *step,
                         const struct nf_seen *seen);
