//! Settings of the papers: Adam's constants, a free first layer, presets, statistics within epochs.

use crate::support::bits;
use gaitprop::data::{self, LoadOptions, Samples, Scaling};
use gaitprop::init::Init;
use gaitprop::kernels::{MatRef, Plan};
use gaitprop::loss::Loss;
use gaitprop::optimizer::{OptimizerConfig, OptimizerKind};
use gaitprop::ortho::{Block, Hold, HoldState, Layers, Penalty, Regularizer, Retraction};
use gaitprop::rule::{Backprop, LearningRule};
use gaitprop::solve::{SolverKind, Tuning};
use gaitprop::step::{Gradients, Recipe, Step};
use gaitprop::{Architecture, Error, Exec, Network, TrainConfig, Trainer};

fn samples() -> Samples<f32> {
    let options = LoadOptions { limit_train: Some(110), ..LoadOptions::default() };
    data::load("digits", &options).unwrap().prepare(Scaling::Unit).unwrap().train
}

fn network() -> Network<f32> {
    Network::random(&Architecture::square(64, 24, 2, 10).unwrap(), Init::Xavier, 3, &Plan::new()).unwrap()
}

fn weights(net: &Network<f32>) -> Vec<Vec<u64>> {
    net.layers().iter().map(|layer| bits(layer.w.data())).collect()
}

/// The weights after three epochs.
fn trained(config: TrainConfig, optimizer: Option<OptimizerConfig>) -> Vec<Vec<u64>> {
    let mut trainer = Trainer::from_network(network(), config, 1, Plan::new()).unwrap();
    if let Some(optimizer) = optimizer {
        trainer = trainer.with_optimizer(optimizer).unwrap();
    }
    for _ in 0..3 {
        let _ = trainer.epoch(&samples()).unwrap();
    }
    weights(trainer.network())
}

#[test]
fn constants_of_the_optimizer_are_settings() {
    let config = TrainConfig { learning_rate: 1e-3, batch: 20, ..TrainConfig::published(LearningRule::Bp) };
    let plain = OptimizerConfig::new(OptimizerKind::Adam, 1e-3).unwrap();
    for (beta1, beta2, epsilon) in [(0.8, 0.95, 1e-4), (0.0, 0.5, 1e-8)] {
        let given = TrainConfig { beta1: Some(beta1), beta2: Some(beta2), epsilon: Some(epsilon), ..config };
        for optimizer in [OptimizerKind::Adam, OptimizerKind::PublishedAdam] {
            let given = TrainConfig { optimizer, ..given };
            let want = OptimizerConfig { rule: optimizer, beta1, beta2, epsilon, ..plain };
            assert_eq!(given.optimizer_config().unwrap(), want);
            let (by_settings, by_hand) = (trained(given, None), trained(TrainConfig { optimizer, ..config }, Some(want)));
            assert!(by_settings == by_hand, "{optimizer}");
            assert!(by_settings != trained(TrainConfig { optimizer, ..config }, None), "{optimizer} ignores its constants");
        }
    }
    // Spelled out, the defaults change no bit.
    let spelled = TrainConfig { beta1: Some(0.9), beta2: Some(0.99), epsilon: Some(1e-8), ..config };
    assert!(trained(spelled, None) == trained(config, None));
    let momentum = TrainConfig { optimizer: OptimizerKind::Momentum, learning_rate: 1e-2, ..config };
    assert!(trained(TrainConfig { beta1: Some(0.5), ..momentum }, None) != trained(momentum, None));
}

