#define _GNU_SOURCE
#include "fork.h"

#include <pthread.h>
#include <stdbool.h>

#include "hooks.h"
#include "recorder.h"
#include "slots.h"
#include "watch.h"

/* The child has one thread, which was not inside a hook: it forked. So there is nothing to wait
 * for, but the order counts. Hooks stop recording before the recorder frees the ring and the sites
 * that they write to, and leave the slots before the watch closes the gate that they look at. A
 * hook that another tool keeps in use only passes calls on afterwards. */
static void after_fork_in_child(void)
{
    gs_hooks_abandon();
    gs_slots_abandon();
    gs_recorder_abandon();
    gs_watch_abandon();
}

int gs_fork_register(void)
{
    static bool registered;
    int error = registered ? 0 : pthread_atfork(NULL, NULL, after_fork_in_child);
    registered = !error;
    return error;
}
