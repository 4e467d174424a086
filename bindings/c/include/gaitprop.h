/* libgaitprop: products, solves, factorizations and training epilogues for floats and doubles.
 *
 * The same call has the same bits on every instruction set and thread count. Functions on floats
 * begin with gaitprop_s, functions on doubles with gaitprop_d.
 *
 * Every function returns a gaitprop_status unless it says otherwise. gaitprop_error() has the place
 * and a sentence. After an error, results are unchanged unless the function says otherwise.
 *
 * No function prints or throws. No argument that keeps the promises below ends the process. Without
 * memory, a function returns GAITPROP_MEMORY. The exceptions are small allocations, for a thread,
 * for a sentence, and in gaitprop_selftest(): the process ends if the system refuses one of them.
 *
 * The library checks NULL, alignment, shapes and shared memory. The caller promises the rest:
 *
 * - An operand's elements lie in allocated memory, and those that are read have values.
 * - Objects of different types, such as a matrix and its pivots, share no memory.
 * - During the call no other thread writes what the call reads, or reaches what it writes.
 * - Contexts and packed operands come from this library and have not been freed.
 * - A pointer to one value, such as an optional matrix, is NULL or points to such a value.
 *
 * This file is made from the library's source. */


#ifndef GAITPROP_H
#define GAITPROP_H

#include <stddef.h>

// Version of the binary interface that this header describes.
#define GAITPROP_ABI_VERSION 0

// Outcome of a call.
typedef enum {
    // Done.
    GAITPROP_OK = 0,
    // The shapes of two operands do not match.
    GAITPROP_SHAPE = 1,
    // The function does not support an operand's strides or alignment.
    GAITPROP_LAYOUT = 2,
    // A written operand shares an element with itself or with another operand.
    GAITPROP_OVERLAP = 3,
    // A zero pivot: the matrix is singular. Sets `index`.
    GAITPROP_SINGULAR = 4,
    // The matrix of a Cholesky factorization is not positive definite. Sets `index`.
    GAITPROP_NOT_POSITIVE = 5,
    // A factorization or solve found an infinity or NaN at pivot `index`, or an optimizer wrote
    // one.
    GAITPROP_NOT_FINITE = 6,
    // A target lies outside the activation's range. Sets `row` and `col`.
    GAITPROP_DOMAIN = 7,
    // A parameter is outside its range.
    GAITPROP_PARAMETER = 8,
    // A packed operand belongs to another instruction set or product.
    GAITPROP_PACKED = 9,
    // The system refused memory.
    GAITPROP_MEMORY = 10,
    // The system refused a thread.
    GAITPROP_THREADS = 11,
    // A pointer is NULL.
    GAITPROP_NULL = 12,
    // The context is in use, by another thread or by the call whose callback makes this one.
    GAITPROP_BUSY = 13,
    // The self-test found a wrong bit.
    GAITPROP_WRONG_BITS = 14,
    // An error of the library itself.
    GAITPROP_INTERNAL = 15,
} gaitprop_status;

// Side of a symmetric or triangular matrix in a product.
typedef enum {
    // A*B, or A*X = B.
    GAITPROP_LEFT = 0,
    // B*A, or X*A = B.
    GAITPROP_RIGHT = 1,
} gaitprop_side;

// Triangle of a square matrix.
typedef enum {
    // On and below the diagonal.
    GAITPROP_LOWER = 0,
    // On and above the diagonal.
    GAITPROP_UPPER = 1,
    // The whole matrix, the upper triangle mirroring the lower one. For gaitprop_ssyrk() alone.
    GAITPROP_BOTH = 2,
} gaitprop_triangle;

// Diagonal of a triangular matrix.
typedef enum {
    // Stored and read.
    GAITPROP_STORED = 0,
    // All ones, and not read.
    GAITPROP_UNIT = 1,
} gaitprop_diag;

// Kind of an activation function.
typedef enum {
    // f(h) = h.
    GAITPROP_IDENTITY = 0,
    // f(h) = h for h >= 0, slope*h below.
    GAITPROP_LEAKY_RELU = 1,
    // f(h) = tanh(h).
    GAITPROP_TANH = 2,
} gaitprop_activation_kind;

// Direction phi of a perturbation, from the error e and the slope D.
typedef enum {
    // phi = D*D*e: GAIT-prop.
    GAITPROP_SLOPE_SQUARED = 0,
    // phi = e: target propagation and its incremental form.
    GAITPROP_PLAIN = 1,
} gaitprop_weighting;

// Products of which a packed matrix W is the right operand.
typedef enum {
    // x*W.
    GAITPROP_PACK_PLAIN = 0,
    // e*W^T.
    GAITPROP_PACK_TRANSPOSED = 1,
    // Both, packed side by side.
    GAITPROP_PACK_BOTH = 2,
} gaitprop_orientation;

