/* All products and solves with triangles and vectors, against plain loops, bit for bit. Operands
 * are stored by rows and by columns. */

#include "example.h"

enum { N = 53, K = 37, M = 29 };

static const float ALPHA = 0.75f, BETA = -1.5f;

static float at(gaitprop_smat m, size_t i, size_t j)
{
    return m.data[(ptrdiff_t)i * m.rs + (ptrdiff_t)j * m.cs];
}

/* A view of the same elements that is read. */
static gaitprop_smat reading(gaitprop_smat_mut m)
{
    gaitprop_smat r;
    r.data = m.data, r.rows = m.rows, r.cols = m.cols, r.rs = m.rs, r.cs = m.cs;
    return r;
}

/* Element (i, j) of a product: k runs upwards. `left` says which operand alpha multiplies. */
static float chain(gaitprop_smat a, gaitprop_smat b, size_t i, size_t j, int left, float sum)
{
    size_t k;
    for (k = 0; k < a.cols; k++)
        sum = left ? fmaf(ALPHA * at(a, i, k), at(b, k, j), sum) : fmaf(at(a, i, k), ALPHA * at(b, k, j), sum);
    return sum;
}

static int in_triangle(int triangle, size_t i, size_t j)
{
    return triangle == GAITPROP_LOWER ? i >= j : i <= j;
}

/* Elements of a row-major or column-major n x m matrix. */
static gaitprop_smat_mut stored(float *data, size_t rows, size_t cols, int by_columns)
{
    gaitprop_smat_mut m = into_s(data, rows, cols);
    if (by_columns)
        m.rs = 1, m.cs = (ptrdiff_t)rows;
    return m;
}

static void set(gaitprop_smat_mut m, size_t i, size_t j, float x)
{
    m.data[(ptrdiff_t)i * m.rs + (ptrdiff_t)j * m.cs] = x;
}

static void triangles(gaitprop_context *ctx, int triangle, int by_columns)
{
    float *a = floats(N * K), *b = floats(N * K), *start = floats(N * N), *c = floats(N * N), *d = floats(N * N);
    float *wanted = floats(N * N), *wanted_2k = floats(N * N);
    gaitprop_smat x = reading(stored(a, N, K, by_columns)), y = reading(stored(b, N, K, !by_columns));
    gaitprop_smat_mut to = stored(wanted, N, N, by_columns), to_2k = stored(wanted_2k, N, N, by_columns);
    gaitprop_smat from = reading(stored(start, N, N, by_columns));
    int left = triangle == GAITPROP_LOWER;
    size_t i, j;
    fill_s(a, N * K, 1), fill_s(b, N * K, 2), fill_s(start, N * N, 3);
    memcpy(c, start, N * N * sizeof(float)), memcpy(d, start, N * N * sizeof(float));
    memcpy(wanted, start, N * N * sizeof(float)), memcpy(wanted_2k, start, N * N * sizeof(float));
    for (i = 0; i < N; i++)
        for (j = 0; j < N; j++)
            if (in_triangle(triangle, i, j)) {
                float sum = chain(x, t_s(y), i, j, left, BETA * at(from, i, j));
                set(to, i, j, sum);
                set(to_2k, i, j, chain(y, t_s(x), i, j, left, sum));
            }
    must(ctx, gaitprop_sgemmt(ctx, triangle, ALPHA, x, t_s(y), BETA, stored(c, N, N, by_columns)));
    same_s(c, wanted, N * N, "gemmt");
    must(ctx, gaitprop_ssyr2k(ctx, triangle, ALPHA, x, y, BETA, stored(d, N, N, by_columns)));
    same_s(d, wanted_2k, N * N, "syr2k");

    memcpy(c, start, N * N * sizeof(float)), memcpy(wanted, start, N * N * sizeof(float));
    for (i = 0; i < N; i++)
        for (j = 0; j < N; j++)
            if (in_triangle(triangle, i, j)) {
                /* alpha multiplies the row of the longer index. */
                size_t high = i > j ? i : j, low = i > j ? j : i;
                set(to, i, j, i == j ? 0.0f : chain(x, t_s(x), high, low, 1, BETA * at(from, i, j)));
            }
    must(ctx, gaitprop_ssyrk(ctx, triangle, 1, ALPHA, x, BETA, stored(c, N, N, by_columns)));
    same_s(c, wanted, N * N, "syrk without its diagonal");
    free(a), free(b), free(start), free(c), free(d), free(wanted), free(wanted_2k);
}

