/* Forked children use and free the parent's context. One that another thread was using stays busy. */

#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 200, CHILDREN = 3 };

/* A product whose callback waits the first time. Blocks decide how often it is called. */
struct held {
    gaitprop_context *ctx;
    const float *a;
    float *c;
    int inside[2], leave[2], waited;
};

static void wait_inside(void *user, void (*job)(void *data, size_t index), void *data)
{
    struct held *held = (struct held *)user;
    char byte = 0;
    if (!held->waited) {
        held->waited = 1;
        expect(write(held->inside[1], &byte, 1) == 1 && read(held->leave[0], &byte, 1) == 1, "a pipe");
    }
    job(data, 0);
}

static void *multiply(void *arg)
{
    struct held *held = (struct held *)arg;
    must(held->ctx, gaitprop_sgemm(held->ctx, 1, rows_s(held->a, N, N), rows_s(held->a, N, N), 0, into_s(held->c, N, N)));
    return NULL;
}

static void succeeds(pid_t child)
{
    int status;
    expect(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child");
}

/* Forks while another thread is inside the context. */
static void forks_during_a_call(const float *a, float *c, const float *wanted)
{
    struct held held;
    gaitprop_threads threads;
    gaitprop_context *fresh = NULL;
    pthread_t thread;
    char byte = 0;
    pid_t child;
    held.ctx = NULL, held.a = a, held.c = c, held.waited = 0;
    threads.user = &held, threads.count = 2, threads.run = wait_inside;
    expect(pipe(held.inside) == 0 && pipe(held.leave) == 0, "pipes");
    must(NULL, gaitprop_context_new(&held.ctx));
    must(held.ctx, gaitprop_context_set_threads_custom(held.ctx, &threads));
    expect(pthread_create(&thread, NULL, multiply, &held) == 0, "a thread");
    expect(read(held.inside[0], &byte, 1) == 1, "a pipe");
    child = fork();
    expect(child >= 0, "fork");
    if (child == 0) {
        float *own = floats(N * N);
        alarm(60);
        expect(gaitprop_sgemm(held.ctx, 1, rows_s(a, N, N), rows_s(a, N, N), 0, into_s(own, N, N)) == GAITPROP_BUSY,
               "a product in the context of a thread that the child does not have");
        expect(gaitprop_context_free(held.ctx) == GAITPROP_BUSY, "free of that context");
        must(NULL, gaitprop_context_new(&fresh));
        must(fresh, gaitprop_sgemm(fresh, 1, rows_s(a, N, N), rows_s(a, N, N), 0, into_s(own, N, N)));
        same_s(own, wanted, N * N, "a product in the child's own context");
        must(NULL, gaitprop_context_free(fresh));
        free(own);
        exit(0);
    }
    succeeds(child);
    expect(write(held.leave[1], &byte, 1) == 1 && pthread_join(thread, NULL) == 0, "the end of the call");
    same_s(c, wanted, N * N, "a product during which the process forked");
    must(NULL, gaitprop_context_free(held.ctx));
    close(held.inside[0]), close(held.inside[1]), close(held.leave[0]), close(held.leave[1]);
}

int main(void)
{
    float *a = floats(N * N), *c = floats(N * N), *wanted = floats(N * N);
    gaitprop_context *ctx = NULL;
    int i;
    fill_s(a, N * N, 1);
    must(NULL, gaitprop_context_new(&ctx));
    must(ctx, gaitprop_context_set_threads(ctx, 2));
    must(ctx, gaitprop_sgemm(ctx, 1, rows_s(a, N, N), rows_s(a, N, N), 0, into_s(wanted, N, N)));
    for (i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        expect(child >= 0, "fork");
        if (child == 0) {
            /* A child that hangs is killed, and fails. */
            alarm(60);
            must(ctx, gaitprop_sgemm(ctx, 1, rows_s(a, N, N), rows_s(a, N, N), 0, into_s(c, N, N)));
            same_s(c, wanted, N * N, "a product in a child");
            if (i == 1)
                must(ctx, gaitprop_context_set_threads(ctx, 2));
            must(ctx, gaitprop_sgemm(ctx, 1, rows_s(a, N, N), rows_s(a, N, N), 0, into_s(c, N, N)));
            same_s(c, wanted, N * N, "a product on a child's own threads");
            must(NULL, gaitprop_context_free(ctx));
            free(a), free(c), free(wanted);
            exit(0);
        }
        succeeds(child);
    }
    must(ctx, gaitprop_sgemm(ctx, 1, rows_s(a, N, N), rows_s(a, N, N), 0, into_s(c, N, N)));
    same_s(c, wanted, N * N, "a product in the parent after forks");
    must(NULL, gaitprop_context_free(ctx));
    forks_during_a_call(a, c, wanted);
    free(a), free(c), free(wanted);
    printf("%d forked children\n", CHILDREN + 1);
    return 0;
}
