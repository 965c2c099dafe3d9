/* cpus.c: how many threads this process may use: what was chosen, or the processors that it may run on. */
#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "core.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 255 };

#if defined(_WIN32)
int pn_available_cpus(void) { return 1; }
#else
#include <sched.h>
#include <unistd.h>

#if defined(__linux__)
/* Processors that a quota allows, from "quota period" in microseconds in one file ("max period": all) or in two. */
static long quota(const char *folder, const char *first, const char *second) {
    long us[2] = {0, 0};
    const char *names[2] = {first, second};
    for (int i = 0; i < 2 && names[i]; i++) {
        char path[4200];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        FILE *f = fopen(path, "r");
        if (!f) return LONG_MAX;
        const int n = second ? fscanf(f, "%ld", &us[i]) : fscanf(f, "%ld %ld", &us[0], &us[1]);
        fclose(f);
        if (n != (second ? 1 : 2)) return LONG_MAX;
    }
    return us[0] > 0 && us[1] > 0 ? (us[0] + us[1] - 1) / us[1] : LONG_MAX;
}

/* The least quota of this process's control group and its parents, version 2 (one tree) or 1 (a tree for "cpu"); in a
 * container the group's path may be that of the host, and only the root is there. */
static long quota_cpus(void) {
    long least = LONG_MAX;
    char line[4096], folder[4128];
    FILE *f = fopen("/proc/self/cgroup", "r"); /* lines "number:controllers:path" */
    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0, controllers++;
        path[strcspn(path, "\n")] = 0;
        char list[4100];
        snprintf(list, sizeof list, ",%s,", controllers);
        const int v1 = strstr(list, ",cpu,") != NULL;
        if (*controllers && !v1) continue;
        for (char *end = path + strlen(path);; *end = 0) {
            snprintf(folder, sizeof folder, "/sys/fs/cgroup%s%s", v1 ? "/cpu" : "", path);
            const long n = v1 ? quota(folder, "cpu.cfs_quota_us", "cpu.cfs_period_us") : quota(folder, "cpu.max", NULL);
            if (n < least) least = n;
            end = strrchr(path, '/');
            if (!end) break;
        }
    }
    if (f) fclose(f);
    return least;
}
#endif

int pn_available_cpus(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    const long allowed = quota_cpus();
    if (allowed < n) n = allowed;
#endif
    return n < 1 ? 1 : n > MOST ? MOST : (int)n;
}
#endif

static _Atomic int chosen_threads; /* 0: not chosen */

static int from_environment(const char *name) {
    const char *text = getenv(name);
    const int n = text ? atoi(text) : 0;
    return n > 0 && n <= MOST ? n : 0;
}

void pn_set_num_threads(int n) { chosen_threads = n < 0 ? 0 : n > MOST ? MOST : n; }

int pn_get_num_threads(void) {
    int n = chosen_threads;
    if (!n) n = from_environment("PYNET_NUM_THREADS");
    if (!n) n = from_environment("OMP_NUM_THREADS");
    if (!n) n = pn_available_cpus();
    chosen_threads = n;
    return n;
}
