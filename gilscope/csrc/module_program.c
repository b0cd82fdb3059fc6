/* gilscope._core: what the program reports itself. */
#define _GNU_SOURCE
#include "module.h"

#include "program.h"

PyDoc_STRVAR(name_doc, "name_thread($module, native_id, ident, name, /)\n--\n\n"
                       "Record a thread's name, and its CPU time if it is the calling thread; "
                       "no effect if no recording is active.");

static PyObject *core_name_thread(PyObject *self, PyObject *args)
{
    (void)self;
    unsigned long long native_id, ident;
    const char *name;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "KKs#:name_thread", &native_id, &ident, &name, &size))
        return NULL;
    if (!gs_recorder_active())
        Py_RETURN_NONE;
    gs_program_thread((uint32_t)native_id, ident, name, (size_t)size);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(interval_doc, "note_interval($module, before, after, file, line, /)\n--\n\n"
                           "Record a call of sys.setswitchinterval(), in seconds; no effect if "
                           "no recording is active.");

static uint32_t microseconds(double seconds)
{
    return (uint32_t)(seconds * 1e6 + 0.5);
}

static PyObject *core_note_interval(PyObject *self, PyObject *args)
{
    (void)self;
    double before, after;
    const char *file;
    Py_ssize_t size;
    unsigned line;
    if (!PyArg_ParseTuple(args, "dds#I:note_interval", &before, &after, &file, &size, &line))
        return NULL;
    if (!gs_recorder_active())
        Py_RETURN_NONE;
    gs_program_interval(microseconds(before), microseconds(after), file, (size_t)size, line);
    Py_RETURN_NONE;
}

/* `active`: this recording is on, for as long as the caller keeps the GIL. */
static int parse_named(PyObject *const *args, Py_ssize_t n, const char *function, char **text,
                       Py_ssize_t *size, bool *active)
{
    if (n != 2) {
        PyErr_Format(PyExc_TypeError, "%s() takes a number and a name (%zd given)", function, n);
        return -1;
    }
    unsigned long recording = PyLong_AsUnsignedLong(args[0]);
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(args[1], text, size) < 0)
        return -1;
    *active = recording != 0 && recording == gs_recorder_active();
    return 0;
}

PyDoc_STRVAR(mark_doc, "mark($module, recording, name, /)\n--\n\n"
                       "Record an instant with a name in UTF-8; no effect if another recording, or "
                       "none, is active.");

static PyObject *core_mark(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    (void)self;
    char *text;
    Py_ssize_t size;
    bool active;
    if (parse_named(args, n, "mark", &text, &size, &active) < 0)
        return NULL;
    if (active)
        gs_program_mark(text, (size_t)size);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(region_begin_doc,
             "region_begin($module, recording, name, /)\n--\n\n"
             "Record that a region with a name in UTF-8 begins; return the "
             "number by which it ends, 0 if another recording, or none, is active.");

static PyObject *core_region_begin(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    (void)self;
    char *text;
    Py_ssize_t size;
    bool active;
    if (parse_named(args, n, "region_begin", &text, &size, &active) < 0)
        return NULL;
    return PyLong_FromUnsignedLong(active ? gs_program_region(text, (size_t)size) : 0);
}

PyDoc_STRVAR(region_end_doc, "region_end($module, instance, /)\n--\n\n"
                             "Record that a region ends, in any thread; no effect if no recording "
                             "is active.");

static PyObject *core_region_end(PyObject *self, PyObject *instance)
{
    (void)self;
    unsigned long number = PyLong_AsUnsignedLong(instance);
    if (PyErr_Occurred())
        return NULL;
    if (gs_recorder_active())
        gs_program_region_end((uint32_t)number);
    Py_RETURN_NONE;
}

PyMethodDef gs_module_program_methods[] = {
    {"name_thread", core_name_thread, METH_VARARGS, name_doc},
    {"note_interval", core_note_interval, METH_VARARGS, interval_doc},
    {"mark", (PyCFunction)(void (*)(void))core_mark, METH_FASTCALL, mark_doc},
    {"region_begin", (PyCFunction)(void (*)(void))core_region_begin, METH_FASTCALL,
     region_begin_doc},
    {"region_end", core_region_end, METH_O, region_end_doc},
    {NULL, NULL, 0, NULL},
};
