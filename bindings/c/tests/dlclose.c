/* The library is closed while a context lives whose threads run its code.
 *
 *   dlclose LIBRARY */

#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <dlfcn.h>
#include <time.h>

enum { N = 200 };

typedef gaitprop_status (*new_context)(gaitprop_context **);
typedef gaitprop_status (*set_threads)(gaitprop_context *, size_t);
typedef gaitprop_status (*gemm)(gaitprop_context *, float, gaitprop_smat, gaitprop_smat, float, gaitprop_smat_mut);

/* ISO C has no cast from an object pointer to a function pointer. */
static void find(void *library, const char *name, void *to)
{
    void *symbol = dlsym(library, name);
    expect(symbol != NULL, name);
    memcpy(to, &symbol, sizeof symbol);
}

int main(int argc, char **argv)
{
    float *a = floats(N * N), *c = floats(N * N);
    void *library = dlopen(argc > 1 ? argv[1] : "libgaitprop.so.0", RTLD_NOW | RTLD_LOCAL);
    struct timespec pause = {0, 50000000};
    gaitprop_context *ctx = NULL;
    new_context context_new;
    set_threads context_set_threads;
    gemm sgemm;
    expect(library != NULL, "dlopen");
    find(library, "gaitprop_context_new", &context_new);
    find(library, "gaitprop_context_set_threads", &context_set_threads);
    find(library, "gaitprop_sgemm", &sgemm);
    fill_s(a, N * N, 1);
    expect(context_new(&ctx) == GAITPROP_OK && context_set_threads(ctx, 3) == GAITPROP_OK, "a context");
    expect(sgemm(ctx, 1, rows_s(a, N, N), rows_s(a, N, N), 0, into_s(c, N, N)) == GAITPROP_OK, "a product");
    expect(dlclose(library) == 0, "dlclose");
    /* The threads spin, then sleep, in code of the closed library. */
    nanosleep(&pause, NULL);
    free(a), free(c);
    printf("closed with a live context\n");
    return 0;
}
