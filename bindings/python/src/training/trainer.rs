//! The trainer.

use crate::array::matrix;
use crate::call::detached;
use crate::error;
use crate::threads;
use crate::training::config;
use crate::training::network::Network;
use crate::training::rule::{PythonRule, Raised};
use crate::training::{Either, each, exception, labels, run};
use gaitprop::data::SamplesRef;
use gaitprop::{Epoch, checkpoint};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// Time between two looks at Python's signals, and between two calls of a progress function.
const PERIOD: Duration = Duration::from_millis(50);

/// Trains a network. The Python part wraps it.
#[pyclass(frozen, module = "gaitprop._native")]
pub(crate) struct Trainer {
    inner: Mutex<Inner>,
    raised: Raised,
    /// Number of whole epochs. Counted here, as Ctrl-C can stop Python's part between the return of
    /// `epoch` and its next line.
    epochs: AtomicU64,
}

type Inner = Either<gaitprop::Trainer<f32>, gaitprop::Trainer<f64>>;

impl Trainer {
    /// Returns the trainer, which one thread has at a time.
    fn lock(&self) -> PyResult<MutexGuard<'_, Inner>> {
        match self.inner.try_lock() {
            Ok(inner) => Ok(inner),
            // A panic inside the library, which is a defect there, leaves nothing that is worth more.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            // Waiting would be for ever in a callback of this trainer, or in a forked child.
            Err(TryLockError::WouldBlock) => {
                Err(PyRuntimeError::new_err("this trainer is at work: in another thread, or below this call"))
            }
        }
    }
}

#[pymethods]
impl Trainer {
    /// Copies a network.
    #[new]
    #[pyo3(signature = (network, settings, seed, threads, rule))]
    fn new(
        py: Python<'_>,
        network: &Network,
        settings: &Bound<'_, PyDict>,
        seed: u64,
        threads: Option<i64>,
        rule: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let config = config::read(settings, rule.is_some())?;
        let (plan, raised) = (threads::plan(threads::number(py, threads)?), Raised::default());
        let inner = match &network.net {
            Either::F32(net) => {
                let trainer = run(py, || gaitprop::Trainer::from_network(net.clone(), config, seed, plan))?;
                Either::F32(match rule {
                    Some(function) => trainer.with_rule(PythonRule::new(function, raised.clone())),
                    None => trainer,
                })
            }
            Either::F64(net) => {
                let trainer = run(py, || gaitprop::Trainer::from_network(net.clone(), config, seed, plan))?;
                Either::F64(match rule {
                    Some(function) => trainer.with_rule(PythonRule::new(function, raised.clone())),
                    None => trainer,
                })
            }
        };
        Ok(Self { inner: Mutex::new(inner), raised, epochs: AtomicU64::new(0) })
    }

    /// Learns every sample once. `progress(learned, samples)` is called now and then.
    #[pyo3(signature = (x, y, progress))]
    fn epoch<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        y: PyReadonlyArray1<'py, u32>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = x.py();
        let (mut inner, labels, progress) = (self.lock()?, labels(&y)?, progress.map(|f| f.clone().unbind()));
        let inner = &mut *inner;
        let epoch = each!(inner, trainer => {
            let x = x.extract()?;
            let samples = SamplesRef { x: matrix(&x, "x")?, labels };
            detached(py, || {
                let mut last = Instant::now();
                trainer.epoch_with(samples, |trainer, _| {
                    if last.elapsed() < PERIOD {
                        return ControlFlow::Continue(());
                    }
                    last = Instant::now();
                    let looked = Python::attach(|py| {
                        py.check_signals()?;
                        match &progress {
                            Some(call) => call.call1(py, (trainer.learned(), samples.len())).map(|_| ()),
                            None => Ok(()),
                        }
                    });
                    match looked {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(e) => {
                            self.raised.put(e);
                            ControlFlow::Break(())
                        }
                    }
                })
            })?
        });
        match (self.raised.take(), epoch) {
            (Some(raised), _) => Err(raised),
            (None, Err(e)) => Err(exception(py, e)),
            (None, Ok(epoch)) => {
                self.epochs.fetch_add(1, Ordering::Relaxed);
                results(py, &epoch)
            }
        }
    }

    /// Number of whole epochs so far.
    #[getter]
    fn epochs(&self) -> u64 {
        self.epochs.load(Ordering::Relaxed)
    }

    /// Sets the number of epochs, which is not part of the state that `load` reads.
    #[setter]
    fn set_epochs(&self, epochs: u64) {
        self.epochs.store(epochs, Ordering::Relaxed);
    }

    /// A copy of the network.
    fn network(&self, py: Python<'_>) -> PyResult<Network> {
        let mut inner = self.lock()?;
        let inner = &mut *inner;
        detached(py, || each!(inner, trainer => trainer.network().clone().into()))
    }

    /// Replaces the weights and biases by those of a network of the same shape.
    fn set_network(&self, py: Python<'_>, network: &Network) -> PyResult<()> {
        match (&mut *self.lock()?, &network.net) {
            (Either::F32(trainer), Either::F32(net)) => trainer.set_network(net).map_err(|e| exception(py, e)),
            (Either::F64(trainer), Either::F64(net)) => trainer.set_network(net).map_err(|e| exception(py, e)),
            _ => Err(error::error(py, "the network has another element type than the trainer's".into())),
        }
    }

    /// Number of steps so far.
    #[getter]
    fn steps(&self) -> PyResult<u64> {
        Ok(each!(&*self.lock()?, trainer => trainer.steps()))
    }

    /// Distance of each layer's weights from orthogonal.
    fn orthogonality(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
        let mut inner = self.lock()?;
        let inner = &mut *inner;
        run(py, || each!(inner, trainer => trainer.orthogonality()))
    }

    /// Writes all that later steps depend on, and `notes`.
    fn save(&self, py: Python<'_>, path: PathBuf, notes: String) -> PyResult<()> {
        let mut inner = self.lock()?;
        let inner = &mut *inner;
        run(py, || each!(inner, trainer => checkpoint::write(&path, &trainer.save(), &notes)))
    }

    /// Reads a file of `save` into this trainer.
    fn load(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let mut inner = self.lock()?;
        let inner = &mut *inner;
        run(py, || {
            each!(inner, trainer => {
                let (state, ..): (_, _, String) = checkpoint::read(&path)?;
                trainer.restore(state)
            })
        })
    }
}

fn results<'py>(py: Python<'py>, epoch: &Epoch) -> PyResult<Bound<'py, PyDict>> {
    let results = PyDict::new(py);
    results.set_item("loss", epoch.mean_loss())?;
    results.set_item("accuracy", epoch.accuracy())?;
    results.set_item("steps", epoch.steps)?;
    Ok(results)
}

/// Read the notes of a checkpoint, which say what trainer to build for it.
///
/// Returns
/// -------
/// str
///     The notes.
#[pyfunction]
pub(crate) fn checkpoint_notes(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    run(py, || match checkpoint::read::<f32, String>(&path) {
        Ok((_, _, notes)) => Ok(notes),
        // Of the other element type, or of neither.
        Err(_) => checkpoint::read::<f64, String>(&path).map(|(_, _, notes)| notes),
    })
}
