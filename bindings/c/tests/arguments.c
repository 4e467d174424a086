/* Every wrong argument gives a status and a sentence, and the program goes on. */

#define _DEFAULT_SOURCE

#include "example.h"

#include <stdint.h>

static gaitprop_context *ctx;

/* Expects a status, and a sentence with `word` in it. */
static void fails(gaitprop_status status, gaitprop_status wanted, const char *word)
{
    gaitprop_error_info error;
    if (status != wanted) {
        fprintf(stderr, "%s instead of %s\n", gaitprop_status_text((int)status), gaitprop_status_text((int)wanted));
        exit(1);
    }
    must(ctx, gaitprop_error(ctx, &error));
    if (error.status != wanted || strstr(error.text, word) == NULL) {
        fprintf(stderr, "\"%s\" without \"%s\"\n", error.text, word);
        exit(1);
    }
}

static void nulls(void)
{
    float x[4] = {1, 2, 3, 4}, y[4] = {0};
    double sum = 0;
    size_t pivots[2];
    gaitprop_smat a = rows_s(x, 2, 2), none = rows_s(NULL, 2, 2), empty = rows_s(NULL, 0, 2);
    gaitprop_threads threads;
    gaitprop_spacked *packed = NULL;
    gaitprop_dpacked *packed_d = (gaitprop_dpacked *)x;
    gaitprop_activation f;
    f.kind = GAITPROP_TANH, f.slope = 0;
    threads.user = NULL, threads.count = 2, threads.run = NULL;
    expect(gaitprop_context_new(NULL) == GAITPROP_NULL, "no place for a context");
    expect(gaitprop_context_free(NULL) == GAITPROP_OK && gaitprop_spacked_free(NULL) == GAITPROP_OK, "free of NULL");
    expect(gaitprop_sgemm(NULL, 1, a, a, 0, into_s(y, 2, 2)) == GAITPROP_NULL, "no context");
    expect(gaitprop_error(ctx, NULL) == GAITPROP_NULL, "no place for an error");
    fails(gaitprop_sgemm(ctx, 1, none, a, 0, into_s(y, 2, 2)), GAITPROP_NULL, "A");
    fails(gaitprop_sgemm(ctx, 1, a, a, 0, into_s(NULL, 2, 2)), GAITPROP_NULL, "C");
    fails(gaitprop_sdot(ctx, rows_s(x, 4, 1), rows_s(x, 4, 1), NULL), GAITPROP_NULL, "out");
    fails(gaitprop_slu_factor(ctx, into_s(y, 2, 2), NULL), GAITPROP_NULL, "pivots");
    fails(gaitprop_slu_solve_left(ctx, a, NULL, into_s(y, 2, 2)), GAITPROP_NULL, "pivots");
    fails(gaitprop_slu_inverse_norm1(ctx, a, pivots, NULL), GAITPROP_NULL, "norm");
    fails(gaitprop_spack(ctx, a, GAITPROP_PACK_PLAIN, NULL), GAITPROP_NULL, "out");
    fails(gaitprop_srepack(ctx, NULL, a), GAITPROP_NULL, "packed");
    fails(gaitprop_sgemm_packed(ctx, 1, a, NULL, 0, 0, into_s(y, 2, 2)), GAITPROP_NULL, "W");
    fails(gaitprop_slinear_forward(ctx, a, a, NULL, f, into_s(y, 2, 2), NULL), GAITPROP_NULL, "bias");
    fails(gaitprop_sdescend(ctx, 1, 4, NULL, x), GAITPROP_NULL, "theta");
    fails(gaitprop_context_set_isa(ctx, NULL), GAITPROP_NULL, "name");
    fails(gaitprop_context_set_threads_custom(ctx, NULL), GAITPROP_NULL, "threads");
    fails(gaitprop_context_set_threads_custom(ctx, &threads), GAITPROP_NULL, "run");
    fails(gaitprop_skernel_name(ctx, NULL, 9), GAITPROP_NULL, "out");
    /* An empty operand has no elements to point to. */
    must(ctx, gaitprop_sgemm(ctx, 1, empty, a, 0, into_s(NULL, 0, 2)));
    must(ctx, gaitprop_sdescend(ctx, 1, 0, NULL, NULL));
    must(ctx, gaitprop_skernel_name(ctx, NULL, 0));
    must(ctx, gaitprop_sdot(ctx, rows_s(NULL, 0, 1), rows_s(NULL, 0, 1), &sum));
    /* A failed pack leaves NULL. */
    packed = (gaitprop_spacked *)x;
    fails(gaitprop_spack(ctx, a, 9, &packed), GAITPROP_PARAMETER, "orientation");
    expect(packed == NULL, "a pointer after a failed pack");
    packed = (gaitprop_spacked *)x;
    expect(gaitprop_spack(NULL, a, GAITPROP_PACK_PLAIN, &packed) == GAITPROP_NULL, "a pack without a context");
    expect(gaitprop_dpack(NULL, rows_d(NULL, 0, 0), GAITPROP_PACK_PLAIN, &packed_d) == GAITPROP_NULL, "of doubles");
    expect(packed == NULL && packed_d == NULL, "pointers after a pack without a context");
}

