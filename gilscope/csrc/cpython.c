#define _GNU_SOURCE
#include "cpython.h"

#include <dlfcn.h>
#include <string.h>

/* Up to 3.12 the numbers are offsetof() on 64-bit Linux (the same in 3.11.2 and 3.11.7). Since 3.13
 * _PyRuntime begins with a table of offsets, _Py_DebugOffsets: a cookie, the version, and 64-bit
 * numbers. Which entry holds which offset changes with each minor release. */
static const struct gs_cpython_row rows[] = {
    {
        .hex = 0x030b,
        .through_cframe = true,
        .str_other_after_ascii = 24,
        .at =
            {
                [GS_RUNTIME_GIL] = 360,   [GS_INTERP_THREADS] = 16,  [GS_GIL_HOLDER] = 8,
                [GS_GIL_LOCKED] = 16,     [GS_THREAD_NEXT] = 8,      [GS_THREAD_NATIVE_ID] = 160,
                [GS_THREAD_FRAME] = 56,   [GS_CFRAME_FRAME] = 8,     [GS_FRAME_CODE] = 32,
                [GS_FRAME_PREVIOUS] = 48, [GS_FRAME_INSTR] = 56,     [GS_FRAME_OWNER] = 69,
                [GS_OBJECT_TYPE] = 8,     [GS_CODE_FILE] = 112,      [GS_CODE_NAME] = 128,
                [GS_CODE_LINES] = 136,    [GS_CODE_FIRST_LINE] = 72, [GS_CODE_INSTRS] = 184,
                [GS_STR_LENGTH] = 16,     [GS_STR_STATE] = 32,       [GS_STR_ASCII] = 48,
                [GS_BYTES_SIZE] = 16,     [GS_BYTES_DATA] = 32,
            },
    },
    {
        .hex = 0x030c,
        .through_cframe = true,
        .str_other_after_ascii = 16,
        .at =
            {
                [GS_RUNTIME_INTERPRETERS] = 40,
                [GS_INTERP_GIL] = 384,
                [GS_INTERP_THREADS] = 72,
                [GS_INTERP_NEXT] = 0,
                [GS_INTERP_ID] = 8,
                [GS_GIL_HOLDER] = 8,
                [GS_GIL_LOCKED] = 16,
                [GS_THREAD_NEXT] = 8,
                [GS_THREAD_NATIVE_ID] = 144,
                [GS_THREAD_FRAME] = 56,
                [GS_CFRAME_FRAME] = 0,
                [GS_FRAME_CODE] = 0,
                [GS_FRAME_PREVIOUS] = 8,
                [GS_FRAME_INSTR] = 56,
                [GS_FRAME_OWNER] = 70,
                [GS_OBJECT_TYPE] = 8,
                [GS_CODE_FILE] = 112,
                [GS_CODE_NAME] = 128,
                [GS_CODE_LINES] = 136,
                [GS_CODE_FIRST_LINE] = 68,
                [GS_CODE_INSTRS] = 192,
                [GS_STR_LENGTH] = 16,
                [GS_STR_STATE] = 32,
                [GS_STR_ASCII] = 40,
                [GS_BYTES_SIZE] = 16,
                [GS_BYTES_DATA] = 32,
            },
    },
    {
        .hex = 0x030d,
        .by_entry = true,
        .threads_bound = true,
        .str_other_after_ascii = 16,
        .at =
            {
                [GS_RUNTIME_INTERPRETERS] = 5, [GS_INTERP_GIL] = 14,      [GS_INTERP_THREADS] = 9,
                [GS_INTERP_NEXT] = 8,          [GS_INTERP_ID] = 7,        [GS_GIL_START] = 15,
                [GS_GIL_HOLDER] = 18,          [GS_GIL_LOCKED] = 17,      [GS_THREAD_NEXT] = 21,
                [GS_THREAD_NATIVE_ID] = 25,    [GS_THREAD_FRAME] = 23,    [GS_FRAME_CODE] = 30,
                [GS_FRAME_PREVIOUS] = 29,      [GS_FRAME_INSTR] = 31,     [GS_FRAME_OWNER] = 33,
                [GS_OBJECT_TYPE] = 45,         [GS_CODE_FILE] = 35,       [GS_CODE_NAME] = 37,
                [GS_CODE_LINES] = 38,          [GS_CODE_FIRST_LINE] = 39, [GS_CODE_INSTRS] = 43,
                [GS_STR_LENGTH] = 69,          [GS_STR_STATE] = 68,       [GS_STR_ASCII] = 70,
                [GS_BYTES_SIZE] = 65,          [GS_BYTES_DATA] = 66,
            },
    },
    {
        .hex = 0x030e,
        .by_entry = true,
        .threads_bound = true,
        .str_other_after_ascii = 16,
        .at =
            {
                [GS_RUNTIME_INTERPRETERS] = 5, [GS_INTERP_GIL] = 15,      [GS_INTERP_THREADS] = 9,
                [GS_INTERP_NEXT] = 8,          [GS_INTERP_ID] = 7,        [GS_GIL_START] = 16,
                [GS_GIL_HOLDER] = 19,          [GS_GIL_LOCKED] = 18,      [GS_THREAD_NEXT] = 24,
                [GS_THREAD_NATIVE_ID] = 28,    [GS_THREAD_FRAME] = 26,    [GS_FRAME_CODE] = 33,
                [GS_FRAME_PREVIOUS] = 32,      [GS_FRAME_INSTR] = 34,     [GS_FRAME_OWNER] = 36,
                [GS_OBJECT_TYPE] = 51,         [GS_CODE_FILE] = 40,       [GS_CODE_NAME] = 42,
                [GS_CODE_LINES] = 43,          [GS_CODE_FIRST_LINE] = 44, [GS_CODE_INSTRS] = 48,
                [GS_STR_LENGTH] = 79,          [GS_STR_STATE] = 78,       [GS_STR_ASCII] = 80,
                [GS_BYTES_SIZE] = 75,          [GS_BYTES_DATA] = 76,
            },
    },
    {
        .hex = 0x030f,
        .by_entry = true,
        .threads_bound = true,
        .str_other_after_ascii = 16,
        .at =
            {
                [GS_RUNTIME_INTERPRETERS] = 5,
                [GS_INTERP_GIL] = 15,
                [GS_INTERP_THREADS] = 9,
                [GS_INTERP_NEXT] = 8,
                [GS_INTERP_ID] = 7,
                [GS_GIL_START] = 16,
                [GS_GIL_HOLDER] = 19,
                [GS_GIL_LOCKED] = 18,
                [GS_THREAD_NEXT] = 24,
                [GS_THREAD_NATIVE_ID] = 31,
                [GS_THREAD_REQUESTED] = 35,
                [GS_THREAD_FRAME] = 26,
                [GS_FRAME_CODE] = 41,
                [GS_FRAME_PREVIOUS] = 40,
                [GS_FRAME_INSTR] = 42,
                [GS_FRAME_OWNER] = 44,
                [GS_OBJECT_TYPE] = 59,
                [GS_CODE_FILE] = 48,
                [GS_CODE_NAME] = 50,
                [GS_CODE_LINES] = 51,
                [GS_CODE_FIRST_LINE] = 52,
                [GS_CODE_INSTRS] = 56,
                [GS_STR_LENGTH] = 91,
                [GS_STR_STATE] = 90,
                [GS_STR_ASCII] = 92,
                [GS_BYTES_SIZE] = 87,
                [GS_BYTES_DATA] = 88,
            },
    },
};

