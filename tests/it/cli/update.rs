//! `gaitprop update`.

use crate::cli::*;
use crate::program::folder::snapshot;
use gaitprop::data::npz::Array;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

#[cfg(unix)]
#[test]
fn updates_that_cannot_be_written_whole_are_not_there() {
    let dir = empty();
    let mut arrays = batch();
    arrays.insert("x", array(&[500, 4], vec![0.5; 2000]));
    arrays.insert("onehot", array(&[500, 2], vec![1.0; 1000]));
    write_npz(&dir.path().join("in.npz"), &arrays);
    for old in [false, true] {
        if old {
            write_npz(&dir.path().join("out.npz"), &batch());
        }
        let before = snapshot(dir.path());
        let line = "update in.npz out.npz --rule bp";
        let ran = run_within(FULL_DISK, dir.path(), line);
        assert_unchanged(dir.path(), &before, line);
        ran.error(&["out.npz", "cannot write"]);
    }
}

#[test]
fn updates_are_not_written_infinite() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch());
    for rule in ["bp", "gait"] {
        fails(dir.path(), &format!("update in.npz out.npz --rule {rule} --steps 2 --lr 1e38"), &["--lr"]);
        fails(dir.path(), &format!("update in.npz out.npz --rule {rule} --steps 1 --lr 1e300"), &["f32 rounds to inf"]);
    }
    // This learning rate is held, but not what it makes of gradients this large.
    let mut arrays = batch();
    arrays.get_mut("x").unwrap().data.iter_mut().for_each(|x| *x *= 1e6);
    write_npz(&dir.path().join("in.npz"), &arrays);
    fails(dir.path(), "update in.npz out.npz --rule bp --steps 1 --lr 1e37 --optimizer sgd", &["--lr"]);
}

#[test]
fn wrong_batches_are_named_with_the_array() {
    let twos = |shape: &[usize]| array(shape, vec![2.0; shape.iter().product()]);
    let with = |name: &str, i: usize, value: f64| {
        let mut arrays = batch();
        arrays.get_mut(name).unwrap().data[i] = value;
        arrays
    };
    let mut gap = batch();
    gap.insert("W3", twos(&[4, 4]));
    gap.insert("b3", twos(&[4]));
    let cases: &[(Arrays, &[&str])] = &[
        (batch_without("x"), &["no array `x`"]),
        (batch_without("onehot"), &["no array `onehot`"]),
        (batch_without("W0"), &["no array `W0`"]),
        (batch_without("b0"), &["no array `b0`"]),
        (batch_without("W1"), &["no array `W1`"]),
        (batch_without("b1"), &["no array `b1`"]),
        (gap, &["no array `W2`"]),
        (batch_with("W0", twos(&[5, 4])), &["layer 0", "its fan-in is 5", "4"]),
        (batch_with("W1", twos(&[3, 4])), &["`W1`", "[3, 4]", "square"]),
        (batch_with("W1", twos(&[4, 3])), &["`W1`", "[4, 3]", "square"]),
        (batch_with("W1", twos(&[16])), &["`W1`", "[16]", "two dimensions"]),
        (batch_with("W1", twos(&[1])), &["`W1`", "two dimensions"]),
        (batch_with("b1", twos(&[3])), &["`b1`", "[3]", "4 units"]),
        (batch_with("onehot", twos(&[3, 5])), &["4 units", "5 labels"]),
        (batch_with("onehot", twos(&[2, 2])), &["3 rows", "`onehot` has 2"]),
        (batch_with("x", twos(&[0, 4])), &["`x`", "[0, 4]", "empty"]),
        (batch_with("x", twos(&[3, 3])), &["layer 0", "its fan-in is 4", "3"]),
        (with("W1", 6, f64::NAN), &["element 6 of `W1`", "not finite"]),
        (with("b0", 1, f64::INFINITY), &["element 1 of `b0`", "not finite"]),
        (with("x", 11, f64::NAN), &["element 11 of `x`", "not finite"]),
        (with("onehot", 0, f64::NAN), &["element 0 of `onehot`", "not finite"]),
        // Finite in f64 alone.
        (with("W0", 0, 1e39), &["element 0 of `W0`", "not finite in f32"]),
    ];
    for (arrays, causes) in cases {
        let dir = empty();
        write_npz(&dir.path().join("in.npz"), arrays);
        // Only targets need square weights.
        let rules = if causes.contains(&"square") { &["gait"][..] } else { &["bp", "gait"] };
        for rule in rules {
            let message = fails(dir.path(), &format!("update in.npz out.npz --rule {rule}"), causes);
            assert!(message.contains("in.npz"), "{message}");
        }
        // An older result stays.
        fs::write(dir.path().join("out.npz"), "precious").unwrap();
        fails(dir.path(), "update in.npz out.npz --rule itp --steps 1 --lr 0.1", causes);
    }
}

