//! How the kernels work, one page a family: equation, memory order, parameters and their reasons, promises, tests, and how to add to them.
//!
//! The same pages are files in `kernels/docs/`. Every Rust block in them is run as a test.

/// One page, with the names of the others as links: the first definition of a link counts, so that the files can have their own.
macro_rules! page {
    ($($name:ident $file:literal),+ $(,)?) => {
        $(
            #[doc = concat!(
                "[gemm.md]: super::gemm\n[pack.md]: super::pack\n[epilogue.md]: super::epilogue\n[batched.md]: super::batched\n",
                "[symmetric.md]: super::symmetric\n[triangular.md]: super::triangular\n[perturb.md]: super::perturb\n",
                "[threads.md]: super::threads\n[isa.md]: super::isa\n[numerics.md]: super::numerics\n\n",
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
