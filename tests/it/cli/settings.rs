//! Settings from flags and files.

use crate::cli::*;
use std::fs;
use std::path::Path;

#[test]
fn wrong_settings_of_training_are_named() {
    let dir = empty();
    let cases: &[(&str, &[&str])] = &[
        ("--bogus", &["--bogus", "--help"]),
        ("extra", &["extra"]),
        ("--rule foo", &["'foo'", "bp, gait, itp, tp, fa, dfa, drtp, usf, frsf, brsf, kp"]),
        ("--beside bp", &["tip: a run trains one rule", "compare --rules gait,bp"]),
        ("--beside=none", &["tip: a run trains one rule", "compare --rules gait,bp"]),
        ("--activation foo", &["unknown activation `foo`", "tanh"]),
        ("--activation leaky-relu:0", &["slope", "greater than 0"]),
        ("--activation leaky-relu:x", &["`x` is not a number"]),
        ("--tolerance 0", &["tolerance is 0", "0.001"]),
        ("--tolerance -1", &["tolerance is -1"]),
        ("--tolerance 1", &["tolerance is 1,"]),
        ("--tolerance nan", &["tolerance is NaN"]),
        ("--threads 0", &["--threads must be at least 1"]),
        ("--threads 1000000", &["--threads 1000000"]),
        ("--batch 0", &["--batch 0"]),
        ("--batch 99999999999", &["--batch 99999999999"]),
        ("--lr -0.1", &["learning rate is -0.1"]),
        ("--lr nan", &["learning rate is NaN"]),
        ("--lr inf", &["learning rate is inf"]),
        ("--lambda -1", &["lambda is -1"]),
        ("--lambda nan", &["lambda is NaN"]),
        ("--hold block --mu 2", &["mu is 2", "below 2"]),
        ("--hold block --mu -0.5", &["mu is -0.5"]),
        ("--hold block --mu nan", &["mu is NaN"]),
        ("--hold block --block 0", &["at least 1 row"]),
        ("--hold block --lambda 0.1", &["--lambda", "--regularizer exact", "--mu"]),
        ("--hold block --ortho-form identity", &["--ortho-form identity", "--regularizer exact"]),
        ("--hold block --retract-every 5", &["--retract-every belongs to --hold retract"]),
        ("--hold none --retract-every 5", &["--retract-every belongs to --hold retract"]),
        ("--hold retract", &["--hold retract needs --retract-every"]),
        ("--regularizer none --lambda 0.1", &["--lambda", "--regularizer exact"]),
        ("--mu 0.5", &["--mu", "--hold block"]),
        ("--block 32", &["--block", "--hold block"]),
        ("--hold retract --retract-every 5 --mu 0.5", &["--mu", "--hold block"]),
        ("--retract-every 0", &["interval of retraction", "at least 1"]),
        ("--hold cayley", &["rotations", "published-adam", "must be sgd"]),
        ("--hold cayley --optimizer momentum", &["momentum", "must be sgd"]),
        ("--hold cayley --optimizer sgd --lambda 0.1", &["--lambda", "--regularizer exact"]),
        ("--hold cayley --optimizer sgd --regularizer exact", &["rotations", "lambda is 0.1"]),
        ("--hold cayley --optimizer sgd --retract-every 5", &["--retract-every belongs to --hold retract"]),
        ("--hold cayley --optimizer sgd --init xavier", &["--init orthogonal"]),
        ("--hold cayley --optimizer sgd --ortho-layers above-first", &["--hold cayley rotates every layer", "--ortho-layers"]),
        ("--ortho-layers first", &["'first'", "all, above-first"]),
        ("--optimizer sgd --beta1 0.9", &["the optimizer sgd has no beta1", "momentum, adam or published-adam"]),
        ("--optimizer momentum --beta2 0.9", &["the optimizer momentum has no beta2", "adam or published-adam"]),
        ("--optimizer momentum --epsilon 1e-8", &["the optimizer momentum has no epsilon"]),
        ("--epsilon 1e-60", &["epsilon is 1e-60, which f32 rounds to 0", "f64"]),
        ("--epsilon 1e-60 --optimizer sgd", &["the optimizer sgd has no epsilon"]),
        ("--weight-decay 1e-9", &["the weight decay is 1e-9", "no weight in f32"]),
        ("--hold cayley --optimizer sgd --inverse transpose --decor-lr 1e-3", &["--inverse transpose", "use --inverse auto"]),
        ("--form absolute --decor-lr 1e-3", &["--form absolute", "--form difference"]),
        ("--dense 24,10", &["layer 1", "24x10", "--inverse damped", "--inverse learned"]),
        ("--dense 24,10 --form absolute", &["layer 1", "difference targets with --inverse damped"]),
        ("--dense 24,10 --inverse damped --form absolute", &["the solver is damped", "--inverse lu", "--form difference"]),
        ("--beta1 1", &["beta1 is 1,", "below 1"]),
        ("--beta2 -0.5", &["beta2 is -0.5,"]),
        ("--epsilon 0", &["epsilon is 0,", "greater than 0"]),
        ("--hold cayley --optimizer sgd --weight-decay 0.1", &["rotations", "weight decay is 0.1", "must be 0"]),
        ("--hold cayley --optimizer sgd --rule kp", &["rotations", "weight decay is 0.0003", "use --weight-decay 0"]),
        ("--weight-decay -0.1", &["the weight decay is -0.1", "below 1"]),
        ("--weight-decay 1", &["the weight decay is 1,", "below 1"]),
        ("--weight-decay nan", &["the weight decay is NaN"]),
        // What has been replaced.
        ("--regularizer block", &["tip: replace it by --hold block", "[possible values: exact, none]"]),
        ("--orthogonal cayley", &["tip: replace it by --hold cayley"]),
        ("--gamma 1.5", &["gamma is 1.5", "[0, 1]"]),
        ("--gamma -0.1", &["gamma is -0.1", "[0, 1]"]),
        ("--gamma nan", &["gamma is NaN", "[0, 1]"]),
        ("--width 9", &["9 units", "10 labels"]),
        ("--width 0", &["empty"]),
        ("--tower 64-32-40", &["layer 1", "its fan-in is 40", "32"]),
        ("--tower 64-65", &["layer 0", "its fan-in is 65", "64"]),
        ("--tower 32-10", &["--tower", "64"]),
        ("--tower 64", &["at least one layer"]),
        ("--tower 64-10 --layers 64,10", &["--layers", "--tower"]),
        ("--tower 64-10 --width 64", &["--tower", "--width"]),
        ("--layers 64,10 --hidden 2", &["--layers", "--hidden"]),
        ("--layers 64,,10", &["'64,,10'", "784,500,10"]),
        ("--layers wide", &["'wide'", "784,500,10"]),
        ("--width 100000000", &["is too large"]),
        ("--hidden 99999999999", &["99999999999 hidden layers"]),
        ("--seed 18446744073709551615", &["--seed 18446744073709551615", "9223372036854775807"]),
        ("--layers 18446744073709551615,10", &["is too large"]),
        ("--overwrite --out run --config nowhere.toml", &["nowhere.toml"]),
    ];
    for (flags, causes) in cases {
        let out = if flags.contains("--out") { "" } else { "--out run" };
        fails(dir.path(), &format!("train {flags} {out}"), causes);
    }
    fails(dir.path(), "train --overwrite", &["--out"]);
    let bare = run(dir.path(), "");
    assert!(
        bare.code == Some(2) && bare.err.contains("Usage: gaitprop <COMMAND>") && bare.err.contains("compare "),
        "{}",
        bare.err
    );
    fails(dir.path(), "trian", &["trian"]);
}

