#define _GNU_SOURCE
#include "emit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

struct gs_emit gs_emit;
GS_THREAD_LOCAL struct gs_emit_self gs_emit_self;

void gs_emit_bind(struct gs_ring *ring, bool tsc, void (*nudge)(void))
{
    gs_emit.ring = ring;
    gs_emit.tsc = tsc;
    gs_emit.nudge = nudge;
    gs_emit.session++;
    atomic_store(&gs_emit.next_thread, 0);
}

__attribute__((noinline)) void gs_emit_enroll(uint32_t gil, uint64_t stamp)
{
    int saved = errno;
    uint64_t ident = (uint64_t)pthread_self();
    gs_emit_self.session = gs_emit.session;
    gs_emit_self.thread = atomic_fetch_add(&gs_emit.next_thread, 1) & ((1u << GS_THREAD_BITS) - 1);
    gs_emit_put(stamp, gil, GS_THREAD, (uint32_t)syscall(SYS_gettid));
    gs_emit_put(stamp, gil, GS_IDENT_LOW, (uint32_t)ident);
    gs_emit_put(stamp, gil, GS_IDENT_HIGH, (uint32_t)(ident >> 32));
    errno = saved;
}
