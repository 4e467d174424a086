//! How the kernels work: one page per family, with equation, memory order, parameters and their
//! reasons, guarantees, tests, and how to extend it.
//!
//! The pages are also files in `kernels/docs/`. Every Rust block in them runs as a test.

/// Defines a module per page, with links to the other pages. Markdown takes the first definition of
/// a link, so these override the ones in the files.
macro_rules! page {
    ($($name:ident $file:literal),+ $(,)?) => {
        $(
            #[doc = concat!(
                "[gemm.md]: crate::guide::gemm\n[pack.md]: crate::guide::pack\n[epilogue.md]: crate::guide::epilogue\n[batched.md]: crate::guide::batched\n",
                "[symmetric.md]: crate::guide::symmetric\n[triangular.md]: crate::guide::triangular\n[perturb.md]: crate::guide::perturb\n",
                "[threads.md]: crate::guide::threads\n[isa.md]: crate::guide::isa\n[numerics.md]: crate::guide::numerics\n[vectors.md]: crate::guide::vectors\n\n",
                include_str!(concat!("../docs/", $file)),
            )]
            pub mod $name {}
        )+
    };
}

page! {
    gemm "gemm.md",
    pack "pack.md",
    epilogue "epilogue.md",
    batched "batched.md",
    symmetric "symmetric.md",
    triangular "triangular.md",
    vectors "vectors.md",
    perturb "perturb.md",
    threads "threads.md",
    isa "isa.md",
    numerics "numerics.md",
}

/// Runs the code blocks of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
