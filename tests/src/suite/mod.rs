//! A harness for tests that share one lab: starts it, runs the tests side by side, says how each ended, resets it.
//!
//! The arguments are those of a usual test program: words that select tests by their names, `--list` and `--exact`.
//! `KNARR_KEEP_LAB=1` keeps the lab for looking into it. A run that is told to end resets its lab; after one that was killed
//! the next run does.

mod own_lab;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::lab::Lab;
pub use own_lab::OwnLab;

/// A test: its name, and what it does in the lab.
pub type Test = (&'static str, fn(&Lab) -> Result<()>);

/// After this time a suite gives up on what still runs, and resets its lab.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// How a suite runs.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// The tests that run at once: most of a test's time is waiting for pods.
    pub at_once: usize,
    /// Further arguments of the server.
    pub arguments: &'static [&'static str],
}

/// A program that is built beside the running one, or beside the folder of test programs.
///
/// # Errors
/// When it is not built.
pub fn beside(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.with_context(|| format!("{program} is not built: cargo build -p knarr -p knarr-images -p knarr-tests --bins"))
}

/// What the suite waits for.
enum Report {
    /// A test has ended; whether well.
    Ended(&'static str, bool),
    /// Somebody wants the run to end.
    Interrupted,
}

impl Suite {
    /// Runs the selected tests.
    #[must_use]
    pub fn run(self, tests: &[Test]) -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
        let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
        let selects = |name: &str, word: &str| if has("--exact") { name == word } else { name.contains(word) };
        let mut selected: Vec<Test> = tests.to_vec();
        selected.retain(|(name, _)| words.is_empty() || words.iter().any(|word| selects(name, word)));
        if has("--list") {
            selected.iter().for_each(|(name, _)| say(&format!("{name}: test")));
            return ExitCode::SUCCESS;
        }
        match self.run_all(&selected) {
            Ok(0) => ExitCode::SUCCESS,
            Ok(failed) => {
                say(&format!("\n{failed} of {} tests FAILED", selected.len()));
                ExitCode::FAILURE
            }
            Err(error) => {
                say(&format!("the lab does not start: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }

    fn run_all(self, tests: &[Test]) -> Result<usize> {
        if tests.is_empty() {
            return Ok(0);
        }
        let start = Instant::now();
        let (report, reports) = mpsc::channel();
        let interrupted = report.clone();
        // Before there is a lab to reset.
        on_interrupt(move || {
            // Nobody listens once all is done.
            let _ = interrupted.send(Report::Interrupted);
        })?;
        let own = OwnLab::new(self.arguments)?;
        own.up()?;
        let (name, took) = (own.lab().name(), start.elapsed().as_secs_f64());
        say(&format!("running {} tests in the lab {name}, which started in {took:.1} s", tests.len()));
        let queue = Arc::new(Mutex::new(Vec::from(tests).into_iter()));
        for _ in 0..self.at_once {
            let (queue, report, lab) = (queue.clone(), report.clone(), own.lab().clone());
            std::thread::spawn(move || {
                while let Some((name, test)) = next(&queue) {
                    // Nobody listens once the suite has given up.
                    let _ = report.send(Report::Ended(name, one(name, test, &lab)));
                }
            });
        }
        let mut waiting: Vec<&str> = tests.iter().map(|&(name, _)| name).collect();
        let mut failed = 0;
        while !waiting.is_empty() {
            match reports.recv_timeout(LIMIT.saturating_sub(start.elapsed())) {
                Ok(Report::Ended(name, fine)) => {
                    waiting.retain(|&other| other != name);
                    failed += usize::from(!fine);
                }
                Ok(Report::Interrupted) => {
                    say(&format!("\ninterrupted before the end of {waiting:?}"));
                    break;
                }
                Err(_) => {
                    say(&format!("\nno end after {LIMIT:?}: {waiting:?}"));
                    break;
                }
            }
        }
        // After an early end nothing more begins in a lab that goes.
        while next(&queue).is_some() {}
        if failed + waiting.len() > 0 {
            say(&format!("\n---- the end of the server's log ----\n{}", own.lab().log_tail()));
        }
        Ok(failed + waiting.len())
    }
}

/// Calls `then` when the user or a supervisor asks this process to end, which it then does not by itself.
fn on_interrupt(then: impl FnOnce() + Send + 'static) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        then();
    });
    Ok(())
}

fn next(queue: &Mutex<std::vec::IntoIter<Test>>) -> Option<Test> {
    queue.lock().ok()?.next()
}

/// Runs one test and tells how it ended; a panic is a failure of this test only.
fn one(name: &str, test: fn(&Lab) -> Result<()>, lab: &Lab) -> bool {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| test(lab))).unwrap_or_else(|_| bail!("panicked"));
    let took = start.elapsed().as_secs_f64();
    match &result {
        Ok(()) => say(&format!("test {name} ... ok ({took:.1} s)")),
        Err(error) => say(&format!("test {name} ... FAILED ({took:.1} s)\n    {error:#}")),
    }
    result.is_ok()
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // A closed standard output is the reader's choice.
    let _ = writeln!(out, "{text}");
}
