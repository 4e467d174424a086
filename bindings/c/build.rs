//! Linker arguments of the shared library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let elf = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| matches!(&*os, "linux" | "android" | "freebsd" | "netbsd"));
    if !elf {
        return;
    }
    // Threads of a context run code of the library. It stays mapped after `dlclose`.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // cargo-c passes the soname itself.
    if std::env::var_os("CARGO_FEATURE_CAPI").is_none() {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libgaitprop.so.0");
    }
}
