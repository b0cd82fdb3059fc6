/* gilscope._core: the only file that knows PyObject. */
#define _GNU_SOURCE
#include <pyconfig.h> /* Py_GIL_DISABLED: free-threaded builds have no stable ABI */
#if !defined(Py_GIL_DISABLED) && !defined(Py_LIMITED_API)
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "recorder.h"
#include "tell.h"

#define RING_LOG2_SLOTS 20 /* 16 MB: a sampler 100 ms late at four million transitions a second */

static PyObject *layout_error, *probe_error, *states_error;

static void release_and_retake(void)
{
    PyEval_RestoreThread(PyEval_SaveThread());
}

static unsigned running_version(void)
{
    /* Not the version it was built against: one build serves them all. */
    return (unsigned)Py_Version;
}

static int switch_interval_us(uint64_t *interval_us)
{
    PyObject *get = PySys_GetObject("getswitchinterval"); /* borrowed */
    PyObject *value = get ? PyObject_CallNoArgs(get) : NULL;
    if (!value) {
        if (!PyErr_Occurred())
            PyErr_SetString(layout_error, "sys.getswitchinterval is missing");
        return -1;
    }
    double seconds = PyFloat_AsDouble(value);
    Py_DECREF(value);
    if (PyErr_Occurred())
        return -1;
    *interval_us = (uint64_t)(seconds * 1e6 + 0.5);
    return 0;
}

static int fill_caller(struct gs_options *o)
{
    o->python_hex = running_version();
    o->tstate = PyThreadState_Get();
    o->interp = PyInterpreterState_Get();
    o->calls.inside = (const void *)PyEval_SaveThread;
    o->calls.release_and_retake = release_and_retake;
    return switch_interval_us(&o->interval_us);
}

static PyObject *raise_outcome(const struct gs_outcome *out, const char *path)
{
    switch (out->failure) {
    case GS_BUSY:
        PyErr_SetString(PyExc_RuntimeError, out->why);
        break;
    case GS_NO_LAYOUT:
        PyErr_SetString(layout_error, out->why);
        break;
    case GS_NO_PROBE:
        PyErr_SetString(probe_error, out->why);
        break;
    case GS_NO_STATES:
        PyErr_SetString(states_error, out->why);
        break;
    default:
        errno = out->error;
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
        break;
    }
    return NULL;
}

/* ---- what Python says of the calling frame ---- */

enum {
    N_STRINGS = sizeof(((struct gs_known_frame *)NULL)->strings) /
    sizeof(((struct gs_known_frame *)NULL)->strings[0])
};

/* What the texts of a gs_known_frame are borrowed from. */
struct caller {
    struct gs_known_frame known;
    PyObject *code, *outer, *name, *file, *lines, *strings[N_STRINGS];
};

static void forget_caller(struct caller *c)
{
    PyObject *objects[] = {c->code, c->outer, c->name, c->file, c->lines};
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        Py_XDECREF(objects[i]);
    for (int i = 0; i < N_STRINGS; i++)
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

static bool know_strings(struct caller *c)
{
    static const char *const texts[N_STRINGS] = {"plain", "caf\xc3\xa9", "\xce\xbb",
                                                 "\xf0\x9f\x90\x8d"};
    for (int i = 0; i < N_STRINGS; i++) {
        c->strings[i] = PyUnicode_FromString(texts[i]);
        c->known.strings[i].object = c->strings[i];
        if (!utf8_of(c->strings[i], &c->known.strings[i].utf8))
            return false;
    }
    return true;
}

static bool know_caller(struct caller *c)
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
           number_of(c->code, "co_firstlineno", &c->known.first_line) && know_strings(c);
}

static void pin(void *object)
{
    Py_IncRef(object);
}

static void unpin(void *object)
{
    Py_DecRef(object);
}

/* A reference counted in a debug build needs a thread state, which a hook may not have. */
static bool counts_references(void)
{
    return PySys_GetObject("gettotalrefcount") != NULL;
}

static PyObject *start_located(struct gs_options *o, struct gs_outcome *out)
{
    struct caller c = {0};
    if (counts_references()) {
        gs_recorder_start(o, out);
        snprintf(out->no_sites, sizeof out->no_sites, "this is a debug build of CPython");
    } else if (know_caller(&c)) {
        o->known = &c.known;
        o->pin = pin;
        o->unpin = unpin;
        gs_recorder_start(o, out);
    } else { /* a file name that is no text, say: no reason not to record the rest */
        PyErr_Clear();
        gs_recorder_start(o, out);
        snprintf(out->no_sites, sizeof out->no_sites, "Python cannot say where it is called");
    }
    forget_caller(&c);
    return PyUnicode_FromString(out->no_sites);
}

PyDoc_STRVAR(start_doc,
             "start($module, /, spool, probe, observe, period_ns, whole_over_ns=None)\n"
             "--\n\n"
             "Start recording into a new spool file. With whole_over_ns releases say where "
             "they were, and those of longer holds with all callers; return why they "
             "cannot, or an empty string.");

