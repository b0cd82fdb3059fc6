/* Where CPython keeps its GIL and its threads: the only part that knows the interpreter's inside.
 */
#ifndef GILSCOPE_LAYOUT_H
#define GILSCOPE_LAYOUT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The GIL's own fields, as CPython 3.11 to 3.15 order them. */
struct gs_layout {
    uintptr_t gil;    /* address of the struct _gil_runtime_state in force */
    uintptr_t interp; /* the interpreter it serves */
    uint16_t gil_holder, gil_locked;
    uint16_t interp_threads;                /* PyInterpreterState: head of the thread list */
    uint16_t thread_next, thread_native_id; /* PyThreadState */
    uint16_t thread_requested;              /* 3.15 on: gil_requested; 0: there is none */
    uint16_t cond_waiters; /* pthread_cond_t: where waiters are counted; 0: not known */
};

struct gs_gil_view {
    uintptr_t holder; /* last PyThreadState that held it: compare, never dereference */
    uint64_t switches;
    uint32_t interval_us;
    uint16_t waiters; /* inside the timed wait of a take; 0 where they are not counted */
    bool locked;
};

/* Fills `l` for the calling interpreter, and proves it against what Python itself says. The caller
 * holds the GIL, passes its own PyThreadState and PyInterpreterState and what
 * sys.getswitchinterval() says in microseconds. Returns true, or writes into `why` what was
 * expected and seen. */
bool gs_layout_prove(struct gs_layout *l, unsigned python_hex, const void *tstate,
                     const void *interp, uint64_t interval_us, char *why, size_t why_size);

/* Any thread, no lock: single aligned loads of memory that lives as long as the interpreter. */
void gs_layout_gil(const struct gs_layout *l, struct gs_gil_view *view);

/* True when `cond` and `switch_cond` stand where the GIL's struct has them; then the mutexes that
 * guard them are known too. */
bool gs_layout_conds(const struct gs_layout *l, pthread_cond_t *cond, pthread_cond_t *switch_cond);
pthread_mutex_t *gs_layout_mutex_of(pthread_cond_t *cond);

/* True when an address that a thread sleeps on (a futex) belongs to the condition for which those
 * wait who want the GIL. */
bool gs_layout_is_wait(const struct gs_layout *l, uintptr_t futex);

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
