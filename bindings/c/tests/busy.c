/* A context in use gives GAITPROP_BUSY to every other call, from a callback or a second thread, and
 * no result is wrong. Two threads with a context each share a packed operand. */

#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <pthread.h>

enum { THREADS = 2, N = 160, TIMES = 60 };

struct work {
    gaitprop_context *ctx;
    const gaitprop_spacked *w;
    const float *a, *wanted;
    float *c;
    int done, busy;
};

static void *multiply(void *arg)
{
    struct work *work = (struct work *)arg;
    int i;
    for (i = 0; i < TIMES; i++) {
        gaitprop_status status =
            gaitprop_sgemm_packed(work->ctx, 1, rows_s(work->a, N, N), work->w, 0, 0, into_s(work->c, N, N));
        if (status == GAITPROP_BUSY) {
            work->busy++;
            continue;
        }
        expect(status == GAITPROP_OK, "a status that is neither OK nor BUSY");
        same_s(work->c, work->wanted, N * N, "a product beside another thread");
        work->done++;
    }
    return NULL;
}

/* Returns the number of calls that found the context busy. */
static int both(struct work *work)
{
    pthread_t threads[THREADS];
    int i, busy = 0;
    for (i = 0; i < THREADS; i++)
        expect(pthread_create(&threads[i], NULL, multiply, &work[i]) == 0, "a thread");
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        expect(work[i].done + work[i].busy == TIMES, "the number of calls");
        busy += work[i].busy;
    }
    return busy;
}

/* Calls the context whose threads it is. */
static void call_from_inside(void *user, void (*job)(void *data, size_t index), void *data)
{
    gaitprop_context *ctx = *(gaitprop_context **)user;
    float one = 1, *unset = &one;
    double one_d = 1;
    gaitprop_spacked *packed = (gaitprop_spacked *)unset;
    gaitprop_dpacked *packed_d = (gaitprop_dpacked *)unset;
    gaitprop_error_info error;
    expect(gaitprop_spack(ctx, rows_s(&one, 1, 1), GAITPROP_PACK_PLAIN, &packed) == GAITPROP_BUSY, "a pack");
    expect(gaitprop_dpack(ctx, rows_d(&one_d, 1, 1), GAITPROP_PACK_PLAIN, &packed_d) == GAITPROP_BUSY, "of doubles");
    expect(packed == NULL && packed_d == NULL, "pointers after a pack in a busy context");
    expect(gaitprop_context_set_threads(ctx, 1) == GAITPROP_BUSY, "threads of a busy context");
    expect(gaitprop_error(ctx, &error) == GAITPROP_BUSY, "the error of a busy context");
    expect(gaitprop_context_free(ctx) == GAITPROP_BUSY, "free of a busy context");
    job(data, 0);
}

static void calls_from_inside(const float *a, const float *wanted, float *c)
{
    gaitprop_context *ctx = NULL;
    gaitprop_threads threads;
    gaitprop_error_info error;
    must(NULL, gaitprop_context_new(&ctx));
    threads.user = &ctx, threads.count = 2, threads.run = call_from_inside;
    must(ctx, gaitprop_context_set_threads_custom(ctx, &threads));
    expect(gaitprop_context_set_isa(ctx, "none") == GAITPROP_PARAMETER, "an instruction set");
    must(ctx, gaitprop_sgemm(ctx, 1, rows_s(a, N, N), rows_s(a, N, N), 0, into_s(c, N, N)));
    same_s(c, wanted, N * N, "a product beside calls from inside");
    /* GAITPROP_BUSY leaves no error of its own. */
    must(ctx, gaitprop_error(ctx, &error));
    expect(error.status == GAITPROP_PARAMETER, "the last error after a busy context");
    must(NULL, gaitprop_context_free(ctx));
}

int main(void)
{
    float *a = floats(N * N), *wanted = floats(N * N);
    gaitprop_context *ctx[THREADS];
    gaitprop_spacked *w = NULL;
    struct work work[THREADS];
    int i, busy = 0;
    fill_s(a, N * N, 1);
    for (i = 0; i < THREADS; i++)
        must(NULL, gaitprop_context_new(&ctx[i]));
    must(ctx[0], gaitprop_spack(ctx[0], rows_s(a, N, N), GAITPROP_PACK_PLAIN, &w));
    must(ctx[0], gaitprop_sgemm(ctx[0], 1, rows_s(a, N, N), rows_s(a, N, N), 0, into_s(wanted, N, N)));
    for (i = 0; i < THREADS; i++) {
        work[i].ctx = ctx[i], work[i].w = w, work[i].a = a, work[i].wanted = wanted, work[i].c = floats(N * N);
        work[i].done = work[i].busy = 0;
    }
    calls_from_inside(a, wanted, work[0].c);
    expect(both(work) == 0, "a context of its own was busy");
    /* Two threads on one core seldom meet: repeat until they do. */
    for (i = 0; i < 200 && busy == 0; i++) {
        work[1].ctx = ctx[0];
        work[0].done = work[0].busy = work[1].done = work[1].busy = 0;
        busy = both(work);
    }
    expect(busy > 0, "two threads in one context, and neither found it busy");
    for (i = 0; i < THREADS; i++) {
        free(work[i].c);
        must(NULL, gaitprop_context_free(ctx[i]));
    }
    must(NULL, gaitprop_spacked_free(w));
    free(a), free(wanted);
    printf("calls that found a context busy: %d\n", busy);
    return 0;
}
