/* Products: operands with strides, packed operands, batches, threads. The results are those of a
 * plain loop, bit for bit, whatever the threads and the instruction set. */

#include "example.h"

enum { M = 75, N = 67, K = 301 };

/* C = alpha*A*B + beta*C, one fused multiply-add after another. */
static void plain(float alpha, const float *a, const float *b, float beta, float *c)
{
    size_t i, j, k;
    for (i = 0; i < M; i++)
        for (j = 0; j < N; j++) {
            float sum = beta * c[i * N + j];
            for (k = 0; k < K; k++)
                sum = fmaf(alpha * a[i * K + k], b[k * N + j], sum);
            c[i * N + j] = sum;
        }
}

/* B is stored column by column, and C is every second column of a larger array. */
static void strides(gaitprop_context *ctx, const float *a, const float *b, const float *start, const float *wanted)
{
    float *bt = floats(N * K), *wide = floats(M * 2 * N), *found = floats(M * N);
    gaitprop_smat_mut c = into_s(wide, M, N);
    size_t i, j;
    c.rs = 2 * N, c.cs = 2;
    for (i = 0; i < K; i++)
        for (j = 0; j < N; j++)
            bt[j * K + i] = b[i * N + j];
    for (i = 0; i < M; i++)
        for (j = 0; j < N; j++)
            wide[i * 2 * N + 2 * j] = start[i * N + j];
    must(ctx, gaitprop_sgemm(ctx, 0.5f, rows_s(a, M, K), t_s(rows_s(bt, N, K)), -2.0f, c));
    for (i = 0; i < M; i++)
        for (j = 0; j < N; j++) {
            found[i * N + j] = wide[i * 2 * N + 2 * j];
            expect(wide[i * 2 * N + 2 * j + 1] == 0.0f, "a column between those of C");
        }
    same_s(found, wanted, M * N, "a product with strides");
    free(bt), free(wide), free(found);
}

/* A matrix packed once is the right operand of many products. */
static void packed(gaitprop_context *ctx, const float *a, const float *b, const float *start, const float *wanted)
{
    float *c = floats(M * N);
    gaitprop_spacked *w = NULL;
    must(ctx, gaitprop_spack(ctx, rows_s(b, K, N), GAITPROP_PACK_PLAIN, &w));
    memcpy(c, start, M * N * sizeof(float));
    must(ctx, gaitprop_sgemm_packed(ctx, 0.5f, rows_s(a, M, K), w, 0, -2.0f, into_s(c, M, N)));
    same_s(c, wanted, M * N, "a product with a packed operand");
    /* It was packed for x*W alone. */
    expect(gaitprop_sgemm_packed(ctx, 0.5f, rows_s(a, M, K), w, 1, -2.0f, into_s(c, M, N)) == GAITPROP_PACKED, "e*W^T");
    must(NULL, gaitprop_spacked_free(w));
    free(c);
}

/* Each row of A times B, as a batch of M products that share B. */
static void batched(gaitprop_context *ctx, const float *a, const float *b, const float *start, const float *wanted)
{
    float *c = floats(M * N);
    gaitprop_sbatch x, w;
    gaitprop_sbatch_mut y;
    x.first = rows_s(a, 1, K), x.count = M, x.stride = K;
    w.first = rows_s(b, K, N), w.count = M, w.stride = 0;
    y.first = into_s(c, 1, N), y.count = M, y.stride = N;
    memcpy(c, start, M * N * sizeof(float));
    must(ctx, gaitprop_sgemm_batched(ctx, 0.5f, x, w, -2.0f, y));
    same_s(c, wanted, M * N, "a batch of products");
    free(c);
}

int main(void)
{
    static const char *const isas[] = {"portable", "avx2", "avx512", "neon", "auto"};
    float *a = floats(M * K), *b = floats(K * N), *start = floats(M * N), *wanted = floats(M * N), *c = floats(M * N);
    gaitprop_context *ctx = NULL;
    size_t isa, threads;
    must(NULL, gaitprop_context_new(&ctx));
    fill_s(a, M * K, 1), fill_s(b, K * N, 2), fill_s(start, M * N, 3);
    memcpy(wanted, start, M * N * sizeof(float));
    plain(0.5f, a, b, -2.0f, wanted);
    for (threads = 1; threads <= 3; threads++)
        for (isa = 0; isa < sizeof isas / sizeof *isas; isa++) {
            char name[64];
            must(ctx, gaitprop_context_set_threads(ctx, threads));
            if (gaitprop_context_set_isa(ctx, isas[isa]) == GAITPROP_PARAMETER)
                continue; /* Not of this CPU. */
            must(ctx, gaitprop_skernel_name(ctx, name, sizeof name));
            printf("%s, threads: %u\n", name, (unsigned)threads);
            memcpy(c, start, M * N * sizeof(float));
            must(ctx, gaitprop_sgemm(ctx, 0.5f, rows_s(a, M, K), rows_s(b, K, N), -2.0f, into_s(c, M, N)));
            same_s(c, wanted, M * N, "a product");
            strides(ctx, a, b, start, wanted);
            packed(ctx, a, b, start, wanted);
            batched(ctx, a, b, start, wanted);
        }
    must(NULL, gaitprop_context_free(ctx));
    free(a), free(b), free(start), free(wanted), free(c);
    return 0;
}
