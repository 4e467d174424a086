//! `gaitprop selftest`: checks the bits of every kernel that this CPU can run.

use crate::base::error::Error;
use crate::cli::{Done, Failure, print};
use crate::run::config::Runtime;
use crate::run::table::aligned;
use gaitprop_kernels::Isa;
use gaitprop_kernels::selftest::{self, Check};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Threads that share each call [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let runtime = Runtime::new(None, args.threads, None, None)?;
    let checks = selftest::run(runtime.par()?)?;
    print(&table(&checks, runtime.threads))?;
    let wrong: Vec<_> = checks.iter().filter(|check| check.wrong.is_some()).collect();
    match wrong.first() {
        None => Ok(Done::Success),
        Some(first) => Err(Error::WrongBits { checks: wrong.len(), first: first.to_string() }.into()),
    }
}

/// Formats a row for each kernel and a column for each instruction set and precision: calls with
/// correct bits.
fn table(checks: &[Check], threads: usize) -> String {
    let columns: Vec<_> = Isa::available().flat_map(|isa| ["f32", "f64"].map(|element| (isa, element))).collect();
    let head = columns.iter().map(|(isa, element)| format!("{isa} {element}"));
    let mut rows = vec![["calls compared".to_owned()].into_iter().chain(head).collect::<Vec<_>>()];
    let mut kernels: Vec<&str> = Vec::new();
    for check in checks {
        if !kernels.contains(&check.kernel) {
            kernels.push(check.kernel);
        }
    }
    for kernel in kernels {
        let cell = |&(isa, element): &(Isa, &str)| {
            let check = checks.iter().find(|c| c.kernel == kernel && c.isa == isa && c.element == element);
            check.map_or(String::new(), |c| if c.wrong.is_some() { "WRONG".into() } else { format!("{} ok", c.calls) })
        };
        rows.push([kernel.to_owned()].into_iter().chain(columns.iter().map(cell)).collect());
    }
    let elements: usize = checks.iter().map(|check| check.elements).sum();
    let wrong = checks.iter().filter(|check| check.wrong.is_some()).count();
    let end = if wrong == 0 { "every bit right" } else { "bits are WRONG" };
    let plural = if threads == 1 { "" } else { "s" };
    format!("{}{elements} elements with {threads} thread{plural}: {end}\n", aligned(&rows, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_marks_wrong_bits() {
        let mut checks = selftest::run(gaitprop_kernels::Par::Seq).unwrap();
        let right = table(&checks, 2);
        assert!(right.ends_with("with 2 threads: every bit right\n") && !right.contains("WRONG"), "{right}");
        assert_eq!(right.lines().count(), 13, "{right}");
        let last = checks.len() - 3;
        checks[last].wrong = Some(selftest::Wrong { call: 1, index: 2, found: 3, expected: 4 });
        let wrong = table(&checks, 1);
        assert_eq!(wrong.matches("WRONG").count(), 2, "{wrong}");
        assert!(wrong.ends_with("with 1 thread: bits are WRONG\n"), "{wrong}");
    }
}
