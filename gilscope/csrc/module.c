/* gilscope._core: what Python calls. */
#define _GNU_SOURCE
#include "python.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "caller.h"
#include "clock.h"
#include "module.h"
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

int gs_module_fill_caller(struct gs_options *o)
{
    o->python_hex = running_version();
    o->tstate = PyThreadState_Get();
    o->interp = PyInterpreterState_Get();
    o->calls.inside = (const void *)PyEval_SaveThread;
    o->calls.release_and_retake = release_and_retake;
    return switch_interval_us(&o->interval_us);
}

PyObject *gs_module_raise(const struct gs_outcome *out, const char *path)
{
    switch (out->failure) {
    case GS_BUSY:
        PyErr_SetString(PyExc_RuntimeError, out->why.text);
        break;
    case GS_NO_LAYOUT:
        PyErr_SetString(layout_error, out->why.text);
        break;
    case GS_NO_PROBE:
        PyErr_SetString(probe_error, out->why.text);
        break;
    case GS_NO_STATES:
        PyErr_SetString(states_error, out->why.text);
        break;
    default:
        errno = out->error;
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
        break;
    }
    return NULL;
}

/* Why sites are not recorded: an empty string, they are, or were not asked for. */
static void start_located(struct gs_options *o, struct gs_outcome *out)
{
    struct gs_caller caller = {0};
    if (gs_caller_know(&caller, &out->no_sites)) {
        o->known = &caller.known;
        o->pin = gs_caller_pin;
        o->unpin = gs_caller_unpin;
        gs_recorder_start(o, out);
    } else {
        struct gs_why why;
        why = out->no_sites;
        gs_recorder_start(o, out);
        out->no_sites = why;
    }
    gs_caller_forget(&caller);
}

PyDoc_STRVAR(
    start_doc,
    "start($module, /, spool, probe, observe, period_ns, whole_over_ns=None, wanted=None)\n"
    "--\n\n"
    "Start recording into a new spool file; it ends by itself soon after the empty file "
    "`wanted` is removed or has something in it. With whole_over_ns releases say where they "
    "were, and those of longer holds with all callers. Return the recording's number, and "
    "why releases do not say where they were, or an empty string.");

static int path_or_none(PyObject *value, void *path)
{
    return value == Py_None ? 1 : PyUnicode_FSConverter(value, path);
}

static PyObject *core_start(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)self;
    static char *keywords[] = {"spool",         "probe",  "observe", "period_ns",
                               "whole_over_ns", "wanted", NULL};
    PyObject *path = NULL, *wanted = NULL, *whole_over = Py_None;
    int probe, observe;
    unsigned long long period_ns, whole_over_ns = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&ppK|OO&:start", keywords,
                                     PyUnicode_FSConverter, &path, &probe, &observe, &period_ns,
                                     &whole_over, path_or_none, &wanted))
        return NULL;
    bool locate = probe && whole_over != Py_None;
    if (locate)
        whole_over_ns = PyLong_AsUnsignedLongLong(whole_over);
    const char *spool = PyBytes_AsString(path);
    struct gs_options o = {.spool = spool,
                           .wanted = wanted ? PyBytes_AsString(wanted) : NULL,
                           .probe = probe,
                           .observe = observe,
                           .period_ns = period_ns,
                           .log2_slots = RING_LOG2_SLOTS,
                           .whole_over_ns = whole_over_ns};
    struct gs_outcome out = {0};
    PyObject *result = NULL;
    if (spool && !PyErr_Occurred() && gs_module_fill_caller(&o) == 0) {
        if (locate)
            start_located(&o, &out);
        else
            gs_recorder_start(&o, &out);
        result = out.failure
                     ? gs_module_raise(&out, spool)
                     : Py_BuildValue("ks", (unsigned long)gs_recorder_active(), out.no_sites.text);
    }
    Py_DECREF(path);
    Py_XDECREF(wanted);
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
        gs_module_fill_caller(&o) != 0)
        return NULL;
    o.probe = probe;
    o.observe = observe;
    struct gs_layout layout;
    struct gs_outcome out;
    gs_recorder_prove(&o, &layout, &out);
    if (out.failure)
        return gs_module_raise(&out, NULL);
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

/* `active` says whether it is this recording that is on, as long as the caller keeps the GIL. */
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
                       "Record an instant with a name in UTF-8; without effect when it is not this "
                       "recording that is on.");

static PyObject *core_mark(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    (void)self;
    char *text;
    Py_ssize_t size;
    bool active;
    if (parse_named(args, n, "mark", &text, &size, &active) < 0)
        return NULL;
    if (active)
        gs_tell_mark(text, (size_t)size);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(region_begin_doc,
             "region_begin($module, recording, name, /)\n--\n\n"
             "Record that a region with a name in UTF-8 begins; return the "
             "number by which it ends, 0 when it is not this recording that is on.");

static PyObject *core_region_begin(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    (void)self;
    char *text;
    Py_ssize_t size;
    bool active;
    if (parse_named(args, n, "region_begin", &text, &size, &active) < 0)
        return NULL;
    return PyLong_FromUnsignedLong(active ? gs_tell_region(text, (size_t)size) : 0);
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
    return PyBool_FromLong(gs_recorder_active() != 0);
}

PyDoc_STRVAR(cost_doc, "event_cost($module, n, /)\n--\n\n"
                       "Time n hooked calls, n that find the site, n bare ones and n clock reads; "
                       "nanoseconds each, not a number where sites cannot be had.");

static double located_cost(unsigned n, double bare_ns)
{
    struct gs_why why;
    struct gs_caller caller = {0};
    struct gs_options o = {.known = &caller.known, .pin = gs_caller_pin, .unpin = gs_caller_unpin};
    double hooked = NAN;
    if (gs_caller_know(&caller, &why) && gs_module_fill_caller(&o) == 0)
        hooked = gs_recorder_located_cost(&o, n);
    PyErr_Clear();
    gs_caller_forget(&caller);
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
    gs_ring_prepare(&ring, UINT64_C(1) << RING_LOG2_SLOTS);
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
    {"mark", (PyCFunction)(void (*)(void))core_mark, METH_FASTCALL, mark_doc},
    {"region_begin", (PyCFunction)(void (*)(void))core_region_begin, METH_FASTCALL,
     region_begin_doc},
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
    return PyModule_AddFunctions(module, gs_watching_methods);
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
