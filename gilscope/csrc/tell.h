/* What the program tells the recorder: each saying is several records, one after the other by the
 * calling thread, in the form that record.h defines. Only while a recording takes records. */
#ifndef GILSCOPE_TELL_H
#define GILSCOPE_TELL_H

#include <stddef.h>
#include <stdint.h>

/* A thread's name, and the CPU time so far where it is the calling thread. */
void gs_tell_thread(uint32_t native_id, uint64_t ident, const char *name, size_t size);

/* A call of sys.setswitchinterval(), and who made it. */
void gs_tell_interval(uint32_t before_us, uint32_t after_us, const char *file, size_t size,
                      uint32_t line);

/* Names of marks and regions are UTF-8. They may be of any length, and hold zeros: what is kept are
 * whole characters of the first GS_MARK_NAME_MOST bytes, with a space for each zero. */
#define GS_MARK_NAME_MOST 255

/* An instant with a name. */
void gs_tell_mark(const char *name, size_t size);
/* A region with a name begins. Returns the number by which it ends, never 0 and never the same
 * twice, in whichever recording. */
uint32_t gs_tell_region(const char *name, size_t size);
/* It ends, in whichever thread. */
void gs_tell_region_end(uint32_t instance);

#endif
