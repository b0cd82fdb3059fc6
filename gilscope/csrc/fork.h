/* What a forked child must give up before its own code runs. */
#ifndef GILSCOPE_FORK_H
#define GILSCOPE_FORK_H

/* Registers the handler that runs in each forked child, once. Returns 0 or an errno. With the GIL,
 * before the first recording or watch. */
int gs_fork_register(void);

#endif
