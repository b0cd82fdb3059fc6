/* The sampler: one thread that never takes the GIL, and on each tick looks and stores.
 *
 * What it looks at, when, and where it stores are given to it, so that each can be tested with the
 * other two faked. */
#ifndef GILSCOPE_SAMPLER_H
#define GILSCOPE_SAMPLER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "clock.h"
#include "layout.h"
#include "ring.h"
#include "spool.h"

#define GS_RECORDS_PER_BATCH 65536u
#define GS_SLOTS_AT_FIRST    16384u
#define GS_CPU_EVERY_NS      UINT64_C(100000000)
#define GS_FLUSH_EVERY_NS    UINT64_C(50000000)

/* All are called on the sampler thread, with `context`. */
struct gs_sampler_calls {
    /* observation */
    void (*gil)(void *context, struct gs_gil_view *view);
    size_t (*states)(void *context, const struct gs_gil_view *view, struct gs_state *states,
                     size_t most); /* NULL: states are not looked at */
    size_t (*cpus)(void *context, struct gs_cpu *cpus, size_t most);
    /* schedule: waits until a time of CLOCK_MONOTONIC or until the bell is set, and clears it;
     * returns the time now */
    uint64_t (*wait)(void *context, uint64_t until_ns, _Atomic uint32_t *bell);
    struct gs_clock_pair (*clock)(void *context);
    /* asked after each flush: false ends the run; NULL: it goes on until `stop` */
    bool (*wanted)(void *context);
    /* storage */
    void (*sites)(void *context); /* describes the sites that records name by now; NULL: none do */
    void (*append)(void *context, const struct gs_look *look);
    void (*flush)(void *context);
};

/* A thread that needs all records so far in the file increments `asked` and waits until `done` has
 * reached that value. Outlives samplers: a waiter may wake up when its sampler has ended. */
struct gs_flushes {
    _Atomic uint32_t asked, done;
};

struct gs_sampler {
    struct gs_sampler_calls calls;
    void *context;
    struct gs_ring *ring;
    struct gs_flushes *flushes;
    uint64_t period_ns;
    bool jitter; /* ticks come at random instants around the period, or they beat with the switch
                    interval */
    _Atomic uint32_t bell; /* set it, and wake its waiter, for a look at the ring at once */
    _Atomic bool stop;
    /* the sampler thread's own */
    uint64_t next_ns, next_cpu_ns, next_flush_ns, random;
    uint64_t cpu_ns; /* of the sampler thread itself; valid after gs_sampler_run() */
};

/* The thread's life: ticks until `stop`, or until it is not wanted, then drains what is left and
 * marks the last batch. */
void gs_sampler_run(struct gs_sampler *s);

/* What follows a run that ended by itself: nothing is stored any more, until `stop`; each
 * flush that is asked for is reported as done. */
void gs_sampler_rest(struct gs_sampler *s);

/* The real schedule. */
uint64_t gs_sampler_wait(void *context, uint64_t until_ns, _Atomic uint32_t *bell);

/* Wakes the sampler. Any thread, any lock; keeps errno. */
void gs_sampler_ring_bell(_Atomic uint32_t *bell);

/* Returns when all that was recorded before gs_sampler_ask_flush() is in the file, or the sampler
 * has ended. Any thread; asking happens before `stop` is set. */
uint32_t gs_sampler_ask_flush(struct gs_sampler *s);
void gs_sampler_await_flush(struct gs_flushes *f, uint32_t asked);

#endif
