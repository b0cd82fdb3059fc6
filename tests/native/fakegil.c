#include "fakegil.h"

#include <errno.h>
#include <time.h>

struct fake_gil fake_gil = {
    .interval = 5000,
    .cond = PTHREAD_COND_INITIALIZER,
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .switch_cond = PTHREAD_COND_INITIALIZER,
    .switch_mutex = PTHREAD_MUTEX_INITIALIZER,
};
_Atomic int fake_drop_request;
bool fake_switch_slowly;

static bool wait_an_interval(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)fake_gil.interval * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(&fake_gil.cond, &fake_gil.mutex, &until) == ETIMEDOUT;
}

void fake_take(struct fake_thread *me)
{
    pthread_mutex_lock(&fake_gil.mutex);
    while (fake_gil.locked) {
        unsigned long before = fake_gil.switch_number;
        if (wait_an_interval() && fake_gil.locked && fake_gil.switch_number == before)
            fake_drop_request = 1;
    }
    pthread_mutex_lock(&fake_gil.switch_mutex);
    fake_gil.locked = 1;
    if (fake_gil.last_holder != (uintptr_t)me) {
        fake_gil.last_holder = (uintptr_t)me;
        /* The core reads it without a lock; CPython stores it so too. */
        __atomic_store_n(&fake_gil.switch_number, fake_gil.switch_number + 1, __ATOMIC_RELAXED);
    }
    pthread_cond_signal(&fake_gil.switch_cond);
    pthread_mutex_unlock(&fake_gil.switch_mutex);
    fake_drop_request = 0;
    pthread_mutex_unlock(&fake_gil.mutex);
}

void fake_drop(struct fake_thread *me)
{
    bool slowly = fake_switch_slowly;
    pthread_mutex_lock(&fake_gil.mutex);
    if (slowly)
        pthread_mutex_lock(&fake_gil.switch_mutex);
    fake_gil.last_holder = (uintptr_t)me;
    fake_gil.locked = 0;
    pthread_cond_signal(&fake_gil.cond);
    pthread_mutex_unlock(&fake_gil.mutex);
    if (!fake_drop_request && !slowly)
        return;
    if (!slowly)
        pthread_mutex_lock(&fake_gil.switch_mutex);
    if (fake_drop_request && fake_gil.last_holder == (uintptr_t)me) {
        fake_drop_request = 0;
        pthread_cond_wait(&fake_gil.switch_cond, &fake_gil.switch_mutex);
    }
    pthread_mutex_unlock(&fake_gil.switch_mutex);
}
