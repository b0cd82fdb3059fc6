/* What Python says of the frame that calls: what the reader of frames is proved against. */
#ifndef GILSCOPE_CALLER_H
#define GILSCOPE_CALLER_H

#include "python.h"

#include <stdbool.h>
#include <stddef.h>

#include "frames.h"

struct gs_caller {
    struct gs_known_frame known; /* borrowed from: */
    PyObject *code, *outer, *name, *file, *lines, *strings[GS_KNOWN_STRINGS];
};

/* With the GIL, `c` all zeros. Returns false, with no exception set, and writes into `why` what
 * Python does not say, or why frames must not be read here. Afterwards gs_caller_forget(). */
bool gs_caller_know(struct gs_caller *c, struct gs_why *why);
void gs_caller_forget(struct gs_caller *c);

/* Take and give back a reference. Taking needs no thread state: a hook may do it that has the
 * interpreter to itself. */
void gs_caller_pin(void *object);
void gs_caller_unpin(void *object);

#endif