// Operations that need workspace, with the sizes that gaitprop_sreserve() takes.
typedef enum {
    // gemm: C of m x n, chains of k.
    GAITPROP_OP_GEMM = 0,
    // gemm_packed, linear_forward, linear_descend, _momentum and _adam: C of m x n, chains of k.
    GAITPROP_OP_LINEAR = 1,
    // gemmt, syrk, syr2k: C of n x n, chains of k. m is not read.
    GAITPROP_OP_TRIANGLE = 2,
    // symm: S of n x n, the other side of B m. k is not read.
    GAITPROP_OP_SYMM = 3,
    // trmm, trsm: A of n x n, m right-hand sides. k is not read.
    GAITPROP_OP_TRIANGULAR = 4,
    // gemv, ger: A of m x n. k is not read.
    GAITPROP_OP_VECTOR = 5,
    // lu_factor, lu_solve_left, lu_solve_right, lu_inverse_norm1: A of n x n, m right-hand sides.
    // k is not read.
    GAITPROP_OP_LU = 6,
    // cholesky_factor, cholesky_solve: A of n x n, m right-hand sides. k is not read.
    GAITPROP_OP_CHOLESKY = 7,
} gaitprop_operation;

// Instruction set, threads, workspace and last error. One thread at a time uses a context; another
// one gets GAITPROP_BUSY.
//
// In a forked child, a context that another thread was using stays GAITPROP_BUSY and cannot be
// freed. The child makes a new one.
typedef struct gaitprop_context gaitprop_context;

// A packed matrix of doubles: as gaitprop_spacked.
typedef struct gaitprop_dpacked gaitprop_dpacked;

// A packed matrix of floats.
//
// It fits the instruction set of the context that packed it. Many threads may read it at once,
// each with a context of its own, while none packs it again.
typedef struct gaitprop_spacked gaitprop_spacked;

// A job of the library for thread `index`.
typedef void (*gaitprop_job)(void *data, size_t index);

// Threads of the caller.
typedef struct {
    // First argument of run.
    void *user;
    // Number of threads, the calling one included.
    size_t count;
    // Calls job(data, i) for each i < count, at the same time and on any threads. May leave out
    // calls, which costs speed only. Returns when every call has ended.
    //
    // It must return: an exception or a longjmp that leaves it is undefined behavior.
    void (*run)(void *user, gaitprop_job job, void *data);
} gaitprop_threads;

// The last error of a context. A field that the status does not set is 0.
typedef struct {
    // Status of the last call that failed, except GAITPROP_BUSY.
    gaitprop_status status;
    // Index of a pivot, or of a matrix of a batch.
    size_t index;
    // Row of an element.
    size_t row;
    // Column of an element.
    size_t col;
    // A sentence in UTF-8 that ends with 0, cut if it is longer.
    char text[256];
} gaitprop_error_info;

// A matrix of floats that is read. Element (i, j) is data[i*rs + j*cs].
//
// A row-major matrix has rs = cols and cs = 1. Exchanging rows with cols and rs with cs gives the
// transpose. Strides may be negative or 0.
typedef struct {
    // Element (0, 0). Not read if the matrix is empty.
    const float *data;
    // Number of rows.
    size_t rows;
    // Number of columns.
    size_t cols;
    // Elements from (i, j) to (i+1, j).
    ptrdiff_t rs;
    // Elements from (i, j) to (i, j+1).
    ptrdiff_t cs;
} gaitprop_smat;

// A matrix of floats that is written: as gaitprop_smat.
//
// Distinct (i, j) must be distinct elements: the larger stride exceeds the span of the smaller.
// The matrix shares no element with another operand of the call.
typedef struct {
    // Element (0, 0). Not used if the matrix is empty.
    float *data;
    // Number of rows.
    size_t rows;
    // Number of columns.
    size_t cols;
    // Elements from (i, j) to (i+1, j).
    ptrdiff_t rs;
    // Elements from (i, j) to (i, j+1).
    ptrdiff_t cs;
} gaitprop_smat_mut;

// A matrix of doubles that is read: as gaitprop_smat.
typedef struct {
    // Element (0, 0). Not read if the matrix is empty.
    const double *data;
    // Number of rows.
    size_t rows;
    // Number of columns.
    size_t cols;
    // Elements from (i, j) to (i+1, j).
    ptrdiff_t rs;
    // Elements from (i, j) to (i, j+1).
    ptrdiff_t cs;
} gaitprop_dmat;

// A matrix of doubles that is written: as gaitprop_smat_mut.
typedef struct {
    // Element (0, 0). Not used if the matrix is empty.
    double *data;
    // Number of rows.
    size_t rows;
    // Number of columns.
    size_t cols;
    // Elements from (i, j) to (i+1, j).
    ptrdiff_t rs;
    // Elements from (i, j) to (i, j+1).
    ptrdiff_t cs;
} gaitprop_dmat_mut;

// A batch of matrices that are read. With stride 0 all products share one matrix.
typedef struct {
    // Matrix 0.
    gaitprop_smat first;
    // Number of matrices.
    size_t count;
    // Elements from one matrix to the next.
    ptrdiff_t stride;
} gaitprop_sbatch;

