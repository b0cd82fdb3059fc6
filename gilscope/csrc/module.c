/* gilscope._core: the module, and what starts, stops and proves a recording. */
#define _GNU_SOURCE
#include "module.h"

#include <errno.h>

#include "cost.h"
#include "fork.h"

static PyObject *layout_error, *hooks_error, *states_error;

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
    case GS_NO_HOOKS:
        PyErr_SetString(hooks_error, out->why.text);
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

/* With sites, where Python reports enough of its caller. */
static void start_located(struct gs_options *o, struct gs_outcome *out)
{
    struct gs_caller caller = {0};
    struct gs_why why;
    if (gs_caller_know(&caller, &why)) {
        o->known = &caller.known;
        o->pin = gs_caller_pin;
        o->unpin = gs_caller_unpin;
        gs_recorder_start(o, out);
    } else {
        gs_recorder_start(o, out);
        out->no_sites = why;
    }
    gs_caller_forget(&caller);
}

static const char *clock_name(const struct gs_outcome *out)
{
    return out->tsc ? "tsc" : "monotonic";
}

static PyObject *started(const struct gs_outcome *out, const char *spool)
{
    if (out->failure)
        return gs_module_raise(out, spool);
    return Py_BuildValue("{skssss}", "recording", (unsigned long)out->number, "clock",
                         clock_name(out), "no_sites", out->no_sites.text);
}

PyDoc_STRVAR(
    start_doc,
    "start($module, /, spool, exact, period_ns, whole_over_ns=None, wanted=None, states=False)\n"
    "--\n\n"
    "Prove that recording works here, then record into a new spool file.\n\n"
    "With exact, hooks stamp each transition; otherwise the threads' states are sampled, and "
    "with `states` in both cases. The "
    "recording ends by itself soon after the empty file `wanted` is removed or has content. "
    "With exact and whole_over_ns, releases have a site, and those of longer holds have all "
    "callers. Return the recording's number, its clock, and why releases have no site, or an "
    "empty string. Raise LayoutError, HooksError, StatesError or OSError if it cannot be "
    "started; nothing is left behind then.");

static int path_or_none(PyObject *value, void *path)
{
    return value == Py_None ? 1 : PyUnicode_FSConverter(value, path);
}

static PyObject *core_start(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)self;
    static char *keywords[] = {"spool",  "exact",  "period_ns", "whole_over_ns",
                               "wanted", "states", NULL};
    PyObject *path = NULL, *wanted = NULL, *whole_over = Py_None;
    int exact, states = 0;
    unsigned long long period_ns, whole_over_ns = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&pK|OO&p:start", keywords,
                                     PyUnicode_FSConverter, &path, &exact, &period_ns, &whole_over,
                                     path_or_none, &wanted, &states))
        return NULL;
    bool locate = exact && whole_over != Py_None;
    if (locate)
        whole_over_ns = PyLong_AsUnsignedLongLong(whole_over);
    const char *spool = PyBytes_AsString(path);
    struct gs_options o = {.spool = spool,
                           .wanted = wanted ? PyBytes_AsString(wanted) : NULL,
                           .exact = exact,
                           .states = states,
                           .period_ns = period_ns,
                           .whole_over_ns = whole_over_ns};
    struct gs_outcome out = {0};
    PyObject *result = NULL;
    if (spool && !PyErr_Occurred() && gs_module_fill_caller(&o) == 0) {
        if (locate)
            start_located(&o, &out);
        else
            gs_recorder_start(&o, &out);
        result = started(&out, spool);
    }
    Py_DECREF(path);
    Py_XDECREF(wanted);
    return result;
}

PyDoc_STRVAR(stop_doc, "stop($module, /)\n--\n\n"
                       "Stop recording; return how much was written, the error that cut it short "
                       "(an errno, or 0), and what is missing.");

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
    return Py_BuildValue("{sKsKsisOsOsIsKsK}", "spool_bytes", (unsigned long long)out.spool_bytes,
                         "sampler_cpu_ns", (unsigned long long)out.sampler_cpu_ns, "error",
                         out.error, "hooks_stayed", out.hooks_stayed ? Py_True : Py_False,
                         "gils_listed", out.gils_listed ? Py_True : Py_False, "gils_missed",
                         out.gils_missed, "sites_missed", (unsigned long long)out.sites_missed,
                         "sites_unread", (unsigned long long)out.sites_unread);
}

