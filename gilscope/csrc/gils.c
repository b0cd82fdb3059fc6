#define _GNU_SOURCE
#include "gils.h"

#include <sched.h>

struct gs_gils gs_gils;

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

void gs_gils_forget(void)
{
    for (uint32_t number = 1; number < GS_GILS; number++) {
        atomic_store(&gs_gils.conds[number], 0);
        atomic_store(&gs_gils.gils[number].inside, 0);
    }
    atomic_store(&gs_gils.most, 0);
}
