//! Our kernels as contenders: one function a kind of work, and nothing else to change when a kernel gets another interface.

use crate::check;
use crate::rows::{BATCH, Contender, Element, Kind, Normal, Out, Problem, Work};
use gaitprop_kernels::epilogue::bias_activate;
use gaitprop_kernels::syrk::{Diagonal, Part, syrk};
use gaitprop_kernels::trsm::{self, Diag, Side, Triangle};
use gaitprop_kernels::{
    Activation, BatchMut, BatchRef, Epilogue, MatMut, MatRef, Orientation, PackedRhs, Par, Plan, Scratch, Start, cholesky, gemm,
    gemm_batched, gemm_with, lu,
};
use std::sync::Arc;

/// The threads that our kernels use.
pub struct Workers(Par);

impl Workers {
    pub fn new(threads: usize) -> Result<Self, String> {
        if threads == 1 {
            return Ok(Self(Par::Seq));
        }
        Par::team(threads).map(Self).map_err(|e| e.to_string())
    }

    /// The one place where the kind of threads is chosen.
    pub fn par(&self) -> Par {
        self.0.clone()
    }
}

/// Ours for a row.
pub fn contenders<'a, T: Element>(p: &'a Problem<T>, plan: Plan) -> Vec<Contender<'a, T>> {
    match p.row.work {
        Work::Product { prepacked: true } => vec![prepacked(p, plan)],
        Work::Product { prepacked: false } | Work::Gradient => vec![product(p, plan)],
        Work::Lu => vec![factor(p, plan)],
        Work::Solve => vec![solve(p, plan)],
        Work::Epilogue => epilogue(p, plan),
        Work::Syrk => vec![symmetric(p, plan)],
        Work::Cholesky => vec![llt(p, plan)],
        Work::Batch => vec![batch(p, plan)],
    }
}

fn ours<'a, T>(name: &str, call: impl FnMut(&mut Out<T>) + Send + 'a) -> Contender<'a, T> {
    Contender::new(format!("gaitprop {name}").trim_end(), Kind::Ours, call)
}

/// The result as a row-major matrix.
fn target<'o, T>(p: &Problem<T>, out: &'o mut Out<T>) -> MatMut<'o, T> {
    let (rows, cols) = p.row.out_shape();
    MatMut::new(&mut out.data, rows, cols).expect("sized so")
}

fn product<'a, T: Element>(p: &'a Problem<T>, plan: Plan) -> Contender<'a, T> {
    let mut scratch = Scratch::new();
    ours("", move |out| {
        gemm(T::ONE, p.a(), p.b(), T::ZERO, target(p, out), &plan, &mut scratch).expect("shapes fit");
    })
}

fn prepacked<'a, T: Element>(p: &'a Problem<T>, plan: Plan) -> Contender<'a, T> {
    let mut scratch = Scratch::new();
    let packed = PackedRhs::new(p.b(), Orientation::Plain, &plan).expect("memory for the packed operand");
    ours("prepacked", move |out| {
        let b = packed.plain().expect("packed for this");
        gemm_with(T::ONE, p.a(), b, Start::Zero, target(p, out), Epilogue::Store, &plan, &mut scratch).expect("shapes fit");
    })
}

fn factor<'a, T: Element>(p: &'a Problem<T>, plan: Plan) -> Contender<'a, T> {
    let mut scratch = Scratch::new();
    let mut exchanges = vec![0; p.row.shape.1];
    ours("", move |out| {
        lu::factor(target(p, out), &mut exchanges, &plan, &mut scratch).expect("random matrices are not singular");
        order_rows(&mut out.order, exchanges.iter().copied());
    })
}

/// The lower triangle of A·Aᵀ.
fn symmetric<'a, T: Element>(p: &'a Problem<T>, plan: Plan) -> Contender<'a, T> {
    let mut scratch = Scratch::new();
    ours("", move |out| {
        syrk(T::ONE, p.a(), T::ZERO, Part::Lower, Diagonal::Kept, target(p, out), &plan, &mut scratch).expect("shapes fit");
    })
}

