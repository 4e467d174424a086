/* Two threads in one context: the second is turned away, and neither result is wrong. Two threads
 * with a context each share a packed operand. */

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

/* Returns the number of calls that were turned away. */
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
    expect(both(work) == 0, "a context of its own was busy");
    /* Two threads on one core seldom meet, so it is tried until they do. */
    for (i = 0; i < 200 && busy == 0; i++) {
        work[1].ctx = ctx[0];
        work[0].done = work[0].busy = work[1].done = work[1].busy = 0;
        busy = both(work);
    }
    expect(busy > 0, "two threads in one context, and none was turned away");
    for (i = 0; i < THREADS; i++) {
        free(work[i].c);
        must(NULL, gaitprop_context_free(ctx[i]));
    }
    must(NULL, gaitprop_spacked_free(w));
    free(a), free(wanted);
    printf("calls turned away from a busy context: %d\n", busy);
    return 0;
}
