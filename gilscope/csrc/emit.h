/* Records of the calling thread: puts them into the ring, under the number that the thread has in
 * this recording. Part of the hot path: allocates nothing, blocks on nothing. */
#ifndef GILSCOPE_EMIT_H
#define GILSCOPE_EMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "ring.h"

/* Hidden symbols: a hook reaches them without a look at the global offset table. */
#define GS_HIDDEN      __attribute__((visibility("hidden")))
#define GS_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Initial-exec where the C library has room for it: otherwise the first use in each thread would
 * call the allocator from inside a hook. musl allocates it when the thread begins. */
#ifdef __GLIBC__
#define GS_THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))
#else
#define GS_THREAD_LOCAL __thread
#endif

struct gs_emit {
    struct gs_ring *ring;
    void (*nudge)(void);
    bool tsc;
    uint32_t session; /* number of the binding, never 0 once there is one */
    _Alignas(128) _Atomic uint32_t next_thread;
};
extern GS_HIDDEN struct gs_emit gs_emit;

struct gs_emit_self {
    uint32_t session; /* the binding that `thread` belongs to */
    uint32_t thread;
};
extern GS_HIDDEN GS_THREAD_LOCAL struct gs_emit_self gs_emit_self;

/* Sends all records to `ring` from now on and numbers the threads anew. The caller holds the GIL,
 * and no hook is recording. `nudge` wakes the sampler when the ring fills; it may be NULL. */
void gs_emit_bind(struct gs_ring *ring, bool tsc, void (*nudge)(void));

/* Writes the first records of the calling thread since the binding; keeps errno. */
void gs_emit_enroll(uint32_t gil, uint64_t stamp);

static inline uint64_t gs_emit_stamp(void)
{
    return gs_clock_stamp(gs_emit.tsc);
}

static inline void gs_emit_put(uint64_t stamp, uint32_t gil, enum gs_kind kind, uint32_t arg)
{
    uint64_t word = gs_word(kind, gs_emit_self.thread, arg) | (uint64_t)gil << GS_GIL_SHIFT;
    if (GS_UNLIKELY(gs_ring_put(gs_emit.ring, stamp, word)) && gs_emit.nudge)
        gs_emit.nudge();
}

/* Writes one record. Any thread, between the binding and the end of the recording. */
static inline void gs_emit_at(uint64_t stamp, uint32_t gil, enum gs_kind kind, uint32_t arg)
{
    if (GS_UNLIKELY(gs_emit_self.session != gs_emit.session))
        gs_emit_enroll(gil, stamp);
    gs_emit_put(stamp, gil, kind, arg);
}

/* Likewise, stamped now. */
static inline void gs_emit_of(uint32_t gil, enum gs_kind kind, uint32_t arg)
{
    gs_emit_at(gs_emit_stamp(), gil, kind, arg);
}

/* Likewise, of the main interpreter's GIL, or of none. */
static inline void gs_emit_now(enum gs_kind kind, uint32_t arg)
{
    gs_emit_of(0, kind, arg);
}

#endif
