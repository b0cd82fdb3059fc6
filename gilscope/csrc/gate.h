/* The watch's part of the hooks: what they compare with, and what they call if it fits. The hooks
 * know nothing else of a watch. */
#ifndef GILSCOPE_GATE_H
#define GILSCOPE_GATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "emit.h"

struct gs_gate {
    pthread_cond_t *_Atomic waited; /* the GIL's condition while a watch is on */
    pthread_cond_t *_Atomic held;   /* likewise while a thread waits for a hold that is not over */
    /* Set before `waited`. Both are called with the GIL's mutex held; they keep errno, allocate
     * nothing and block on nothing. */
    void (*on_wait)(pthread_cond_t *cond);
    void (*on_release)(void);
};
extern GS_HIDDEN struct gs_gate gs_gate;

/* In the hook of a timed wait, before the wait. If `cond` is the GIL's, its mutex is held. */
static inline void gs_gate_wait(pthread_cond_t *cond)
{
    if (GS_UNLIKELY(cond == atomic_load_explicit(&gs_gate.waited, memory_order_acquire)))
        gs_gate.on_wait(cond);
}

/* In the hook of a signal, which is a release if `cond` is the GIL's; then its mutex is held. */
static inline void gs_gate_signal(const pthread_cond_t *cond)
{
    if (GS_UNLIKELY(cond == atomic_load_explicit(&gs_gate.held, memory_order_relaxed)))
        gs_gate.on_release();
}

#endif
