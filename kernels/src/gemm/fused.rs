//! Products with something done to their operands while they are packed and to their results while they are in registers, or in cache.

use super::Plan;
use super::macro_kernel::{self, Begin, Job, Region};
use super::update::{Settle, Update, Updating};
use crate::epilogue::{Activate, Beside, Epilogue, ScaleAdd, SlopeMask, Store, bent, by_element, neighbours};
use crate::pack::{Left, MADE_COLS, Make, Panels, Right};
use crate::perturb::{Perturbation, kept_slope, perturb_row, weigh_row};
use crate::simd::HasTile;
use crate::tuning::part;
use crate::{Error, Isa, MatMut, MatRef, Real, Req, Scratch, Unit};
use core::sync::atomic::{AtomicUsize, Ordering};

/// The left operand of [`gemm_with`].
#[non_exhaustive]
pub enum Lhs<'a, T> {
    /// A matrix.
    View(MatRef<'a, T>),
    /// `D ∘ e`, made while it is packed.
    Weighed(Weighed<'a, T>),
    /// The perturbation r of [`crate::perturb`], made while it is packed.
    Perturbed(Perturbed<'a, T>),
}

/// The right operand of [`gemm_with`].
#[non_exhaustive]
pub enum Rhs<'a, T> {
    /// A matrix.
    View(MatRef<'a, T>),
    /// One orientation of a [`PackedRhs`](crate::PackedRhs).
    Packed(Panels<'a, T>),
    /// `D ∘ e`, made while it is packed: the right operand of a weight gradient.
    Weighed(Weighed<'a, T>),
}

impl<'a, T> From<MatRef<'a, T>> for Lhs<'a, T> {
    fn from(view: MatRef<'a, T>) -> Self {
        Self::View(view)
    }
}
impl<'a, T> From<MatRef<'a, T>> for Rhs<'a, T> {
    fn from(view: MatRef<'a, T>) -> Self {
        Self::View(view)
    }
}
impl<'a, T> From<Panels<'a, T>> for Rhs<'a, T> {
    fn from(panels: Panels<'a, T>) -> Self {
        Self::Packed(panels)
    }
}

/// `D ∘ e`, as [`crate::perturb::weigh`] has it: all batch×n, columns neighbours.
#[derive(Clone, Copy)]
pub struct Weighed<'a, T> {
    /// The activation function.
    pub unit: Unit,
    /// The activity.
    pub y: MatRef<'a, T>,
    /// f′(h), where [`Unit::keeps_slope`].
    pub slope: Option<MatRef<'a, T>>,
    /// The error.
    pub e: MatRef<'a, T>,
}

/// r, as [`crate::perturb::perturb`] has it: all batch×n, columns neighbours.
pub struct Perturbed<'a, T> {
    /// Everything but the data.
    pub by: Perturbation,
    /// The activity.
    pub y: MatRef<'a, T>,
    /// f′(h), where [`Unit::keeps_slope`].
    pub slope: Option<MatRef<'a, T>>,
    /// The scaled error.
    pub e: MatRef<'a, T>,
    /// Where `x = D ∘ e` goes, if it is wanted as well.
    pub weighed: Option<MatMut<'a, T>>,
}

/// Where each chain of [`gemm_with`] starts.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Start<'a, T> {
    /// From 0.
    Zero,
    /// From β times what is in C.
    C(T),
    /// From β times another matrix of C's shape, columns neighbours: an optimiser's update of C with a gradient that has two parts.
    From(T, MatRef<'a, T>),
}

/// What happens to each finished element `acc` of [`gemm_with`]. Matrices have C's shape, columns neighbours.
#[non_exhaustive]
pub enum Finish<'a, T> {
    /// `C = acc`.
    Store,
    /// `C = f(acc + bias)`, and f′ into `slope` if wanted: as [`crate::epilogue::bias_activate`].
    Activate {
        /// f.
        unit: Unit,
        /// One element a column.
        bias: &'a [T],
        /// Where f′ goes.
        slope: Option<MatMut<'a, T>>,
    },
    /// `C = fma(scale, acc, weight · Z)`.
    ScaleAdd {
        /// Factor of the product.
        scale: T,
        /// Factor of Z.
        weight: T,
        /// Z.
        add: MatRef<'a, T>,
    },
    /// `C = f′(h) ∘ acc`.
    SlopeMask {
        /// f.
        unit: Unit,
        /// The activity, from which f′ is had.
        y: MatRef<'a, T>,
        /// f′ itself, where [`Unit::keeps_slope`].
        slope: Option<MatRef<'a, T>>,
    },
    /// C = θ is moved along Δ = acc, which is stored nowhere.
    Update(Update<'a, T>),
}

