/* What the core knows about the memory of each CPython release: a new release needs one new row in
 * cpython.c, and nothing else. */
#ifndef GILSCOPE_CPYTHON_H
#define GILSCOPE_CPYTHON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "why.h"

/* ---- facts that are the same since 3.11 ---- */

/* The GIL's struct: interval, last_holder, locked, switch_number, cond, mutex, switch_cond,
 * switch_mutex. Free-threaded builds put one int before all of them, so count from last_holder. */
#define GS_INTERVAL_BEFORE_HOLDER 8
#define GS_SWITCHES_AFTER_LOCKED  8
#define GS_COND_AFTER_LOCKED      16

/* _PyRuntime, after the head of the list of interpreters (3.12 on). */
#define GS_MAIN_AFTER_HEAD    8
#define GS_NEXT_ID_AFTER_HEAD 16

/* FRAME_OWNED_BY_CSTACK (3.12 on) and FRAME_OWNED_BY_INTERPRETER (3.14 on): frames in which no
 * Python code runs. The owners of other frames have smaller numbers. */
#define GS_FIRST_SHIM_OWNER 3

/* 3.14 on: a reference to an object carries marks in its lowest bits, which are 0 before. */
#define GS_REFERENCE_MARKS ((uintptr_t)7)

/* The state of a str: bits 2 to 4 are the bytes of a character, bit 5 is set if the characters
 * follow the object, bit 6 if all are ASCII. */
#define GS_STR_KIND(state)       ((state) >> 2 & 7)
#define GS_STR_IS_COMPACT(state) ((state) >> 5 & 1)
#define GS_STR_IS_ASCII(state)   ((state) >> 6 & 1)

/* ---- facts that differ ---- */

enum gs_field {
    GS_RUNTIME_GIL,          /* _PyRuntime: the GIL; 3.11 only */
    GS_RUNTIME_INTERPRETERS, /* _PyRuntime: head of the list of interpreters; 3.12 on */
    GS_INTERP_GIL,           /* PyInterpreterState: pointer to the GIL in force; 3.12 on */
    GS_INTERP_THREADS,       /* head of the list of threads */
    GS_INTERP_NEXT,
    GS_INTERP_ID,
    GS_GIL_START,  /* the GIL's struct; the next two are in it, */
    GS_GIL_HOLDER, /* counted from where GS_GIL_START is counted from */
    GS_GIL_LOCKED,
    GS_THREAD_NEXT, /* PyThreadState */
    GS_THREAD_NATIVE_ID,
    GS_THREAD_REQUESTED, /* gil_requested; 3.15 on */
    GS_THREAD_FRAME,     /* the innermost frame, or the _PyCFrame that points to it */
    GS_CFRAME_FRAME,     /* _PyCFrame: the innermost frame; 3.11 and 3.12 */
    GS_FRAME_CODE,       /* _PyInterpreterFrame */
    GS_FRAME_PREVIOUS,
    GS_FRAME_INSTR,
    GS_FRAME_OWNER,
    GS_OBJECT_TYPE, /* PyObject */
    GS_CODE_FILE,   /* PyCodeObject */
    GS_CODE_NAME,   /* its qualified name */
    GS_CODE_LINES,
    GS_CODE_FIRST_LINE,
    GS_CODE_INSTRS,
    GS_STR_LENGTH, /* PyASCIIObject */
    GS_STR_STATE,
    GS_STR_ASCII,  /* its size: the characters of a str that is all ASCII */
    GS_BYTES_SIZE, /* PyBytesObject */
    GS_BYTES_DATA,
    GS_FIELDS
};

/* One minor release; `at` holds 0 for a field that it does not have. */
struct gs_cpython_row {
    unsigned hex; /* major and minor version, as in PY_VERSION_HEX >> 16 */
    /* `at` holds numbers of entries of _Py_DebugOffsets, where the offsets are, not the offsets. */
    bool by_entry;
    /* The interpreter's list and a thread's own state are kept apart since 3.13: there, code that
     * runs in another interpreter has a thread state of the thread that runs it. 3.12 lends it the
     * state of the thread that made the interpreter, with that thread's native id. */
    bool threads_bound;
    bool through_cframe; /* GS_THREAD_FRAME is a _PyCFrame */
    /* Size of PyCompactUnicodeObject beyond PyASCIIObject: other characters follow it. */
    uint16_t str_other_after_ascii;
    uint16_t at[GS_FIELDS];
};

/* The running interpreter. */
struct gs_cpython {
    const struct gs_cpython_row *row;
    uintptr_t runtime; /* address of _PyRuntime */
};

/* Finds the row of a release, and _PyRuntime. False, with a reason, if the release is not known, if
 * the symbol is hidden, or if _PyRuntime does not begin as that release has it. Any thread. */
bool gs_cpython_find(struct gs_cpython *c, unsigned python_hex, struct gs_why *why);

/* The offset of a field in bytes; 0 if this release does not have it. Any thread. */
uint64_t gs_cpython_offset(const struct gs_cpython *c, enum gs_field field);

struct gs_wanted_field {
    enum gs_field field;
    uint16_t *to;
};

/* Looks up several fields. False, with a reason, if one of them is out of range. Any thread. */
bool gs_cpython_offsets(const struct gs_cpython *c, const struct gs_wanted_field *wanted, size_t n,
                        struct gs_why *why);

#endif
