//! TensorBoard scalars: an event file.
//!
//!
//! Written by hand, because a resumed run must truncate the file to its checkpoint, which
//! tensorboard-rs 0.5.9 cannot do. One kind of record suffices.
//!
//! Format: TFRecord (a length and the data, each with a masked CRC-32C) around protocol buffers
//! `Event { 1: double wall_time, 2: int64 step, 3: string file_version, 5: Summary { 1: Value { 1:
//! string tag, 2: float simple_value } } }`. See `record_writer.cc`, `event.proto` and
//! `summary.proto` of TensorFlow.

use crate::base::error::{Error, Result};
use crate::base::files;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// TensorBoard reads every file with `tfevents` in its name.
pub(crate) const FILE: &str = "events.out.tfevents.gaitprop";

/// An event file, open for appending.
#[derive(Debug)]
pub(crate) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Opens the event file of a folder, creating it if needed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let file = File::options().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        let mut events = Self { path, file };
        events.begin()?;
        Ok(events)
    }

    /// Writes the header if the file is empty.
    fn begin(&mut self) -> Result<()> {
        if self.len()? == 0 { self.write(&record(&version(now()))) } else { Ok(()) }
    }

    /// Appends the named values of one step. Non-finite values are left out.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn scalars(&mut self, step: u64, values: &[(String, f64)]) -> Result<()> {
        self.write(&record(&scalars(now(), step, values)))
    }

    /// Syncs the file and returns its length in bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn len(&self) -> Result<u64> {
        self.file.sync_data().map_err(Error::io("write", &self.path))?;
        Ok(self.file.metadata().map_err(Error::io("read", &self.path))?.len())
    }

    /// Truncates the file to `len`. A file that is shorter stays as it is; an empty one gets its
    /// header.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn cut(&mut self, len: u64) -> Result<()> {
        if self.len()? > len {
            self.file.set_len(len).map_err(Error::io("write", &self.path))?;
        }
        self.begin()
    }

    /// Appends records, whole or not at all.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        files::append(&mut self.file, bytes).map_err(Error::io("write", &self.path))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Masked CRC-32C of TFRecord: rotated and offset, so that data may itself contain checksums.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), data, &masked_crc(data)].concat()
}

/// Encodes a number in groups of seven bits, lowest first.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Encodes a field of bytes: a string or a message.
fn field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn event(wall_time: f64) -> Vec<u8> {
    [&[1 << 3 | 1][..], &wall_time.to_le_bytes()].concat()
}

/// First record of every event file.
fn version(wall_time: f64) -> Vec<u8> {
    let mut event = event(wall_time);
    field(3, b"brain.Event:2", &mut event);
    event
}

fn scalars(wall_time: f64, step: u64, values: &[(String, f64)]) -> Vec<u8> {
    let mut event = event(wall_time);
    event.push(2 << 3);
    varint(step, &mut event);
    let mut summary = Vec::new();
    for (name, number) in values.iter().filter(|(_, number)| number.is_finite()) {
        let mut value = Vec::new();
        field(1, name.as_bytes(), &mut value);
        value.push(2 << 3 | 5);
        value.extend_from_slice(&(*number as f32).to_le_bytes());
        field(1, &value, &mut summary);
    }
    field(5, &summary, &mut event);
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check value of CRC-32C (RFC 3720, B.4: 32 zeros), and the first twelve bytes that TensorFlow
    /// writes.
    #[test]
    fn records_are_framed_as_tensorflow_does() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let first = record(&version(1.5e9));
        assert_eq!(first[..12], [0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(first.len(), 8 + 4 + 24 + 4);
        assert_eq!(first[12..21], [&[9][..], &1.5e9f64.to_le_bytes()].concat());
        assert_eq!(&first[21..36], b"\x1a\x0dbrain.Event:2");
    }

    /// Expected bytes encoded by hand from the wire format.
    #[test]
    fn scalars_are_a_summary() {
        let values = [("a/b".to_owned(), 0.5), ("nan".to_owned(), f64::NAN), ("c".to_owned(), -2.0)];
        let expected = [
            &[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f][..],
            &[0x10, 0xac, 0x02],
            &[0x2a, 22],
            &[0x0a, 10, 0x0a, 3, b'a', b'/', b'b', 0x15, 0, 0, 0, 0x3f],
            &[0x0a, 8, 0x0a, 1, b'c', 0x15, 0, 0, 0, 0xc0],
        ];
        assert_eq!(scalars(1.0, 300, &values), expected.concat());
    }

    #[test]
    fn a_file_is_cut_back_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::open(dir.path()).unwrap();
        events.scalars(1, &[("a".into(), 1.0)]).unwrap();
        let len = events.len().unwrap();
        events.scalars(2, &[("a".into(), 2.0)]).unwrap();
        events.cut(len).unwrap();
        assert_eq!(events.len().unwrap(), len);
        drop(events);
        let mut events = Events::open(dir.path()).unwrap();
        assert_eq!(events.len().unwrap(), len, "begun once");
        events.cut(0).unwrap();
        assert_eq!(events.len().unwrap(), 40, "begun anew");
    }
}