static PyObject *core_start(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)self;
    static char *keywords[] = {"spool", "probe", "observe", "period_ns", "whole_over_ns", NULL};
    PyObject *path = NULL, *whole_over = Py_None;
    int probe, observe;
    unsigned long long period_ns, whole_over_ns = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&ppK|O:start", keywords, PyUnicode_FSConverter,
                                     &path, &probe, &observe, &period_ns, &whole_over))
        return NULL;
    bool locate = probe && whole_over != Py_None;
    if (locate)
        whole_over_ns = PyLong_AsUnsignedLongLong(whole_over);
    const char *spool = PyBytes_AsString(path);
    struct gs_options o = {.spool = spool,
                           .probe = probe,
                           .observe = observe,
                           .period_ns = period_ns,
                           .log2_slots = RING_LOG2_SLOTS,
                           .whole_over_ns = whole_over_ns};
    struct gs_outcome out = {0};
    PyObject *result = NULL;
    if (spool && !PyErr_Occurred() && fill_caller(&o) == 0) {
        if (locate) {
            result = start_located(&o, &out);
        } else {
            gs_recorder_start(&o, &out);
            result = PyUnicode_FromString("");
        }
        if (out.failure) {
            Py_CLEAR(result);
            raise_outcome(&out, spool);
        }
    }
    Py_DECREF(path);
    return result;
}

PyDoc_STRVAR(stop_doc,
             "stop($module, /)\n--\n\n"
             "Stop recording; say how much was written, and the error that cut it short.");

static PyObject *core_stop(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    if (!gs_recorder_active()) {
        PyErr_SetString(PyExc_RuntimeError, "no recording is active");
        return NULL;
    }
    struct gs_outcome out;
    gs_recorder_stop();
    Py_BEGIN_ALLOW_THREADS gs_recorder_join(&out);
    Py_END_ALLOW_THREADS gs_recorder_finish();
    return Py_BuildValue("{sKsKsisOsOsIsK}", "spool_bytes", (unsigned long long)out.spool_bytes,
                         "sampler_cpu_ns", (unsigned long long)out.sampler_cpu_ns, "error",
                         out.error, "hooks_stayed", out.hooks_stayed ? Py_True : Py_False,
                         "gils_listed", out.gils_listed ? Py_True : Py_False, "gils_missed",
                         out.gils_missed, "sites_missed", (unsigned long long)out.sites_missed);
}

PyDoc_STRVAR(flush_doc, "flush($module, /)\n--\n\n"
                        "Have all that is recorded by now in the spool file; without effect when "
                        "no recording is active.");

