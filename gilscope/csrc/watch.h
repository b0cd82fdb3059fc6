/* A watch: notices holds of the main interpreter's GIL that last long while another thread
 * waits; records where they ended and which threads waited. Nothing is stamped, and nothing
 * written, while no thread waits.
 *
 * Its hooks run with the GIL's mutex held, so what they know of the hold that is on needs no lock
 * of its own. What they find goes into a small array, which one thread of the program's own, the
 * watcher, empties. */
#ifndef GILSCOPE_WATCH_H
#define GILSCOPE_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames.h"
#include "layout.h"

#define GS_WATCH_HOLDS   16 /* not yet taken by the watcher */
#define GS_WATCH_FRAMES  64
#define GS_WATCH_WAITERS 32

struct gs_long_hold {
    uint64_t unix_ns; /* its end */
    uint64_t held_ns; /* since a waiter was first seen */
    uint64_t ident;   /* pthread_self() of the holder */
    uint32_t native_id, n_frames, n_waiters;
    uint64_t waiters[GS_WATCH_WAITERS]; /* pthread_self() of each, as many as there is room for */
    struct gs_frame frames[GS_WATCH_FRAMES]; /* innermost first; a reference to each code object */
};

struct gs_watch_options {
    struct gs_layout layout;
    const struct gs_frames *frames; /* NULL: holds have no stack */
    void (*pin)(void *object), (*unpin)(void *object);
    uint64_t over_ns; /* longer holds are noticed */
    uint64_t watcher; /* pthread_self() of one thread whose holds and waits are left out */
};

/* Gives back the holds of an ended watch that were not taken. With the GIL, which it may release.
 */
void gs_watch_clear(void);

/* Begins to watch; none is on, gs_slots_learn() has returned true, and the caller has not let the
 * GIL go since. Returns the number of the watch, which no other of this process has; 0: hooks
 * cannot be put in, and `why` has the reason. */
uint32_t gs_watch_begin(const struct gs_watch_options *o, struct gs_why *why);

/* Ends this watch, if it is on, and wakes its watcher, which may still take the holds. The caller
 * holds the GIL. */
void gs_watch_end(uint32_t number);

/* In a forked child, where the watcher is not: ends the watch. */
void gs_watch_abandon(void);

/* True until this watch has ended; 0: of any. With the GIL the answer stays true. */
bool gs_watch_is_on(uint32_t number);

/* The watcher only, without the GIL. Waits until there is something to take and the monotonic
 * clock has reached `not_before_ns`, or the watch has ended. */
void gs_watch_await(uint32_t number, uint64_t not_before_ns);

/* The watcher only, with the GIL. Copies the oldest hold that is there; its references then belong
 * to the caller. False if there is no hold, or another watch has begun. */
bool gs_watch_take(uint32_t number, struct gs_long_hold *to);

/* With the GIL. Long holds since the watch began, and those of them for which there was no room.
 * False: another one has begun. */
bool gs_watch_counts(uint32_t number, uint64_t *seen, uint64_t *dropped);

#endif
