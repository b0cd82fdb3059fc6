/* Where in the program the GIL was released: stacks of Python frames, each under one number.
 *
 * A site is a frame at an instruction, called from another site. Sites are found and made in the
 * hook of a release, under the GIL's own mutex, so there is one writer at a time; the sampler reads
 * what is there and has it written. The room for them is bounded: what finds none is counted. */
#ifndef GILSCOPE_SITES_H
#define GILSCOPE_SITES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames.h"
#include "record.h"

#define GS_LOG2_SITES 17 /* 131,072 */
#define GS_LOG2_CODES 15 /* 32,768 code objects */

#define GS_FAR_TEXTS (1u << 20) /* bytes for what is known of code that may be gone */

#define GS_SITE_FRAMES 4 /* frames kept of a short hold */
#define GS_MOST_FRAMES 256

struct gs_site_slot {
    uintptr_t code;
    uint32_t offset, parent;
    uint32_t site; /* 0: free */
    uint32_t unused;
};

struct gs_sites {
    struct gs_frames frames;
    void (*pin)(void *object);  /* takes a reference: the code must stay where it is */
    struct gs_site_slot *slots; /* open addressing, twice as many as sites */
    struct gs_site *list;       /* by number */
    struct gs_code_slot {
        uintptr_t code; /* odd: no address, but the key of a text */
        uint32_t number;
        bool shim; /* a frame of the interpreter's own */
    } *code_slots;
    uintptr_t *codes; /* by number; odd: one more than the address of a text */
    char *texts;      /* of code that is not there any more */
    size_t texts_size;
    /* Where the holder was when it was asked to let the GIL go. */
    struct {
        struct gs_glimpse glimpse;
        struct gs_far_code codes[GS_GLIMPSED];
        bool read[GS_GLIMPSED]; /* of these the text is whole */
    } asked;
    _Atomic uint32_t n_sites, n_codes;
    _Atomic uint64_t missed;   /* releases whose site found no room */
    _Atomic uint64_t unread;   /* releases whose frames were no code when they were read */
    uint32_t used, used_codes; /* slots */
    bool full;                 /* the site being looked for found no room */
    /* the sampler's own */
    uint32_t described_sites, described_codes;
    struct gs_code_text text;
};

/* Before hooks use it. False where memory cannot be had. */
bool gs_sites_open(struct gs_sites *s, const struct gs_frames *frames, void (*pin)(void *object));

/* Notes where the holder is, which has just been asked to let the GIL go. Under the GIL's mutex, by
 * the thread that asked. Allocates nothing; keeps errno. */
void gs_sites_ask(struct gs_sites *s, uintptr_t holder);

/* The site of the thread's innermost frame; with `asked`, where gs_sites_ask() saw it last, as far
 * as that is known. Under the GIL's mutex, by the thread whose state is given. `whole`: keep the
 * whole stack. Allocates nothing; takes a reference to each code object that it sees for the first
 * time. */
uint32_t gs_sites_here(struct gs_sites *s, uintptr_t tstate, bool whole, bool asked);

/* The sampler only. Describes sites that it has not described yet: fills a block of the spool, at
 * most `most` bytes with what follows it. Returns how many bytes follow; 0 when nothing is new. */
size_t gs_sites_describe(struct gs_sites *s, struct gs_sites_block *block, size_t most);

/* When no thread uses it any more. Gives back each code object with `unpin`; NULL: leaves them. */
void gs_sites_close(struct gs_sites *s, void (*unpin)(void *object));

#endif