// A batch of matrices that are written. No two share an element.
typedef struct {
    // Matrix 0.
    gaitprop_smat_mut first;
    // Number of matrices.
    size_t count;
    // Elements from one matrix to the next.
    ptrdiff_t stride;
} gaitprop_sbatch_mut;

// A batch of matrices that are read: as gaitprop_sbatch.
typedef struct {
    // Matrix 0.
    gaitprop_dmat first;
    // Number of matrices.
    size_t count;
    // Elements from one matrix to the next.
    ptrdiff_t stride;
} gaitprop_dbatch;

// A batch of matrices that are written: as gaitprop_sbatch_mut.
typedef struct {
    // Matrix 0.
    gaitprop_dmat_mut first;
    // Number of matrices.
    size_t count;
    // Elements from one matrix to the next.
    ptrdiff_t stride;
} gaitprop_dbatch_mut;

// An activation function f.
typedef struct {
    // A gaitprop_activation_kind.
    int kind;
    // Slope of the leaky ReLU below 0: positive and finite. Other kinds do not read it.
    double slope;
} gaitprop_activation;

// Constants of an Adam step.
typedef struct {
    // Learning rate, including any bias correction of m.
    float rate;
    // beta1, of the first moment.
    float beta1;
    // 1 - beta1.
    float one_minus_beta1;
    // beta2, of the second moment.
    float beta2;
    // 1 - beta2.
    float one_minus_beta2;
    // Added to the root of v.
    float epsilon;
    // Factor of the root of v: 1, or 1/sqrt(1 - beta2^t).
    float correction;
} gaitprop_sadam_step;

// Constants of an Adam step: as gaitprop_sadam_step.
typedef struct {
    // Learning rate, including any bias correction of m.
    double rate;
    // beta1, of the first moment.
    double beta1;
    // 1 - beta1.
    double one_minus_beta1;
    // beta2, of the second moment.
    double beta2;
    // 1 - beta2.
    double one_minus_beta2;
    // Added to the root of v.
    double epsilon;
    // Factor of the root of v: 1, or 1/sqrt(1 - beta2^t).
    double correction;
} gaitprop_dadam_step;

// Parameters of a perturbation.
typedef struct {
    // The layer's activation function.
    gaitprop_activation activation;
    // A gaitprop_weighting.
    int weighting;
    // Nonzero: the linear limit, in which scale goes to 0 and is not read.
    int limit;
    // Size s of the perturbation: at least 0 and finite.
    double scale;
} gaitprop_perturbation;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the meaning of a status as a constant string.
const char *gaitprop_status_text(int status);

// Creates a context with one thread and the widest instruction set of this CPU.
//
// Writes it to *out, or NULL after an error.
gaitprop_status gaitprop_context_new(gaitprop_context **out);

// Frees a context and ends its threads. NULL is allowed. A busy context stays.
gaitprop_status gaitprop_context_free(gaitprop_context *ctx);

// Sets the number of threads, the calling one included: at most 4096.
//
// 0 takes as many as the process may use. No result depends on it. After an error the context
// keeps its threads.
gaitprop_status gaitprop_context_set_threads(gaitprop_context *ctx, size_t threads);

// Makes the context run its work on threads of the caller. Copies *threads.
gaitprop_status gaitprop_context_set_threads_custom(gaitprop_context *ctx,
                                                    const gaitprop_threads *threads);

// Sets the instruction set: avx512, avx2, neon, portable, or auto for the widest of this CPU.
//
// All give the same bits. Operands packed for another one are refused with GAITPROP_PACKED.
gaitprop_status gaitprop_context_set_isa(gaitprop_context *ctx, const char *name);

// Copies the last error of the context to *out. Its status is GAITPROP_OK if no call has failed.
//
// A call that finds the context busy does not change it. So the sentence belongs to a call if
// out->status is what the call returned.
//
// Returns GAITPROP_NULL or GAITPROP_BUSY, and leaves *out unchanged, if it cannot.
gaitprop_status gaitprop_error(const gaitprop_context *ctx, gaitprop_error_info *out);

// Copies the name of the kernel that computes products of floats, such as sgemm_6x16_avx2.
//
// Writes at most len bytes, the closing 0 included.
gaitprop_status gaitprop_skernel_name(gaitprop_context *ctx, char *out, size_t len);

// gaitprop_skernel_name() for doubles.
gaitprop_status gaitprop_dkernel_name(gaitprop_context *ctx, char *out, size_t len);

// Checks on every instruction set of this CPU that the kernels give the right bits. Takes about a
// second.
//
// Returns GAITPROP_WRONG_BITS and names the kernel if one does not, or if this thread flushes
// subnormal numbers to 0. Writes the number of checks to *checks unless that is NULL.
gaitprop_status gaitprop_selftest(gaitprop_context *ctx, size_t *checks);

// Version of the library: a constant string.
const char *gaitprop_version(void);

// Version of the binary interface of the loaded library. Compare it with GAITPROP_ABI_VERSION.
int gaitprop_abi_version(void);