#[test]
fn wrong_flags_and_files_of_update_are_named() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch());
    fs::write(dir.path().join("file"), "precious").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("in.npz out.npz", &["--rule"]),
        ("in.npz --rule bp", &["OUTPUT"]),
        ("in.npz out.npz --rule bp --steps 1", &["--lr"]),
        ("in.npz out.npz --rule bp --lr 1", &["--steps"]),
        ("in.npz out.npz --rule bp --weight-decay 0.1", &["--steps"]),
        ("in.npz out.npz --rule bp --beta1 0.5", &["--steps"]),
        ("in.npz out.npz --rule bp --lr 1 --steps 1 --optimizer sgd --beta1 0.5", &["the optimizer sgd has no beta1"]),
        ("in.npz out.npz --rule bp --lr 1 --steps 1 --beta2 1", &["beta2 is 1,"]),
        ("in.npz out.npz --rule bp --lr 1 --steps 1 --epsilon 1e-60", &["epsilon is 1e-60", "f32"]),
        ("in.npz out.npz --rule bp --lr 1 --steps 1 --weight-decay 1e-9", &["weight decay is 1e-9", "f32"]),
        ("in.npz out.npz --rule bp --lr -1 --steps 1", &["learning rate is -1"]),
        ("in.npz out.npz --rule gait --gamma 2", &["gamma is 2"]),
        ("in.npz out.npz --rule gait --lambda -1", &["lambda is -1"]),
        ("in.npz out.npz --rule gait --lambda nan", &["lambda is NaN"]),
        ("in.npz out.npz --rule gait --activation foo", &["unknown activation `foo`"]),
        ("in.npz out.npz --rule gait --activation tanh --linear", &["--linear", "--activation"]),
        ("in.npz out.npz --rule gait --threads 0", &["--threads must be"]),
        // Targets of 1 lie on the edge of what tanh reaches.
        ("in.npz out.npz --rule tp --activation tanh", &["layer 1, sample", "outside the range of the activation"]),
        ("nowhere.npz out.npz --rule bp", &["nowhere.npz", "cannot open"]),
        ("file out.npz --rule bp", &["file", "not an npz"]),
        ("in.npz no/such/out.npz --rule bp", &["no/such/out.npz", "cannot write"]),
        ("in.npz file/out.npz --rule bp", &["file/out.npz", "cannot write"]),
        ("in.npz folder --rule bp", &["folder", "cannot write"]),
    ];
    for (line, causes) in cases {
        fails(dir.path(), &format!("update {line}"), causes);
    }
    if cfg!(target_os = "linux") {
        fails(dir.path(), "update in.npz /proc/nope/out.npz --rule bp", &["/proc/nope/out.npz", "cannot write"]);
    }
}

#[test]
fn truncated_batches_are_errors() {
    let dir = empty();
    let path = dir.path().join("in.npz");
    write_npz(&path, &batch());
    let whole = fs::read(&path).unwrap();
    let lengths = (0..whole.len()).step_by(whole.len() / 24).chain([1, 4, 30, whole.len() - 22, whole.len() - 1]);
    for length in lengths {
        fs::write(&path, &whole[..length]).unwrap();
        fails(dir.path(), "update in.npz out.npz --rule gait", &["in.npz"]);
    }
}

