//! How the kernels work, one page a family: equation, memory order, parameters and their reasons, promises, tests, and how to add to them.
//!
//! The same pages are files in `kernels/docs/`. Every Rust block in them is run as a test.

/// One page, with the names of the others as links: the first definition of a link counts, so that the files can have their own.
macro_rules! page {
    ($($name:ident $file:literal),+ $(,)?) => {
        $(
            #[doc = concat!(
                "[gemm.md]: crate::guide::gemm\n[pack.md]: crate::guide::pack\n[epilogue.md]: crate::guide::epilogue\n[batched.md]: crate::guide::batched\n",
                "[symmetric.md]: crate::guide::symmetric\n[triangular.md]: crate::guide::triangular\n[perturb.md]: crate::guide::perturb\n",
                "[threads.md]: crate::guide::threads\n[isa.md]: crate::guide::isa\n[numerics.md]: crate::guide::numerics\n\n",
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
    perturb "perturb.md",
    threads "threads.md",
    isa "isa.md",
    numerics "numerics.md",
}

/// The blocks of the README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
