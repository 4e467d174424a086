//! Matrices with fences for tests: every element outside a view is a marked NaN, checked afterwards. And the threads that compute with them.

use gaitprop_kernels::{Blocking, Isa, MatMut, MatRef, Packing, Par, Plan, Real};
use std::sync::Arc;

/// What is wrong, in words; a property test or a fuzz target makes a failure of it.
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

/// A matrix in a larger buffer.
#[derive(Clone, Debug)]
pub struct Fenced<T> {
    pub data: Vec<T>,
    pub offset: usize,
    pub shape: (usize, usize),
    pub strides: (isize, isize),
}

impl<T: Real> Fenced<T> {
    pub fn new(shape: (usize, usize), layout: Layout, mut value: impl FnMut() -> T) -> Self {
        let (m, n) = (shape.0 as isize, shape.1 as isize);
        let (rs, cs) = match layout {
            Layout::Rows => (n, 1),
            Layout::Columns => (1, m),
            Layout::PaddedRows => (n + 3, 1),
            Layout::PaddedColumns => (1, m + 2),
            Layout::NegativeRows => (-(n + 1), 1),
            Layout::NegativeColumns => (n, -1),
            Layout::Spread => (2 * n + 5, 2),
        };
        // A stride of 0 is possible for empty matrices only.
        let (rs, cs) = (if rs == 0 { 1 } else { rs }, if cs == 0 { 1 } else { cs });
        let reach = |n: isize, s: isize| (n - 1).max(0) * s;
        let low = reach(m, rs).min(0) + reach(n, cs).min(0);
        let high = reach(m, rs).max(0) + reach(n, cs).max(0);
        let fence = 5;
        let mut out = Self {
            data: vec![T::NAN; (high - low) as usize + 1 + 2 * fence],
            offset: fence + (-low) as usize,
            shape,
            strides: (rs, cs),
        };
        for i in 0..shape.0 {
            for j in 0..shape.1 {
                let v = value();
                out.view_mut().set(i, j, v);
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

    /// Whether everything outside the view is still the NaN it was.
    pub fn fences_stand(&self) -> bool {
        let mut outside = self.data.clone();
        if let Ok(mut v) = MatMut::strided(&mut outside, self.offset, self.shape, self.strides) {
            for i in 0..self.shape.0 {
                for j in 0..self.shape.1 {
                    v.set(i, j, T::NAN);
                }
            }
        }
        outside.iter().all(|x| x.bits() == T::NAN.bits())
    }
}

/// Memory that holds a matrix.
pub trait Matrix<T> {
    fn view(&self) -> MatRef<'_, T>;
    fn view_mut(&mut self) -> MatMut<'_, T>;
}

/// Makes one: shape, layout, and the values row by row, each once.
pub type Make<'a, T, M> = dyn FnMut((usize, usize), Layout, &mut dyn FnMut() -> T) -> M + 'a;

impl<T: Real> Matrix<T> for Fenced<T> {
    fn view(&self) -> MatRef<'_, T> {
        self.view()
    }

    fn view_mut(&mut self) -> MatMut<'_, T> {
        self.view_mut()
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

/// Where two matrices first differ in a bit.
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

/// Element by element, whatever the strides.
pub trait Copy<T> {
    fn copy(self, from: MatRef<'_, T>);
}

impl<T: Real> Copy<T> for MatMut<'_, T> {
    fn copy(mut self, from: MatRef<'_, T>) {
        for i in 0..from.nrows() {
            for j in 0..from.ncols() {
                self.set(i, j, from.get(i, j));
            }
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

    /// The pool; the team again where a pool's threads, which are not this crate's, would only be in the way.
    pub fn shared(&self) -> Par {
        self.pool.as_ref().unwrap_or(&self.team).clone()
    }

    /// Every instruction set of this CPU, alone and with each kind of threads, from `min_work` multiply-adds a thread on.
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