#[test]
fn singular_weights_are_named_by_rules_that_need_their_inverse_alone() {
    let dir = empty();
    // Exactly singular: two equal rows; nearly: they differ by less than f32 can tell.
    let rows =
        |small: f64| array(&[4, 4], [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0 + small, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 2.0, 0.5]);
    for small in [0.0, 5e-7] {
        write_npz(&dir.path().join("in.npz"), &batch_with("W1", rows(small)));
        for rule in ["gait", "itp", "tp"] {
            let ways = ["", "--inverse stale", "--inverse cg", "--inverse gram", "--inverse transpose", "--inverse auto"];
            for more in ways.into_iter().chain(["--steps 2 --lr 0.01", "--threads 2"]) {
                let line = format!("update in.npz out.npz --rule {rule} {more}");
                fails(dir.path(), &line, &["layer 1", "singular", "condition number", "f32"]);
            }
        }
        run(dir.path(), "update in.npz bp.npz --rule bp").well();
        fs::remove_file(dir.path().join("bp.npz")).unwrap();
        let f64 = run(dir.path(), "update in.npz wide.npz --rule gait --dtype f64");
        if small > 0.0 {
            f64.well();
        } else {
            f64.error(&["layer 1", "singular", "condition number", "f64"]);
        }
    }
    // Nothing is sent through the inverse of the first layer.
    write_npz(&dir.path().join("in.npz"), &batch_with("W0", rows(0.0)));
    run(dir.path(), "update in.npz out.npz --rule gait").well();
}

#[test]
fn updates_have_the_documented_names_and_shapes() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch_with("unknown", array(&[], [1.0])));
    let names = |flags: &str| -> BTreeMap<String, Vec<usize>> {
        let text = run(dir.path(), &format!("update in.npz out.npz {flags}")).well();
        let arrays = read_npz(&dir.path().join("out.npz"));
        assert_eq!(text, format!("{} arrays written to out.npz\n", arrays.len()));
        assert!(arrays.values().all(|a| a.data.iter().all(|x| x.is_finite())), "{flags}");
        arrays.into_iter().map(|(name, a)| (name, a.shape)).collect()
    };
    let expect = |prefixes: &[&str]| -> BTreeMap<String, Vec<usize>> {
        let shape = |prefix: &str| match prefix {
            "act" => vec![3, 4],
            "dW" | "reg" | "W" | "mW" | "vW" => vec![4, 4],
            _ => vec![4],
        };
        let number = |prefix: &str, l: usize| if prefix == "act" { l + 1 } else { l };
        prefixes.iter().flat_map(|p| (0..2).map(move |l| (format!("{p}{}", number(p, l)), shape(p)))).collect()
    };
    for rule in ["bp", "gait", "itp", "tp"] {
        for dtype in ["f32", "f64"] {
            let flags = format!("--rule {rule} --dtype {dtype}");
            assert_eq!(names(&flags), expect(&["act", "dW", "db"]));
            assert_eq!(names(&format!("{flags} --lambda 0.1")), expect(&["act", "dW", "db", "reg"]));
            for (optimizer, moments) in [
                ("published-adam", &["mW", "vW", "mb", "vb"][..]),
                ("adam", &["mW", "vW", "mb", "vb"]),
                ("momentum", &["mW", "mb"]),
                ("sgd", &[]),
            ] {
                let all = [&["act", "dW", "db", "W", "b"], moments].concat();
                assert_eq!(names(&format!("{flags} --steps 3 --lr 1e-3 --optimizer {optimizer}")), expect(&all));
            }
        }
    }
}

