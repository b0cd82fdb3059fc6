#define _GNU_SOURCE
#include "program.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "emit.h"

static void emit_text(enum gs_kind kind, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i += 4) {
        uint32_t piece = 0;
        memcpy(&piece, text + i, size - i < 4 ? size - i : 4);
        gs_emit_now(kind, piece);
    }
}

void gs_program_thread(uint32_t native_id, uint64_t ident, const char *name, size_t size)
{
    gs_emit_now(GS_NAME, native_id);
    gs_emit_now(GS_IDENT_LOW, (uint32_t)ident);
    gs_emit_now(GS_IDENT_HIGH, (uint32_t)(ident >> 32));
    emit_text(GS_TEXT, name, size);
    if (native_id == (uint32_t)gettid()) {
        uint64_t cpu_ns = gs_clock_ns(CLOCK_THREAD_CPUTIME_ID);
        gs_emit_now(GS_CPU_LOW, (uint32_t)cpu_ns);
        gs_emit_now(GS_CPU_HIGH, (uint32_t)(cpu_ns >> 32));
    }
}

void gs_program_interval(uint32_t before_us, uint32_t after_us, const char *file, size_t size,
                         uint32_t line)
{
    gs_emit_now(GS_INTERVAL, after_us);
    gs_emit_now(GS_INTERVAL_WAS, before_us);
    gs_emit_now(GS_LINE, line);
    emit_text(GS_TEXT, file, size + 1); /* with its final zero */
}

/* ---- marks and regions ---- */

/* Where to cut between two characters: bytes 10xxxxxx continue one. */
static size_t whole_characters(const char *name, size_t size)
{
    if (size <= GS_MARK_NAME_MOST)
        return size;
    for (size = GS_MARK_NAME_MOST; size > 0 && (name[size] & 0xc0) == 0x80;)
        size--;
    return size;
}

static void emit_mark_name(const char *name, size_t size)
{
    char text[GS_MARK_NAME_MOST + 1];
    size = whole_characters(name, size);
    for (size_t i = 0; i < size; i++)
        text[i] = name[i] ? name[i] : ' ';
    text[size] = 0;
    emit_text(GS_MARK_NAME, text, size + 1);
}

void gs_program_mark(const char *name, size_t size)
{
    gs_emit_now(GS_MARK, 0);
    emit_mark_name(name, size);
}

uint32_t gs_program_region(const char *name, size_t size)
{
    /* Not counted anew in each recording: the end of a region of an earlier one must match none. */
    static _Atomic uint32_t last;
    uint32_t instance = atomic_fetch_add(&last, 1) + 1;
    if (instance == 0) /* 32 bits have wrapped around */
        instance = atomic_fetch_add(&last, 1) + 1;
    gs_emit_now(GS_REGION, instance);
    emit_mark_name(name, size);
    return instance;
}

void gs_program_region_end(uint32_t instance)
{
    gs_emit_now(GS_REGION_END, instance);
}