/// What is held out is not learned, is said in every line, and must leave something.
#[test]
fn the_last_training_samples_are_held_out() {
    let dir = empty();
    let table = run(dir.path(), &format!("train {SMALL} --rule gait --validation 60 --epochs 2 --out held")).well();
    assert!(table.starts_with("digits: 180 train, 60 validation, 359 test"), "{table}");
    run(dir.path(), "train --width 32 --hidden 2 --limit-train 180 --threads 1 --rule gait --epochs 2 --out fewer").well();
    assert!(weights(&dir.path().join("held")) == weights(&dir.path().join("fewer")), "what is held out has been learned");
    let lines = metrics(&dir.path().join("held"));
    assert!(lines.iter().all(|l| l["validation_loss"].as_f64().unwrap() > 0.0 && l["validation_accuracy"].is_f64()));
    assert!(metrics(&dir.path().join("fewer")).iter().all(|l| l.get("validation_loss").is_none()));
    let said = run(dir.path(), "eval held").well();
    let expected = format!("{:.2}", 100.0 * lines[2]["validation_accuracy"].as_f64().unwrap());
    assert!(said.lines().any(|l| l.starts_with("validation") && l.contains(&expected)), "{said}");
    for (count, causes) in [("0", "at least 1"), ("240", "keep at least 1"), ("1000000", "240"), ("181", "--validation 181")] {
        fails(dir.path(), &format!("train {SMALL} --validation {count} --out run"), &[causes]);
    }
}