/// `dW` contains the regularizer. A step of plain descent is `W + η dW`. Zero steps change nothing.
#[test]
fn updates_fit_together() {
    let dir = empty();
    let input = batch();
    write_npz(&dir.path().join("in.npz"), &input);
    let update = |flags: &str| {
        run(dir.path(), &format!("update in.npz out.npz --dtype f64 {flags}")).well();
        read_npz(&dir.path().join("out.npz"))
    };
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-14 * (1.0 + b.abs());
    for rule in ["bp", "gait"] {
        let bare = update(&format!("--rule {rule}"));
        let ortho = update(&format!("--rule {rule} --lambda 0.5"));
        let stepped = update(&format!("--rule {rule} --steps 1 --lr 0.25 --optimizer sgd"));
        let rested = update(&format!("--rule {rule} --steps 0 --lr 0.25"));
        for l in 0..2 {
            let of = |arrays: &BTreeMap<String, Array>, name: &str| arrays[&format!("{name}{l}")].data.clone();
            let w = &input[["W0", "W1"][l]].data;
            assert_eq!(of(&rested, "W"), *w);
            assert!(of(&rested, "mW").iter().chain(&of(&rested, "vW")).all(|&m| m == 0.0));
            for (i, &before) in w.iter().enumerate() {
                assert!(close(of(&ortho, "dW")[i], of(&bare, "dW")[i] - of(&ortho, "reg")[i]), "{rule} W{l}[{i}]");
                assert!(close(of(&stepped, "W")[i], before + 0.25 * of(&bare, "dW")[i]), "{rule} W{l}[{i}]");
            }
        }
    }
}

#[test]
fn updates_do_not_depend_on_threads_or_instruction_sets() {
    let dir = empty();
    // 150 wide: every kernel meets an edge, and threads are worth while.
    let n = 150;
    let wave = |count: usize, scale: f64, step: f64| (0..count).map(|i| scale * (i as f64 * step).sin()).collect::<Vec<_>>();
    let w = |step: f64| {
        let mut w = wave(n * n, 0.05, step);
        w.iter_mut().step_by(n + 1).for_each(|diagonal| *diagonal += 1.0);
        array(&[n, n], w)
    };
    let arrays = Arrays::from([
        ("x", array(&[70, n], wave(70 * n, 1.0, 0.7))),
        ("onehot", array(&[70, 10], (0..700).map(|i| f64::from(u8::from(i % 10 == i / 10 % 10))).collect::<Vec<_>>())),
        ("W0", w(1.3)),
        ("b0", array(&[n], wave(n, 0.1, 2.1))),
        ("W1", w(2.9)),
        ("b1", array(&[n], wave(n, 0.1, 0.4))),
    ]);
    write_npz(&dir.path().join("in.npz"), &arrays);
    let isas = info("instruction sets");
    for flags in [
        "--rule gait",
        "--rule gait --dtype f64 --lambda 0.1 --steps 2 --lr 1e-3",
        "--rule bp --loss cross-entropy",
        "--rule itp --activation tanh --lambda 10 --steps 1 --lr 1e-3 --optimizer adam",
        "--rule tp --dtype f64",
    ] {
        run(dir.path(), &format!("update in.npz first.npz {flags}")).well();
        let first = fs::read(dir.path().join("first.npz")).unwrap();
        let threads = ["--threads 2", "--threads 3"].map(str::to_owned);
        for machine in isas.iter().map(|isa| format!("--isa {isa}")).chain(threads) {
            run(dir.path(), &format!("update in.npz again.npz {flags} {machine}")).well();
            assert!(fs::read(dir.path().join("again.npz")).unwrap() == first, "`{flags} {machine}` gives other bits");
        }
    }
}

/// Adam's first step is `(1 − β1) Δ / (ε + √(1 − β2) |Δ|)`, before weights decay.
#[test]
fn updates_take_the_constants_of_the_optimizer() {
    let dir = empty();
    let input = batch();
    write_npz(&dir.path().join("in.npz"), &input);
    let flags = "--rule bp --dtype f64 --steps 1 --lr 0.25 --beta1 0.5 --beta2 0.75 --epsilon 2 --weight-decay 0.1";
    run(dir.path(), &format!("update in.npz out.npz {flags}")).well();
    let found = read_npz(&dir.path().join("out.npz"));
    for (i, &before) in input["W1"].data.iter().enumerate() {
        let delta = found["dW1"].data[i];
        let expected = 0.9 * (before + 0.25 * 0.5 * delta / (2.0 + 0.5 * delta.abs()));
        assert!((found["W1"].data[i] - expected).abs() < 1e-14 * (1.0 + expected.abs()), "W1[{i}]");
    }
}

