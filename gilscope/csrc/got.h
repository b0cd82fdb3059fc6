/* The slots through which one loaded object calls functions of others (its global offset table). */
#ifndef GILSCOPE_GOT_H
#define GILSCOPE_GOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GS_GOT_SLOTS 16

struct gs_got_slot {
    void **where;
    void *before; /* what it held when found */
    int name;     /* index into the names asked for */
};

/* Finds in the object that contains `address` every slot for one of `names`. Returns how many, at
 * most GS_GOT_SLOTS. Allocates nothing that outlives it. */
int gs_got_find(const void *address, const char *const *names, int n_names,
                struct gs_got_slot slots[GS_GOT_SLOTS]);

/* What the kernel's list of mappings contains about a page. The list is long, and slots stand side
 * by side: swaps that come one right after the other share a look at it. */
struct gs_got_page {
    uintptr_t page;
    int protection;
};

/* Replaces `from` by `to` in a slot, also in a read-only page; false where the slot holds something
 * else or the page's protection cannot be changed. Safe while other threads call through it. `last`
 * is zeroed by the caller before a row of swaps. */
bool gs_got_swap(struct gs_got_page *last, void **where, void *from, void *to);

#endif
