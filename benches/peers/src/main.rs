//! Our kernels beside other people's, as ratios: `cargo bench -p gaitprop-peers -- --help`.
//!
//! Absolute figures drift between machines and between hours. So everything is measured in turn, round by round, and each figure is divided
//! by the FMA peak, and by the best peer, of its own round. Setting up the peers: `README.md`.
#![allow(missing_docs, unreachable_pub)]

mod args;
mod blas;
mod blas_peers;
mod check;
mod measure;
mod neighbor;
mod ours;
mod peak;
mod peers;
mod report;
mod rows;

use args::{Args, USAGE};
use blas::{Blas, Vendor};
use measure::Setup;
use neighbor::Neighbor;
use report::Whole;
use rows::{ROWS, Row};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

/// Settings that libraries read once, when they are loaded: hence a process of its own for each number of threads. The waiting threads of
/// OpenMP (by default for 200 ms) and OpenBLAS would run beside whoever is measured next: they give up after 1–2 ms, which is still
/// longer than the time between two calls of a sample.
const QUIET: [(&str, &str); 4] = [
    ("KMP_BLOCKTIME", "1"),
    ("OPENBLAS_THREAD_TIMEOUT", "22"),
    ("MKL_INTERFACE_LAYER", "LP64"),
    ("MKL_THREADING_LAYER", "INTEL"),
];

/// Marks a line of a part's output that is meant for its parent.
const RECORD: &str = "\u{1e}";

