//! The extension module `gaitprop._native`.
//!
//! Python files of the package import what it holds and give it its public names.
//!
//! * `call`: the door of every computation
//! * `array`: views of NumPy's arrays, with their checks
//! * `error`: exceptions
//! * `threads`: the number of threads, teams, plans
//! * `training`: networks, trainers, updates
//! * `linalg`: products, solves, factorizations
//! * `layer`: layers of `gaitprop.torch`
//! * `cli`: the program
//!
//! Unsafe code stands at the border only: in `array` and `training`, where arrays become views and
//! weights become arrays, and in `threads`, at the handler of forks. No function holds the
//! interpreter's lock while it computes.

mod array;
mod call;
mod cli;
mod error;
mod layer;
mod linalg;
mod threads;
mod training;

use pyo3::prelude::*;

/// Native part of the package. Its functions are documented under their public names.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    threads::initialize()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(cli::main, module)?)?;
    module.add_function(wrap_pyfunction!(threads::set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(threads::get_num_threads, module)?)?;
    // Their documentation and tracebacks show the public module.
    let linalg = PyModule::new(module.py(), "gaitprop.linalg")?;
    for function in [
        wrap_pyfunction!(linalg::cholesky::cholesky, &linalg)?,
        wrap_pyfunction!(linalg::lu::lu_factor, &linalg)?,
        wrap_pyfunction!(linalg::lu::lu_solve, &linalg)?,
        wrap_pyfunction!(linalg::lu::solve, &linalg)?,
        wrap_pyfunction!(linalg::matmul::matmul, &linalg)?,
        wrap_pyfunction!(linalg::syrk::syrk, &linalg)?,
        wrap_pyfunction!(linalg::triangular::solve_triangular, &linalg)?,
    ] {
        module.add_function(function)?;
    }
    module.add_class::<training::network::Network>()?;
    module.add_class::<training::trainer::Trainer>()?;
    module.add_function(wrap_pyfunction!(training::trainer::checkpoint_notes, module)?)?;
    module.add_function(wrap_pyfunction!(training::config::names, module)?)?;
    module.add_function(wrap_pyfunction!(training::config::preset, module)?)?;
    module.add_function(wrap_pyfunction!(training::config::preset_epochs, module)?)?;
    module.add_function(wrap_pyfunction!(training::network::load_data, module)?)?;
    module.add_function(wrap_pyfunction!(training::batch::updates, module)?)?;
    module.add_function(wrap_pyfunction!(training::batch::alignment, module)?)?;
    layer::register(module)?;
    Ok(())
}
