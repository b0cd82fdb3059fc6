/* The probe: stands in the interpreter's calls on the GIL's condition variables and stamps each. */
#ifndef GILSCOPE_PROBE_H
#define GILSCOPE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "ring.h"
#include "sites.h"

/* What the probe needs of Python, passed in so that it can be tested without. */
struct gs_gil_calls {
    const void *inside;               /* any address in the object that contains the interpreter */
    void (*release_and_retake)(void); /* lets the GIL go and takes it back, once */
};

/* Puts listening hooks in for a moment, lets the GIL go and takes it back once, and so learns the
 * addresses of its two conditions; with hooks of ours in, they are known. Checks them against the
 * layout. The caller holds the GIL.
 * Returns true, or writes into `why` what stands in the way; nothing is then left changed. */
bool gs_probe_learn(const struct gs_layout *l, const struct gs_gil_calls *calls,
                    struct gs_why *why);

/* Puts the hooks in; they only pass calls on until gs_probe_begin(). The caller holds the GIL, and
 * gs_probe_learn() has returned true. Slow: it reads the kernel's list of mappings. */
bool gs_probe_install(const struct gs_layout *l, struct gs_why *why);

/* Marks the beginning, and with `recording` starts recording transitions, also those of other
 * interpreters' GILs. The caller holds the GIL. */
void gs_probe_begin(uint32_t switches, bool recording);

/* Marks the end, stops recording, and waits until no thread is inside a hook's own code: from then
 * on nobody touches the ring. The caller holds the GIL. Returns how many GILs of other interpreters
 * there were, at least, of which nothing was recorded. */
uint32_t gs_probe_end(uint32_t switches, bool recording);

/* Stops recording transitions of the main interpreter's GIL, without waiting for threads that are
 * inside a hook. Any thread, with or without the GIL; gs_probe_end() still follows. */
void gs_probe_rest(void);

/* Puts back what the slots held, or the hooks of a watch. A slot that someone else has changed
 * meanwhile stays as it is; then it returns false, and transitions may have gone by unseen. */
bool gs_probe_remove(void);

/* Runs in each forked child before anything else does there: like end and remove, also for a watch,
 * but nobody to wait for. */
void gs_probe_abandon(void);

/* Puts in the hooks that watch.c needs, in a trace or without one; the caller holds the GIL, and
 * gs_probe_learn() has returned true. Returns the condition on which those wait who want the GIL,
 * or NULL, and then `why` says what stands in the way. */
pthread_cond_t *gs_probe_watch(struct gs_why *why);

/* Waits until no thread is inside what watch.c does under the GIL's mutex, and puts back what the
 * slots held, or the hooks of a trace. The caller holds the GIL, and has closed the watch's gate.
 */
void gs_probe_unwatch(void);

/* Says where records go from now on, those of hooks and those of gs_probe_emit(), and numbers the
 * threads anew. The caller holds the GIL, and no hook is recording. `nudge` may be NULL. */
void gs_probe_bind(struct gs_ring *ring, bool tsc, void (*nudge)(void));

/* Has each release of the main interpreter's GIL say its site from now on; the whole stack of holds
 * that are longer than `whole_over`, in units of the stamps. Who lets go later than `obeyed_within`
 * after it was asked did so for what it was doing when it was asked. Between bind and begin. */
void gs_probe_locate(struct gs_sites *sites, uint64_t whole_over, uint64_t obeyed_within);

/* Writes one record in the calling thread's name. Between bind and the ring's close. */
void gs_probe_emit(enum gs_kind kind, uint32_t arg);

/* How many slots the interpreter's object has for the calls; 0 before gs_probe_learn(). */
int gs_probe_slots(void);
/* What slot `i` of them holds at this moment. */
const void *gs_probe_slot(int i);

/* Times `n` calls of the release hook on a condition of its own, and as many of the real call that
 * it leads to; the difference is what an event costs. No trace may be on. After
 * gs_probe_locate() the caller holds the GIL, and `l` says where it is; else it may be NULL. */
void gs_probe_cost(uint32_t n, const struct gs_layout *l, double *hooked_ns, double *bare_ns);

#endif
