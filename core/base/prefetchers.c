#include "core/base/prefetchers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A register whose set bits each switch a prefetcher off. */
struct control {
    const char *vendor;
    unsigned family; /* the first that has it */
    off_t msr;
    uint64_t bits;
};
static const struct control controls[] = {
    /* MSR_MISC_FEATURE_CONTROL (Intel, SDM volume 4): L2 stream, L2 adjacent line, L1 stream, L1 by instruction. */
    {"GenuineIntel", 0, 0x1a4, 0xf},
    /* Core::X86::Msr::PrefetchControl (AMD, PPR for family 19h model 11h, document 55901), of Zen 4 and later: L1 stream, L1 stride, L1
     * region, L2 stream; bit 4 is reserved; L2 up/down. Bits 6 to 9, of family 1Ah, say how far they reach. A Zen 3 is of family 19h, too,
     * and refuses to be read where it has no such register. */
    {"AuthenticAMD", 0x19, 0xc0000108, 0x2f},
};

static const struct control *of_vendor(const char *line)
{
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++)
        if (strstr(line, controls[i].vendor))
            return &controls[i];
    return NULL;
}

/* The register that this CPU has; NULL: none is known, or it is not the CPU that would answer (*why). */
static const struct control *find_control(const char *root, const char **why)
{
    const struct control *found = NULL;
    bool vendor = false, guest = false;
    unsigned long family = 0;
    char path[512], line[8192];
    FILE *f;

    snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
    f = fopen(path, "re");
    /* The first CPU's lines say it. */
    while (f && fgets(line, sizeof line, f) && *line != '\n') {
        if (!strncmp(line, "vendor_id", 9)) {
            vendor = true;
            found = of_vendor(line);
        } else if (!strncmp(line, "cpu family", 10) && strchr(line, ':')) {
            family = strtoul(strchr(line, ':') + 1, NULL, 10);
        } else if (!strncmp(line, "flags", 5)) {
            guest = strstr(line, " hypervisor") != NULL;
        }
    }
    if (f)
        fclose(f);
    *why = !vendor                  ? "no vendor in /proc/cpuinfo"
           : !found                 ? "no register of this CPU's maker is known"
           : family < found->family ? "no register of this CPU's family is known"
           : guest                  ? "a hypervisor would answer for the CPU"
                                    : "";
    return **why ? NULL : found;
}

/* Read back, never assumed; needs root and the msr module. */
void nf_prefetchers_read(const char *root, int cpu, char *text, size_t size, char *why, size_t why_size)
{
    const char *none;
    const struct control *control = find_control(root, &none);
    char path[512];
    uint64_t bits = 0;
    ssize_t n;
    int fd;

    snprintf(text, size, "unknown");
    snprintf(why, why_size, "%s", none);
    if (!control)
        return;
    snprintf(path, sizeof path, "%s/dev/cpu/%d/msr", root, cpu < 0 ? 0 : cpu);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(why, why_size, "/dev/cpu/%d/msr: %s%s", cpu < 0 ? 0 : cpu, strerror(errno), errno == ENOENT ? " (modprobe msr)" : "");
        return;
    }
    n = pread(fd, &bits, sizeof bits, control->msr);
    if (n == (ssize_t)sizeof bits)
        snprintf(text, size, "off-mask 0x%llx", (unsigned long long)(bits & control->bits));
    else
        snprintf(why, why_size, "register 0x%llx cannot be read: %s", (unsigned long long)control->msr, n < 0 ? strerror(errno) : "it is short");
    close(fd);
}
