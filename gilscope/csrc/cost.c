#define _GNU_SOURCE
#include "cost.h"

#include <math.h>
#include <pthread.h>

#include "clock.h"
#include "emit.h"

typedef int signal_call(pthread_cond_t *cond);

static double per_call(signal_call *call, pthread_cond_t *cond, uint32_t n)
{
    uint64_t start = gs_clock_ns(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < n; i++) {
        call(cond);
        /* This ring has no sampler: give the slots back as it would. */
        if ((i & 0xfff) == 0xfff)
            gs_ring_take(gs_emit.ring, gs_emit.ring->head - gs_emit.ring->tail);
    }
    return (double)(gs_clock_ns(CLOCK_MONOTONIC) - start) / n;
}

void gs_cost_of_hook(uint32_t n, const struct gs_hooked *h, double *hooked_ns, double *bare_ns)
{
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    gs_hooks_aim(h, &cond, NULL);
    *hooked_ns = per_call((signal_call *)gs_hooks_of_trace[GS_HOOK_SIGNAL], &cond, n);
    gs_hooks_rest();
    *bare_ns = per_call(pthread_cond_signal, &cond, n);
    pthread_cond_destroy(&cond);
}

/* Not a number where sites cannot be recorded. */
static double located_call(const struct gs_options *o, uint32_t n)
{
    static struct gs_sites sites;
    struct gs_hooked h = {.sites = &sites, .whole_over = UINT64_MAX, .obeyed_within = UINT64_MAX};
    struct gs_frames frames;
    struct gs_why why;
    double hooked, bare;
    if (!o->known ||
        !gs_layout_prove(&h.layout, o->python_hex, o->tstate, o->interp, o->interval_us, &why) ||
        !gs_frames_prove(&frames, o->python_hex, o->tstate, o->known, &why) ||
        !gs_sites_open(&sites, &frames, o->pin))
        return NAN;
    gs_cost_of_hook(n, &h, &hooked, &bare);
    gs_sites_close(&sites, o->unpin);
    return hooked;
}

static double clock_read(bool tsc, uint32_t n)
{
    volatile uint64_t sink;
    uint64_t start = gs_clock_ns(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < n; i++)
        sink = gs_clock_stamp(tsc);
    (void)sink;
    return (double)(gs_clock_ns(CLOCK_MONOTONIC) - start) / n;
}

bool gs_cost_measure(const struct gs_options *o, uint32_t n, struct gs_cost *cost)
{
    static struct gs_ring ring;
    const bool tsc = gs_clock_tsc_usable();
    double hooked, bare;
    if (!gs_ring_open(&ring, GS_RING_LOG2_SLOTS))
        return false;
    gs_ring_prepare(&ring, UINT64_C(1) << GS_RING_LOG2_SLOTS);
    gs_emit_bind(&ring, tsc, NULL);
    gs_cost_of_hook(n, &(struct gs_hooked){0}, &hooked, &bare);
    cost->event_ns = hooked - bare;
    cost->located_ns = located_call(o, n) - bare;
    cost->bare_call_ns = bare;
    cost->clock_read_ns = clock_read(tsc, n);
    gs_ring_close(&ring);
    return true;
}
