//! Conjugate gradients in Craig's form: products with W and Wᵀ, and nothing kept of W.
//!
//! For `e W = r`, with rows and columns equilibrated: `g` and `h` are the inverse squares of the norms of W's rows and columns.
//!
//! ```text
//! ρ = r;  p = ρ∘h;  repeat:  t = p Wᵀ;  u = t∘g;  α = (ρ,ρ∘h)/(t,u);  e += α u;  ρ −= α u W;  p = ρ∘h + β p,  β the ratio of the (ρ,ρ∘h)
//! ```
//!
//! Each sample has scalars of its own, in f64. The corrections α u of one sample are orthogonal to each other (in the scaled space), so that the error left
//! is at least the next one, and little more while they shrink. The last iteration needs no ρ: k iterations cost 2k − 1 products.
//!
//! Source: Craig, The N-Step Iteration Procedures, 1955; Saad, Iterative Methods for Sparse Linear Systems, 8.3.2 (CGNE).

use crate::base::error::Result;
use crate::base::exec::Exec;
use crate::solve::lu::Lu;
use crate::solve::sketch::{HEARD, NOISE, Sketch, add_noise};
use crate::solve::{Seen, Solve, Solver, SolverKind, Tuning, WEIGHTS, Weights, gather, live_columns, promise, room, scatter};
use crate::store::checkpoint::State;
use gaitprop_kernels::{MatMut, MatRef, Real, Start};

/// Conjugate gradients on equilibrated weights: k iterations for 2k − 1 products, k = 2 near orthogonality.
///
/// Two rows of noise are solved for beside the batch: a direction that W all but annihilates, and that the batch happens to miss, would be in
/// them. As long as they converge, small residuals mean small errors.
///
/// Memory: six batches. n² only where it gives up, and LU judges.
#[derive(Debug)]
pub struct ConjugateGradient<T> {
    seen: Seen,
    tuning: Tuning,
    /// Iterations, at most.
    most: usize,
    layers: Vec<Scales<T>>,
    judge: Lu<T>,
    sketch: Sketch<T>,
    draws: u64,
    right: Vec<T>,
    solution: Vec<T>,
    rest: Vec<T>,
    p: Vec<T>,
    t: Vec<T>,
    u: Vec<T>,
    scaled: Vec<T>,
    norms: Vec<f64>,
    rows: Vec<Row>,
}

/// Inverse squares of the norms of a layer's rows and columns, and how the last solve went.
#[derive(Debug, Default)]
struct Scales<T> {
    n: usize,
    g: Vec<T>,
    h: Vec<T>,
    /// Changes of the weights since they were taken.
    age: u32,
    usable: bool,
    /// Second correction over the first.
    ratio: f64,
}

/// The scalars of one row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// (ρ,ρ∘h), now and at the start.
    rho: f64,
    first: f64,
}

/// Changes after which norms are taken anew: they move by half a per cent each, and only speed depends on them.
const LASTING: u32 = 8;
/// What corrections show of how W⁻¹ amplifies residuals is a little less than what it does to the last one: up to 18 % in 58,500 solves.
const MARGIN: f64 = 1.2;
/// Iterations that a solve on its own may take, 2·64 − 1 products: more than LU costs at most shapes, but without its n².
const MOST: usize = 64;

/// How an attempt ended.
pub(super) enum Outcome {
    Done(Solve),
    /// Not converged, and not about to be, after so many products.
    Slow(f64),
}

