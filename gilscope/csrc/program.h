/* What the program itself reports: names of threads, switch intervals, marks and regions. Each
 * report is several records, one after the other by the calling thread, in the form that record.h
 * defines.
 *
 * All: with the GIL, while a recording takes records (gs_recorder_active). */
#ifndef GILSCOPE_PROGRAM_H
#define GILSCOPE_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

/* A thread's name, and its CPU time so far if it is the calling thread. */
void gs_program_thread(uint32_t native_id, uint64_t ident, const char *name, size_t size);

/* A call of sys.setswitchinterval(), and the file and line of its caller. `file` ends in a zero
 * that `size` does not count. */
void gs_program_interval(uint32_t before_us, uint32_t after_us, const char *file, size_t size,
                         uint32_t line);

/* Names of marks and regions are UTF-8. They may be of any length and contain zeros; kept are the
 * whole characters in the first GS_MARK_NAME_MOST bytes, with a space for each zero. */
#define GS_MARK_NAME_MOST 255

/* An instant with a name. */
void gs_program_mark(const char *name, size_t size);

/* A region with a name begins. Returns the number by which it ends: never 0, and never the same
 * twice in this process. */
uint32_t gs_program_region(const char *name, size_t size);

/* It ends, in any thread. */
void gs_program_region_end(uint32_t instance);

#endif