#[test]
fn constants_that_do_not_count_are_refused() {
    let config = TrainConfig::published(LearningRule::Bp);
    let sgd = TrainConfig { optimizer: OptimizerKind::Sgd, ..config };
    let momentum = TrainConfig { optimizer: OptimizerKind::Momentum, ..config };
    for (config, cause) in [
        (TrainConfig { beta1: Some(0.9), ..sgd }, "the optimizer sgd has no beta1"),
        (TrainConfig { beta2: Some(0.9), ..sgd }, "the optimizer sgd has no beta2"),
        (TrainConfig { epsilon: Some(1e-8), ..sgd }, "the optimizer sgd has no epsilon"),
        (TrainConfig { beta2: Some(0.9), ..momentum }, "the optimizer momentum has no beta2"),
        (TrainConfig { epsilon: Some(1e-8), ..momentum }, "the optimizer momentum has no epsilon"),
        (TrainConfig { beta1: Some(1.0), ..config }, "beta1 is 1, but"),
        (TrainConfig { beta1: Some(1.0), ..momentum }, "beta1 is 1, but"),
        (TrainConfig { beta2: Some(-0.1), ..config }, "beta2 is -0.1, but"),
        (TrainConfig { epsilon: Some(0.0), ..config }, "epsilon is 0, but"),
        (TrainConfig { epsilon: Some(f64::NAN), ..config }, "epsilon is NaN, but"),
    ] {
        match config.check() {
            Err(Error::Setting(what)) => assert!(what.contains(cause), "{what}"),
            other => panic!("{cause}: {other:?}"),
        }
        assert!(Trainer::from_network(network(), config, 1, Plan::new()).is_err(), "{cause}");
    }
}

/// The updates of one batch.
fn gradients(regularizer: Regularizer) -> Gradients<f32> {
    let (net, samples) = (network(), samples());
    let x = MatRef::new(&samples.x[..20 * 64], 20, 64).unwrap();
    let mut target = vec![0.0; 20 * 10];
    data::one_hot(&samples.labels[..20], 10, &mut target);
    let mut solver = SolverKind::Lu.build(Tuning::default()).unwrap();
    let mut exec = Exec::default();
    let (rule, loss) = (&mut Backprop, Loss::Squared);
    let mut recipe = Recipe { rule, solver: &mut *solver, loss, regularizer, exec: &mut exec };
    let mut step = Step::new(&net, 20);
    step.gradients(&net, x, MatRef::new(&target, 20, 10).unwrap(), &mut recipe).unwrap();
    step.gradients
}

#[test]
fn the_first_layer_may_be_free_of_the_regularizer() {
    let all = Regularizer { form: Penalty::Identity, ..Regularizer::new(0.3).unwrap() };
    let free = Regularizer { layers: Layers::AboveFirst, ..all };
    let [all_of, free_of, none_of] = [all, free, Regularizer::NONE].map(gradients);
    for l in 0..3 {
        let like = |other: &Gradients<f32>| bits(free_of.weights(l).data()) == bits(other.weights(l).data());
        assert_eq!((like(&none_of), like(&all_of)), (l == 0, l > 0), "layer {l}");
    }
    let (net, mut exec) = (network(), Exec::default());
    let first = 0.3 * all.norm(net.layers()[0].w.view(), &mut exec).unwrap().powi(2);
    let [all, free] = [all, free].map(|r| r.value(&net, &mut exec).unwrap());
    assert!(first > 0.1 && (all - first - free).abs() <= 1e-12 * all, "{all} - {first} is not {free}");
}

#[test]
fn the_first_layer_may_be_free_of_a_hold() {
    let mut exec = Exec::default();
    let mut held = |hold: Hold| {
        let mut net = network();
        let mut state = HoldState::new(hold, &net, 20).unwrap();
        state.after_step(&mut net, &mut exec).unwrap();
        weights(&net)
    };
    let start = weights(&network());
    let (block, retraction) = (Block::new(1.0).unwrap(), Retraction::new(1).unwrap());
    let layers = Layers::AboveFirst;
    for (all, free) in [
        (Hold::Block(block), Hold::Block(Block { layers, ..block })),
        (Hold::Retract(retraction), Hold::Retract(Retraction { layers, ..retraction })),
    ] {
        let (all, free) = (held(all), held(free));
        assert!(free[0] == start[0] && all[0] != start[0]);
        assert!(free[1..] == all[1..] && free[1] != start[1]);
    }
}

#[cfg(feature = "cli")]
mod program {
    use crate::cli::{Ran, SMALL, diagnostics, empty, fails, lines, metrics, run, settings, weights};
    use serde_json::Value;
    use std::fs;
    use std::path::Path;

    /// The note of a run that goes well, on standard error; empty if there is none.
    #[track_caller]
    fn note(ran: Ran) -> String {
        assert_eq!(ran.code, Some(0), "`{}`: {}", ran.line, ran.err);
        ran.err
    }