static void shapes(void)
{
    float x[12] = {0}, y[12] = {0};
    double sum = 0;
    size_t pivots[3] = {0, 1, 2}, wrong[3] = {0, 7, 2};
    gaitprop_sbatch two, three;
    gaitprop_sbatch_mut out;
    two.first = rows_s(x, 2, 2), two.count = 2, two.stride = 4;
    three = two, three.count = 3;
    out.first = into_s(y, 2, 2), out.count = 2, out.stride = 4;
    fails(gaitprop_sgemm(ctx, 1, rows_s(x, 3, 4), rows_s(x, 3, 4), 0, into_s(y, 3, 4)), GAITPROP_SHAPE, "B");
    fails(gaitprop_sgemm(ctx, 1, rows_s(x, 3, 4), rows_s(x, 4, 3), 0, into_s(y, 3, 2)), GAITPROP_SHAPE, "3x2");
    fails(gaitprop_sgemm_batched(ctx, 1, two, three, 0, out), GAITPROP_SHAPE, "matrices");
    fails(gaitprop_slu_factor(ctx, into_s(y, 3, 4), pivots), GAITPROP_SHAPE, "3x4");
    fails(gaitprop_slu_solve_left(ctx, rows_s(x, 3, 3), wrong, into_s(y, 3, 1)), GAITPROP_PARAMETER, "pivot");
    fails(gaitprop_scholesky_factor(ctx, into_s(y, 4, 3)), GAITPROP_SHAPE, "4x3");
    fails(gaitprop_sdot(ctx, rows_s(x, 3, 1), rows_s(x, 4, 1), &sum), GAITPROP_SHAPE, "second");
    fails(gaitprop_strsm(ctx, 7, GAITPROP_LOWER, GAITPROP_UNIT, 1, rows_s(x, 3, 3), into_s(y, 3, 3)), GAITPROP_PARAMETER, "side");
    fails(gaitprop_strsm(ctx, 0, GAITPROP_BOTH, GAITPROP_UNIT, 1, rows_s(x, 3, 3), into_s(y, 3, 3)), GAITPROP_PARAMETER, "triangle");
    fails(gaitprop_strmm(ctx, 0, 0, -1, 1, rows_s(x, 3, 3), into_s(y, 3, 3)), GAITPROP_PARAMETER, "diag");
    fails(gaitprop_context_set_isa(ctx, "sse9"), GAITPROP_PARAMETER, "sse9");
    fails(gaitprop_sreserve(ctx, 99, 1, 1, 1), GAITPROP_PARAMETER, "operation");
}

