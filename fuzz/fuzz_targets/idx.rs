//! Any bytes, plain or gzipped: an error or what the header says; never a panic.
#![no_main]

use gaitprop::data::idx;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(images) = idx::read_images(bytes, Path::new("fuzz")) {
        assert_eq!(images.pixels.len(), images.count * images.rows * images.cols);
        assert!(images.count > 0);
    }
    let _ = idx::read_labels(bytes, Path::new("fuzz"));
});
