#define _GNU_SOURCE
#include "sites.h"

#include <string.h>
#include <sys/mman.h>

#define SITES      (1u << GS_LOG2_SITES)
#define SITE_SLOTS (2u * SITES)
#define CODES      (1u << GS_LOG2_CODES)
#define CODE_SLOTS (2u * CODES)
#define MOST_USED  (SITES + SITES / 2) /* so that a search always ends at a free slot */

/* ---- memory ---- */

static void *reserve(size_t size)
{
    /* Not populated: most programs use a small part of it. */
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void give_back(void *memory, size_t size)
{
    if (memory)
        munmap(memory, size);
}

static void give_all_back(struct gs_sites *s)
{
    give_back(s->slots, SITE_SLOTS * sizeof *s->slots);
    give_back(s->list, SITES * sizeof *s->list);
    give_back(s->code_slots, CODE_SLOTS * sizeof *s->code_slots);
    give_back(s->codes, CODES * sizeof *s->codes);
    s->slots = NULL;
    s->list = NULL;
    s->code_slots = NULL;
    s->codes = NULL;
}

bool gs_sites_open(struct gs_sites *s, const struct gs_frames *frames, void (*pin)(void *object))
{
    memset(s, 0, sizeof *s);
    s->frames = *frames;
    s->pin = pin;
    s->slots = reserve(SITE_SLOTS * sizeof *s->slots);
    s->list = reserve(SITES * sizeof *s->list);
    s->code_slots = reserve(CODE_SLOTS * sizeof *s->code_slots);
    s->codes = reserve(CODES * sizeof *s->codes);
    if (!s->slots || !s->list || !s->code_slots || !s->codes) {
        give_all_back(s);
        return false;
    }
    atomic_store(&s->n_sites, GS_FIRST_SITE);
    s->told_sites = GS_FIRST_SITE;
    return true;
}

void gs_sites_close(struct gs_sites *s, void (*unpin)(void *object))
{
    uint32_t n = atomic_load(&s->n_codes);
    for (uint32_t i = 0; unpin && s->codes && i < n; i++)
        unpin((void *)s->codes[i]);
    give_all_back(s);
}

/* ---- finding ---- */

/* Fibonacci hashing (Knuth, volume 3, 6.4): the upper bits of a product. */
static inline uint32_t hash(uint64_t key, unsigned bits)
{
    return (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits));
}

static __attribute__((noinline)) struct gs_code_slot *
learn_code(struct gs_sites *s, struct gs_code_slot *slot, uintptr_t code)
{
    uint32_t n = atomic_load_explicit(&s->n_codes, memory_order_relaxed);
    if (n == CODES || s->used_codes == CODE_SLOTS - CODES / 2)
        return NULL;
    bool shim = !gs_frames_is_code(&s->frames, code);
    s->used_codes++;
    slot->code = code;
    slot->shim = shim;
    if (shim) /* static memory, in which no reference is counted */
        return slot;
    s->pin((void *)code);
    s->codes[n] = code;
    slot->number = n;
    atomic_store_explicit(&s->n_codes, n + 1, memory_order_release);
    return slot;
}

static struct gs_code_slot *find_code(struct gs_sites *s, uintptr_t code)
{
    uint32_t at = hash(code >> 4, GS_LOG2_CODES + 1);
    for (uint32_t i = 0; i < CODE_SLOTS; i++, at = (at + 1) & (CODE_SLOTS - 1)) {
        if (s->code_slots[at].code == code)
            return &s->code_slots[at];
        if (!s->code_slots[at].code)
            return learn_code(s, &s->code_slots[at], code);
    }
    return NULL;
}

/* GS_NO_SITE: there is no room. */
static __attribute__((noinline)) uint32_t make(struct gs_sites *s, struct gs_site_slot *slot,
                                               const struct gs_frame *frame, uint32_t parent)
{
    uint32_t n = atomic_load_explicit(&s->n_sites, memory_order_relaxed), site = parent;
    const struct gs_code_slot *code = find_code(s, frame->code);
    if (!code || n == SITES || s->used == MOST_USED)
        return GS_NO_SITE;
    if (!code->shim) {
        site = n;
        s->list[n] = (struct gs_site){n, parent, code->number, frame->offset};
        atomic_store_explicit(&s->n_sites, n + 1, memory_order_release);
    }
    s->used++;
    *slot = (struct gs_site_slot){frame->code, frame->offset, parent, site, 0};
    return site;
}