/// `C ← finish(start + α·A·B)`: a product whose operands may be made while they are packed, and whose elements are finished in registers.
///
/// ```text
/// acc = start                                       Zero, β·C[i,j], or β·S[i,j]
/// for k in 0..K { acc = fma(α * A[i,k], B[k,j], acc) }
/// C[i,j] = finish(acc)                              one formula of `Finish`
/// ```
///
/// Every bit is that of the unfused steps one after another: the operand by its own function, [`gemm()`](crate::gemm()), the finish by its
/// slice function. Always this crate's kernels, whatever the plan's backend.
///
/// Shapes: A m×k, B k×n, everything beside C m×n; the columns of C and of everything beside it are neighbours.
/// Optimisers do not write the product anywhere: k is then not blocked.
///
/// Returns whether every parameter and second moment that an optimiser wrote is finite (true for the others).
///
/// # Errors
/// [`Error::Shape`], [`Error::Layout`], [`Error::Packed`], [`Error::Parameter`], [`Error::OutOfMemory`]: nothing has then been written.
/// [`Error::Domain`] with the first unit whose target has no inverse: C and what is beside it are then unspecified.
///
/// # Panics
/// Never on caller data.
///
/// ```
/// use gaitprop_kernels::{gemm_with, Finish, MatMut, MatRef, Plan, Scratch, Start, Unit};
/// let (x, w, b) = ([1.0f32, -2.0], [3.0f32, 4.0, 5.0, 6.0], [0.5f32, -1.0]);
/// let mut y = [0.0f32; 2];
/// let finish = Finish::Activate { unit: Unit::LeakyRelu { slope: 0.1 }, bias: &b, slope: None };
/// let (x, w) = (MatRef::new(&x, 1, 2)?, MatRef::new(&w, 2, 2)?);
/// gemm_with(1.0, x, w, Start::Zero, MatMut::new(&mut y, 1, 2)?, finish, &Plan::new(), &mut Scratch::new())?;
/// assert_eq!(y, [0.1 * -6.5, 0.1 * -9.0]);
/// # Ok::<(), gaitprop_kernels::Error>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn gemm_with<'a, T: Real>(
    alpha: T,
    a: impl Into<Lhs<'a, T>>,
    b: impl Into<Rhs<'a, T>>,
    start: Start<'a, T>,
    mut c: MatMut<'a, T>,
    finish: Finish<'a, T>,
    plan: &Plan<'_>,
    scratch: &mut Scratch,
) -> Result<bool, Error> {
    let (a, b) = (MadeLeft::new(a.into())?, MadeRight::new(b.into())?);
    let (left, right) = (a.left(), b.right());
    let ((m, k), (rows, n)) = (left.shape(), right.shape());
    if rows != k {
        return Err(Error::Shape { what: "B of a product", expected: (k, n), found: (rows, n) });
    }
    if let Right::Panels(panels) = &right {
        panels.check(plan)?;
    }
    c.expect_shape("C of a product", (m, n))?;
    let shape = (m, n);
    neighbours("C of a fused product", n, c.cs())?;
    let begin = match start {
        Start::Zero => Begin::AtC(T::ZERO),
        Start::C(beta) => Begin::AtC(beta),
        Start::From(beta, s) => {
            s.expect_shape("the start of a product", shape)?;
            neighbours("the start of a product", n, s.cs())?;
            Begin::At(beta, s)
        }
    };
    let with = Call { alpha, left, right, begin, plan };
    match finish {
        Finish::Store => with.run(&Store, c, scratch)?,
        Finish::Activate { unit, bias, slope } if bent::<T>(unit).is_some() => {
            with.run(&Activate::new(unit, bias, slope, shape)?, c, scratch)?;
        }
        Finish::Activate { unit, bias, slope } => {
            // Hundreds of operations an element: it gains nothing from the registers.
            let sum = Activate::new(unit, bias, None, shape)?;
            if let Some(slope) = &slope {
                slope.expect_shape("the slopes", shape)?;
                neighbours("the slopes", n, slope.cs())?;
            }
            with.run(&sum, c.rb(), scratch)?;
            if c.is_empty() {
                return Ok(true);
            }
            let parts = plan.par.threads().min(m.saturating_mul(n) / 1024).max(1);
            plan.par.split(parts, |i| {
                let (first, rows) = part(m, parts, i);
                // SAFETY: the rows of different parts have no element in common, and each part runs once.
                let (c, slope) = unsafe { (c.alias(), slope.as_ref().map(|s| s.alias())) };
                by_element(unit, c.rows(first, rows), slope.map(|s| s.rows(first, rows)));
            });
        }
        Finish::ScaleAdd { scale, weight, add } => with.run(&ScaleAdd::new(scale, weight, add, shape)?, c, scratch)?,
        Finish::SlopeMask { unit, y, slope } => with.run(&SlopeMask::new(unit, y, slope, shape)?, c, scratch)?,
        Finish::Update(update) => {
            // SAFETY: tiles read the alias, where chains start from θ, before the block that they belong to is settled; nobody else reaches it.
            let theta = unsafe { c.alias() };
            let begin = match with.begin {
                Begin::AtC(beta) if beta != T::ZERO => Begin::At(beta, theta.as_ref()),
                other => other,
            };
            // SAFETY: as above.
            let updating = Updating::new(update, unsafe { c.alias() })?;
            Call { begin, ..with }.settle(&updating, c, scratch)?;
            return Ok(updating.finite());
        }
    }
    Ok(true)
}

