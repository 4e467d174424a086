//! MKL and OpenBLAS, looked for at run time: nothing is linked, and a machine without them measures the others.

use crate::rows::Element;
use libloading::Library;
use std::error::Error;
use std::ffi::{CStr, c_char, c_int};
use std::path::PathBuf;
use std::process::Command;

/// Which library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    Mkl,
    OpenBlas,
}

impl Vendor {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mkl => "MKL",
            Self::OpenBlas => "OpenBLAS",
        }
    }

    /// The environment variable that names the library's file.
    fn variable(self) -> &'static str {
        match self {
            Self::Mkl => "GAITPROP_MKL",
            Self::OpenBlas => "GAITPROP_OPENBLAS",
        }
    }

    /// Where Python's packages put it, from a directory such as `sys.prefix` or that of the packages.
    fn in_python(self) -> &'static [&'static str] {
        match self {
            Self::Mkl => &["lib/libmkl_rt.so.3", "lib/libmkl_rt.so.2"],
            Self::OpenBlas => &["scipy_openblas32/lib/libscipy_openblas.so"],
        }
    }

    /// What the system's loader knows it by.
    fn sonames(self) -> &'static [&'static str] {
        match self {
            Self::Mkl => &["libmkl_rt.so.3", "libmkl_rt.so.2", "libmkl_rt.so"],
            Self::OpenBlas => &["libopenblas.so.0", "libopenblas.so"],
        }
    }
}

/// A library that is there.
pub struct Blas {
    /// Never unloaded: its threads would be left without code.
    library: &'static Library,
    pub vendor: Vendor,
    /// In front of every name (`scipy_` in a build that must not meet another one).
    prefix: &'static str,
    pub version: String,
    pub path: String,
    /// Built for one thread: it neither starts others nor bears two callers at once.
    pub serial: bool,
}

// 32-bit integers throughout (LP64): the interface that both have by these names.
type Int = c_int;
pub type Gemm<T> = unsafe extern "C" fn(Int, Int, Int, Int, Int, Int, T, *const T, Int, *const T, Int, T, *mut T, Int);
pub type Syrk<T> = unsafe extern "C" fn(Int, Int, Int, Int, Int, T, *const T, Int, T, *mut T, Int);
pub type Trsm<T> = unsafe extern "C" fn(Int, Int, Int, Int, Int, Int, Int, T, *const T, Int, *mut T, Int);
/// m, n, A, its leading dimension, pivots, information.
pub type Getrf<T> = unsafe extern "C" fn(*const Int, *const Int, *mut T, *const Int, *mut Int, *mut Int);
/// Triangle, n, A, its leading dimension, information, length of the first argument (Fortran's way with strings).
pub type Potrf<T> = unsafe extern "C" fn(*const c_char, *const Int, *mut T, *const Int, *mut Int, usize);
pub type PackSize = unsafe extern "C" fn(Int, Int, Int, Int) -> usize;
pub type Pack<T> = unsafe extern "C" fn(Int, Int, Int, Int, Int, Int, T, *const T, Int, *mut T);
pub type Compute<T> = unsafe extern "C" fn(Int, Int, Int, Int, Int, Int, *const T, Int, *const T, Int, T, *mut T, Int);
/// As [`Gemm`] with a stride behind each leading dimension, and the number of products.
pub type Batch<T> =
    unsafe extern "C" fn(Int, Int, Int, Int, Int, Int, T, *const T, Int, Int, *const T, Int, Int, T, *mut T, Int, Int, Int);

/// What there is for one element type.
pub struct Table<T> {
    pub gemm: Gemm<T>,
    pub syrk: Syrk<T>,
    pub trsm: Trsm<T>,
    pub getrf: Option<Getrf<T>>,
    pub potrf: Option<Potrf<T>>,
    pub batch: Option<Batch<T>>,
    /// MKL's operands packed beforehand.
    pub pack: Option<(PackSize, Pack<T>, Compute<T>)>,
}

impl Blas {
    /// Loads the library of the environment variable, or else the first that is found; `Ok(None)` if there is none.
    pub fn find(vendor: Vendor) -> Result<Option<Self>, String> {
        if let Some(path) = std::env::var_os(vendor.variable()) {
            let path = path.to_string_lossy().into_owned();
            return Self::load(vendor, &path).map(Some).map_err(|e| format!("{}={path}: {e}", vendor.variable()));
        }
        let in_python = python_directories().into_iter().flat_map(|d| vendor.in_python().iter().map(move |file| d.join(file)));
        let files = in_python.filter(|file| file.exists()).map(|file| file.to_string_lossy().into_owned());
        let mut names = files.chain(vendor.sonames().iter().map(|&name| name.to_owned()));
        Ok(names.find_map(|name| Self::load(vendor, &name).ok()))
    }

    fn load(vendor: Vendor, path: &str) -> Result<Self, String> {
        // SAFETY: runs the library's initialisers. The file is the one that the user named or that Python's or the system's packages installed
        // under this name; it is what it says.
        let library = unsafe { Library::new(path) }.map_err(|e| e.source().map_or(e.to_string(), ToString::to_string))?;
        let library: &'static Library = Box::leak(Box::new(library));
        let mut found = Self { library, vendor, prefix: "", version: String::new(), path: path.to_owned(), serial: false };
        let prefixes = ["", "scipy_"];
        let has = |prefix: &&str| found.symbol::<Gemm<f32>>(&format!("{prefix}cblas_sgemm")).is_some();
        found.prefix = prefixes.into_iter().find(has).ok_or("it has no cblas_sgemm")?;
        found.version = found.ask_version().ok_or(format!("it does not say that it is {}", vendor.name()))?;
        found.serial = found.ask_serial();
        Ok(found)
    }

