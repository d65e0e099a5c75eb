#include "replay/environment.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/prefetchers.h"

#define GOVERNOR "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor"

/* Files of one value: its name in the study, where it stands. %d is the CPU. */
static const struct {
    const char *name, *path;
} values[] = {
    {"governor", GOVERNOR},
    {"frequency_khz", "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq"},
    {"no_turbo", "/sys/devices/system/cpu/intel_pstate/no_turbo"},
    {"boost", "/sys/devices/system/cpu/cpufreq/boost"},
    {"smt", "/sys/devices/system/cpu/smt/active"},
    {"microcode", "/sys/devices/system/cpu/cpu%d/microcode/version"},
    {"thp", "/sys/kernel/mm/transparent_hugepage/enabled"},
    {"numa_balancing", "/proc/sys/kernel/numa_balancing"},
    {"demotion", "/sys/kernel/mm/numa/demotion_enabled"},
    {"swappiness", "/proc/sys/vm/swappiness"},
    {"load", "/proc/loadavg"},
    {"kernel", "/proc/sys/kernel/osrelease"},
};

static bool read_value(const char *root, const char *path, int cpu, char *text, size_t size)
{
    char full[512];
    size_t at = (size_t)snprintf(full, sizeof full, "%s", root);
    const char *mark = strstr(path, "%d");
    ssize_t n;
    int fd;

    if (at >= sizeof full)
        return false;
    if (mark)
        snprintf(full + at, sizeof full - at, "%.*s%d%s", (int)(mark - path), path, cpu, mark + 2);
    else
        snprintf(full + at, sizeof full - at, "%s", path);
    fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, size - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return *text;
}

/* Of a list with the choice in brackets, "always [madvise] never", the choice. */
static void keep_choice(char *text)
{
    char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;

    if (!close)
        return;
    *close = '\0';
    memmove(text, open + 1, (size_t)(close - open));
}

void nf_environment_json(const char *root, int cpu, struct nf_buf *b)
{
    char text[256], why[128];

    nf_buf_puts(b, "{");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        bool known = read_value(root, values[i].path, cpu, text, sizeof text);

        if (known)
            keep_choice(text);
        nf_buf_printf(b, "%s\"%s\":", i ? "," : "", values[i].name);
        nf_buf_json(b, known ? text : "unknown");
    }
    nf_prefetchers_read(root, cpu, text, sizeof text, why, sizeof why);
    nf_buf_puts(b, ",\"prefetchers\":");
    nf_buf_json(b, text);
    if (*why) {
        nf_buf_puts(b, ",\"prefetchers_why\":");
        nf_buf_json(b, why);
    }
    nf_buf_puts(b, "}");
}

void nf_environment_governor(const char *root, int cpu, char *text, size_t size)
{
    if (!read_value(root, GOVERNOR, cpu, text, size))
        snprintf(text, size, "unknown");
}
