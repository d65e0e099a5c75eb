#pragma once
/* A tree of files as a kernel's or a recorded machine's, made from fuzzed bytes: below one folder of /tmp, which goes when the
 * process ends. What cannot be made ends the program. */
#include <stddef.h>

const char *fuzz_tree_root(void);
/* root + path, with the folders on the way. */
void fuzz_tree_put(const char *path, const void *data, size_t n);
/* Adds what text says in the format of tests/machines (tests/system/machine.py); is changed. Nothing comes to lie, and no link
 * leads, outside; what cannot be made is left out. */
void fuzz_tree_unpack(char *text);
/* Nothing is in it any more. */
void fuzz_tree_clear(void);