static inline uint32_t find(struct gs_sites *s, const struct gs_frame *frame, uint32_t parent)
{
    uint64_t key = frame->code ^ (uint64_t)frame->offset << 40 ^ (uint64_t)parent << 20;
    uint32_t at = hash(key, GS_LOG2_SITES + 1);
    for (;; at = (at + 1) & (SITE_SLOTS - 1)) {
        struct gs_site_slot *slot = &s->slots[at];
        if (slot->code == frame->code && slot->offset == frame->offset && slot->parent == parent)
            return slot->site;
        if (!slot->code)
            return make(s, slot, frame, parent);
    }
}

static inline uint32_t of_stack(struct gs_sites *s, uintptr_t top, struct gs_frame *frames,
                                size_t most, const struct gs_glimpse *asked)
{
    struct gs_frame beyond;
    size_t n = 0;
    while (n < most && gs_frames_next(&s->frames, &top, &frames[n]))
        n++;
    uint32_t site =
        n == most && gs_frames_next(&s->frames, &top, &beyond) ? GS_CUT_SITE : GS_OUTSIDE;
    int younger = asked ? gs_frames_asked_at(&s->frames, asked, frames, n) : 0;
    size_t innermost = younger > 0 ? (size_t)younger : 0;
    while (n-- > innermost && site)
        site = find(s, &frames[n], site);
    if (__builtin_expect(!site, 0))
        atomic_fetch_add_explicit(&s->missed, 1, memory_order_relaxed);
    return site == GS_OUTSIDE ? GS_NO_SITE : site;
}

static __attribute__((noinline)) uint32_t of_whole_stack(struct gs_sites *s, uintptr_t top,
                                                         const struct gs_glimpse *asked)
{
    struct gs_frame frames[GS_MOST_FRAMES];
    return of_stack(s, top, frames, GS_MOST_FRAMES, asked);
}

uint32_t gs_sites_here(struct gs_sites *s, uintptr_t tstate, bool whole,
                       const struct gs_glimpse *asked)
{
    uintptr_t top = gs_frames_top(&s->frames, tstate);
    if (whole)
        return of_whole_stack(s, top, asked);
    struct gs_frame frames[GS_SITE_FRAMES];
    return of_stack(s, top, frames, GS_SITE_FRAMES, asked);
}

/* ---- telling ---- */

static size_t put_code(struct gs_sites *s, uint32_t number, char *to, size_t most)
{
    struct gs_code_text *text = &s->text;
    gs_frames_read(&s->frames, s->codes[number], text);
    size_t lines = text->lines.size > GS_MOST_LINES ? 0 : text->lines.size;
    size_t size = sizeof(struct gs_code) + text->name_size + text->file_size + lines;
    size = (size + 3) & ~(size_t)3;
    if (size > most)
        return 0;
    struct gs_code code = {number, text->first_line, (uint32_t)text->name_size,
                           (uint32_t)text->file_size, (uint32_t)lines};
    memset(to, 0, size);
    memcpy(to, &code, sizeof code);
    to += sizeof code;
    memcpy(to, text->name, text->name_size);
    memcpy(to + text->name_size, text->file, text->file_size);
    memcpy(to + text->name_size + text->file_size, text->lines.text, lines);
    return size;
}

size_t gs_sites_tell(struct gs_sites *s, struct gs_sites_block *block, size_t most)
{
    /* In this order: the codes of these sites are then among those. */
    uint32_t n_sites = atomic_load_explicit(&s->n_sites, memory_order_acquire);
    uint32_t n_codes = atomic_load_explicit(&s->n_codes, memory_order_acquire);
    char *to = (char *)(block + 1), *end = (char *)block + most;
    size_t size;
    *block = (struct gs_sites_block){0};
    while (s->told_codes < n_codes &&
           (size = put_code(s, s->told_codes, to, (size_t)(end - to))) != 0) {
        to += size;
        block->codes++;
        s->told_codes++;
    }
    while (s->told_codes >= n_codes && s->told_sites < n_sites &&
           (size_t)(end - to) >= sizeof(struct gs_site)) {
        memcpy(to, &s->list[s->told_sites++], sizeof(struct gs_site));
        to += sizeof(struct gs_site);
        block->sites++;
    }
    block->size = (uint32_t)(to - (char *)(block + 1));
    return block->size;
}