// Reserves the workspace of an operation, a gaitprop_operation, of these sizes.
//
// Calls of these sizes then do not allocate. Without it, the first call of its size does. A
// context with other threads or another instruction set may need more.
gaitprop_status gaitprop_sreserve(gaitprop_context *ctx,
                                  int operation,
                                  size_t m,
                                  size_t n,
                                  size_t k);

// gaitprop_sreserve() for doubles.
gaitprop_status gaitprop_dreserve(gaitprop_context *ctx,
                                  int operation,
                                  size_t m,
                                  size_t n,
                                  size_t k);

// Reserves the workspace of gaitprop_sgemm_batched() for count products.
gaitprop_status gaitprop_sreserve_batched(gaitprop_context *ctx,
                                          size_t count,
                                          size_t m,
                                          size_t n,
                                          size_t k);

// Reserves the workspace of gaitprop_dgemm_batched() for count products.
gaitprop_status gaitprop_dreserve_batched(gaitprop_context *ctx,
                                          size_t count,
                                          size_t m,
                                          size_t n,
                                          size_t k);

// Computes C = alpha*A*B + beta*C.
//
// Element (i, j) is one chain of fused multiply-adds in increasing k: it starts at beta*C[i,j],
// and adds (alpha*A[i,k])*B[k,j]. With beta = 0, C is not read.
//
// a is m x k, b is k x n, c is m x n.
gaitprop_status gaitprop_sgemm(gaitprop_context *ctx,
                               float alpha,
                               gaitprop_smat a,
                               gaitprop_smat b,
                               float beta,
                               gaitprop_smat_mut c);

// gaitprop_sgemm() for doubles.
gaitprop_status gaitprop_dgemm(gaitprop_context *ctx,
                               double alpha,
                               gaitprop_dmat a,
                               gaitprop_dmat b,
                               double beta,
                               gaitprop_dmat_mut c);

// Computes C_p = alpha*A_p*B_p + beta*C_p for every matrix p of a batch.
//
// All three batches have the same count. An error that concerns one matrix sets `index`.
gaitprop_status gaitprop_sgemm_batched(gaitprop_context *ctx,
                                       float alpha,
                                       gaitprop_sbatch a,
                                       gaitprop_sbatch b,
                                       float beta,
                                       gaitprop_sbatch_mut c);

// gaitprop_sgemm_batched() for doubles.
gaitprop_status gaitprop_dgemm_batched(gaitprop_context *ctx,
                                       double alpha,
                                       gaitprop_dbatch a,
                                       gaitprop_dbatch b,
                                       double beta,
                                       gaitprop_dbatch_mut c);

// Computes one triangle of C = alpha*A*B + beta*C, and touches no other element.
//
// triangle is GAITPROP_LOWER or GAITPROP_UPPER. a is n x k, b is k x n, c is n x n. alpha
// multiplies the elements of A for the lower triangle, those of B for the upper one.
gaitprop_status gaitprop_sgemmt(gaitprop_context *ctx,
                                int triangle,
                                float alpha,
                                gaitprop_smat a,
                                gaitprop_smat b,
                                float beta,
                                gaitprop_smat_mut c);

// gaitprop_sgemmt() for doubles.
gaitprop_status gaitprop_dgemmt(gaitprop_context *ctx,
                                int triangle,
                                double alpha,
                                gaitprop_dmat a,
                                gaitprop_dmat b,
                                double beta,
                                gaitprop_dmat_mut c);

// Computes C = alpha*S*B + beta*C (GAITPROP_LEFT) or C = alpha*B*S + beta*C (GAITPROP_RIGHT).
//
// S is symmetric, n x n. Only the triangle GAITPROP_LOWER or GAITPROP_UPPER of it is read. The
// bits are those of gaitprop_sgemm() with the whole S.
gaitprop_status gaitprop_ssymm(gaitprop_context *ctx,
                               int side,
                               int triangle,
                               float alpha,
                               gaitprop_smat s,
                               gaitprop_smat b,
                               float beta,
                               gaitprop_smat_mut c);

// gaitprop_ssymm() for doubles.
gaitprop_status gaitprop_dsymm(gaitprop_context *ctx,
                               int side,
                               int triangle,
                               double alpha,
                               gaitprop_dmat s,
                               gaitprop_dmat b,
                               double beta,
                               gaitprop_dmat_mut c);

// Computes a triangle of C = alpha*A*A^T + beta*C, or both triangles.
//
// part is a gaitprop_triangle. drop_diagonal other than 0 stores 0 on the diagonal. a is n x k, c
// is n x n. With GAITPROP_BOTH the elements above the diagonal are not read, only written.
gaitprop_status gaitprop_ssyrk(gaitprop_context *ctx,
                               int part,
                               int drop_diagonal,
                               float alpha,
                               gaitprop_smat a,
                               float beta,
                               gaitprop_smat_mut c);

