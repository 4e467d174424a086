//! Operands in memory that shows what a kernel does beyond them, their comparison, and the threads
//! that compute.

use gaitprop_kernels::{Blocking, Isa, MatMut, MatRef, Packing, Par, Plan, Real, Scratch, ScratchReq};
use std::fmt::{Debug, Display};
use std::ops::DerefMut;
use std::sync::Arc;

/// The first thing that is wrong, in words; a property test or a fuzz target makes a failure of it.
pub type Checked = Result<(), String>;

/// Unless the condition holds, a [`Checked`] function ends with these words.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        // A NaN fails.
        if !($condition) {
            return Err(format!($($words)+));
        }
    };
}

/// How a matrix lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Rows,
    Columns,
    /// Row-major with a gap behind each row.
    PaddedRows,
    PaddedColumns,
    /// Rows stored last to first.
    NegativeRows,
    NegativeColumns,
    /// No stride is 1.
    Spread,
}

pub const LAYOUTS: [Layout; 7] = [
    Layout::Rows,
    Layout::Columns,
    Layout::PaddedRows,
    Layout::PaddedColumns,
    Layout::NegativeRows,
    Layout::NegativeColumns,
    Layout::Spread,
];

/// Layouts with contiguous rows.
pub const ROW_LAYOUTS: [Layout; 3] = [Layout::Rows, Layout::PaddedRows, Layout::NegativeRows];

impl Layout {
    pub fn strides(self, (m, n): (usize, usize)) -> (isize, isize) {
        let (m, n) = (m as isize, n as isize);
        let (rs, cs) = match self {
            Self::Rows => (n, 1),
            Self::Columns => (1, m),
            Self::PaddedRows => (n + 3, 1),
            Self::PaddedColumns => (1, m + 2),
            Self::NegativeRows => (-(n + 1), 1),
            Self::NegativeColumns => (n, -1),
            Self::Spread => (2 * n + 5, 2),
        };
        // A stride of 0 is possible for empty matrices only.
        (if rs == 0 { 1 } else { rs }, if cs == 0 { 1 } else { cs })
    }
}

/// The index of the first element in a buffer, and the number of elements from the lowest to the
/// highest that these `(count, stride)` reach.
pub fn extent(steps: &[(usize, isize)]) -> (usize, usize) {
    if steps.iter().any(|step| step.0 == 0) {
        return (0, 0);
    }
    let reach = |&(n, stride): &(usize, isize)| (n as isize - 1) * stride;
    let low: isize = steps.iter().map(|step| reach(step).min(0)).sum();
    let high: isize = steps.iter().map(|step| reach(step).max(0)).sum();
    (-low as usize, (high - low) as usize + 1)
}

/// A kind of memory for operands.
pub trait Memory: Copy + Debug {
    type Buffer<T: Real>: Clone + Debug + DerefMut<Target = [T]>;
    /// Number of elements before the first of a matrix, and after its last, that belong to its
    /// buffer.
    const MARGIN: usize;
    /// A buffer of `len` NaN.
    fn buffer<T: Real>(self, len: usize) -> Self::Buffer<T>;
}

/// Ordinary memory, in which each matrix has a margin of NaN.
#[derive(Clone, Copy, Debug)]
pub struct Fences;

impl Memory for Fences {
    type Buffer<T: Real> = Vec<T>;
    const MARGIN: usize = 5;

    fn buffer<T: Real>(self, len: usize) -> Vec<T> {
        vec![T::NAN; len]
    }
}

/// A matrix in a larger buffer, in which every other element is a marked NaN.
#[derive(Clone, Debug)]
pub struct Fenced<T: Real, M: Memory = Fences> {
    pub data: M::Buffer<T>,
    pub offset: usize,
    pub shape: (usize, usize),
    pub strides: (isize, isize),
}

impl<T: Real> Fenced<T> {
    pub fn new(shape: (usize, usize), layout: Layout, value: impl FnMut() -> T) -> Self {
        Self::new_in(Fences, shape, layout, value)
    }
}

impl<T: Real, M: Memory> Fenced<T, M> {
    /// With values row by row.
    pub fn new_in(memory: M, shape: (usize, usize), layout: Layout, mut value: impl FnMut() -> T) -> Self {
        let strides = layout.strides(shape);
        let (first, len) = extent(&[(shape.0, strides.0), (shape.1, strides.1)]);
        let mut out = Self { data: memory.buffer(len + 2 * M::MARGIN), offset: M::MARGIN + first, shape, strides };
        let mut view = out.view_mut();
        for i in 0..shape.0 {
            for j in 0..shape.1 {
                view.set(i, j, value());
            }
        }
        out
    }

