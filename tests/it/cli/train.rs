//! `gaitprop train`.

use crate::cli::*;
use crate::program::folder::snapshot;
use crate::program::program;
use gaitprop::data::npz::{self};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Every way through inverses learns the same, within its tolerance, and says who did it.
#[test]
fn ways_through_inverses_agree_and_are_named() {
    let dir = empty();
    let mut losses = Vec::new();
    for way in ["lu", "stale", "cg", "gram", "auto"] {
        let line = format!("train {SMALL} --epochs 3 --rule gait --seed 3 --inverse {way} --tolerance 0.001 --out {way}");
        run(dir.path(), &line).well();
        let folder = dir.path().join(way);
        assert_eq!(settings(&folder)["inverse"].as_str(), Some(way));
        assert_eq!(settings(&folder)["tolerance"].as_float(), Some(0.001));
        for line in &metrics(&folder)[..3] {
            assert_eq!(line["inverse"], way);
            // Four steps of two layers that send errors down.
            let by = line["solved_by"].as_object().unwrap();
            assert_eq!(by.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 8, "{line}");
            assert!(way == "auto" || by.keys().eq([way]), "{line}");
            assert!(line["solve_residual"].as_f64().unwrap() <= 2e-3, "{line}");
        }
        losses.push(metrics(&folder)[3]["train_loss"].as_f64().unwrap());
    }
    println!("{losses:?}");
    assert!(losses.iter().all(|loss| (loss / losses[0] - 1.0).abs() < 1e-3), "{losses:?}");
    // Nothing keeps weights orthogonal to rounding here: the transpose says so, and the run ends.
    let line = format!("train {SMALL} --epochs 3 --rule gait --lr 0.01 --inverse transpose");
    run(dir.path(), &line).error(&["not orthogonal enough", "--inverse auto"]);
}

/// Whatever ends a run, the weights of the last good step are kept, and can be used.
#[test]
fn training_that_diverges_says_so_and_keeps_the_last_good_weights() {
    for (flags, causes) in [
        ("--rule bp --lr 1e30", &["diverged", "layer", "step", "--lr"][..]),
        ("--rule bp --lr 1e200 --dtype f64", &["diverged", "layer", "step", "--lr"]),
        ("--rule bp --lr 1e6 --optimizer sgd", &["diverged", "layer", "step", "--lr"]),
        ("--rule gait --lr 1e30", &["diverged", "layer", "step", "--lr"]),
        // Weights grow until rounding takes their inverse away, which may come first.
        ("--rule gait --lr 1e30 --optimizer sgd", &["layer", "--lr"]),
        // Targets of 1 lie on the edge of what tanh reaches.
        ("--rule tp --activation tanh", &["layer 2", "outside the range of the activation"]),
    ] {
        let dir = empty();
        let out = dir.path().join("run");
        let line = format!("train {SMALL} --epochs 20 --out run {flags}");
        run(dir.path(), &line).error(causes);
        assert_eq!(names(&out), ["config.toml", "metrics.jsonl", "weights.safetensors"], "{flags}");
        assert!(metrics(&out).iter().all(|line| line["event"] == "epoch"), "`{line}` did not come to its end");
        assert_all_finite(&out, &line);
        run(dir.path(), "eval run --threads 1").well();
    }
}

/// A second step at this learning rate makes the weights infinite.
#[test]
fn weights_are_not_saved_infinite() {
    for rule in ["bp", "gait"] {
        let dir = empty();
        let line = format!("train {SMALL} --epochs 1 --rule {rule} --lr 1e38 --out run");
        run(dir.path(), &line).error(&["--lr"]);
        if dir.path().join("run").exists() {
            assert_all_finite(&dir.path().join("run"), &line);
        }
    }
}

