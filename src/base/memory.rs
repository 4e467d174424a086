//! Memory that caller data decides the amount of.

use crate::base::error::{Error, Result};

/// Asks the system once for `bytes`, which `what` would hold, and gives them back. An allocation that the system
/// refuses outright is then an error and does not abort the process. A system that promises more memory than it has
/// is not caught.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn ask_for(bytes: usize, what: &'static str) -> Result<()> {
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Error::Memory { what, bytes })
}
