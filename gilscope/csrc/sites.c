#define _GNU_SOURCE
#include "sites.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SITES      (1u << GS_LOG2_SITES)
#define SITE_SLOTS (2u * SITES)
#define CODES      (1u << GS_LOG2_CODES)
#define CODE_SLOTS (2u * CODES)
#define MOST_USED  (SITES + SITES / 2) /* so that a search always ends at a free slot */

/* A key of a text is odd: addresses of code objects are even. */
static bool is_text(uintptr_t code)
{
    return code & 1;
}

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
    give_back(s->texts, GS_FAR_TEXTS);
    s->texts = NULL;
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
    s->texts = reserve(GS_FAR_TEXTS);
    if (!s->slots || !s->list || !s->code_slots || !s->codes || !s->texts) {
        give_all_back(s);
        return false;
    }
    atomic_store(&s->n_sites, GS_FIRST_SITE);
    s->described_sites = GS_FIRST_SITE;
    return true;
}

void gs_sites_close(struct gs_sites *s, void (*unpin)(void *object))
{
    uint32_t n = atomic_load(&s->n_codes);
    for (uint32_t i = 0; unpin && s->codes && i < n; i++)
        if (!is_text(s->codes[i]))
            unpin((void *)s->codes[i]);
    give_all_back(s);
}

/* ---- finding ---- */

/* Fibonacci hashing (Knuth, volume 3, 6.4): the upper bits of a product. */
static inline uint32_t hash(uint64_t key, unsigned bits)
{
    return (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits));
}

/* The slot of a code object, or the free one where it would be. */
static struct gs_code_slot *look_up(const struct gs_sites *s, uintptr_t code)
{
    uint32_t at = hash(code >> 4, GS_LOG2_CODES + 1);
    while (s->code_slots[at].code && s->code_slots[at].code != code)
        at = (at + 1) & (CODE_SLOTS - 1);
    return &s->code_slots[at];
}

/* False: there is no room. */
static bool fill(struct gs_sites *s, struct gs_code_slot *slot, uintptr_t code, uintptr_t kept)
{
    uint32_t n = atomic_load_explicit(&s->n_codes, memory_order_relaxed);
    if (n == CODES || s->used_codes == CODE_SLOTS - CODES / 2) {
        s->full = true;
        return false;
    }
    s->used_codes++;
    slot->code = code;
    slot->shim = !kept;
    if (!kept)
        return true;
    s->codes[n] = kept;
    slot->number = n;
    atomic_store_explicit(&s->n_codes, n + 1, memory_order_release);
    return true;
}

static __attribute__((noinline)) struct gs_code_slot *
learn_code(struct gs_sites *s, struct gs_code_slot *slot, uintptr_t code)
{
    /* Static memory, in which no reference is counted, holds the interpreter's own. */
    bool shim = !gs_frames_is_code(&s->frames, code);
    if (!fill(s, slot, code, shim ? 0 : code))
        return NULL;
    if (!shim)
        s->pin((void *)code);
    return slot;
}

static struct gs_code_slot *find_code(struct gs_sites *s, uintptr_t code)
{
    struct gs_code_slot *slot = look_up(s, code);
    return slot->code ? slot : learn_code(s, slot, code);
}

