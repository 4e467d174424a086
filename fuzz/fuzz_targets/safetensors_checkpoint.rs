//! Any bytes as saved weights and as a checkpoint, their checksum made to fit so that what lies behind it is reached: an error, or weights that
//! are the same when they are saved and read again, and a training that goes on or refuses; never a panic.
#![no_main]

use gaitprop::checkpoint::{self, Saved};
use gaitprop::inverse::Kind as Way;
use gaitprop::{seal, state};
use gaitprop_fuzz::{samples, trainer};
use libfuzzer_sys::fuzz_target;
use std::ops::ControlFlow;
use std::path::Path;

/// The same bytes with a checksum that fits, if there is a place for one.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // Looking at the one that is there clears its place.
    let _ = seal::fits(&mut bytes);
    let _ = seal::seal(&mut bytes);
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzz");
    if let Ok((saved, notes)) = checkpoint::from_bytes(sealed(bytes), path) {
        let again = |bytes| checkpoint::from_bytes(bytes, path).expect("what was written can be read");
        match saved {
            Saved::F32(net) => {
                let (back, said) = again(checkpoint::to_bytes(&net, &notes).expect("it was read"));
                assert!(said == notes && matches!(back, Saved::F32(back) if back == net));
            }
            Saved::F64(net) => {
                let (back, said) = again(checkpoint::to_bytes(&net, &notes).expect("it was read"));
                assert!(said == notes && matches!(back, Saved::F64(back) if back == net));
            }
            other => panic!("a precision that is compared with nothing: {other:?}"),
        }
    }
    for way in [Way::Lu, Way::Stale, Way::Auto] {
        // What the notes hold is the program's: anything will do.
        let Ok((state, _, _)) = state::from_bytes::<f32, serde_json::Value>(sealed(bytes), path) else { return };
        let mut trainer = trainer(way);
        if trainer.restore(state).is_ok() {
            // Weights may be anything at all: an error is as good as an end.
            let _ = trainer.epoch(&samples(), |_| ControlFlow::Continue(()));
        }
    }
});
