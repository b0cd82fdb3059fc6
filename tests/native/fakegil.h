/* GILs as CPython has them (Python/ceval_gil.c, 3.11 to 3.15), and as much of interpreters around
 * them as the core looks at. It is a shared object of its own, so that its calls can be hooked. */
#ifndef GILSCOPE_TESTS_FAKEGIL_H
#define GILSCOPE_TESTS_FAKEGIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

struct fake_gil_state {
    unsigned long interval;
    _Atomic uintptr_t last_holder;
    _Atomic int locked;
    unsigned long switch_number;
    pthread_cond_t cond;
    pthread_mutex_t mutex;
    pthread_cond_t switch_cond;
    pthread_mutex_t switch_mutex;
    _Atomic int drop_request;
};

struct fake_thread {
    uint64_t unlike_cpython; /* so that no offset is zero by chance */
    struct fake_thread *next;
    uint64_t native_id;
    int requested;
};

struct fake_interp {
    uint64_t unlike_cpython[3];
    struct fake_thread *threads;
    struct fake_gil_state *gil;
    struct fake_interp *next;
    int64_t id;
    struct fake_gil_state own;
};

/* As _PyRuntime keeps its interpreters. */
struct fake_interps {
    _Atomic(struct fake_interp *) head;
    struct fake_interp *main;
    int64_t next_id;
};

extern struct fake_interp fake_main;
extern struct fake_interps fake_interps;
#define fake_gil          (fake_main.own)
#define fake_drop_request (fake_main.own.drop_request)
/* No thread takes the GIL before the one that drops it waits for the switch: else luck decides.
 * Set it while holding the GIL. */
extern _Atomic bool fake_switch_slowly;

/* As take_gil() and drop_gil(), of the main interpreter's GIL and of any: `me` is the caller's
 * thread state. */
void fake_take(struct fake_thread *me);
void fake_drop(struct fake_thread *me);
void fake_take_of(struct fake_gil_state *gil, struct fake_thread *me);
void fake_drop_of(struct fake_gil_state *gil, struct fake_thread *me);

/* As Py_NewInterpreterFromConfig() makes an interpreter, with a GIL of its own or with the main
 * one's. As in CPython, an end destroys no condition: it only takes it out of the list. */
void fake_interp_begin(struct fake_interp *interp, bool own_gil);
void fake_interp_end(struct fake_interp *interp);

/* Initialises a condition as the interpreter does. */
int fake_cond_init(pthread_cond_t *cond);
/* Signals one. */
int fake_cond_signal(pthread_cond_t *cond);

static inline struct gs_layout fake_layout(const struct fake_interp *interp)
{
    return (struct gs_layout){
        .gil = (uintptr_t)&fake_gil,
        .interp = (uintptr_t)interp,
        .gil_holder = offsetof(struct fake_gil_state, last_holder),
        .gil_locked = offsetof(struct fake_gil_state, locked),
        .interp_threads = offsetof(struct fake_interp, threads),
        .thread_next = offsetof(struct fake_thread, next),
        .thread_native_id = offsetof(struct fake_thread, native_id),
        .interpreters = (uintptr_t)&fake_interps,
        .interp_next = offsetof(struct fake_interp, next),
        .interp_id = offsetof(struct fake_interp, id),
        .interp_gil = offsetof(struct fake_interp, gil),
        .interp_own_gil = offsetof(struct fake_interp, own),
        .threads_bound = true,
    };
}

#endif
