//! Stacks of matrices: broadcasting, and loops over it.

use crate::array::{Dim, MOST_DIMS, tuple};
use crate::error::error;
use pyo3::prelude::*;

/// One dimension of a stack: its size, and the strides of N operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loop<const N: usize> {
    pub(crate) count: usize,
    pub(crate) strides: [isize; N],
}

/// The dimensions of a stack, outermost first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loops<const N: usize> {
    len: usize,
    all: [Loop<N>; MOST_DIMS],
}

impl<const N: usize> Loops<N> {
    /// Returns the loops of an output whose batch dimensions are `out`, over inputs that were
    /// broadcast to it. The output comes last.
    pub(crate) fn new(inputs: [&[Dim]; N], out: &[Dim]) -> Self {
        let mut loops = Self { len: 0, all: [Loop { count: 1, strides: [0; N] }; MOST_DIMS] };
        for (i, dim) in out.iter().enumerate() {
            let from_end = out.len() - i;
            let stride = |dims: &[Dim]| {
                let own = dims.len().checked_sub(from_end).map(|at| dims[at]);
                own.filter(|own| own.size > 1).map_or(0, |own| own.stride)
            };
            loops.push(Loop { count: dim.size, strides: inputs.map(stride) });
        }
        loops
    }

    /// Appends an inner loop, as a part of the last one if both together are one loop.
    fn push(&mut self, inner: Loop<N>) {
        if inner.count == 1 {
            return;
        }
        if let Some(outer) = self.all[..self.len].last_mut() {
            let fits = |(outer, inner_stride): (&isize, &isize)| {
                isize::try_from(inner.count).ok().and_then(|count| inner_stride.checked_mul(count)) == Some(*outer)
            };
            if outer.strides.iter().zip(&inner.strides).all(fits) {
                *outer = Loop { count: outer.count * inner.count, strides: inner.strides };
                return;
            }
        }
        self.all[self.len] = inner;
        self.len += 1;
    }

    pub(crate) fn as_slice(&self) -> &[Loop<N>] {
        &self.all[..self.len]
    }

    /// Removes the innermost loop.
    pub(crate) fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    /// Returns the number of matrices of the output. It fits: the output exists.
    pub(crate) fn count(&self) -> usize {
        self.as_slice().iter().map(|l| l.count).product()
    }

    /// Calls `f` with the offsets of each matrix, in elements.
    ///
    /// # Errors
    /// The first one that `f` returns.
    pub(crate) fn for_each<E>(&self, mut f: impl FnMut([isize; N]) -> Result<(), E>) -> Result<(), E> {
        let loops = self.as_slice();
        if loops.iter().any(|l| l.count == 0) {
            return Ok(());
        }
        let (mut index, mut offsets) = ([0usize; MOST_DIMS], [0isize; N]);
        loop {
            f(offsets)?;
            // Increments the innermost index; an index at its end goes back to 0 and passes on.
            let mut at = loops.len();
            loop {
                let Some(next) = at.checked_sub(1) else { return Ok(()) };
                at = next;
                let Loop { count, strides } = loops[at];
                index[at] += 1;
                let steps = if index[at] < count { 1 } else { 1 - count as isize };
                for (offset, stride) in offsets.iter_mut().zip(strides) {
                    *offset += stride * steps;
                }
                if index[at] < count {
                    break;
                }
                index[at] = 0;
            }
        }
    }
}

/// The shape of a result: batch dimensions, then those of a matrix or vector.
pub(crate) struct Shape {
    len: usize,
    sizes: [usize; MOST_DIMS],
}

impl Shape {
    /// Broadcasts the batch dimensions of two operands.
    ///
    /// # Errors
    /// `gaitprop.Error` if two sizes differ and neither is 1.
    pub(crate) fn broadcast(py: Python<'_>, a: &[Dim], b: &[Dim]) -> PyResult<Self> {
        let len = a.len().max(b.len());
        let mut shape = Self { len, sizes: [1; MOST_DIMS] };
        for (i, size) in shape.sizes[..len].iter_mut().enumerate() {
            let of = |dims: &[Dim]| dims.len().checked_sub(len - i).map_or(1, |at| dims[at].size);
            *size = match (of(a), of(b)) {
                (1, n) | (n, 1) => n,
                (n, other) if n == other => n,
                _ => {
                    let sizes = |dims: &[Dim]| tuple(&dims.iter().map(|dim| dim.size).collect::<Vec<_>>());
                    return Err(error(py, format!("stacks of {} and {} matrices do not broadcast", sizes(a), sizes(b))));
                }
            };
        }
        Ok(shape)
    }

    /// Appends a dimension.
    ///
    /// # Errors
    /// `gaitprop.Error` if the result would have too many.
    pub(crate) fn push(&mut self, py: Python<'_>, size: usize) -> PyResult<()> {
        let Some(place) = self.sizes.get_mut(self.len) else {
            return Err(error(py, format!("the result has more than {MOST_DIMS} dimensions")));
        };
        *place = size;
        self.len += 1;
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[usize] {
        &self.sizes[..self.len]
    }
}
