/* How many threads wait on a condition: the C library counts them, in a field of its own. */
#ifndef GILSCOPE_CONDITION_H
#define GILSCOPE_CONDITION_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* Finds out, with a condition of its own and two threads that wait on it, where in a pthread_cond_t
 * this C library counts the threads inside pthread_cond_wait(), as glibc does since 2.25. Returns
 * the count's offset, 0 if it is not counted. The first call takes 0.2 ms; one caller at a time. */
size_t gs_condition_learn(void);

/* Threads inside pthread_cond_wait() or pthread_cond_timedwait() of `cond`, those included that
 * were woken and have not yet got a processor. Any thread, no lock; `offset` is what
 * gs_condition_learn() returned. */
uint32_t gs_condition_waiters(const pthread_cond_t *cond, size_t offset);

#endif