/// Prints; a reader that has gone away (`| head`) is no reason to fail.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(e) => {
            eprint!("ratio: {e}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if args.help {
        say(USAGE);
        return ExitCode::SUCCESS;
    }
    if args.stream {
        neighbor::stream();
    }
    let rows: Vec<Row> = selected(&args).collect();
    if rows.is_empty() {
        eprintln!("ratio: --filter {}: no row has this in its name; --list shows them", args.filter);
        return ExitCode::from(2);
    }
    if args.list {
        rows.iter().for_each(|row| say(&format!("{}\n", row.name)));
        return ExitCode::SUCCESS;
    }
    let file = match args.json.as_deref().map(Whole::create).transpose() {
        Ok(file) => file,
        Err(e) => {
            eprintln!("ratio: {e}");
            return ExitCode::from(2);
        }
    };
    let done = if args.part {
        part(&args, &rows)
    } else if args.test {
        parts(&args).map(drop)
    } else {
        measure(&args, file)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("ratio: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The rows that are asked for.
fn selected(args: &Args) -> impl Iterator<Item = Row> {
    ROWS.iter().copied().filter(|row| row.name.contains(&args.filter))
}

/// Measures every row and writes the results.
fn measure(args: &Args, file: Option<Whole>) -> Result<(), String> {
    let mut all = report::environment();
    let (machine, commit) = (&all["machine"], all["commit"].as_str().unwrap_or("unknown"));
    say(&format!(
        "{} · commit {commit} · {}\n",
        machine["cpu"].as_str().unwrap_or("unknown CPU"),
        all["date"].as_str().unwrap_or("")
    ));
    let load = machine["load_average"].as_f64().unwrap_or(0.0);
    say(&format!("instruction set {} of {} · load average {load}\n", args.isa, machine["isas"]));
    if load > 0.5 {
        say("THE MACHINE IS BUSY: others' work is in these figures\n");
    }
    let neighbor = if args.neighbor { Some(Neighbor::start()?) } else { None };
    let bandwidth = neighbor.as_ref().map(|n| n.bandwidth);
    if let Some(bytes) = bandwidth {
        say(&format!("beside a neighbor that streams memory, {:.1} GB/s where it is alone\n", bytes * 1e-9));
    }
    let (rows, peers) = parts(args)?;
    drop(neighbor);
    say(&report::summary(&rows));
    let environment = QUIET.map(|(k, v)| format!("{k}={v}"));
    all["settings"] = json!({ "isa": args.isa.name(), "environment": environment, "neighbor_bytes_per_second": bandwidth });
    all["peers"] = peers;
    all["rows"] = rows.into();
    if let Some(file) = file {
        let path = file.write(&all)?;
        say(&format!("\nwritten to {}\n", path.display()));
    }
    Ok(())
}

/// Starts a process for each number of threads, one after the other. Returns the measured rows and the list of peers.
fn parts(args: &Args) -> Result<(Vec<Value>, Value), String> {
    let program = std::env::current_exe().map_err(|e| format!("the path of this program: {e}"))?;
    let (mut rows, mut peers) = (Vec::new(), Value::Null);
    for &threads in &args.threads {
        let mut child = Command::new(&program)
            .args(args.for_part(threads))
            .envs(QUIET)
            .env("MATMUL_NUM_THREADS", threads.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("a process for {threads} threads: {e}"))?;
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            let line = line.map_err(|e| e.to_string())?;
            match line.strip_prefix(RECORD).map(serde_json::from_str::<Value>) {
                None => say(&format!("{line}\n")),
                Some(Ok(mut value)) if value["peers"].is_array() => {
                    // The same in every part: said once.
                    if peers.is_null() {
                        say(value["text"].as_str().unwrap_or_default());
                    }
                    peers = value["peers"].take();
                }
                Some(Ok(value)) => rows.push(value),
                Some(Err(e)) => return Err(e.to_string()),
            }
        }
        let status = child.wait().map_err(|e| e.to_string())?;
        if !status.success() {
            return Err(format!("the process for {threads} threads failed: {status}"));
        }
    }
    Ok((rows, peers))
}

/// Measures, or only checks, with one number of threads.
fn part(args: &Args, rows: &[Row]) -> Result<(), String> {
    let threads = args.threads[0];
    let blas = peers(args)?;
    blas.iter().for_each(|library| library.set_threads(threads));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())?;
    let setup = Setup {
        isa: args.isa,
        rounds: args.rounds,
        test: args.test,
        blas,
        threads,
        pool: (threads > 1).then_some(pool),
        workers: ours::Workers::new(threads)?,
    };
    for &row in rows {
        for element in &args.types {
            let record = if element == "f32" { setup.row::<f32>(row)? } else { setup.row::<f64>(row)? };
            let Some(record) = record else { continue };
            say(&record.table());
            if !args.test {
                say(&format!("{RECORD}{}\n", record.json()));
            }
        }
    }
    Ok(())
}

/// Finds the libraries and says which peers run.
fn peers(args: &Args) -> Result<Vec<Blas>, String> {
    let (mut found, mut lines, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for (name, version) in report::crate_versions() {
        lines.push(format!("{name} {version}"));
        records.push(json!({ "name": name, "version": version }));
    }
    for vendor in [Vendor::Mkl, Vendor::OpenBlas] {
        let library = Blas::find(vendor)?;
        let version = library.as_ref().map(|b| b.version.as_str());
        lines.push(version.map_or(format!("{} NOT FOUND (benches/peers/README.md says how to get it)", vendor.name()), |v| {
            let named = if v.starts_with(vendor.name()) { String::new() } else { format!("{} ", vendor.name()) };
            let note =
                if library.as_ref().is_some_and(|b| b.serial) { " (built for one thread: not a peer of several)" } else { "" };
            format!("{named}{v} from {}{note}", library.as_ref().map_or("", |b| &b.path))
        }));
        records.push(json!({ "name": vendor.name(), "version": version, "found": version.is_some() }));
        found.extend(library);
    }
    if args.isa != gaitprop_kernels::Isa::detect() {
        lines.push(format!("peers are not held to {}", args.isa));
    }
    let text = format!("who runs:\n  {}\n", lines.join("\n  "));
    say(&format!("{RECORD}{}\n", json!({ "peers": records, "text": text })));
    Ok(found)
}