/// With R of each layer, a layer's input is y R: the updates of BP are those of weights R W, led
/// through Rᵀ.
#[test]
fn updates_read_decorrelations() {
    let dir = empty();
    let mut plain = batch();
    let update = |arrays: &Arrays, flags: &str| {
        write_npz(&dir.path().join("in.npz"), arrays);
        run(dir.path(), &format!("update in.npz out.npz --dtype f64 {flags}")).well();
        read_npz(&dir.path().join("out.npz"))
    };
    let diagonal = |d: f64| array(&[4, 4], (0..16).map(|i| if i % 5 == 0 { d } else { 0.0 }).collect::<Vec<_>>());
    let identity = [("R0", diagonal(1.0)), ("R1", diagonal(1.0))];
    for rule in ["bp", "gait"] {
        let mut decorrelated = batch();
        decorrelated.extend(identity.clone());
        let (with, without) = (update(&decorrelated, &format!("--rule {rule}")), update(&plain, &format!("--rule {rule}")));
        let close = |a: &Array, b: &Array| a.data.iter().zip(&b.data).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + b.abs()));
        assert!(without.iter().all(|(name, a)| close(&with[name], a)), "{rule}");
    }
    let mut doubled = batch();
    doubled.extend([("R0", diagonal(2.0)), ("R1", diagonal(1.0))]);
    let with = update(&doubled, "--rule bp");
    plain.get_mut("W0").unwrap().data.iter_mut().for_each(|w| *w *= 2.0);
    let without = update(&plain, "--rule bp");
    for (a, b) in with["dW0"].data.iter().zip(&without["dW0"].data) {
        assert!((a - 2.0 * b).abs() < 1e-12 * (1.0 + b.abs()), "{a} {b}");
    }
    assert!(with["act2"].data == without["act2"].data);

    for (name, shape, causes) in [
        ("R0", &[4, 4][..], &["no array `R1`", "all layers or none"][..]),
        ("R1", &[4, 4], &["no array `R0`"]),
        ("R2", &[4, 4], &["`R2` belongs to no layer", "2 layers"]),
    ] {
        write_npz(&dir.path().join("in.npz"), &batch_with(name, array(shape, vec![1.0; 16])));
        fails(dir.path(), "update in.npz out.npz --rule bp", causes);
    }
    let mut wide = batch();
    wide.extend([("R0", diagonal(1.0)), ("R1", array(&[4, 3], vec![1.0; 12]))]);
    write_npz(&dir.path().join("in.npz"), &wide);
    fails(dir.path(), "update in.npz out.npz --rule bp", &["`R1`", "[4, 3]", "[4, 4]"]);
    write_npz(&dir.path().join("in.npz"), &doubled);
    fails(dir.path(), "update in.npz out.npz --rule gait --inverse transpose", &["--inverse transpose", "--inverse auto"]);
    fails(dir.path(), "update in.npz out.npz --rule gait --form absolute", &["--form absolute", "--form difference"]);
}

/// The advice is not what was given.
#[test]
fn rectangles_are_refused_with_flags_that_take_them() {
    let dir = empty();
    let mut arrays = batch_with("W1", array(&[4, 3], vec![0.5; 12]));
    arrays.insert("b1", array(&[3], vec![0.0; 3]));
    arrays.insert("onehot", array(&[3, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0]));
    write_npz(&dir.path().join("in.npz"), &arrays);
    let line = |flags: &str| format!("update in.npz out.npz --rule gait {flags}");
    fails(dir.path(), &line(""), &["`W1`", "[4, 3]", "use --inverse damped"]);
    let message = fails(dir.path(), &line("--form absolute --inverse damped"), &["the solver is damped", "--form difference"]);
    assert!(!message.contains("--inverse damped"), "{message}");
    for solver in ["auto", "cg", "stale", "gram", "transpose"] {
        fails(dir.path(), &line(&format!("--form absolute --inverse {solver}")), &[&format!("the solver is {solver}")]);
    }
    fails(dir.path(), &line("--form absolute"), &["use --form difference with --inverse damped"]);
    run(dir.path(), &line("--inverse damped")).well();
}