/// Scratch that [`gemm_with`] needs for a product of these sizes, whatever its operands and its finish.
pub fn gemm_with_scratch<T: Real>(m: usize, n: usize, k: usize, plan: &Plan<'_>) -> Req {
    macro_kernel::scratch_for::<T>(m, n, k, plan, usize::MAX).and(macro_kernel::settled_scratch::<T>(n, plan))
}

/// All of a call but C and its finish.
struct Call<'a, 'p, T> {
    alpha: T,
    left: Left<'a, T>,
    right: Right<'a, T>,
    begin: Begin<'a, T>,
    plan: &'a Plan<'p>,
}

impl<T: Real> Call<'_, '_, T> {
    fn run<E: Epilogue<T>>(&self, finish: &E, c: MatMut<'_, T>, scratch: &mut Scratch) -> Result<(), Error>
    where
        T: HasTile<E>,
    {
        let Self { alpha, left, right, begin, plan } = *self;
        if c.is_empty() {
            // What is made beside the product is wanted all the same.
            return left.make_all(plan.isa);
        }
        macro_kernel::run(&Job { alpha, a: left, b: right, begin, finish, region: Region::Whole, settle: None }, c, plan, scratch)
    }

    /// The product goes to `settle`, not to C, whose shape it has.
    fn settle(&self, settle: &dyn Settle<T>, c: MatMut<'_, T>, scratch: &mut Scratch) -> Result<(), Error> {
        let Self { alpha, left, right, begin, plan } = *self;
        if c.is_empty() {
            return left.make_all(plan.isa);
        }
        let (finish, region) = (&Store, Region::Whole);
        macro_kernel::run(&Job { alpha, a: left, b: right, begin, finish, region, settle: Some(settle) }, c, plan, scratch)
    }
}

enum MadeLeft<'a, T> {
    View(MatRef<'a, T>),
    Weighed(Weighed<'a, T>),
    Perturbed(MakePerturbed<'a, T>),
}

impl<'a, T: Real> MadeLeft<'a, T> {
    fn new(operand: Lhs<'a, T>) -> Result<Self, Error> {
        Ok(match operand {
            Lhs::View(view) => Self::View(view),
            Lhs::Weighed(w) => Self::Weighed(w.checked()?),
            Lhs::Perturbed(p) => Self::Perturbed(MakePerturbed::new(p)?),
        })
    }

    fn left(&self) -> Left<'_, T> {
        match self {
            Self::View(view) => Left::View(*view),
            Self::Weighed(make) => Left::Made(make),
            Self::Perturbed(make) => Left::Made(make),
        }
    }
}

enum MadeRight<'a, T> {
    View(MatRef<'a, T>),
    Packed(Panels<'a, T>),
    Weighed(Weighed<'a, T>),
}

impl<'a, T: Real> MadeRight<'a, T> {
    fn new(operand: Rhs<'a, T>) -> Result<Self, Error> {
        Ok(match operand {
            Rhs::View(view) => Self::View(view),
            Rhs::Packed(panels) => Self::Packed(panels),
            Rhs::Weighed(w) => Self::Weighed(w.checked()?),
        })
    }

    fn right(&self) -> Right<'_, T> {
        match self {
            Self::View(view) => Right::View(*view),
            Self::Packed(panels) => Right::Panels(*panels),
            Self::Weighed(make) => Right::Made(make),
        }
    }
}

/// Elements (i, j ..) of a view whose columns are neighbours.
fn piece<'a, T: Real>(view: &'a MatRef<'_, T>, i: usize, j: usize, len: usize) -> &'a [T] {
    &view.row(i).expect("neighbours, checked when the operand was made")[j..j + len]
}

impl<T: Real> Weighed<'_, T> {
    /// Itself, once it is known that its parts fit; the slopes are then always there (y stands in where they are not kept).
    fn checked(self) -> Result<Self, Error> {
        self.unit.check::<T>()?;
        self.e.expect_shape("the error", self.y.shape())?;
        let slope = kept_slope(self.unit, self.slope, self.y)?;
        for (what, m) in [("the activity", self.y), ("the kept slopes", slope), ("the error", self.e)] {
            neighbours(what, m.ncols(), m.cs())?;
        }
        Ok(Self { slope: Some(slope), ..self })
    }
}

impl<T: Real> Make<T> for Weighed<'_, T> {
    fn shape(&self) -> (usize, usize) {
        self.y.shape()
    }

    fn fill(&self, i: usize, j: usize, out: &mut [T], isa: Isa) {
        let n = out.len();
        let slope = self.slope.as_ref().expect("set by `checked`");
        weigh_row(isa, self.unit, piece(&self.y, i, j, n), piece(slope, i, j, n), piece(&self.e, i, j, n), out);
    }
}

/// A perturbation while it is packed.
struct MakePerturbed<'a, T> {
    by: Perturbation,
    from: Weighed<'a, T>,
    weighed: Option<Beside<'a, T>>,
    /// Row-major index of the first unit outside the range of f.
    outside: AtomicUsize,
}

