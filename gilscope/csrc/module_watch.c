/* gilscope._core: a watch. */
#define _GNU_SOURCE
#include "module.h"

#include "watch.h"

/* Without frames a watch works, but its holds have no stack. */
static uint32_t begin(const struct gs_options *o, uint64_t over_ns, uint64_t watcher,
                      struct gs_outcome *out)
{
    struct gs_frames frames;
    struct gs_watch_options w = {
        .pin = o->pin, .unpin = o->unpin, .over_ns = over_ns, .watcher = watcher};
    uint32_t number = 0;
    if (o->known && gs_frames_prove(&frames, o->python_hex, o->tstate, o->known, &out->no_sites))
        w.frames = &frames;
    if (!gs_layout_prove(&w.layout, o->python_hex, o->tstate, o->interp, o->interval_us,
                         &out->why)) {
        out->failure = GS_NO_LAYOUT;
    } else if (!gs_slots_learn(&w.layout, &o->calls, &out->why)) {
        out->failure = GS_NO_HOOKS;
    } else if (gs_watch_is_on(0)) {
        out->failure = GS_BUSY;
        gs_refuse(&out->why, "a watch is on in this process");
    } else {
        number = gs_watch_begin(&w, &out->why);
        if (!number)
            out->failure = GS_NO_HOOKS;
    }
    return number;
}

PyDoc_STRVAR(watch_begin_doc,
             "watch_begin($module, over_ns, watcher, /)\n--\n\n"
             "Begin to watch for holds that last longer than over_ns while a thread waits, but for "
             "those of the thread with the ident `watcher`. Return the watch's number, and why "
             "holds have no stack, or an empty string.");

static PyObject *core_watch_begin(PyObject *self, PyObject *args)
{
    (void)self;
    unsigned long long over_ns, watcher;
    if (!PyArg_ParseTuple(args, "KK:watch_begin", &over_ns, &watcher))
        return NULL;
    gs_watch_clear();
    struct gs_options o = {.pin = gs_caller_pin, .unpin = gs_caller_unpin};
    if (gs_module_fill_caller(&o) != 0)
        return NULL;
    struct gs_caller caller = {0};
    struct gs_outcome out = {0};
    if (gs_caller_know(&caller, &out.no_sites))
        o.known = &caller.known;
    uint32_t number = begin(&o, over_ns, watcher, &out);
    gs_caller_forget(&caller);
    return out.failure ? gs_module_raise(&out, NULL)
                       : Py_BuildValue("ks", (unsigned long)number, out.no_sites.text);
}

PyDoc_STRVAR(watch_end_doc,
             "watch_end($module, number, /)\n--\n\n"
             "End a watch, if it is on; its watcher may still take the holds that it saw.");

static PyObject *core_watch_end(PyObject *self, PyObject *number)
{
    (void)self;
    unsigned long n = PyLong_AsUnsignedLong(number);
    if (PyErr_Occurred())
        return NULL;
    if (n)
        gs_watch_end((uint32_t)n);
    Py_RETURN_NONE;
}

static PyObject *waiters_of(const struct gs_long_hold *h)
{
    PyObject *list = PyList_New(h->n_waiters);
    for (uint32_t i = 0; list && i < h->n_waiters; i++) {
        PyObject *ident = PyLong_FromUnsignedLongLong(h->waiters[i]);
        if (!ident || PyList_SetItem(list, i, ident) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

/* Takes over the references to code objects, also if it fails. */
static PyObject *stack_of(const struct gs_long_hold *h)
{
    PyObject *list = PyList_New(h->n_frames);
    for (uint32_t i = 0; i < h->n_frames; i++) {
        PyObject *code = (PyObject *)h->frames[i].code;
        PyObject *frame = list ? Py_BuildValue("Oi", code, (int)h->frames[i].offset) : NULL;
        Py_DECREF(code);
        if (list && (!frame || PyList_SetItem(list, i, frame) < 0))
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *hold_of(const struct gs_long_hold *h)
{
    PyObject *stack = stack_of(h), *waiters = stack ? waiters_of(h) : NULL;
    if (!waiters) {
        Py_XDECREF(stack);
        return NULL;
    }
    return Py_BuildValue("KKKkNN", (unsigned long long)h->unix_ns, (unsigned long long)h->held_ns,
                         (unsigned long long)h->ident, (unsigned long)h->native_id, waiters, stack);
}

PyDoc_STRVAR(
    watch_take_doc,
    "watch_take($module, number, not_before_ns, /)\n--\n\n"
    "Wait until there are long holds and the monotonic clock has reached not_before_ns, or "
    "the watch has ended. Return the holds; an empty list if it has ended.");

static PyObject *core_watch_take(PyObject *self, PyObject *args)
{
    (void)self;
    unsigned long number;
    unsigned long long not_before_ns;
    struct gs_long_hold h;
    if (!PyArg_ParseTuple(args, "kK:watch_take", &number, &not_before_ns))
        return NULL;
    Py_BEGIN_ALLOW_THREADS gs_watch_await((uint32_t)number, not_before_ns);
    Py_END_ALLOW_THREADS PyObject *list = PyList_New(0);
    while (list && gs_watch_take((uint32_t)number, &h)) {
        PyObject *hold = hold_of(&h);
        if (!hold || PyList_Append(list, hold) < 0)
            Py_CLEAR(list);
        Py_XDECREF(hold);
    }
    return list;
}

PyDoc_STRVAR(watch_counts_doc, "watch_counts($module, number, /)\n--\n\n"
                               "Return how many long holds this watch has seen, and for how many "
                               "of them there was no room; None if another watch has begun.");

static PyObject *core_watch_counts(PyObject *self, PyObject *number)
{
    (void)self;
    uint64_t seen, dropped;
    unsigned long n = PyLong_AsUnsignedLong(number);
    if (PyErr_Occurred())
        return NULL;
    if (!gs_watch_counts((uint32_t)n, &seen, &dropped))
        Py_RETURN_NONE;
    return Py_BuildValue("KK", (unsigned long long)seen, (unsigned long long)dropped);
}

PyMethodDef gs_module_watch_methods[] = {
    {"watch_begin", core_watch_begin, METH_VARARGS, watch_begin_doc},
    {"watch_end", core_watch_end, METH_O, watch_end_doc},
    {"watch_take", core_watch_take, METH_VARARGS, watch_take_doc},
    {"watch_counts", core_watch_counts, METH_O, watch_counts_doc},
    {NULL, NULL, 0, NULL},
};
