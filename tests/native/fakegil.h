/* A GIL as CPython has it (Python/ceval_gil.c, 3.11 to 3.15), and as much of an interpreter around
 * it as the core looks at. It is a shared object of its own, so that its calls can be hooked. */
#ifndef GILSCOPE_TESTS_FAKEGIL_H
#define GILSCOPE_TESTS_FAKEGIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

struct fake_gil {
    unsigned long interval;
    _Atomic uintptr_t last_holder;
    _Atomic int locked;
    unsigned long switch_number;
    pthread_cond_t cond;
    pthread_mutex_t mutex;
    pthread_cond_t switch_cond;
    pthread_mutex_t switch_mutex;
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
    struct fake_gil *gil;
};

extern struct fake_gil fake_gil;
extern _Atomic int fake_drop_request;
/* Lets nobody take the GIL before who drops it waits for the switch: else that is a matter of luck.
 * Set it while holding the GIL. */
extern bool fake_switch_slowly;

/* As take_gil() and drop_gil(): `me` is the caller's thread state. */
void fake_take(struct fake_thread *me);
void fake_drop(struct fake_thread *me);

static inline struct gs_layout fake_layout(const struct fake_interp *interp)
{
    return (struct gs_layout){
        .gil = (uintptr_t)&fake_gil,
        .interp = (uintptr_t)interp,
        .gil_holder = offsetof(struct fake_gil, last_holder),
        .gil_locked = offsetof(struct fake_gil, locked),
        .interp_threads = offsetof(struct fake_interp, threads),
        .thread_next = offsetof(struct fake_thread, next),
        .thread_native_id = offsetof(struct fake_thread, native_id),
    };
}

#endif
