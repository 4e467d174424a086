/* The calls of errors.c for one precision: T, and names by S, CBLAS, UPPER_NAME and LOWER_NAME. */
#define F const char *
#define I const int *
#define R const T *
void S(gemm_)(F, F, I, I, I, R, R, I, R, I, R, T *, I);
void S(gemmt_)(F, F, F, I, I, R, R, I, R, I, R, T *, I);
void S(gemmtr_)(F, F, F, I, I, R, R, I, R, I, R, T *, I);
void S(symm_)(F, F, I, I, R, R, I, R, I, R, T *, I);
void S(syrk_)(F, F, I, I, R, R, I, R, T *, I);
void S(syr2k_)(F, F, I, I, R, R, I, R, I, R, T *, I);
void S(trmm_)(F, F, F, F, I, I, R, R, I, T *, I);
void S(trsm_)(F, F, F, F, I, I, R, R, I, T *, I);
void S(gemv_)(F, I, I, R, R, I, R, I, R, T *, I);
void S(ger_)(I, I, R, R, I, R, I, T *, I);
#undef F
#undef I
#undef R
void CBLAS(gemm)(int, int, int, int, int, int, T, const T *, int, const T *, int, T, T *, int);
void CBLAS(gemmt)(int, int, int, int, int, int, T, const T *, int, const T *, int, T, T *, int);
void CBLAS(symm)(int, int, int, int, int, T, const T *, int, const T *, int, T, T *, int);
void CBLAS(syrk)(int, int, int, int, int, T, const T *, int, T, T *, int);
void CBLAS(syr2k)(int, int, int, int, int, T, const T *, int, const T *, int, T, T *, int);
void CBLAS(trmm)(int, int, int, int, int, int, int, T, const T *, int, T *, int);
void CBLAS(trsm)(int, int, int, int, int, int, int, T, const T *, int, T *, int);
void CBLAS(gemv)(int, int, int, int, T, const T *, int, const T *, int, T, T *, int);
void CBLAS(ger)(int, int, int, T, const T *, int, const T *, int, T *, int);
void CBLAS(gemm_batch_strided)(int, int, int, int, int, int, T, const T *, int, int, const T *, int, int, T, T *, int, int, int);

