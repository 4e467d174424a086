//! Operands and options as C passes them.

use crate::status::Failure;
use crate::view::{Batch, Mat};
use core::ffi::c_int;
use gaitprop_kernels::epilogue::AdamStep;
use gaitprop_kernels::perturb::{Perturbation, Scale, Weighting};
use gaitprop_kernels::syrk::Part;
use gaitprop_kernels::trsm::{Diag, Side, Triangle};
use gaitprop_kernels::{Activation, Error, Orientation};

/// A matrix of floats that is read. Element (i, j) is data[i*rs + j*cs].
///
/// A row-major matrix has rs = cols and cs = 1. Exchanging rows with cols and rs with cs gives the
/// transpose. Strides may be negative or 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_smat {
    /// Element (0, 0). Not read if the matrix is empty.
    pub data: *const f32,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements from (i, j) to (i+1, j).
    pub rs: isize,
    /// Elements from (i, j) to (i, j+1).
    pub cs: isize,
}

/// A matrix of doubles that is read: as gaitprop_smat.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_dmat {
    /// Element (0, 0). Not read if the matrix is empty.
    pub data: *const f64,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements from (i, j) to (i+1, j).
    pub rs: isize,
    /// Elements from (i, j) to (i, j+1).
    pub cs: isize,
}

/// A matrix of floats that is written: as gaitprop_smat.
///
/// Distinct (i, j) must be distinct elements: the larger stride exceeds the span of the smaller.
/// The matrix shares no element with another operand of the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_smat_mut {
    /// Element (0, 0). Not used if the matrix is empty.
    pub data: *mut f32,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements from (i, j) to (i+1, j).
    pub rs: isize,
    /// Elements from (i, j) to (i, j+1).
    pub cs: isize,
}

/// A matrix of doubles that is written: as gaitprop_smat_mut.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_dmat_mut {
    /// Element (0, 0). Not used if the matrix is empty.
    pub data: *mut f64,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements from (i, j) to (i+1, j).
    pub rs: isize,
    /// Elements from (i, j) to (i, j+1).
    pub cs: isize,
}

/// A batch of matrices that are read. With stride 0 all products share one matrix.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_sbatch {
    /// Matrix 0.
    pub first: gaitprop_smat,
    /// Number of matrices.
    pub count: usize,
    /// Elements from one matrix to the next.
    pub stride: isize,
}

/// A batch of matrices that are read: as gaitprop_sbatch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_dbatch {
    /// Matrix 0.
    pub first: gaitprop_dmat,
    /// Number of matrices.
    pub count: usize,
    /// Elements from one matrix to the next.
    pub stride: isize,
}

/// A batch of matrices that are written. No two share an element.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_sbatch_mut {
    /// Matrix 0.
    pub first: gaitprop_smat_mut,
    /// Number of matrices.
    pub count: usize,
    /// Elements from one matrix to the next.
    pub stride: isize,
}

/// A batch of matrices that are written: as gaitprop_sbatch_mut.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_dbatch_mut {
    /// Matrix 0.
    pub first: gaitprop_dmat_mut,
    /// Number of matrices.
    pub count: usize,
    /// Elements from one matrix to the next.
    pub stride: isize,
}

macro_rules! views {
    ($($mat:ident, $batch:ident, $t:ty;)*) => {
        $(impl From<$mat> for Mat<$t> {
            fn from(m: $mat) -> Self {
                Self { data: m.data as *mut $t, rows: m.rows, cols: m.cols, rs: m.rs, cs: m.cs }
            }
        }
        impl From<$batch> for Batch<$t> {
            fn from(b: $batch) -> Self {
                Self { first: b.first.into(), count: b.count, stride: b.stride }
            }
        })*
    };
}
views! {
    gaitprop_smat, gaitprop_sbatch, f32;
    gaitprop_dmat, gaitprop_dbatch, f64;
    gaitprop_smat_mut, gaitprop_sbatch_mut, f32;
    gaitprop_dmat_mut, gaitprop_dbatch_mut, f64;
}

/// Side of a symmetric or triangular matrix in a product.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gaitprop_side {
    /// A*B, or A*X = B.
    GAITPROP_LEFT = 0,
    /// B*A, or X*A = B.
    GAITPROP_RIGHT = 1,
}

/// Triangle of a square matrix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gaitprop_triangle {
    /// On and below the diagonal.
    GAITPROP_LOWER = 0,
    /// On and above the diagonal.
    GAITPROP_UPPER = 1,
    /// The whole matrix, the upper triangle mirroring the lower one. For gaitprop_ssyrk() alone.
    GAITPROP_BOTH = 2,
}

/// Diagonal of a triangular matrix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gaitprop_diag {
    /// Stored and read.
    GAITPROP_STORED = 0,
    /// All ones, and not read.
    GAITPROP_UNIT = 1,
}

/// Kind of an activation function.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gaitprop_activation_kind {
    /// f(h) = h.
    GAITPROP_IDENTITY = 0,
    /// f(h) = h for h >= 0, slope*h below.
    GAITPROP_LEAKY_RELU = 1,
    /// f(h) = tanh(h).
    GAITPROP_TANH = 2,
}

/// An activation function f.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_activation {
    /// A gaitprop_activation_kind.
    pub kind: c_int,
    /// Slope of the leaky ReLU below 0: positive and finite. Other kinds do not read it.
    pub slope: f64,
}

