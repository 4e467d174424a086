//! The decoupled block regularizer. After the optimizer's step, it pushes the next few rows away
//! from all others. The optimizer's moments never see it.
//!
//! ```text
//! S = the next |S| rows, cyclically          W_S: these rows, after the optimizer's step
//! R = W_S Wᵀ                                 |S| × n; then, element by element:
//!     R[i,i] = 0                             a row is not pushed away from itself: norms are free
//!     R[i,j] /= ‖w_j‖²                       the component of w_i along w_j
//!     R[i,j] /= 2   for j in S               i pushes j as well
//! W_S ← W_S − μ R W                          W: all rows, after the optimizer's step
//! ```
//!
//! Cost: 4 |S| n² flops for n × n weights, where the exact regularizer takes 3 n³. With nearly
//! orthogonal rows, a step turns the overlaps E of W_S with all rows into (1 − μ) E, up to second
//! order. So μ = 1 removes them, and every μ below 2 shrinks them.
//!
//! Why decoupled: inside Adam, the gradient of a block is 0 in most steps and large in a few. That
//! inflates the second moments and slows learning.

use crate::base::error::{Error, Result};
use crate::base::exec::Exec;
use crate::model::matrix::Matrix;
use crate::model::network::Network;
use crate::ortho::{Layers, Side};
use gaitprop_kernels::{Epilogue, MatMut, MatRef, Real, Start, gemm_with_scratch};

/// Settings of the block regularizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// |S|, at least 1. The last block of a cycle may be shorter.
    pub rows: usize,
    /// μ, at least 0 and below 2; 0 switches the regularizer off.
    pub mu: f64,
    /// Vectors to make orthogonal. A rectangular first layer always takes its shorter side.
    pub side: Side,
    /// Layers to make orthogonal.
    pub layers: Layers,
}

impl Block {
    /// Default of |S|.
    pub const ROWS: usize = 64;
    /// Default of μ (benches/record/ortho.md).
    pub const MU: f64 = 1.0;

    /// Creates blocks of [`Block::ROWS`] columns, in all layers.
    ///
    /// After ten epochs of MNIST, blocks of columns keep the accuracy of the exact regularizer.
    /// Blocks of rows lose half a per cent (`benches/record/ortho.md`).
    ///
    /// # Errors
    /// [`Error::Setting`], as [`Block::check`].
    pub fn new(mu: f64) -> Result<Self> {
        let block = Self { rows: Self::ROWS, mu, side: Side::Columns, layers: Layers::All };
        block.check()?;
        Ok(block)
    }

    /// Checks that every setting is in range.
    ///
    /// Beyond μ = 2, a push overshoots small angles by more than it corrects. Larger angles
    /// tolerate less: μ = 1.9 fails in training (benches/record/ortho.md).
    ///
    /// # Errors
    /// [`Error::Setting`] for a μ outside [0, 2), or for blocks of 0 rows.
    pub fn check(&self) -> Result<()> {
        if !(0.0..2.0).contains(&self.mu) {
            return Err(Error::Setting(format!("mu is {}, but must be at least 0 and below 2", self.mu)));
        }
        if self.rows == 0 {
            return Err(Error::Setting("a block must have at least 1 row".into()));
        }
        Ok(())
    }

    /// First row and number of rows of block `turn`, in a layer with `n` rows.
    fn turn(&self, n: usize, turn: u64) -> (usize, usize) {
        let blocks = n.div_ceil(self.rows).max(1);
        let first = (turn % blocks as u64) as usize * self.rows;
        (first, self.rows.min(n - first))
    }
}

/// State of the block regularizer of one network: buffers and the number of steps.
#[derive(Clone, Debug)]
pub struct Blocks<T> {
    settings: Block,
    turn: u64,
    r: Vec<T>,
    pushed: Vec<T>,
    squares: Vec<f64>,
    shares: Vec<T>,
}

impl<T: Real> Blocks<T> {
    /// Allocates all buffers for the layers of `net`, except packing memory.
    ///
    /// # Errors
    /// [`Error::Setting`], as [`Block::check`].
    pub fn new(settings: Block, net: &Network<T>) -> Result<Self> {
        settings.check()?;
        let layers = || net.layers().iter().skip(settings.layers.first());
        let largest = |of: &dyn Fn(usize, usize) -> usize| layers().map(|l| of(l.fan_in(), l.width())).max().unwrap_or(0);
        let rows = |a: usize, b: usize| settings.rows.min(a.min(b));
        Ok(Self {
            settings,
            turn: 0,
            r: vec![T::ZERO; largest(&|a, b| rows(a, b) * a.min(b))],
            pushed: vec![T::ZERO; largest(&|a, b| rows(a, b) * a.max(b))],
            squares: vec![0.0; largest(&|a, b| a.min(b))],
            shares: vec![T::ZERO; largest(&|a, b| a.min(b))],
        })
    }

    /// Number of steps taken. A step depends on it and on the weights alone.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// Sets the number of steps taken, to resume.
    pub fn set_turn(&mut self, turn: u64) {
        self.turn = turn;
    }

