/* A training step of GAIT-prop: forward pass, output error, perturbations down through the inverses
 * of the weights, gradients, and Adam. The results are those of `gaitprop update`, bit for bit.
 *
 *   gait_step FILE
 *
 * FILE has the inputs and what `gaitprop update` makes of them, as doubles (a size is one too):
 *
 *   layers, batch, inputs, labels, gamma, slope, learning rate
 *   for each layer:  fan-in, width
 *   x (batch x inputs), onehot (batch x labels), for each layer W (fan-in x width), b
 *   for each layer:  activity, dW, db, then W, b, mW, vW, mb, vb after one step of Adam
 *
 * tests/golden.rs writes such files. Without FILE, the step runs on a small network of its own. */

#include "example.h"

enum { MOST_LAYERS = 16 };

struct layer {
    size_t fan_in, width;
    double *w, *b;         /* parameters */
    double *y, *delta;     /* activity and delta, batch x width */
    double *dw, *db;       /* updates, means over the batch */
    double *mw, *vw, *mb, *vb; /* Adam's moments */
};

struct net {
    size_t layers, batch, inputs, labels;
    double gamma, slope, rate;
    double *x, *onehot;
    struct layer layer[MOST_LAYERS];
};

/* Views the columns of a row-major array that feed the layer above. */
static gaitprop_dmat columns(const double *data, size_t rows, size_t cols, size_t first)
{
    gaitprop_dmat m = rows_d(data, rows, cols);
    m.cols = first;
    return m;
}

/* The input of layer l: the samples, or the first units of the layer below. */
static gaitprop_dmat input(const struct net *net, size_t l)
{
    size_t fan_in = net->layer[l].fan_in;
    if (l == 0)
        return columns(net->x, net->batch, net->inputs, fan_in);
    return columns(net->layer[l - 1].y, net->batch, net->layer[l - 1].width, fan_in);
}

static gaitprop_activation activation(const struct net *net)
{
    gaitprop_activation f;
    f.kind = net->slope == 1.0 ? GAITPROP_IDENTITY : GAITPROP_LEAKY_RELU;
    f.slope = net->slope;
    return f;
}

/* y_l = f(y_{l-1}*W_l + b_l) of every layer. */
static void forward(gaitprop_context *ctx, struct net *net)
{
    size_t l;
    for (l = 0; l < net->layers; l++) {
        struct layer *layer = &net->layer[l];
        must(ctx, gaitprop_dlinear_forward(ctx, input(net, l), rows_d(layer->w, layer->fan_in, layer->width), layer->b,
                                           activation(net), into_d(layer->y, net->batch, layer->width), NULL));
    }
}

/* e_L = target - activity. Units beyond the labels are their own target. */
static double *output_error(const struct net *net)
{
    const struct layer *last = &net->layer[net->layers - 1];
    double *e = doubles(net->batch * last->width);
    size_t i, j;
    for (i = 0; i < net->batch; i++)
        for (j = 0; j < net->labels; j++)
            e[i * last->width + j] = net->onehot[i * net->labels + j] - last->y[i * last->width + j];
    return e;
}

/* Replaces r by r*W^-1, through new LU factors. */
static void solve(gaitprop_context *ctx, const struct layer *layer, gaitprop_dmat_mut r)
{
    size_t n = layer->width;
    double *lu = doubles(n * n);
    size_t *pivots = (size_t *)memory(n, sizeof(size_t));
    memcpy(lu, layer->w, n * n * sizeof(double));
    must(ctx, gaitprop_dlu_factor(ctx, into_d(lu, n, n), pivots));
    must(ctx, gaitprop_dlu_solve_right(ctx, rows_d(lu, n, n), pivots, r));
    free(lu), free(pivots);
}