impl<'a, T: Real> MakePerturbed<'a, T> {
    fn new(p: Perturbed<'a, T>) -> Result<Self, Error> {
        p.by.check::<T>()?;
        let from = Weighed { unit: p.by.unit, y: p.y, slope: p.slope, e: p.e }.checked()?;
        let weighed = p.weighed.map(|w| Beside::write("the weighed error", w, from.y.shape())).transpose()?;
        Ok(Self { by: p.by, from, weighed, outside: AtomicUsize::new(usize::MAX) })
    }
}

impl<T: Real> Make<T> for MakePerturbed<'_, T> {
    fn shape(&self) -> (usize, usize) {
        self.from.y.shape()
    }

    fn fill(&self, i: usize, j: usize, out: &mut [T], isa: Isa) {
        let n = out.len();
        let mut unwanted = [T::ZERO; MADE_COLS];
        let x = match &self.weighed {
            // SAFETY: elements (i, j) to (i, j + n − 1) are in the operand, whose shape is that of y (checked in `new`); each row of A is
            // packed by one thread.
            Some(w) => unsafe { w.row(i, j, n) },
            None => &mut unwanted[..n],
        };
        let (y, e) = (piece(&self.from.y, i, j, n), piece(&self.from.e, i, j, n));
        let d = piece(self.from.slope.as_ref().expect("set by `checked`"), i, j, n);
        if let Some(first) = perturb_row(isa, self.by, y, d, e, out, x) {
            self.outside.fetch_min(i * self.shape().1 + j + first, Ordering::Relaxed);
        }
    }

    fn outcome(&self) -> Result<(), Error> {
        match self.outside.load(Ordering::Relaxed) {
            usize::MAX => Ok(()),
            at => Err(Error::Domain { row: at / self.shape().1, col: at % self.shape().1 }),
        }
    }
}
