/* States and CPU times of the threads of this process, read from outside each thread. */
#ifndef GILSCOPE_THREADS_H
#define GILSCOPE_THREADS_H

#include <stddef.h>

#include "layout.h"
#include "record.h"

#define GS_MOST_THREADS 4096u /* in one look; the rest is not seen */

/* Forgets what an earlier trace kept open. One observer at a time: the sampler thread. */
void gs_threads_reset(void);

/* Lists the threads that hold the GIL or wait for it at this instant, as `gil` was just seen, and
 * where the waiters are counted also those that may: a thread that is ready to run shows no wait.
 * Returns how many. Sampler thread, without the GIL. */
size_t gs_threads_states(const struct gs_layout *l, const struct gs_gil_view *gil,
                         struct gs_state *states, size_t most);

/* Lists the CPU time of every thread of the process. Returns how many. Any one thread. */
size_t gs_threads_cpus(struct gs_cpu *cpus, size_t most);

/* True when the kernel shows what a blocked thread sleeps on; asked of the calling thread. */
bool gs_threads_can_see_waits(void);

#endif
