#pragma once
/* Programs of others that take part in a benchmark: found, run, and their printed speed read. */
#include <stddef.h>

/* The path of a program: what the environment variable says, else the first of PATH. NULL, having said on stdout that the
 * group's rows beside it are left out, where there is none. Writes to path, which has `size` bytes. */
const char *bench_peer_find(const char *group, const char *name, const char *variable, char *path, size_t size);
/* Runs the command by the shell; the number of the field-th word (from 0) of the last line that has a positive one there.
 * -1, having said so, when it failed or printed none. */
double bench_peer_field(const char *group, const char *command, const char *separators, unsigned field);
/* The same of the number that follows a word, wherever that stands. */
double bench_peer_after(const char *group, const char *command, const char *word);
