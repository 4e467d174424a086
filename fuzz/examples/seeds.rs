//! Writes the seeds of the target `safetensors_checkpoint`: weights in both precisions, and
//! checkpoints in the middle of an epoch and at its end.
//!
//! `cargo run --example seeds`, in the folder `fuzz`.

use gaitprop::weights::{self, Notes};
use gaitprop::data::Affine;
use gaitprop::solve::Kind as Way;
use gaitprop::checkpoint;
use gaitprop_fuzz::{samples, trainer};
use std::ops::ControlFlow;
use std::path::Path;

fn main() -> gaitprop::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/safetensors_checkpoint");
    for (name, way) in [("lu", Way::Lu), ("stale", Way::Stale), ("auto", Way::Auto)] {
        let mut trainer = trainer(way);
        trainer.epoch(&samples(), |_| ControlFlow::Continue(()))?;
        checkpoint::write(&dir.join(format!("{name}-end")), &trainer.save(), &())?;
        trainer.epoch(&samples(), |_| ControlFlow::Break(()))?;
        checkpoint::write(&dir.join(format!("{name}-middle")), &trainer.save(), &())?;
        if way == Way::Lu {
            let notes = Notes {
                loss: "squared".into(),
                rule: "gait".into(),
                inputs: Affine { center: vec![0.0; 4], scale: vec![1.0; 4] },
            };
            weights::save(&dir.join("weights-f32"), trainer.network(), &notes)?;
            weights::save(&dir.join("weights-f64"), &trainer.network().cast::<f64>(), &notes)?;
        }
    }
    Ok(())
}