/* delta_l = D_l * e_l of every layer, and e_{l-1} = [f^-1(y + s*D^2*e) - f^-1(y)]/s * W_l^-1. */
static void down(gaitprop_context *ctx, struct net *net)
{
    double *e = output_error(net), scale = net->gamma;
    size_t l;
    for (l = net->layers; l-- > 1; scale *= net->gamma) {
        struct layer *layer = &net->layer[l], *under = &net->layer[l - 1];
        /* Units that feed nothing keep an error of 0. */
        double *below = doubles(net->batch * under->width);
        gaitprop_dmat_mut r = into_d(below, net->batch, under->width);
        gaitprop_perturbation p;
        r.cols = layer->fan_in;
        p.activation = activation(net), p.weighting = GAITPROP_SLOPE_SQUARED, p.limit = 0, p.scale = scale;
        must(ctx, gaitprop_dperturb(ctx, p, rows_d(layer->y, net->batch, layer->width), NULL,
                                    rows_d(e, net->batch, layer->width), r, into_d(layer->delta, net->batch, layer->width)));
        solve(ctx, layer, r);
        free(e);
        e = below;
    }
    must(ctx, gaitprop_dactivation_grad(ctx, activation(net), rows_d(net->layer[0].y, net->batch, net->layer[0].width), NULL,
                                        rows_d(e, net->batch, net->layer[0].width),
                                        into_d(net->layer[0].delta, net->batch, net->layer[0].width)));
    free(e);
}

/* dW_l = mean(y_{l-1}^T * delta_l) and db_l = mean(delta_l). */
static void gradients(gaitprop_context *ctx, struct net *net)
{
    size_t l;
    for (l = 0; l < net->layers; l++) {
        struct layer *layer = &net->layer[l];
        gaitprop_dmat delta = rows_d(layer->delta, net->batch, layer->width);
        must(ctx, gaitprop_dgemm(ctx, 1.0 / (double)net->batch, t_d(input(net, l)), delta, 0.0,
                                 into_d(layer->dw, layer->fan_in, layer->width)));
        must(ctx, gaitprop_dcolumn_means(ctx, delta, layer->db));
    }
}

/* The authors' Adam. The weights' gradient goes through it inside the product. */
static void adam(gaitprop_context *ctx, struct net *net)
{
    gaitprop_dadam_step step;
    size_t l;
    step.rate = net->rate, step.beta1 = 0.9, step.one_minus_beta1 = 0.1, step.beta2 = 0.99, step.one_minus_beta2 = 0.01;
    step.epsilon = 1e-8, step.correction = 1.0;
    for (l = 0; l < net->layers; l++) {
        struct layer *layer = &net->layer[l];
        size_t rows = layer->fan_in, cols = layer->width;
        must(ctx, gaitprop_dlinear_adam(ctx, 1.0 / (double)net->batch, input(net, l), rows_d(layer->delta, net->batch, cols), NULL,
                                        step, into_d(layer->mw, rows, cols), into_d(layer->vw, rows, cols),
                                        into_d(layer->w, rows, cols)));
        must(ctx, gaitprop_dadam(ctx, step, cols, layer->b, layer->mb, layer->vb, layer->db));
    }
}

/* Memory for everything that a step computes. */
static void allocate(struct net *net)
{
    size_t l;
    for (l = 0; l < net->layers; l++) {
        struct layer *layer = &net->layer[l];
        size_t weights = layer->fan_in * layer->width, units = net->batch * layer->width;
        layer->w = doubles(weights), layer->dw = doubles(weights), layer->mw = doubles(weights), layer->vw = doubles(weights);
        layer->b = doubles(layer->width), layer->db = doubles(layer->width);
        layer->mb = doubles(layer->width), layer->vb = doubles(layer->width);
        layer->y = doubles(units), layer->delta = doubles(units);
    }
    net->x = doubles(net->batch * net->inputs), net->onehot = doubles(net->batch * net->labels);
}

static void release(struct net *net)
{
    size_t l;
    for (l = 0; l < net->layers; l++) {
        struct layer *layer = &net->layer[l];
        free(layer->w), free(layer->dw), free(layer->mw), free(layer->vw), free(layer->b), free(layer->db);
        free(layer->mb), free(layer->vb), free(layer->y), free(layer->delta);
    }
    free(net->x), free(net->onehot);
}

static void read_doubles(FILE *file, double *to, size_t n)
{
    expect(fread(to, sizeof(double), n, file) == n, "the length of the file");
}

