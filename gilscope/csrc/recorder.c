#define _GNU_SOURCE
#include "recorder.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "collector.h"
#include "condition.h"
#include "emit.h"
#include "hooks.h"
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
    bool exact, tsc, hooks_stayed;
    uint64_t begun_before; /* with sampled edges: interpreters that had ever begun by then */
    uint32_t gils_missed;
    struct gs_layout layout;
    bool locating;
    void (*unpin)(void *object);
    struct gs_sites sites;
    struct gs_ring ring;
} now;

static void fail(struct gs_outcome *out, enum gs_failure failure, int error, const char *what)
{
    out->failure = failure;
    out->error = error;
    if (what)
        gs_refuse(&out->why, "%s", what);
}

/* Of threads that come at once one continues; it clears `busy`. */
static bool claim(struct gs_outcome *out)
{
    memset(out, 0, sizeof *out);
    if (!atomic_exchange(&now.busy, true))
        return true;
    fail(out, GS_BUSY, 0, "a recording is active in this process");
    return false;
}

/* ---- proof ---- */

static bool reads_states(const struct gs_options *o)
{
    return !o->exact || o->states;
}

/* That ticks can read what a thread waits for. 3.15 keeps it in the thread's state; before, the
 * kernel must show it, and the C library's count of waiters makes it exact. */
static bool prove_states(struct gs_layout *l, struct gs_why *why)
{
    if (l->thread_requested)
        return true;
    if (!gs_threads_can_see_waits())
        return gs_refuse(why, "the kernel does not show what a blocked thread sleeps on "
                              "(/proc/self/task/*/syscall)");
    l->cond_waiters = (uint16_t)gs_condition_learn();
    return true;
}

static void prove(const struct gs_options *o, struct gs_layout *l, struct gs_outcome *out)
{
    out->tsc = gs_clock_tsc_usable();
    if (!gs_layout_prove(l, o->python_hex, o->tstate, o->interp, o->interval_us, &out->why))
        out->failure = GS_NO_LAYOUT;
    else if (o->exact && !gs_slots_learn(l, &o->calls, &out->why))
        out->failure = GS_NO_HOOKS;
    else if (reads_states(o) && !prove_states(l, &out->why))
        out->failure = GS_NO_STATES;
}

void gs_recorder_prove(const struct gs_options *o, struct gs_layout *l, struct gs_outcome *out)
{
    if (!claim(out))
        return;
    prove(o, l, out);
    atomic_store(&now.busy, false);
}

/* ---- start ---- */

static void start_collector(const struct gs_options *o, struct gs_outcome *out)
{
    const struct gs_collection c = {
        .spool = o->spool,
        .wanted = o->wanted,
        .layout = &now.layout,
        .ring = &now.ring,
        .sites = now.locating ? &now.sites : NULL,
        .exact = o->exact,
        .states = reads_states(o),
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

/* A recording works without them. */
static void open_sites(const struct gs_options *o, struct gs_outcome *out)
{
    struct gs_frames frames;
    now.unpin = o->unpin;
    now.locating = o->exact && o->known &&
                   gs_frames_prove(&frames, o->python_hex, o->tstate, o->known, &out->no_sites);
    if (now.locating && !gs_sites_open(&now.sites, &frames, o->pin))
        now.locating = gs_refuse(&out->no_sites, "no memory for them");
}

/* Converts nanoseconds to stamps by two readings of both clocks, the first of them given. */
static uint64_t in_stamps(uint64_t ns, const struct gs_clock_pair *a)
{
    struct gs_clock_pair b = gs_clock_pair(now.tsc);
    double rate = b.monotonic_ns > a->monotonic_ns
                      ? (double)(b.stamp - a->stamp) / (double)(b.monotonic_ns - a->monotonic_ns)
                      : 1;
    return (uint64_t)((double)ns * rate);
}

/* Ring, sites and sampler; hooks are not in yet. */
static void prepare(const struct gs_options *o, struct gs_outcome *out)
{
    if (!gs_ring_open(&now.ring, GS_RING_LOG2_SLOTS)) {
        fail(out, GS_SYSTEM, ENOMEM, "no memory for the ring");
        return;
    }
    open_sites(o, out);
    start_collector(o, out);
    if (out->failure)
        discard(o);
    else
        gs_emit_bind(&now.ring, now.tsc, gs_collector_nudge);
}

static void begin_exact(const struct gs_options *o, const struct gs_clock_pair *before)
{
    struct gs_hooked h = {.layout = now.layout, .sites = now.locating ? &now.sites : NULL};
    if (h.sites) {
        h.whole_over = in_stamps(o->whole_over_ns, before);
        h.obeyed_within = in_stamps(OBEYED_WITHIN_NS, before);
    }
    gs_emit_now(GS_BEGIN, switches_now());
    gs_hooks_begin(&h);
}

static void begin_sampled(void)
{
    count_others();
    gs_emit_now(GS_BEGIN, switches_now());
}

static void start(const struct gs_options *o, struct gs_outcome *out)
{
    prove(o, &now.layout, out);
    if (out->failure)
        return;
    now.exact = o->exact;
    now.tsc = out->tsc;
    struct gs_clock_pair before = gs_clock_pair(now.tsc);
    prepare(o, out);
    if (out->failure)
        return;
    if (o->exact && !gs_slots_trace(&out->why)) {
        struct gs_collected nothing;
        out->failure = GS_NO_HOOKS;
        gs_collector_stop(&nothing);
        unlink(o->spool);
        discard(o);
        return;
    }
    if (o->exact)
        begin_exact(o, &before);
    else
        begin_sampled();
    if (++now.number == 0)
        now.number = 1;
    out->number = now.number;
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

/* ---- stop ---- */

/* Some may have had no GIL of their own; that was not checked. */
static uint32_t others_begun(void)
{
    return (uint32_t)(gs_layout_interpreters_begun(&now.layout) - now.begun_before);
}

void gs_recorder_stop(void)
{
    gs_emit_now(GS_END, switches_now());
    now.gils_missed = now.exact ? gs_hooks_end() : now.gils_missed + others_begun();
    now.recording = false;
    now.hooks_stayed = !now.exact || gs_slots_untrace();
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
    out->sites_unread = now.locating ? atomic_load(&now.sites.unread) : 0;
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

void gs_recorder_abandon(void)
{
    if (!atomic_load(&now.busy))
        return;
    now.recording = false;
    gs_ring_close(&now.ring);
    /* References cannot be given back without the GIL: code objects that were seen stay. */
    gs_sites_close(&now.sites, NULL);
    now.locating = false;
    gs_collector_abandon();
    atomic_store(&now.busy, false);
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