static void symmetric(gaitprop_context *ctx, int side, int triangle, int by_columns)
{
    size_t rows = side == GAITPROP_LEFT ? N : M, cols = side == GAITPROP_LEFT ? M : N, i, j;
    float *half = floats(N * N), *whole = floats(N * N), *b = floats(N * M), *c = floats(N * M), *wanted = floats(N * M);
    gaitprop_smat s = reading(stored(whole, N, N, by_columns)), right = reading(stored(b, rows, cols, by_columns));
    gaitprop_smat_mut to = stored(wanted, rows, cols, by_columns);
    fill_s(whole, N * N, 4), fill_s(b, N * M, 5), fill_s(c, N * M, 6);
    for (i = 0; i < N; i++)
        for (j = 0; j < i; j++)
            set(stored(whole, N, N, by_columns), i, j, at(s, j, i));
    /* The other triangle is not read. */
    for (i = 0; i < N; i++)
        for (j = 0; j < N; j++)
            set(stored(half, N, N, by_columns), i, j, in_triangle(triangle, i, j) ? at(s, i, j) : NAN);
    memcpy(wanted, c, N * M * sizeof(float));
    for (i = 0; i < rows; i++)
        for (j = 0; j < cols; j++) {
            float sum = BETA * at(reading(to), i, j);
            set(to, i, j, side == GAITPROP_LEFT ? chain(s, right, i, j, 1, sum) : chain(right, s, i, j, 1, sum));
        }
    must(ctx, gaitprop_ssymm(ctx, side, triangle, ALPHA, reading(stored(half, N, N, by_columns)), right, BETA,
                             stored(c, rows, cols, by_columns)));
    same_s(c, wanted, N * M, "symm");
    free(half), free(whole), free(b), free(c), free(wanted);
}

/* Element (row, k) of the triangular matrix that stands left of the unknowns. */
static float coefficient(gaitprop_smat a, int side, int diag, size_t row, size_t k)
{
    if (row == k && diag == GAITPROP_UNIT)
        return 1.0f;
    return side == GAITPROP_LEFT ? at(a, row, k) : at(a, k, row);
}

/* trmm and trsm of one kind. Right-hand side r is a column of B, or a row for GAITPROP_RIGHT. */
static void triangular(gaitprop_context *ctx, int side, int triangle, int diag, int by_columns)
{
    size_t rows = side == GAITPROP_LEFT ? N : M, cols = side == GAITPROP_LEFT ? M : N, i, j, r;
    float *a = floats(N * N), *b = floats(N * M), *c = floats(N * M), *product = floats(N * M), *solution = floats(N * M);
    gaitprop_smat l = reading(stored(a, N, N, by_columns));
    /* Whether the unknowns are eliminated upwards. */
    int up = (triangle == GAITPROP_LOWER) == (side == GAITPROP_LEFT);
    fill_s(a, N * N, 7), fill_s(b, N * M, 8);
    for (i = 0; i < N; i++)
        for (j = 0; j < N; j++) {
            float x = at(l, i, j) / 8.0f;
            if (!in_triangle(triangle, i, j) || (i == j && diag == GAITPROP_UNIT))
                x = NAN;
            else if (i == j)
                x += 2.0f;
            set(stored(a, N, N, by_columns), i, j, x);
        }
    memcpy(c, b, N * M * sizeof(float));
    memcpy(product, b, N * M * sizeof(float)), memcpy(solution, b, N * M * sizeof(float));
    for (r = 0; r < M; r++) {
        /* One right-hand side, with its elements i, and the order of elimination. */
        gaitprop_smat_mut p = stored(product, rows, cols, by_columns), s = stored(solution, rows, cols, by_columns);
        float old[N], x[N];
        for (i = 0; i < N; i++)
            old[i] = ALPHA * (side == GAITPROP_LEFT ? at(reading(p), i, r) : at(reading(p), r, i));
        for (i = 0; i < N; i++) {
            size_t row = up ? i : N - 1 - i;
            float sum = 0.0f;
            x[row] = old[row];
            for (j = 0; j <= i; j++) {
                size_t k = up ? j : N - 1 - j;
                sum = fmaf(coefficient(l, side, diag, row, k), old[k], sum);
                if (k != row)
                    x[row] = fmaf(-x[k], coefficient(l, side, diag, row, k), x[row]);
            }
            if (diag == GAITPROP_STORED)
                x[row] /= coefficient(l, side, diag, row, row);
            set(p, side == GAITPROP_LEFT ? row : r, side == GAITPROP_LEFT ? r : row, sum);
            set(s, side == GAITPROP_LEFT ? row : r, side == GAITPROP_LEFT ? r : row, x[row]);
        }
    }
    must(ctx, gaitprop_strmm(ctx, side, triangle, diag, ALPHA, l, stored(c, rows, cols, by_columns)));
    same_s(c, product, N * M, "trmm");
    must(ctx, gaitprop_strsm(ctx, side, triangle, diag, ALPHA, l, stored(b, rows, cols, by_columns)));
    same_s(b, solution, N * M, "trsm");
    free(a), free(b), free(c), free(product), free(solution);
}