impl<T: Real> ConjugateGradient<T> {
    /// # Errors
    /// [`crate::Error::Setting`] for an impossible tolerance.
    pub fn new(tuning: Tuning) -> Result<Self> {
        tuning.check()?;
        Ok(Self {
            seen: Seen::Any,
            tuning,
            most: MOST,
            layers: Vec::new(),
            judge: Lu::new(),
            sketch: Sketch::default(),
            draws: 0,
            right: Vec::new(),
            solution: Vec::new(),
            rest: Vec::new(),
            p: Vec::new(),
            t: Vec::new(),
            u: Vec::new(),
            scaled: Vec::new(),
            norms: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// The same with another limit to iterations, after which LU takes over.
    #[must_use]
    pub fn with_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Takes the norms of W's rows and columns: rows first, then columns of the scaled matrix.
    fn equilibrate(&mut self, layer: usize, w: MatRef<'_, T>, exec: &Exec) -> Result<()> {
        let n = w.nrows();
        let scales = &mut self.layers[layer];
        if scales.usable && scales.n == n && scales.age < LASTING {
            return Ok(());
        }
        if scales.n != n {
            (scales.n, scales.ratio) = (n, 1.0);
        }
        (scales.age, scales.usable) = (0, true);
        scales.g.resize(n, T::ZERO);
        scales.h.resize(n, T::ZERO);
        let columns = {
            self.norms.clear();
            self.norms.resize(n, 0.0);
            &mut self.norms
        };
        let row_of = room(&mut self.scaled, n);
        for i in 0..n {
            match w.row(i) {
                Some(row) => row_of.copy_from_slice(row),
                None => row_of.iter_mut().enumerate().for_each(|(j, v)| *v = w.get(i, j)),
            }
            let square = exec.dot(row_of, row_of)?;
            let g = T::from_f64(1.0 / square);
            scales.g[i] = g;
            let weight = g.to_f64();
            for (sum, v) in columns.iter_mut().zip(row_of.iter()) {
                let v = v.to_f64();
                *sum += v * v * weight;
            }
        }
        for (h, &square) in scales.h.iter_mut().zip(columns.iter()) {
            *h = T::from_f64(1.0 / square);
        }
        // A zero row or column, or a NaN: nothing for iterations.
        scales.usable = scales.g.iter().chain(&scales.h).all(|s| s.is_finite() && *s > T::ZERO);
        Ok(())
    }

    /// Makes the room that solves of a layer need.
    pub(super) fn reserve(&mut self, layer: usize, n: usize, batch: usize) {
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, Scales::default);
        }
        let Scales { g, h, .. } = &mut self.layers[layer];
        let all = batch + NOISE;
        let of_batch = [&mut self.solution, &mut self.rest, &mut self.p, &mut self.t, &mut self.u, &mut self.right];
        for (memory, len) in of_batch.into_iter().map(|v| (v, all * n)).chain([(g, n), (h, n), (&mut self.scaled, n)]) {
            promise(memory, len);
        }
        promise(&mut self.norms, n);
        promise(&mut self.rows, all);
        self.sketch.reserve(batch, n, self.tuning.probes);
    }

    /// `r W⁻¹` into `r` within `most` iterations. `r` is not touched unless it is done.
    pub(super) fn attempt(
        &mut self,
        layer: usize,
        w: MatRef<'_, T>,
        r: &mut MatMut<'_, T>,
        most: usize,
        exec: &mut Exec,
    ) -> Result<Outcome> {
        let (batch, n) = r.shape();
        w.expect_shape(WEIGHTS, (n, n))?;
        self.reserve(layer, n, batch);
        gather(r.as_ref(), &mut self.right);
        let size = exec.norm(&self.right)?;
        if size == 0.0 {
            return Ok(Outcome::Done(Solve { by: SolverKind::Cg, ..Solve::default() }));
        }
        self.equilibrate(layer, w, exec)?;
        if !size.is_finite() || !self.layers[layer].usable {
            return Ok(Outcome::Slow(0.0));
        }
        self.sketch.draw(batch, n, self.tuning.probes);
        self.draws += 1;
        let live = live_columns(r.as_ref());
        add_noise(&mut self.right, n, size, self.draws);

        let (all, len) = (batch + NOISE, (batch + NOISE) * n);
        let price = all as f64 / batch as f64;
        let scales = &mut self.layers[layer];
        let (g, h) = (&scales.g[..], &scales.h[..]);
        let rest = room(&mut self.rest, len);
        rest.copy_from_slice(&self.right);
        let solution = room(&mut self.solution, len);
        solution.fill(T::ZERO);
        let (p, t, u) = (room(&mut self.p, len), room(&mut self.t, len), room(&mut self.u, len));
        let scaled = room(&mut self.scaled, n);
        self.rows.clear();
        self.rows.resize(all, Row::default());
        for (row, (rest, p)) in self.rows.iter_mut().zip(rest.chunks_exact(n).zip(p.chunks_exact_mut(n))) {
            p.iter_mut().zip(rest).zip(h).for_each(|((p, &rho), &h)| *p = rho * h);
            row.rho = exec.dot(rest, p)?;
            row.first = row.rho;
        }
        let (mut products, mut before) = (0.0, 0.0);
        // The norm of the last residual, and by how much W⁻¹ has made a correction of one larger.
        let (mut rest_size, mut amplification) = (size, 0.0f64);
        for made in 1..=most {
            if made == 1 && live < n {
                // The first direction of the batch has no more columns than the right-hand side; that of the noise has all.
                let (own, noise) = t.split_at_mut(batch * n);
                let first = MatRef::new(&p[..batch * n], batch, n)?.cols(0, live);
                exec.product(T::ONE, first, w.cols(0, live).t(), Start::Zero, MatMut::new(own, batch, n)?)?;
                let rows = MatRef::new(&p[batch * n..], NOISE, n)?;
                exec.product(T::ONE, rows, w.t(), Start::Zero, MatMut::new(noise, NOISE, n)?)?;
                products += live as f64 / n as f64 + NOISE as f64 / batch as f64;
            } else {
                exec.product(T::ONE, MatRef::new(p, all, n)?, w.t(), Start::Zero, MatMut::new(t, all, n)?)?;
                products += price;
            }
            let mut corrections = 0.0;
            for (i, row) in self.rows.iter().enumerate() {
                let at = i * n..(i + 1) * n;
                let (t, u, e) = (&t[at.clone()], &mut u[at.clone()], &mut solution[at]);
                u.iter_mut().zip(t).zip(g).for_each(|((u, &t), &g)| *u = t * g);
                let curvature = exec.dot(t, u)?;
                // A row that is zero, or solved to rounding, stays as it is.
                let done = !(row.rho > row.first * T::UNIT_ROUNDOFF * T::UNIT_ROUNDOFF) || curvature == 0.0;
                let alpha = T::from_f64(if done { 0.0 } else { row.rho / curvature });
                e.iter_mut().zip(u.iter_mut()).for_each(|(e, u)| {
                    *u = alpha * *u;
                    *e += *u;
                });
                if i < batch {
                    corrections += exec.dot(u, u)?;
                }
            }
            let correction = corrections.sqrt();
            let whole = exec.norm(&solution[..batch * n])?;
            if !correction.is_finite() || !whole.is_finite() {
                return Ok(Outcome::Slow(products));
            }
            if rest_size > 0.0 {
                amplification = amplification.max(correction / rest_size);
            }
            if made == 2 {
                scales.ratio = correction / before;
            }
            let ratio = if made == 1 { scales.ratio } else { correction / before };
            let goal = self.tuning.tolerance * whole;
            if ratio * correction <= goal {
                // The corrections say that it is enough: do the residuals, and the noise, agree?
                let (left, of) = self.sketch.residual(&self.right[..batch * n], &solution[..batch * n], w, exec)?;
                let residual = left / of;
                let noise = MatRef::new(&solution[batch * n..], NOISE, n)?;
                let start = Start::From(T::ONE, MatRef::new(&self.right[batch * n..], NOISE, n)?);
                let heard = &mut t[..NOISE * n];
                exec.product(-T::ONE, noise, w, start, MatMut::new(heard, NOISE, n)?)?;
                let heard = exec.norm(heard)? / exec.norm(&self.right[batch * n..])?;
                products += self.sketch.price() + NOISE as f64 / batch as f64;
                let enough = self.sketch.caution().max(MARGIN) * amplification * residual * size <= goal;
                if enough && heard * (n as f64).sqrt() <= HEARD {
                    scatter(&solution[..batch * n], r);
                    return Ok(Outcome::Done(Solve { residual, sampled: !self.sketch.exact(), products, by: SolverKind::Cg }));
                }
            }
            // Whether the iterations that are left can do it, if they go on like this (at their best, superlinear convergence gains a few).
            let left = most - made;
            // By repeated multiplication: `powi` may round differently from machine to machine.
            let at_the_end = (0..2 * left).fold(correction, |c, _| c * ratio.min(1.0));
            if left == 0 || (made >= 2 && !(at_the_end <= goal)) {
                return Ok(Outcome::Slow(products));
            }
            exec.product(T::ONE, MatRef::new(u, all, n)?, w, Start::Zero, MatMut::new(t, all, n)?)?;
            products += price;
            let mut rests = 0.0;
            for (i, row) in self.rows.iter_mut().enumerate() {
                let at = i * n..(i + 1) * n;
                let (v, rest, p) = (&t[at.clone()], &mut rest[at.clone()], &mut p[at]);
                rest.iter_mut().zip(v).for_each(|(rho, &v)| *rho -= v);
                scaled.iter_mut().zip(rest.iter()).zip(h).for_each(|((s, &rho), &h)| *s = rho * h);
                let rho = exec.dot(rest, scaled)?;
                let beta = T::from_f64(if row.rho > 0.0 { rho / row.rho } else { 0.0 });
                p.iter_mut().zip(scaled.iter()).for_each(|(p, &s)| *p = s + beta * *p);
                row.rho = rho;
                if i < batch {
                    rests += exec.dot(rest, rest)?;
                }
            }
            rest_size = rests.sqrt();
            before = correction;
        }
        Ok(Outcome::Slow(products))
    }

    /// Records that the weights of every layer have changed.
    pub(super) fn weights_changed(&mut self) {
        for scales in &mut self.layers {
            scales.age = scales.age.saturating_add(1);
        }
    }
}

impl<T: Real> Solver<T> for ConjugateGradient<T> {
    fn name(&self) -> &'static str {
        SolverKind::Cg.name()
    }

