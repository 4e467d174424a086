/* Forked children use and free the parent's context. */

#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <sys/wait.h>
#include <unistd.h>

enum { N = 200, CHILDREN = 3 };

int main(void)
{
    float *a = floats(N * N), *c = floats(N * N), *wanted = floats(N * N);
    gaitprop_context *ctx = NULL;
    int i, status;
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
        expect(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child");
    }
    must(ctx, gaitprop_sgemm(ctx, 1, rows_s(a, N, N), rows_s(a, N, N), 0, into_s(c, N, N)));
    same_s(c, wanted, N * N, "a product in the parent after forks");
    must(NULL, gaitprop_context_free(ctx));
    free(a), free(c), free(wanted);
    printf("%d forked children\n", CHILDREN);
    return 0;
}
