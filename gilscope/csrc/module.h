/* What the files that Python calls share. */
#ifndef GILSCOPE_MODULE_H
#define GILSCOPE_MODULE_H

#include "python.h"

#include "recorder.h"

/* Fills in what the caller is. With the GIL; -1: an exception is set. */
int gs_module_fill_caller(struct gs_options *o);

/* Sets the exception that fits what has failed; returns NULL. */
PyObject *gs_module_raise(const struct gs_outcome *out, const char *path);

/* watching.c */
extern PyMethodDef gs_watching_methods[];

#endif
