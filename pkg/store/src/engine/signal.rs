//! Wakes a thread that sleeps while there is nothing to do.

use std::sync::{Condvar, Mutex, PoisonError};

/// What the thread was woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// There may be work.
    Work,
    /// Finish everything and end.
    Stop,
    /// End now.
    Abandon,
}

/// Remembers the strongest wish until the thread looks.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    wanted: Mutex<Option<Wanted>>,
    changed: Condvar,
}

impl Signal {
    /// There may be work.
    pub(crate) fn ask(&self) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(Wanted::Work);
        self.changed.notify_one();
    }

    /// Ends the thread, now or after a last round of work.
    pub(crate) fn end(&self, how: Wanted) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
        self.changed.notify_one();
    }

    /// Sleeps until something is wanted.
    pub(crate) fn wait(&self) -> Wanted {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match wanted.take() {
                Some(wanted) => return wanted,
                None => wanted = self.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
