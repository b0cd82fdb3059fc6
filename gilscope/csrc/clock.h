/* Time stamps. The counter of the processor where the kernel itself trusts it, else
 * CLOCK_MONOTONIC. */
#ifndef GILSCOPE_CLOCK_H
#define GILSCOPE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#ifdef __x86_64__
#include <x86intrin.h>
#endif

static inline uint64_t gs_clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Any thread, no lock. `tsc` must be what gs_clock_tsc_usable() returned. */
static inline uint64_t gs_clock_stamp(bool tsc)
{
#ifdef __x86_64__
    if (__builtin_expect(tsc, 1))
        return __rdtsc();
#endif
    (void)tsc;
    return gs_clock_ns(CLOCK_MONOTONIC);
}

/* True where CLOCK_MONOTONIC itself is the time stamp counter: the kernel has then checked that it
 * runs at one rate, through sleep states, and alike on all processors. */
static inline bool gs_clock_tsc_usable(void)
{
#ifdef __x86_64__
    char name[16] = "";
    FILE *f = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (f) {
        if (!fgets(name, sizeof name, f))
            name[0] = 0;
        fclose(f);
    }
    return strcmp(name, "tsc\n") == 0;
#else
    return false;
#endif
}

struct gs_clock_pair {
    uint64_t stamp, monotonic_ns;
    uint32_t error_ns;
};

/* One instant on both clocks: the tightest of a few readings of one between two of the other. */
static inline struct gs_clock_pair gs_clock_pair(bool tsc)
{
    struct gs_clock_pair best = {0, 0, UINT32_MAX};
    if (!tsc) {
        best.stamp = best.monotonic_ns = gs_clock_ns(CLOCK_MONOTONIC);
        best.error_ns = 0;
        return best;
    }
    for (int i = 0; i < 4; i++) {
        uint64_t a = gs_clock_ns(CLOCK_MONOTONIC);
        uint64_t stamp = gs_clock_stamp(tsc);
        uint64_t b = gs_clock_ns(CLOCK_MONOTONIC);
        uint64_t half = (b - a + 1) / 2;
        if (half < best.error_ns)
            best = (struct gs_clock_pair){stamp, a + (b - a) / 2, (uint32_t)half};
    }
    return best;
}

#endif