    /// Pushes the next block of every layer of the settings.
    ///
    /// ```text
    /// R[i,j] = Σ_k W[i,k] W[j,k]           one chain in increasing k
    /// R[i,j] = R[i,j] · c_j                c_j = −μ/‖w_j‖², half of it for j in S; R[i,i] = 0
    /// W[i,k] = W[i,k] + Σ_j R[i,j] W[j,k]  one chain in increasing j, started from W[i,k]; i in S
    /// ```
    ///
    /// c_j is computed in f64 and rounded once. ‖w_j‖² is summed in f64: along rows by
    /// [`Exec::dot`], along columns from the top. A row of norm 0 has no direction and pushes
    /// nothing.
    ///
    /// Work: 4 |S| n² flops per layer and one pass over W. Same bits on every instruction set and
    /// thread count. The first call allocates packing memory; nothing else is allocated.
    ///
    /// # Errors
    /// * A shape error for a network of other shapes; out of memory for packing. Nothing has then
    ///   changed.
    /// * [`Error::Diverged`] if a row is no longer finite. That layer, and those above, have then
    ///   not changed.
    pub fn step(&mut self, net: &mut Network<T>, exec: &mut Exec) -> Result<()> {
        if self.settings.mu == 0.0 {
            return Ok(());
        }
        let first = self.settings.layers.first();
        for layer in net.layers().iter().skip(first) {
            let (n, k) = (layer.fan_in().min(layer.width()), layer.fan_in().max(layer.width()));
            let rows = self.settings.rows.min(n);
            if rows * k > self.pushed.len() || rows * n > self.r.len() || n > self.squares.len() {
                let (expected, found) = ((rows, self.pushed.len() / rows.max(1)), (rows, k));
                return Err(gaitprop_kernels::Error::Shape { what: "a layer of the block regularizer", expected, found }.into());
            }
            let by = gemm_with_scratch::<T>(rows, k, n, &exec.plan).or(gemm_with_scratch::<T>(k, rows, n, &exec.plan));
            exec.scratch.reserve(gemm_with_scratch::<T>(rows, n, k, &exec.plan).or(by))?;
        }
        for (l, layer) in net.layers_mut().iter_mut().enumerate().skip(first) {
            if !self.push(&mut layer.w, exec)? {
                return Err(Error::Diverged { what: "a weight pushed by the block regularizer", layer: l, step: self.turn + 1 });
            }
        }
        self.turn += 1;
        Ok(())
    }

    /// Pushes the block of one layer. Returns false, and keeps the old weights, if the result is
    /// not finite.
    fn push(&mut self, w: &mut Matrix<T>, exec: &mut Exec) -> Result<bool> {
        let (v, transposed) = self.settings.side.orient(w.view());
        let (n, k) = v.shape();
        let (first, count) = self.settings.turn(n, self.turn);
        let block = v.rows(first, count);

        // R and the pushed rows are complete before a weight changes: every product reads old
        // weights.
        let mut r = MatMut::new(&mut self.r[..count * n], count, n)?;
        exec.gemm_with(T::ONE, (block, v.t()), Start::Zero, r.rb(), Epilogue::Store)?;
        let (squares, shares) = (&mut self.squares[..n], &mut self.shares[..n]);
        squared_norms(v, squares, exec)?;
        for (j, (share, &square)) in shares.iter_mut().zip(&*squares).enumerate() {
            let inside = (first..first + count).contains(&j);
            let c = T::from_f64(-self.settings.mu / square * if inside { 0.5 } else { 1.0 });
            *share = if c.is_finite() { c } else { T::ZERO };
        }
        for i in 0..count {
            let row = r.row_mut(i).expect("row-major");
            row.iter_mut().zip(&*shares).for_each(|(r, &share)| *r *= share);
            row[first + i] = T::ZERO;
        }

        let pushed = &mut self.pushed[..count * k];
        let r = r.as_ref();
        if transposed {
            // The same chains, with the factors of each multiply-add exchanged: output rows are
            // rows of W.
            let (c, from) = (MatMut::new(pushed, k, count)?, Start::From(T::ONE, block.t()));
            exec.gemm_with(T::ONE, (v.t(), r.t()), from, c, Epilogue::Store)?;
        } else {
            let (c, from) = (MatMut::new(pushed, count, k)?, Start::From(T::ONE, block));
            exec.gemm_with(T::ONE, (r, v), from, c, Epilogue::Store)?;
        }
        if !exec.dot(pushed, pushed)?.is_finite() {
            return Ok(false);
        }
        if transposed {
            for (row, new) in w.data_mut().chunks_exact_mut(n).zip(pushed.chunks_exact(count)) {
                row[first..first + count].copy_from_slice(new);
            }
        } else {
            w.data_mut()[first * k..(first + count) * k].copy_from_slice(pushed);
        }
        Ok(true)
    }
}

/// Computes ‖w_j‖² of the rows of `v`, which may be a transposed view, in one pass over memory.
fn squared_norms<T: Real>(v: MatRef<'_, T>, squares: &mut [f64], exec: &Exec) -> Result<()> {
    if v.cs() == 1 {
        for (j, square) in squares.iter_mut().enumerate() {
            let row = v.row(j).expect("contiguous");
            *square = exec.dot(row, row)?;
        }
        return Ok(());
    }
    squares.fill(0.0);
    let across = v.t();
    for k in 0..across.nrows() {
        let row = across.row(k).expect("columns of a transposed view are contiguous");
        squares.iter_mut().zip(row).for_each(|(sum, w)| *sum += w.to_f64() * w.to_f64());
    }
    Ok(())
}