fn llt<'a, T: Element>(p: &'a Problem<T>, plan: Plan) -> Contender<'a, T> {
    let mut scratch = Scratch::new();
    ours("", move |out| cholesky::factor(target(p, out), &plan, &mut scratch).expect("positive definite"))
}

fn batch<'a, T: Element>(p: &'a Problem<T>, plan: Plan) -> Contender<'a, T> {
    let mut scratch = Scratch::new();
    let (m, n, k) = p.row.shape;
    ours("", move |out| {
        let a = BatchRef::new(&p.a, BATCH, m, k).expect("sized so");
        let b = BatchRef::new(&p.b, BATCH, k, n).expect("sized so");
        let c = BatchMut::new(&mut out.data, BATCH, m, n).expect("sized so");
        gemm_batched(T::ONE, a, b, T::ZERO, c, &plan, &mut scratch).expect("shapes fit");
    })
}

/// The order of rows that a list of exchanges leads to.
pub fn order_rows(order: &mut [usize], exchanges: impl Iterator<Item = usize>) {
    order.iter_mut().enumerate().for_each(|(i, row)| *row = i);
    exchanges.enumerate().for_each(|(k, with)| order.swap(k, with));
}

fn solve<'a, T: Element>(p: &'a Problem<T>, plan: Plan) -> Contender<'a, T> {
    let mut scratch = Scratch::new();
    ours("", move |out| {
        let u: MatRef<'_, T> = p.u();
        trsm::solve(Side::Right, Triangle::Upper, Diag::Stored, T::ONE, u, target(p, out), &plan, &mut scratch)
            .expect("no zero on the diagonal");
    })
}

/// What the fused rows apply: the published activation.
const UNIT: Activation = Activation::LeakyRelu { slope: 0.1 };

fn packed_b<T: Element>(p: &Problem<T>, plan: &Plan) -> Arc<PackedRhs<T>> {
    Arc::new(PackedRhs::new(p.b(), Orientation::Plain, plan).expect("memory for the packed operand"))
}

/// The bare product; with bias and activation on finished rows in L1; with them in a second pass over the result.
fn epilogue<'a, T: Element>(p: &'a Problem<T>, plan: Plan) -> Vec<Contender<'a, T>> {
    let (w, n) = (packed_b(p, &plan), p.row.shape.1);
    let mut normal = Normal::new(11);
    let bias: Arc<[T]> = (0..n).map(|_| T::from_f64(normal.next())).collect();
    let (w1, w2, w3, b2, b3) = (Arc::clone(&w), Arc::clone(&w), w, Arc::clone(&bias), Arc::clone(&bias));
    let [mut s1, mut s2, mut s3] = [const { Scratch::new() }; 3];
    let [plan, plan2, plan3] = [&plan, &plan, &plan].map(Plan::clone);
    let bare = Contender::new("gaitprop, product alone", Kind::Base, move |out| {
        let w = w1.plain().expect("packed for this");
        gemm_with(T::ONE, p.a(), w, Start::Zero, target(p, out), Epilogue::Store, &plan, &mut s1).expect("shapes fit");
    });
    let fused = ours("fused", move |out| {
        let w = w2.plain().expect("packed for this");
        let epilogue = Epilogue::Activate { activation: UNIT, bias: &b2, slope: None };
        gemm_with(T::ONE, p.a(), w, Start::Zero, target(p, out), epilogue, &plan2, &mut s2).expect("shapes fit");
    });
    let two_passes = ours("in two passes", move |out| {
        let w = w3.plain().expect("packed for this");
        gemm_with(T::ONE, p.a(), w, Start::Zero, target(p, out), Epilogue::Store, &plan3, &mut s3).expect("shapes fit");
        bias_activate(UNIT, target(p, out), &b3, None, plan3.isa).expect("shapes fit");
    });
    let finished = |c: Contender<'a, T>| {
        let bias = Arc::clone(&bias);
        c.expecting(move |i, j| UNIT.apply(check::chain(p.a(), p.b(), i, j) + bias[j]).0)
    };
    vec![bare, finished(fused), finished(two_passes)]
}