/// A name that some machine knows, but not this one.
#[test]
fn an_instruction_set_of_another_machine_is_refused() {
    let dir = empty();
    write_npz(&dir.path().join("in.npz"), &batch());
    let here = info("instruction sets");
    assert!(here.contains(&"portable".to_owned()), "{here:?}");
    for isa in ["avx512", "avx2", "neon"].iter().filter(|isa| !here.contains(&(**isa).to_owned())) {
        let cause = format!("`{isa}`");
        for line in ["train --out run", "update in.npz out.npz --rule bp", "info"] {
            fails(dir.path(), &format!("{line} --isa {isa}"), &[&cause, "not available here", "portable"]);
        }
    }
}

#[test]
fn wrong_files_of_settings_are_named_with_the_line() {
    let dir = empty();
    fails(dir.path(), "train --config nowhere.toml --out run", &["nowhere.toml", "cannot read"]);
    fails(dir.path(), "train --config . --out run", &["cannot read"]);
    for (text, line, causes) in [
        ("rule = \"bp\"\nthis is not toml\n", 2, &[][..]),
        ("lr = 0.1\nlr = 0.2\n", 2, &["duplicate key"]),
        ("# learning\nlr = 1e-3\nlearning-rate = 1\n", 3, &["unknown field `learning-rate`", "`lr`"]),
        ("lr = 1\n\nbatch = \"many\"\n", 3, &["\"many\""]),
        ("\n\nbatch = -1", 3, &["-1"]),
        ("[network]\nwidth = 3\n", 1, &["unknown field `network`"]),
        ("rule = \"gait\"\nbeside = \"bp\"\n", 2, &["a run trains one rule", "compare --rules gait,bp"]),
        ("regularizer = \"block\"", 1, &["replace it by --hold block, in a file by hold = \"block\""]),
        ("lr = 1\northogonal = \"cayley\"", 2, &["replace it by --hold cayley, in a file by hold = \"cayley\""]),
        ("lr = 1\nrule = \"lms\"", 2, &["unknown rule `lms`: use bp, gait"]),
        ("lr = 1\nactivation = \"relu\"", 2, &["unknown activation `relu`"]),
        ("lr = 1\nlayers = [3, \"x\"]", 2, &[]),
        ("lr = 1\ntower = \"64-wide\"", 2, &[]),
    ] {
        fs::write(dir.path().join("my.toml"), text).unwrap();
        let place = format!("my.toml: line {line} (`");
        fails(dir.path(), "train --config my.toml --out run", &[&[place.as_str()], causes].concat());
    }
    // Not UTF-8.
    fs::write(dir.path().join("my.toml"), b"rule = \"\xff\"").unwrap();
    fails(dir.path(), "train --config my.toml --out run", &["my.toml"]);
    // What a file says is checked like what flags say.
    fs::write(dir.path().join("my.toml"), "gamma = 2\nrule = \"gait\"").unwrap();
    fails(dir.path(), "train --config my.toml --out run", &["gamma is 2"]);
}

