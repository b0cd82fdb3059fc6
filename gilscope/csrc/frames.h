/* Where CPython keeps the Python frames of a thread, and the texts of a code object: with layout.c
 * the only part that knows the interpreter's inside. */
#ifndef GILSCOPE_FRAMES_H
#define GILSCOPE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpython.h"

/* Offsets; of 64-bit builds with a GIL. */
struct gs_frames {
    uint16_t thread_frame; /* PyThreadState: the innermost frame ... */
    uint16_t cframe_frame; /* ... or what points to it (3.11 and 3.12), and where there */
    bool through_cframe;
    uint16_t code, previous, instr, owner;          /* a frame */
    uint16_t code_type;                             /* an object: its type */
    uint16_t file, name, lines, first_line, instrs; /* a code object */
    uint16_t str_length, str_state, str_ascii, str_other;
    uint16_t bytes_size, bytes_data;
    uintptr_t type; /* address of the type of code objects */
};

struct gs_text {
    const char *text; /* UTF-8 */
    size_t size;
};

#define GS_KNOWN_STRINGS 4

/* What Python reports of the calling frame and its caller. */
struct gs_known_frame {
    const void *code, *caller; /* code objects */
    int64_t offset;            /* f_lasti */
    int64_t first_line;
    int64_t size; /* bytes of instructions */
    struct gs_text name, file, lines;
    struct {
        const void *object; /* strings of each way to store one */
        struct gs_text utf8;
    } strings[GS_KNOWN_STRINGS];
};

/* Fills `f`, and proves it against what Python reports. The caller holds the GIL and passes its own
 * PyThreadState. Returns true, or writes into `why` what was expected and seen. */
bool gs_frames_prove(struct gs_frames *f, unsigned python_hex, const void *tstate,
                     const struct gs_known_frame *known, struct gs_why *why);

struct gs_frame {
    uintptr_t address;
    uintptr_t code;
    uint32_t offset; /* of the instruction, in bytes: f_lasti; of one that has not begun, below 0 */
};

static inline uintptr_t gs_frames_load(uintptr_t at)
{
    return *(const uintptr_t *)at;
}

/* The innermost frame of a thread that is this one, or holds the GIL; 0: none. */
static inline uintptr_t gs_frames_top(const struct gs_frames *f, uintptr_t tstate)
{
    uintptr_t p = gs_frames_load(tstate + f->thread_frame);
    return p && f->through_cframe ? gs_frames_load(p + f->cframe_frame) : p;
}

/* Writes the code and instruction of `*frame` or, if it is not a frame of Python code, of the next
 * outer frame that is; then moves `*frame` on to the next one. False if no frame is left. */
static inline bool gs_frames_next(const struct gs_frames *f, uintptr_t *frame, struct gs_frame *to)
{
    uintptr_t p = *frame;
    while (p && *(const uint8_t *)(p + f->owner) >= GS_FIRST_SHIM_OWNER)
        p = gs_frames_load(p + f->previous);
    if (!p)
        return false;
    to->address = p;
    to->code = gs_frames_load(p + f->code) & ~GS_REFERENCE_MARKS;
    to->offset = (uint32_t)(gs_frames_load(p + f->instr) - (to->code + f->instrs));
    *frame = gs_frames_load(p + f->previous);
    return true;
}

#define GS_GLIMPSED 4

/* Where a thread was at an instant, as another thread saw it: its innermost frames, the innermost
 * first. */
struct gs_glimpse {
    uint32_t n;
    struct gs_seen {
        uintptr_t frame, code, instr;
    } at[GS_GLIMPSED];
};

/* Looks at the thread that holds the GIL, and runs on meanwhile, by any other. Trusts no address,
 * also not that of its state, which may be one that it no longer uses. What is seen may be gone at
 * any moment. */
void gs_frames_glimpse(const struct gs_frames *f, uintptr_t tstate, struct gs_glimpse *to);

/* Likewise: true if the frame is unchanged. Then the code was there all the while, since a
 * frame keeps its code. */
bool gs_frames_still(const struct gs_frames *f, const struct gs_seen *seen);

/* Among `n` frames that a thread has, the innermost first, finds the innermost that was seen when
 * it was glimpsed. Returns whether there is one; then `*own` and `*seen` are its positions. For the
 * thread itself, when it has let the GIL go. */
bool gs_frames_meet(const struct gs_glimpse *glimpse, const struct gs_frame *frames, size_t n,
                    size_t *own, uint32_t *seen);

/* How many bytes of instructions a code object has that is there. */
size_t gs_frames_size(const struct gs_frames *f, uintptr_t code);

/* True for a code object of a program. CPython puts frames of its own between the program's
 * (`_Py_InitCleanup`, around an `__init__`): their code has no file, or its name for one, and no
 * line. */
bool gs_frames_is_code(const struct gs_frames *f, uintptr_t code);

/* The texts of a code object, valid as long as it lives: they never change. Any thread. */
struct gs_code_text {
    uint32_t first_line;
    struct gs_text lines; /* co_linetable, where it stands */
    size_t name_size, file_size;
    char name[1024], file[4096]; /* UTF-8, cut where it is longer */
};
void gs_frames_read(const struct gs_frames *f, uintptr_t code, struct gs_code_text *to);

#define GS_FAR_LINES 8192

/* What another thread could read of a code object before it went. */
struct gs_far_code {
    struct gs_code_text text; /* its lines stand here: */
    char lines[GS_FAR_LINES];
    size_t size; /* bytes of instructions */
};

/* As gs_frames_read(), of code that may go while it is read: false where it cannot be read. True
 * means something only if its frame is still there afterwards (gs_frames_still). */
bool gs_frames_read_far(const struct gs_frames *f, uintptr_t code, struct gs_far_code *to);

#endif