// gaitprop_ssyrk() for doubles.
gaitprop_status gaitprop_dsyrk(gaitprop_context *ctx,
                               int part,
                               int drop_diagonal,
                               double alpha,
                               gaitprop_dmat a,
                               double beta,
                               gaitprop_dmat_mut c);

// Computes one triangle of C = alpha*(A*B^T + B*A^T) + beta*C, and touches no other element.
//
// a and b are n x k, c is n x n. Each chain runs over A*B^T first, then over B*A^T.
gaitprop_status gaitprop_ssyr2k(gaitprop_context *ctx,
                                int triangle,
                                float alpha,
                                gaitprop_smat a,
                                gaitprop_smat b,
                                float beta,
                                gaitprop_smat_mut c);

// gaitprop_ssyr2k() for doubles.
gaitprop_status gaitprop_dsyr2k(gaitprop_context *ctx,
                                int triangle,
                                double alpha,
                                gaitprop_dmat a,
                                gaitprop_dmat b,
                                double beta,
                                gaitprop_dmat_mut c);

// Computes y = alpha*A*x + beta*y, with the bits of gaitprop_sgemm() for one column.
//
// a is m x n, x is n x 1, y is m x 1.
gaitprop_status gaitprop_sgemv(gaitprop_context *ctx,
                               float alpha,
                               gaitprop_smat a,
                               gaitprop_smat x,
                               float beta,
                               gaitprop_smat_mut y);

// gaitprop_sgemv() for doubles.
gaitprop_status gaitprop_dgemv(gaitprop_context *ctx,
                               double alpha,
                               gaitprop_dmat a,
                               gaitprop_dmat x,
                               double beta,
                               gaitprop_dmat_mut y);

// Computes A = alpha*x*y^T + A: A[i,j] = fma(alpha*x[i], y[j], A[i,j]).
//
// x is m x 1, y is n x 1, a is m x n.
gaitprop_status gaitprop_sger(gaitprop_context *ctx,
                              float alpha,
                              gaitprop_smat x,
                              gaitprop_smat y,
                              gaitprop_smat_mut a);

// gaitprop_sger() for doubles.
gaitprop_status gaitprop_dger(gaitprop_context *ctx,
                              double alpha,
                              gaitprop_dmat x,
                              gaitprop_dmat y,
                              gaitprop_dmat_mut a);

// Writes the sum of x[i]*y[i] to *out, added up in double in a fixed order.
//
// x and y are n x 1.
gaitprop_status gaitprop_sdot(gaitprop_context *ctx, gaitprop_smat x, gaitprop_smat y, double *out);

// gaitprop_sdot() for doubles.
gaitprop_status gaitprop_ddot(gaitprop_context *ctx, gaitprop_dmat x, gaitprop_dmat y, double *out);

// Writes the mean of each column of x (batch x n) to means (n elements).
//
// The sums are doubles, added up in a fixed binary tree.
gaitprop_status gaitprop_scolumn_means(gaitprop_context *ctx, gaitprop_smat x, float *means);

// gaitprop_scolumn_means() for doubles.
gaitprop_status gaitprop_dcolumn_means(gaitprop_context *ctx, gaitprop_dmat x, double *means);

// Computes B = A*(alpha*B) (GAITPROP_LEFT) or B = (alpha*B)*A (GAITPROP_RIGHT), in place in b.
//
// Only the triangle GAITPROP_LOWER or GAITPROP_UPPER of a (n x n) is read; with GAITPROP_UNIT its
// diagonal is not read. To multiply by A^T, pass the transpose of a and the other triangle.
gaitprop_status gaitprop_strmm(gaitprop_context *ctx,
                               int side,
                               int triangle,
                               int diag,
                               float alpha,
                               gaitprop_smat a,
                               gaitprop_smat_mut b);

// gaitprop_strmm() for doubles.
gaitprop_status gaitprop_dtrmm(gaitprop_context *ctx,
                               int side,
                               int triangle,
                               int diag,
                               double alpha,
                               gaitprop_dmat a,
                               gaitprop_dmat_mut b);

// Solves A*X = alpha*B (GAITPROP_LEFT) or X*A = alpha*B (GAITPROP_RIGHT) for X, in place in b.
//
// The triangle and the diagonal of a (n x n) are as in gaitprop_strmm(). After GAITPROP_SINGULAR
// or GAITPROP_NOT_FINITE, which name an element of the diagonal, b is unchanged.
gaitprop_status gaitprop_strsm(gaitprop_context *ctx,
                               int side,
                               int triangle,
                               int diag,
                               float alpha,
                               gaitprop_smat a,
                               gaitprop_smat_mut b);

// gaitprop_strsm() for doubles.
gaitprop_status gaitprop_dtrsm(gaitprop_context *ctx,
                               int side,
                               int triangle,
                               int diag,
                               double alpha,
                               gaitprop_dmat a,
                               gaitprop_dmat_mut b);

