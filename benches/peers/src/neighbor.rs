//! A neighbor: a process that streams memory, as other programs on a shared machine do.
//!
//! On a machine with two processors the system runs it beside the rows of one thread, and instead of
//! part of the rows of two. It takes memory bandwidth and the shared cache from every contender alike.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

/// Elements of each of its three arrays: 64 MiB of f64, more than the shared cache of most machines.
const LEN: usize = 8 << 20;

/// A running neighbor. It ends when this is dropped, or when this process ends in whatever way.
pub struct Neighbor {
    child: Child,
    /// The neighbor ends at the end of this.
    input: Option<ChildStdin>,
    /// Bytes a second of its first pass, beside nothing.
    pub bandwidth: f64,
}

impl Neighbor {
    /// Starts one and waits until it streams.
    pub fn start() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| format!("the path of this program: {e}"))?;
        let mut child = Command::new(program)
            .arg("--stream")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("--neighbor: {e}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let mut started = Self { child, input, bandwidth: 0.0 };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(|e| format!("--neighbor: {e}"))?;
        started.bandwidth = line.trim().parse().map_err(|_| "--neighbor: its process ended at once; is memory short?")?;
        Ok(started)
    }
}

impl Drop for Neighbor {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Streams until standard input ends: the process of a [`Neighbor`]. Prints the bytes a second of its
/// first pass.
pub fn stream() -> ! {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let (mut a, b, c) = (vec![0.0f64; LEN], vec![1.0f64; LEN], vec![2.0f64; LEN]);
    let mut pass = || {
        let start = Instant::now();
        a.iter_mut().zip(&b).zip(&c).for_each(|((a, b), c)| *a = b + 0.5 * c);
        black_box(&mut a);
        (3 * LEN * size_of::<f64>()) as f64 / start.elapsed().as_secs_f64()
    };
    // The first pass asks the system for the pages of `a`.
    pass();
    crate::say(&format!("{:.0}\n", pass()));
    loop {
        pass();
    }
}
