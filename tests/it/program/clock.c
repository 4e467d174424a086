// A wall clock that goes back by sixteen years whenever it is asked (LD_PRELOAD). The monotonic clock is left alone: that it never goes back is promised.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <sys/time.h>
#include <time.h>

static long earlier(void) {
    // From the year 2001 down to before 1970, which is before what a time stamp can hold.
    static long asked;
    return 1000000000 - 500000000 * __atomic_fetch_add(&asked, 1, __ATOMIC_RELAXED);
}

int clock_gettime(clockid_t id, struct timespec *to) {
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) {
        *to = (struct timespec){.tv_sec = earlier()};
        return 0;
    }
    int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real(id, to);
}

int gettimeofday(struct timeval *restrict to, void *restrict zone) {
    (void)zone;
    *to = (struct timeval){.tv_sec = earlier()};
    return 0;
}

time_t time(time_t *to) {
    time_t now = earlier();
    if (to) *to = now;
    return now;
}
