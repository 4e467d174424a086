//! Random calls. A case is column-major; a row-major call of it passes the exchanged arguments.

use gaitprop_kernels::Real;
use std::fmt::Debug;

/// A generator of Steele, Lea and Flood's SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Returns `true` once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn flag(&mut self) -> bool {
        self.once_in(2)
    }

    /// Returns a number of magnitude 0.5 to 2 with a random significand.
    fn number(&mut self) -> f64 {
        let magnitude = 0.5 + 1.5 * (self.bits() >> 11) as f64 / (1u64 << 53) as f64;
        if self.flag() { magnitude } else { -magnitude }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routine {
    Gemm,
    Gemmt,
    Symm,
    Syrk,
    Syr2k,
    Trmm,
    Trsm,
    Gemv,
    Ger,
    Dot,
    Batch,
}

impl Routine {
    pub(crate) const ALL: [Self; 11] = [
        Self::Gemm,
        Self::Gemmt,
        Self::Symm,
        Self::Syrk,
        Self::Syr2k,
        Self::Trmm,
        Self::Trsm,
        Self::Gemv,
        Self::Ger,
        Self::Dot,
        Self::Batch,
    ];
}

/// The language and order of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Fortran,
    Columns,
    Rows,
}

/// A stored matrix of `rows × cols`, or a vector of `cols` elements with `rows` = 1 and an
/// increment as `ld`, which may be negative.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) ld: isize,
    /// Elements before the first one, so that addresses have any alignment.
    pub(crate) offset: usize,
}

impl Layout {
    /// Returns the elements from the first in memory to the last.
    pub(crate) fn len(&self) -> usize {
        if self.rows * self.cols == 0 { 0 } else { (self.cols - 1) * self.ld.unsigned_abs() + self.rows }
    }

    /// Returns the index of element (i, j).
    pub(crate) fn at(&self, i: usize, j: usize) -> usize {
        let j = if self.ld < 0 { self.cols - 1 - j } else { j };
        self.offset + j * self.ld.unsigned_abs() + i
    }
}

/// A call of any routine, column-major. Fields that a routine does not use are at their defaults.
///
/// Results are in `c`: for TRMM and TRSM the B of BLAS, for GEMV its y, for GER its A. The vectors
/// of GEMV, GER and DOT are `b`, or `a` and `b`.
#[derive(Clone, Debug)]
pub(crate) struct Case<T> {
    pub(crate) routine: Routine,
    pub(crate) style: Style,
    pub(crate) trans_a: bool,
    pub(crate) trans_b: bool,
    pub(crate) right: bool,
    pub(crate) upper: bool,
    pub(crate) unit: bool,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) alpha: T,
    pub(crate) beta: T,
    pub(crate) a: Layout,
    pub(crate) b: Layout,
    pub(crate) c: Layout,
    /// Products of a batch, 1 for other routines, and the elements from one operand to the next.
    pub(crate) count: usize,
    pub(crate) strides: [usize; 3],
    /// Whether operands contain zeros.
    pub(crate) zeros: bool,
}

/// The memory of a case: elements that BLAS may not read are NaN.
#[derive(Clone, Debug)]
pub(crate) struct Operands<T> {
    pub(crate) a: Vec<T>,
    pub(crate) b: Vec<T>,
    pub(crate) c: Vec<T>,
}

/// Returns a size up to 70, small in half of all cases.
fn size(random: &mut Random) -> usize {
    let most = if random.flag() { 71 } else { 17 };
    random.below(most)
}