PyDoc_STRVAR(flush_doc,
             "flush($module, /)\n--\n\n"
             "Return when all that is recorded by now is in the spool file; no effect if "
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
        PyObject *value = PyLong_FromVoidPtr((void *)gs_slots_at(i));
        if (!value || PyList_SetItem(list, i, value) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

PyDoc_STRVAR(prove_doc, "prove($module, /, exact)\n--\n\n"
                        "Prove that recording would work here. Return its clock, what each slot "
                        "holds that hooks go into (with exact), and whether thread states show "
                        "which threads wait.");

static PyObject *core_prove(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)self;
    static char *keywords[] = {"exact", NULL};
    struct gs_options o = {0};
    int exact;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "p:prove", keywords, &exact) ||
        gs_module_fill_caller(&o) != 0)
        return NULL;
    o.exact = exact;
    struct gs_layout layout;
    struct gs_outcome out;
    gs_recorder_prove(&o, &layout, &out);
    if (out.failure)
        return gs_module_raise(&out, NULL);
    PyObject *slots = slots_hold(exact ? gs_slots_count() : 0);
    if (!slots)
        return NULL;
    return Py_BuildValue("{sssNsO}", "clock", clock_name(&out), "slots", slots, "requested_flag",
                         layout.thread_requested ? Py_True : Py_False);
}

PyDoc_STRVAR(active_doc, "active($module, /)\n--\n\nReturn whether a recording is on.");

static PyObject *core_active(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return PyBool_FromLong(gs_recorder_active() != 0);
}

PyDoc_STRVAR(cost_doc, "event_cost($module, n, /)\n--\n\n"
                       "Time n hooked calls, n that find the site, n bare ones and n clock reads; "
                       "return nanoseconds each, not a number where sites cannot be recorded.");

static PyObject *core_event_cost(PyObject *self, PyObject *args)
{
    (void)self;
    int n;
    if (!PyArg_ParseTuple(args, "i:event_cost", &n))
        return NULL;
    if (gs_recorder_active() || n <= 0) {
        PyErr_SetString(PyExc_RuntimeError, "event_cost needs n > 0 and no active recording");
        return NULL;
    }
    struct gs_options o = {.pin = gs_caller_pin, .unpin = gs_caller_unpin};
    if (gs_module_fill_caller(&o) != 0)
        return NULL;
    struct gs_caller caller = {0};
    struct gs_why why;
    struct gs_cost cost;
    o.known = gs_caller_know(&caller, &why) ? &caller.known : NULL;
    bool measured = gs_cost_measure(&o, (uint32_t)n, &cost);
    gs_caller_forget(&caller);
    if (!measured)
        return PyErr_NoMemory();
    return Py_BuildValue("{sdsdsdsd}", "event_ns", cost.event_ns, "located_ns", cost.located_ns,
                         "bare_call_ns", cost.bare_call_ns, "clock_read_ns", cost.clock_read_ns);
}

static PyMethodDef methods[] = {
    {"start", (PyCFunction)(void (*)(void))core_start, METH_VARARGS | METH_KEYWORDS, start_doc},
    {"stop", core_stop, METH_NOARGS, stop_doc},
    {"flush", core_flush, METH_NOARGS, flush_doc},
    {"prove", (PyCFunction)(void (*)(void))core_prove, METH_VARARGS | METH_KEYWORDS, prove_doc},
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
        add_error(module, &hooks_error, "HooksError", "gilscope._core.HooksError") < 0 ||
        add_error(module, &states_error, "StatesError", "gilscope._core.StatesError") < 0)
        return -1;
    int error = gs_fork_register();
    if (error) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return PyModule_AddFunctions(module, gs_module_program_methods) < 0
               ? -1
               : PyModule_AddFunctions(module, gs_module_watch_methods);
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
