/* One recording from start to stop: puts layout, hooks, ring, sampler and spool together. At most
 * one at a time in a process. */
#ifndef GILSCOPE_RECORDER_H
#define GILSCOPE_RECORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "frames.h"
#include "layout.h"
#include "slots.h"
#include "why.h"

#define GS_RING_LOG2_SLOTS 20 /* 16 MB: a sampler 100 ms late at four million events a second */

struct gs_options {
    const char *spool; /* path; must not exist */
    /* An empty file, or NULL. When it is removed or has content, the recording ends by itself, at
     * most 50 ms or a period later; gs_recorder_stop() must still be called. */
    const char *wanted;
    bool exact;  /* hooks stamp each transition; otherwise each tick reads the threads' states */
    bool states; /* with `exact`: ticks read them too, to compare both kinds of edges */
    uint64_t period_ns;
    /* the calling thread, which holds the GIL */
    unsigned python_hex;
    uint64_t interval_us;
    const void *tstate, *interp;
    struct gs_gil_calls calls;
    /* with `exact`: where the GIL is released */
    const struct gs_known_frame *known; /* NULL: sites are not recorded */
    uint64_t whole_over_ns;             /* of longer holds the whole stack is kept */
    void (*pin)(void *object), (*unpin)(void *object);
};

enum gs_failure {
    GS_FINE,
    GS_BUSY,      /* a recording is on */
    GS_NO_LAYOUT, /* the interpreter's memory does not match its version */
    GS_NO_HOOKS,  /* hooks cannot be put in */
    GS_NO_STATES, /* thread states cannot be seen */
    GS_SYSTEM,    /* `error` is an errno */
};

struct gs_outcome {
    enum gs_failure failure;
    int error;
    struct gs_why why;
    struct gs_why no_sites; /* why sites are not recorded; empty: they are, or were not wanted */
    bool tsc;               /* stamps are of the time stamp counter */
    uint32_t number;        /* of the recording; never 0, and no other of this process has it */
    /* what gs_recorder_join() adds */
    uint64_t spool_bytes, sampler_cpu_ns;
    uint64_t sites_missed; /* releases whose site found no room */
    uint64_t sites_unread; /* releases whose frames could not be read */
    bool hooks_stayed;     /* false: another tool took a hook's place; transitions may be missing */
    bool gils_listed;      /* false: it is not known whether other interpreters have GILs */
    uint32_t gils_missed;  /* exact: GILs that are not in the trace, at least; sampled: other
                              interpreters that there were, but for those known to have no GIL */
};

/* Proves that recording would work, without recording. The caller holds the GIL. */
void gs_recorder_prove(const struct gs_options *o, struct gs_layout *l, struct gs_outcome *out);

/* Proves, then starts. The caller holds the GIL. On failure nothing is left behind. */
void gs_recorder_start(const struct gs_options *o, struct gs_outcome *out);

/* Ends recording at this instant; the caller holds the GIL, and a recording is on. Then
 * gs_recorder_join(), without the GIL, stores what is left, and gs_recorder_finish(), with it,
 * gives back what belongs to Python. */
void gs_recorder_stop(void);
void gs_recorder_join(struct gs_outcome *out);
void gs_recorder_finish(void);

/* In a forked child, after its hooks: gives up the parent's recording. */
void gs_recorder_abandon(void);

/* Writes all that is recorded by now to the file: ask with the GIL, while a recording is on, then
 * wait without it. */
uint32_t gs_recorder_ask_flush(void);
void gs_recorder_await_flush(uint32_t asked);

/* The number of the recording that is on, from start to stop; 0 if none is on. The caller holds the
 * GIL: as long as it does, the answer stays true. */
uint32_t gs_recorder_active(void);

#endif
