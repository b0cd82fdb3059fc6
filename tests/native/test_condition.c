/* The C library's count of the threads that wait on a condition. */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>

#include "condition.h"

#define THREADS 5

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int waiting;
static bool go;

static void *wait_to_go(void *unused)
{
    pthread_mutex_lock(&mutex);
    waiting++;
    while (!go)
        pthread_cond_wait(&cond, &mutex);
    waiting--;
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void await_waiting(int n)
{
    for (int seen = -1; seen != n; sched_yield()) {
        pthread_mutex_lock(&mutex);
        seen = waiting;
        pthread_mutex_unlock(&mutex);
    }
}

/* A thread that holds the mutex sees every waiting thread counted. */
static void every_waiter_is_counted(void)
{
    size_t offset = gs_condition_learn();
    CHECK(offset > 0 && offset < sizeof cond);
    CHECK_EQUAL(gs_condition_learn(), offset);
    CHECK_EQUAL(gs_condition_waiters(&cond, offset), 0);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQUAL(pthread_create(&threads[i], NULL, wait_to_go, NULL), 0);
        await_waiting(i + 1);
        CHECK_EQUAL(gs_condition_waiters(&cond, offset), i + 1);
    }
    pthread_mutex_lock(&mutex);
    go = true;
    pthread_cond_broadcast(&cond);
    /* Woken, and not yet out: they cannot have the mutex. */
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQUAL(gs_condition_waiters(&cond, offset), 0);
}

int main(void)
{
    RUN(every_waiter_is_counted);
    return check_done();
}
