//! A checksum (CRC-32C) over every byte of a file but its own eight digits, which stand near the file's beginning: in the metadata of safetensors files.

/// What stands before the eight digits.
const MARK: &[u8] = b"crc32c:";
/// How a file that is not sealed yet says where the checksum belongs.
pub(crate) const OPEN: &str = "crc32c:00000000";
/// The mark is looked for in so many bytes.
const NEAR: usize = 1 << 10;

/// The error of a file whose checksum does not fit.
pub(crate) const BROKEN: &str = "damaged or cut short: its checksum does not fit its contents";

/// Where the checksum's eight digits begin.
fn digits(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(MARK.len()).take(NEAR).position(|window| window == MARK)? + MARK.len();
    (at + 8 <= bytes.len()).then_some(at)
}

/// Puts the checksum where eight zeros are kept for it; false if there is no such place.
pub fn seal(bytes: &mut [u8]) -> bool {
    let Some(at) = digits(bytes) else { return false };
    let sum = crc32c::crc32c(bytes);
    bytes[at..at + 8].copy_from_slice(format!("{sum:08x}").as_bytes());
    true
}

/// Whether the checksum fits; nothing where there is none. The bytes are then as they were before [`seal`].
pub fn fits(bytes: &mut [u8]) -> Option<bool> {
    let at = digits(bytes)?;
    let said: Vec<u8> = bytes[at..at + 8].to_vec();
    bytes[at..at + 8].fill(b'0');
    Some(said == format!("{:08x}", crc32c::crc32c(bytes)).as_bytes())
}
