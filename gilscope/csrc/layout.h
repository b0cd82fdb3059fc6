/* Where CPython keeps its GIL and its threads: the only part that knows the interpreter's inside.
 */
#ifndef GILSCOPE_LAYOUT_H
#define GILSCOPE_LAYOUT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "why.h"

/* The GIL's own fields, as CPython orders them since 3.11. */
struct gs_layout {
    uintptr_t gil;    /* address of the struct _gil_runtime_state in force */
    uintptr_t interp; /* the interpreter it serves */
    uint16_t gil_holder, gil_locked;
    uint16_t interp_threads;                /* PyInterpreterState: head of the thread list */
    uint16_t thread_next, thread_native_id; /* PyThreadState */
    uint16_t thread_requested;              /* 3.15 on: gil_requested; 0: no such field */
    uint16_t cond_waiters; /* pthread_cond_t: where waiters are counted; 0: not known */
    /* 3.12 on, where interpreters may have GILs of their own; `interpreters` is 0 where their list
     * cannot be found. */
    uintptr_t interpreters; /* where _PyRuntime keeps the head of the list */
    uint16_t interp_next, interp_id;
    uint16_t interp_gil;     /* pointer to the GIL in force */
    uint16_t interp_own_gil; /* the GIL of its own, used or not */
    /* 3.13 on: code runs in another interpreter with a thread state of the thread that runs
     * it. 3.12 lends it that of the thread that made the interpreter, native id and all. */
    bool threads_bound;
};

struct gs_gil_view {
    uintptr_t holder; /* last PyThreadState that held it: compare, never dereference */
    uint64_t switches;
    uint32_t interval_us;
    uint16_t waiters; /* inside the timed wait of a take; 0 where they are not counted */
    bool locked;
};

/* Fills `l` for the calling interpreter, and proves it against what Python itself reports. The
 * caller holds the GIL, passes its own PyThreadState and PyInterpreterState, and
 * sys.getswitchinterval() in microseconds. Returns true, or writes into `why` what was
 * expected and seen. */
bool gs_layout_prove(struct gs_layout *l, unsigned python_hex, const void *tstate,
                     const void *interp, uint64_t interval_us, struct gs_why *why);

/* Reads this process's memory without trusting the address, through the kernel. */
bool gs_layout_read(void *to, uintptr_t from, size_t n);

/* Any thread, no lock: single aligned loads of memory that lives as long as the interpreter. */
void gs_layout_gil(const struct gs_layout *l, struct gs_gil_view *view);

/* Likewise, of a thread that has just let the GIL go and holds its mutex: its own state. */
static inline uintptr_t gs_layout_holder(const struct gs_layout *l)
{
    return __atomic_load_n((const uintptr_t *)(l->gil + l->gil_holder), __ATOMIC_RELAXED);
}

/* True when `cond` and `switch_cond` stand where the GIL's struct has them; then the mutexes that
 * guard them are known too. */
bool gs_layout_conds(const struct gs_layout *l, pthread_cond_t *cond, pthread_cond_t *switch_cond);
pthread_mutex_t *gs_layout_mutex_of(pthread_cond_t *cond);

/* True when an address that a thread sleeps on (a futex) belongs to the condition on which threads
 * wait for the GIL. */
bool gs_layout_is_wait(const struct gs_layout *l, uintptr_t futex);

/* How far a GIL's switch_cond stands behind its cond. */
#define GS_COND_TO_SWITCH (sizeof(pthread_cond_t) + sizeof(pthread_mutex_t))

struct gs_interpreter {
    uintptr_t address;
    int64_t id;
    struct gs_layout layout; /* of its own GIL; layout.gil is 0 where it shares another's */
};

/* Shows `see` every interpreter, newest first, the main one last. Any thread, no lock: the list may
 * change meanwhile, and is read as that of the threads. Returns true when it was read to its end:
 * then no interpreter was left out that lived all the while. */
bool gs_layout_interpreters(const struct gs_layout *l,
                            void (*see)(void *context, const struct gs_interpreter *i),
                            void *context);

/* How many interpreters there have been, the main one among them; 0 where that is not known. */
uint64_t gs_layout_interpreters_begun(const struct gs_layout *l);

/* True when `cond` is that of the interpreter's own GIL, and that is being created at this moment
 * by the caller. */
bool gs_layout_gil_begins(const struct gs_interpreter *i, const pthread_cond_t *cond);

/* True when the interpreter has a GIL of its own that is in use; then `view` has its state, and
 * `holder_native_id` the holder's native id (0: no holder, or not known). Trusts no address. */
bool gs_layout_gil_lives(const struct gs_interpreter *i, struct gs_gil_view *view,
                         uint32_t *holder_native_id);

pthread_cond_t *gs_layout_cond(const struct gs_layout *l);

struct gs_tstate {
    uintptr_t address;
    uint32_t native_id;
    bool requested;
};

/* Lists the interpreter's thread states, at most `most`; returns how many. Any thread, without
 * the GIL: the list may change meanwhile, so memory is read through the kernel, which answers a bad
 * address with an error instead of a signal. Entries may be torn; callers check native ids. */
size_t gs_layout_threads(const struct gs_layout *l, struct gs_tstate *threads, size_t most);

#endif
