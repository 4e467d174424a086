//! `gaitprop eval` and files of weights.

use crate::cli::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

#[test]
fn wrong_files_of_weights_are_named() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --out run")).well();
    fs::create_dir(dir.path().join("empty")).unwrap();
    fs::write(dir.path().join("text"), "hello, this is not a file of weights").unwrap();
    write_npz(&dir.path().join("narrow.npz"), &labelled());

    let (tensors, metadata) = weights(&dir.path().join("run"));
    let save_of = |tensors: &Tensors, name: &str, metadata: Option<BTreeMap<String, String>>| {
        let views = tensors.iter().map(|(name, (dtype, shape, data))| {
            let dtype = if dtype == "F32" { safetensors::Dtype::F32 } else { safetensors::Dtype::F64 };
            (name.as_str(), safetensors::tensor::TensorView::new(dtype, shape.clone(), data).unwrap())
        });
        let bytes = safetensors::serialize(views, metadata.map(|m| m.into_iter().collect())).unwrap();
        fs::write(dir.path().join(name), bytes).unwrap();
    };
    let save = |name: &str, metadata| save_of(&tensors, name, metadata);
    let but = |key: &str, value: Value| {
        let mut header: Value = serde_json::from_str(&metadata["gaitprop"]).unwrap();
        // As in a file of before there were checksums: those are read as ever.
        header.as_object_mut().unwrap().remove("checksum");
        header[key] = value;
        Some(BTreeMap::from([("gaitprop".to_owned(), header.to_string())]))
    };
    save("sound", but("loss", "squared".into()));
    fs::copy(dir.path().join("run/weights.safetensors"), dir.path().join("as_saved")).unwrap();
    assert_eq!(run(dir.path(), "eval sound").well(), run(dir.path(), "eval as_saved").well());
    let otherwise = metadata["gaitprop"].replace("squared", "cross-entropy");
    save("best.safetensors", Some(BTreeMap::from([("gaitprop".to_owned(), otherwise)])));
    fs::create_dir(dir.path().join("hurt")).unwrap();
    fs::copy(dir.path().join("best.safetensors"), dir.path().join("hurt/weights.safetensors")).unwrap();
    for name in ["best.safetensors", "mine.safetensors"] {
        fs::copy(dir.path().join("best.safetensors"), dir.path().join("hurt").join(name)).unwrap();
    }
    fs::copy(dir.path().join("run/config.toml"), dir.path().join("hurt/config.toml")).unwrap();
    fs::create_dir(dir.path().join("alone")).unwrap();
    fs::copy(dir.path().join("best.safetensors"), dir.path().join("alone/weights.safetensors")).unwrap();
    save("unsealed", but("checksum", "crc32d:00000000".into()));
    save("other", None);
    save("newer", but("format", "gaitprop-weights-99".into()));
    save("wide", but("inputs", 65.into()));
    save("labels", but("labels", 33.into()));
    save("number", but("labels", "ten".into()));
    save("loss", but("loss", "hinge".into()));
    save("shallow", but("activations", vec!["tanh"; 1].into()));
    save("slope", but("activations", vec!["leaky-relu:0.1", "relu", "tanh"].into()));
    save("deeper", but("activations", vec!["tanh"; 4].into()));
    for (name, array, value) in
        [("flat", "input_spread", 0.0_f64), ("endless", "input_spread", f64::INFINITY), ("lost", "input_centre", f64::NAN)]
    {
        let mut tensors = tensors.clone();
        tensors.get_mut(array).unwrap().2[8..16].copy_from_slice(&value.to_le_bytes());
        save_of(&tensors, name, but("loss", "squared".into()));
    }

    let cases: &[(&str, &[&str])] = &[
        ("", &["WEIGHTS"]),
        ("nowhere", &["nowhere", "cannot read"]),
        ("empty", &["empty/weights.safetensors", "cannot read"]),
        ("text", &["text", "safetensors"]),
        ("run/metrics.jsonl", &["metrics.jsonl", "safetensors"]),
        // Only the last weights of a run are written again when it goes on.
        ("hurt", &["hurt/weights.safetensors", "damaged", "checksum", "--resume"]),
        (
            "hurt/best.safetensors",
            &["best.safetensors", "damaged", "checksum", "weights.safetensors", "--overwrite", "--resume does not"],
        ),
        ("hurt/mine.safetensors", &["mine.safetensors", "damaged", "checksum", "or train again\n"]),
        // No run to resume.
        ("alone", &["alone/weights.safetensors", "damaged", "checksum", "or train again\n"]),
        ("best.safetensors", &["best.safetensors", "damaged", "checksum", "or train again\n"]),
        ("unsealed", &["unsealed", "damaged", "checksum"]),
        ("other", &["other", "not weights written by this program"]),
        ("newer", &["newer", "gaitprop-weights-99", "gaitprop-weights-1"]),
        ("wide", &["wide", "`input_centre`", "need 65 finite numbers"]),
        ("labels", &["labels", "32 units", "33 labels"]),
        ("number", &["number", "damaged", "\"ten\""]),
        ("slope", &["slope", "unknown activation `relu`"]),
        ("deeper", &["deeper", "8 arrays", "4 layers"]),
        ("shallow", &["shallow", "8 arrays", "1 layers"]),
        ("loss", &["loss", "unknown loss `hinge`"]),
        ("flat", &["flat", "`input_spread`", "those of scale must be positive"]),
        ("endless", &["endless", "element 1 of array `input_spread`", "not finite"]),
        ("lost", &["lost", "element 1 of array `input_centre`", "not finite"]),
        ("run --data narrow.npz", &["64 inputs", "narrow has 3"]),
        ("run --data nowhere", &["nowhere", "does not exist"]),
        ("run --threads 0", &["--threads must be"]),
    ];
    for (line, causes) in cases {
        fails(dir.path(), &format!("eval {line}"), causes);
    }
    fs::write(dir.path().join("run/config.toml"), "rule = \"bp\"\nbatches = 3").unwrap();
    fails(dir.path(), "eval run", &["config.toml: line 2", "batches"]);
    fs::remove_file(dir.path().join("run/config.toml")).unwrap();
    run(dir.path(), "eval run").well();
}

