// C++: a context that frees itself, errors as exceptions, and views of std::vector.

#include <gaitprop.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

namespace {

struct Free {
    void operator()(gaitprop_context *ctx) const { gaitprop_context_free(ctx); }
    void operator()(gaitprop_dpacked *packed) const { gaitprop_dpacked_free(packed); }
};

using Context = std::unique_ptr<gaitprop_context, Free>;
using Packed = std::unique_ptr<gaitprop_dpacked, Free>;

// Throws the library's sentence unless the call is done.
void must(const Context &ctx, gaitprop_status status)
{
    if (status == GAITPROP_OK)
        return;
    gaitprop_error_info error;
    if (ctx && gaitprop_error(ctx.get(), &error) == GAITPROP_OK && error.status == status)
        throw std::runtime_error(error.text);
    throw std::runtime_error(gaitprop_status_text(status));
}

Context new_context(std::size_t threads)
{
    gaitprop_context *raw = nullptr;
    const gaitprop_status status = gaitprop_context_new(&raw);
    Context ctx(raw);
    must(ctx, status);
    must(ctx, gaitprop_context_set_threads(raw, threads));
    return ctx;
}

struct Matrix {
    std::size_t rows, cols;
    std::vector<double> data;

    Matrix(std::size_t rows, std::size_t cols) : rows(rows), cols(cols), data(rows * cols) {}
    double &operator()(std::size_t i, std::size_t j) { return data[i * cols + j]; }
    double operator()(std::size_t i, std::size_t j) const { return data[i * cols + j]; }
    gaitprop_dmat view() const { return {data.data(), rows, cols, static_cast<std::ptrdiff_t>(cols), 1}; }
    gaitprop_dmat_mut view() { return {data.data(), rows, cols, static_cast<std::ptrdiff_t>(cols), 1}; }
};

Matrix numbers(std::size_t rows, std::size_t cols, double of)
{
    Matrix m(rows, cols);
    for (std::size_t i = 0; i < rows * cols; i++)
        m.data[i] = std::sin(of * static_cast<double>(i + 1));
    return m;
}

bool same_bits(const Matrix &a, const Matrix &b)
{
    return a.data.size() == b.data.size() && std::memcmp(a.data.data(), b.data.data(), a.data.size() * sizeof(double)) == 0;
}

void run()
{
    const Context ctx = new_context(0);
    const Matrix a = numbers(70, 130, 1.0), b = numbers(130, 90, 2.0);
    Matrix c(70, 90), again(70, 90), wanted(70, 90);
    for (std::size_t i = 0; i < 70; i++)
        for (std::size_t j = 0; j < 90; j++)
            for (std::size_t k = 0; k < 130; k++)
                wanted(i, j) = std::fma(a(i, k), b(k, j), wanted(i, j));

    must(ctx, gaitprop_dgemm(ctx.get(), 1.0, a.view(), b.view(), 0.0, c.view()));
    if (!same_bits(c, wanted))
        throw std::runtime_error("a product differs from the plain loop");

    gaitprop_dpacked *raw = nullptr;
    const gaitprop_status status = gaitprop_dpack(ctx.get(), b.view(), GAITPROP_PACK_BOTH, &raw);
    const Packed packed(raw);
    must(ctx, status);
    must(ctx, gaitprop_dgemm_packed(ctx.get(), 1.0, a.view(), packed.get(), 0, 0.0, again.view()));
    if (!same_bits(again, wanted))
        throw std::runtime_error("a product with a packed operand differs from the plain loop");

    bool thrown = false;
    try {
        must(ctx, gaitprop_dgemm(ctx.get(), 1.0, a.view(), a.view(), 0.0, c.view()));
    } catch (const std::runtime_error &error) {
        thrown = true;
        std::printf("%s\n", error.what());
    }
    if (!thrown)
        throw std::runtime_error("operands that do not fit were accepted");
}

} // namespace

int main()
{
    try {
        run();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
