//! `gaitprop info`: the CPU, and the kernels that would run on it.

use crate::cli::{Done, Failure, print};
use crate::run::config::Runtime;
use crate::run::options::ISAS;
use gaitprop_kernels::{Backend, Isa, Real};
use std::fmt::Write as _;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Threads to plan for [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Instruction set to plan for [default: auto]
    #[arg(long, value_name = "ISA", value_parser = ISAS)]
    isa: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let runtime = Runtime::new(None, args.threads, args.isa.as_deref(), None)?;
    let plan = runtime.plan(gaitprop_kernels::Par::Seq);
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<18} {value}");
    };
    let list = |names: Vec<&str>| names.join(", ");
    line("version", env!("CARGO_PKG_VERSION").into());
    line("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS));
    line("cpu features", list(features()));
    line("instruction sets", list(Isa::available().map(Isa::name).collect()));
    line("chosen", runtime.isa.to_string());
    line("tile f32", plan.kernel_name::<f32>());
    line("tile f64", plan.kernel_name::<f64>());
    let c = plan.caches;
    line("caches", format!("L1 {} KiB, L2 {} KiB a core, L3 {} KiB", c.l1 >> 10, c.l2 >> 10, c.l3 >> 10));
    line("blocking f32, 60x784x784", blocking::<f32>(&plan));
    line("blocking f64, 60x784x784", blocking::<f64>(&plan));
    let cores = std::thread::available_parallelism().map_or("unknown".into(), |n| n.to_string());
    line("threads", format!("{} (cores: {cores})", runtime.threads));
    line("backends", list(Backend::available().map(Backend::name).collect()));
    print(&text)?;
    Ok(Done::Success)
}

fn blocking<T: Real>(plan: &gaitprop_kernels::Plan) -> String {
    let b = plan.blocking_of::<T>(784);
    format!("MC {}, KC {}, NC {}, MR {}", b.mc(), b.kc(), b.nc(), b.mr())
}

/// CPU features that current or future kernels use.
fn features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! detected {
            ($($name:tt),*) => {
                [$(($name, is_x86_feature_detected!($name))),*]
            };
        }
        let all = detected!("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512dq", "avx512vl", "avx512bw", "avx512bf16");
        all.into_iter().filter(|f| f.1).map(|f| f.0).collect()
    }
    #[cfg(target_arch = "aarch64")]
    {
        vec!["neon"]
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        vec![]
    }
}
