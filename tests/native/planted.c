/* One bug of each kind that the sanitizers are there for: shows that they would report it. */
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int shared;

static void *touch(void *unused)
{
    shared++;
    return unused;
}

static int race(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, touch, NULL);
    shared++;
    pthread_join(thread, NULL);
    return 0;
}

static int leak(void)
{
    static char *volatile block;
    block = malloc(100);
    block = NULL;
    return block != NULL;
}

static int overflow(void)
{
    volatile int most = INT_MAX, sum;
    sum =
        most + 1; /* kept: without it the compiler compares `most` instead, and nothing overflows */
    return sum > 0;
}

static int beyond(void)
{
    char *block = calloc(8, 1);
    volatile int at = 8;
    int seen = block[at];
    free(block);
    return seen != 0;
}

/* argv[1]: which bug */
int main(int argc, char **argv)
{
    const char *bug = argc > 1 ? argv[1] : "";
    if (strcmp(bug, "race") == 0)
        return race();
    if (strcmp(bug, "leak") == 0)
        return leak();
    if (strcmp(bug, "overflow") == 0)
        return overflow();
    return strcmp(bug, "beyond") == 0 ? beyond() : 0;
}
