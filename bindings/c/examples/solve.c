/* Linear systems: LU factors, solves from both sides, a condition number, Cholesky factors, and
 * the error of a singular matrix. */

#include "example.h"

enum { N = 83, RHS = 5 };

/* Gaussian elimination with partial pivoting, in the order of the definition. */
static void plain_lu(double *a, size_t *pivots)
{
    size_t i, j, k;
    for (k = 0; k < N; k++) {
        size_t p = k;
        for (i = k + 1; i < N; i++)
            if (fabs(a[i * N + k]) > fabs(a[p * N + k]))
                p = i;
        pivots[k] = p;
        for (j = 0; j < N; j++) {
            double x = a[k * N + j];
            a[k * N + j] = a[p * N + j], a[p * N + j] = x;
        }
        for (i = k + 1; i < N; i++) {
            a[i * N + k] /= a[k * N + k];
            for (j = k + 1; j < N; j++)
                a[i * N + j] = fma(-a[i * N + k], a[k * N + j], a[i * N + j]);
        }
    }
}

/* X = U^-1 * L^-1 * P * B, in place in b. */
static void plain_solve(const double *lu, const size_t *pivots, double *b)
{
    size_t i, k, r;
    for (k = 0; k < N; k++)
        for (r = 0; r < RHS; r++) {
            double x = b[k * RHS + r];
            b[k * RHS + r] = b[pivots[k] * RHS + r], b[pivots[k] * RHS + r] = x;
        }
    for (r = 0; r < RHS; r++) {
        for (i = 0; i < N; i++)
            for (k = 0; k < i; k++)
                b[i * RHS + r] = fma(-b[k * RHS + r], lu[i * N + k], b[i * RHS + r]);
        for (i = N; i-- > 0;) {
            for (k = N; k-- > i + 1;)
                b[i * RHS + r] = fma(-b[k * RHS + r], lu[i * N + k], b[i * RHS + r]);
            b[i * RHS + r] /= lu[i * N + i];
        }
    }
}

static void factor_and_solve(gaitprop_context *ctx, const double *a)
{
    double *lu = doubles(N * N), *wanted = doubles(N * N), *x = doubles(N * RHS), *y = doubles(N * RHS), norm = 0;
    size_t pivots[N], plain_pivots[N];
    memcpy(lu, a, N * N * sizeof(double)), memcpy(wanted, a, N * N * sizeof(double));
    must(ctx, gaitprop_dlu_factor(ctx, into_d(lu, N, N), pivots));
    plain_lu(wanted, plain_pivots);
    same_d(lu, wanted, N * N, "LU factors");
    expect(memcmp(pivots, plain_pivots, sizeof pivots) == 0, "pivots");

    fill_d(x, N * RHS, 7), memcpy(y, x, N * RHS * sizeof(double));
    must(ctx, gaitprop_dlu_solve_left(ctx, rows_d(lu, N, N), pivots, into_d(x, N, RHS)));
    plain_solve(wanted, plain_pivots, y);
    same_d(x, y, N * RHS, "A*X = B");
    must(ctx, gaitprop_dlu_inverse_norm1(ctx, rows_d(lu, N, N), pivots, &norm));
    expect(norm > 0.0, "the norm of the inverse");
    printf("estimate of the inverse's 1-norm: %g\n", norm);
    free(lu), free(wanted), free(x), free(y);
}

/* A = G*G^T + N*I, of which only the lower triangle is made. */
static void cholesky(gaitprop_context *ctx, const double *g)
{
    double *a = doubles(N * N), *wanted = doubles(N * N), *b = doubles(N);
    size_t i, j, k;
    must(ctx, gaitprop_dsyrk(ctx, GAITPROP_LOWER, 0, 1.0, rows_d(g, N, N), 0.0, into_d(a, N, N)));
    for (i = 0; i < N; i++)
        a[i * N + i] += N;
    memcpy(wanted, a, N * N * sizeof(double));
    must(ctx, gaitprop_dcholesky_factor(ctx, into_d(a, N, N)));
    for (j = 0; j < N; j++)
        for (i = j; i < N; i++) {
            double x = wanted[i * N + j];
            for (k = 0; k < j; k++)
                x = fma(-wanted[i * N + k], wanted[j * N + k], x);
            wanted[i * N + j] = i == j ? sqrt(x) : x / wanted[j * N + j];
        }
    same_d(a, wanted, N * N, "Cholesky factor");
    fill_d(b, N, 9);
    must(ctx, gaitprop_dcholesky_solve(ctx, rows_d(a, N, N), into_d(b, N, 1)));
    free(a), free(wanted), free(b);
}

/* A failed call says what is wrong, and where. */
static void singular(gaitprop_context *ctx)
{
    double a[9] = {1, 2, 3, 2, 4, 6, 1, 0, 1};
    size_t pivots[3];
    gaitprop_error_info error;
    expect(gaitprop_dlu_factor(ctx, into_d(a, 3, 3), pivots) == GAITPROP_SINGULAR, "a singular matrix");
    must(ctx, gaitprop_error(ctx, &error));
    expect(error.status == GAITPROP_SINGULAR && error.index == 2, "the index of the pivot");
    printf("%s\n", error.text);
}

int main(void)
{
    double *a = doubles(N * N);
    gaitprop_context *ctx = NULL;
    must(NULL, gaitprop_context_new(&ctx));
    fill_d(a, N * N, 5);
    factor_and_solve(ctx, a);
    cholesky(ctx, a);
    singular(ctx);
    must(NULL, gaitprop_context_free(ctx));
    free(a);
    return 0;
}
