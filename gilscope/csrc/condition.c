#define _GNU_SOURCE
#include "condition.h"

#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define WORDS      (sizeof(pthread_cond_t) / sizeof(uint32_t))
#define FLAG_BITS  3 /* below the count: shared between processes, clock */
#define ONE_WAITER (1u << FLAG_BITS)

struct trial {
    pthread_mutex_t mutex;
    pthread_cond_t tried, arrived;
    int waiting;
    bool go;
};

static void *wait_to_go(void *arg)
{
    struct trial *t = arg;
    pthread_mutex_lock(&t->mutex);
    t->waiting++;
    pthread_cond_signal(&t->arrived);
    while (!t->go)
        pthread_cond_wait(&t->tried, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

static void look(const struct trial *t, uint32_t words[WORDS])
{
    memcpy(words, &t->tried, WORDS * sizeof *words);
}

/* Lets two threads wait, one after the other, and notes what the condition looks like with none,
 * one, two and none. */
static bool observe(struct trial *t, uint32_t seen[4][WORDS])
{
    pthread_t threads[2];
    int n = 0;
    look(t, seen[0]);
    pthread_mutex_lock(&t->mutex);
    while (n < 2 && pthread_create(&threads[n], NULL, wait_to_go, t) == 0) {
        n++;
        while (t->waiting < n) /* it counts before it gives the mutex back, inside its wait */
            pthread_cond_wait(&t->arrived, &t->mutex);
        look(t, seen[n]);
    }
    t->go = true;
    pthread_cond_broadcast(&t->tried);
    pthread_mutex_unlock(&t->mutex);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    look(t, seen[3]);
    return n == 2;
}

static size_t find_count(uint32_t seen[4][WORDS])
{
    size_t offset = 0, found = 0;
    for (size_t i = 1; i < WORDS; i++)
        if (seen[1][i] == seen[0][i] + ONE_WAITER && seen[2][i] == seen[1][i] + ONE_WAITER &&
            seen[3][i] == seen[0][i] && seen[0][i] < ONE_WAITER) {
            offset = i * sizeof(uint32_t);
            found++;
        }
    return found == 1 ? offset : 0;
}

static size_t learn(void)
{
    struct trial t = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    uint32_t seen[4][WORDS];
    pthread_condattr_t attributes;
    sigset_t all, before;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* as CPython does */
    pthread_cond_init(&t.tried, &attributes);
    pthread_cond_init(&t.arrived, NULL);
    sigfillset(&all); /* signals are for the program's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool observed = observe(&t, seen);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_cond_destroy(&t.tried);
    pthread_cond_destroy(&t.arrived);
    pthread_condattr_destroy(&attributes);
    return observed ? find_count(seen) : 0;
}

size_t gs_condition_learn(void)
{
    static bool learnt;
    static size_t offset;
    if (!learnt) {
        offset = learn();
        learnt = true;
    }
    return offset;
}

uint32_t gs_condition_waiters(const pthread_cond_t *cond, size_t offset)
{
    const char *count = (const char *)cond + offset;
    return __atomic_load_n((const uint32_t *)count, __ATOMIC_RELAXED) >> FLAG_BITS;
}