    fn solve(&mut self, of: Weights<'_, T>, mut r: MatMut<'_, T>, exec: &mut Exec) -> Result<Solve> {
        let Weights { layer, w, .. } = of;
        if self.seen.changed(of.version) {
            self.weights_changed();
        }
        match self.attempt(layer, w, &mut r, self.most, exec)? {
            Outcome::Done(solve) => Ok(solve),
            Outcome::Slow(products) => {
                // Norms of other weights may have been the reason: taken anew next time.
                self.layers.iter_mut().for_each(|scales| scales.age = LASTING);
                let solve = self.judge.judge(layer, w, r, exec)?;
                Ok(Solve { products: products + solve.products, ..solve })
            }
        }
    }

    fn save(&self) -> State<T> {
        self.remember(self.seen.ahead())
    }

    fn restore(&mut self, state: State<T>) -> Result<()> {
        self.seen = Seen::Any;
        self.recall(&state)
    }
}

impl<T: Real> ConjugateGradient<T> {
    /// The state once `ahead` more changes of the weights have been counted.
    pub(super) fn remember(&self, ahead: u32) -> State<T> {
        let mut state = State::default();
        state.put("layers", self.layers.len() as u64);
        for (l, scales) in self.layers.iter().enumerate() {
            state.put(format!("{l}.n"), scales.n as u64);
            state.put(format!("{l}.age"), scales.age.saturating_add(ahead).into());
            state.put(format!("{l}.usable"), scales.usable.into());
            state.put_f64(format!("{l}.ratio"), scales.ratio);
            state.put_array(format!("{l}.g"), &[scales.n], &scales.g);
            state.put_array(format!("{l}.h"), &[scales.n], &scales.h);
        }
        state.put("sketches", self.sketch.draws());
        state.put("draws", self.draws);
        state
    }

    fn recall(&mut self, state: &State<T>) -> Result<()> {
        self.layers.clear();
        for (l, n) in crate::solve::layers_of(state)? {
            let name = |what: &str| format!("{l}.{what}");
            self.layers.push(Scales {
                n,
                g: state.array(&name("g"), n)?.to_vec(),
                h: state.array(&name("h"), n)?.to_vec(),
                age: state.get_as(&name("age"))?,
                usable: state.get_flag(&name("usable"))?,
                ratio: state.get_f64(&name("ratio"))?,
            });
        }
        self.sketch.set_draws(state.get("sketches")?);
        self.draws = state.get("draws")?;
        Ok(())
    }
}
