//! What is measured: the rows, their inputs, and what a contender is.

use gaitprop_kernels::{MatRef, Real};

/// The element types, with what the peers ask of them.
pub trait Element: Real + faer::traits::RealField {
    /// BLAS's letter for the type.
    const LETTER: char;
    /// `C ← A·B` by the `matrixmultiply` crate.
    const MATRIXMULTIPLY: MatrixMultiply<Self>;
}

/// The signature of `matrixmultiply::sgemm`: m, k, n, α, A, its strides, B, its strides, β, C, its strides.
pub type MatrixMultiply<T> =
    unsafe fn(usize, usize, usize, T, *const T, isize, isize, *const T, isize, isize, T, *mut T, isize, isize);

impl Element for f32 {
    const LETTER: char = 's';
    const MATRIXMULTIPLY: MatrixMultiply<f32> = matrixmultiply::sgemm;
}

impl Element for f64 {
    const LETTER: char = 'd';
    const MATRIXMULTIPLY: MatrixMultiply<f64> = matrixmultiply::dgemm;
}

/// The kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// C = A·B, all row-major; B may be packed beforehand by those who can.
    Product { prepacked: bool },
    /// C = Yᵀ·B with Y stored k×m: the weight gradient.
    Gradient,
    /// The lower triangle of C = A·Aᵀ.
    Syrk,
    /// P·A = L·U.
    Lu,
    /// X·U = B for m rows of B.
    Solve,
    /// A = L·Lᵀ.
    Cholesky,
    /// [`BATCH`] products.
    Batch,
    /// f(A·B + bias) in one go, against A·B alone.
    Epilogue,
}

/// Products in a batch.
pub const BATCH: usize = 256;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub work: Work,
    pub shape: (usize, usize, usize),
    /// The instruction set that our kernels are held to; the row is left out where it is not a narrower one than the widest.
    pub forced_isa: Option<&'static str>,
}

const fn row(name: &'static str, work: Work, m: usize, n: usize, k: usize) -> Row {
    Row { name, work, shape: (m, n, k), forced_isa: None }
}

const PACKED: Work = Work::Product { prepacked: true };
const RAW: Work = Work::Product { prepacked: false };

/// The rows that are measured.
pub const ROWS: &[Row] = &[
    row("forward 60x784x784 prepacked", PACKED, 60, 784, 784),
    row("forward 60x500x500 prepacked", PACKED, 60, 500, 500),
    row("forward 60x200x200 prepacked", PACKED, 60, 200, 200),
    row("forward 60x64x64 prepacked", PACKED, 60, 64, 64),
    row("forward 60x784x784 raw", RAW, 60, 784, 784),
    Row { forced_isa: Some("avx2"), ..row("forward 60x784x784 prepacked, AVX2 forced", PACKED, 60, 784, 784) },
    row("256x1024x1024 prepacked", PACKED, 256, 1024, 1024),
    row("128x4096x4096 prepacked", PACKED, 128, 4096, 4096),
    row("weight gradient 784x784x60", Work::Gradient, 784, 784, 60),
    row("square 784", RAW, 784, 784, 784),
    row("square 1024", RAW, 1024, 1024, 1024),
    row("square 2048", RAW, 2048, 2048, 2048),
    row("SYRK 784", Work::Syrk, 784, 784, 784),
    row("LU 784", Work::Lu, 784, 784, 784),
    row("Cholesky 784", Work::Cholesky, 784, 784, 784),
    row("triangular solve 784, 60 rhs", Work::Solve, 60, 784, 784),
    row("batch of 256 products 32x32x32", Work::Batch, 32, 32, 32),
    row("forward 60x784x784 + bias + leaky ReLU", Work::Epilogue, 60, 784, 784),
];

impl Row {
    /// Floating-point operations, as the literature counts them.
    pub fn flops(&self) -> f64 {
        let (m, n, k) = (self.shape.0 as f64, self.shape.1 as f64, self.shape.2 as f64);
        match self.work {
            Work::Product { .. } | Work::Gradient | Work::Epilogue => 2.0 * m * n * k,
            Work::Batch => 2.0 * m * n * k * BATCH as f64,
            Work::Syrk => n * n * k,
            Work::Lu => 2.0 / 3.0 * n * n * n,
            Work::Solve => m * n * n,
            Work::Cholesky => n * n * n / 3.0,
        }
    }

    /// The same with short sides, for a quick check that still meets the edges of tiles.
    pub fn tiny(self) -> Self {
        let short = |d: usize| if d > 100 { d / 8 + 1 } else { d };
        Self { shape: (short(self.shape.0), short(self.shape.1), short(self.shape.2)), ..self }
    }

    /// Whether the input is overwritten by the result.
    pub fn in_place(&self) -> bool {
        matches!(self.work, Work::Lu | Work::Solve | Work::Cholesky)
    }

    /// Rows and columns of the result (of one product of a batch).
    pub fn out_shape(&self) -> (usize, usize) {
        (self.shape.0, self.shape.1)
    }
}

/// A row's inputs: random normal numbers. Zeros would flatter, subnormal numbers slander.
pub struct Problem<T> {
    pub row: Row,
    /// The left operand: m×k (k×m for the gradient), U of a solve; empty for factorisations.
    pub a: Vec<T>,
    /// The right operand, k×n.
    pub b: Vec<T>,
    /// What the result's memory holds before a call: NaN, or the input of work in place.
    pub start: Vec<T>,
}

