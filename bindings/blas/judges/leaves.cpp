// Error handlers that do not return: they leave by longjmp, as R's, or by an exception, as
// Octave's. From every kind of call each must arrive, lose no memory, and leave a library that
// computes.
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <malloc.h>

enum { ROUNDS = 1000, ROW = 101, NO = 111, READ = 24 };

struct Illegal {
    long position;
    char name[READ + 1];
};
static jmp_buf place;
static bool throws;
static Illegal answer;
static int failures;

// Reads as much as a handler may that has a buffer of its own: a name of 20 bytes, and a 0.
static void leave(long position, const char *name) {
    answer.position = position;
    memcpy(answer.name, name, READ);
    if (throws) throw answer;
    longjmp(place, 1);
}

extern "C" {
void xerbla_(const char *name, const int *position, size_t) { leave(*position, name); }
void xerbla_64_(const char *name, const long *position, size_t) { leave(*position, name); }
void cblas_xerbla(int position, const char *name, const char *, ...) { leave(position, name); }
void cblas_xerbla64_(long position, const char *name, const char *, ...) { leave(position, name); }

void dgemm_(const char *, const char *, const int *, const int *, const int *, const double *, const double *, const int *, const double *, const int *,
            const double *, double *, const int *);
void sgemmtr_(const char *, const char *, const char *, const int *, const int *, const float *, const float *, const int *, const float *, const int *,
              const float *, float *, const int *);
void dger_64_(const long *, const long *, const double *, const double *, const long *, const double *, const long *, double *, const long *);
void cblas_dgemv(int, int, int, int, double, const double *, int, const double *, int, double, double *, int);
void cblas_sgemm_batch_strided64_(int, int, int, long, long, long, float, const float *, long, long, const float *, long, long, float, float *, long, long,
                                  long);
}

static const int one = 1, bad = -1;
static const long wide_one = 1, wide_bad = -5000000000;
static const double x = 2;
static double result;
static const float small = 2;
static float small_result;

static void gemm(const int *m) { dgemm_("N", "N", m, &one, &one, &x, &x, &one, &x, &one, &x, &result, &one); }
static void illegal_gemm() { gemm(&bad); }
static void gemmtr() { sgemmtr_("U", "N", "N", &bad, &one, &small, &small, &one, &small, &one, &small, &small_result, &one); }
static void ger() { dger_64_(&wide_one, &wide_bad, &x, &x, &wide_one, &x, &wide_one, &result, &wide_one); }
static void gemv() { cblas_dgemv(ROW, NO, 1, 1, 2, &x, 0, &x, 1, 2, &result, 1); }
static void batch() {
    cblas_sgemm_batch_strided64_(ROW, NO, NO, 1, 1, 1, 2, &small, 1, 1, &small, 1, 1, 2, &small_result, 1, 1, wide_bad);
}

static void expect(void (*call)(), long position, const char *name) {
    char padded[READ] = {0};
    size_t before = mallinfo2().uordblks, after;
    memcpy(padded, name, strlen(name));
    for (int round = 0; round < ROUNDS; round++) {
        volatile bool left = false;
        answer.position = 0;
        if (throws) {
            try {
                call();
            } catch (const Illegal &illegal) {
                left = illegal.position == position;
            }
        } else if (setjmp(place) == 0) {
            call();
        } else {
            left = true;
        }
        if (!left || answer.position != position || memcmp(answer.name, padded, READ) != 0) {
            printf("%s: %ld of \"%s\", not %ld\n", name, answer.position, answer.name, position);
            failures++;
            return;
        }
    }
    after = mallinfo2().uordblks;
    if (after > before + ROUNDS) {
        printf("%s: %zu bytes are lost\n", name, after - before);
        failures++;
    }
}

int main() {
    setbuf(stdout, nullptr);
    // The first call of each kind sets up what stays.
    for (int pass = 0; pass < 2; pass++) {
        throws = pass == 1;
        expect(illegal_gemm, 3, "DGEMM ");
        expect(gemmtr, 4, "SGEMMTR");
        expect(ger, 2, "DGER  ");
        expect(gemv, 7, "cblas_dgemv");
        expect(batch, 18, "cblas_sgemm_batch_strided");
    }
    gemm(&one);
    // 2·2·2 + 2·0
    if (result != 8 || small_result != 0) {
        printf("a call after them gives %g\n", result);
        failures++;
    }
    printf("handlers that do not return: %d calls, %d failures\n", 10 * ROUNDS, failures);
    return failures != 0;
}