static void vectors(gaitprop_context *ctx, int by_columns)
{
    float *a = floats(N * K), *x = floats(K), *y = floats(N), *wanted = floats(N), *wanted_a = floats(N * K);
    gaitprop_smat m = reading(stored(a, N, K, by_columns));
    double sum = 0.0, lanes[16] = {0};
    size_t i, j;
    fill_s(a, N * K, 1), fill_s(x, K, 2), fill_s(y, N, 3);
    for (i = 0; i < N; i++)
        wanted[i] = chain(m, rows_s(x, K, 1), i, 0, 1, BETA * y[i]);
    must(ctx, gaitprop_sgemv(ctx, ALPHA, m, rows_s(x, K, 1), BETA, into_s(y, N, 1)));
    same_s(y, wanted, N, "gemv");

    for (i = 0; i < N; i++)
        for (j = 0; j < K; j++)
            set(stored(wanted_a, N, K, by_columns), i, j, fmaf(ALPHA * y[i], x[j], at(m, i, j)));
    must(ctx, gaitprop_sger(ctx, ALPHA, rows_s(y, N, 1), rows_s(x, K, 1), stored(a, N, K, by_columns)));
    same_s(a, wanted_a, N * K, "ger");

    /* 16 partial sums, added by halving. */
    for (i = 0; i < N; i++)
        lanes[i % 16] += (double)y[i] * (double)y[i];
    for (i = 8; i > 0; i /= 2)
        for (j = 0; j < i; j++)
            lanes[j] += lanes[j + i];
    must(ctx, gaitprop_sdot(ctx, rows_s(y, N, 1), rows_s(y, N, 1), &sum));
    same_d(&sum, lanes, 1, "dot");
    free(a), free(x), free(y), free(wanted), free(wanted_a);
}

int main(void)
{
    gaitprop_context *ctx = NULL;
    int side, triangle, diag, by_columns;
    must(NULL, gaitprop_context_new(&ctx));
    for (by_columns = 0; by_columns < 2; by_columns++) {
        vectors(ctx, by_columns);
        for (triangle = GAITPROP_LOWER; triangle <= GAITPROP_UPPER; triangle++) {
            triangles(ctx, triangle, by_columns);
            for (side = GAITPROP_LEFT; side <= GAITPROP_RIGHT; side++) {
                symmetric(ctx, side, triangle, by_columns);
                for (diag = GAITPROP_STORED; diag <= GAITPROP_UNIT; diag++)
                    triangular(ctx, side, triangle, diag, by_columns);
            }
        }
    }
    must(NULL, gaitprop_context_free(ctx));
    printf("level 3: bits of plain loops\n");
    return 0;
}
