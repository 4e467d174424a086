//! A run that is stopped and goes on gives the bits of one that was never stopped: the trainer from its state, and the program from its
//! checkpoints, whenever and however it was stopped.

use crate::program::program;
use crate::program::runs::{assert_same, checkpoints, hidden, left, newest, text};
use gaitprop::checkpoint;
use gaitprop::data::{self, LoadOptions, Samples, Scaling};
use gaitprop::init::Init;
use gaitprop::kernels::Plan;
use gaitprop::optimizer;
use gaitprop::ortho::{Block, Hold, Regularizer, Retraction};
use gaitprop::rng::Rng;
use gaitprop::rule::LearningRule;
use gaitprop::solve::{self};
use gaitprop::step::Decorrelation;
use gaitprop::{Architecture, Network};
use gaitprop::{Epoch, TrainConfig, Trainer};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

// The trainer

/// One combination of what a run can be made of.
#[derive(Clone, Copy, Debug)]
struct Case {
    rule: LearningRule,
    inverse: solve::SolverKind,
    optimizer: optimizer::OptimizerKind,
    lambda: f64,
    hold: Hold,
    shuffle: Option<u64>,
    decorrelation: Option<Decorrelation>,
    /// Layers of any shape.
    dense: bool,
}

impl Case {
    fn trainer<T: gaitprop::kernels::Real>(&self, plan: Plan) -> Trainer<T> {
        let architecture =
            if self.dense { Architecture::dense(64, &[24, 30, 10], 10) } else { Architecture::square(64, 24, 2, 10) }.unwrap();
        // Far from orthogonal, so that every strategy has something to do, where a regulariser mends it.
        let mended = self.lambda > 0.0
            && matches!(self.optimizer, optimizer::OptimizerKind::Adam | optimizer::OptimizerKind::PublishedAdam);
        let init = if mended { Init::Xavier } else { Init::Orthogonal };
        let net = Network::random(&architecture, init, 3, &plan).unwrap();
        let config = TrainConfig {
            solver: self.inverse,
            tolerance: 1e-2,
            regularizer: Regularizer::new(self.lambda).unwrap(),
            hold: self.hold,
            optimizer: self.optimizer,
            // Without a regulariser target propagation soon makes weights singular.
            learning_rate: if self.rule == LearningRule::Tp { 1e-5 } else { 1e-3 },
            batch: 20,
            shuffle: self.shuffle.is_some(),
            decorrelation: self.decorrelation,
            ..TrainConfig::published(self.rule)
        };
        Trainer::from_network(net, config, self.shuffle.unwrap_or(1), plan).unwrap()
    }
}

fn cases() -> Vec<Case> {
    use optimizer::OptimizerKind as Opt;
    use solve::SolverKind as By;
    let usual = Case {
        rule: LearningRule::Gait,
        inverse: By::Auto,
        optimizer: Opt::PublishedAdam,
        lambda: 0.1,
        hold: Hold::Free,
        shuffle: Some(5),
        decorrelation: None,
        dense: false,
    };
    let mut cases: Vec<_> = [By::Lu, By::Stale, By::Cg, By::Gram, By::Auto].map(|inverse| Case { inverse, ..usual }).to_vec();
    cases.extend([By::Stale, By::Auto].map(|inverse| Case { inverse, lambda: 0.0, ..usual }));
    cases.extend([Opt::Adam, Opt::Sgd, Opt::Momentum].map(|optimizer| Case { optimizer, shuffle: None, ..usual }));
    cases.extend([LearningRule::Bp, LearningRule::Itp, LearningRule::Tp].map(|rule| Case { rule, lambda: 0.0, ..usual }));
    let block = Block { rows: 7, ..Block::new(1.0).unwrap() };
    cases.push(Case { hold: Hold::Block(block), lambda: 0.0, ..usual });
    cases.push(Case { hold: Hold::Retract(Retraction::new(3).unwrap()), lambda: 0.0, ..usual });
    // Rules with a state of their own, one of them also by plain descent.
    cases.extend([LearningRule::Kp, LearningRule::Brsf].map(|rule| Case { rule, lambda: 0.0, ..usual }));
    cases.push(Case { rule: LearningRule::Kp, optimizer: Opt::Sgd, shuffle: None, ..usual });
    cases.push(Case { hold: Hold::Cayley, inverse: By::Transpose, optimizer: Opt::Sgd, lambda: 0.0, ..usual });
    // Solvers for any shape, one of which learns, and decorrelations.
    cases.extend([By::Damped, By::Learned].map(|inverse| Case { inverse, ..usual }));
    cases.extend([By::Damped, By::Learned].map(|inverse| Case { inverse, dense: true, ..usual }));
    let decorrelation = Some(Decorrelation { share: 0.5, ..Decorrelation::new(1e-2).unwrap() });
    cases.push(Case { decorrelation, ..usual });
    cases.push(Case { decorrelation, inverse: By::Learned, ..usual });
    cases.push(Case { decorrelation, rule: LearningRule::Bp, lambda: 0.0, dense: true, shuffle: None, ..usual });
    cases.push(Case { decorrelation, hold: Hold::Cayley, optimizer: Opt::Sgd, lambda: 0.0, ..usual });
    cases
}

