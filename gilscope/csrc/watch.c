#define _GNU_SOURCE
#include "watch.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "gate.h"
#include "hooks.h"
#include "sampler.h"
#include "slots.h"

static struct {
    /* Changed with the GIL, by which a watch begins and ends. */
    struct gs_watch_options o;
    struct gs_frames frames;
    _Atomic uint32_t number;
    _Atomic bool on;

    /* The hold that is on while the gate is `held`. Under the GIL's mutex. */
    uint64_t since;
    uint32_t n_waiters;
    uint64_t waiters[GS_WATCH_WAITERS];

    /* Hooks add at the head, under the GIL's mutex; the watcher takes from the tail. */
    struct gs_long_hold holds[GS_WATCH_HOLDS];
    _Atomic uint32_t head, tail;
    _Atomic uint64_t seen, dropped;
    _Atomic uint32_t bell;
} watch;

/* ---- in hooks ---- */

static void add_waiter(uint64_t ident)
{
    /* A thread whose wait timed out waits again. */
    for (uint32_t i = 0; i < watch.n_waiters; i++)
        if (watch.waiters[i] == ident)
            return;
    if (watch.n_waiters < GS_WATCH_WAITERS)
        watch.waiters[watch.n_waiters++] = ident;
}

static void on_wait(pthread_cond_t *cond)
{
    uint64_t me = (uint64_t)pthread_self();
    if (me == watch.o.watcher)
        return;
    if (!atomic_load_explicit(&gs_gate.held, memory_order_relaxed)) {
        watch.since = gs_clock_ns(CLOCK_MONOTONIC);
        watch.n_waiters = 0;
        atomic_store_explicit(&gs_gate.held, cond, memory_order_relaxed);
    }
    add_waiter(me);
}

/* Of the caller, which has just released the GIL: no thread can take it meanwhile. */
static uint32_t read_stack(struct gs_frame *frames)
{
    uintptr_t top = gs_frames_top(&watch.frames, gs_layout_holder(&watch.o.layout));
    uint32_t n = 0;
    while (n < GS_WATCH_FRAMES && gs_frames_next(&watch.frames, &top, &frames[n]))
        if (gs_frames_is_code(&watch.frames, frames[n].code))
            watch.o.pin((void *)frames[n++].code);
    return n;
}

static void keep(uint64_t held_ns, uint64_t ident)
{
    uint32_t head = atomic_load_explicit(&watch.head, memory_order_relaxed);
    if (head - atomic_load_explicit(&watch.tail, memory_order_acquire) == GS_WATCH_HOLDS) {
        atomic_fetch_add_explicit(&watch.dropped, 1, memory_order_relaxed);
        return;
    }
    struct gs_long_hold *h = &watch.holds[head % GS_WATCH_HOLDS];
    h->unix_ns = gs_clock_ns(CLOCK_REALTIME);
    h->held_ns = held_ns;
    h->ident = ident;
    h->native_id = (uint32_t)syscall(SYS_gettid);
    h->n_waiters = watch.n_waiters;
    memcpy(h->waiters, watch.waiters, watch.n_waiters * sizeof *h->waiters);
    h->n_frames = watch.o.frames ? read_stack(h->frames) : 0;
    atomic_store_explicit(&watch.head, head + 1, memory_order_release);
    gs_sampler_ring_bell(&watch.bell);
}

static void on_release(void)
{
    atomic_store_explicit(&gs_gate.held, NULL, memory_order_relaxed);
    uint64_t held_ns = gs_clock_ns(CLOCK_MONOTONIC) - watch.since;
    uint64_t me = (uint64_t)pthread_self();
    if (held_ns < watch.o.over_ns || me == watch.o.watcher)
        return;
    int saved = errno;
    atomic_fetch_add_explicit(&watch.seen, 1, memory_order_relaxed);
    keep(held_ns, me);
    errno = saved;
}

/* ---- life ---- */

static bool take(struct gs_long_hold *to)
{
    uint32_t tail = atomic_load(&watch.tail);
    if (tail == atomic_load(&watch.head))
        return false;
    *to = watch.holds[tail % GS_WATCH_HOLDS];
    atomic_store(&watch.tail, tail + 1);
    return true;
}

void gs_watch_clear(void)
{
    struct gs_long_hold h;
    while (!atomic_load(&watch.on) && take(&h))
        for (uint32_t i = 0; i < h.n_frames; i++)
            watch.o.unpin((void *)h.frames[i].code);
}

static uint32_t next_number(void)
{
    uint32_t number = atomic_load(&watch.number) + 1;
    return number ? number : 1;
}

uint32_t gs_watch_begin(const struct gs_watch_options *o, struct gs_why *why)
{
    if (!gs_slots_watch(why))
        return 0;
    watch.o = *o;
    if (o->frames)
        watch.frames = *o->frames;
    atomic_store(&watch.seen, 0);
    atomic_store(&watch.dropped, 0);
    atomic_store(&watch.number, next_number());
    atomic_store(&watch.on, true);
    gs_gate.on_wait = on_wait;
    gs_gate.on_release = on_release;
    atomic_store(&gs_gate.waited, gs_layout_cond(&o->layout));
    return watch.number;
}

bool gs_watch_is_on(uint32_t number)
{
    return atomic_load(&watch.on) && (!number || number == atomic_load(&watch.number));
}

void gs_watch_end(uint32_t number)
{
    if (!gs_watch_is_on(number))
        return;
    atomic_store(&gs_gate.waited, NULL);
    gs_hooks_drain(gs_layout_cond(&watch.o.layout));
    gs_slots_unwatch();
    /* No thread is about to release: the caller holds the GIL. */
    atomic_store(&gs_gate.held, NULL);
    atomic_store(&watch.on, false);
    gs_sampler_ring_bell(&watch.bell);
}

/* References cannot be given back without the GIL: code objects that were kept stay. */
void gs_watch_abandon(void)
{
    if (!atomic_load(&watch.on))
        return;
    atomic_store(&gs_gate.waited, NULL);
    atomic_store(&gs_gate.held, NULL);
    atomic_store(&watch.on, false);
    atomic_store(&watch.tail, atomic_load(&watch.head));
}

/* ---- the watcher ---- */

void gs_watch_await(uint32_t number, uint64_t not_before_ns)
{
    uint64_t now = gs_clock_ns(CLOCK_MONOTONIC);
    while (gs_watch_is_on(number)) {
        bool some = atomic_load(&watch.head) != atomic_load(&watch.tail);
        if (some && now >= not_before_ns)
            return;
        now = gs_sampler_wait(NULL, some ? not_before_ns : UINT64_MAX, &watch.bell);
    }
    if (number != atomic_load(&watch.number)) /* it may have rung for another's watcher */
        gs_sampler_ring_bell(&watch.bell);
}

bool gs_watch_take(uint32_t number, struct gs_long_hold *to)
{
    return number == atomic_load(&watch.number) && take(to);
}

bool gs_watch_counts(uint32_t number, uint64_t *seen, uint64_t *dropped)
{
    *seen = atomic_load(&watch.seen);
    *dropped = atomic_load(&watch.dropped);
    return number == atomic_load(&watch.number);
}
