//! Allocations whose size depends on caller data, and buffers that grow.

use crate::base::error::{Error, Result};
use gaitprop_kernels::Real;

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

/// Returns the first `len` elements, growing the vector if needed. Contents are unspecified.
pub(crate) fn resized<T: Real>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    if memory.len() < len {
        memory.resize(len, T::ZERO);
    }
    &mut memory[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resizing_keeps_contents() {
        let mut memory = vec![1.0_f32, 2.0];
        assert_eq!(resized(&mut memory, 1), [1.0]);
        assert_eq!(resized(&mut memory, 3), [1.0, 2.0, 0.0]);
    }
}
