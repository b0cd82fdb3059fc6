#define _GNU_SOURCE
#include "recorder.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "collector.h"
#include "condition.h"
#include "sites.h"
#include "threads.h"

/* From a drop request to the next look at it, at most, where Python code runs on a processor. */
#define OBEYED_WITHIN_NS UINT64_C(100000)

static struct {
    /* From the first look at the interpreter until all is freed: proving and ending let the GIL go.
     */
    _Atomic bool busy;
    bool recording;  /* the ring takes records; read and changed under the GIL */
    uint32_t number; /* of the recording, and never 0 */
    bool probing, tsc, hooks_stayed;
    uint64_t begun_before; /* with sampled edges: interpreters that had ever begun by then */
    uint32_t gils_missed;
    struct gs_layout layout;
    bool locating;
    void (*unpin)(void *object);
    struct gs_sites sites;
    struct gs_ring ring;
} now;

/* ---- fork ---- */

/* The child has neither the sampler nor anybody to wait for. It gives up the parent's recording
 * before any of its own code runs; its hooks are given up by probe.c. */
static void after_fork_in_child(void)
{
    if (!atomic_load(&now.busy))
        return;
    now.recording = false;
    gs_ring_close(&now.ring);
    /* Without the GIL no reference can be given back: code that was seen stays. */
    gs_sites_close(&now.sites, NULL);
    now.locating = false;
    gs_collector_abandon();
    atomic_store(&now.busy, false);
}

/* ---- life ---- */

static void fail(struct gs_outcome *out, enum gs_failure failure, int error, const char *what)
{
    out->failure = failure;
    out->error = error;
    if (what)
        gs_refuse(&out->why, "%s", what);
}

/* Of threads that come at once one goes on; it gives `busy` back. */
static bool claim(struct gs_outcome *out)
{
    memset(out, 0, sizeof *out);
    if (!atomic_exchange(&now.busy, true))
        return true;
    fail(out, GS_BUSY, 0, "a recording is active in this process");
    return false;
}

static void prove(const struct gs_options *o, struct gs_layout *l, struct gs_outcome *out)
{
    if (!gs_layout_prove(l, o->python_hex, o->tstate, o->interp, o->interval_us, &out->why))
        fail(out, GS_NO_LAYOUT, 0, NULL);
    else if (o->probe && !gs_probe_learn(l, &o->calls, &out->why))
        fail(out, GS_NO_PROBE, 0, NULL);
    else if (o->observe && !l->thread_requested && !gs_threads_can_see_waits())
        fail(out, GS_NO_STATES, 0,
             "the kernel does not show what a blocked thread sleeps on "
             "(/proc/self/task/*/syscall)");
    else if (o->observe && !l->thread_requested)
        l->cond_waiters = (uint16_t)gs_condition_learn();
}

void gs_recorder_prove(const struct gs_options *o, struct gs_layout *l, struct gs_outcome *out)
{
    if (!claim(out))
        return;
    prove(o, l, out);
    atomic_store(&now.busy, false);
}

static void start_collector(const struct gs_options *o, struct gs_outcome *out)
{
    const struct gs_collection c = {
        .spool = o->spool,
        .wanted = o->wanted,
        .layout = &now.layout,
        .ring = &now.ring,
        .sites = now.locating ? &now.sites : NULL,
        .probe = o->probe,
        .observe = o->observe,
        .tsc = now.tsc,
        .period_ns = o->period_ns,
        .interval_us = o->interval_us,
    };
    const char *what;
    int error = gs_collector_start(&c, &what);
    if (error)
        fail(out, GS_SYSTEM, error, what);
}

static void discard(const struct gs_options *o)
{
    gs_ring_close(&now.ring);
    gs_sites_close(&now.sites, o->unpin);
}

static void register_fork_handler(void)
{
    static bool registered;
    if (!registered)
        registered = pthread_atfork(NULL, NULL, after_fork_in_child) == 0;
}

static uint32_t switches_now(void)
{
    struct gs_gil_view view;
    gs_layout_gil(&now.layout, &view);
    return (uint32_t)view.switches;
}

static void count_other(void *count, const struct gs_interpreter *i)
{
    struct gs_gil_view view;
    uint32_t holder;
    if (i->address != now.layout.interp && gs_layout_gil_lives(i, &view, &holder))
        ++*(uint32_t *)count;
}

static void count_others(void)
{
    now.gils_missed = 0;
    gs_layout_interpreters(&now.layout, count_other, &now.gils_missed);
    now.begun_before = gs_layout_interpreters_begun(&now.layout);
}

/* Without them there is a recording all the same. */
static void open_sites(const struct gs_options *o, struct gs_outcome *out)
{
    struct gs_frames frames;
    now.unpin = o->unpin;
    now.locating = o->probe && o->known &&
                   gs_frames_prove(&frames, o->python_hex, o->tstate, o->known, &out->no_sites);
    if (now.locating && !gs_sites_open(&now.sites, &frames, o->pin)) {
        now.locating = false;
        gs_refuse(&out->no_sites, "no memory for them");
    }
}

