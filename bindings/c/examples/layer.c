/* A layer of a network: bias and activation inside the product, and an optimizer whose gradient is
 * stored nowhere. The bits are those of separate loops. */

#include "example.h"

enum { BATCH = 61, IN = 97, OUT = 45 };

static const float SLOPE = 0.1f;

/* y = f(x*W + b) and f', by loops. */
static void plain_forward(const float *x, const float *w, const float *bias, float *y, float *slope)
{
    size_t i, j, k;
    for (i = 0; i < BATCH; i++)
        for (j = 0; j < OUT; j++) {
            float h = 0.0f;
            for (k = 0; k < IN; k++)
                h = fmaf(x[i * IN + k], w[k * OUT + j], h);
            h += bias[j];
            slope[i * OUT + j] = h < 0.0f ? SLOPE : 1.0f;
            y[i * OUT + j] = slope[i * OUT + j] * h;
        }
}

/* One step of Adam along mean*x^T*delta, by loops. */
static void plain_adam(const float *x, const float *delta, gaitprop_sadam_step step, float *m, float *v, float *w)
{
    size_t i, j, k;
    for (i = 0; i < IN; i++)
        for (j = 0; j < OUT; j++) {
            size_t at = i * OUT + j;
            float d = 0.0f, part;
            for (k = 0; k < BATCH; k++)
                d = fmaf((1.0f / BATCH) * x[k * IN + i], delta[k * OUT + j], d);
            part = step.beta1 * m[at];
            m[at] = step.one_minus_beta1 * d + part;
            part = step.beta2 * v[at];
            v[at] = step.one_minus_beta2 * (d * d) + part;
            w[at] += step.rate * m[at] / (step.epsilon + step.correction * sqrtf(v[at]));
        }
}

static void forward(gaitprop_context *ctx, const float *x, const float *w, const float *bias)
{
    float *y = floats(BATCH * OUT), *slope = floats(BATCH * OUT);
    float *wanted = floats(BATCH * OUT), *wanted_slope = floats(BATCH * OUT);
    gaitprop_activation leaky;
    gaitprop_smat_mut to = into_s(slope, BATCH, OUT);
    gaitprop_spacked *packed = NULL;
    leaky.kind = GAITPROP_LEAKY_RELU, leaky.slope = SLOPE;
    plain_forward(x, w, bias, wanted, wanted_slope);

    must(ctx, gaitprop_slinear_forward(ctx, rows_s(x, BATCH, IN), rows_s(w, IN, OUT), bias, leaky, into_s(y, BATCH, OUT), &to));
    same_s(y, wanted, BATCH * OUT, "activity");
    same_s(slope, wanted_slope, BATCH * OUT, "slope");

    /* Inference: the weights are packed once, and no slope is wanted. */
    memset(y, 0, BATCH * OUT * sizeof(float));
    must(ctx, gaitprop_spack(ctx, rows_s(w, IN, OUT), GAITPROP_PACK_PLAIN, &packed));
    must(ctx, gaitprop_slinear_forward_packed(ctx, rows_s(x, BATCH, IN), packed, bias, leaky, into_s(y, BATCH, OUT), NULL));
    same_s(y, wanted, BATCH * OUT, "activity with packed weights");
    must(NULL, gaitprop_spacked_free(packed));
    free(y), free(slope), free(wanted), free(wanted_slope);
}

static void update(gaitprop_context *ctx, const float *x, const float *delta, const float *weights)
{
    float *w = floats(IN * OUT), *m = floats(IN * OUT), *v = floats(IN * OUT);
    float *wanted = floats(IN * OUT), *wanted_m = floats(IN * OUT), *wanted_v = floats(IN * OUT);
    gaitprop_sadam_step step;
    int i;
    step.rate = 1e-3f, step.beta1 = 0.9f, step.one_minus_beta1 = 0.1f, step.beta2 = 0.99f, step.one_minus_beta2 = 0.01f;
    step.epsilon = 1e-8f, step.correction = 1.0f;
    memcpy(w, weights, IN * OUT * sizeof(float)), memcpy(wanted, weights, IN * OUT * sizeof(float));
    for (i = 0; i < 3; i++) {
        must(ctx, gaitprop_slinear_adam(ctx, 1.0f / BATCH, rows_s(x, BATCH, IN), rows_s(delta, BATCH, OUT), NULL, step,
                                        into_s(m, IN, OUT), into_s(v, IN, OUT), into_s(w, IN, OUT)));
        plain_adam(x, delta, step, wanted_m, wanted_v, wanted);
        same_s(w, wanted, IN * OUT, "weights");
        same_s(m, wanted_m, IN * OUT, "first moment");
        same_s(v, wanted_v, IN * OUT, "second moment");
    }
    free(w), free(m), free(v), free(wanted), free(wanted_m), free(wanted_v);
}

int main(void)
{
    float *x = floats(BATCH * IN), *w = floats(IN * OUT), *bias = floats(OUT), *delta = floats(BATCH * OUT);
    gaitprop_context *ctx = NULL;
    must(NULL, gaitprop_context_new(&ctx));
    must(ctx, gaitprop_context_set_threads(ctx, 2));
    fill_s(x, BATCH * IN, 1), fill_s(w, IN * OUT, 2), fill_s(bias, OUT, 3), fill_s(delta, BATCH * OUT, 4);
    /* From here on no call of these sizes allocates. */
    must(ctx, gaitprop_sreserve(ctx, GAITPROP_OP_LINEAR, BATCH, OUT, IN));
    must(ctx, gaitprop_sreserve(ctx, GAITPROP_OP_LINEAR, IN, OUT, BATCH));
    forward(ctx, x, w, bias);
    update(ctx, x, delta, w);
    must(NULL, gaitprop_context_free(ctx));
    free(x), free(w), free(bias), free(delta);
    printf("a layer forward and three steps of Adam: bits of plain loops\n");
    return 0;
}
