//! Reproducible random numbers: a seed gives the same numbers on every machine.
//!
//! CHANGELOG.md lists every version that changes them.

/// The generator xoshiro256++ with four words of state, which are never all 0.
///
/// # References
/// Blackman and Vigna, Scrambled linear pseudorandom number generators, 2021.
#[derive(Clone, Debug)]
struct Xoshiro256PlusPlus([u64; 4]);

impl Xoshiro256PlusPlus {
    /// Expands a seed by SplitMix64, as the generator's authors recommend.
    fn seeded(mut seed: u64) -> Self {
        Self(std::array::from_fn(|_| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    /// Returns 64 uniform bits.
    #[inline(always)]
    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// Advances by 2^128 draws.
    fn jump(&mut self) {
        let mut sum = [0; 4];
        for word in [0x180e_c6d3_3cfd_0aba_u64, 0xd5a6_1266_f0c9_392c, 0xa958_2618_e03f_c9aa, 0x39ab_dc45_29b1_661c] {
            for bit in 0..64 {
                if word >> bit & 1 == 1 {
                    sum.iter_mut().zip(self.0).for_each(|(sum, s)| *sum ^= s);
                }
                self.next();
            }
        }
        self.0 = sum;
    }
}

/// Stream of random numbers.
///
/// Uniform bits come from xoshiro256++. Integers, normal deviates and permutations are also
/// computed in this file, so that no library update can change a run.
#[derive(Clone, Debug)]
pub struct Rng {
    bits: Xoshiro256PlusPlus,
    /// Second normal deviate of the last pair.
    spare: Option<f64>,
}

impl Rng {
    /// Creates stream number `stream` of a seed.
    ///
    /// Weights, shuffling and feedback use separate streams: an additional draw in one changes no
    /// other.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut bits = Xoshiro256PlusPlus::seeded(seed);
        for _ in 0..stream {
            bits.jump();
        }
        Self { bits, spare: None }
    }

    /// Creates the generator of two keys within a stream, such as a step and a layer. It depends on
    /// the arguments alone: later draws need no earlier ones.
    pub(crate) fn keyed(seed: u64, stream: u64, keys: [u64; 2]) -> Self {
        let mix = |mut bits: Xoshiro256PlusPlus, key| Xoshiro256PlusPlus::seeded(bits.next() ^ key);
        Self { bits: keys.into_iter().fold(Self::new(seed, stream).bits, mix), spare: None }
    }

    /// Returns the state: the four words of xoshiro256++ and the second normal deviate of the last
    /// pair.
    pub fn state(&self) -> ([u64; 4], Option<f64>) {
        (self.bits.0, self.spare)
    }

    /// Restores a stream from [`Rng::state`]. Returns `None` if all words are 0, an invalid state.
    pub fn from_state(words: [u64; 4], spare: Option<f64>) -> Option<Self> {
        (words != [0; 4]).then_some(Self { bits: Xoshiro256PlusPlus(words), spare })
    }

    /// Returns a uniform number in [0, 1) with 53 random bits.
    #[inline(always)]
    pub fn uniform(&mut self) -> f64 {
        (self.bits.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a uniform integer in 0 .. n, without bias.
    ///
    /// # Panics
    /// If n is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "n must be at least 1");
        // The high word of draw · n is uniform after rejection of the draws that cause bias.
        let reject_below = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.bits.next()) * u128::from(n);
            if wide as u64 >= reject_below {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Returns a standard normal deviate (Box and Muller, 1958), computed by the portable libm.
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

    /// Shuffles `items`; every order is equally likely (Fisher and Yates).
    pub fn shuffle<I>(&mut self, items: &mut [I]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outputs of the authors' programs: xoshiro256plusplus.c from state 1, 2, 3, 4, and
    /// splitmix64.c from seed 1234567.
    #[test]
    fn bits_are_the_published_ones() {
        let mut bits = Xoshiro256PlusPlus([1, 2, 3, 4]);
        let want = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
            14_011_001_112_246_962_877,
            12_406_186_145_184_390_807,
            15_849_039_046_786_891_736,
            10_450_023_813_501_588_000,
        ];
        assert_eq!(want.map(|_| bits.next()), want);
        let want = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423, 4_593_380_528_125_082_431];
        assert_eq!(Xoshiro256PlusPlus::seeded(1_234_567).0, want);
    }

    /// States of `rand_xoshiro` 0.8, which earlier versions used: their checkpoints still resume.
    #[test]
    fn streams_are_those_of_earlier_versions() {
        let want = [
            (0, 0, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f, 0xf88b_b8a8_724c_81ec]),
            (7, 1, [0x7eb3_c060_7fc5_67e2, 0x551d_653f_a4de_09eb, 0x95c9_0b5c_98ca_9ef6, 0x99c2_0c8c_8db7_bd5e]),
            (u64::MAX, 3, [0x1b0f_9e34_62cd_f584, 0x741b_114c_7d09_ada2, 0x01ad_e2a7_7c59_fcf4, 0x42be_f57b_256e_9d3c]),
        ];
        for (seed, stream, words) in want {
            assert_eq!(Rng::new(seed, stream).state(), (words, None), "seed {seed}, stream {stream}");
        }
    }

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

    /// Each key, the seed and the stream change every number; the order of keys counts.
    #[test]
    fn keys_give_generators_of_their_own() {
        let first = |seed, stream, keys| Rng::keyed(seed, stream, keys).uniform().to_bits();
        assert_eq!(first(1, 5, [7, 2]), first(1, 5, [7, 2]));
        let others = [first(2, 5, [7, 2]), first(1, 4, [7, 2]), first(1, 5, [8, 2]), first(1, 5, [7, 3]), first(1, 5, [2, 7])];
        assert!(others.iter().all(|&other| other != first(1, 5, [7, 2])));
        // Neighboring steps are not correlated.
        let mean = |step| {
            let (mut a, mut b) = (Rng::keyed(1, 5, [step, 1]), Rng::keyed(1, 5, [step + 1, 1]));
            (0..10_000).map(|_| (a.uniform() - 0.5) * (b.uniform() - 0.5)).sum::<f64>() / 10_000.0
        };
        // The standard deviation of the mean is 1/12 / 100.
        assert!((0..20).all(|step| mean(step).abs() < 5.0 / 1200.0));
    }

    #[test]
    fn a_stream_resumes_from_its_state() {
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
