//! Any bytes as saved weights and as a checkpoint, their checksum made to fit so that what lies
//! behind it is reached: an error, or weights that are the same when they are saved and read again,
//! and a training that refuses or goes on, and to the same bits in another one after one more trip
//! through bytes; never a panic.
#![no_main]

use gaitprop::weights::{self, Saved};
use gaitprop::solve::SolverKind;
use gaitprop::Trainer;
use gaitprop::{checkpoint, seal};
use gaitprop_fuzz::{samples, trainer};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

/// The same bytes with a checksum that fits, if there is a place for one.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // Looking at the one that is there clears its place.
    let _ = seal::fits(&mut bytes);
    let _ = seal::seal(&mut bytes);
    bytes
}

/// What a training remembers, as bytes: two are compared by these, since NaN differs from itself.
fn remembered(trainer: &Trainer<f32>) -> Vec<u8> {
    checkpoint::to_bytes(&trainer.save(), &"").expect("a state can be written")
}

/// An epoch more, or what keeps it from that, and what is then remembered.
fn outcome(trainer: &mut Trainer<f32>) -> (Result<(), String>, Vec<u8>) {
    let ended = trainer.epoch(&samples());
    (ended.map(|_| ()).map_err(|e| e.to_string()), remembered(trainer))
}

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzz");
    // As they are, mostly without a checksum that fits.
    let _ = weights::from_bytes(bytes.to_vec(), path);
    let _ = checkpoint::from_bytes::<f32, serde_json::Value>(bytes.to_vec(), path);
    if let Ok((saved, notes)) = weights::from_bytes(sealed(bytes), path) {
        let again = |bytes| weights::from_bytes(bytes, path).expect("what was written can be read");
        match saved {
            Saved::F32(net) => {
                let (back, said) = again(weights::to_bytes(&net, &notes).expect("it was read"));
                assert!(said == notes && matches!(back, Saved::F32(back) if back == net));
            }
            Saved::F64(net) => {
                let (back, said) = again(weights::to_bytes(&net, &notes).expect("it was read"));
                assert!(said == notes && matches!(back, Saved::F64(back) if back == net));
            }
            other => panic!("a precision that is compared with nothing: {other:?}"),
        }
    }
    for way in [SolverKind::Lu, SolverKind::Stale, SolverKind::Auto] {
        // What the notes hold is the program's: anything will do.
        let Ok((state, _, _)) = checkpoint::from_bytes::<f32, serde_json::Value>(sealed(bytes), path) else { return };
        let mut first = trainer(way);
        if first.restore(state).is_err() {
            continue;
        }
        let between = remembered(&first);
        let (state, _, _) = checkpoint::from_bytes::<f32, String>(between.clone(), path).expect("what was written can be read");
        let mut second = trainer(way);
        second.restore(state).expect("what was remembered is taken back");
        assert!(remembered(&second) == between, "{way:?}: another state after it was written and read");
        // Weights may be anything at all: an error is as good as an end, as long as it is the same.
        assert!(outcome(&mut first) == outcome(&mut second), "{way:?}: another end after the state was written and read");
    }
});