static const struct gs_cpython_row *row_of(unsigned python_hex)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].hex == python_hex >> 16)
            return &rows[i];
    return NULL;
}

/* The table names the release that it belongs to. */
static bool is_table_of(const uint64_t *table, unsigned python_hex)
{
    return memcmp(table, "xdebugpy", 8) == 0 && table[1] >> 16 == python_hex >> 16;
}

bool gs_cpython_find(struct gs_cpython *c, unsigned python_hex, struct gs_why *why)
{
    const unsigned first = rows[0].hex, last = rows[sizeof rows / sizeof *rows - 1].hex;
    c->runtime = (uintptr_t)dlsym(RTLD_DEFAULT, "_PyRuntime");
    c->row = row_of(python_hex);
    if (!c->row)
        return gs_refuse(why, "expected CPython %u.%u to %u.%u, found %u.%u", first >> 8,
                         first & 0xff, last >> 8, last & 0xff, python_hex >> 24,
                         python_hex >> 16 & 0xff);
    if (!c->runtime)
        return gs_refuse(why,
                         "expected the interpreter to export _PyRuntime, found no such symbol");
    const uint64_t *table = (const uint64_t *)c->runtime;
    if (c->row->by_entry && !is_table_of(table, python_hex))
        return gs_refuse(
            why,
            "expected _PyRuntime to begin with the offsets of Python %u.%u, found version %#llx",
            python_hex >> 24, python_hex >> 16 & 0xff, (unsigned long long)table[1]);
    return true;
}

uint64_t gs_cpython_offset(const struct gs_cpython *c, enum gs_field field)
{
    uint16_t at = c->row->at[field];
    return c->row->by_entry && at ? ((const uint64_t *)c->runtime)[at] : at;
}

bool gs_cpython_offsets(const struct gs_cpython *c, const struct gs_wanted_field *wanted, size_t n,
                        struct gs_why *why)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t offset = gs_cpython_offset(c, wanted[i].field);
        if (offset > UINT16_MAX)
            return gs_refuse(why, "expected entry %u of _Py_DebugOffsets below 65536, found %llu",
                             c->row->at[wanted[i].field], (unsigned long long)offset);
        *wanted[i].to = (uint16_t)offset;
    }
    return true;
}
