#include "core/base/prefetchers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* "" when the CPU's maker is known to have the register and its own answer would be read, else why not. */
static const char *no_register(const char *root)
{
    char path[512], line[8192];
    const char *why = "no vendor in /proc/cpuinfo";
    FILE *f;

    snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
    f = fopen(path, "re");
    /* The first CPU's lines say it; flags stand after the vendor. */
    while (f && fgets(line, sizeof line, f) && *line != '\n') {
        if (!strncmp(line, "vendor_id", 9))
            why = strstr(line, "GenuineIntel") ? "" : "no register of this CPU's maker is known";
        else if (!*why && !strncmp(line, "flags", 5) && strstr(line, " hypervisor"))
            why = "a hypervisor would answer for the CPU";
    }
    if (f)
        fclose(f);
    return why;
}

/* Bits of MSR 0x1a4 that are set switch a prefetcher off (Intel: L2 stream, L2 adjacent line, L1 stream, L1 by
 * instruction). Read back, never assumed; needs root and the msr module. */
void nf_prefetchers_read(const char *root, int cpu, char *text, size_t size, char *why, size_t why_size)
{
    const off_t msr = 0x1a4;
    char path[512];
    uint64_t bits = 0;
    ssize_t n;
    int fd;

    snprintf(text, size, "unknown");
    snprintf(why, why_size, "%s", no_register(root));
    if (*why)
        return;
    snprintf(path, sizeof path, "%s/dev/cpu/%d/msr", root, cpu < 0 ? 0 : cpu);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(why, why_size, "/dev/cpu/%d/msr: %s%s", cpu < 0 ? 0 : cpu, strerror(errno), errno == ENOENT ? " (modprobe msr)" : "");
        return;
    }
    n = pread(fd, &bits, sizeof bits, msr);
    if (n == (ssize_t)sizeof bits)
        snprintf(text, size, "off-mask 0x%llx", (unsigned long long)(bits & 0xf));
    else
        snprintf(why, why_size, "register 0x1a4 cannot be read: %s", n < 0 ? strerror(errno) : "it is short");
    close(fd);
}
