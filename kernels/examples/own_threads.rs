//! Products on threads of your own: `Threads` for a pool that exists already, beside rayon's and a
//! `Team`.
//!
//! `cargo run --release --example own_threads -p gaitprop-kernels`

use gaitprop_kernels::{Error, MatMut, MatRef, Par, Plan, Scratch, Threads, gemm};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// Stands for the caller's pool: workers take boxed tasks from a queue.
struct Pool {
    queue: Arc<(Mutex<Queue>, Condvar)>,
    workers: Vec<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    tasks: Vec<Box<dyn FnOnce() + Send>>,
    closed: bool,
}

impl Pool {
    fn new(workers: usize) -> Self {
        let queue = Arc::new((Mutex::new(Queue::default()), Condvar::new()));
        let work = |queue: Arc<(Mutex<Queue>, Condvar)>| {
            loop {
                let mut held = queue.0.lock().expect("no task panics while it holds the queue");
                while held.tasks.is_empty() && !held.closed {
                    held = queue.1.wait(held).expect("no task panics while it holds the queue");
                }
                let Some(task) = held.tasks.pop() else { return };
                drop(held);
                // Nobody could be told, and the results would be incomplete.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(task)).is_err() {
                    std::process::abort();
                }
            }
        };
        let workers = (0..workers)
            .map(|_| {
                std::thread::spawn({
                    let queue = Arc::clone(&queue);
                    move || work(queue)
                })
            })
            .collect();
        Self { queue, workers }
    }

    fn push(&self, task: Box<dyn FnOnce() + Send>) {
        self.queue.0.lock().expect("no task panics while it holds the queue").tasks.push(task);
        self.queue.1.notify_one();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.0.lock().expect("no task panics while it holds the queue").closed = true;
        self.queue.1.notify_all();
        self.workers.drain(..).for_each(|worker| worker.join().expect("a worker does not panic"));
    }
}

/// Waits for so many tasks to be done, even if the caller's own share panics.
struct WaitFor<'a>(&'a std::sync::mpsc::Receiver<()>, usize);

impl Drop for WaitFor<'_> {
    fn drop(&mut self) {
        for _ in 0..self.1 {
            self.0.recv().expect("every task reports, or the process ends");
        }
    }
}

impl Threads for Pool {
    fn count(&self) -> usize {
        self.workers.len() + 1
    }

    fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        // SAFETY: the tasks that hold this reference have ended when `run` returns or unwinds:
        // `WaitFor` waits for all of them.
        let job: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(job) };
        let (sender, receiver) = std::sync::mpsc::channel();
        let _wait = WaitFor(&receiver, self.workers.len());
        for i in 1..self.count() {
            let done = sender.clone();
            self.push(Box::new(move || {
                job(i);
                done.send(()).expect("`run` is waiting");
            }));
        }
        job(0);
    }
}

fn main() -> Result<(), Error> {
    let n = 256;
    let a: Vec<f32> = (0..n * n).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.5).collect();
    let b: Vec<f32> = (0..n * n).map(|i| (i * 53 % 97) as f32 / 97.0 - 0.5).collect();
    let (a, b) = (MatRef::new(&a, n, n)?, MatRef::new(&b, n, n)?);
    let threads = 2;
    let own = Pool::new(threads - 1);
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool");
    let team = Par::team(threads)?;

    let mut first: Option<Vec<u32>> = None;
    for (name, par) in [
        ("alone", Par::Seq),
        ("own pool", Par::Custom(Arc::new(own))),
        ("rayon", Par::Pool(Arc::new(rayon))),
        ("team", team.clone()),
    ] {
        let plan = Plan::new().with_par(par);
        let (mut c, mut scratch) = (vec![f32::NAN; n * n], Scratch::new());
        let mut best = f64::INFINITY;
        for _ in 0..30 {
            let start = Instant::now();
            gemm(1.0, a, b, 0.0, MatMut::new(&mut c, n, n)?, &plan, &mut scratch)?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        let bits: Vec<u32> = c.iter().map(|x| x.to_bits()).collect();
        assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "{name}: other bits");
        println!("{name:10} {} thread(s)  best {:6.0} µs  the same {} bits", plan.par.threads(), best * 1e6, bits.len() * 32);
    }
    Ok(())
}
