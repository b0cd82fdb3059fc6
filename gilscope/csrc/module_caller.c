/* gilscope._core: what Python reports of the frame that calls. */
#define _GNU_SOURCE
#include "module.h"

void gs_caller_forget(struct gs_caller *c)
{
    PyObject *objects[] = {c->code, c->outer, c->name, c->file, c->lines};
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        Py_XDECREF(objects[i]);
    for (int i = 0; i < GS_KNOWN_STRINGS; i++)
        Py_XDECREF(c->strings[i]);
}

static bool utf8_of(PyObject *string, struct gs_text *text)
{
    Py_ssize_t size = 0;
    text->text = string ? PyUnicode_AsUTF8AndSize(string, &size) : NULL;
    text->size = (size_t)size;
    return text->text != NULL;
}

static bool number_of(PyObject *object, const char *attribute, int64_t *number)
{
    PyObject *value = PyObject_GetAttrString(object, attribute);
    *number = value ? PyLong_AsLongLong(value) : -1;
    Py_XDECREF(value);
    return !PyErr_Occurred();
}

static bool know_strings(struct gs_caller *c)
{
    static const char *const texts[GS_KNOWN_STRINGS] = {"plain", "caf\xc3\xa9", "\xce\xbb",
                                                        "\xf0\x9f\x90\x8d"};
    for (int i = 0; i < GS_KNOWN_STRINGS; i++) {
        c->strings[i] = PyUnicode_FromString(texts[i]);
        c->known.strings[i].object = c->strings[i];
        if (!utf8_of(c->strings[i], &c->known.strings[i].utf8))
            return false;
    }
    return true;
}

static bool know_size(struct gs_caller *c)
{
    PyObject *instructions = PyObject_GetAttrString(c->code, "co_code");
    c->known.size = instructions ? PyBytes_Size(instructions) : -1;
    Py_XDECREF(instructions);
    return !PyErr_Occurred();
}

static bool know_caller(struct gs_caller *c)
{
    PyFrameObject *frame = PyEval_GetFrame(); /* borrowed */
    if (!frame)
        return false;
    PyObject *back = PyObject_GetAttrString((PyObject *)frame, "f_back");
    c->code = (PyObject *)PyFrame_GetCode(frame);
    c->outer = back && back != Py_None ? PyObject_GetAttrString(back, "f_code") : NULL;
    Py_XDECREF(back);
    c->name = PyObject_GetAttrString(c->code, "co_qualname");
    c->file = PyObject_GetAttrString(c->code, "co_filename");
    c->lines = PyObject_GetAttrString(c->code, "co_linetable");
    if (!c->lines || !PyBytes_Check(c->lines))
        return false;
    c->known.code = c->code;
    c->known.caller = c->outer;
    c->known.lines = (struct gs_text){PyBytes_AsString(c->lines), (size_t)PyBytes_Size(c->lines)};
    return utf8_of(c->name, &c->known.name) && utf8_of(c->file, &c->known.file) &&
           number_of((PyObject *)frame, "f_lasti", &c->known.offset) &&
           number_of(c->code, "co_firstlineno", &c->known.first_line) && know_size(c) &&
           know_strings(c);
}

/* A debug build counts all references in the thread state, which a hook may not have. */
static bool counts_references(void)
{
    return PySys_GetObject("gettotalrefcount") != NULL;
}

bool gs_caller_know(struct gs_caller *c, struct gs_why *why)
{
    if (counts_references())
        return gs_refuse(why, "this is a debug build of CPython");
    if (know_caller(c))
        return true;
    PyErr_Clear(); /* such as for a file name that is not text: the rest can be recorded */
    return gs_refuse(why, "Python does not report the calling frame");
}

void gs_caller_pin(void *object)
{
    Py_IncRef(object);
}

void gs_caller_unpin(void *object)
{
    Py_DecRef(object);
}
