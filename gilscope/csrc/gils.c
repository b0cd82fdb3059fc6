#define _GNU_SOURCE
#include "gils.h"

#include <errno.h>
#include <sched.h>

struct gs_gils gs_gils;

/* Guards all that changes the table. */
static struct {
    pthread_mutex_t mutex;
    struct gs_layout main; /* the main interpreter's */
    uint32_t too_many;     /* GILs for which there was no number */
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- the table ---- */

uint32_t gs_gils_free_number(void)
{
    for (uint32_t number = 1; number < GS_GILS; number++)
        if (!atomic_load(&gs_gils.conds[number]))
            return number;
    return 0;
}

void gs_gils_add(uint32_t number, const struct gs_interpreter *i)
{
    gs_gils.gils[number].interpreter = (uint32_t)i->id;
    gs_gils.gils[number].layout = i->layout;
    atomic_store(&gs_gils.conds[number], (uintptr_t)gs_layout_cond(&i->layout));
    if (number > atomic_load(&gs_gils.most))
        atomic_store(&gs_gils.most, number);
}

static void lower_most(void)
{
    uint32_t most = atomic_load(&gs_gils.most);
    while (most && !atomic_load(&gs_gils.conds[most]))
        most--;
    atomic_store(&gs_gils.most, most);
}

void gs_gils_remove(uint32_t number)
{
    atomic_store(&gs_gils.conds[number], 0);
    while (atomic_load(&gs_gils.gils[number].inside))
        sched_yield();
    lower_most();
}

/* ---- GILs that come and go ---- */

/* The record of a GIL's begin or end. A thread that writes it need not belong to that GIL. */
static void emit_about(uint32_t gil, enum gs_kind kind, uint32_t arg)
{
    if (gs_emit_self.session != gs_emit.session)
        gs_emit_enroll(0, gs_emit_stamp());
    gs_emit_of(gil, kind, arg);
}

/* Returns the GIL's number, 0 if none was free. */
static uint32_t enter_gil(const struct gs_interpreter *i)
{
    uint32_t gil = gs_gils_free_number();
    if (gil) {
        emit_about(gil, GS_GIL, (uint32_t)i->id);
        gs_gils_add(gil, i);
    } else {
        registry.too_many++;
    }
    return gil;
}

static void end_gil(uint32_t gil)
{
    gs_gils_remove(gil);
    emit_about(gil, GS_GIL_END, gs_gils.gils[gil].interpreter);
}

/* What one pass over the list of interpreters finds. */
struct look {
    const pthread_cond_t *cond; /* of a GIL that may be beginning */
    bool begins;
    struct gs_interpreter beginner;
    bool alive[GS_GILS];
    uint32_t unknown; /* have GILs that have no number */
};

static void look_at(void *context, const struct gs_interpreter *i)
{
    struct look *look = context;
    struct gs_gil_view view;
    uint32_t holder;
    if (!i->layout.gil || i->address == registry.main.interp)
        return;
    if (look->cond && gs_layout_gil_begins(i, look->cond)) {
        look->begins = true;
        look->beginner = *i;
        return;
    }
    uint32_t gil = gs_gils_find((uintptr_t)gs_layout_cond(&i->layout), 0);
    if (gil && gs_gils.gils[gil].interpreter == (uint32_t)i->id)
        look->alive[gil] = true;
    else if (gs_layout_gil_lives(i, &view, &holder))
        look->unknown++;
}

/* A thread has initialised two conditions, one after the other, as far apart as those of a GIL. It
 * is a GIL only if an interpreter on the list has one there. */
static void look_for_gil(const pthread_cond_t *cond)
{
    struct look look = {.cond = cond};
    bool whole = gs_layout_interpreters(&registry.main, look_at, &look);
    if (!look.begins)
        return;
    /* The end of an interpreter calls no hook. */
    for (uint32_t gil = 1; whole && gil < GS_GILS; gil++)
        if (atomic_load(&gs_gils.conds[gil]) && !look.alive[gil])
            end_gil(gil);
    enter_gil(&look.beginner);
}

void gs_gils_see_init(pthread_cond_t *cond, uintptr_t before)
{
    int saved = errno;
    pthread_mutex_lock(&registry.mutex);
    if (gs_gils_recorded()) {
        uint32_t former = gs_gils_find((uintptr_t)cond, 0);
        if (former) /* its memory has been freed and is used anew */
            end_gil(former);
        if ((uintptr_t)cond - before == GS_COND_TO_SWITCH)
            look_for_gil((const pthread_cond_t *)before);
    }
    pthread_mutex_unlock(&registry.mutex);
    errno = saved;
}

/* ---- begin and end ---- */

/* A GIL that was there before the trace. Its first transition may be far ahead; until then only its
 * holder is known, if it has one. */
static void find_gil(void *unused, const struct gs_interpreter *i)
{
    (void)unused;
    struct gs_gil_view view;
    uint32_t holder;
    if (i->address == registry.main.interp || !gs_layout_gil_lives(i, &view, &holder) ||
        gs_gils_find((uintptr_t)gs_layout_cond(&i->layout), 0))
        return;
    uint32_t gil = enter_gil(i);
    /* Again, now that each of its transitions is recorded. */
    if (gil && gs_layout_gil_lives(i, &view, &holder) && view.locked)
        emit_about(gil, GS_GIL_HELD, holder);
}

void gs_gils_begin(const struct gs_layout *l)
{
    pthread_mutex_lock(&registry.mutex);
    registry.main = *l;
    registry.too_many = 0;
    atomic_store(&gs_gils.recorded, true);
    gs_layout_interpreters(l, find_gil, NULL);
    pthread_mutex_unlock(&registry.mutex);
}

uint32_t gs_gils_end(void)
{
    struct look look = {0};
    pthread_mutex_lock(&registry.mutex);
    atomic_store(&gs_gils.recorded, false);
    gs_layout_interpreters(&registry.main, look_at, &look);
    for (uint32_t gil = 1; gil < GS_GILS; gil++)
        gs_gils_remove(gil);
    pthread_mutex_unlock(&registry.mutex);
    return look.unknown > registry.too_many ? look.unknown : registry.too_many;
}

void gs_gils_abandon(void)
{
    pthread_mutex_init(&registry.mutex, NULL); /* a thread that is not here may have held it */
    atomic_store(&gs_gils.recorded, false);
    for (uint32_t number = 1; number < GS_GILS; number++) {
        atomic_store(&gs_gils.conds[number], 0);
        atomic_store(&gs_gils.gils[number].inside, 0);
    }
    atomic_store(&gs_gils.most, 0);
}