impl<T: Element> Problem<T> {
    pub fn new(row: Row) -> Self {
        let (m, n, k) = row.shape;
        let mut normal = Normal::new(1 + (m * 31 + n * 17 + k) as u64);
        let mut normals = |len: usize| -> Vec<T> { (0..len).map(|_| T::from_f64(normal.next())).collect() };
        let nothing = |len: usize| vec![T::NAN; len];
        let (a, b, start) = match row.work {
            Work::Product { .. } | Work::Gradient | Work::Epilogue => (normals(m * k), normals(k * n), nothing(m * n)),
            Work::Batch => (normals(BATCH * m * k), normals(BATCH * k * n), nothing(BATCH * m * n)),
            Work::Syrk => (normals(n * k), Vec::new(), nothing(n * n)),
            Work::Lu => (Vec::new(), Vec::new(), normals(n * n)),
            // Off the diagonal of size 1/√n, on it at least 1: well conditioned, so that the solution stays of size 1.
            Work::Solve => (dominant(n, 1.0, &mut normals), Vec::new(), normals(m * n)),
            // Symmetric with eigenvalues above 1/2 (random parts of size 1/(4√n) have them in ±1/2).
            Work::Cholesky => {
                let mut a = dominant(n, 0.25, &mut normals);
                for i in 0..n {
                    for j in 0..i {
                        a[i * n + j] = a[j * n + i];
                    }
                }
                (Vec::new(), Vec::new(), a)
            }
        };
        Self { row, a, b, start }
    }

    /// A as the product reads it: m×k.
    pub fn a(&self) -> MatRef<'_, T> {
        let (m, _, k) = self.row.shape;
        match self.row.work {
            Work::Gradient => MatRef::new(&self.a, k, m).expect("sized so").t(),
            _ => MatRef::new(&self.a, m, k).expect("sized so"),
        }
    }

    /// B: k×n; the transpose of A for a symmetric product.
    pub fn b(&self) -> MatRef<'_, T> {
        let (_, n, k) = self.row.shape;
        if self.row.work == Work::Syrk { self.a().t() } else { MatRef::new(&self.b, k, n).expect("sized so") }
    }

    /// U of a triangular solve, stored as a full square.
    pub fn u(&self) -> MatRef<'_, T> {
        let n = self.row.shape.1;
        MatRef::new(&self.a, n, n).expect("sized so")
    }

    /// Memory for a result, as it is before a call.
    pub fn out(&self) -> Out<T> {
        Out {
            data: self.start.clone(),
            order: if self.row.work == Work::Lu { (0..self.row.shape.1).collect() } else { Vec::new() },
        }
    }
}

/// An n×n matrix of elements of size `scale`/√n, 1 + |x| on the diagonal.
fn dominant<T: Element>(n: usize, scale: f64, normals: &mut impl FnMut(usize) -> Vec<T>) -> Vec<T> {
    let mut a = normals(n * n);
    let scale = T::from_f64(scale / (n as f64).sqrt());
    for (at, v) in a.iter_mut().enumerate() {
        *v = if at % (n + 1) == 0 { T::ONE + gaitprop_kernels::Scalar::abs(*v) } else { *v * scale };
    }
    a
}

/// Where a result goes.
pub struct Out<T> {
    pub data: Vec<T>,
    /// For LU: row i of P·A is row `order[i]` of A.
    pub order: Vec<usize>,
}

/// Who is measured against whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A kernel of ours.
    Ours,
    /// A kernel of ours that others of ours are compared with, where no peer does the same work.
    Base,
    /// Somebody else's.
    Peer,
}

/// One call of a contender.
pub type Call<'a, T> = Box<dyn FnMut(&mut Out<T>) + Send + 'a>;

/// Somebody who can do a row's work.
pub struct Contender<'a, T> {
    pub name: String,
    pub kind: Kind,
    /// Called by a thread of the rayon pool, so that its rayon calls use that pool and do not wake it each time.
    pub in_pool: bool,
    /// Factors lie column by column: the input was read as its transpose.
    pub by_columns: bool,
    /// The bits that a result must have, where the row's own rule is not the one to go by.
    pub expected: Option<Box<dyn Fn(usize, usize) -> T + 'a>>,
    pub call: Call<'a, T>,
}

impl<'a, T> Contender<'a, T> {
    pub fn new(name: impl Into<String>, kind: Kind, call: impl FnMut(&mut Out<T>) + Send + 'a) -> Self {
        Self { name: name.into(), kind, in_pool: false, by_columns: false, expected: None, call: Box::new(call) }
    }

    pub fn in_pool(self) -> Self {
        Self { in_pool: true, ..self }
    }

    pub fn by_columns(self) -> Self {
        Self { by_columns: true, ..self }
    }

    pub fn expecting(self, bits: impl Fn(usize, usize) -> T + 'a) -> Self {
        Self { expected: Some(Box::new(bits)), ..self }
    }
}

/// Normal numbers: splitmix64 and the method of Box and Muller. The same on every machine but for the last bits of `ln` and `cos`.
pub struct Normal(u64);

impl Normal {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn next(&mut self) -> f64 {
        // In (0, 1]: the logarithm is finite.
        let mut unit = || ((self.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos()
    }
}
