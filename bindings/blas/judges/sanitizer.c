/* Faults that a sanitizer must find: a result one element too short (address), and one result of
 * two threads (thread). Also the functions that a runtime of GCC's lacks for code by LLVM. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

void *__tsan_memcpy(void *to, const void *from, size_t n);
void *__tsan_memmove(void *to, const void *from, size_t n);
void *__tsan_memset(void *to, int value, size_t n);
void *__tsan_memcpy(void *to, const void *from, size_t n) { return memcpy(to, from, n); }
void *__tsan_memmove(void *to, const void *from, size_t n) { return memmove(to, from, n); }
void *__tsan_memset(void *to, int value, size_t n) { return memset(to, value, n); }

#ifdef FAULT
enum { N = 64 };
static double *a, *c;
static void (*gemm)(const char *, const char *, const int *, const int *, const int *, const double *, const double *, const int *, const double *,
                    const int *, const double *, double *, const int *);

static void *product(void *unused) {
    const int n = N;
    const double one = 1, zero = 0;
    (void)unused;
    for (int i = 0; i < 100; i++) gemm("N", "N", &n, &n, &n, &one, a, &n, a, &n, &zero, c, &n);
    return NULL;
}

int main(void) {
    pthread_t other;
    gemm = (void (*)(const char *, const char *, const int *, const int *, const int *, const double *, const double *, const int *, const double *,
                     const int *, const double *, double *, const int *))dlsym(RTLD_DEFAULT, "dgemm_");
    a = calloc(N * N, sizeof *a);
    c = calloc(N * N - (FAULT == 1), sizeof *c);
    if (FAULT == 2) pthread_create(&other, NULL, product, NULL);
    product(NULL);
    if (FAULT == 2) pthread_join(other, NULL);
    return 0;
}
#endif
