/* Puts hooks into the interpreter's slots and takes them out, and learns with hooks that listen
 * which two conditions are the main interpreter's GIL's.
 *
 * All but gs_slots_abandon(): the caller holds the GIL. */
#ifndef GILSCOPE_SLOTS_H
#define GILSCOPE_SLOTS_H

#include <stdbool.h>

#include "layout.h"
#include "why.h"

/* What learning needs of Python, passed in so that it can be tested without. */
struct gs_gil_calls {
    const void *inside;               /* any address in the object that contains the interpreter */
    void (*release_and_retake)(void); /* releases the GIL and acquires it again, once */
};

/* Puts listening hooks in for a moment, lets the GIL go once and takes it back, and so learns the
 * addresses of its two conditions; while other hooks are in, they are known. Compares them with the
 * layout. False, with a reason and nothing changed, if they do not fit or no hook can be put in.
 * `calls` lets the GIL go, so another thread may do anything meanwhile. */
bool gs_slots_learn(const struct gs_layout *l, const struct gs_gil_calls *calls,
                    struct gs_why *why);

/* Puts in the hooks of a trace; they only pass calls on until gs_hooks_begin(). Learning has
 * succeeded. Slow: it reads the kernel's list of mappings. */
bool gs_slots_trace(struct gs_why *why);

/* Puts back what the slots held, or the hooks of a watch. A slot that another tool has changed
 * meanwhile stays as it is; then it returns false, and transitions may be missing. */
bool gs_slots_untrace(void);

/* Likewise for a watch, during a trace or without one. */
bool gs_slots_watch(struct gs_why *why);
bool gs_slots_unwatch(void);

/* In a forked child, before anything else runs there: takes all hooks out. */
void gs_slots_abandon(void);

/* How many slots the interpreter's object has for the calls; 0 before learning. */
int gs_slots_count(void);
/* What slot `i` of them holds at this moment. */
const void *gs_slots_at(int i);

#endif