static void memory_layout(void)
{
    float x[64] = {0}, y[64] = {0};
    gaitprop_smat askew = rows_s((const float *)(const void *)((const char *)x + 2), 3, 4);
    gaitprop_smat_mut c = into_s(y, 4, 4);
    gaitprop_smat far = rows_s(x, 2, 2);
    gaitprop_sbatch_mut out;
    gaitprop_sbatch in;
    gaitprop_activation f;
    f.kind = GAITPROP_IDENTITY, f.slope = 0;
    fails(gaitprop_sgemm(ctx, 1, askew, rows_s(x, 4, 4), 0, into_s(y, 3, 4)), GAITPROP_LAYOUT, "aligned");
    c.rs = 3;
    fails(gaitprop_sgemm(ctx, 1, rows_s(x, 4, 4), rows_s(x, 4, 4), 0, c), GAITPROP_OVERLAP, "C");
    fails(gaitprop_sgemm(ctx, 1, rows_s(y, 4, 4), rows_s(x, 4, 4), 0, into_s(y, 4, 4)), GAITPROP_OVERLAP, "shares memory with A");
    fails(gaitprop_sgemm(ctx, 1, rows_s(x, 4, 4), rows_s(y, 4, 4), 0, into_s(y + 15, 4, 4)), GAITPROP_OVERLAP, "with B");
    fails(gaitprop_sdescend(ctx, 1, 8, x, x + 7), GAITPROP_OVERLAP, "theta");
    out.first = into_s(y, 2, 2), out.count = 3, out.stride = 3;
    in.first = rows_s(x, 2, 2), in.count = 3, in.stride = 0;
    fails(gaitprop_sgemm_batched(ctx, 1, in, in, 0, out), GAITPROP_OVERLAP, "C");
    far.rs = PTRDIFF_MAX;
    fails(gaitprop_sgemm(ctx, 1, far, rows_s(x, 2, 2), 0, into_s(y, 2, 2)), GAITPROP_LAYOUT, "address space");
    fails(gaitprop_sgemm(ctx, 1, rows_s(x, SIZE_MAX / 2, SIZE_MAX / 2), rows_s(x, 2, 2), 0, into_s(y, 2, 2)), GAITPROP_LAYOUT, "A");
    fails(gaitprop_sdescend(ctx, 1, SIZE_MAX, x, y), GAITPROP_LAYOUT, "theta");
    /* Blocks of one array that interleave share nothing. */
    c = into_s(x, 4, 4), c.rs = 16;
    far = rows_s(x + 4, 4, 4), far.rs = 16;
    must(ctx, gaitprop_sgemm(ctx, 1, far, rows_s(y, 4, 4), 0, c));
    /* A fused product writes contiguous rows only. */
    c = into_s(y, 4, 4), c.rs = 1, c.cs = 4;
    fails(gaitprop_slinear_forward(ctx, rows_s(x, 4, 4), rows_s(x, 4, 4), x, f, c, NULL), GAITPROP_LAYOUT, "contiguous");
}

