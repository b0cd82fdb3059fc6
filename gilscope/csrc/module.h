/* What the files with Python objects share: module.c and its siblings module_*.c, the only ones
 * that may have any. */
#ifndef GILSCOPE_MODULE_H
#define GILSCOPE_MODULE_H

#include "python.h"

#include <stdbool.h>

#include "frames.h"
#include "recorder.h"

/* The functions of the siblings. */
extern PyMethodDef gs_module_program_methods[];
extern PyMethodDef gs_module_watch_methods[];

/* ---- module.c ---- */

/* Fills in what the core needs to know of the caller. With the GIL; -1: an exception is set. */
int gs_module_fill_caller(struct gs_options *o);

/* Sets the exception that fits the failure; returns NULL. With the GIL. */
PyObject *gs_module_raise(const struct gs_outcome *out, const char *path);

/* ---- module_caller.c ---- */

/* What Python reports of the frame that calls: the reader of frames is proved against it. */
struct gs_caller {
    struct gs_known_frame known; /* borrowed from: */
    PyObject *code, *outer, *name, *file, *lines, *strings[GS_KNOWN_STRINGS];
};

/* With the GIL, `c` all zeros. False, with a reason and no exception set, if Python does not report
 * it or frames must not be read here. Afterwards gs_caller_forget(), in either case. */
bool gs_caller_know(struct gs_caller *c, struct gs_why *why);
void gs_caller_forget(struct gs_caller *c);

/* Take and give back a reference. With the GIL; taking needs no thread state, so a hook may do it
 * that has the interpreter to itself. */
void gs_caller_pin(void *object);
void gs_caller_unpin(void *object);

#endif
