//! Any bytes as an archive of arrays: an error or arrays of the length their shapes say; never a
//! panic.
#![no_main]

use gaitprop::data::npz;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    // Names decide what is unpacked, as in the program.
    if let Ok(arrays) = npz::read_from(Cursor::new(bytes), Path::new("fuzz"), |name| name.len() < 4) {
        for (name, array) in arrays {
            assert_eq!(array.shape.iter().product::<usize>(), array.data.len(), "{name}");
        }
    }
});
