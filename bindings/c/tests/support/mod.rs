//! Compiles C programs against the library that cargo has built for this test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Folder of this package.
pub(crate) fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Folder of the repository.
pub(crate) fn root() -> PathBuf {
    package().join("../..").canonicalize().unwrap()
}

/// Creates a folder for the files of one test.
pub(crate) fn scratch_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Compiles a C file of this package. Returns the program.
pub(crate) fn compiled(source: &str) -> PathBuf {
    let (folder, source) = (scratch_folder("bin"), package().join(source));
    // Cargo puts the shared library beside the test. The loader looks for its soname.
    let built = std::env::current_exe().unwrap().with_file_name("libgaitprop.so");
    let library = folder.join("libgaitprop.so.0");
    std::fs::copy(&built, &library).unwrap_or_else(|e| panic!("{}: {e}", built.display()));
    let program = folder.join(source.file_stem().unwrap());
    let include = |folder: &str| format!("-I{}", package().join(folder).display());
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-O1", "-Wall", "-Wextra", "-pedantic", "-Werror"]).args([include("include"), include("examples")]);
    cc.args([&source, &library]).arg(format!("-Wl,-rpath,{}", folder.display()));
    let out = cc.args(["-lm", "-o"]).arg(&program).output().expect("a C compiler, cc");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    program
}