/* GS_NO_SITE: there is no room. */
static __attribute__((noinline)) uint32_t make(struct gs_sites *s, struct gs_site_slot *slot,
                                               const struct gs_frame *frame, uint32_t parent)
{
    uint32_t n = atomic_load_explicit(&s->n_sites, memory_order_relaxed), site = parent;
    const struct gs_code_slot *code = find_code(s, frame->code);
    if (!code)
        return GS_NO_SITE;
    if (n == SITES || s->used == MOST_USED) {
        s->full = true;
        return GS_NO_SITE;
    }
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

/* ---- the site of a drop request ---- */

struct text {
    uint32_t first_line;
    uint32_t name_size, file_size, lines_size; /* they follow, in this order */
};

static uint64_t mix(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    while (n--)
        h = (h ^ *p++) * UINT64_C(0x100000001b3); /* FNV-1a (Fowler, Noll, Vo) */
    return h;
}

static uintptr_t key_of_text(const struct gs_code_text *t)
{
    uint64_t h = mix(UINT64_C(0xcbf29ce484222325), &t->first_line, sizeof t->first_line);
    h = mix(h, t->name, t->name_size);
    h = mix(mix(h, "", 1), t->file, t->file_size);
    return (uintptr_t)mix(h, t->lines.text, t->lines.size) | 1;
}

/* Returns one more than the address of the copy, 0: there is no room. */
static uintptr_t copy(struct gs_sites *s, const struct gs_code_text *t)
{
    struct text head = {t->first_line, (uint32_t)t->name_size, (uint32_t)t->file_size,
                        (uint32_t)t->lines.size};
    char *to = s->texts + s->texts_size;
    size_t size = sizeof head + t->name_size + t->file_size + t->lines.size;
    size = (size + 7) & ~(size_t)7;
    if (size > GS_FAR_TEXTS - s->texts_size)
        return 0;
    s->texts_size += size;
    memcpy(to, &head, sizeof head);
    memcpy(to + sizeof head, t->name, t->name_size);
    memcpy(to + sizeof head + t->name_size, t->file, t->file_size);
    memcpy(to + sizeof head + t->name_size + t->file_size, t->lines.text, t->lines.size);
    return (uintptr_t)to + 1;
}

static void read_text(uintptr_t kept, struct gs_code_text *to)
{
    const struct text *t = (const struct text *)(kept - 1);
    const char *from = (const char *)(t + 1);
    to->first_line = t->first_line;
    to->name_size = t->name_size;
    to->file_size = t->file_size;
    memcpy(to->name, from, t->name_size);
    memcpy(to->file, from + t->name_size, t->file_size);
    to->lines = (struct gs_text){from + t->name_size + t->file_size, t->lines_size};
}

/* Adds code of which only a text is known. Returns its key; 0: there is no room. */
static uintptr_t add_text(struct gs_sites *s, const struct gs_code_text *t)
{
    uintptr_t code = key_of_text(t);
    struct gs_code_slot *slot = look_up(s, code);
    if (slot->code)
        return code;
    uintptr_t kept = copy(s, t);
    return kept && fill(s, slot, code, kept) ? code : 0;
}

void gs_sites_ask(struct gs_sites *s, uintptr_t holder)
{
    int saved = errno;
    struct gs_glimpse *g = &s->asked.glimpse;
    gs_frames_glimpse(&s->frames, holder, g);
    for (uint32_t i = 0; i < g->n; i++)
        /* Code that was seen at a release is pinned and stays alive. */
        s->asked.read[i] = !look_up(s, g->at[i].code)->code &&
                           gs_frames_read_far(&s->frames, g->at[i].code, &s->asked.codes[i]) &&
                           gs_frames_still(&s->frames, &g->at[i]);
    errno = saved;
}

/* The i-th of the frames that were seen, called from a site. GS_NO_SITE: not known. */
static uint32_t site_of_seen(struct gs_sites *s, uint32_t i, uint32_t parent)
{
    const struct gs_seen *seen = &s->asked.glimpse.at[i];
    const struct gs_code_slot *known = look_up(s, seen->code);
    struct gs_frame frame = {0, known->code,
                             (uint32_t)(seen->instr - seen->code - s->frames.instrs)};
    size_t size;
    if (known->code && known->shim)
        return parent;
    if (!known->code && !s->asked.read[i])
        return GS_NO_SITE;
    size = known->code ? gs_frames_size(&s->frames, seen->code) : s->asked.codes[i].size;
    if (!known->code)
        frame.code = add_text(s, &s->asked.codes[i].text);
    return frame.code && frame.offset < size ? find(s, &frame, parent) : GS_NO_SITE;
}

/* From the innermost frame that is still there, `seen`, on: those further in have returned. */
static uint32_t further_in(struct gs_sites *s, uint32_t seen, uint32_t parent)
{
    find_code(s, s->asked.glimpse.at[seen].code); /* is there, so it can be pinned */
    uint32_t found = site_of_seen(s, seen, parent), next = found;
    while (next && seen-- && (next = site_of_seen(s, seen, found)) != GS_NO_SITE)
        found = next;
    return found;
}

/* ---- the site of a release ---- */

static inline uint32_t of_stack(struct gs_sites *s, uintptr_t top, struct gs_frame *frames,
                                size_t most, bool asked)
{
    struct gs_frame beyond;
    size_t n = 0, innermost = 0;
    uint32_t seen = 0;
    s->full = false;
    while (n < most && gs_frames_next(&s->frames, &top, &frames[n]))
        n++;
    uint32_t site =
        n == most && gs_frames_next(&s->frames, &top, &beyond) ? GS_CUT_SITE : GS_OUTSIDE;
    if (asked)
        asked = gs_frames_meet(&s->asked.glimpse, frames, n, &innermost, &seen);
    /* What is still there stands elsewhere by now. */
    size_t as_it_stands = asked ? innermost + 1 : 0;
    while (n-- > as_it_stands && site)
        site = find(s, &frames[n], site);
    if (asked && site)
        site = further_in(s, seen, site);
    if (__builtin_expect(!site, 0))
        atomic_fetch_add_explicit(s->full ? &s->missed : &s->unread, 1, memory_order_relaxed);
    return site == GS_OUTSIDE ? GS_NO_SITE : site;
}

static __attribute__((noinline)) uint32_t of_whole_stack(struct gs_sites *s, uintptr_t top,
                                                         bool asked)
{
    struct gs_frame frames[GS_MOST_FRAMES];
    return of_stack(s, top, frames, GS_MOST_FRAMES, asked);
}

uint32_t gs_sites_here(struct gs_sites *s, uintptr_t tstate, bool whole, bool asked)
{
    uintptr_t top = gs_frames_top(&s->frames, tstate);
    if (whole)
        return of_whole_stack(s, top, asked);
    struct gs_frame frames[GS_SITE_FRAMES];
    return of_stack(s, top, frames, GS_SITE_FRAMES, asked);
}

/* ---- describing ---- */

static size_t put_code(struct gs_sites *s, uint32_t number, char *to, size_t most)
{
    struct gs_code_text *text = &s->text;
    if (is_text(s->codes[number]))
        read_text(s->codes[number], text);
    else
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

size_t gs_sites_describe(struct gs_sites *s, struct gs_sites_block *block, size_t most)
{
    /* In this order: the codes of these sites are then among those. */
    uint32_t n_sites = atomic_load_explicit(&s->n_sites, memory_order_acquire);
    uint32_t n_codes = atomic_load_explicit(&s->n_codes, memory_order_acquire);
    char *to = (char *)(block + 1), *end = (char *)block + most;
    size_t size;
    *block = (struct gs_sites_block){0};
    while (s->described_codes < n_codes &&
           (size = put_code(s, s->described_codes, to, (size_t)(end - to))) != 0) {
        to += size;
        block->codes++;
        s->described_codes++;
    }
    while (s->described_codes >= n_codes && s->described_sites < n_sites &&
           (size_t)(end - to) >= sizeof(struct gs_site)) {
        memcpy(to, &s->list[s->described_sites++], sizeof(struct gs_site));
        to += sizeof(struct gs_site);
        block->sites++;
    }
    block->size = (uint32_t)(to - (char *)(block + 1));
    return block->size;
}
