/* The hooks: they stand in the interpreter's calls on the conditions of its GILs, and stamp each
 * transition. The hot path: they allocate nothing, block on nothing and call no Python. */
#ifndef GILSCOPE_HOOKS_H
#define GILSCOPE_HOOKS_H

#include <pthread.h>
#include <stdint.h>

#include "layout.h"
#include "sites.h"

/* The calls that are hooked. */
enum gs_hook { GS_HOOK_SIGNAL, GS_HOOK_TIMEDWAIT, GS_HOOK_WAIT, GS_HOOK_INIT, GS_HOOKS };
#define GS_HOOKS_NEEDED GS_HOOK_INIT /* without the last, GILs that begin later are not seen */
extern const char *const gs_hooks_names[GS_HOOKS];

/* The sets of hooks, by call; NULL: the call is not hooked. Those of a trace do what those of a
 * watch do, and more. */
extern void *const gs_hooks_of_watch[GS_HOOKS];
extern void *const gs_hooks_of_trace[GS_HOOKS];

/* What hooks record of the main interpreter's GIL. */
struct gs_hooked {
    struct gs_layout layout;
    struct gs_sites *sites; /* NULL: releases have no site */
    uint64_t whole_over;    /* of longer holds, in stamps, the whole stack is kept */
    uint64_t obeyed_within; /* stamps from a drop request to the release, where Python runs; a
                               later release has the site where the thread was asked */
};

/* Starts recording transitions, also those of other interpreters' GILs. Hooks of a trace are in,
 * records are bound to a ring, and the caller holds the GIL. */
void gs_hooks_begin(const struct gs_hooked *h);

/* Stops recording and waits until no thread is inside a hook's own code: from then on no hook
 * touches ring or sites. The caller holds the GIL. Returns how many GILs of other interpreters, at
 * least, were not recorded. */
uint32_t gs_hooks_end(void);

/* Stops recording transitions of the main interpreter's GIL, without waiting for threads inside a
 * hook. Any thread, with or without the GIL; gs_hooks_end() still follows. */
void gs_hooks_rest(void);

/* In a forked child, before anything else runs there: like the end, but no thread to wait for. */
void gs_hooks_abandon(void);

/* Waits until each thread that holds the mutex of a GIL's condition has let it go: a hook that
 * acts on that condition holds it. Any thread that does not hold it. */
void gs_hooks_drain(pthread_cond_t *cond);

/* For measuring: takes these for the conditions of the GIL until gs_hooks_rest(). No recording is
 * on. */
void gs_hooks_aim(const struct gs_hooked *h, pthread_cond_t *cond, pthread_cond_t *switch_cond);

#endif
