#define _GNU_SOURCE
#include "sampler.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "threads.h"

/* The kernel's numbers for futex(2): a C library without kernel headers (musl) has no
 * <linux/futex.h>. */
enum { WAIT_PRIVATE = 128, WAKE_PRIVATE = 1 | 128, WAIT_UNTIL_PRIVATE = 9 | 128, ANY_BIT = -1 };

static struct gs_state states[GS_MOST_THREADS];
static struct gs_cpu cpus[GS_MOST_THREADS];

static uint64_t random_below(struct gs_sampler *s, uint64_t limit)
{
    s->random ^= s->random << 13; /* xorshift64 (Marsaglia 2003) */
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return limit ? s->random % limit : 0;
}

/* Half a period to one and a half after the last tick was due. A sampler that comes late skips what
 * it missed instead of catching up in a burst. */
static void plan_next(struct gs_sampler *s, uint64_t now)
{
    uint64_t step = s->jitter ? s->period_ns / 2 + random_below(s, s->period_ns) : s->period_ns;
    s->next_ns += step;
    if (s->next_ns <= now)
        s->next_ns = now + step;
}

/* What a tick sees beside the ring. */
static void observe(struct gs_sampler *s, struct gs_look *look, const struct gs_gil_view *gil,
                    uint64_t now)
{
    look->batch.flags |= GS_TICK;
    look->batch.late_ns = now > s->next_ns ? now - s->next_ns : 0;
    if (s->calls.states) {
        look->states = states;
        look->n_states = (uint32_t)s->calls.states(s->context, gil, states, GS_MOST_THREADS);
    }
    if (now >= s->next_cpu_ns) {
        look->cpus = cpus;
        look->n_cpus = (uint32_t)s->calls.cpus(s->context, cpus, GS_MOST_THREADS);
        s->next_cpu_ns = now + GS_CPU_EVERY_NS;
    }
}

/* Read after the records: if they hold a call of setswitchinterval, its effect is seen too. */
static uint32_t interval_now(struct gs_sampler *s)
{
    struct gs_gil_view gil;
    s->calls.gil(s->context, &gil);
    return gil.interval_us;
}

/* Stores what was seen and the records that are whole by now. A drain may need several batches;
 * what the tick saw goes into the first. */
static void store(struct gs_sampler *s, struct gs_look *look)
{
    uint64_t until = atomic_load_explicit(&s->ring->head, memory_order_relaxed);
    bool more = true;
    while (more) {
        look->n_records = (uint32_t)gs_ring_peek(s->ring, &look->records, GS_RECORDS_PER_BATCH);
        more = look->n_records > 0 && s->ring->tail + look->n_records < until;
        if (look->n_records && s->calls.sites)
            s->calls.sites(s->context);
        look->batch.interval_us = interval_now(s);
        /* After the records, so that their stamps lie between two pairs. */
        struct gs_clock_pair pair = s->calls.clock(s->context);
        look->batch.stamp = pair.stamp;
        look->batch.monotonic_ns = pair.monotonic_ns;
        look->batch.pair_error_ns = pair.error_ns;
        s->calls.append(s->context, look);
        gs_ring_take(s->ring, look->n_records);
        look->batch.flags = 0;
        look->batch.late_ns = 0;
        look->n_states = look->n_cpus = 0;
    }
}

static void look_once(struct gs_sampler *s, bool due, uint64_t now)
{
    struct gs_look look = {0};
    struct gs_gil_view gil;
    s->calls.gil(s->context, &gil);
    look.batch.switches = gil.switches;
    look.batch.waiters = gil.waiters;
    if (due)
        observe(s, &look, &gil, now);
    store(s, &look);
}

/* Producers are gone, or not wanted: what is in the ring now is all there will be. */
static void finish(struct gs_sampler *s, uint64_t now)
{
    struct gs_look last = {0};
    s->next_cpu_ns = 0;
    look_once(s, true, now);
    gs_ring_put_lost(s->ring, s->calls.clock(s->context).stamp);
    look_once(s, false, now);
    struct gs_clock_pair pair = s->calls.clock(s->context);
    struct gs_gil_view gil;
    s->calls.gil(s->context, &gil);
    last.batch.flags = GS_LAST;
    last.batch.stamp = pair.stamp;
    last.batch.monotonic_ns = pair.monotonic_ns;
    last.batch.pair_error_ns = pair.error_ns;
    last.batch.switches = gil.switches;
    last.batch.interval_us = gil.interval_us;
    s->calls.append(s->context, &last);
    s->calls.flush(s->context);
}

static void report_flushed(struct gs_sampler *s, uint32_t asked)
{
    if (atomic_exchange(&s->flushes->done, asked) != asked)
        syscall(SYS_futex, &s->flushes->done, WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

uint32_t gs_sampler_ask_flush(struct gs_sampler *s)
{
    uint32_t asked = atomic_fetch_add(&s->flushes->asked, 1) + 1;
    gs_sampler_ring_bell(&s->bell);
    return asked;
}

void gs_sampler_await_flush(struct gs_flushes *f, uint32_t asked)
{
    uint32_t done;
    while ((int32_t)((done = atomic_load(&f->done)) - asked) < 0)
        syscall(SYS_futex, &f->done, WAIT_PRIVATE, done, NULL, NULL, 0);
}

/* A page fault in a hook would cost more than fifty events, but to lay out the whole ring costs ten
 * milliseconds, which a short-lived child never gets back: so there is room for twice the records
 * so far, and some. */
static void prepare(struct gs_ring *ring)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    gs_ring_prepare(ring, 2 * head + GS_SLOTS_AT_FIRST);
}

void gs_sampler_run(struct gs_sampler *s)
{
    uint64_t now = s->calls.clock(s->context).monotonic_ns;
    s->random = now | 1;
    s->next_ns = now; /* the first look at once: it is the state the trace begins in */
    while (!atomic_load(&s->stop)) {
        bool due = now >= s->next_ns;
        uint32_t asked = atomic_load(&s->flushes->asked);
        look_once(s, due, now);
        prepare(s->ring);
        if (due)
            plan_next(s, now);
        if (now >= s->next_flush_ns || asked != atomic_load(&s->flushes->done)) {
            s->calls.flush(s->context);
            s->next_flush_ns = now + GS_FLUSH_EVERY_NS;
            report_flushed(s, asked);
            if (s->calls.wanted && !s->calls.wanted(s->context))
                break;
        }
        now = s->calls.wait(s->context, s->next_ns, &s->bell);
    }
    finish(s, now);
    report_flushed(s, atomic_load(&s->flushes->asked));
    s->cpu_ns = gs_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void gs_sampler_rest(struct gs_sampler *s)
{
    while (!atomic_load(&s->stop)) {
        s->calls.wait(s->context, UINT64_MAX, &s->bell);
        report_flushed(s, atomic_load(&s->flushes->asked));
    }
    report_flushed(s, atomic_load(&s->flushes->asked));
}

uint64_t gs_sampler_wait(void *context, uint64_t until_ns, _Atomic uint32_t *bell)
{
    (void)context;
    struct timespec until = {(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
    if (atomic_exchange(bell, 0) == 0) {
        syscall(SYS_futex, bell, WAIT_UNTIL_PRIVATE, 0, &until, NULL, ANY_BIT);
        atomic_store(bell, 0);
    }
    return gs_clock_ns(CLOCK_MONOTONIC);
}

void gs_sampler_ring_bell(_Atomic uint32_t *bell)
{
    int saved = errno;
    atomic_store(bell, 1);
    syscall(SYS_futex, bell, WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}
