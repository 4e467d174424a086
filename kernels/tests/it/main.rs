//! Integration tests of the kernels, in one binary. `cargo test -p gaitprop-kernels --test it
//! gemm_bits::` runs one module.

mod backends;
mod batched_bits;
mod contracts;
mod elementwise_bits;
mod floors;
mod fused_bits;
mod gemm_bits;
mod imports;
#[cfg(unix)]
mod memory_ends;
mod solves;
mod support;
mod triangles;
mod vectors;
