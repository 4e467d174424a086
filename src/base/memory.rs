//! Allocations whose size depends on caller data.

use crate::base::error::{Error, Result};

/// Allocates `bytes` and frees them again, so that a refused allocation is an error and not an
/// abort.
///
/// Does not detect a system that overcommits memory. `what` names the purpose in the error.
///
/// # Errors
/// [`Error::Memory`] if the system refuses.
pub(crate) fn ask_for(bytes: usize, what: &'static str) -> Result<()> {
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Error::Memory { what, bytes })
}
