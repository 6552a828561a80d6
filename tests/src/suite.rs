//! A harness for tests that share one lab: starts it, runs the tests side by side, says how each ended, resets it.
//!
//! The arguments are those of a usual test program: words that select tests by their names, `--list` and `--exact`.
//! `KNARR_KEEP_LAB=1` keeps the lab for looking into it.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::Rng;

use crate::lab::Lab;
use crate::wait::until;

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

/// A lab of a random name that is reset when this is dropped.
pub struct OwnLab {
    lab: Lab,
    keep: bool,
}

impl OwnLab {
    /// Prepares the lab with the programs built beside the running one.
    ///
    /// # Errors
    /// When a program is not built.
    pub fn new(arguments: &[&str]) -> Result<Self> {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut random = rand::rng();
        let letter = |_| char::from(LETTERS.get(random.random_range(0..LETTERS.len())).copied().unwrap_or(b'a'));
        let name = format!("kt-{}", (0..8).map(letter).collect::<String>());
        let (knarr, _) = (beside("knarr")?, beside("images")?);
        let target = knarr.parent().and_then(Path::parent).unwrap_or(Path::new("target"));
        let lab = Lab::new(&name, &knarr, &target.join("lab").join(&name))?.with_arguments(arguments);
        Ok(Self { lab, keep: std::env::var_os("KNARR_KEEP_LAB").is_some() })
    }

    /// The lab.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Starts the lab and waits until its node can run pods.
    ///
    /// # Errors
    /// When that takes too long; with the end of the server's log.
    pub fn up(&self) -> Result<()> {
        self.lab.up()?;
        until("the node is Ready", Duration::from_secs(60), || {
            self.lab
                .kubectl_output(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=30s"])
                .map_err(|error| format!("{error:#}"))
        })
        .with_context(|| self.lab.log_tail())
        .map(drop)
    }
}

impl Drop for OwnLab {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept: KUBECONFIG={}", self.lab.paths().kubeconfig().display());
        } else if let Err(error) = self.lab.reset() {
            eprintln!("the lab resists its reset: {error:#}");
        } else if let Some(files) = self.lab.paths().kubeconfig().parent() {
            // Empty after the reset; when it is not, what is in it is worth looking at.
            let _ = std::fs::remove_dir(files);
        }
    }
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
        let own = OwnLab::new(self.arguments)?;
        own.up()?;
        say(&format!("running {} tests; the lab started in {:.1} s", tests.len(), start.elapsed().as_secs_f64()));
        let queue = Arc::new(Mutex::new(Vec::from(tests).into_iter()));
        let (report, reports) = mpsc::channel();
        for _ in 0..self.at_once {
            let (queue, report, lab) = (queue.clone(), report.clone(), own.lab().clone());
            std::thread::spawn(move || {
                while let Some((name, test)) = next(&queue) {
                    // Nobody listens once the suite has given up.
                    let _ = report.send((name, one(name, test, &lab)));
                }
            });
        }
        drop(report);
        let mut waiting: Vec<&str> = tests.iter().map(|&(name, _)| name).collect();
        let mut failed = 0;
        while let Ok((name, fine)) = reports.recv_timeout(LIMIT.saturating_sub(start.elapsed())) {
            waiting.retain(|&other| other != name);
            failed += usize::from(!fine);
        }
        if !waiting.is_empty() {
            say(&format!("\nno end after {LIMIT:?}: {waiting:?}"));
        }
        if failed + waiting.len() > 0 {
            say(&format!("\n---- the end of the server's log ----\n{}", own.lab().log_tail()));
        }
        Ok(failed + waiting.len())
    }
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
