/* What recording costs, measured in this process. */
#ifndef GILSCOPE_COST_H
#define GILSCOPE_COST_H

#include <stdbool.h>
#include <stdint.h>

#include "hooks.h"
#include "recorder.h"

/* Nanoseconds each. */
struct gs_cost {
    double event_ns;   /* what an event costs, without its site */
    double located_ns; /* and with it; not a number where sites cannot be recorded */
    double bare_call_ns, clock_read_ns;
};

/* Times `n` of each. The caller holds the GIL and describes itself in `o` as for a start; no
 * recording is on. False if there is no memory for a ring. */
bool gs_cost_measure(const struct gs_options *o, uint32_t n, struct gs_cost *cost);

/* Times `n` calls of the release hook on a condition of its own, and `n` of the real call that it
 * leads to. Records are bound to a ring that no sampler empties, and no recording is on. If `h` has
 * sites, the caller holds the GIL that `h` describes. */
void gs_cost_of_hook(uint32_t n, const struct gs_hooked *h, double *hooked_ns, double *bare_ns);

#endif
