/* A small shared object that calls functions of the C library: test_got.c replaces what it calls.
 */
#include <unistd.h>

int victim_calls_getppid(void);
long victim_calls_twenty(void);

int victim_calls_getppid(void)
{
    return getppid();
}

/* More imported names than gs_got_find() has room for. */
long victim_calls_twenty(void)
{
    char c = 0;
    return getpid() + getuid() + geteuid() + getgid() + getegid() + getpgrp() + getsid(0) +
           getpgid(0) + dup(-1) + close(-1) + fsync(-1) + isatty(-1) + fchdir(-1) + fdatasync(-1) +
           lseek(-1, 0, 0) + ftruncate(-1, 0) + pathconf("", 0) + fpathconf(-1, 0) + access("", 0) +
           write(-1, &c, 1);
}
