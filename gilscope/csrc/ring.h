/* The ring between the program's threads (any number of producers) and the sampler (one consumer).
 *
 * A producer reserves a slot with one fetch-add, writes the word, and stores the stamp last: the
 * stamp's top bit marks the lap, so a slot is whole when that bit fits, and the consumer never
 * changes a slot. Slot order is a total order that agrees with cause and effect: events of one GIL
 * happen under its mutex. A full ring never blocks: the record is counted as lost, and a GS_LOST
 * record stands where the hole is as soon as there is room again. */
#ifndef GILSCOPE_RING_H
#define GILSCOPE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#include "record.h"

/* Producers look at the limit before they reserve. Between the two, others may reserve too: this
 * many slots stay free for them, more than there are threads inside a hook at one instant. */
#define GS_RING_MARGIN 4096u

struct gs_slot {
    _Atomic uint64_t stamp, word;
};

struct gs_ring {
    /* All that a producer touches stands in one cache line, since it moves from processor to
     * processor with the head. The consumer writes to it a few hundred times a second. */
    _Alignas(128) struct gs_slot *slots;
    uint32_t log2_slots;
    _Atomic uint64_t head;       /* next slot to reserve */
    _Atomic uint64_t limit;      /* producers stop here; moved by the consumer */
    _Atomic uint64_t lost;       /* not yet in a GS_LOST record */
    _Alignas(128) uint64_t tail; /* consumer's own */
    uint64_t ready;              /* slots whose pages are there; consumer's own */
};

/* Before producers and consumer exist. Returns false where memory cannot be had. */
static inline bool gs_ring_open(struct gs_ring *r, uint32_t log2_slots)
{
    size_t size = sizeof(struct gs_slot) << log2_slots;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return false;
    /* A forked child has no use for it: neither it nor our next write to a page should pay for a
     * copy. The range itself stays, since a child that clone() made may still be inside a hook. */
    madvise(p, size, MADV_WIPEONFORK);
    r->slots = p;
    r->log2_slots = log2_slots;
    r->tail = r->ready = 0;
    atomic_store(&r->head, 0);
    atomic_store(&r->lost, 0);
    atomic_store(&r->limit, (UINT64_C(1) << log2_slots) - GS_RING_MARGIN);
    return true;
}

/* Consumer only, or before it exists: has the pages of the first `n` slots there. Slots keep what
 * is in them, and producers may be at work. */
static inline void gs_ring_prepare(struct gs_ring *r, uint64_t n)
{
    const uint64_t size = UINT64_C(1) << r->log2_slots, step = 4096 / sizeof(struct gs_slot);
    for (; r->ready < size && r->ready < n; r->ready += step)
        atomic_fetch_or_explicit(&r->slots[r->ready].word, 0, memory_order_relaxed);
}

/* After producers and consumer are gone. */
static inline void gs_ring_close(struct gs_ring *r)
{
    struct gs_slot *slots = r->slots;
    r->slots = NULL; /* first: a child that is forked in between must not unmap it again */
    if (slots)
        munmap(slots, sizeof(struct gs_slot) << r->log2_slots);
}

static inline uint64_t gs_ring_lap_bit(const struct gs_ring *r, uint64_t i)
{
    return (~(i >> r->log2_slots) & 1) << 63;
}

/* Returns the index after the reserved one. */
static inline uint64_t gs_ring_store(struct gs_ring *r, uint64_t stamp, uint64_t word)
{
    /* Our own read of the limit may be laps old by now. Through the head we also see the limit as
     * producers before us did, and so know that the consumer is done with the slot. */
    uint64_t i = atomic_fetch_add_explicit(&r->head, 1, memory_order_acq_rel);
    struct gs_slot *s = &r->slots[i & ((UINT64_C(1) << r->log2_slots) - 1)];
    atomic_store_explicit(&s->word, word, memory_order_relaxed);
    atomic_store_explicit(&s->stamp, (stamp & ~GS_STAMP_LAP) | gs_ring_lap_bit(r, i),
                          memory_order_release);
    return i + 1;
}

static inline bool gs_ring_full(struct gs_ring *r)
{
    return atomic_load_explicit(&r->head, memory_order_relaxed) >=
           atomic_load_explicit(&r->limit, memory_order_acquire);
}

/* Records a loss, if there is one and room for it. Any thread. */
static inline void gs_ring_put_lost(struct gs_ring *r, uint64_t stamp)
{
    uint64_t n = atomic_exchange(&r->lost, 0);
    if (n == 0)
        return;
    if (gs_ring_full(r))
        atomic_fetch_add(&r->lost, n);
    else
        gs_ring_store(r, stamp, gs_word(GS_LOST, 0, n > UINT32_MAX ? UINT32_MAX : (uint32_t)n));
}

/* Any thread, never blocks. Returns true when the consumer should be woken: a quarter of the ring
 * has gone by since a multiple of it. */
static inline bool gs_ring_put(struct gs_ring *r, uint64_t stamp, uint64_t word)
{
    if (__builtin_expect(gs_ring_full(r), 0)) {
        atomic_fetch_add_explicit(&r->lost, 1, memory_order_relaxed);
        return false;
    }
    if (__builtin_expect(atomic_load_explicit(&r->lost, memory_order_relaxed) != 0, 0))
        gs_ring_put_lost(r, stamp);
    uint64_t next = gs_ring_store(r, stamp, word);
    return (next & ((UINT64_C(1) << (r->log2_slots - 2)) - 1)) == 0;
}

/* Consumer only. A run of whole slots in one piece, at most `most`; it stays valid until
 * gs_ring_take(). The records in it still carry GS_STAMP_LAP. */
static inline size_t gs_ring_peek(struct gs_ring *r, const struct gs_record **first, size_t most)
{
    uint64_t size = UINT64_C(1) << r->log2_slots;
    uint64_t at = r->tail & (size - 1);
    size_t n = 0;
    if (most > size - at)
        most = size - at;
    while (n < most && (atomic_load_explicit(&r->slots[at + n].stamp, memory_order_acquire) &
                        GS_STAMP_LAP) == gs_ring_lap_bit(r, r->tail))
        n++;
    *first = (const struct gs_record *)&r->slots[at];
    return n;
}

/* Consumer only: gives `n` peeked slots back to the producers. */
static inline void gs_ring_take(struct gs_ring *r, size_t n)
{
    r->tail += n;
    atomic_store_explicit(&r->limit, r->tail + (UINT64_C(1) << r->log2_slots) - GS_RING_MARGIN,
                          memory_order_release);
}

static_assert(sizeof(struct gs_slot) == sizeof(struct gs_record), "a slot is read as a record");

#endif