#[test]
fn a_run_leaves_metrics_settings_and_weights() {
    for (dtype, letter) in [("f32", "F32"), ("f64", "F64")] {
        let dir = empty();
        let run_of = |rule: &str| dir.path().join(rule);
        let files =
            ["checkpoints", "checkpoints/step-00000012.safetensors", "config.toml", "metrics.jsonl", "weights.safetensors"];
        for rule in ["gait", "bp"] {
            let flags = format!("--epochs 3 --lr 1e-3 --dtype {dtype} --rule {rule} --out {rule}");
            let table = run(dir.path(), &format!("train {SMALL} {flags}")).well();
            assert_eq!(names(&run_of(rule)), files);
            let lines = metrics(&run_of(rule));
            let events: Vec<_> = lines.iter().map(|l| l["event"].as_str().unwrap()).collect();
            assert_eq!(events, ["epoch", "epoch", "epoch", "end"]);
            for (k, line) in lines.iter().enumerate() {
                assert_eq!(line["rule"], rule);
                for key in ["train_accuracy", "test_accuracy"] {
                    assert!((0.0..=1.0).contains(&line[key].as_f64().unwrap()), "{line}");
                }
                let mut finite = vec!["train_loss", "test_loss", "seconds"];
                if k < 3 {
                    assert_eq!(line["epoch"], k + 1);
                    finite.extend(["solve_residual", "solve_products_per_step", "samples_per_second"]);
                }
                for key in finite {
                    assert!(line[key].as_f64().is_some_and(|x| x.is_finite() && x >= 0.0), "{key} of {line}");
                }
                assert_eq!(line["offdiag"].as_array().unwrap().len(), 3);
            }
            let end = &lines[3];
            assert_eq!((&end["epochs"], &end["steps"]), (&3.into(), &12.into()));
            for key in ["cosine_with_bp", "ratio_to_bp"] {
                let values: Vec<f64> = end[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
                assert_eq!(values.len(), 3);
                assert!(rule != "bp" || values.iter().all(|v| (v - 1.0).abs() < 1e-6), "{key}: {values:?}");
            }
            // The table says the same.
            for (title, key) in [("test accuracy", "test_accuracy"), ("train accuracy", "train_accuracy")] {
                assert_eq!(format!("{:.2}", row(&table, title)[0]), format!("{:.2}", 100.0 * end[key].as_f64().unwrap()));
            }
            assert_eq!(format!("{:.5}", row(&table, "test loss")[0]), format!("{:.5}", end["test_loss"].as_f64().unwrap()));
            assert_eq!(row(&table, "epochs")[0], 3.0);

            let (tensors, metadata) = weights(&run_of(rule));
            let shapes: Vec<_> = tensors.iter().map(|(name, (t, shape, _))| (name.as_str(), t.as_str(), &shape[..])).collect();
            let (square, vector) = (&[32, 32][..], &[32][..]);
            let matrices = [("W0", letter, &[64, 32][..]), ("W1", letter, square), ("W2", letter, square)];
            let vectors = ["b0", "b1", "b2"].map(|name| (name, letter, vector));
            let scaling = ["input_centre", "input_spread"].map(|name| (name, "F64", &[64][..]));
            assert_eq!(shapes, [&matrices[..], &vectors, &scaling].concat());
            let header: Value = serde_json::from_str(&metadata["gaitprop"]).unwrap();
            let notes = ["rule", "loss", "inputs", "labels"].map(|key| header[key].to_string());
            assert_eq!(notes, [&format!("\"{rule}\""), "\"squared\"", "64", "10"]);

            let resolved = settings(&run_of(rule));
            assert_eq!(resolved["rule"].as_str(), Some(rule));
            assert_eq!((resolved["lr"].as_float(), resolved["dtype"].as_str()), (Some(1e-3), Some(dtype)));
        }
    }
}

/// Down to the header: two files of the same run can be told equal by their checksums.
#[test]
fn the_same_run_writes_the_same_bytes() {
    let dir = empty();
    let bytes = |k: usize| {
        run(dir.path(), &format!("train {SMALL} --epochs 1 --rule gait --out run{k}")).well();
        fs::read(dir.path().join(format!("run{k}/weights.safetensors"))).unwrap()
    };
    let first = bytes(0);
    assert!((1..4).all(|k| bytes(k) == first), "files of the same weights differ");
}

#[test]
fn both_rules_learn_the_digits() {
    let dir = empty();
    for rule in ["", "--rule bp"] {
        let table = run(dir.path(), &format!("train --lr 1e-3 --epochs 12 {rule}")).well();
        assert!(row(&table, "test accuracy")[0] >= 90.0, "{table}");
        assert!(table.starts_with("digits: 1438 train, 359 test; layers 64x64 64x64 64x64 64x64 64x64; seed 1\n"), "{table}");
    }
    assert!(snapshot(dir.path()).is_empty(), "nothing is written unasked");
}

#[test]
fn weights_do_not_depend_on_threads_or_instruction_sets() {
    let machines: Vec<String> = ["--threads 1", "--threads 2", "--threads 3"]
        .into_iter()
        .map(str::to_owned)
        .chain(info("instruction sets").into_iter().map(|isa| format!("--threads 1 --isa {isa}")))
        .collect();
    let small = "--width 32 --hidden 2 --epochs 2 --limit-train 200 --limit-test 50";
    // Batches that are worth sharing among threads; the last of 120.
    let wide = "--width 200 --hidden 1 --epochs 1 --limit-train 320 --limit-test 50 --batch 200";
    let tower = "--tower 64-48-33-17 --epochs 2 --limit-train 130 --limit-test 50";
    for flags in [
        format!("{small} --rule gait"),
        format!("{small} --rule gait --shuffle"),
        format!("{small} --rule gait --dtype f64"),
        format!("{small} --rule gait --dtype f64 --shuffle"),
        format!("{small} --rule bp --shuffle --optimizer adam --loss cross-entropy"),
        format!("{small} --rule itp --activation tanh --gamma 0.01"),
        format!("{small} --rule tp --dtype f64 --init xavier --optimizer momentum"),
        format!("{tower} --rule gait --scale per-feature --ortho-side columns"),
        format!("{tower} --rule gait --hold block --block 9"),
        format!("{tower} --rule gait --hold cayley --optimizer sgd --lr 0.1"),
        format!("{tower} --rule itp --retract-every 2"),
        format!("{wide} --rule gait"),
        format!("{wide} --rule gait --dtype f64"),
    ] {
        let dir = empty();
        let mut first = None;
        for (k, machine) in machines.iter().enumerate() {
            run(dir.path(), &format!("train {flags} {machine} --out run{k}")).well();
            let folder = dir.path().join(format!("run{k}"));
            let found = (weights(&folder), timeless(&folder));
            let (tensors, lines) = first.get_or_insert_with(|| found.clone());
            assert!(*tensors == found.0, "`{flags} {machine}` gives other weights");
            assert_eq!(*lines, found.1, "`{flags} {machine}` gives other metrics");
        }
    }
}

#[test]
fn another_seed_is_another_run() {
    let dir = empty();
    let mut seen = Vec::new();
    for (k, flags) in ["--seed 1", "--seed 2", "--seed 1 --shuffle", "--seed 2 --shuffle"].iter().enumerate() {
        run(dir.path(), &format!("train {SMALL} --rule gait --epochs 2 --out run{k} {flags}")).well();
        let (tensors, _) = weights(&dir.path().join(format!("run{k}")));
        assert!(!seen.contains(&tensors), "{flags}");
        seen.push(tensors);
    }
    // 1 is what is taken where nothing is said.
    run(dir.path(), &format!("train {SMALL} --rule gait --epochs 2 --out run")).well();
    assert!(weights(&dir.path().join("run")).0 == seen[0]);
}

#[test]
fn other_backends_come_close() {
    let dir = empty();
    let flags = "--width 48 --hidden 1 --epochs 5 --lr 1e-3 --threads 1 --rule gait";
    let native = run(dir.path(), &format!("train {flags}")).well();
    let backends = info("backends");
    assert!(backends.contains(&"native".to_owned()), "{backends:?}");
    for backend in backends {
        let table = run(dir.path(), &format!("train {flags} --backend {backend}")).well();
        for (here, there) in row(&table, "test accuracy").into_iter().zip(row(&native, "test accuracy")) {
            assert!((here - there).abs() <= 1.5, "{backend}: {here} % where native reaches {there} %");
        }
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_training_with_everything_saved() {
    let dir = empty();
    let line = format!("train {SMALL} --epochs 100000000 --out run");
    let child = program(dir.path(), &line).spawn().unwrap();
    let mut child = Background(Some(child));
    let folder = dir.path().join("run");
    until("a few epochs", || {
        assert!(child.child().try_wait().unwrap().is_none(), "the program has ended by itself");
        fs::read_to_string(folder.join("metrics.jsonl")).is_ok_and(|text| text.lines().count() > 3)
    });
    let pid = child.child().id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ran = Ran::new(&line, child.output());
    assert_eq!((ran.code, ran.err.as_str()), (Some(130), ""), "128 + SIGINT, and nothing to complain of");

    let epochs = row(&ran.out, "epochs")[0];
    let mut lines = metrics(&folder);
    let end = lines.pop().unwrap();
    assert_eq!((&end["event"], end["epochs"].as_f64()), (&"end".into(), Some(epochs)));
    assert_eq!(end["interrupted"], true);
    assert!(lines.iter().enumerate().all(|(k, line)| line["event"] == "epoch" && line["epoch"] == k + 1));
    assert_eq!(lines.len() as f64, epochs, "a line for every whole epoch");
    // The weights are those that the last line speaks of.
    assert_eq!(evaluated(dir.path(), "run").0, as_evaluated(&end).0);
    let temporary = snapshot(dir.path()).into_keys().find(|p| p.file_name().unwrap().to_string_lossy().starts_with('.'));
    assert_eq!(temporary, None);
}

#[test]
fn random_feedback_trains_and_comes_from_the_seed() {
    let dir = empty();
    for rule in ["fa", "dfa", "drtp", "frsf", "brsf", "kp"] {
        let train = |rest: &str| {
            run(
                dir.path(),
                &format!("train {SMALL} --rule {rule} --epochs 20 --lr 0.003 --activation tanh --loss cross-entropy {rest}"),
            )
            .well()
        };
        train(&format!("--out {rule}"));
        train(&format!("--config {rule}/config.toml --out {rule}-again"));
        train(&format!("--seed 2 --out {rule}-other"));
        let [first, again, other] = ["", "-again", "-other"].map(|tail| weights(&dir.path().join(format!("{rule}{tail}"))));
        assert!(first.0 == again.0 && first.0 != other.0, "{rule}");
        // It learns something: better than a guess among ten.
        assert!(metrics(&dir.path().join(rule)).pop().unwrap()["train_accuracy"].as_f64().unwrap() > 0.3, "{rule}");
    }
    write_npz(&dir.path().join("in.npz"), &batch());
    let updates = |name: &str, rest: &str| {
        run(dir.path(), &format!("update in.npz {name} {rest}")).well();
        npz::read(dir.path().join(name), |_| true).unwrap()["dW0"].data.clone()
    };
    let [fa, again, other] =
        [("a.npz", ""), ("b.npz", "--seed 1"), ("c.npz", "--seed 2")].map(|(n, s)| updates(n, &format!("--rule fa {s}")));
    assert!(fa == again && fa != other);
    assert!(updates("d.npz", "--rule gait --form absolute --dtype f64") != updates("e.npz", "--rule gait --dtype f64"));
}

#[test]
fn reports_on_layers_come_when_asked_for_and_change_no_bit() {
    let dir = empty();
    let train = |rest: &str| run(dir.path(), &format!("train {SMALL} --rule gait --epochs 5 {rest}")).well();
    train("--diagnose-every 0 --out never");
    train("--diagnose-every 2 --out some");
    train("--out all");
    let epochs = |folder: &str| -> Vec<u64> {
        diagnostics(&dir.path().join(folder)).iter().map(|line| line["epoch"].as_u64().unwrap()).collect()
    };
    assert_eq!((epochs("never"), epochs("some"), epochs("all")), (vec![], vec![2, 4], vec![1, 2, 3, 4, 5]));
    let of = |folder: &str| weights(&dir.path().join(folder)).0;
    assert!(of("never") == of("some") && of("some") == of("all"));
    let line = diagnostics(&dir.path().join("some")).remove(0);
    assert_eq!((&line["rule"], line["step"].as_u64()), (&"gait".into(), Some(8)));
    let layers = line["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    for (l, layer) in layers.iter().enumerate() {
        for name in ["cosine_with_bp", "ratio_to_bp", "offdiag", "distance_from_orthogonal", "update_norm", "dead_units"] {
            assert!(layer[name].is_number(), "layer {l}: {name} in {layer}");
        }
        for name in ["solve_residual", "solve_products", "kink_crossings"] {
            assert_eq!(layer[name].is_number(), l > 0, "layer {l}: {name} in {layer}");
        }
        // The first layer is 64x32.
        assert_eq!(layer["condition"].is_number(), l > 0, "layer {l}: {layer}");
    }
    // The same numbers as those that the epoch's own line has always had.
    let epoch = &metrics(&dir.path().join("some"))[1];
    let cosines: Vec<Value> = layers.iter().map(|layer| layer["cosine_with_bp"].clone()).collect();
    assert_eq!(epoch["cosine_with_bp"], Value::from(cosines));
}

/// Each way of holding weights shows in what is left of W Wᵀ, and its name in the metrics.
#[test]
fn weights_are_held_as_asked() {
    let offdiag = |flags: &str, names: [&str; 2]| -> f64 {
        let dir = empty();
        run(dir.path(), &format!("train {SMALL} --epochs 12 --rule gait --out run {flags}")).well();
        let end = metrics(&dir.path().join("run")).pop().unwrap();
        assert_eq!([&end["regularizer"], &end["orthogonal"]], names);
        end["offdiag"].as_array().unwrap().iter().fold(0.0, |most, x| x.as_f64().unwrap().max(most))
    };
    let free = offdiag("--lr 3e-3 --regularizer none", ["none", "none"]);
    let block = offdiag("--lr 3e-3 --hold block", ["block", "none"]);
    let exact = offdiag("--lr 3e-3", ["exact", "none"]);
    let retracted = offdiag("--lr 3e-3 --regularizer none --retract-every 4", ["none", "retraction"]);
    let rotated = offdiag("--optimizer sgd --lr 0.1 --hold cayley", ["none", "cayley"]);
    println!("free {free:.3}, exact {exact:.3}, block {block:.3}, retracted {retracted:.1e}, rotated {rotated:.1e}");
    assert!(block < 0.5 * free && exact < 0.5 * free && retracted < 1e-2 && rotated < 1e-5);
}
