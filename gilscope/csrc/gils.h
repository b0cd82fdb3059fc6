/* The GILs of other interpreters (3.12 on) that are in a trace: each has a number, 1 to 127.
 *
 * Hooks look a condition up without a lock. A thread that records of a GIL counts itself in its
 * entry, so that the entry can be removed without touching the GIL's own mutexes: CPython frees an
 * interpreter with all its memory and calls no function that could be hooked. */
#ifndef GILSCOPE_GILS_H
#define GILSCOPE_GILS_H

#include <stdatomic.h>

#include "emit.h"
#include "layout.h"
#include "record.h"

struct gs_gil {
    _Alignas(128) _Atomic uint32_t inside; /* how many threads record of it at this moment */
    uint32_t interpreter;                  /* its id */
    struct gs_layout layout;
};

struct gs_gils {
    _Atomic bool recorded;            /* GILs that begin are added */
    _Atomic uint32_t most;            /* no number above it is in use */
    _Atomic uintptr_t conds[GS_GILS]; /* 0: the number is free */
    struct gs_gil gils[GS_GILS];
};
extern GS_HIDDEN struct gs_gils gs_gils;

/* ---- for hooks: any thread, no lock ---- */

/* Returns the number of the GIL whose cond or switch_cond is at `address`; 0 if there is no such
 * GIL. `hint` is the number to try first. */
static inline uint32_t gs_gils_find(uintptr_t address, uint32_t hint)
{
    uint32_t most = atomic_load_explicit(&gs_gils.most, memory_order_relaxed);
    for (uint32_t i = 0; i <= most; i++) {
        uint32_t number = i ? i : hint;
        uintptr_t behind =
            address - atomic_load_explicit(&gs_gils.conds[number], memory_order_relaxed);
        if (behind == 0 || behind == GS_COND_TO_SWITCH)
            return number;
    }
    return 0;
}

/* Counts the caller in as recording of a GIL; false if the number is no longer that of `cond`. The
 * caller leaves before anything that may block. */
static inline bool gs_gils_enter(uint32_t number, uintptr_t cond)
{
    /* Both are sequentially consistent, like the store that removes a GIL: it sees that we are
     * inside, or we see that the GIL is gone. A count, not a flag: a thread that comes too late for
     * a GIL may meet the next one under its number. */
    atomic_fetch_add(&gs_gils.gils[number].inside, 1);
    if (atomic_load(&gs_gils.conds[number]) == cond)
        return true;
    atomic_fetch_sub(&gs_gils.gils[number].inside, 1);
    return false;
}

static inline void gs_gils_leave(uint32_t number)
{
    atomic_fetch_sub_explicit(&gs_gils.gils[number].inside, 1, memory_order_release);
}

static inline bool gs_gils_recorded(void)
{
    return atomic_load(&gs_gils.recorded);
}

/* In the hook of pthread_cond_init(), after the call: adds a GIL if one begins, removes the one
 * whose memory this was. `before` is the condition that the same thread initialised before this
 * one. Keeps errno. Takes a lock that no hook on a GIL in use takes. */
void gs_gils_see_init(pthread_cond_t *cond, uintptr_t before);

/* ---- the table: one thread at a time ---- */

/* Returns the lowest free number, 0 if all are taken. */
uint32_t gs_gils_free_number(void);

/* From now on hooks find the GIL under this number, which is free. */
void gs_gils_add(uint32_t number, const struct gs_interpreter *i);

/* Removes a GIL and waits until no thread records of it. */
void gs_gils_remove(uint32_t number);

/* ---- begin and end ---- */

/* Adds the GILs that exist, and from now on those that begin. The caller holds the main
 * interpreter's GIL, which `l` describes, and records are bound to a ring. */
void gs_gils_begin(const struct gs_layout *l);

/* Removes all and waits until no thread records of one. Returns how many GILs, at least, were not
 * recorded. The caller holds the main interpreter's GIL. */
uint32_t gs_gils_end(void);

/* In a forked child: removes all and waits for no thread. */
void gs_gils_abandon(void);

#endif