static size_t read_size(FILE *file)
{
    double size = 0;
    read_doubles(file, &size, 1);
    expect(size >= 0 && size < 1e9, "a size in the file");
    return (size_t)size;
}

static void read_net(FILE *file, struct net *net)
{
    size_t l;
    net->layers = read_size(file), net->batch = read_size(file);
    net->inputs = read_size(file), net->labels = read_size(file);
    read_doubles(file, &net->gamma, 1), read_doubles(file, &net->slope, 1), read_doubles(file, &net->rate, 1);
    expect(net->layers > 0 && net->layers <= MOST_LAYERS, "the number of layers");
    for (l = 0; l < net->layers; l++)
        net->layer[l].fan_in = read_size(file), net->layer[l].width = read_size(file);
    allocate(net);
    read_doubles(file, net->x, net->batch * net->inputs), read_doubles(file, net->onehot, net->batch * net->labels);
    for (l = 0; l < net->layers; l++) {
        read_doubles(file, net->layer[l].w, net->layer[l].fan_in * net->layer[l].width);
        read_doubles(file, net->layer[l].b, net->layer[l].width);
    }
}

/* Compares with the next n doubles of the file. */
static void compare(FILE *file, const double *found, size_t n, const char *what)
{
    double *wanted = doubles(n);
    read_doubles(file, wanted, n);
    same_d(found, wanted, n, what);
    free(wanted);
}

static void compare_net(FILE *file, const struct net *net)
{
    size_t l;
    for (l = 0; l < net->layers; l++) {
        const struct layer *layer = &net->layer[l];
        size_t weights = layer->fan_in * layer->width;
        compare(file, layer->y, net->batch * layer->width, "an activity");
        compare(file, layer->dw, weights, "an update of weights"), compare(file, layer->db, layer->width, "an update of biases");
        compare(file, layer->w, weights, "weights"), compare(file, layer->b, layer->width, "biases");
        compare(file, layer->mw, weights, "first moments"), compare(file, layer->vw, weights, "second moments");
        compare(file, layer->mb, layer->width, "first moments of biases");
        compare(file, layer->vb, layer->width, "second moments of biases");
    }
    expect(fgetc(file) == EOF, "the end of the file");
}

/* A network to run without a file: two layers with weights near the identity. */
static void own_net(struct net *net)
{
    size_t l, i;
    net->layers = 2, net->batch = 5, net->inputs = 9, net->labels = 3;
    net->gamma = 1e-3, net->slope = 0.1, net->rate = 1e-3;
    for (l = 0; l < net->layers; l++)
        net->layer[l].fan_in = net->layer[l].width = 9;
    allocate(net);
    fill_d(net->x, net->batch * net->inputs, 1);
    for (i = 0; i < net->batch; i++)
        net->onehot[i * net->labels + i % net->labels] = 1.0;
    for (l = 0; l < net->layers; l++) {
        fill_d(net->layer[l].w, 81, 2 + (unsigned)l);
        for (i = 0; i < 81; i++)
            net->layer[l].w[i] = 0.1 * net->layer[l].w[i] + (i % 10 == 0 ? 1.0 : 0.0);
    }
}

int main(int argc, char **argv)
{
    struct net net;
    gaitprop_context *ctx = NULL;
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    expect(argc < 2 || file != NULL, "the file cannot be opened");
    memset(&net, 0, sizeof net);
    if (file != NULL)
        read_net(file, &net);
    else
        own_net(&net);
    must(NULL, gaitprop_context_new(&ctx));
    forward(ctx, &net);
    down(ctx, &net);
    gradients(ctx, &net);
    /* Adam changes parameters and moments alone, so the rest stays to be compared. */
    adam(ctx, &net);
    if (file != NULL) {
        compare_net(file, &net);
        fclose(file);
    }
    printf("%u layers, batch %u: %s\n", (unsigned)net.layers, (unsigned)net.batch, file != NULL ? "every bit is equal" : "done");
    must(NULL, gaitprop_context_free(ctx));
    release(&net);
    return 0;
}