/// Direction phi of a perturbation, from the error e and the slope D.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gaitprop_weighting {
    /// phi = D*D*e: GAIT-prop.
    GAITPROP_SLOPE_SQUARED = 0,
    /// phi = e: target propagation and its incremental form.
    GAITPROP_PLAIN = 1,
}

/// Parameters of a perturbation.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_perturbation {
    /// The layer's activation function.
    pub activation: gaitprop_activation,
    /// A gaitprop_weighting.
    pub weighting: c_int,
    /// Nonzero: the linear limit, in which scale goes to 0 and is not read.
    pub limit: c_int,
    /// Size s of the perturbation: at least 0 and finite.
    pub scale: f64,
}

/// Products of which a packed matrix W is the right operand.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gaitprop_orientation {
    /// x*W.
    GAITPROP_PACK_PLAIN = 0,
    /// e*W^T.
    GAITPROP_PACK_TRANSPOSED = 1,
    /// Both, packed side by side.
    GAITPROP_PACK_BOTH = 2,
}

/// Constants of an Adam step.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_sadam_step {
    /// Learning rate, including any bias correction of m.
    pub rate: f32,
    /// beta1, of the first moment.
    pub beta1: f32,
    /// 1 - beta1.
    pub one_minus_beta1: f32,
    /// beta2, of the second moment.
    pub beta2: f32,
    /// 1 - beta2.
    pub one_minus_beta2: f32,
    /// Added to the root of v.
    pub epsilon: f32,
    /// Factor of the root of v: 1, or 1/sqrt(1 - beta2^t).
    pub correction: f32,
}

/// Constants of an Adam step: as gaitprop_sadam_step.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gaitprop_dadam_step {
    /// Learning rate, including any bias correction of m.
    pub rate: f64,
    /// beta1, of the first moment.
    pub beta1: f64,
    /// 1 - beta1.
    pub one_minus_beta1: f64,
    /// beta2, of the second moment.
    pub beta2: f64,
    /// 1 - beta2.
    pub one_minus_beta2: f64,
    /// Added to the root of v.
    pub epsilon: f64,
    /// Factor of the root of v: 1, or 1/sqrt(1 - beta2^t).
    pub correction: f64,
}

macro_rules! adam_steps {
    ($($step:ident, $t:ty;)*) => {
        $(impl From<$step> for AdamStep<$t> {
            fn from(s: $step) -> Self {
                Self {
                    rate: s.rate,
                    beta1: (s.beta1, s.one_minus_beta1),
                    beta2: (s.beta2, s.one_minus_beta2),
                    epsilon: s.epsilon,
                    correction: s.correction,
                }
            }
        })*
    };
}
adam_steps! {
    gaitprop_sadam_step, f32;
    gaitprop_dadam_step, f64;
}

/// Returns the error for a number that names no choice.
fn unknown(what: &'static str, value: c_int, accepted: &'static str) -> Failure {
    Failure::Kernel(Error::Parameter { what, value: value.into(), accepted })
}

pub(crate) fn side(value: c_int) -> Result<Side, Failure> {
    match value {
        0 => Ok(Side::Left),
        1 => Ok(Side::Right),
        _ => Err(unknown("side", value, "GAITPROP_LEFT or GAITPROP_RIGHT")),
    }
}

pub(crate) fn triangle(value: c_int) -> Result<Triangle, Failure> {
    match value {
        0 => Ok(Triangle::Lower),
        1 => Ok(Triangle::Upper),
        _ => Err(unknown("triangle", value, "GAITPROP_LOWER or GAITPROP_UPPER")),
    }
}

pub(crate) fn part(value: c_int) -> Result<Part, Failure> {
    match value {
        0 => Ok(Part::Lower),
        1 => Ok(Part::Upper),
        2 => Ok(Part::Both),
        _ => Err(unknown("triangle", value, "GAITPROP_LOWER, GAITPROP_UPPER or GAITPROP_BOTH")),
    }
}

pub(crate) fn diag(value: c_int) -> Result<Diag, Failure> {
    match value {
        0 => Ok(Diag::Stored),
        1 => Ok(Diag::Unit),
        _ => Err(unknown("diag", value, "GAITPROP_STORED or GAITPROP_UNIT")),
    }
}

pub(crate) fn orientation(value: c_int) -> Result<Orientation, Failure> {
    match value {
        0 => Ok(Orientation::Plain),
        1 => Ok(Orientation::Transposed),
        2 => Ok(Orientation::Both),
        _ => Err(unknown("orientation", value, "GAITPROP_PACK_PLAIN, _TRANSPOSED or _BOTH")),
    }
}

impl gaitprop_activation {
    pub(crate) fn function(self) -> Result<Activation, Failure> {
        match self.kind {
            0 => Ok(Activation::Identity),
            1 => Ok(Activation::LeakyRelu { slope: self.slope }),
            2 => Ok(Activation::Tanh),
            kind => Err(unknown("the kind of activation", kind, "GAITPROP_IDENTITY, _LEAKY_RELU or _TANH")),
        }
    }
}

impl gaitprop_perturbation {
    pub(crate) fn parameters(self) -> Result<Perturbation, Failure> {
        let weighting = match self.weighting {
            0 => Weighting::SlopeSquared,
            1 => Weighting::Plain,
            other => return Err(unknown("weighting", other, "GAITPROP_SLOPE_SQUARED or GAITPROP_PLAIN")),
        };
        let scale = if self.limit != 0 { Scale::Limit } else { Scale::Finite(self.scale) };
        Ok(Perturbation { activation: self.activation.function()?, weighting, scale })
    }
}
