//! Checksum (CRC-32C) of a whole file, stored as eight hexadecimal digits near its beginning.
//!
//! The digits count as zeros in the sum. In safetensors files they are part of the metadata.

/// Marker before the eight digits.
const MARK: &[u8] = b"crc32c:";
/// Placeholder of the checksum in a file before [`seal`].
pub(crate) const OPEN: &str = "crc32c:00000000";
/// Number of leading bytes in which the marker is searched.
const NEAR: usize = 1 << 10;

/// Error message for a wrong checksum.
pub(crate) const BROKEN: &str = "damaged or cut short: its checksum does not match its contents";

/// Returns the position of the eight digits.
fn digits(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(MARK.len()).take(NEAR).position(|window| window == MARK)? + MARK.len();
    (at + 8 <= bytes.len()).then_some(at)
}

/// Writes the checksum over its placeholder. Returns false if there is none.
pub fn seal(bytes: &mut [u8]) -> bool {
    let Some(at) = digits(bytes) else { return false };
    let sum = crc32c::crc32c(bytes);
    bytes[at..at + 8].copy_from_slice(format!("{sum:08x}").as_bytes());
    true
}

/// Returns whether the checksum matches, or `None` without one. Restores the placeholder.
pub fn fits(bytes: &mut [u8]) -> Option<bool> {
    let at = digits(bytes)?;
    let found: Vec<u8> = bytes[at..at + 8].to_vec();
    bytes[at..at + 8].fill(b'0');
    Some(found == format!("{:08x}", crc32c::crc32c(bytes)).as_bytes())
}
