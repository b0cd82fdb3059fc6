/* The reason for a refusal, as text for the user: what was expected, and what was found. */
#ifndef GILSCOPE_WHY_H
#define GILSCOPE_WHY_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

struct gs_why {
    char text[320]; /* empty: nothing was refused */
};

/* Writes the reason; text that does not fit is cut. Returns false, so that a check can end with it.
 * Any thread; `why` is the caller's own. */
static inline __attribute__((format(printf, 2, 3))) bool gs_refuse(struct gs_why *why,
                                                                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    return false;
}

#endif