/// Against a 256-bit evaluation of the definitions.
#[test]
fn updates_are_those_of_the_golden_cases() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let Ok(index) = fs::read_to_string(golden.join("index.json")) else {
        return;
    };
    // Python writes NaN where it measured nothing, which JSON does not know.
    let index: Value = serde_json::from_str(&index.replace("NaN", "null")).unwrap();
    let dir = empty();
    let mut compared = 0;
    for case in index["cases"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        if !file.contains("ortho") {
            continue;
        }
        let input = golden.join(file);
        let wanted = read_npz(&input);
        fs::copy(&input, dir.path().join("in.npz")).unwrap();
        let linear = if case["linear"] == true { "--linear" } else { "" };
        let flags = format!("--rule gait --dtype f64 --gamma {} {linear}", case["gamma"].as_f64().unwrap());
        run(dir.path(), &format!("update in.npz out.npz {flags}")).well();
        let found = read_npz(&dir.path().join("out.npz"));
        for (name, want) in &wanted {
            let Some(name) = name.strip_prefix("gait_hp_d") else {
                continue;
            };
            let got = &found[&format!("d{name}")];
            assert_eq!(got.shape, want.shape, "{file}: d{name}");
            let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
            let error = norm(&mut got.data.iter().zip(&want.data).map(|(g, w)| g - w));
            let size = norm(&mut want.data.iter().copied());
            assert!(error <= 1e-12 * size, "{file}: d{name} is off by {:.1e}", error / size);
            compared += 1;
        }
    }
    assert!(compared > 0, "no case was compared");
}

/// What would be lost is nowhere else: the weights of the input.
#[test]
fn the_output_never_replaces_the_input() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch());
    fs::create_dir(dir.path().join("sub")).unwrap();
    for output in ["in.npz", "./in.npz", "sub/../in.npz"] {
        fails(dir.path(), &format!("update in.npz {output} --rule bp"), &["in.npz", "would replace the input"]);
    }
}

/// Saturated units in every layer: 0/0 once, now a result or an error, never NaN in a file.
#[test]
fn updates_of_saturated_units_hold_no_nan() {
    let dir = empty();
    let mut arrays = batch();
    arrays.get_mut("x").unwrap().data.iter_mut().for_each(|x| *x = 80.0);
    write_npz(&dir.path().join("in.npz"), &arrays);
    for rule in ["gait", "itp", "tp", "bp"] {
        let line = format!("update in.npz out.npz --rule {rule} --activation tanh");
        let output = Command::new(env!("CARGO_BIN_EXE_gaitprop")).args(line.split(' ')).current_dir(dir.path()).output().unwrap();
        let out = dir.path().join("out.npz");
        assert_eq!(output.status.success(), out.exists(), "{line}");
        if out.exists() {
            let arrays = gaitprop::data::npz::read(&out, |_| true).unwrap();
            assert!(arrays.values().all(|a| a.data.iter().all(|v| v.is_finite())), "{line}");
            fs::remove_file(&out).unwrap();
        }
    }
}

/// At a rate of 0 nothing moves: a step multiplies weights by 1 − ρ, and leaves biases.
#[test]
fn steps_of_an_update_decay_weights() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch());
    let after = |flags: &str| {
        run(dir.path(), &format!("update in.npz out.npz --rule bp --steps 2 --lr 0 --dtype f64 {flags}")).well();
        read_npz(&dir.path().join("out.npz"))
    };
    let (plain, decayed) = (after(""), after("--weight-decay 0.5"));
    for l in 0..2 {
        let (w, b) = (format!("W{l}"), format!("b{l}"));
        assert_eq!(decayed[&w].data, plain[&w].data.iter().map(|w| 0.25 * w).collect::<Vec<_>>());
        assert_eq!(decayed[&b].data, plain[&b].data);
        assert_eq!(plain[&w].data, batch()[w.as_str()].data);
    }
    fails(dir.path(), "update in.npz out.npz --rule bp --steps 1 --lr 1 --weight-decay 1", &["the weight decay is 1", "below 1"]);
}