fn samples<T: gaitprop::kernels::Real>() -> Samples<T> {
    let options = LoadOptions { limit_train: Some(110), ..LoadOptions::default() };
    data::load("digits", &options).unwrap().prepare(Scaling::Unit).unwrap().train
}

/// `epochs` of them; after so many steps the trainer is replaced by a new one with its state, as often as `stops` says.
fn train<T: gaitprop::kernels::Real>(case: &Case, epochs: usize, stops: &[u64]) -> (Vec<Epoch>, checkpoint::State<T>) {
    let (samples, plan) = (samples::<T>(), Plan::new());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    let mut trainer = case.trainer::<T>(plan.clone());
    let mut all = Vec::new();
    while all.len() < epochs {
        let mut saved = None;
        let epoch = trainer
            .epoch_with(&samples, |trainer, _| {
                if stops.contains(&trainer.steps()) {
                    saved = Some(trainer.save());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
            .unwrap_or_else(|e| panic!("{case:?}: {e}"));
        if !epoch.stopped {
            all.push(epoch);
        }
        if let Some(saved) = saved {
            checkpoint::write(&file, &saved, &()).unwrap();
            // Another's memory must not show: it has trained a little.
            trainer = case.trainer(plan.clone());
            let _ = trainer.epoch_with(&samples, |_, _| ControlFlow::Break(())).unwrap();
            trainer.restore(checkpoint::read::<T, ()>(&file).unwrap().0).unwrap();
            assert!(trainer.save() == saved, "{case:?}: a state that is taken up is not the one that was left");
        }
    }
    (all, trainer.save())
}

fn goes_on<T: gaitprop::kernels::Real>() {
    for case in cases() {
        let whole = train::<T>(&case, 12, &[]);
        // Within epochs, at their last steps (6, 12), in neighbouring steps, and where stale inverses have aged.
        for stops in [&[1][..], &[5, 6, 7, 12, 40], &[17, 63, 66, 71]] {
            let parts = train::<T>(&case, 12, stops);
            // As text: residuals that are not measured are NaN.
            let [parts_text, whole_text] = [&parts.0, &whole.0].map(|epochs| format!("{epochs:?}"));
            assert_eq!(parts_text, whole_text, "{case:?} stopped after {stops:?}: other epochs");
            assert!(parts.1 == whole.1, "{case:?} stopped after {stops:?}: another state at the end");
        }
    }
}

#[test]
fn a_trainer_goes_on_from_its_state_to_the_bit() {
    goes_on::<f32>();
    goes_on::<f64>();
}

/// A checkpoint within an epoch holds what to return to after a divergence.
#[test]
fn a_state_within_an_epoch_holds_the_decorrelations_of_its_start() {
    let case = cases().into_iter().find(|case| case.decorrelation.is_some()).unwrap();
    let mut trainer = case.trainer::<f32>(Plan::new());
    let _ = trainer.epoch_with(&samples::<f32>(), |_, _| ControlFlow::Break(())).unwrap();
    let state = trainer.save();
    for l in 0..3 {
        let of = |prefix: &str| state.array(&format!("{prefix}R{l}"), trainer.network().decorrelation(l).unwrap().data().len());
        assert!(of("").unwrap() != of("start.").unwrap(), "R{l} has learned");
    }
}

/// The state is looked at, not just copied: of each kind of run nothing may be left out of it.
#[test]
fn a_trainer_without_its_state_goes_on_otherwise() {
    let case = cases()[4];
    let (samples, plan) = (samples::<f32>(), Plan::new());
    let mut trainer = case.trainer::<f32>(plan.clone());
    let _ = trainer.epoch(&samples).unwrap();
    let mut state = trainer.save();
    let _ = state.take_part("inverse");
    let message = case.trainer::<f32>(plan.clone()).restore(state).unwrap_err().to_string();
    assert!(message.contains("the state holds no"), "{message}");
    let mut other = Case { inverse: solve::SolverKind::Stale, ..case }.trainer::<f32>(plan.clone());
    assert!(other.restore(trainer.save()).is_err());
    for (rule, cause) in [(LearningRule::Kp, "rule kp cannot resume without its feedback"), (LearningRule::Brsf, "`steps`")] {
        let case = Case { rule, ..case };
        let mut trainer = case.trainer::<f32>(plan.clone());
        let _ = trainer.epoch(&samples).unwrap();
        let mut state = trainer.save();
        let _ = state.take_part("rule");
        let message = case.trainer::<f32>(plan.clone()).restore(state).unwrap_err().to_string();
        assert!(message.contains(cause), "{message}");
    }
}

// The program

/// Three layers on a few digits, with a checkpoint every third step: epochs of a few milliseconds.
const SMALL: &str =
    "--width 24 --hidden 2 --limit-train 200 --limit-test 40 --batch 20 --threads 1 --checkpoint-every 3 --lr 1e-3";

fn run(dir: &Path, line: &str) -> Output {
    program(dir, line).output().unwrap()
}

/// What a run that goes well prints, and its notes.
#[track_caller]
fn well(dir: &Path, line: &str) -> (String, String) {
    let output = run(dir, line);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && !err.contains("error:"), "`{line}`: {err}");
    (out, err)
}

/// The error of a run that fails as it should.
#[track_caller]
fn fails(dir: &Path, line: &str, causes: &[&str]) {
    let output = run(dir, line);
    let err = text(&output.stderr);
    assert!(!output.status.success(), "`{line}` goes well");
    assert!(err.starts_with("error: "), "`{line}` says {err:?}");
    // clap's take more.
    assert!(output.status.code() == Some(2) || err.lines().count() == 1, "`{line}` says {err:?}");
    assert!(causes.iter().all(|cause| err.contains(cause)), "`{line}` says {err:?} without {causes:?}");
}

/// Ends with the test, however that ends.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Until the run is begun or over; false if it is over.
fn begun(child: &mut Background, dir: &Path) -> bool {
    let start = Instant::now();
    while !dir.join("config.toml").exists() {
        if child.0.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the run does not begin");
        std::thread::sleep(Duration::from_micros(200));
    }
    child.0.try_wait().unwrap().is_none()
}

const WAYS: [&str; 16] = [
    "--rule gait --inverse auto --shuffle --validation 40",
    "--rule gait --inverse stale --init xavier --optimizer adam --shuffle",
    "--rule gait --inverse stale --regularizer none",
    "--rule gait --inverse cg --init xavier --optimizer momentum --tensorboard",
    "--rule gait --inverse gram --hold block --block 7 --shuffle --dtype f64",
    "--rule gait --inverse lu --retract-every 4 --regularizer none --validation 40 --patience 50",
    "--rule gait --hold cayley --optimizer sgd --shuffle",
    "--rule itp --inverse auto --init xavier --validation 20",
    "--rule tp --lr 1e-5 --shuffle --stats-every 2",
    "--rule kp --shuffle --validation 40",
    "--rule brsf --weight-decay 1e-3",
    "--rule gait --decor-lr 1e-3 --decor-share 0.5 --shuffle",
    "--rule gait --inverse damped --damping 1e-2 --validation 40",
    "--rule itp --inverse learned --inverse-lr 1e-2 --shuffle --decor-lr 1e-3",
    "--rule gait --dense 24,30,10 --inverse learned --stats-every 2",
    "--seed 3 --shuffle",
];

/// Kills without a warning, two a run, each run resumed after each: thirty-two of them, or as many
/// as `GAITPROP_KILL_TRIALS` says.
#[test]
fn a_run_that_is_killed_goes_on_as_if_it_had_not_been() {
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("run");
    let mut rng = Rng::new(std::process::id().into(), 0);
    let trials: usize =
        std::env::var("GAITPROP_KILL_TRIALS").map_or(32, |n| n.parse().expect("GAITPROP_KILL_TRIALS is a number"));
    let mut kills = 0;
    for way in WAYS.iter().cycle().take(trials.div_ceil(2)) {
        // The rate is said once.
        let small = if way.contains("--lr") { SMALL.replace(" --lr 1e-3", "") } else { SMALL.to_owned() };
        // So is the network.
        let small = if way.contains("--dense") { small.replace("--width 24 --hidden 2", "") } else { small };
        let begin = format!("train {small} {way} --epochs 12");
        well(dir.path(), &format!("{begin} --out whole"));
        let mut line = format!("{begin} --out run");
        let mut killed = 0;
        while killed < 2 {
            let mut child = Background(program(dir.path(), &line).spawn().unwrap());
            // Anywhere in the first half of the run, or of what is left of it; a moment after it is seen to be there.
            let (from, to) = (newest(&run), 90);
            let until = from + rng.below((to - from.min(to)) / 2 + 1);
            while begun(&mut child, &run) && newest(&run) < until {
                std::thread::sleep(Duration::from_micros(100));
            }
            std::thread::sleep(Duration::from_micros(rng.below(4000)));
            child.0.kill().unwrap();
            let done = child.0.wait().unwrap().success();
            if done {
                // Too late: once more from the start.
                fs::remove_dir_all(&run).unwrap();
                (killed, line) = (0, format!("{begin} --out run"));
                continue;
            }
            killed += 1;
            if run.join("config.toml").exists() {
                line = "train --resume run --threads 1".into();
            }
        }
        kills += killed;
        well(dir.path(), &line);
        assert_same(&run, &dir.path().join("whole"), way);
        assert!(hidden(&run).is_empty(), "left half-written: {:?}", hidden(&run));
        fs::remove_dir_all(&run).unwrap();
        fs::remove_dir_all(dir.path().join("whole")).unwrap();
    }
    println!("{kills} kills, nothing lost");
    assert!(kills >= trials);
}

/// The last checkpoint that is whole counts, and every damage is said.
#[test]
fn a_damaged_checkpoint_is_gone_back_behind() {
    let dir = TempDir::new().unwrap();
    let line = format!("train {SMALL} --rule gait --shuffle");
    well(dir.path(), &format!("{line} --epochs 4 --out whole"));
    well(dir.path(), &format!("{line} --epochs 3 --keep 3 --out run"));
    let run = dir.path().join("run");
    let kept = checkpoints(&run);
    assert_eq!(kept.len(), 3, "{kept:?}");
    // One bit, and then half of another one.
    let mut bytes = fs::read(&kept[2]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&kept[2], &bytes).unwrap();
    fs::write(&kept[1], &fs::read(&kept[1]).unwrap()[..middle]).unwrap();
    let (_, notes) = well(dir.path(), "train --resume run --epochs 4 --threads 1");
    let names = [1, 2].map(|i: usize| kept[i].file_name().unwrap().to_str().unwrap().to_owned());
    assert!(notes.contains("checksum") && names.iter().all(|name| notes.contains(name)), "{notes}");
    // But for how many checkpoints are kept, which is in the settings.
    let config = run.join("config.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("keep = 3\n", "")).unwrap();
    assert_same(&run, &dir.path().join("whole"), "from the last whole checkpoint");

    for path in checkpoints(&run) {
        fs::write(path, "not a checkpoint").unwrap();
    }
    let before = left(&run);
    fails(dir.path(), "train --resume run --epochs 5", &["no checkpoint can be read", "--overwrite"]);
    assert!(left(&run) == before, "a run that cannot go on is changed");
}

#[test]
fn what_contradicts_a_run_is_named() {
    let dir = TempDir::new().unwrap();
    well(dir.path(), &format!("train {SMALL} --epochs 2 --seed 4 --out run"));
    let before = left(&dir.path().join("run"));
    let cases: &[(&str, &[&str])] = &[
        ("--resume run --lr 0.5", &["--lr", "0.001", "0.5"]),
        ("--resume run --rule bp", &["--rule", "gait", "bp"]),
        ("--resume run --seed 5", &["--seed", "4", "5"]),
        ("--resume run --hidden 3", &["--layers"]),
        ("--resume run --inverse lu", &["--inverse", "auto", "lu"]),
        ("--resume run --limit-train 100", &["--limit-train", "200", "100"]),
        ("--resume run --validation 20", &["--validation", "nothing", "20"]),
        ("--resume run --dtype f64", &["--dtype"]),
        ("--resume run --shuffle", &["--shuffle"]),
        ("--resume run --config run/config.toml", &["--config"]),
        ("--resume run --out other", &["--out"]),
        ("--resume run --overwrite", &["--overwrite"]),
        ("--resume nowhere", &["nowhere", "config.toml"]),
        ("--checkpoint-every 3", &["--checkpoint-every", "--out"]),
        ("--keep 3", &["--keep", "--out"]),
        ("--tensorboard", &["--tensorboard", "--out"]),
        ("--out other --checkpoint-every 0", &["--checkpoint-every 0"]),
        ("--out other --keep 0", &["--keep 0"]),
        ("--out other --patience 3", &["--patience", "--validation"]),
        ("--out other --patience 0 --validation 20", &["--patience 0"]),
        ("--out run", &["--resume", "--overwrite"]),
    ];
    for (flags, causes) in cases {
        fails(dir.path(), &format!("train {flags}"), causes);
    }
    // The same again is no contradiction.
    let (out, _) = well(dir.path(), "train --resume run --lr 1e-3 --seed 4 --rule gait --threads 2");
    assert!(out.contains("finished after 2 epochs") && out.contains("--epochs"), "{out}");
    assert!(left(&dir.path().join("run")) == before);
    // A file of settings that was changed by hand does not go unnoticed.
    let config = dir.path().join("run/config.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("gamma = 0.001", "gamma = 0.002")).unwrap();
    fails(dir.path(), "train --resume run --epochs 3", &["config.toml", "changed since"]);
}

/// A run that ended can be made longer, and is then the longer run; on any number of threads.
#[test]
fn a_finished_run_can_be_trained_longer() {
    let dir = TempDir::new().unwrap();
    let line = format!("train {SMALL} --shuffle");
    well(dir.path(), &format!("{line} --epochs 5 --out whole"));
    well(dir.path(), &format!("{line} --epochs 2 --out run"));
    well(dir.path(), "train --resume run --epochs 3 --threads 2 --isa portable");
    well(dir.path(), "train --resume run --epochs 5 --threads 1 --isa portable");
    for folder in ["whole", "run"] {
        // What it ran on is another matter.
        let path = dir.path().join(folder).join("metrics.jsonl");
        let lines = fs::read_to_string(&path).unwrap();
        let lines = lines.lines().map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("isa");
            format!("{line}\n")
        });
        let lines: String = lines.collect();
        fs::write(path, lines).unwrap();
    }
    assert_same(&dir.path().join("run"), &dir.path().join("whole"), "2, then 3, then 5 epochs");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_goes_on() {
    let dir = TempDir::new().unwrap();
    let run = dir.path().join("run");
    // No checkpoint but that of the interrupt.
    let line = format!("train {SMALL} --shuffle --epochs 1000000 --out run").replace("--checkpoint-every 3", "");
    let mut child = Background(program(dir.path(), &line).spawn().unwrap());
    assert!(begun(&mut child, &run));
    std::thread::sleep(Duration::from_millis(150));
    let pid = child.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    assert_eq!(checkpoints(&run).len(), 1);
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["interrupted"]), (&"end".into(), &true.into()));
    let done = last["epochs"].as_u64().unwrap();
    // Fewer epochs than there have been would call the middle of one an end. (On a machine that is slow enough there has been none yet.)
    if done > 1 {
        fails(dir.path(), "train --resume run --epochs 1", &["--epochs 1", "come further"]);
    }
    let epochs = done + 3;
    well(dir.path(), &format!("train --resume run --epochs {epochs} --threads 1"));
    let line = line.replace("1000000", &epochs.to_string()).replace("--out run", "--out whole");
    well(dir.path(), &line);
    assert_same(&run, &dir.path().join("whole"), "after an interrupt");
}

/// Two runs in one folder would write into each other's files.
#[test]
fn a_folder_belongs_to_one_run_at_a_time() {
    let dir = TempDir::new().unwrap();
    let line = format!("train {SMALL} --rule gait --epochs 1000000 --out run");
    let mut child = Background(program(dir.path(), &line).spawn().unwrap());
    assert!(begun(&mut child, &dir.path().join("run")));
    fails(dir.path(), &format!("{line} --overwrite"), &["run", "has not ended"]);
    fails(dir.path(), "train --resume run", &["run", "has not ended"]);
}

/// Removing the leftovers of a killed comparison would remove what this one is about to rename.
#[cfg(unix)]
#[test]
fn a_folder_belongs_to_one_comparison_at_a_time() {
    let dir = TempDir::new().unwrap();
    let compare = |epochs: u32| format!("compare {SMALL} --rules bp --epochs {epochs} --out all");
    let mut child = Background(program(dir.path(), &compare(1_000_000)).spawn().unwrap());
    assert!(begun(&mut child, &dir.path().join("all/bp/seed-1")));
    let temporary = dir.path().join("all/.gaitprop-1-1.tmp");
    std::fs::write(&temporary, "half").unwrap();
    for how in ["--resume", "--overwrite"] {
        fails(dir.path(), &format!("{} --seed 2 {how}", compare(1)), &["all", "has not ended"]);
    }
    assert!(temporary.exists());
    drop(child);
    well(dir.path(), &format!("{} --overwrite", compare(1)));
    assert!(!temporary.exists());
}

/// A comparison that is replaced removes no run while one of them is written.
#[test]
fn a_run_that_is_being_written_keeps_a_comparison_from_being_replaced() {
    let dir = TempDir::new().unwrap();
    let compare = format!("compare {SMALL} --rules bp --epochs 1 --out all");
    well(dir.path(), &compare);
    let running = format!("train {SMALL} --rule bp --epochs 1000000 --out all/bp/seed-9");
    let mut child = Background(program(dir.path(), &running).spawn().unwrap());
    assert!(begun(&mut child, &dir.path().join("all/bp/seed-9")));
    fails(dir.path(), &format!("{compare} --overwrite"), &["seed-9", "has not ended"]);
    for seed in ["seed-1", "seed-9"] {
        assert!(dir.path().join("all/bp").join(seed).join("metrics.jsonl").exists(), "{seed}");
    }
    drop(child);
    well(dir.path(), &format!("{compare} --overwrite"));
    assert!(!dir.path().join("all/bp/seed-9").exists());
}

/// Validation ends a run when it no longer improves, and the best weights are those of its best epoch.
#[test]
fn validation_ends_a_run_and_keeps_the_best_weights() {
    let dir = TempDir::new().unwrap();
    // A rate at which plain descent soon overshoots.
    let line = format!("train {SMALL} --rule bp --validation 60 --patience 3").replace("--lr 1e-3", "--lr 2e-2");
    let (table, _) = well(dir.path(), &format!("{line} --epochs 400 --out run"));
    let run = dir.path().join("run");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, epochs) = lines.split_last().unwrap();
    let epochs: Vec<_> = epochs.iter().filter(|line| line["event"] == "epoch").collect();
    let losses: Vec<f64> = epochs.iter().map(|line| line["validation_loss"].as_f64().unwrap()).collect();
    let best = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap();
    assert!(losses.len() < 400, "it goes on to its last epoch");
    assert_eq!(losses.len(), best + 1 + 3, "three epochs after the best");
    assert!((0..best).all(|k| (k..k + 3).any(|j| losses[j + 1] < losses[..=k].iter().copied().fold(f64::INFINITY, f64::min))));
    assert_eq!(
        (&end["stopped_early"], &end["best_epoch"], &end["interrupted"]),
        (&true.into(), &(best + 1).into(), &false.into())
    );
    let told = table.lines().find_map(|line| line.strip_prefix("best validated epoch")).expect("a row of its own");
    assert_eq!(told.trim(), (best + 1).to_string(), "{table}");
    let (said, _) = well(dir.path(), "eval run/best.safetensors");
    assert!(said.contains(&format!("{:.6}", losses[best])), "{said}");
    let (out, _) = well(dir.path(), "train --resume run --epochs 500");
    assert!(out.contains("validation has ended it"), "{out}");
}
