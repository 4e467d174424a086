//! What a machine can do to a run: a disk that is full, a call that fails, an end at any instant, no threads, a clock that goes back.
//!
//! After each of them: one line on standard error and an exit code other than 0, no file half-written, and a run that goes on from its last checkpoint to the
//! bits of one that was left alone.

use crate::program::inject::{Fault, backward_clock, faults, with_fault};
use crate::program::program;
use crate::program::room::room;
use crate::program::runs::{assert_same, hidden, left, newest, text};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Two layers, two epochs of three steps, a checkpoint every other step: fifty calls.
const SMALL: &str = "train --width 12 --hidden 1 --limit-train 60 --limit-test 20 --batch 20 --threads 1 --lr 1e-3 --epochs 2 --shuffle \
     --checkpoint-every 2 --validation 20 --tensorboard --quiet";

/// What a run that goes well prints.
#[track_caller]
fn well(dir: &Path, line: &str) -> String {
    let output = program(dir, line).output().unwrap();
    assert!(output.status.success(), "`{line}`: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The one line of a run that failed as it should.
#[track_caller]
fn error(output: &Output, what: &str) -> String {
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{what}: {err}");
    assert!(err.starts_with("error: ") && err.lines().count() == 1 && !err.contains("panicked"), "{what} says {err:?}");
    err
}

/// Lets each call of a run in turn be the one that `fault` happens to, and the run go on after it.
fn sweep(calls: &str, what: &str, stays: bool) {
    let Some(faults) = faults() else { return };
    let (_whole, whole) = room();
    well(&whole, &format!("{SMALL} --out run"));
    let whole = whole.join("run");
    let mut furthest = 0;
    for at in 1.. {
        let (_dir, dir) = room();
        let run = dir.join("run");
        let fault = Fault { calls, at, stays, what };
        let (output, hit) = with_fault(faults, &dir, fault, &format!("{SMALL} --out run"));
        let Some(hit) = hit else {
            assert!(output.status.success() && at > 12, "after {at} calls: {}", text(&output.stderr));
            assert_same(&run, &whole, "without a fault");
            println!("{what} at each of {} calls", at - 1);
            return;
        };
        let case = format!("{what} at call {at}, {}", hit.replace(dir.to_str().unwrap(), ""));
        if what.ends_with("kill") {
            assert_eq!(output.status.code(), Some(128 + 9), "{case}: {}", text(&output.stderr));
        } else {
            if output.status.success() {
                // A folder that cannot be looked at for leftovers, not be flushed or not be removed is no reason to end a run.
                let (call, path) = hit.split_once(' ').unwrap();
                let folder = Path::new(path).is_dir() || path.ends_with("/checkpoints");
                assert!(["open", "sync", "unlink"].contains(&call) && folder, "{case}: no error");
                assert_same(&run, &whole, &case);
            } else {
                error(&output, &case);
            }
            assert!(hidden(&run).is_empty(), "{case} leaves {:?}", hidden(&run));
            // Of metrics, no line that is not whole.
            let _ = left(&run);
        }
        let step = newest(&run);
        // One call that fails may end a run that it does not end later.
        assert!(
            step >= furthest || !(stays || what.ends_with("kill")),
            "{case}: the last checkpoint was {furthest}, now it is {step}"
        );
        furthest = step;
        if run.join("config.toml").exists() {
            well(&dir, "train --resume run");
        } else {
            // Nothing has begun: nothing is in the way.
            well(&dir, &format!("{SMALL} --out run"));
        }
        assert_same(&run, &whole, &case);
        assert!(hidden(&run).is_empty(), "{case} leaves {:?}", hidden(&run));
    }
}

const WRITING: &str = "write,sync,mkdir,rename";
const ALL: &str = "open,write,sync,rename,truncate,mkdir,unlink";

#[test]
fn a_disk_that_is_full_from_any_write_on_costs_nothing() {
    sweep(WRITING, "ENOSPC", true);
}

#[test]
fn a_disk_that_takes_half_of_any_write_costs_nothing() {
    sweep("write", "half", true);
}

#[test]
fn any_call_that_fails_once_costs_nothing() {
    sweep(ALL, "EIO", false);
}

#[test]
fn a_kill_at_any_call_costs_nothing() {
    sweep(ALL, "kill", false);
}

#[test]
fn a_kill_within_any_write_costs_nothing() {
    sweep("write", "half-kill", false);
}

// Disks, seen from outside

/// Whoever is told of a full disk by what is printed is told at once, and nothing is lost: that was written before.
#[test]
fn tables_that_cannot_be_printed_cost_nothing() {
    let (_dir, dir) = room();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for line in [
        &format!("{SMALL} --out run"),
        "eval run",
        "report run",
        "report run --overwrite",
        "info",
        "compare --rules bp --seeds 1 --width 12 --hidden 1 --limit-train 40 --epochs 1 --out cmp",
        "sweep --rule bp --grid lr=1e-3,1e-4 --seeds 1 --width 12 --hidden 1 --limit-train 40 --epochs 1 --out sw",
        "align --values 1 --csv rows.csv --json rows.json --width 12",
        "completions bash",
        "man train",
    ] {
        let output = program(&dir, line).stdout(full()).output().unwrap();
        let said = error(&output, line);
        assert!(said.contains("standard output") && said.contains("No space left"), "`{line}` says {said:?}");
    }
    for file in
        ["run/weights.safetensors", "report.html", "cmp/table.txt", "cmp/report.html", "sw/table.txt", "rows.csv", "rows.json"]
    {
        assert!(dir.join(file).exists(), "{file} is lost");
    }
    well(&dir, "eval run");
}

/// No message to be read, but the exit code is what it would be.
#[test]
fn errors_that_cannot_be_printed_still_end_in_their_exit_code() {
    let (_dir, dir) = room();
    for (line, code) in [("train --lr -1", 1), ("eval nowhere", 1), ("train --rule foo", 2)] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert_eq!(program(&dir, line).stderr(full).status().unwrap().code(), Some(code), "{line}");
    }
}

// Files that a disk has changed

/// Weights that are damaged are removed, and come back to the bit from the run's last checkpoint.
#[test]
fn damaged_weights_are_written_again_by_their_run() {
    let (_dir, dir) = room();
    well(&dir, &format!("{SMALL} --out run"));
    let path = dir.join("run/weights.safetensors");
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let said = error(&program(&dir, "eval run").output().unwrap(), "damaged weights");
    assert!(said.contains("checksum") && said.contains("train --resume"), "{said}");
    fs::remove_file(&path).unwrap();
    well(&dir, "train --resume run");
    assert!(fs::read(&path).unwrap() == whole);
    well(&dir, "eval run");
}

/// A folder that is taken away while its run is in it: the run ends with that, and makes no other in its place.
#[test]
fn a_folder_that_vanishes_ends_its_run() {
    let (_dir, dir) = room();
    let line = format!("{} --out run", SMALL.replace("--epochs 2", "--epochs 1000000"));
    let mut child = program(&dir, &line).spawn().unwrap();
    let start = Instant::now();
    while !dir.join("run/checkpoints").exists() {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    fs::rename(dir.join("run"), dir.join("elsewhere")).unwrap();
    let said = error(&child.wait_with_output().unwrap(), &line);
    assert!(said.contains("run") && !dir.join("run").exists(), "{said}");
    // What was moved is the run, and goes on there.
    let epochs = left(&dir.join("elsewhere")).iter().filter(|(name, _)| name.starts_with("/metrics")).count();
    well(&dir, &format!("train --resume elsewhere --epochs {}", epochs + 3));
}

// Clocks

/// Nothing but time stamps for others to read hangs on the time of day.
#[test]
fn a_clock_that_goes_back_changes_no_bit() {
    let Some(clock) = backward_clock() else { return };
    let (_dir, dir) = room();
    well(&dir, &format!("{SMALL} --out whole"));
    for line in [&format!("{SMALL} --out run --epochs 1").replace("--epochs 2", ""), "train --resume run --epochs 2"] {
        let output = program(&dir, line).env("LD_PRELOAD", clock).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "`{line}`: {}", text(&output.stderr));
    }
    // What lies beside settings is when they were written: it must not matter that this was before 1970.
    assert_same(&dir.join("run"), &dir.join("whole"), "with a clock that goes back");
    let events = fs::read(dir.join("run/events.out.tfevents.gaitprop")).unwrap();
    assert_eq!(events.len(), fs::read(dir.join("whole/events.out.tfevents.gaitprop")).unwrap().len());
    assert_ne!(events, fs::read(dir.join("whole/events.out.tfevents.gaitprop")).unwrap(), "the clock has not gone back");
}

// Training that cannot go on

const LAYERS: &str = "--width 24 --hidden 2 --limit-train 200 --limit-test 40 --batch 20 --threads 1 --quiet";

/// Layer and step are said, the last checkpoint is kept, going on from it ends in the same way, and what was learned can be evaluated.
#[test]
fn training_that_diverges_keeps_its_last_checkpoint() {
    let (_dir, dir) = room();
    let line = format!("train {LAYERS} --rule bp --optimizer sgd --lr 10 --checkpoint-every 2 --epochs 5 --out run");
    let said = error(&program(&dir, &line).output().unwrap(), &line);
    assert!(said.contains("diverged in step 5") && said.contains("layer 0") && said.contains("--lr"), "{said}");
    let run = dir.join("run");
    assert_eq!(newest(&run), 4);
    well(&dir, "eval run");
    let before = left(&run);
    for _ in 0..2 {
        assert_eq!(error(&program(&dir, "train --resume run").output().unwrap(), "resumed"), said);
        assert!(newest(&run) == 4 && left(&run) == before, "a run that cannot go on is changed by going on");
    }
}

// Threads

/// Each thread that a command starts is refused in turn: that is said before any work, or when it is needed.
#[test]
fn threads_that_the_system_refuses_are_an_error() {
    let Some(faults) = faults() else { return };
    let few = "--width 12 --hidden 1 --limit-train 40 --epochs 1 --seeds 1 --quiet";
    for line in [
        "train --width 12 --hidden 1 --limit-train 40 --epochs 1 --quiet --threads 3 --out run",
        &format!("compare --rules bp,gait,fa {few} --threads 3 --out run"),
        &format!("sweep --rule bp --grid lr=1e-3,1e-4,1e-5 {few} --threads 3 --out run"),
        "align --values 1 --quiet --threads 3",
        "selftest --threads 3",
    ] {
        let (_dir, dir) = room();
        for at in 1.. {
            let fault = Fault { calls: "thread", at, stays: true, what: "EAGAIN" };
            let (output, hit) = with_fault(faults, &dir, fault, line);
            if hit.is_none() {
                assert!(output.status.success() && at > 2, "`{line}` starts {} threads: {}", at - 1, text(&output.stderr));
                break;
            }
            if output.status.success() {
                // A page is made by as many as there are.
                assert!(dir.join("run/report.html").exists(), "`{line}` without thread {at}");
                let _ = fs::remove_dir_all(dir.join("run"));
                continue;
            }
            let said = error(&output, line);
            assert!(said.contains("threads: the system refused") && said.contains("--threads"), "`{line}` says {said:?}");
            // Runs that came to their end have their table all the same, if only the page about them found no threads.
            assert!(output.stdout.is_empty() || dir.join("run/table.txt").exists(), "`{line}` prints {}", text(&output.stdout));
            if line.starts_with("train") {
                assert!(!dir.join("run").exists(), "`{line}` has begun");
            }
            let _ = fs::remove_dir_all(dir.join("run"));
        }
    }
}

// Signals

/// Runs `line` until there is a file, sends a signal, and waits for the end.
fn after_signal(command: &mut Command, file: &Path, signal: &str) -> Output {
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while !file.exists() && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "{} does not come", file.display());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

/// Whether this process has them ignored, as under `nohup`: its children inherit that.
fn hangups_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1
}

