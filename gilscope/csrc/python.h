/* Python's own interface, as far as it is the same from 3.11 on. */
#ifndef GILSCOPE_PYTHON_H
#define GILSCOPE_PYTHON_H

#include <pyconfig.h> /* Py_GIL_DISABLED: free-threaded builds have no stable ABI */
#if !defined(Py_GIL_DISABLED) && !defined(Py_LIMITED_API)
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#endif