static void values(void)
{
    double a[4] = {1, 2, 2, 4}, b[2] = {1, 1}, bad[4] = {1, 0, 0, NAN}, y[2] = {0.5, 1.0}, e[2] = {0, 5}, r[2], delta[2], slope[2] = {0.75, 0};
    float theta[2] = {1, 1}, step[2] = {1, INFINITY};
    size_t pivots[2];
    gaitprop_perturbation p;
    gaitprop_dmat kept = rows_d(slope, 1, 2);
    gaitprop_error_info error;
    fails(gaitprop_dlu_factor(ctx, into_d(a, 2, 2), pivots), GAITPROP_SINGULAR, "index 1");
    fails(gaitprop_dlu_factor(ctx, into_d(bad, 2, 2), pivots), GAITPROP_NOT_FINITE, "pivot 1");
    a[0] = 1, a[1] = 2, a[2] = 2, a[3] = 1;
    fails(gaitprop_dcholesky_factor(ctx, into_d(a, 2, 2)), GAITPROP_NOT_POSITIVE, "pivot 1");
    a[0] = 0;
    fails(gaitprop_dtrsm(ctx, 0, 0, 0, 1, rows_d(a, 2, 2), into_d(b, 2, 1)), GAITPROP_SINGULAR, "index 0");
    expect(b[0] == 1 && b[1] == 1, "right-hand sides after an error");
    fails(gaitprop_sdescend(ctx, 1, 2, theta, step), GAITPROP_NOT_FINITE, "parameter");
    p.activation.kind = GAITPROP_TANH, p.activation.slope = 0, p.weighting = GAITPROP_PLAIN, p.limit = 0, p.scale = 1;
    fails(gaitprop_dperturb(ctx, p, rows_d(y, 1, 2), &kept, rows_d(e, 1, 2), into_d(r, 1, 2), into_d(delta, 1, 2)),
          GAITPROP_DOMAIN, "unit 1");
    must(ctx, gaitprop_error(ctx, &error));
    expect(error.row == 0 && error.col == 1, "the place of a target outside");
    fails(gaitprop_dperturb(ctx, p, rows_d(y, 1, 2), NULL, rows_d(e, 1, 2), into_d(r, 1, 2), into_d(delta, 1, 2)), GAITPROP_SHAPE, "slopes");
    p.weighting = 5;
    fails(gaitprop_dperturb(ctx, p, rows_d(y, 1, 2), &kept, rows_d(e, 1, 2), into_d(r, 1, 2), into_d(delta, 1, 2)), GAITPROP_PARAMETER, "weighting");
    p.weighting = GAITPROP_PLAIN, p.activation.kind = GAITPROP_LEAKY_RELU, p.activation.slope = 0;
    fails(gaitprop_dperturb(ctx, p, rows_d(y, 1, 2), NULL, rows_d(e, 1, 2), into_d(r, 1, 2), into_d(delta, 1, 2)), GAITPROP_PARAMETER, "slope");
}

/* Requests that no machine can serve. The elements of the huge operand are one float. */
static void sizes(void)
{
    float one = 1;
    gaitprop_smat huge = rows_s(&one, (size_t)1 << 30, (size_t)1 << 30);
    gaitprop_spacked *packed = NULL;
    huge.rs = 0, huge.cs = 0;
    fails(gaitprop_spack(ctx, huge, GAITPROP_PACK_BOTH, &packed), GAITPROP_MEMORY, "memory");
    huge.rows = huge.cols = (size_t)1 << 62;
    fails(gaitprop_spack(ctx, huge, GAITPROP_PACK_BOTH, &packed), GAITPROP_MEMORY, "memory");
    expect(packed == NULL, "a pointer after a failed pack");
    fails(gaitprop_sreserve(ctx, GAITPROP_OP_LU, SIZE_MAX, SIZE_MAX, 0), GAITPROP_MEMORY, "memory");
    fails(gaitprop_dreserve_batched(ctx, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX), GAITPROP_MEMORY, "memory");
    fails(gaitprop_context_set_threads(ctx, (size_t)1 << 40), GAITPROP_PARAMETER, "threads");
}

int main(void)
{
    float x[4] = {1, 2, 3, 4}, y[4];
    gaitprop_error_info error;
    int status;
    must(NULL, gaitprop_context_new(&ctx));
    must(ctx, gaitprop_error(ctx, &error));
    expect(error.status == GAITPROP_OK && error.text[0] == 0, "an error before any call");
    nulls(), shapes(), memory_layout(), values(), sizes();
    for (status = -1; status <= 16; status++)
        expect(strlen(gaitprop_status_text(status)) > 3, "the text of a status");
    expect(gaitprop_abi_version() == GAITPROP_ABI_VERSION && strlen(gaitprop_version()) >= 5, "versions");
    /* After all that the context works. */
    must(ctx, gaitprop_sgemm(ctx, 1, rows_s(x, 2, 2), rows_s(x, 2, 2), 0, into_s(y, 2, 2)));
    expect(y[0] == 7 && y[1] == 10 && y[2] == 15 && y[3] == 22, "a product after errors");
    must(NULL, gaitprop_context_free(ctx));
    printf("wrong arguments: a status and a sentence each\n");
    return 0;
}