    pub fn view(&self) -> MatRef<'_, T> {
        MatRef::strided(&self.data, self.offset, self.shape, self.strides).unwrap()
    }

    pub fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut::strided(&mut self.data, self.offset, self.shape, self.strides).unwrap()
    }

    /// The elements of a matrix of one contiguous row.
    pub fn row(&self) -> &[T] {
        assert_eq!((self.shape.0, self.strides.1), (1, 1));
        &self.data[self.offset..self.offset + self.shape.1]
    }

    pub fn row_mut(&mut self) -> &mut [T] {
        assert_eq!((self.shape.0, self.strides.1), (1, 1));
        &mut self.data[self.offset..self.offset + self.shape.1]
    }

    /// Whether everything outside the view is still the NaN it was.
    pub fn fences_stand(&self) -> bool {
        let mut outside = self.data.to_vec();
        let mut view = MatMut::strided(&mut outside, self.offset, self.shape, self.strides).unwrap();
        for i in 0..self.shape.0 {
            for j in 0..self.shape.1 {
                view.set(i, j, T::NAN);
            }
        }
        outside.iter().all(|x| x.bits() == T::NAN.bits())
    }
}

/// A cheap generator of normal-looking reals in (−1, 1), never subnormal.
pub fn reals<T: Real>(seed: u64) -> impl FnMut() -> T {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        T::from_f64((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    }
}

/// Where two matrices first differ in a bit: the comparison under all tests of bits.
pub fn first_difference<T: Real>(want: MatRef<'_, T>, got: MatRef<'_, T>) -> Option<String> {
    if want.shape() != got.shape() {
        return Some(format!("shapes {:?} and {:?}", want.shape(), got.shape()));
    }
    for i in 0..want.nrows() {
        for j in 0..want.ncols() {
            let (w, g) = (want.get(i, j), got.get(i, j));
            if w.bits() != g.bits() {
                return Some(format!("({i}, {j}): want {w:e}, got {g:e}"));
            }
        }
    }
    None
}

/// Checks that `got` has the bits of `want`, and that nothing is written outside it.
pub fn same<T: Real, M: Memory, N: Memory>(want: &Fenced<T, N>, got: &Fenced<T, M>, what: impl Display) -> Checked {
    let difference = first_difference(want.view(), got.view());
    ensure!(difference.is_none(), "{what} {}: {}", T::NAME, difference.unwrap());
    ensure!(got.fences_stand(), "{what} {}: wrote outside", T::NAME);
    Ok(())
}

/// Copies element by element, whatever the strides.
pub fn copy_into<T: Real>(from: MatRef<'_, T>, mut to: MatMut<'_, T>) {
    for i in 0..from.nrows() {
        for j in 0..from.ncols() {
            to.set(i, j, from.get(i, j));
        }
    }
}

/// A pool of rayon's.
pub fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// Threads of every kind.
#[derive(Debug)]
pub struct Crew {
    pool: Option<Par>,
    pub team: Par,
}

impl Crew {
    pub fn new(threads: usize) -> Self {
        let pool = std::env::var_os("GAITPROP_TEAM_ONLY").is_none().then(|| Par::Pool(Arc::new(pool(threads))));
        Self { pool, team: Par::team(threads).unwrap() }
    }

    /// The pool; the team again where a pool's threads, which are not this crate's, would only be
    /// in the way.
    pub fn shared(&self) -> Par {
        self.pool.as_ref().unwrap_or(&self.team).clone()
    }

    /// Every instruction set of this CPU, alone and with each kind of threads, from `min_work`
    /// multiply-adds a thread on.
    pub fn plans(&self, blocking: Option<Blocking>, packing: Packing, min_work: usize) -> Vec<Plan> {
        let ways = [Par::Seq, self.shared(), self.team.clone()];
        let plan = |(isa, par)| {
            let mut plan = Plan::new().with_packing(packing).with_min_work(min_work).with_isa(isa).with_par(par);
            plan.blocking = blocking;
            plan
        };
        Isa::available().flat_map(|isa| ways.clone().map(|par| (isa, par))).map(plan).collect()
    }
}

/// Runs `f` with each plan, and with exactly the scratch that `need` gives for it.
pub fn with_plans(
    plans: &[Plan],
    need: impl Fn(&Plan) -> ScratchReq,
    mut f: impl FnMut(&Plan, &mut Scratch) -> Checked,
) -> Checked {
    for plan in plans {
        let mut scratch = Scratch::new();
        scratch.reserve(need(plan)).unwrap();
        let reserved = scratch.capacity();
        let how = || format!("{} {:?} {:?}", plan.isa, plan.packing, plan.par);
        f(plan, &mut scratch).map_err(|wrong| format!("{}: {wrong}", how()))?;
        ensure!(scratch.capacity() == reserved, "{}: its scratch function asks for too little", how());
    }
    Ok(())
}
