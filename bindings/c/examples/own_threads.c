/* The program's own threads do the work: the library asks for them by a callback. */

#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <pthread.h>

enum { THREADS = 3, N = 150 };

/* One call of the library's job on another thread. */
struct part {
    void (*job)(void *data, size_t index);
    void *data;
    size_t index;
};

static void *run_part(void *arg)
{
    struct part *part = (struct part *)arg;
    part->job(part->data, part->index);
    return NULL;
}

/* Starts threads for each job. A real program hands the parts to a pool that it already has. */
static void run(void *user, void (*job)(void *data, size_t index), void *data)
{
    pthread_t threads[THREADS];
    struct part parts[THREADS];
    size_t i, started = 1;
    *(int *)user += 1;
    for (i = 1; i < THREADS; i++) {
        parts[i].job = job, parts[i].data = data, parts[i].index = i;
        if (pthread_create(&threads[i], NULL, run_part, &parts[i]) != 0)
            break; /* The library does the work of a missing thread itself. */
        started = i + 1;
    }
    job(data, 0);
    for (i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    double *a = doubles(N * N), *b = doubles(N * N), *c = doubles(N * N), *wanted = doubles(N * N);
    gaitprop_context *ctx = NULL;
    gaitprop_threads threads;
    int jobs = 0;
    size_t i, j, k;
    threads.user = &jobs, threads.count = THREADS, threads.run = run;
    must(NULL, gaitprop_context_new(&ctx));
    must(ctx, gaitprop_context_set_threads_custom(ctx, &threads));
    fill_d(a, N * N, 1), fill_d(b, N * N, 2);
    must(ctx, gaitprop_dgemm(ctx, 1.0, rows_d(a, N, N), rows_d(b, N, N), 0.0, into_d(c, N, N)));
    for (i = 0; i < N; i++)
        for (j = 0; j < N; j++)
            for (k = 0; k < N; k++)
                wanted[i * N + j] = fma(a[i * N + k], b[k * N + j], wanted[i * N + j]);
    same_d(c, wanted, N * N, "a product on the caller's threads");
    expect(jobs > 0, "no job reached the callback");
    printf("jobs on the program's threads: %d\n", jobs);
    must(NULL, gaitprop_context_free(ctx));
    free(a), free(b), free(c), free(wanted);
    return 0;
}