#[test]
fn saved_settings_give_the_same_run_again() {
    for flags in [
        "--rule gait",
        "--rule bp --dtype f64 --shuffle --seed 9223372036854775807",
        "--rule tp --scale standard --limit-test 50",
        "--rule itp --activation tanh --optimizer momentum --loss cross-entropy --init xavier --ortho-form identity",
        "--rule gait --hold block --block 10 --ortho-side columns",
        "--rule bp --hold block",
        "--rule tp --regularizer none --retract-every 3",
        "--rule gait --hold cayley --optimizer sgd --lr 0.05",
        "--rule gait --hold block --regularizer exact --lambda 0.2 --mu 0.5",
        "--rule gait --optimizer adam --beta1 0.8 --beta2 0.95 --epsilon 1e-5 --ortho-layers above-first",
        "--rule gait --hold block --ortho-layers above-first",
        "--rule tp --retract-every 3 --ortho-layers above-first --optimizer momentum --beta1 0.5",
        "--rule kp --shuffle",
        "--rule brsf --weight-decay 0.01",
        "--rule kp --weight-decay 0 --hold cayley --optimizer sgd --lr 0.05",
        "--rule gait --decor-lr 1e-3",
        "--rule bp --decor-lr 1e-2 --decor-share 0.5",
        "--rule gait --hold cayley --optimizer sgd --lr 0.05 --decor-lr 1e-3",
        "--rule gait --inverse damped --damping 0.01",
        "--rule itp --inverse learned",
        "--rule gait --inverse learned --inverse-lr 1e-2 --dense 24,32,10",
        "--rule tp --inverse damped --dense 80,20",
    ] {
        let dir = empty();
        // One description of the network.
        let small = if flags.contains("--dense") { SMALL.replace("--width 32 --hidden 2", "") } else { SMALL.into() };
        run(dir.path(), &format!("train {small} --epochs 2 --out first {flags}")).well();
        run(dir.path(), "train --config first/config.toml --out again").well();
        let (first, again) = (dir.path().join("first"), dir.path().join("again"));
        assert!(weights(&first) == weights(&again), "{flags}");
        let text = |folder: &Path| fs::read_to_string(folder.join("config.toml")).unwrap();
        assert_eq!(text(&first), text(&again), "{flags}");
        assert_eq!(timeless(&first), timeless(&again), "{flags}");
    }
    // A tower keeps its name in the file.
    let dir = empty();
    run(dir.path(), "train --tower 64-32-16-10 --limit-train 240 --epochs 1 --rule gait --out first").well();
    run(dir.path(), "train --config first/config.toml --out again").well();
    assert!(weights(&dir.path().join("first")) == weights(&dir.path().join("again")));
}

#[test]
fn flags_win_over_the_file() {
    let dir = empty();
    fs::write(
        dir.path().join("my.toml"),
        "rule = \"bp\"\nlr = 0.001\nseed = 3\nepochs = 9\nlimit-train = 240\nlayers = [32, 16]",
    )
    .unwrap();
    run(dir.path(), "train --config my.toml --seed 7 --epochs 1 --out run").well();
    let resolved = settings(&dir.path().join("run"));
    assert_eq!((resolved["seed"].as_integer(), resolved["epochs"].as_integer()), (Some(7), Some(1)));
    assert_eq!((resolved["rule"].as_str(), resolved["lr"].as_float()), (Some("bp"), Some(0.001)));
    assert_eq!(metrics(&dir.path().join("run")).len(), 2);
    run(dir.path(), "train --rule bp --lr 1e-3 --seed 7 --epochs 1 --limit-train 240 --layers 32,16 --out flags").well();
    assert!(weights(&dir.path().join("run")) == weights(&dir.path().join("flags")));
}

/// Found by fuzzing: a name of two lines in a settings file gave an error of two lines. The program
/// prints one line, with control characters escaped.
#[test]
fn a_name_of_two_lines_is_refused_in_one() {
    let dir = empty();
    fs::write(dir.path().join("c.toml"), "rule = \"\"\" \"\"bp\"\n\\u001b[2J\"\"\"").unwrap();
    let said = fails(dir.path(), "train --config c.toml", &["unknown rule", "bp", "[2J"]);
    assert!(!said.trim_end().contains(char::is_control), "{said:?}");
}

#[test]
fn absolute_targets_are_asked_for_and_refused_where_there_are_none() {
    let dir = empty();
    let train = format!("train {SMALL} --epochs 1 --form absolute");
    fails(dir.path(), &format!("{train} --rule bp"), &["--form absolute", "bp sends no targets"]);
    fails(dir.path(), &format!("{train} --rule gait --inverse auto"), &["the solver is auto", "use --inverse lu"]);
    fails(dir.path(), &format!("{train} --rule gait --gamma 0"), &["gamma is 0", "difference"]);

    // Its file gives the same run.
    run(dir.path(), &format!("{train} --dtype f64 --gamma 0.1 --out run")).well();
    run(dir.path(), "train --config run/config.toml --out again").well();
    let of = |folder: &str| weights(&dir.path().join(folder)).0;
    assert!(of("run") == of("again"));
}

/// `out` may stand in a settings file. The file in the results folder does not repeat it.
#[test]
fn the_folder_of_results_may_stand_in_the_file() {
    let dir = empty();
    fs::write(dir.path().join("my.toml"), "out = \"here\"\nrule = \"bp\"\nepochs = 1\nlimit-train = 60\n").unwrap();
    run(dir.path(), "train --config my.toml").well();
    assert!(!settings(&dir.path().join("here")).contains_key("out"));
    run(dir.path(), "train --config here/config.toml --out there").well();
    assert!(weights(&dir.path().join("here")) == weights(&dir.path().join("there")));
}