// Factors P*A = L*U in place, with partial pivoting.
//
// a is n x n. L is written below the diagonal, without its diagonal of ones, U on and above it.
// pivots has n elements: step k exchanged rows k and pivots[k].
//
// After GAITPROP_SINGULAR or GAITPROP_NOT_FINITE, which set `index`, a holds a partial
// factorization.
gaitprop_status gaitprop_slu_factor(gaitprop_context *ctx, gaitprop_smat_mut a, size_t *pivots);

// gaitprop_slu_factor() for doubles.
gaitprop_status gaitprop_dlu_factor(gaitprop_context *ctx, gaitprop_dmat_mut a, size_t *pivots);

// Solves A*X = B for X, in place in b (n x columns), from the factors of A.
//
// lu and pivots are those of gaitprop_slu_factor().
gaitprop_status gaitprop_slu_solve_left(gaitprop_context *ctx,
                                        gaitprop_smat lu,
                                        const size_t *pivots,
                                        gaitprop_smat_mut b);

// gaitprop_slu_solve_left() for doubles.
gaitprop_status gaitprop_dlu_solve_left(gaitprop_context *ctx,
                                        gaitprop_dmat lu,
                                        const size_t *pivots,
                                        gaitprop_dmat_mut b);

// Solves X*A = B for X, in place in b (batch x n), from the factors of A.
//
// This passes a batch of row vectors through the inverse of a layer. lu and pivots are those of
// gaitprop_slu_factor().
gaitprop_status gaitprop_slu_solve_right(gaitprop_context *ctx,
                                         gaitprop_smat lu,
                                         const size_t *pivots,
                                         gaitprop_smat_mut b);

// gaitprop_slu_solve_right() for doubles.
gaitprop_status gaitprop_dlu_solve_right(gaitprop_context *ctx,
                                         gaitprop_dmat lu,
                                         const size_t *pivots,
                                         gaitprop_dmat_mut b);

// Writes an estimate of the 1-norm of the inverse of A to *norm, from the factors of A.
//
// It is a lower bound, seldom off by more than a factor of 3. Times the 1-norm of A it is a
// condition number. lu and pivots are those of gaitprop_slu_factor().
gaitprop_status gaitprop_slu_inverse_norm1(gaitprop_context *ctx,
                                           gaitprop_smat lu,
                                           const size_t *pivots,
                                           double *norm);

// gaitprop_slu_inverse_norm1() for doubles.
gaitprop_status gaitprop_dlu_inverse_norm1(gaitprop_context *ctx,
                                           gaitprop_dmat lu,
                                           const size_t *pivots,
                                           double *norm);

// Factors A = L*L^T in place: reads the lower triangle of a (n x n) and writes L there.
//
// After GAITPROP_NOT_POSITIVE or GAITPROP_NOT_FINITE, which set `index`, the lower triangle holds
// a partial factorization. The elements above the diagonal are not touched.
gaitprop_status gaitprop_scholesky_factor(gaitprop_context *ctx, gaitprop_smat_mut a);

// gaitprop_scholesky_factor() for doubles.
gaitprop_status gaitprop_dcholesky_factor(gaitprop_context *ctx, gaitprop_dmat_mut a);

// Solves A*X = B for X, in place in b (n x columns), from the factor L of
// gaitprop_scholesky_factor().
gaitprop_status gaitprop_scholesky_solve(gaitprop_context *ctx,
                                         gaitprop_smat l,
                                         gaitprop_smat_mut b);

// gaitprop_scholesky_solve() for doubles.
gaitprop_status gaitprop_dcholesky_solve(gaitprop_context *ctx,
                                         gaitprop_dmat l,
                                         gaitprop_dmat_mut b);

// Packs w (k x n) as the right operand of products x*W, e*W^T or both.
//
// orientation is a gaitprop_orientation. Writes the packed matrix to *out, or NULL after an error.
gaitprop_status gaitprop_spack(gaitprop_context *ctx,
                               gaitprop_smat w,
                               int orientation,
                               gaitprop_spacked **out);

// gaitprop_spack() for doubles.
gaitprop_status gaitprop_dpack(gaitprop_context *ctx,
                               gaitprop_dmat w,
                               int orientation,
                               gaitprop_dpacked **out);

// Packs another matrix of the same shape into the same memory, without an allocation.
gaitprop_status gaitprop_srepack(gaitprop_context *ctx, gaitprop_spacked *packed, gaitprop_smat w);

// gaitprop_srepack() for doubles.
gaitprop_status gaitprop_drepack(gaitprop_context *ctx, gaitprop_dpacked *packed, gaitprop_dmat w);

// Frees a packed matrix. NULL is allowed.
gaitprop_status gaitprop_spacked_free(gaitprop_spacked *packed);

// Frees a packed matrix. NULL is allowed.
gaitprop_status gaitprop_dpacked_free(gaitprop_dpacked *packed);

// Computes C = alpha*A*W + beta*C for a packed W, or with its transpose if transposed is not 0.
//
// The bits are those of gaitprop_sgemm().
gaitprop_status gaitprop_sgemm_packed(gaitprop_context *ctx,
                                      float alpha,
                                      gaitprop_smat a,
                                      const gaitprop_spacked *w,
                                      int transposed,
                                      float beta,
                                      gaitprop_smat_mut c);

