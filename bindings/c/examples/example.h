/* Helpers of the examples: views of row-major arrays, numbers to compute with, comparisons. */

#ifndef GAITPROP_EXAMPLE_H
#define GAITPROP_EXAMPLE_H

#include <gaitprop.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Views a row-major array that is read. */
static inline gaitprop_smat rows_s(const float *data, size_t rows, size_t cols)
{
    gaitprop_smat m;
    m.data = data, m.rows = rows, m.cols = cols, m.rs = (ptrdiff_t)cols, m.cs = 1;
    return m;
}

static inline gaitprop_dmat rows_d(const double *data, size_t rows, size_t cols)
{
    gaitprop_dmat m;
    m.data = data, m.rows = rows, m.cols = cols, m.rs = (ptrdiff_t)cols, m.cs = 1;
    return m;
}

/* Views a row-major array that is written. */
static inline gaitprop_smat_mut into_s(float *data, size_t rows, size_t cols)
{
    gaitprop_smat_mut m;
    m.data = data, m.rows = rows, m.cols = cols, m.rs = (ptrdiff_t)cols, m.cs = 1;
    return m;
}

static inline gaitprop_dmat_mut into_d(double *data, size_t rows, size_t cols)
{
    gaitprop_dmat_mut m;
    m.data = data, m.rows = rows, m.cols = cols, m.rs = (ptrdiff_t)cols, m.cs = 1;
    return m;
}

/* Views the transpose: the same elements. */
static inline gaitprop_smat t_s(gaitprop_smat m)
{
    gaitprop_smat t;
    t.data = m.data, t.rows = m.cols, t.cols = m.rows, t.rs = m.cs, t.cs = m.rs;
    return t;
}

static inline gaitprop_dmat t_d(gaitprop_dmat m)
{
    gaitprop_dmat t;
    t.data = m.data, t.rows = m.cols, t.cols = m.rows, t.rs = m.cs, t.cs = m.rs;
    return t;
}

/* Ends the program with the library's sentence unless the call is done. */
static inline void must(gaitprop_context *ctx, gaitprop_status status)
{
    gaitprop_error_info error;
    if (status == GAITPROP_OK)
        return;
    if (ctx != NULL && gaitprop_error(ctx, &error) == GAITPROP_OK && error.status == status)
        fprintf(stderr, "%s\n", error.text);
    else
        fprintf(stderr, "%s\n", gaitprop_status_text((int)status));
    exit(1);
}

/* Ends the program unless `holds`. */
static inline void expect(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "wrong: %s\n", what);
    exit(1);
}

static inline void *memory(size_t count, size_t size)
{
    void *m = calloc(count > 0 ? count : 1, size);
    expect(m != NULL, "memory");
    return m;
}

static inline float *floats(size_t n)
{
    return (float *)memory(n, sizeof(float));
}

static inline double *doubles(size_t n)
{
    return (double *)memory(n, sizeof(double));
}

/* Numbers between -1 and 1, the same in every run. */
static inline double number(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (double)(*seed >> 8) / 8388608.0 - 1.0;
}

static inline void fill_s(float *x, size_t n, unsigned seed)
{
    size_t i;
    for (i = 0; i < n; i++)
        x[i] = (float)number(&seed);
}

static inline void fill_d(double *x, size_t n, unsigned seed)
{
    size_t i;
    for (i = 0; i < n; i++)
        x[i] = number(&seed);
}

/* Compares bit for bit: -0 differs from 0. */
static inline void same_s(const float *found, const float *wanted, size_t n, const char *what)
{
    expect(memcmp(found, wanted, n * sizeof(float)) == 0, what);
}

static inline void same_d(const double *found, const double *wanted, size_t n, const char *what)
{
    expect(memcmp(found, wanted, n * sizeof(double)) == 0, what);
}

#endif
