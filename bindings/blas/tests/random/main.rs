//! Random calls of every routine: by bits against the kernels' twins, and by a bound of rounding
//! errors against a reference BLAS (netlib's, whose path is `GAITPROP_REFERENCE_BLAS`).
//!
//! `GAITPROP_RANDOM_CALLS` is the number of calls, half of them in either precision, and
//! `GAITPROP_RANDOM_SEED` where they begin. Memory that BLAS may not read holds NaN, and memory
//! that it may not write is compared too.

mod case;
mod expected;
mod library;

use case::{Case, Operands, Random, Routine};
use expected::same;
use gaitprop_kernels::Real;
use library::{Functions, Library, ours};

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")))
}

/// Runs one case on ours, on its twin, and on the reference. Returns the elements compared with it.
fn judge<T: Real>(
    case: &Case<T>,
    before: &Operands<T>,
    ours: &dyn Library<T>,
    reference: Option<&dyn Library<T>>,
) -> Result<usize, String> {
    let (mut found, mut wanted) = (before.clone(), before.clone());
    let sum = ours.run(case, &mut found);
    let wanted_sum = case.twin(&mut wanted);
    if !same(sum, wanted_sum) {
        return Err(format!("the sum is {sum:e}, its twin {wanted_sum:e}"));
    }
    for (name, found, wanted) in [("a", &found.a, &before.a), ("b", &found.b, &before.b), ("c", &found.c, &wanted.c)] {
        if let Some(at) = (0..found.len()).find(|&at| !same(found[at], wanted[at])) {
            return Err(format!("element {at} of {name} is {:e}, its twin {:e}", found[at], wanted[at]));
        }
    }
    let Some(reference) = reference else { return Ok(0) };
    let mut other = before.clone();
    let other_sum = reference.run(case, &mut other);
    let (bounds, sum_bound) = case.bound(before, &other);
    if case.routine == Routine::Dot {
        let difference = (sum.to_f64() - other_sum.to_f64()).abs();
        return if difference <= sum_bound { Ok(1) } else { Err(format!("the sum is {sum:e}, reference {other_sum:e}")) };
    }
    case.within(&found, &other, &bounds)
}

/// Runs `calls` random cases of one precision on ours under every naming scheme.
fn run<T: Real>(seed: u64, calls: u64, ours: &[&dyn Library<T>], reference: Option<&dyn Library<T>>) {
    let mut random = Random(seed);
    let mut compared = [(0u64, 0u64); Routine::ALL.len()];
    for call in 0..calls {
        let start = random.0;
        let case = Case::<T>::new(&mut random);
        let before = case.operands(&mut random);
        let library = ours[random.below(ours.len())];
        gaitprop_blas::gaitprop_blas_set_num_threads(1 + random.below(2) as i32);
        match judge(&case, &before, library, reference) {
            Ok(elements) => {
                let count = &mut compared[case.routine as usize];
                *count = (count.0 + 1, count.1 + elements as u64);
            }
            Err(error) => panic!("{} call {call}, seed {start:#x}: {error}\n{case:?}", T::NAME),
        }
    }
    for (routine, (calls, elements)) in Routine::ALL.iter().zip(compared) {
        println!("{} {routine:?}: {calls} calls equal their twins; {elements} elements lie within the bound", T::NAME);
        assert!(calls < 1000 || reference.is_none() || elements >= calls, "{routine:?}: hardly any element was compared");
    }
}

#[test]
fn random_calls_agree() {
    let calls = variable("GAITPROP_RANDOM_CALLS").unwrap_or(4000);
    let seed = variable("GAITPROP_RANDOM_SEED").unwrap_or(1);
    let path = std::env::var("GAITPROP_REFERENCE_BLAS").ok();
    println!("{calls} calls from seed {seed}; reference: {}", path.as_deref().unwrap_or("NONE, bits alone"));
    let reference = path.as_deref().map(|path| (Functions::<f32, i32>::load(path, 's'), Functions::<f64, i32>::load(path, 'd')));
    // Seeds of runs are far apart in the sequence.
    let seed = seed.wrapping_mul(0xd134_2543_de82_ef95);
    run::<f32>(
        seed,
        calls / 2,
        &[&ours!(lp64, s), &ours!(ilp64, s), &ours!(scipy_lp64, s), &ours!(scipy_ilp64, s)],
        reference.as_ref().map(|r| &r.0 as &dyn Library<f32>),
    );
    run::<f64>(
        !seed,
        calls - calls / 2,
        &[&ours!(lp64, d), &ours!(ilp64, d), &ours!(scipy_lp64, d), &ours!(scipy_ilp64, d)],
        reference.as_ref().map(|r| &r.1 as &dyn Library<f64>),
    );
}

/// The oracle must be able to fail: one wrong element, one written beyond the result, one NaN.
#[test]
fn wrong_results_are_found() {
    type Damage = fn(&Case<f64>, &mut Operands<f64>);
    struct Wrong<L> {
        ours: L,
        damage: Damage,
    }
    impl<L: Library<f64>> Library<f64> for Wrong<L> {
        fn run(&self, case: &Case<f64>, operands: &mut Operands<f64>) -> f64 {
            let sum = self.ours.run(case, operands);
            (self.damage)(case, operands);
            sum
        }
    }
    let first = |case: &Case<f64>| case.c.at(0, 0);
    let mut random = Random(7);
    let (case, before) = loop {
        let case = Case::<f64>::new(&mut random);
        let before = case.operands(&mut random);
        let last = case.c.offset + case.c.len();
        let product = case.routine == Routine::Gemm && case.c.len() * case.k > 0 && case.alpha == 1.0 && case.beta.is_finite();
        if product && before.c.len() > last {
            break (case, before);
        }
    };
    let right = Wrong { ours: ours!(lp64, d), damage: |_, _| {} };
    let reference: &dyn Library<f64> = &ours!(ilp64, d);
    judge(&case, &before, &right, Some(reference)).expect("right results pass");
    let damages: [Damage; 4] = [
        |case, operands| operands.c[case.c.at(0, 0)] = f64::NAN,
        |case, operands| operands.c[case.c.at(0, 0)] *= 1.0 + f64::EPSILON,
        |_, operands| *operands.c.last_mut().expect("an element after the result") = 0.0,
        |case, operands| operands.a[case.a.at(0, 0)] = 0.5,
    ];
    for damage in damages {
        judge(&case, &before, &Wrong { ours: ours!(lp64, d), damage }, None).expect_err("damage is found");
    }
    // The bound alone.
    let mut found = before.clone();
    right.run(&case, &mut found);
    let (bounds, _) = case.bound(&before, &found);
    let mut wrong = found.clone();
    wrong.c[first(&case)] += 4.0 * bounds[first(&case)];
    case.within(&wrong, &found, &bounds).expect_err("an element beyond the bound is found");
    wrong.c[first(&case)] = f64::NAN;
    case.within(&wrong, &found, &bounds).expect_err("a NaN is found");
}