// gaitprop_sgemm_packed() for doubles.
gaitprop_status gaitprop_dgemm_packed(gaitprop_context *ctx,
                                      double alpha,
                                      gaitprop_dmat a,
                                      const gaitprop_dpacked *w,
                                      int transposed,
                                      double beta,
                                      gaitprop_dmat_mut c);

// Computes a layer's activity y = f(x*W + bias), and f' of it into *slope unless slope is NULL.
//
// x is batch x k, w is k x n, bias has n elements. y and *slope are batch x n with contiguous rows
// (cs = 1).
gaitprop_status gaitprop_slinear_forward(gaitprop_context *ctx,
                                         gaitprop_smat x,
                                         gaitprop_smat w,
                                         const float *bias,
                                         gaitprop_activation f,
                                         gaitprop_smat_mut y,
                                         const gaitprop_smat_mut *slope);

// gaitprop_slinear_forward() for doubles.
gaitprop_status gaitprop_dlinear_forward(gaitprop_context *ctx,
                                         gaitprop_dmat x,
                                         gaitprop_dmat w,
                                         const double *bias,
                                         gaitprop_activation f,
                                         gaitprop_dmat_mut y,
                                         const gaitprop_dmat_mut *slope);

// gaitprop_slinear_forward() for weights that gaitprop_spack() has packed for x*W.
gaitprop_status gaitprop_slinear_forward_packed(gaitprop_context *ctx,
                                                gaitprop_smat x,
                                                const gaitprop_spacked *w,
                                                const float *bias,
                                                gaitprop_activation f,
                                                gaitprop_smat_mut y,
                                                const gaitprop_smat_mut *slope);

// gaitprop_slinear_forward_packed() for doubles.
gaitprop_status gaitprop_dlinear_forward_packed(gaitprop_context *ctx,
                                                gaitprop_dmat x,
                                                const gaitprop_dpacked *w,
                                                const double *bias,
                                                gaitprop_activation f,
                                                gaitprop_dmat_mut y,
                                                const gaitprop_dmat_mut *slope);

// Moves weights along a gradient: W = W + rate*D with D = start + mean*x^T*delta.
//
// x is batch x k, delta is batch x n. *start (k x n) is a direction to begin with, of a
// regularizer for example; NULL stands for 0. w is k x n. D is stored nowhere. w and *start have
// contiguous rows (cs = 1).
//
// Returns GAITPROP_NOT_FINITE if a new weight is infinite or NaN. All weights have then been
// written.
gaitprop_status gaitprop_slinear_descend(gaitprop_context *ctx,
                                         float mean,
                                         gaitprop_smat x,
                                         gaitprop_smat delta,
                                         const gaitprop_smat *start,
                                         float rate,
                                         gaitprop_smat_mut w);

// gaitprop_slinear_descend() for doubles.
gaitprop_status gaitprop_dlinear_descend(gaitprop_context *ctx,
                                         double mean,
                                         gaitprop_dmat x,
                                         gaitprop_dmat delta,
                                         const gaitprop_dmat *start,
                                         double rate,
                                         gaitprop_dmat_mut w);

// Moves weights by momentum: m = mu*m + D, W = W + rate*m, with D of gaitprop_slinear_descend().
//
// m is k x n with contiguous rows.
gaitprop_status gaitprop_slinear_momentum(gaitprop_context *ctx,
                                          float mean,
                                          gaitprop_smat x,
                                          gaitprop_smat delta,
                                          const gaitprop_smat *start,
                                          float rate,
                                          float mu,
                                          gaitprop_smat_mut m,
                                          gaitprop_smat_mut w);

// gaitprop_slinear_momentum() for doubles.
gaitprop_status gaitprop_dlinear_momentum(gaitprop_context *ctx,
                                          double mean,
                                          gaitprop_dmat x,
                                          gaitprop_dmat delta,
                                          const gaitprop_dmat *start,
                                          double rate,
                                          double mu,
                                          gaitprop_dmat_mut m,
                                          gaitprop_dmat_mut w);

// Moves weights by Adam, as gaitprop_sadam() does, with D of gaitprop_slinear_descend().
//
// m and v are k x n with contiguous rows. Returns GAITPROP_NOT_FINITE also for a second moment.
gaitprop_status gaitprop_slinear_adam(gaitprop_context *ctx,
                                      float mean,
                                      gaitprop_smat x,
                                      gaitprop_smat delta,
                                      const gaitprop_smat *start,
                                      gaitprop_sadam_step step,
                                      gaitprop_smat_mut m,
                                      gaitprop_smat_mut v,
                                      gaitprop_smat_mut w);

