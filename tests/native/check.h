/* A test program is one file of functions; RUN names them, and main returns check_done(). */
#ifndef GILSCOPE_TESTS_CHECK_H
#define GILSCOPE_TESTS_CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A test that hangs has failed; the program that runs us need not find out by itself. */
#define CHECK_SECONDS 120

static _Atomic unsigned long check_count;
static unsigned check_tests;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        check_count++;                                                                             \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__,             \
                    #condition);                                                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_EQUAL(seen, expected)                                                                \
    do {                                                                                           \
        unsigned long long check_seen = (unsigned long long)(seen);                                \
        unsigned long long check_expected = (unsigned long long)(expected);                        \
        check_count++;                                                                             \
        if (check_seen != check_expected) {                                                        \
            fprintf(stderr, "%s:%d: %s: %s is %llu (%#llx), not %s = %llu (%#llx)\n", __FILE__,    \
                    __LINE__, __func__, #seen, check_seen, check_seen, #expected, check_expected,  \
                    check_expected);                                                               \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define RUN(test)                                                                                  \
    do {                                                                                           \
        alarm(CHECK_SECONDS);                                                                      \
        test();                                                                                    \
        alarm(0);                                                                                  \
        printf("ok %s\n", #test);                                                                  \
        fflush(stdout);                                                                            \
        check_tests++;                                                                             \
    } while (0)

static inline int check_done(void)
{
    printf("%u tests, %lu checks\n", check_tests, check_count);
    return check_tests && check_count ? 0 : 1;
}

#endif
