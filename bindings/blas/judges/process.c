/* The library in a process that forks, runs many threads, changes the number of threads, runs out
 * of memory, and unloads it: process LIBRARY. Every product has the bits of the first. */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 150, THREADS = 8, ROUNDS = 50 };
static double a[N * N], b[N * N], first[N * N];

typedef void gemm_t(const char *, const char *, const int *, const int *, const int *, const double *, const double *, const int *, const double *,
                    const int *, const double *, double *, const int *);
static gemm_t *gemm;
static void (*set_threads)(int);
static int (*get_threads)(void);

static void product(double *c) {
    const int n = N;
    const double one = 1, zero = 0;
    gemm("N", "T", &n, &n, &n, &one, a, &n, b, &n, &zero, c, &n);
}

static int same(int rounds) {
    double *c = malloc(sizeof first);
    int good = c != NULL;
    for (int round = 0; good && round < rounds; round++) {
        memset(c, 0xff, sizeof first);
        product(c);
        good = memcmp(c, first, sizeof first) == 0;
    }
    free(c);
    return good;
}

static void check(int good, const char *what) {
    printf("%s: %s\n", what, good ? "good" : "WRONG");
    fflush(stdout);
    if (!good) exit(1);
}

static void *thread(void *unused) {
    (void)unused;
    return same(ROUNDS) ? NULL : (void *)1;
}

static int many_threads(void) {
    pthread_t threads[THREADS];
    int good = 1;
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, thread, NULL);
    for (int i = 0; i < THREADS; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        good = good && bad == NULL;
    }
    return good;
}

/* Three children, each of which also runs threads and forks once more. */
static int children(int generation) {
    pid_t child[3];
    int good = 1;
    for (int i = 0; i < 3; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            alarm(60);
            int right = same(3) && many_threads() && (generation == 0 || children(generation - 1));
            _exit(right ? 0 : 1);
        }
    }
    for (int i = 0; i < 3; i++) {
        int status = -1;
        waitpid(child[i], &status, 0);
        good = good && status == 0;
    }
    return good;
}

/* Forks while other threads are inside products. */
static int forks_during_products(void) {
    pthread_t threads[2];
    int good = 1;
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, thread, NULL);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        int status = -1;
        if (child == 0) {
            alarm(60);
            _exit(same(2) ? 0 : 1);
        }
        waitpid(child, &status, 0);
        good = good && status == 0;
    }
    for (int i = 0; i < 2; i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        good = good && bad == NULL;
    }
    return good;
}

/* A new thread's workspace, here some MiB, cannot grow: the product is right all the same. The
 * library's report says that loops computed it. */
enum { M = 500 };
static double large[3][M * M];

static void large_product(double *c) {
    const int m = M;
    const double one = 1, zero = 0;
    gemm("N", "N", &m, &m, &m, &one, large[0], &m, large[0], &m, &zero, c, &m);
}

static void *without_memory(void *unused) {
    struct rlimit old, low;
    struct block {
        struct block *next;
    } *taken = NULL, *block;
    (void)unused;
    getrlimit(RLIMIT_AS, &old);
    low = old;
    low.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_AS, &low);
    /* What earlier products have left is used up too, down to pieces smaller than any workspace. */
    for (size_t size = 1 << 24; size >= 1 << 15; size /= 2) {
        while ((block = malloc(size)) != NULL) block->next = taken, taken = block;
    }
    large_product(large[1]);
    setrlimit(RLIMIT_AS, &old);
    while ((block = taken) != NULL) taken = block->next, free(block);
    return NULL;
}

static int out_of_memory(void) {
    pthread_t one;
    for (int i = 0; i < M * M; i++) large[0][i] = (i * 37 % 101 - 50) / 64.0;
    pthread_create(&one, NULL, without_memory, NULL);
    pthread_join(one, NULL);
    large_product(large[2]);
    return memcmp(large[1], large[2], sizeof large[1]) == 0;
}

int main(int argc, char **argv) {
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library == NULL) {
        printf("cannot load the library: %s\n", dlerror());
        return 1;
    }
    /* One heap: others reserve memory before a limit stops them. */
    mallopt(M_ARENA_MAX, 1);
    gemm = (gemm_t *)dlsym(library, "dgemm_");
    set_threads = (void (*)(int))dlsym(library, "gaitprop_blas_set_num_threads");
    get_threads = (int (*)(void))dlsym(library, "gaitprop_blas_get_num_threads");
    for (int i = 0; i < N * N; i++) a[i] = (i * 37 % 101 - 50) / 64.0, b[i] = (i * 53 % 97 - 48) / 33.0;
    set_threads(1);
    product(first);
    for (int threads = 0; threads <= 4; threads++) {
        set_threads(threads);
        check(get_threads() == (threads > 1 ? threads : 1) && same(ROUNDS), "a number of threads");
    }
    check(many_threads(), "many threads at once");
    check(children(1), "forked children and theirs");
    check(forks_during_products(), "forks during products");
    set_threads(1);
    check(out_of_memory(), "no memory for a workspace");
    set_threads(2);
    check(same(1), "products before the library is closed");
    dlclose(library);
    /* The team's threads still run its code. */
    check(same(1), "after dlclose");
    return 0;
}
