/* The GILs of other interpreters (3.12 on) that are in a trace: each has a number, 1 to 127.
 *
 * Hooks look a condition up without a lock. Who records of a GIL says so in its entry, so that an
 * entry can be taken out without a touch of the GIL's own mutexes: CPython frees an interpreter
 * with all its memory and tells nobody. */
#ifndef GILSCOPE_GILS_H
#define GILSCOPE_GILS_H

#include <stdatomic.h>

#include "layout.h"
#include "record.h"

struct gs_gil {
    _Alignas(128) _Atomic uint32_t inside; /* how many threads record of it at this moment */
    uint32_t interpreter;                  /* its id */
    struct gs_layout layout;
};

struct gs_gils {
    _Atomic uint32_t most;            /* no number above it is in use */
    _Atomic uintptr_t conds[GS_GILS]; /* 0: the number is free */
    struct gs_gil gils[GS_GILS];
};
extern struct gs_gils gs_gils;

/* Returns the number of the GIL to which `address`, a condition, belongs, be it its cond or its
 * switch_cond; 0: none. `hint` is the number to try first. Any thread. */
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

/* Says that the caller records of a GIL, unless it is no longer that of `cond`: then false. Who is
 * inside leaves before anything that may block. */
static inline bool gs_gils_enter(uint32_t number, uintptr_t cond)
{
    /* Sequentially consistent, both, like the store that takes a GIL out: it sees that we are
     * inside, or we see that it is out. A count, not a flag: who comes too late for a GIL may meet
     * the next one under its number. */
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

/* What follows is for one thread at a time. */

/* Returns the lowest number that is free, 0 when all are taken. */
uint32_t gs_gils_free_number(void);

/* Lets hooks find a GIL under a free number from now on. */
void gs_gils_add(uint32_t number, const struct gs_interpreter *i);

/* Takes one out, and waits until nobody records of it. */
void gs_gils_remove(uint32_t number);

/* In a forked child: takes all out, and waits for nobody. */
void gs_gils_forget(void);

#endif