    #[test]
    fn constants_are_spelled_out_in_the_file() {
        let dir = empty();
        let train = |flags: &str| {
            run(dir.path(), &format!("train {SMALL} --rule bp --epochs 1 {flags} --out run --overwrite")).well();
            let all = settings(&dir.path().join("run"));
            ["beta1", "beta2", "epsilon"].map(|key| all.get(key).map(|value| value.as_float().unwrap()))
        };
        assert_eq!(train(""), [Some(0.9), Some(0.99), Some(1e-8)]);
        assert_eq!(train("--optimizer adam --beta1 0.8"), [Some(0.8), Some(0.999), Some(1e-8)]);
        assert_eq!(train("--optimizer momentum --beta1 0.5"), [Some(0.5), None, None]);
        assert_eq!(train("--optimizer sgd"), [None; 3]);
        // Another optimizer than the file's brings its own constants.
        train("--optimizer adam --beta2 0.9");
        run(dir.path(), "train --config run/config.toml --optimizer momentum --out other").well();
        assert_eq!(settings(&dir.path().join("other"))["beta1"].as_float(), Some(0.9));
    }

    #[test]
    fn presets_spell_out_their_settings() {
        let dir = empty();
        let small = "--width 16 --hidden 1 --limit-train 256 --limit-test 20 --threads 1";
        let resolved = |flags: &str| {
            // No epoch is trained: the settings are those of a run of the preset all the same.
            let said = note(run(dir.path(), &format!("train {small} {flags} --epochs 0 --out run --overwrite")));
            (settings(&dir.path().join("run")), said)
        };
        let (paper, said) = resolved("--preset paper");
        assert_eq!(said, "note: --epochs 0 replaces 100 of --preset paper\n");
        assert_eq!((paper["preset"].as_str(), paper["init"].as_str()), (Some("paper"), Some("orthogonal")));
        // But for its name, it is the default.
        let mut same = paper.clone();
        same.remove("preset");
        assert_eq!(same, resolved("").0);

        let init = |rule: &str| resolved(&format!("--preset paper-2020 --rule {rule}")).0["init"].as_str().unwrap().to_owned();
        assert_eq!(["gait", "itp", "tp", "bp"].map(init), ["xavier", "xavier", "xavier", "orthogonal"]);

        let (follow, _) = resolved("--preset follow-up");
        let text = |key: &str| follow[key].as_str().unwrap();
        assert_eq!(["loss", "optimizer", "ortho-form"].map(text), ["cross-entropy", "adam", "identity"]);
        assert_eq!(text("ortho-layers"), "above-first");
        let number = |key: &str| follow[key].as_float().unwrap();
        assert_eq!((number("lr"), number("lambda"), number("beta2")), (1.9e-5, 100.0 / 256.0, 0.999));
        assert_eq!((number("epsilon"), follow["batch"].as_integer()), (1e-6 / 256.0, Some(256)));
        assert_eq!(follow["shuffle"].as_bool(), Some(true));
        let (fa, _) = resolved("--preset follow-up --rule fa");
        assert_eq!((fa["lr"].as_float(), fa["epsilon"].as_float()), (Some(2.5e-5), Some(1e-4 / 256.0)));
        // A hold brings what goes with it, and the file that is written gives the same run.
        for flags in ["--hold block", "--hold cayley --optimizer sgd", "--optimizer momentum", "--regularizer none"] {
            let (first, said) = resolved(&format!("--preset follow-up {flags}"));
            assert!(said.contains(" of --preset follow-up"), "{said}");
            note(run(dir.path(), "train --config run/config.toml --out again --overwrite"));
            assert_eq!(first, settings(&dir.path().join("again")), "{flags}");
        }
    }

    #[test]
    fn the_epochs_of_a_preset_count_unless_others_are_given() {
        let dir = empty();
        let line = "train --preset paper --rule bp --width 10 --hidden 0 --limit-train 60 --limit-test 10 --threads 1";
        assert_eq!(note(run(dir.path(), &format!("{line} --out run"))), "");
        assert_eq!(metrics(&dir.path().join("run")).pop().unwrap()["epochs"], 100);
    }

