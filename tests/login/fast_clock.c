/* A clock for one process that runs faster than the world's and can be set.

   Preloaded. CLOCK_FILE is a file of four doubles, mapped: the speed, the two moments at
   which the fast clocks agree with the real ones (CLOCK_REALTIME and CLOCK_MONOTONIC), and
   what the wall clock is wrong by. Time-outs of system calls are shortened to match. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct clock { double speed, wall, mono, jump; };
static volatile struct clock *shared;
static struct clock still = {1, 0, 0, 0};

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static volatile struct clock *set(void) {
    if (!shared) {
        const char *path = getenv("CLOCK_FILE");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *at = fd < 0 ? MAP_FAILED
            : mmap(NULL, sizeof still, PROT_READ, MAP_SHARED, fd, 0);
        shared = at == MAP_FAILED ? &still : at;
        if (fd >= 0) close(fd);
    }
    return shared;
}

static int is_wall(clockid_t id) {
    return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE;
}

static int is_fast(clockid_t id) {
    return is_wall(id) || id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE
        || id == CLOCK_MONOTONIC_RAW || id == CLOCK_BOOTTIME;
}

static double seconds(const struct timespec *t) { return t->tv_sec + t->tv_nsec / 1e9; }

static struct timespec spec(double s) {
    struct timespec t;
    if (s < 0) s = 0;
    t.tv_sec = (time_t)s;
    t.tv_nsec = (long)((s - (double)t.tv_sec) * 1e9);
    return t;
}

static double shown(double real, int wall) {
    volatile struct clock *c = set();
    double base = wall ? c->wall : c->mono;
    return base + (real - base) * c->speed + (wall ? c->jump : 0);
}

static double hidden(double fast, int wall) {
    volatile struct clock *c = set();
    double base = wall ? c->wall : c->mono;
    return base + (fast - (wall ? c->jump : 0) - base) / c->speed;
}

int clock_gettime(clockid_t id, struct timespec *t) {
    REAL(clock_gettime);
    int rc = real(id, t);
    if (!rc && is_fast(id)) *t = spec(shown(seconds(t), is_wall(id)));
    return rc;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}

static int shorter(int ms) {
    if (ms <= 0) return ms;
    int cut = (int)(ms / set()->speed);
    return cut < 1 ? 1 : cut;
}

int epoll_wait(int fd, struct epoll_event *e, int n, int ms) {
    REAL(epoll_wait);
    return real(fd, e, n, shorter(ms));
}

int epoll_pwait(int fd, struct epoll_event *e, int n, int ms, const sigset_t *s) {
    REAL(epoll_pwait);
    return real(fd, e, n, shorter(ms), s);
}

int poll(struct pollfd *p, nfds_t n, int ms) {
    REAL(poll);
    return real(p, n, shorter(ms));
}

int select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *t) {
    REAL(select);
    if (!t) return real(n, r, w, x, t);
    double s = (t->tv_sec + t->tv_usec / 1e6) / set()->speed;
    struct timeval cut = {(time_t)s, (long)((s - (time_t)s) * 1e6)};
    return real(n, r, w, x, &cut);
}

int nanosleep(const struct timespec *t, struct timespec *left) {
    REAL(nanosleep);
    struct timespec cut = spec(seconds(t) / set()->speed);
    return real(&cut, left);
}

int clock_nanosleep(clockid_t id, int flags, const struct timespec *t, struct timespec *left) {
    REAL(clock_nanosleep);
    struct timespec cut = flags & TIMER_ABSTIME ? spec(hidden(seconds(t), is_wall(id)))
                                                : spec(seconds(t) / set()->speed);
    return real(id, flags, &cut, left);
}

int sem_timedwait(sem_t *sem, const struct timespec *t) {
    REAL(sem_timedwait);
    struct timespec cut = spec(hidden(seconds(t), 1));
    return real(sem, &cut);
}

int sem_clockwait(sem_t *sem, clockid_t id, const struct timespec *t) {
    REAL(sem_clockwait);
    struct timespec cut = spec(hidden(seconds(t), is_wall(id)));
    return real(sem, id, &cut);
}

int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t) {
    REAL(pthread_cond_timedwait);
    /* Nobody asks the condition for its clock: a wall clock is past the year 2001. */
    struct timespec cut = spec(hidden(seconds(t), seconds(t) > 1e9));
    return real(c, m, &cut);
}
