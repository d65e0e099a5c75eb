#pragma once
/* One-line files below a root: /sys of this machine, or a recorded tree of another's. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first line of root/path; one that does not fit ends in "...". False, and an empty text, when there is none or it is empty. */
bool nf_sysfs_line(char *text, size_t size, const char *root, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A number from it below 2^64, decimal or 0x...; false when there is none or it is negative. */
bool nf_sysfs_number(double *out, const char *root, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The last part of what a symbolic link points to; false when it is none. */
bool nf_sysfs_link(char *text, size_t size, const char *root, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A name's number after its prefix ("mem3" after "mem": 3); false when it is not of that kind. */
bool nf_sysfs_named(const char *name, const char *prefix, unsigned *number);
/* Whether a list such as "0-3,8" holds the number. */
bool nf_sysfs_list_holds(const char *list, int number);
