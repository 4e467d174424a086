//! The FMA peak: multiply-adds in registers alone, in enough independent chains to hide their latency.

use crate::report::median;
use crate::rows::Element;
use gaitprop_kernels::Isa;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long one measurement lasts, on every thread: a core that has slept for a few milliseconds takes about five to reach its full clock again.
const LENGTH: Duration = Duration::from_millis(8);
/// Steps between two looks at the clock: some 40 µs.
const STEPS: u32 = 20_000;

/// Runs [`STEPS`] steps and returns the floating-point operations done.
pub type Loop = fn() -> u64;

/// Multiply-adds by vectors of one instruction set, in `$chains` chains. Each runs to a fixed point near 1: no subnormal number, no infinity.
macro_rules! peak_loop {
    ($arch:literal, $module:ident, $name:ident, $features:literal, $t:ty, $lanes:literal, $chains:literal, $set:ident, |$x:ident, $m:ident, $a:ident| $fma:expr) => {
        #[cfg(target_arch = $arch)]
        fn $name() -> u64 {
            use core::arch::$module::*;
            #[target_feature(enable = $features)]
            fn run() {
                let ($m, $a) = ($set(black_box(0.5)), $set(black_box(0.5)));
                let mut chains = [$set(1.5); $chains];
                for _ in 0..STEPS {
                    for chain in &mut chains {
                        let $x = *chain;
                        *chain = $fma;
                    }
                }
                black_box(chains);
            }
            // SAFETY: `of` hands this function out only for an `Isa` of this name, which detection alone can make.
            unsafe { run() };
            u64::from(STEPS) * $lanes * $chains * 2
        }
    };
}

// AVX2: 12 chains and two operands of 16 registers; two units of latency 4 or 5 want 10. AVX-512 and NEON: 24 of 32.
peak_loop!("x86_64", x86_64, avx2_f32, "avx2,fma", f32, 8, 12, _mm256_set1_ps, |x, m, a| _mm256_fmadd_ps(x, m, a));
peak_loop!("x86_64", x86_64, avx2_f64, "avx2,fma", f64, 4, 12, _mm256_set1_pd, |x, m, a| _mm256_fmadd_pd(x, m, a));
peak_loop!("x86_64", x86_64, avx512_f32, "avx512f", f32, 16, 24, _mm512_set1_ps, |x, m, a| _mm512_fmadd_ps(x, m, a));
peak_loop!("x86_64", x86_64, avx512_f64, "avx512f", f64, 8, 24, _mm512_set1_pd, |x, m, a| _mm512_fmadd_pd(x, m, a));
peak_loop!("aarch64", aarch64, neon_f32, "neon", f32, 4, 24, vdupq_n_f32, |x, m, a| vfmaq_f32(a, x, m));
peak_loop!("aarch64", aarch64, neon_f64, "neon", f64, 2, 24, vdupq_n_f64, |x, m, a| vfmaq_f64(a, x, m));

/// The loop of an instruction set; that of the widest one where `isa` has none (the portable kernels have no vectors of their own).
pub fn of<T: Element>(isa: Isa) -> Option<(Loop, &'static str)> {
    let named = |name: &str| -> Option<Loop> {
        match (name, T::NAME) {
            #[cfg(target_arch = "x86_64")]
            ("avx2", "f32") => Some(avx2_f32),
            #[cfg(target_arch = "x86_64")]
            ("avx2", "f64") => Some(avx2_f64),
            #[cfg(target_arch = "x86_64")]
            ("avx512", "f32") => Some(avx512_f32),
            #[cfg(target_arch = "x86_64")]
            ("avx512", "f64") => Some(avx512_f64),
            #[cfg(target_arch = "aarch64")]
            ("neon", "f32") => Some(neon_f32),
            #[cfg(target_arch = "aarch64")]
            ("neon", "f64") => Some(neon_f64),
            _ => None,
        }
    };
    [isa, Isa::detect()].into_iter().find_map(|isa| Some((named(isa.name())?, isa.name())))
}

/// GFLOP/s of `threads` threads that run the loop at once.
pub fn measure(run: Loop, threads: usize) -> f64 {
    let waiting = AtomicUsize::new(threads);
    let rate = || {
        waiting.fetch_sub(1, Ordering::AcqRel);
        while waiting.load(Ordering::Acquire) > 0 {
            spin_loop();
        }
        // As contenders are: in pieces, of which the median counts.
        let (start, mut pieces) = (Instant::now(), Vec::new());
        while start.elapsed() < LENGTH || pieces.is_empty() {
            let piece = Instant::now();
            let flops = run();
            pieces.push(flops as f64 / piece.elapsed().as_secs_f64() * 1e-9);
        }
        median(&pieces)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(rate)).collect();
        let own = rate();
        own + others.into_iter().map(|other| other.join().expect("the loop does not panic")).sum::<f64>()
    })
}