    #[test]
    fn flags_win_over_a_preset_and_are_named() {
        let dir = empty();
        let train = |flags: &str| note(run(dir.path(), &format!("train {SMALL} {flags} --out run --overwrite")));
        let said = train("--preset paper --lr 0.001 --epochs 2");
        assert_eq!(said, "note: --epochs 2 replaces 100, --lr 0.001 replaces 1e-4 of --preset paper\n");
        assert_eq!(settings(&dir.path().join("run"))["lr"].as_float(), Some(1e-3));
        // A resumed run keeps its preset, and says nothing of it again.
        assert_eq!(note(run(dir.path(), "train --resume run --epochs 3 --threads 1")), "");
        assert_eq!(note(run(dir.path(), "train --resume run --preset paper --epochs 4 --threads 1")), "");
        assert_eq!(settings(&dir.path().join("run"))["lr"].as_float(), Some(1e-3));
        fails(dir.path(), "train --resume run --preset follow-up", &["--preset: the run has \"paper\", not \"follow-up\""]);
        let said = train("--epochs 2");
        assert_eq!(said, "");
        fails(dir.path(), "train --resume run --preset paper --epochs 3", &["--preset: the run has nothing"]);

        // In a file: weaker than the file's other settings, and than flags.
        fs::write(dir.path().join("my.toml"), "preset = \"paper-2020\"\nlr = 0.002\nepochs = 1\n").unwrap();
        let said = train("--config my.toml --batch 30");
        let all = "--batch 30 replaces 60, --epochs 1 replaces 100, --lr 0.002 replaces 1e-4";
        assert_eq!(said, format!("note: {all} of --preset paper-2020\n"));
        assert_eq!(settings(&dir.path().join("run"))["init"].as_str(), Some("xavier"));
        // A preset among the flags wins over all that presets have in the file, and says so.
        let said = train("--config my.toml --preset paper --epochs 1");
        let lost = "note: --preset paper replaces lr of my.toml\n";
        assert_eq!(said, format!("{lost}note: --epochs 1 replaces 100 of --preset paper\n"));
        assert_eq!(settings(&dir.path().join("run"))["lr"].as_float(), Some(1e-4));
        let few = "--rules gait --config my.toml --preset paper --epochs 1 --seeds 1";
        assert!(note(run(dir.path(), &format!("compare {SMALL} {few}"))).contains(lost));
        // Values that the preset has too are not replaced, nor are other settings.
        run(dir.path(), &format!("train {SMALL} --lambda 0.5 --epochs 1 --out old")).well();
        assert_eq!(
            train("--config old/config.toml --preset paper --epochs 100"),
            "note: --preset paper replaces lambda of old/config.toml\n"
        );
        fs::write(dir.path().join("my.toml"), "preset = \"paper\"\nlr = 1e-4\nepochs = 100\nseed = 3\n").unwrap();
        assert_eq!(train("--config my.toml --preset paper --epochs 1"), "note: --epochs 1 replaces 100 of --preset paper\n");

        fails(dir.path(), "train --preset papers --out run", &["'papers'", "paper, paper-2020, follow-up"]);
        fs::write(dir.path().join("my.toml"), "lr = 1\npreset = \"papers\"\n").unwrap();
        let causes = ["my.toml: line 2", "unknown preset `papers`: use paper, paper-2020 or follow-up"];
        fails(dir.path(), "train --config my.toml --out run", &causes);
    }

    #[test]
    fn a_preset_gives_each_rule_its_own() {
        let dir = empty();
        let line = format!("compare {SMALL} --preset paper-2020 --rules gait,bp,tp --epochs 1 --lr 1e-4 --seeds 1 --out all");
        let said = note(run(dir.path(), &line));
        assert_eq!(said, "note: --epochs 1 replaces 100, --lr 1e-4 replaces 1e-5 of --preset paper-2020\n");
        let init = |rule: &str| settings(&dir.path().join(format!("all/{rule}/seed-1")))["init"].as_str().unwrap().to_owned();
        assert_eq!(["gait", "bp", "tp"].map(init), ["xavier", "orthogonal", "xavier"]);
        // Each is the run of `train`.
        let train = format!("train {SMALL} --preset paper-2020 --rule tp --epochs 1 --lr 1e-4 --out one");
        note(run(dir.path(), &train));
        assert!(weights(&dir.path().join("one")) == weights(&dir.path().join("all/tp/seed-1")));

        let line = format!("sweep {SMALL} --grid preset=paper,paper-2020 --epochs 1 --seeds 1 --out points");
        run(dir.path(), &line).well();
        let of = |point: &str| settings(&dir.path().join(format!("points/preset={point}/seed-1")))["init"].clone();
        assert_ne!(of("paper"), of("paper-2020"));
    }