/// From the keyboard, from the system that shuts down, and from a terminal that is closed.
#[test]
fn signals_that_ask_for_the_end_save_the_run() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        if signal == "-HUP" && hangups_ignored() {
            // No lack of the machine's, and no fault: GAITPROP_EXPECT_FAULTS does not ask for it.
            let _ = writeln!(std::io::stderr(), "skipped {signal}: these tests were started with hangups ignored (nohup)");
            continue;
        }
        let (_dir, dir) = room();
        let line = format!("{} --out run", SMALL.replace("--epochs 2", "--epochs 1000000"));
        let first = dir.join("run/checkpoints");
        let output = after_signal(&mut program(&dir, &line), &first, signal);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(130), String::new()), "{signal}");
        let done = left(&dir.join("run")).iter().filter(|(name, _)| name.starts_with("metrics")).count();
        assert!(done > 0 && hidden(&dir.join("run")).is_empty());
        fs::read(dir.join("run/weights.safetensors")).unwrap();
    }
}

/// `nohup` has hangups ignored: a run that was started so outlives the terminal.
#[test]
fn a_run_that_was_told_to_ignore_a_signal_does() {
    let (_dir, dir) = room();
    let line = format!("{} --out run", SMALL.replace("--epochs 2", "--epochs 1000000"));
    let script = format!("trap '' HUP; exec {} {line}", env!("CARGO_BIN_EXE_gaitprop"));
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    let lines = || fs::read_to_string(dir.join("run/metrics.jsonl")).map_or(0, |text| text.lines().count());
    let wait = |child: &mut Child, more_than: usize| {
        while lines() <= more_than {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
            assert!(start.elapsed() < Duration::from_secs(60), "it stands still");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    wait(&mut child, 1);
    let send = |signal: &str, id: u32| assert!(Command::new("kill").args([signal, &id.to_string()]).status().unwrap().success());
    let id = child.id();
    send("-HUP", id);
    // It goes on, and another signal ends it.
    wait(&mut child, lines() + 10);
    send("-TERM", id);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
}

// Numbers at the edge

/// Inputs and weights too small for a normal number are numbers like any other: the same bits by every instruction set, and none of them taken for zero.
#[test]
fn denormals_give_the_same_bits_by_every_instruction_set() {
    let (_dir, dir) = room();
    let tiny = |i: usize| f64::from(f32::from_bits(1 + (i as u32 * 7919) % 8_000_000));
    let (x, y): (Vec<_>, Vec<_>) = ((0..320).map(tiny).collect(), (0..40).map(|i| f64::from(i % 2)).collect());
    gaitprop::data::npz::write(dir.join("tiny.npz"), &[("x", &[40, 8], &x), ("y", &[40], &y)]).unwrap();
    let info = well(&dir, "info");
    let isas = info.lines().find_map(|line| line.strip_prefix("instruction sets")).unwrap();
    let weights = |isa: &str| {
        well(
            &dir,
            &format!(
                "train --data tiny.npz --scale none --rule gait --optimizer sgd --lr 1e-3 --regularizer none --epochs 2 --threads 1 --isa {isa} --out {isa} --overwrite"
            ),
        );
        fs::read(dir.join(isa).join("weights.safetensors")).unwrap()
    };
    let want = weights("portable");
    for isa in isas.split(',').map(str::trim) {
        assert!(weights(isa) == want, "{isa} gives other bits");
    }
    let (x, eye) = ([f64::from(f32::from_bits(3)); 2], [1.0, 0.0, 0.0, 1.0]);
    let arrays: [(&str, &[usize], &[f64]); 4] =
        [("x", &[1, 2], &x), ("onehot", &[1, 2], &[1.0, 0.0]), ("W0", &[2, 2], &eye), ("b0", &[2], &[0.0; 2])];
    gaitprop::data::npz::write(dir.join("batch.npz"), &arrays).unwrap();
    well(&dir, "update batch.npz out.npz --rule bp");
    let out = gaitprop::data::npz::read(dir.join("out.npz"), |name| name == "act1").unwrap();
    assert_eq!(out["act1"].data, x, "a denormal is flushed to zero");
}
