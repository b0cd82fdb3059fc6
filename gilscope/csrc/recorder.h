/* One recording from start to stop: puts layout, probe, ring, sampler and spool together.
 * At most one at a time in a process. */
#ifndef GILSCOPE_RECORDER_H
#define GILSCOPE_RECORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "probe.h"

struct gs_options {
    const char *spool; /* path; must not exist */
    /* An empty file, or NULL. When it is removed or has something in it, the recording ends by
     * itself, at most 50 ms or a period later; gs_recorder_stop() is still to be called. */
    const char *wanted;
    bool probe;   /* stamp every transition */
    bool observe; /* look at thread states on each tick */
    uint64_t period_ns;
    unsigned log2_slots;
    /* the caller, who holds the GIL */
    unsigned python_hex;
    uint64_t interval_us;
    const void *tstate, *interp;
    struct gs_gil_calls calls;
    /* with `probe`: where the GIL is let go */
    const struct gs_known_frame *known; /* NULL: sites are not recorded */
    uint64_t whole_over_ns;             /* of longer holds the whole stack is kept */
    void (*pin)(void *object), (*unpin)(void *object);
};

enum gs_failure {
    GS_FINE,
    GS_BUSY,      /* a recording is on */
    GS_NO_LAYOUT, /* the interpreter does not prove itself */
    GS_NO_PROBE,  /* hooks cannot be put in */
    GS_NO_STATES, /* thread states cannot be seen */
    GS_SYSTEM,    /* `error` is an errno */
};

struct gs_outcome {
    enum gs_failure failure;
    int error;
    struct gs_why why;
    struct gs_why
        no_sites; /* why sites are not recorded, though they were asked for; empty: they are */
    /* what gs_recorder_join() adds */
    uint64_t spool_bytes, sampler_cpu_ns;
    uint64_t sites_missed; /* releases whose site found no room */
    bool hooks_stayed;     /* false: someone took a hook's place, and transitions may be missing */
    bool gils_listed;      /* false: whether other interpreters have GILs is not known */
    uint32_t gils_missed;  /* with probe: GILs that are not in the trace, at least; without: other
                              interpreters that there were, all but those known to have none */
};

/* Proves that recording would work, without recording. The caller holds the GIL. */
void gs_recorder_prove(const struct gs_options *o, struct gs_layout *l, struct gs_outcome *out);

/* The caller holds the GIL. On failure nothing is left behind. */
void gs_recorder_start(const struct gs_options *o, struct gs_outcome *out);

/* Ends recording at this instant; the caller holds the GIL, and a recording is on. Then
 * gs_recorder_join(), without the GIL, stores what is left, and gs_recorder_finish(), with it,
 * gives back what belongs to Python. */
void gs_recorder_stop(void);
void gs_recorder_join(struct gs_outcome *out);
void gs_recorder_finish(void);

/* What a call of the release hook costs that finds the site of the caller; not a number where sites
 * cannot be had. The caller holds the GIL, no recording is on, and a ring is bound. */
double gs_recorder_located_cost(const struct gs_options *o, uint32_t n);

/* Has all that is recorded by now written to the file: ask with the GIL, while a recording is on,
 * then wait without it. */
uint32_t gs_recorder_ask_flush(void);
void gs_recorder_await_flush(uint32_t asked);

/* The number of the recording that is on, from start to stop, which no other of this process has; 0
 * when none is. The caller holds the GIL: as long as it does, the answer stays true. */
uint32_t gs_recorder_active(void);
/* True where stamps are those of the processor. */
bool gs_recorder_uses_tsc(void);

#endif
