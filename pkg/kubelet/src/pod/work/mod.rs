//! Carrying out the steps of a plan. Each function does one step, and is told everything it needs: it reads no state of
//! the actor, so that it can run beside it.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinError;

pub(super) mod finish;
pub(super) mod kill;
pub(super) mod mounts;
pub(super) mod observe;
pub(super) mod sandbox;
pub(super) mod start;
pub(super) mod volumes;

/// Whose turn it is to work in a pod's directory. Such work blocks and goes on when its step is given up, so that a teardown
/// has to wait for it: what it mounts later would stay for ever.
pub(super) type Turn = Arc<Mutex<()>>;

/// Does blocking work when it is its turn.
async fn in_turn<T: Send + 'static>(turn: &Turn, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    let turn = turn.clone().lock_owned().await;
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn work_that_was_given_up_keeps_its_turn_until_it_has_ended() {
        let turn = Turn::default();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (end, may_end) = mpsc::channel::<()>();
        let (done, outcome) = mpsc::channel();
        let own = turn.clone();
        let step = tokio::spawn(async move {
            let work = move || {
                begun.send(()).unwrap();
                may_end.recv().unwrap();
                done.send("mounted").unwrap();
            };
            in_turn(&own, work).await
        });
        has_begun.await.unwrap();
        step.abort();
        assert!(step.await.unwrap_err().is_cancelled());
        let teardown = in_turn(&turn, move || outcome.try_recv());
        end.send(()).unwrap();
        assert_eq!(teardown.await.unwrap(), Ok("mounted"));
    }
}