#[test]
fn truncated_and_damaged_weights_are_errors() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --out run")).well();
    let whole = fs::read(dir.path().join("run/weights.safetensors")).unwrap();
    let path = dir.path().join("cut");
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let fails = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let said = fails(dir.path(), "eval cut --threads 1", &["cut: "]);
        assert!(
            ["not a readable safetensors file", "checksum", "damaged"].iter().any(|why| said.contains(why)),
            "{what}: {said}"
        );
    };
    for length in [0, 1, 7, 8, 9, 100, header - 1, header, header + 1, whole.len() / 2, whole.len() - 4, whole.len() - 1] {
        fails(&whole[..length], &format!("{length} bytes"));
    }
    fails(&[&whole[..], b"more"].concat(), "more");
    // A bit anywhere: in the header, in which it may spell another name, in the checksum, and in the weights.
    let step = whole.len().div_ceil(50);
    for at in (0..header).step_by(13).chain(0..8).chain((header..whole.len()).step_by(step)) {
        for mask in [0x80, 0x01] {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            fails(&bytes, &format!("byte {at}"));
        }
    }
}

#[test]
fn eval_finds_what_training_said() {
    for flags in [
        "--rule gait",
        "--rule tp --dtype f64",
        "--rule gait --loss cross-entropy --activation tanh",
        "--rule bp --scale standard",
        "--rule itp --scale per-feature",
    ] {
        let dir = empty();
        run(dir.path(), &format!("train --hidden 1 --width 20 --epochs 1 --lr 1e-3 --out run {flags}")).well();
        let end = metrics(&dir.path().join("run")).pop().unwrap();
        assert_eq!(evaluated(dir.path(), "run"), as_evaluated(&end), "{flags}");
    }
    // A file on its own, and another set of data by name.
    let dir = empty();
    write_idx(&dir.path().join("set"));
    run(dir.path(), "train --data set --hidden 0 --width 12 --epochs 2 --rule gait --out run").well();
    let end = metrics(&dir.path().join("run")).pop().unwrap();
    assert_eq!(evaluated(dir.path(), "run"), as_evaluated(&end));
    assert_eq!(evaluated(dir.path(), "run/weights.safetensors --data set"), as_evaluated(&end));
    // And an npz with more classes than its labels show.
    write_npz(&dir.path().join("set.npz"), &labelled());
    run(dir.path(), "train --data set.npz --classes 3 --hidden 1 --epochs 1 --rule gait --out other").well();
    let end = metrics(&dir.path().join("other")).pop().unwrap();
    assert_eq!(evaluated(dir.path(), "other"), as_evaluated(&end));
}

/// Inputs are scaled by the samples that were trained on, so a limit on them counts in `eval` too.
#[test]
fn eval_scales_inputs_as_training_did() {
    let mut arrays = labelled();
    // Within the limit small values, beyond it large ones.
    arrays.get_mut("x").unwrap().data[15..].iter_mut().for_each(|x| *x *= 9.0);
    for (data, limit, scales) in
        [("digits", 240, &["standard", "per-feature"][..]), ("set.npz", 4, &["unit", "standard", "per-feature"])]
    {
        for scale in scales {
            let dir = empty();
            write_npz(&dir.path().join("set.npz"), &arrays);
            let flags = format!("--data {data} --limit-train {limit} --scale {scale}");
            run(dir.path(), &format!("train {flags} --hidden 1 --epochs 1 --rule bp --out run")).well();
            let end = metrics(&dir.path().join("run")).pop().unwrap();
            assert_eq!(evaluated(dir.path(), "run").0, as_evaluated(&end).0, "{flags}");
        }
    }
}

/// Weights in a file find the settings that lie beside them.
#[test]
fn a_file_of_weights_is_evaluated_as_its_folder_is() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --limit-test 100 --epochs 1 --rule bp --out run")).well();
    let folder = run(dir.path(), "eval run").well();
    assert_eq!(run(dir.path(), "eval run/weights.safetensors").well(), folder);
}

#[test]
fn labels_that_a_network_does_not_tell_apart_are_named() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --out run")).well();
    let mut arrays = labelled();
    let n = arrays["x"].shape[0];
    arrays.insert("x", array(&[n, 64], vec![0.5; n * 64]));
    arrays.get_mut("y").unwrap().data[0] = 10.0;
    write_npz(&dir.path().join("more.npz"), &arrays);
    let error = run(dir.path(), "eval run --data more.npz");
    error.error(&["label 10", "has 10 classes"]);
}
