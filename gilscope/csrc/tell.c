#define _GNU_SOURCE
#include "tell.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "probe.h"

static void emit_text(enum gs_kind kind, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i += 4) {
        uint32_t piece = 0;
        memcpy(&piece, text + i, size - i < 4 ? size - i : 4);
        gs_probe_emit(kind, piece);
    }
}

void gs_tell_thread(uint32_t native_id, uint64_t ident, const char *name, size_t size)
{
    gs_probe_emit(GS_NAME, native_id);
    gs_probe_emit(GS_IDENT_LOW, (uint32_t)ident);
    gs_probe_emit(GS_IDENT_HIGH, (uint32_t)(ident >> 32));
    emit_text(GS_TEXT, name, size);
    if (native_id == (uint32_t)gettid()) {
        uint64_t cpu_ns = gs_clock_ns(CLOCK_THREAD_CPUTIME_ID);
        gs_probe_emit(GS_CPU_LOW, (uint32_t)cpu_ns);
        gs_probe_emit(GS_CPU_HIGH, (uint32_t)(cpu_ns >> 32));
    }
}

void gs_tell_interval(uint32_t before_us, uint32_t after_us, const char *file, size_t size,
                      uint32_t line)
{
    gs_probe_emit(GS_INTERVAL, after_us);
    gs_probe_emit(GS_INTERVAL_WAS, before_us);
    gs_probe_emit(GS_LINE, line);
    emit_text(GS_TEXT, file, size + 1); /* with the zero that ends it */
}

/* ---- marks and regions ---- */

/* Where to cut, so that no character is cut in two: bytes 10xxxxxx go on with one. */
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

void gs_tell_mark(const char *name, size_t size)
{
    gs_probe_emit(GS_MARK, 0);
    emit_mark_name(name, size);
}

uint32_t gs_tell_region(const char *name, size_t size)
{
    /* Counted on from one recording to the next: the end of a region of an earlier one finds
     * nothing. */
    static _Atomic uint32_t last;
    uint32_t instance = atomic_fetch_add(&last, 1) + 1;
    if (instance == 0) /* all 32 bits went round */
        instance = atomic_fetch_add(&last, 1) + 1;
    gs_probe_emit(GS_REGION, instance);
    emit_mark_name(name, size);
    return instance;
}

void gs_tell_region_end(uint32_t instance)
{
    gs_probe_emit(GS_REGION_END, instance);
}