    /// A function by its whole name. F must be the type that this name has in the library's headers: every use below says which.
    fn symbol<F: Copy>(&self, name: &str) -> Option<F> {
        assert_eq!(size_of::<F>(), size_of::<usize>(), "F is the type of a function pointer");
        // SAFETY: the name has this type: all callers are in this file and use the aliases above, written from the CBLAS, LAPACK, MKL and
        // OpenBLAS headers. The library is never unloaded.
        unsafe { self.library.get::<F>(name) }.ok().map(|symbol| *symbol)
    }

    /// A function of one element type, as `cblas_?gemm`.
    fn typed<T: Element, F: Copy>(&self, name: &str) -> Option<F> {
        self.symbol(&format!("{}{}", self.prefix, name.replace('?', T::LETTER.encode_utf8(&mut [0; 4]))))
    }

    pub fn table<T: Element>(&self) -> Result<Table<T>, String> {
        let lacks = |what: &str| format!("{} lacks cblas_{}{what}", self.vendor.name(), T::LETTER);
        let pack = self.typed::<T, PackSize>("cblas_?gemm_pack_get_size");
        let pack = pack.zip(self.typed::<T, Pack<T>>("cblas_?gemm_pack")).zip(self.typed::<T, Compute<T>>("cblas_?gemm_compute"));
        Ok(Table {
            gemm: self.typed::<T, Gemm<T>>("cblas_?gemm").ok_or_else(|| lacks("gemm"))?,
            syrk: self.typed::<T, Syrk<T>>("cblas_?syrk").ok_or_else(|| lacks("syrk"))?,
            trsm: self.typed::<T, Trsm<T>>("cblas_?trsm").ok_or_else(|| lacks("trsm"))?,
            getrf: self.typed::<T, Getrf<T>>("?getrf_"),
            potrf: self.typed::<T, Potrf<T>>("?potrf_"),
            batch: self.typed::<T, Batch<T>>("cblas_?gemm_batch_strided"),
            // OpenBLAS has functions of these names and no packing behind them.
            pack: pack.filter(|_| self.vendor == Vendor::Mkl).map(|((size, pack), compute)| (size, pack, compute)),
        })
    }

    fn ask_version(&self) -> Option<String> {
        match self.vendor {
            Vendor::Mkl => {
                let ask = self.symbol::<unsafe extern "C" fn(*mut c_char, Int)>("MKL_Get_Version_String")?;
                let mut text = [0u8; 256];
                // SAFETY: writes at most 255 bytes into 256: the last stays 0.
                unsafe { ask(text.as_mut_ptr().cast(), 255) };
                let text = CStr::from_bytes_until_nul(&text).ok()?.to_string_lossy().into_owned();
                Some(
                    text.trim()
                        .replace("Intel(R) oneAPI Math Kernel Library ", "")
                        .replace(" for Intel(R) 64 architecture applications", ""),
                )
            }
            Vendor::OpenBlas => {
                let ask = |name: &str| {
                    let ask = self.symbol::<unsafe extern "C" fn() -> *const c_char>(&format!("{}{name}", self.prefix))?;
                    // SAFETY: takes nothing and returns a string that lives as long as the library.
                    let text = unsafe { ask() };
                    // SAFETY: as above; null is turned away before.
                    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned())
                };
                ask("openblas_get_config")
            }
        }
    }

    fn ask_serial(&self) -> bool {
        let parallel = self.symbol::<unsafe extern "C" fn() -> Int>(&format!("{}openblas_get_parallel", self.prefix));
        // SAFETY: takes nothing and returns how the library was built.
        parallel.is_some_and(|ask| unsafe { ask() } == 0)
    }

    /// Says how many threads every later call uses.
    pub fn set_threads(&self, threads: usize) {
        let names: &[&str] = match self.vendor {
            Vendor::Mkl => &["MKL_Set_Num_Threads"],
            Vendor::OpenBlas => &["openblas_set_num_threads"],
        };
        for name in names {
            if let Some(set) = self.symbol::<unsafe extern "C" fn(Int)>(&format!("{}{name}", self.prefix)) {
                // SAFETY: takes a number and touches nothing of ours.
                unsafe { set(threads as Int) };
            }
        }
        if let Some(set) = self.symbol::<unsafe extern "C" fn(Int)>("MKL_Set_Dynamic") {
            // SAFETY: as above. Off: the library is not to choose fewer threads by itself.
            unsafe { set(0) };
        }
    }
}

/// Directories of the Python on the path, and of an activated environment.
fn python_directories() -> Vec<PathBuf> {
    const ASK: &str = "import site, sys, sysconfig
for d in [sys.prefix, sysconfig.get_path('platlib'), sysconfig.get_path('purelib'), site.getuserbase(), site.getusersitepackages()]: print(d)";
    let activated = std::env::var_os("VIRTUAL_ENV").map(|d| PathBuf::from(d).join("bin/python3"));
    let pythons = activated.into_iter().chain([PathBuf::from("python3")]);
    let answers = pythons.filter_map(|python| Command::new(python).args(["-c", ASK]).output().ok());
    let mut directories = Vec::new();
    for answer in answers {
        for line in String::from_utf8_lossy(&answer.stdout).lines().map(PathBuf::from) {
            if !directories.contains(&line) {
                directories.push(line);
            }
        }
    }
    directories
}