static PyObject *core_flush(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    if (gs_recorder_active()) {
        uint32_t asked = gs_recorder_ask_flush();
        Py_BEGIN_ALLOW_THREADS gs_recorder_await_flush(asked);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static PyObject *slots_hold(int n)
{
    PyObject *list = PyList_New(n);
    for (int i = 0; list && i < n; i++) {
        PyObject *value = PyLong_FromVoidPtr((void *)gs_probe_slot(i));
        if (!value || PyList_SetItem(list, i, value) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

PyDoc_STRVAR(prove_doc, "prove($module, /, probe, observe)\n--\n\n"
                        "Prove that recording would work here; return what was found, and what "
                        "each slot that hooks go into holds.");

static PyObject *core_prove(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)self;
    static char *keywords[] = {"probe", "observe", NULL};
    struct gs_options o = {0};
    int probe, observe;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "pp:prove", keywords, &probe, &observe) ||
        fill_caller(&o) != 0)
        return NULL;
    o.probe = probe;
    o.observe = observe;
    struct gs_layout layout;
    struct gs_outcome out;
    gs_recorder_prove(&o, &layout, &out);
    if (out.failure)
        return raise_outcome(&out, NULL);
    PyObject *slots = slots_hold(probe ? gs_probe_slots() : 0);
    if (!slots)
        return NULL;
    return Py_BuildValue("{sssNsO}", "clock", gs_recorder_uses_tsc() ? "tsc" : "monotonic", "slots",
                         slots, "requested_flag", layout.thread_requested ? Py_True : Py_False);
}

PyDoc_STRVAR(name_doc, "name_thread($module, native_id, ident, name, /)\n--\n\n"
                       "Record a thread's name, and its CPU time where it is the calling thread; "
                       "without effect when no recording is active.");

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
    gs_tell_thread((uint32_t)native_id, ident, name, (size_t)size);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(interval_doc, "note_interval($module, before, after, file, line, /)\n--\n\n"
                           "Record a call of sys.setswitchinterval(), in seconds; without effect "
                           "when no recording is active.");

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
    gs_tell_interval(microseconds(before), microseconds(after), file, (size_t)size, line);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(mark_doc, "mark($module, name, /)\n--\n\n"
                       "Record an instant with a name in UTF-8; without effect when no recording "
                       "is active.");

static PyObject *core_mark(PyObject *self, PyObject *name)
{
    (void)self;
    char *text;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(name, &text, &size) < 0)
        return NULL;
    if (gs_recorder_active())
        gs_tell_mark(text, (size_t)size);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(region_begin_doc, "region_begin($module, name, /)\n--\n\n"
                               "Record that a region with a name in UTF-8 begins; return the "
                               "number by which it ends, 0 when no recording is active.");

static PyObject *core_region_begin(PyObject *self, PyObject *name)
{
    (void)self;
    char *text;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(name, &text, &size) < 0)
        return NULL;
    return PyLong_FromUnsignedLong(gs_recorder_active() ? gs_tell_region(text, (size_t)size) : 0);
}

PyDoc_STRVAR(region_end_doc, "region_end($module, instance, /)\n--\n\n"
                             "Record that a region ends, in whichever thread; without effect when "
                             "no recording is active.");

static PyObject *core_region_end(PyObject *self, PyObject *instance)
{
    (void)self;
    unsigned long number = PyLong_AsUnsignedLong(instance);
    if (PyErr_Occurred())
        return NULL;
    if (gs_recorder_active())
        gs_tell_region_end((uint32_t)number);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(active_doc, "active($module, /)\n--\n\nTell whether a recording is on.");

static PyObject *core_active(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return PyBool_FromLong(gs_recorder_active());
}

PyDoc_STRVAR(cost_doc, "event_cost($module, n, /)\n--\n\n"
                       "Time n hooked calls, n that find the site, n bare ones and n clock reads; "
                       "nanoseconds each, not a number where sites cannot be had.");

static double located_cost(unsigned n, double bare_ns)
{
    struct caller c = {0};
    struct gs_options o = {.known = &c.known, .pin = pin, .unpin = unpin};
    double hooked = NAN;
    if (!counts_references() && know_caller(&c) && fill_caller(&o) == 0)
        hooked = gs_recorder_located_cost(&o, n);
    PyErr_Clear();
    forget_caller(&c);
    return hooked - bare_ns;
}

static PyObject *core_event_cost(PyObject *self, PyObject *args)
{
    (void)self;
    int n;
    if (!PyArg_ParseTuple(args, "i:event_cost", &n))
        return NULL;
    static struct gs_ring ring;
    if (gs_recorder_active() || n <= 0 || !gs_ring_open(&ring, RING_LOG2_SLOTS)) {
        PyErr_SetString(PyExc_RuntimeError, "event_cost needs n > 0 and no active recording");
        return NULL;
    }
    double hooked, bare;
    bool tsc = gs_recorder_uses_tsc();
    gs_probe_bind(&ring, tsc, NULL);
    gs_probe_cost((unsigned)n, NULL, &hooked, &bare);
    double located = located_cost((unsigned)n, bare);
    gs_ring_close(&ring);
    volatile uint64_t sink;
    uint64_t begin = gs_clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < n; i++)
        sink = gs_clock_stamp(tsc);
    (void)sink;
    double clock = (double)(gs_clock_ns(CLOCK_MONOTONIC) - begin) / n;
    return Py_BuildValue("{sdsdsdsd}", "event_ns", hooked - bare, "located_ns", located,
                         "bare_call_ns", bare, "clock_read_ns", clock);
}

static PyMethodDef methods[] = {
    {"start", (PyCFunction)(void (*)(void))core_start, METH_VARARGS | METH_KEYWORDS, start_doc},
    {"stop", core_stop, METH_NOARGS, stop_doc},
    {"flush", core_flush, METH_NOARGS, flush_doc},
    {"prove", (PyCFunction)(void (*)(void))core_prove, METH_VARARGS | METH_KEYWORDS, prove_doc},
    {"name_thread", core_name_thread, METH_VARARGS, name_doc},
    {"note_interval", core_note_interval, METH_VARARGS, interval_doc},
    {"mark", core_mark, METH_O, mark_doc},
    {"region_begin", core_region_begin, METH_O, region_begin_doc},
    {"region_end", core_region_end, METH_O, region_end_doc},
    {"active", core_active, METH_NOARGS, active_doc},
    {"event_cost", core_event_cost, METH_VARARGS, cost_doc},
    {NULL, NULL, 0, NULL},
};

static int add_error(PyObject *module, PyObject **error, const char *name, const char *qualified)
{
    if (!*error)
        *error = PyErr_NewException(qualified, PyExc_RuntimeError, NULL);
    return *error ? PyModule_AddObjectRef(module, name, *error) : -1;
}

static int core_exec(PyObject *module)
{
    /* One recording in a process, and one interpreter's objects in these variables. */
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        PyErr_SetString(PyExc_ImportError,
                        "gilscope._core can be loaded in the main interpreter only");
        return -1;
    }
    if (add_error(module, &layout_error, "LayoutError", "gilscope._core.LayoutError") < 0 ||
        add_error(module, &probe_error, "ProbeError", "gilscope._core.ProbeError") < 0 ||
        add_error(module, &states_error, "StatesError", "gilscope._core.StatesError") < 0)
        return -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)core_exec},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "gilscope._core",
    .m_doc = "The recorder. Use gilscope.trace().",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
