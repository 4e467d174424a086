//! Any shapes, strides, scalars and blocks: the bits of the naive chain, or an error; never a write outside C.
#![no_main]

use arbitrary::Arbitrary;
use gaitprop_kernels::{Blocking, Isa, MatMut, MatRef, Packing, Plan, Scratch, gemm, reference};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    shape: (u8, u8, u8),
    strides: [(i8, i8); 3],
    offsets: [u16; 3],
    scalars: (i8, i8),
    blocks: (u8, u8, u8, u8),
    isa: u8,
    packing: u8,
    seed: u64,
}

/// Normal-looking numbers; no NaN, whose bits no rule fixes.
fn fill(seed: &mut u64, len: usize) -> Vec<f32> {
    (0..len)
        .map(|_| {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            (*seed >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

fuzz_target!(|input: Input| {
    let (m, n, k) = (input.shape.0 as usize % 40, input.shape.1 as usize % 70, input.shape.2 as usize % 40);
    let mut seed = input.seed | 1;
    let len = 4096;
    let (a, b, mut c) = (fill(&mut seed, len), fill(&mut seed, len), fill(&mut seed, len));
    let strides = input.strides.map(|(rs, cs)| (rs as isize, cs as isize));
    let [oa, ob, oc] = input.offsets.map(|o| o as usize % len);
    let Ok(a) = MatRef::strided(&a, oa, (m, k), strides[0]) else { return };
    let Ok(b) = MatRef::strided(&b, ob, (k, n), strides[1]) else { return };
    let mut want = c.clone();
    let Ok(out) = MatMut::strided(&mut want, oc, (m, n), strides[2]) else { return };
    let (alpha, beta) = (f32::from(input.scalars.0) / 16.0, f32::from(input.scalars.1) / 16.0);
    reference::gemm(alpha, a, b, beta, out);
    let isas: Vec<Isa> = Isa::available().collect();
    let (mc, kc, nc, mr) = input.blocks;
    let mut plan = Plan::new().with_isa(isas[input.isa as usize % isas.len()]);
    plan.packing = [Packing::Auto, Packing::Always, Packing::Avoid][input.packing as usize % 3];
    plan.blocking = Blocking::new(mc as usize, kc as usize, nc as usize, mr as usize).ok();
    let out = MatMut::strided(&mut c, oc, (m, n), strides[2]).expect("accepted above");
    gemm(alpha, a, b, beta, out, &plan, &mut Scratch::new()).expect("shapes fit");
    // The whole buffer: what lies between the elements of C as well.
    for (i, (w, g)) in want.iter().zip(&c).enumerate() {
        assert_eq!(w.to_bits(), g.to_bits(), "element {i}: {w:e} and {g:e}");
    }
});
