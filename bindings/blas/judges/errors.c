/* Every illegal argument of every routine: its number and the routine's name reach the program's
 * handler, nothing is written, and the program goes on. Compiled once with the handlers and once
 * without (-DNO_HANDLERS), where each call writes one line to stderr. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROW = 101, COLUMN = 102, NO = 111, TRANS = 112, UPPER = 121, LOWER = 122, NON_UNIT = 131, LEFT = 141, RIGHT = 142, BAD = 99 };

static long info;
static char name[64];
static int calls, failures;

#ifndef NO_HANDLERS
/* A handler may copy 20 bytes whatever the length, as R's. A sanitizer sees if one is missing. */
static char copied[20];
void xerbla_(const char *routine, const int *position, size_t length) {
    memcpy(copied, routine, sizeof copied);
    info = *position;
    snprintf(name, sizeof name, "%.*s", (int)length, routine);
}
void cblas_xerbla(int position, const char *routine, const char *form, ...) {
    (void)form;
    info = position;
    snprintf(name, sizeof name, "%s", routine);
}
void xerbla_64_(const char *routine, const long *position, size_t length) {
    info = *position;
    snprintf(name, sizeof name, "64 %.*s", (int)length, routine);
}
void cblas_xerbla64_(long position, const char *routine, const char *form, ...) {
    (void)form;
    info = position;
    snprintf(name, sizeof name, "64 %s", routine);
}
#endif

/* Calls, and compares what the handler got. */
#define EXPECT(position, routine, call)                                                            \
    do {                                                                                           \
        info = 0;                                                                                  \
        name[0] = 0;                                                                               \
        call;                                                                                      \
        calls++;                                                                                   \
        answered(position, routine, #call);                                                        \
    } while (0)

static void answered(long position, const char *routine, const char *call) {
#ifdef NO_HANDLERS
    position = 0, routine = "";
#endif
    if (info != position || strcmp(name, routine) != 0) {
        printf("%s: %ld of \"%s\", not %ld of \"%s\"\n", call, info, name, position, routine);
        failures++;
    }
}

static const int i0 = 0, i1 = 1, i2 = 2, i3 = 3, minus = -1;

#define T float
#define S(name) s##name
#define CBLAS(name) cblas_s##name
#define UPPER_NAME(name) "S" name
#define LOWER_NAME(name) "cblas_s" name
#include "errors.h"
#undef T
#undef S
#undef CBLAS
#undef UPPER_NAME
#undef LOWER_NAME
#define T double
#define S(name) d##name
#define CBLAS(name) cblas_d##name
#define UPPER_NAME(name) "D" name
#define LOWER_NAME(name) "cblas_d" name
#include "errors.h"

void dgemm_64_(const char *, const char *, const long *, const long *, const long *, const double *, const double *, const long *, const double *,
               const long *, const double *, double *, const long *);
void cblas_dger64_(int, long, long, double, const double *, long, const double *, long, double *, long);

static void wide(void) {
    const long one = 1, low = -5000000000L;
    const double a = 1;
    double c = 7;
    EXPECT(5, "64 DGEMM ", dgemm_64_("N", "N", &one, &one, &low, &a, &a, &one, &a, &one, &a, &c, &one));
    EXPECT(3, "64 cblas_dger", cblas_dger64_(COLUMN, 1, low, 1, &a, 1, &a, 1, &c, 1));
    if (c != 7) {
        printf("64-bit calls wrote\n");
        failures++;
    }
}

int main(void) {
    sfortran();
    scblas();
    dfortran();
    dcblas();
    wide();
    printf("%d illegal calls, %d failures\n", calls, failures);
    return failures != 0;
}