fn scalar<T: Real>(random: &mut Random) -> T {
    let other = random.number();
    let special = [0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    // Most calls have 1 or another finite number, so that most results are.
    T::from_f64(match random.below(16) {
        i @ 0..6 => special[i],
        6..10 => 1.0,
        _ => other,
    })
}

impl<T: Real> Case<T> {
    pub(crate) fn new(random: &mut Random) -> Self {
        let routine = Routine::ALL[random.below(Routine::ALL.len())];
        let style = [Style::Fortran, Style::Columns, Style::Rows][random.below(if routine == Routine::Dot { 2 } else { 3 })];
        let style = if routine == Routine::Batch && style == Style::Fortran { Style::Columns } else { style };
        let mut case = Self {
            routine,
            style,
            trans_a: random.flag(),
            trans_b: random.flag(),
            right: random.flag(),
            upper: random.flag(),
            unit: random.flag(),
            m: size(random),
            n: size(random),
            k: size(random),
            alpha: scalar(random),
            beta: scalar(random),
            a: Layout::default(),
            b: Layout::default(),
            c: Layout::default(),
            count: 1,
            strides: [0; 3],
            zeros: random.once_in(4),
        };
        case.shape(random);
        case
    }

    /// Sets the layouts that the sizes and flags ask for.
    fn shape(&mut self, random: &mut Random) {
        let (m, n, k) = (self.m, self.n, self.k);
        let turned = |trans: bool, rows: usize, cols: usize| if trans { (cols, rows) } else { (rows, cols) };
        let order = if self.right { n } else { m };
        let (a, b, c) = match self.routine {
            Routine::Gemm | Routine::Batch => (turned(self.trans_a, m, k), turned(self.trans_b, k, n), (m, n)),
            Routine::Gemmt => (turned(self.trans_a, n, k), turned(self.trans_b, k, n), (n, n)),
            Routine::Symm => ((order, order), (m, n), (m, n)),
            Routine::Syrk | Routine::Syr2k => (turned(self.trans_a, n, k), turned(self.trans_a, n, k), (n, n)),
            Routine::Trmm | Routine::Trsm => ((order, order), (0, 0), (m, n)),
            Routine::Gemv => {
                let (y, x) = turned(self.trans_a, m, n);
                ((m, n), (1, x), (1, y))
            }
            Routine::Ger => ((1, m), (1, n), (m, n)),
            Routine::Dot => ((1, n), (1, n), (0, 0)),
        };
        let mut padded = |(rows, cols): (usize, usize), vector: bool| {
            let gap = if random.flag() { 0 } else { random.below(9) };
            let ld = if vector { 1 + gap as isize % 4 } else { (rows.max(1) + gap) as isize };
            let ld = if vector && random.once_in(3) { -ld } else { ld };
            Layout { rows, cols, ld, offset: random.below(4) }
        };
        let level2 = matches!(self.routine, Routine::Gemv | Routine::Ger | Routine::Dot);
        self.a = padded(a, level2 && self.routine != Routine::Gemv);
        self.b = padded(b, level2);
        self.c = padded(c, self.routine == Routine::Gemv);
        if self.routine == Routine::Batch {
            self.count = random.below(6);
            self.strides = [self.a, self.b, self.c].map(|layout| layout.len() + random.below(5));
            // Shared operands, and results that BLAS computes one after another into one place.
            if random.once_in(4) {
                self.strides[random.below(3)] = 0;
            }
        }
    }

    /// Returns whether the call reads A and B.
    pub(crate) fn reads(&self) -> bool {
        let products = matches!(self.routine, Routine::Gemm | Routine::Batch | Routine::Gemmt | Routine::Syrk | Routine::Syr2k);
        !(self.alpha == T::ZERO && self.routine != Routine::Dot || products && self.k == 0)
    }

    /// Returns the operands, at random.
    pub(crate) fn operands(&self, random: &mut Random) -> Operands<T> {
        let triangular = matches!(self.routine, Routine::Trmm | Routine::Trsm);
        let (inside, unit) = (triangular || self.routine == Routine::Symm, triangular && self.unit);
        let reads = self.reads();
        let stored = |i: usize, j: usize| reads && (!inside || i == j && !unit || i != j && (i < j) == self.upper);
        // Solutions grow with the elements beside the diagonal.
        let tame = self.routine == Routine::Trsm && random.flag();
        let scale = if tame { 1.0 / self.a.rows.max(1) as f64 } else { 1.0 };
        let mut a = self.fill(random, self.a, 0, &stored, |i, j| if i == j { 1.0 } else { scale });
        if self.routine == Routine::Trsm && !self.unit && self.a.rows > 0 && random.once_in(8) {
            let i = random.below(self.a.rows);
            a[self.a.at(i, i)] = [T::ZERO, T::NAN, T::ONE / T::ZERO][random.below(3)];
        }
        let b = self.fill(random, self.b, 1, &|_, _| reads, |_, _| 1.0);
        let symmetric = matches!(self.routine, Routine::Syrk | Routine::Syr2k | Routine::Gemmt);
        let read = if triangular { reads } else { self.beta != T::ZERO || self.routine == Routine::Ger };
        let c = self.fill(random, self.c, 2, &|i, j| read && (!symmetric || i == j || (i < j) == self.upper), |_, _| 1.0);
        Operands { a, b, c }
    }

    /// Returns the memory of operand `index`: NaN where `stored` does not hold.
    fn fill(
        &self,
        random: &mut Random,
        layout: Layout,
        index: usize,
        stored: &dyn Fn(usize, usize) -> bool,
        scale: impl Fn(usize, usize) -> f64,
    ) -> Vec<T> {
        let apart = self.strides[index] * self.count.saturating_sub(1);
        // Either ends with the operand, where a sanitizer sees what reaches beyond, or goes on.
        let after = if random.flag() { 0 } else { 3 };
        let mut memory = vec![T::NAN; layout.offset + apart + layout.len() + after];
        for p in 0..self.count {
            for j in 0..layout.cols {
                for i in (0..layout.rows).filter(|&i| stored(i, j)) {
                    let zero = self.zeros && i != j && random.once_in(4);
                    let value = if zero { 0.0 } else { random.number() * scale(i, j) };
                    memory[p * self.strides[index] + layout.at(i, j)] = T::from_f64(value);
                }
            }
        }
        memory
    }
}
