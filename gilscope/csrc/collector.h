/* The sampler at work: a thread of ours with files of its own, which observes this process and
 * writes to the spool. One at a time in a process. */
#ifndef GILSCOPE_COLLECTOR_H
#define GILSCOPE_COLLECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"
#include "ring.h"
#include "sites.h"

/* What it works with lives until gs_collector_stop() has returned. */
struct gs_collection {
    const char *spool;  /* path; must not exist */
    const char *wanted; /* the file that ends the collection (recorder.h), or NULL */
    const struct gs_layout *layout;
    struct gs_ring *ring;
    struct gs_sites *sites;  /* NULL: none are recorded */
    bool exact, states, tsc; /* see gs_options; `states` also where edges are sampled */
    uint64_t period_ns, interval_us;
};

/* Returns when the spool has its header and the thread ticks, or 0 and what could not be done: then
 * an errno, `what` names the file, and nothing is left behind. With the GIL or without. */
int gs_collector_start(const struct gs_collection *c, const char **what);

/* The result. */
struct gs_collected {
    int error; /* errno of the first failed write, 0: none */
    uint64_t spool_bytes, sampler_cpu_ns;
};

/* Has the rest written, then ends the thread. Takes as long as the disk: without the GIL, but for
 * a start that failed. */
void gs_collector_stop(struct gs_collected *out);

/* Have it look at the ring soon. Any thread, any lock; keeps errno. */
void gs_collector_nudge(void);

/* See sampler.h. Ask while it is on. */
uint32_t gs_collector_ask_flush(void);
void gs_collector_await_flush(uint32_t asked);

/* In a forked child, where the thread is not: closes the parent's files and writes nothing. */
void gs_collector_abandon(void);

#endif
