//! Random numbers that a seed fixes for good: the same on every machine and in every version that does not say otherwise.

use rand_core::{Rng as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A stream of random numbers.
///
/// Uniform bits come from xoshiro256++; everything made of them (uniform integers, normal deviates, permutations) is made here, so
/// that no library update can change a run.
#[derive(Clone, Debug)]
pub struct Rng {
    bits: Xoshiro256PlusPlus,
    /// The second deviate of the last pair.
    spare: Option<f64>,
}

impl Rng {
    /// The stream number `stream` of a seed: weights, shuffling and feedback draw from streams of their own, so that one more draw
    /// in one does not change another.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut bits = Xoshiro256PlusPlus::seed_from_u64(seed);
        for _ in 0..stream {
            bits.jump();
        }
        Self { bits, spare: None }
    }

    /// All that the stream will depend on: the four words of xoshiro256++, and the second deviate of the last pair.
    ///
    /// # Panics
    /// Never: the generator's state is four words.
    pub fn state(&self) -> ([u64; 4], Option<f64>) {
        // The library shows its words only in this way.
        let words = serde_json::to_value(&self.bits).ok().and_then(|v| serde_json::from_value(v["s"].clone()).ok());
        (words.expect("the four words of xoshiro256++"), self.spare)
    }

    /// The stream that [`Rng::state`] was taken from; `None` if all words are 0, which no stream's are.
    pub fn from_state(words: [u64; 4], spare: Option<f64>) -> Option<Self> {
        let bits = (words != [0; 4]).then(|| serde_json::from_value(serde_json::json!({ "s": words })).ok())??;
        Some(Self { bits, spare })
    }

    /// Uniform in [0, 1), all 53 bits of a double used.
    pub fn uniform(&mut self) -> f64 {
        (self.bits.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0 .. n, without bias.
    ///
    /// # Panics
    /// If n is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "there is no number below 0");
        // Rejects the few draws that would make some results likelier: the high word of draw · n is then uniform.
        let reject_below = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.bits.next_u64()) * u128::from(n);
            if wide as u64 >= reject_below {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A standard normal deviate (Box and Muller, 1958), by a portable library.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // 1 − u lies in (0, 1]: its logarithm is finite.
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * self.uniform());
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// Puts `items` into a random order, every order equally likely (Fisher and Yates).
    pub fn shuffle<I>(&mut self, items: &mut [I]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_fixed_and_different() {
        let draw = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            (rng.uniform().to_bits(), rng.normal().to_bits(), rng.below(1000))
        };
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }

    #[test]
    fn a_stream_goes_on_from_its_state() {
        let mut rng = Rng::new(5, 1);
        for draws in 0..5 {
            (0..draws).for_each(|_| assert!(rng.normal().is_finite()));
            let (words, spare) = rng.state();
            let mut other = Rng::from_state(words, spare).unwrap();
            for _ in 0..3 {
                assert_eq!(rng.normal().to_bits(), other.normal().to_bits());
                assert_eq!(rng.below(1 << 40), other.below(1 << 40));
            }
        }
        assert!(Rng::from_state([0; 4], None).is_none());
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = Rng::new(7, 0);
        let n = 200_000;
        let normals: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = normals.iter().sum::<f64>() / n as f64;
        let moment = |k: i32| normals.iter().map(|x| x.powi(k)).sum::<f64>() / n as f64;
        // Five standard errors of each estimate.
        assert!(mean.abs() < 5.0 / (n as f64).sqrt());
        assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt());
        assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / n as f64).sqrt());
        let mut counts = [0u32; 7];
        (0..70_000).for_each(|_| counts[rng.below(7) as usize] += 1);
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 500), "{counts:?}");
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut items: Vec<u32> = (0..1000).collect();
        Rng::new(3, 2).shuffle(&mut items);
        assert_ne!(items, (0..1000).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..1000).collect::<Vec<_>>());
    }
}
