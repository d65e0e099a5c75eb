#pragma once
/* A small study written row by row: one capture, two step classes of SAMPLE_OPS ops, and their visits. */
#include <stddef.h>
#include <stdint.h>

#include "core/model/stream.h"
#include "core/store/study.h"

enum { SAMPLE_CLASSES = 2, SAMPLE_OPS = 6, SAMPLE_TENSORS = 4, SAMPLE_STEPS = 5, SAMPLE_CHUNK = 7 };

/* A new file in /tmp with nothing in it; its name lives until the next call. */
const char *sample_path(void);
/* Fails the running test when it cannot. The file is an empty study without class rows when classes is 0. */
void sample_write(const char *path, unsigned classes);
/* The visits of both classes are the same; *n of them, ordered by op. */
const struct nf_visit *sample_visits(size_t *n);
/* Changes a file behind nearfar's back, without foreign keys. Fails the running test when it cannot. */
void sample_tamper(const char *path, const char *sql);