    fn stats(folder: &Path) -> Vec<Value> {
        lines(folder).into_iter().filter(|line| line["event"] == "stats").collect()
    }

    /// Every third of four steps an epoch, so that some fall on the end of an epoch.
    #[test]
    fn statistics_are_measured_within_epochs_and_change_no_bit() {
        let dir = empty();
        // The order matters to what is learned between two measurements.
        let train = |rest: &str| run(dir.path(), &format!("train {SMALL} --rule gait --shuffle --epochs 3 {rest}")).well();
        train("--out plain");
        train("--stats-every 3 --out dense");
        let at = |folder: &str| dir.path().join(folder);
        assert!(weights(&at("plain")) == weights(&at("dense")));
        assert_eq!(diagnostics(&at("plain")), diagnostics(&at("dense")));
        let others = |folder: &str| {
            let mut lines = metrics(&at(folder));
            lines.retain(|line| line["event"] != "stats");
            for line in lines.iter_mut().map(|line| line.as_object_mut().unwrap()) {
                line.remove("seconds");
                line.remove("samples_per_second");
            }
            lines
        };
        assert_eq!(others("plain"), others("dense"));
        assert!(stats(&at("plain")).is_empty());
        let found = stats(&at("dense"));
        let places: Vec<_> =
            found.iter().map(|line| (line["step"].as_u64(), line["epoch"].as_u64(), line["epochs"].as_f64())).collect();
        let place = |step, epoch, epochs| (Some(step), Some(epoch), Some(epochs));
        assert_eq!(places, [place(3, 1, 0.75), place(6, 2, 1.5), place(9, 3, 2.25), place(12, 3, 3.0)]);
        // That of the last step is what the last line says of the same weights.
        let end = metrics(&at("dense")).pop().unwrap();
        for key in ["train_loss", "train_accuracy", "test_loss", "test_accuracy", "cosine_with_bp", "ratio_to_bp", "offdiag"] {
            assert!(!end[key].is_null() && found[3][key] == end[key], "{key}: {} and {end}", found[3]);
            assert_ne!(found[3][key], found[2][key], "{key}");
        }
        // Each line precedes that of its epoch.
        let order: Vec<_> = lines(&at("dense")).iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect();
        let epoch = ["epoch", "diagnostics"];
        assert_eq!(order, [&["stats"][..], &epoch, &["stats"], &epoch, &["stats", "stats"], &epoch, &["end"]].concat());
        for command in ["train", "compare", "sweep"] {
            fails(dir.path(), &format!("{command} --stats-every 3"), &["--stats-every needs --out"]);
        }
    }

    /// Checkpoints at other steps than the statistics, and at the same.
    #[test]
    fn statistics_are_neither_lost_nor_doubled_by_a_resume() {
        let dir = empty();
        for (every, checkpoint) in [(2, 3), (3, 3), (5, 2), (1, 1)] {
            let line = format!("train {SMALL} --rule gait --shuffle --stats-every {every} --checkpoint-every {checkpoint}");
            run(dir.path(), &format!("{line} --epochs 4 --out whole --overwrite")).well();
            run(dir.path(), &format!("{line} --epochs 4 --keep 100 --out run --overwrite")).well();
            // Back to each checkpoint in turn: later ones are removed, as if the run had been
            // killed then.
            let whole = stats(&dir.path().join("whole"));
            let checkpoints = crate::program::runs::checkpoints(&dir.path().join("run"));
            for path in checkpoints.iter().rev().skip(1) {
                for later in crate::program::runs::checkpoints(&dir.path().join("run")).iter().filter(|other| *other > path) {
                    fs::remove_file(later).unwrap();
                }
                run(dir.path(), "train --resume run --threads 1").well();
                assert_eq!(stats(&dir.path().join("run")), whole, "every {every} steps, from {}", path.display());
                assert!(weights(&dir.path().join("run")).0 == weights(&dir.path().join("whole")).0);
            }
        }
    }
}
