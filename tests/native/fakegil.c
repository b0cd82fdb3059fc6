#include "fakegil.h"

#include <errno.h>
#include <time.h>

struct fake_interp fake_main = {
    .gil = &fake_main.own,
    .own =
        {
            .interval = 5000,
            .cond = PTHREAD_COND_INITIALIZER,
            .mutex = PTHREAD_MUTEX_INITIALIZER,
            .switch_cond = PTHREAD_COND_INITIALIZER,
            .switch_mutex = PTHREAD_MUTEX_INITIALIZER,
        },
};
struct fake_interps fake_interps = {&fake_main, &fake_main, 1};
_Atomic bool fake_switch_slowly;

static bool wait_an_interval(struct fake_gil_state *gil)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)gil->interval * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(&gil->cond, &gil->mutex, &until) == ETIMEDOUT;
}

void fake_take_of(struct fake_gil_state *gil, struct fake_thread *me)
{
    pthread_mutex_lock(&gil->mutex);
    while (gil->locked) {
        unsigned long before = gil->switch_number;
        if (wait_an_interval(gil) && gil->locked && gil->switch_number == before)
            gil->drop_request = 1;
    }
    pthread_mutex_lock(&gil->switch_mutex);
    gil->locked = 1;
    if (gil->last_holder != (uintptr_t)me) {
        gil->last_holder = (uintptr_t)me;
        /* The core reads it without a lock; CPython stores it so too. */
        __atomic_store_n(&gil->switch_number, gil->switch_number + 1, __ATOMIC_RELAXED);
    }
    pthread_cond_signal(&gil->switch_cond);
    pthread_mutex_unlock(&gil->switch_mutex);
    gil->drop_request = 0;
    pthread_mutex_unlock(&gil->mutex);
}

void fake_drop_of(struct fake_gil_state *gil, struct fake_thread *me)
{
    bool slowly = fake_switch_slowly;
    pthread_mutex_lock(&gil->mutex);
    if (slowly)
        pthread_mutex_lock(&gil->switch_mutex);
    gil->last_holder = (uintptr_t)me;
    gil->locked = 0;
    pthread_cond_signal(&gil->cond);
    pthread_mutex_unlock(&gil->mutex);
    if (!gil->drop_request && !slowly)
        return;
    if (!slowly)
        pthread_mutex_lock(&gil->switch_mutex);
    if (gil->drop_request && gil->last_holder == (uintptr_t)me) {
        gil->drop_request = 0;
        pthread_cond_wait(&gil->switch_cond, &gil->switch_mutex);
    }
    pthread_mutex_unlock(&gil->switch_mutex);
}

void fake_take(struct fake_thread *me)
{
    fake_take_of(&fake_gil, me);
}

void fake_drop(struct fake_thread *me)
{
    fake_drop_of(&fake_gil, me);
}

int fake_cond_init(pthread_cond_t *cond)
{
    return pthread_cond_init(cond, NULL);
}

int fake_cond_signal(pthread_cond_t *cond)
{
    return pthread_cond_signal(cond);
}

static pthread_mutex_t interps_lock = PTHREAD_MUTEX_INITIALIZER;

static void create_gil(struct fake_gil_state *gil)
{
    pthread_mutex_init(&gil->mutex, NULL);
    pthread_mutex_init(&gil->switch_mutex, NULL);
    pthread_cond_init(&gil->cond, NULL);
    pthread_cond_init(&gil->switch_cond, NULL);
    gil->last_holder = 0;
    gil->locked = 0;
}

void fake_interp_begin(struct fake_interp *interp, bool own_gil)
{
    *interp = (struct fake_interp){.own = {.interval = 5000, .locked = -1}};
    pthread_mutex_lock(&interps_lock);
    interp->id = fake_interps.next_id++;
    interp->next = fake_interps.head;
    fake_interps.head = interp;
    pthread_mutex_unlock(&interps_lock);
    if (own_gil)
        create_gil(&interp->own);
    interp->gil = own_gil ? &interp->own : &fake_gil;
}

void fake_interp_end(struct fake_interp *interp)
{
    pthread_mutex_lock(&interps_lock);
    if (fake_interps.head == interp)
        fake_interps.head = interp->next;
    for (struct fake_interp *i = fake_interps.head; i; i = i->next)
        if (i->next == interp)
            i->next = interp->next;
    pthread_mutex_unlock(&interps_lock);
}