/// Every file of earlier versions has these two keys, which then ask for nothing.
#[test]
fn files_of_earlier_versions_are_read() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --retract-every 2 --out first")).well();
    let text = fs::read_to_string(dir.path().join("first/config.toml")).unwrap();
    assert!(text.contains("hold = \"retract\"\n"), "{text}");
    let old = text.replace("hold = \"retract\"\n", "orthogonal = \"none\"\nbeside = \"none\"\n");
    fs::write(dir.path().join("old.toml"), old).unwrap();
    run(dir.path(), "train --config old.toml --out again").well();
    assert_eq!(settings(&dir.path().join("first")), settings(&dir.path().join("again")));
    assert!(weights(&dir.path().join("first")) == weights(&dir.path().join("again")));
}

/// Another rule comes with its own learning rate and λ, whatever the file's rule had.
#[test]
fn another_rule_brings_its_own_constants() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --rule gait --out first")).well();
    run(dir.path(), "train --config first/config.toml --rule tp --out second").well();
    let second = settings(&dir.path().join("second"));
    assert_eq!((second["lr"].as_float(), second["lambda"].as_float()), (Some(1e-5), Some(1000.0)));
    // So does weight decay.
    run(dir.path(), "train --config first/config.toml --rule kp --out third").well();
    run(dir.path(), "train --config third/config.toml --rule fa --out fourth").well();
    let decay = |folder: &str| settings(&dir.path().join(folder)).get("weight-decay").and_then(toml::Value::as_float);
    assert_eq!(["first", "third", "fourth"].map(decay), [None, Some(3e-4), None]);
}

/// With a preset, what presets give by rule also goes.
#[test]
fn another_rule_brings_its_own_constants_of_a_preset() {
    let dir = empty();
    let read = |folder: &str, key: &str| settings(&dir.path().join(folder)).get(key).cloned().unwrap();
    let small = format!("{SMALL} --epochs 1");
    // Settings that replace those of a preset are noted.
    let train = |line: String| assert_eq!(run(dir.path(), &format!("train {line}")).code, Some(0), "{line}");
    train(format!("{small} --preset paper-2020 --rule gait --out first"));
    train("--config first/config.toml --rule bp --out second".into());
    assert_eq!(["first", "second"].map(|folder| read(folder, "init").as_str().unwrap().to_owned()), ["xavier", "orthogonal"]);
    train(format!("{small} --preset follow-up --rule gait --batch 60 --out third"));
    train("--config third/config.toml --rule fa --out fourth".into());
    let constants = |folder: &str| ["beta2", "epsilon"].map(|key| read(folder, key).as_float().unwrap());
    assert_eq!([constants("third"), constants("fourth")], [[0.999, 1e-6 / 256.0], [0.99, 1e-4 / 256.0]]);
    // A preset replaces a file's weight decay.
    train(format!("{small} --rule kp --weight-decay 0.01 --out fifth"));
    train("--config fifth/config.toml --preset paper --epochs 1 --out sixth".into());
    assert_eq!(read("sixth", "weight-decay").as_float(), Some(3e-4));
}

/// So do solvers, from each to any other.
#[test]
fn another_solver_brings_its_own_constants() {
    let dir = empty();
    for flags in ["--inverse damped --damping 0.01", "--inverse learned --inverse-lr 0.01"] {
        run(dir.path(), &format!("train {SMALL} --epochs 1 {flags} --out first --overwrite")).well();
        for inverse in ["lu", "damped", "learned"] {
            run(dir.path(), &format!("train --config first/config.toml --inverse {inverse} --out second --overwrite")).well();
            let (first, second) = (settings(&dir.path().join("first")), settings(&dir.path().join("second")));
            let same = flags.contains(inverse);
            assert_eq!(second.get("damping").is_some(), inverse == "damped", "{flags}, {inverse}");
            assert_eq!(second.get("inverse-lr").is_some(), inverse == "learned", "{flags}, {inverse}");
            assert_eq!(second == first, same, "{flags}, {inverse}");
        }
    }
}