/* How many units of the stamps some nanoseconds are, by two readings of both clocks. */
static uint64_t in_stamps(uint64_t ns, const struct gs_clock_pair *a)
{
    struct gs_clock_pair b = gs_clock_pair(now.tsc);
    double rate = b.monotonic_ns > a->monotonic_ns
                      ? (double)(b.stamp - a->stamp) / (double)(b.monotonic_ns - a->monotonic_ns)
                      : 1;
    return (uint64_t)((double)ns * rate);
}

static void start(const struct gs_options *o, struct gs_outcome *out)
{
    register_fork_handler();
    prove(o, &now.layout, out);
    if (out->failure)
        return;
    now.tsc = gs_clock_tsc_usable();
    struct gs_clock_pair before = gs_clock_pair(now.tsc);
    now.probing = o->probe;
    if (!gs_ring_open(&now.ring, o->log2_slots)) {
        fail(out, GS_SYSTEM, ENOMEM, "no memory for the ring");
        return;
    }
    open_sites(o, out);
    start_collector(o, out);
    if (out->failure) {
        discard(o);
        return;
    }
    gs_probe_bind(&now.ring, now.tsc, gs_collector_nudge);
    if (now.locating)
        gs_probe_locate(&now.sites, in_stamps(o->whole_over_ns, &before),
                        in_stamps(OBEYED_WITHIN_NS, &before));
    if (o->probe && !gs_probe_install(&now.layout, &out->why)) {
        struct gs_collected nothing;
        fail(out, GS_NO_PROBE, 0, NULL);
        gs_collector_stop(&nothing);
        unlink(o->spool);
        discard(o);
        return;
    }
    if (!o->probe)
        count_others();
    gs_probe_begin(switches_now(), o->probe);
    if (++now.number == 0)
        now.number = 1;
    now.recording = true;
}

void gs_recorder_start(const struct gs_options *o, struct gs_outcome *out)
{
    if (!claim(out))
        return;
    start(o, out);
    if (out->failure)
        atomic_store(&now.busy, false);
}

/* Some may have had no GIL of their own; nobody looked. */
static uint32_t others_begun(void)
{
    return (uint32_t)(gs_layout_interpreters_begun(&now.layout) - now.begun_before);
}

void gs_recorder_stop(void)
{
    uint32_t missed = gs_probe_end(switches_now(), now.probing);
    now.gils_missed = now.probing ? missed : now.gils_missed + others_begun();
    now.recording = false;
    now.hooks_stayed = !now.probing || gs_probe_remove();
}

void gs_recorder_join(struct gs_outcome *out)
{
    struct gs_collected collected;
    memset(out, 0, sizeof *out);
    gs_collector_stop(&collected);
    gs_ring_close(&now.ring);
    out->spool_bytes = collected.spool_bytes;
    out->sampler_cpu_ns = collected.sampler_cpu_ns;
    out->hooks_stayed = now.hooks_stayed;
    out->gils_listed = now.layout.interp_gil == 0 || now.layout.interpreters != 0;
    out->gils_missed = now.gils_missed;
    out->sites_missed = now.locating ? atomic_load(&now.sites.missed) : 0;
    if (collected.error)
        fail(out, GS_SYSTEM, collected.error, "the spool file could not be written to the end");
}

void gs_recorder_finish(void)
{
    if (now.locating)
        gs_sites_close(&now.sites, now.unpin);
    now.locating = false;
    atomic_store(&now.busy, false);
}

double gs_recorder_located_cost(const struct gs_options *o, uint32_t n)
{
    struct gs_why why;
    struct gs_layout layout;
    struct gs_frames frames;
    double hooked, bare;
    if (!gs_layout_prove(&layout, o->python_hex, o->tstate, o->interp, o->interval_us, &why) ||
        !gs_frames_prove(&frames, o->python_hex, o->tstate, o->known, &why) ||
        !gs_sites_open(&now.sites, &frames, o->pin))
        return NAN;
    gs_probe_locate(&now.sites, UINT64_MAX, UINT64_MAX);
    gs_probe_cost(n, &layout, &hooked, &bare);
    gs_probe_locate(NULL, 0, 0);
    gs_sites_close(&now.sites, o->unpin);
    return hooked;
}

uint32_t gs_recorder_ask_flush(void)
{
    return gs_collector_ask_flush();
}

void gs_recorder_await_flush(uint32_t asked)
{
    gs_collector_await_flush(asked);
}

uint32_t gs_recorder_active(void)
{
    return now.recording ? now.number : 0;
}

bool gs_recorder_uses_tsc(void)
{
    return now.recording ? now.tsc : gs_clock_tsc_usable();
}