static void S(fortran)(void) {
    const T x = 2, a[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    T c[9] = {7, 7, 7, 7, 7, 7, 7, 7, 7};
    const char *gemm = UPPER_NAME("GEMM "), *symm = UPPER_NAME("SYMM "), *syrk = UPPER_NAME("SYRK "), *syr2k = UPPER_NAME("SYR2K");
    const char *gemv = UPPER_NAME("GEMV "), *ger = UPPER_NAME("GER  "), *gemmt = UPPER_NAME("GEMMT");
    EXPECT(1, gemm, S(gemm_)("/", "/", &minus, &i2, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(2, gemm, S(gemm_)("c", "/", &minus, &i2, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(3, gemm, S(gemm_)("N", "T", &minus, &minus, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(4, gemm, S(gemm_)("N", "N", &i2, &minus, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(5, gemm, S(gemm_)("N", "N", &i2, &i2, &minus, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(8, gemm, S(gemm_)("N", "N", &i3, &i2, &i2, &x, a, &i2, a, &i1, &x, c, &i3));
    EXPECT(8, gemm, S(gemm_)("T", "N", &i2, &i2, &i3, &x, a, &i2, a, &i3, &x, c, &i2));
    EXPECT(10, gemm, S(gemm_)("N", "N", &i2, &i2, &i3, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(10, gemm, S(gemm_)("N", "T", &i2, &i3, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(13, gemm, S(gemm_)("N", "N", &i2, &i2, &i2, &x, a, &i2, a, &i2, &x, c, &i1));
    EXPECT(13, gemm, S(gemm_)("N", "N", &i0, &i2, &i2, &x, a, &i1, a, &i2, &x, c, &i0));
    EXPECT(1, gemmt, S(gemmt_)("/", "N", "N", &i2, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(2, gemmt, S(gemmt_)("U", "/", "N", &i2, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(3, gemmt, S(gemmt_)("U", "N", "/", &i2, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(4, gemmt, S(gemmt_)("U", "N", "N", &minus, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(5, gemmt, S(gemmt_)("U", "N", "N", &i2, &minus, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(8, gemmt, S(gemmt_)("U", "N", "N", &i3, &i2, &x, a, &i2, a, &i2, &x, c, &i3));
    EXPECT(10, gemmt, S(gemmt_)("U", "N", "T", &i3, &i2, &x, a, &i3, a, &i2, &x, c, &i3));
    EXPECT(13, UPPER_NAME("GEMMTR"), S(gemmtr_)("L", "N", "N", &i3, &i2, &x, a, &i3, a, &i2, &x, c, &i2));
    EXPECT(1, symm, S(symm_)("/", "U", &i2, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(2, symm, S(symm_)("L", "/", &i2, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(3, symm, S(symm_)("L", "U", &minus, &i2, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(4, symm, S(symm_)("L", "U", &i2, &minus, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(7, symm, S(symm_)("R", "U", &i2, &i3, &x, a, &i2, a, &i2, &x, c, &i2));
    EXPECT(9, symm, S(symm_)("R", "U", &i3, &i2, &x, a, &i2, a, &i2, &x, c, &i3));
    EXPECT(12, symm, S(symm_)("L", "L", &i3, &i2, &x, a, &i3, a, &i3, &x, c, &i2));
    EXPECT(1, syrk, S(syrk_)("/", "N", &i2, &i2, &x, a, &i2, &x, c, &i2));
    EXPECT(2, syrk, S(syrk_)("U", "/", &i2, &i2, &x, a, &i2, &x, c, &i2));
    EXPECT(3, syrk, S(syrk_)("U", "N", &minus, &i2, &x, a, &i2, &x, c, &i2));
    EXPECT(4, syrk, S(syrk_)("U", "N", &i2, &minus, &x, a, &i2, &x, c, &i2));
    EXPECT(7, syrk, S(syrk_)("U", "T", &i2, &i3, &x, a, &i2, &x, c, &i2));
    EXPECT(10, syrk, S(syrk_)("U", "T", &i3, &i2, &x, a, &i2, &x, c, &i2));
    EXPECT(7, syr2k, S(syr2k_)("U", "N", &i3, &i2, &x, a, &i2, a, &i3, &x, c, &i3));
    EXPECT(9, syr2k, S(syr2k_)("U", "N", &i3, &i2, &x, a, &i3, a, &i2, &x, c, &i3));
    EXPECT(12, syr2k, S(syr2k_)("U", "N", &i3, &i2, &x, a, &i3, a, &i3, &x, c, &i2));
    void (*triangular[2])(const char *, const char *, const char *, const char *, const int *, const int *, const T *, const T *, const int *, T *,
                          const int *) = {S(trmm_), S(trsm_)};
    for (int i = 0; i < 2; i++) {
        const char *routine = i ? UPPER_NAME("TRSM ") : UPPER_NAME("TRMM ");
        EXPECT(1, routine, triangular[i]("/", "U", "N", "N", &i2, &i2, &x, a, &i2, c, &i2));
        EXPECT(2, routine, triangular[i]("L", "/", "N", "N", &i2, &i2, &x, a, &i2, c, &i2));
        EXPECT(3, routine, triangular[i]("L", "U", "/", "N", &i2, &i2, &x, a, &i2, c, &i2));
        EXPECT(4, routine, triangular[i]("L", "U", "N", "/", &i2, &i2, &x, a, &i2, c, &i2));
        EXPECT(5, routine, triangular[i]("L", "U", "N", "N", &minus, &i2, &x, a, &i2, c, &i2));
        EXPECT(6, routine, triangular[i]("L", "U", "N", "N", &i2, &minus, &x, a, &i2, c, &i2));
        EXPECT(9, routine, triangular[i]("L", "U", "N", "N", &i3, &i2, &x, a, &i2, c, &i3));
        EXPECT(9, routine, triangular[i]("R", "U", "N", "N", &i2, &i3, &x, a, &i2, c, &i2));
        EXPECT(11, routine, triangular[i]("R", "U", "N", "N", &i3, &i2, &x, a, &i2, c, &i2));
    }
    EXPECT(1, gemv, S(gemv_)("/", &i2, &i2, &x, a, &i2, a, &i1, &x, c, &i1));
    EXPECT(2, gemv, S(gemv_)("N", &minus, &i2, &x, a, &i2, a, &i1, &x, c, &i1));
    EXPECT(3, gemv, S(gemv_)("N", &i2, &minus, &x, a, &i2, a, &i1, &x, c, &i1));
    EXPECT(6, gemv, S(gemv_)("T", &i3, &i2, &x, a, &i2, a, &i1, &x, c, &i1));
    EXPECT(8, gemv, S(gemv_)("N", &i2, &i2, &x, a, &i2, a, &i0, &x, c, &i1));
    EXPECT(11, gemv, S(gemv_)("N", &i2, &i2, &x, a, &i2, a, &i1, &x, c, &i0));
    EXPECT(1, ger, S(ger_)(&minus, &i2, &x, a, &i1, a, &i1, c, &i2));
    EXPECT(2, ger, S(ger_)(&i2, &minus, &x, a, &i1, a, &i1, c, &i2));
    EXPECT(5, ger, S(ger_)(&i2, &i2, &x, a, &i0, a, &i1, c, &i2));
    EXPECT(7, ger, S(ger_)(&i2, &i2, &x, a, &i1, a, &i0, c, &i2));
    EXPECT(9, ger, S(ger_)(&i3, &i2, &x, a, &i1, a, &i1, c, &i2));
    for (int i = 0; i < 9; i++) {
        if (c[i] != 7) {
            printf("an illegal call of Fortran wrote\n");
            failures++;
        }
    }
}

/* Row-major positions are those of the column-major call, plus 1, as netlib's handler expects. */
static void S(cblas)(void) {
    const T a[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    T c[9] = {7, 7, 7, 7, 7, 7, 7, 7, 7};
    const char *gemm = LOWER_NAME("gemm"), *symm = LOWER_NAME("symm"), *syrk = LOWER_NAME("syrk"), *syr2k = LOWER_NAME("syr2k");
    const char *gemv = LOWER_NAME("gemv"), *ger = LOWER_NAME("ger"), *batch = LOWER_NAME("gemm_batch_strided");
    EXPECT(1, gemm, CBLAS(gemm)(BAD, BAD, NO, 2, 2, 2, 2, a, 2, a, 2, 2, c, 2));
    for (int order = ROW; order <= COLUMN; order++) {
        int row = order == ROW;
        EXPECT(2, gemm, CBLAS(gemm)(order, BAD, BAD, 2, 2, 2, 2, a, 2, a, 2, 2, c, 2));
        EXPECT(3, gemm, CBLAS(gemm)(order, NO, BAD, 2, 2, 2, 2, a, 2, a, 2, 2, c, 2));
        EXPECT(row ? 5 : 4, gemm, CBLAS(gemm)(order, NO, NO, -1, 2, 2, 2, a, 2, a, 2, 2, c, 2));
        EXPECT(row ? 4 : 5, gemm, CBLAS(gemm)(order, NO, NO, 2, -1, 2, 2, a, 2, a, 2, 2, c, 2));
        EXPECT(6, gemm, CBLAS(gemm)(order, NO, NO, 2, 2, -1, 2, a, 2, a, 2, 2, c, 2));
        EXPECT(row ? 11 : 9, gemm, CBLAS(gemm)(order, NO, NO, 2, 2, 2, 2, a, 1, a, 2, 2, c, 2));
        EXPECT(row ? 9 : 11, gemm, CBLAS(gemm)(order, NO, NO, 2, 2, 2, 2, a, 2, a, 1, 2, c, 2));
        EXPECT(14, gemm, CBLAS(gemm)(order, NO, NO, 2, 2, 2, 2, a, 2, a, 2, 2, c, 1));
        EXPECT(2, LOWER_NAME("gemmt"), CBLAS(gemmt)(order, BAD, NO, NO, 2, 2, 2, a, 2, a, 2, 2, c, 2));
        EXPECT(5, LOWER_NAME("gemmt"), CBLAS(gemmt)(order, UPPER, NO, NO, -1, 2, 2, a, 2, a, 2, 2, c, 2));
        EXPECT(row ? 11 : 9, LOWER_NAME("gemmt"), CBLAS(gemmt)(order, UPPER, NO, NO, 2, 2, 2, a, 1, a, 2, 2, c, 2));
        EXPECT(2, symm, CBLAS(symm)(order, BAD, UPPER, 2, 2, 2, a, 2, a, 2, 2, c, 2));
        EXPECT(3, symm, CBLAS(symm)(order, RIGHT, BAD, 2, 2, 2, a, 2, a, 2, 2, c, 2));
        EXPECT(row ? 5 : 4, symm, CBLAS(symm)(order, LEFT, UPPER, -1, 2, 2, a, 2, a, 2, 2, c, 2));
        EXPECT(8, symm, CBLAS(symm)(order, LEFT, UPPER, 2, 1, 2, a, 1, a, 2, 2, c, 2));
        EXPECT(10, symm, CBLAS(symm)(order, LEFT, UPPER, 2, 2, 2, a, 2, a, 1, 2, c, 2));
        EXPECT(13, symm, CBLAS(symm)(order, LEFT, UPPER, 2, 2, 2, a, 2, a, 2, 2, c, 1));
        EXPECT(3, syrk, CBLAS(syrk)(order, UPPER, BAD, 2, 2, 2, a, 2, 2, c, 2));
        EXPECT(8, syrk, CBLAS(syrk)(order, UPPER, row ? TRANS : NO, 2, 1, 2, a, 1, 2, c, 2));
        EXPECT(11, syrk, CBLAS(syrk)(order, LOWER, NO, 2, 2, 2, a, 2, 2, c, 1));
        EXPECT(10, syr2k, CBLAS(syr2k)(order, LOWER, NO, 2, 2, 2, a, 2, a, 1, 2, c, 2));
        EXPECT(13, syr2k, CBLAS(syr2k)(order, LOWER, NO, 2, 2, 2, a, 2, a, 2, 2, c, 1));
        for (int i = 0; i < 2; i++) {
            void (*triangular)(int, int, int, int, int, int, int, T, const T *, int, T *, int) = i ? CBLAS(trsm) : CBLAS(trmm);
            const char *routine = i ? LOWER_NAME("trsm") : LOWER_NAME("trmm");
            EXPECT(2, routine, triangular(order, BAD, UPPER, NO, NON_UNIT, 2, 2, 2, a, 2, c, 2));
            EXPECT(5, routine, triangular(order, LEFT, UPPER, NO, BAD, 2, 2, 2, a, 2, c, 2));
            EXPECT(row ? 7 : 6, routine, triangular(order, LEFT, UPPER, NO, NON_UNIT, -1, 2, 2, a, 2, c, 2));
            EXPECT(10, routine, triangular(order, RIGHT, UPPER, NO, NON_UNIT, 1, 2, 2, a, 1, c, 2));
            EXPECT(12, routine, triangular(order, LEFT, UPPER, NO, NON_UNIT, 2, 2, 2, a, 2, c, 1));
        }
        EXPECT(2, gemv, CBLAS(gemv)(order, BAD, 2, 2, 2, a, 2, a, 1, 2, c, 1));
        EXPECT(row ? 4 : 3, gemv, CBLAS(gemv)(order, NO, -1, 2, 2, a, 2, a, 1, 2, c, 1));
        EXPECT(7, gemv, CBLAS(gemv)(order, NO, 2, 2, 2, a, 1, a, 1, 2, c, 1));
        EXPECT(9, gemv, CBLAS(gemv)(order, NO, 2, 2, 2, a, 2, a, 0, 2, c, 1));
        EXPECT(12, gemv, CBLAS(gemv)(order, NO, 2, 2, 2, a, 2, a, 1, 2, c, 0));
        EXPECT(row ? 3 : 2, ger, CBLAS(ger)(order, -1, 2, 2, a, 1, a, 1, c, 2));
        EXPECT(row ? 8 : 6, ger, CBLAS(ger)(order, 2, 2, 2, a, 0, a, 1, c, 2));
        EXPECT(10, ger, CBLAS(ger)(order, 2, 2, 2, a, 1, a, 1, c, 1));
        EXPECT(row ? 12 : 9, batch, CBLAS(gemm_batch_strided)(order, NO, NO, 2, 2, 2, 2, a, 1, 4, a, 2, 4, 2, c, 2, 4, 2));
        EXPECT(16, batch, CBLAS(gemm_batch_strided)(order, NO, NO, 2, 2, 2, 2, a, 2, 4, a, 2, 4, 2, c, 1, 4, 2));
        EXPECT(18, batch, CBLAS(gemm_batch_strided)(order, NO, NO, 2, 2, 2, 2, a, 2, 4, a, 2, 4, 2, c, 2, 4, -1));
    }
    for (int i = 0; i < 9; i++) {
        if (c[i] != 7) {
            printf("an illegal call of CBLAS wrote\n");
            failures++;
        }
    }
}