/// Inverses learn at the rate of the weights unless a rate is given, also over a file.
#[test]
fn inverses_follow_the_rate_of_the_weights() {
    let dir = empty();
    let learned = |flags: &str| {
        run(dir.path(), &format!("train {SMALL} --epochs 1 --inverse learned {flags} --out first --overwrite")).well();
    };
    let second = |flags: &str| {
        run(dir.path(), &format!("train --config first/config.toml {flags} --out second --overwrite")).well();
        let settings = settings(&dir.path().join("second"));
        (settings["lr"].as_float().unwrap(), settings["inverse-lr"].as_float().unwrap())
    };
    learned("");
    assert_eq!([second(""), second("--lr 0.002"), second("--rule tp")], [(1e-4, 1e-4), (0.002, 0.002), (1e-5, 1e-5)]);
    assert_eq!(second("--lr 0.002 --inverse-lr 0.01"), (0.002, 0.01));
    learned("--inverse-lr 0.03");
    assert_eq!([second(""), second("--lr 0.002"), second("--rule tp")], [(1e-4, 0.03), (0.002, 0.03), (1e-5, 0.03)]);
    // Each rule of a comparison has its own rate.
    let compared = |flags: &str| {
        let line = format!("compare --rules gait,tp --seeds 1 --config first/config.toml {flags} --out all --overwrite");
        run(dir.path(), &line).well();
        ["gait", "tp"].map(|rule| {
            let settings = settings(&dir.path().join("all").join(rule).join("seed-1"));
            (settings["lr"].as_float().unwrap(), settings["inverse-lr"].as_float().unwrap())
        })
    };
    assert_eq!(compared(""), [(1e-4, 0.03), (1e-5, 0.03)]);
    learned("--lr 0.002");
    assert_eq!(compared(""), [(1e-4, 1e-4), (1e-5, 1e-5)]);
    assert_eq!([compared("--lr 3e-4"), compared("--grid lr=3e-4")], [[(3e-4, 3e-4); 2]; 2]);
}

/// What training would refuse is refused before old results are removed.
#[test]
fn a_refused_setting_leaves_old_results() {
    let dir = empty();
    let (train, compare) = (format!("train {SMALL} --out run"), format!("compare --rules gait,bp --seeds 1 {SMALL} --out all"));
    for command in [&train, &compare] {
        run(dir.path(), &format!("{command} --epochs 1")).well();
        for (flags, cause) in [
            ("--inverse damped --damping 1e-60", "which f32 rounds to 0"),
            ("--activation leaky-relu:1e-60", "slope"),
            ("--lr 1e-60", "which f32 rounds to 0"),
        ] {
            fails(dir.path(), &format!("{command} --epochs 2 {flags} --overwrite"), &[cause]);
        }
    }
}

/// A decorrelation goes with every hold: no default contradicts it.
#[test]
fn decorrelations_go_with_every_hold() {
    let dir = empty();
    for hold in ["none", "block", "retract --retract-every 3", "cayley --optimizer sgd --lr 0.05"] {
        for rule in ["gait", "bp"] {
            let line = format!("train {SMALL} --epochs 1 --rule {rule} --decor-lr 1e-3 --hold {hold} --out run --overwrite");
            run(dir.path(), &line).well();
            let kept = settings(&dir.path().join("run"));
            assert_eq!((kept["inverse"].as_str(), kept["decor-lr"].as_float()), (Some("auto"), Some(1e-3)), "{line}");
        }
    }
}

/// So do holds, and the regularizer that goes with each: λ is the exact one's, μ the block's.
#[test]
fn another_hold_brings_its_own_constants() {
    let dir = empty();
    run(dir.path(), &format!("train {SMALL} --epochs 1 --lambda 0.3 --out first")).well();
    run(dir.path(), "train --config first/config.toml --hold block --out second").well();
    let second = settings(&dir.path().join("second"));
    assert_eq!((second["regularizer"].as_str(), second["hold"].as_str()), (Some("none"), Some("block")));
    assert_eq!((second["ortho-side"].as_str(), second["mu"].as_float()), (Some("columns"), Some(1.0)));
    assert_eq!((second["block"].as_integer(), second.contains_key("lambda")), (Some(64), false));
    run(dir.path(), "train --config second/config.toml --hold none --out third").well();
    let third = settings(&dir.path().join("third"));
    assert_eq!((third["lambda"].as_float(), third.contains_key("mu"), third.contains_key("block")), (Some(0.1), false, false));
    // Backpropagation is left alone unless μ is given, as it is by λ.
    for (flags, mu) in [("", 0.0), ("--mu 0.7", 0.7)] {
        run(dir.path(), &format!("train {SMALL} --epochs 1 --rule bp --hold block {flags} --out both --overwrite")).well();
        assert_eq!(settings(&dir.path().join("both"))["mu"].as_float(), Some(mu));
    }
}