// gaitprop_slinear_adam() for doubles.
gaitprop_status gaitprop_dlinear_adam(gaitprop_context *ctx,
                                      double mean,
                                      gaitprop_dmat x,
                                      gaitprop_dmat delta,
                                      const gaitprop_dmat *start,
                                      gaitprop_dadam_step step,
                                      gaitprop_dmat_mut m,
                                      gaitprop_dmat_mut v,
                                      gaitprop_dmat_mut w);

// Computes y = f(h + bias) in place in h (batch x n), and f' into *slope unless slope is NULL.
gaitprop_status gaitprop_sbias_activate(gaitprop_context *ctx,
                                        gaitprop_smat_mut h,
                                        const float *bias,
                                        gaitprop_activation f,
                                        const gaitprop_smat_mut *slope);

// gaitprop_sbias_activate() for doubles.
gaitprop_status gaitprop_dbias_activate(gaitprop_context *ctx,
                                        gaitprop_dmat_mut h,
                                        const double *bias,
                                        gaitprop_activation f,
                                        const gaitprop_dmat_mut *slope);

// Carries a small change of a layer's activity back through its activation function.
//
// For the activity y = f(h), the slope D = f'(h), the error e and the direction phi of
// p.weighting:
//
//     r     = [f^-1(y + s*phi) - f^-1(y)] / s     goes down through W^-1
//     delta = D*e                                 gives the weight gradient
//
// r is exact to rounding at every scale s. All matrices are batch x n. *slope is D; only tanh
// needs it, and NULL stands for none. After GAITPROP_DOMAIN, which sets `row` and `col`, r and
// delta are unspecified.
gaitprop_status gaitprop_sperturb(gaitprop_context *ctx,
                                  gaitprop_perturbation p,
                                  gaitprop_smat y,
                                  const gaitprop_smat *slope,
                                  gaitprop_smat e,
                                  gaitprop_smat_mut r,
                                  gaitprop_smat_mut delta);

// gaitprop_sperturb() for doubles.
gaitprop_status gaitprop_dperturb(gaitprop_context *ctx,
                                  gaitprop_perturbation p,
                                  gaitprop_dmat y,
                                  const gaitprop_dmat *slope,
                                  gaitprop_dmat e,
                                  gaitprop_dmat_mut r,
                                  gaitprop_dmat_mut delta);

// Computes delta = f'(h)*e, the error weighed by the slope.
//
// y = f(h), e and delta are batch x n. *slope is f'(h); only tanh needs it, and NULL stands for
// none.
gaitprop_status gaitprop_sactivation_grad(gaitprop_context *ctx,
                                          gaitprop_activation f,
                                          gaitprop_smat y,
                                          const gaitprop_smat *slope,
                                          gaitprop_smat e,
                                          gaitprop_smat_mut delta);

// gaitprop_sactivation_grad() for doubles.
gaitprop_status gaitprop_dactivation_grad(gaitprop_context *ctx,
                                          gaitprop_activation f,
                                          gaitprop_dmat y,
                                          const gaitprop_dmat *slope,
                                          gaitprop_dmat e,
                                          gaitprop_dmat_mut delta);

// Moves n parameters along a descent direction: theta = theta + rate*delta.
//
// Returns GAITPROP_NOT_FINITE if a new parameter is infinite or NaN. All have then been written.
gaitprop_status gaitprop_sdescend(gaitprop_context *ctx,
                                  float rate,
                                  size_t n,
                                  float *theta,
                                  const float *delta);

// gaitprop_sdescend() for doubles.
gaitprop_status gaitprop_ddescend(gaitprop_context *ctx,
                                  double rate,
                                  size_t n,
                                  double *theta,
                                  const double *delta);

// Moves n parameters by momentum: m = mu*m + delta, theta = theta + rate*m.
//
// Returns GAITPROP_NOT_FINITE if a new parameter is infinite or NaN. All have then been written.
gaitprop_status gaitprop_smomentum(gaitprop_context *ctx,
                                   float rate,
                                   float mu,
                                   size_t n,
                                   float *theta,
                                   float *m,
                                   const float *delta);

// gaitprop_smomentum() for doubles.
gaitprop_status gaitprop_dmomentum(gaitprop_context *ctx,
                                   double rate,
                                   double mu,
                                   size_t n,
                                   double *theta,
                                   double *m,
                                   const double *delta);

// Moves n parameters by one step of Adam:
//
//     m     = one_minus_beta1*delta + beta1*m
//     v     = one_minus_beta2*delta*delta + beta2*v
//     theta = theta + rate*m / (epsilon + correction*sqrt(v))
//
// Returns GAITPROP_NOT_FINITE if a new parameter or second moment is infinite or NaN. All have
// then been written.
gaitprop_status gaitprop_sadam(gaitprop_context *ctx,
                               gaitprop_sadam_step step,
                               size_t n,
                               float *theta,
                               float *m,
                               float *v,
                               const float *delta);

// gaitprop_sadam() for doubles.
gaitprop_status gaitprop_dadam(gaitprop_context *ctx,
                               gaitprop_dadam_step step,
                               size_t n,
                               double *theta,
                               double *m,
                               double *v,
                               const double *delta);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GAITPROP_H */
