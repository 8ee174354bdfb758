//! Locks that a panic elsewhere does not poison, and a signal that threads and tasks wait for.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What is behind our locks is whole after each line: a panic of somebody's function must not take the client with it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits while `condition` holds, for a time at most.
pub(crate) fn wait_while<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    // A condition variable cannot wait for ever by a duration: some platforms overflow.
    let time = time.min(Duration::from_secs(86_400));
    changed.wait_timeout_while(guard, time, condition).unwrap_or_else(PoisonError::into_inner).0
}

/// Set once, and for good.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<(bool, Vec<Waker>)>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn set(&self) {
        let wakers = {
            let mut state = lock(&self.state);
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_set(&self) -> bool {
        lock(&self.state).0
    }

    /// Whether it is set, after the time at the latest.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        wait_while(&self.changed, lock(&self.state), time, |state| !state.0).0
    }

    /// Ends when it is set.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + '_ {
        Ended(self)
    }
}

struct Ended<'a>(&'a Signal);

impl Future for Ended<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0.state);
        if state.0 {
            return Poll::Ready(());
        }
        if !state.1.iter().any(|waker| waker.will_wake(context.waker())) {
            state.1.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// What is left until an instant; none if it is over.
pub(crate) fn left(until: Instant) -> Option<Duration> {
    until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}
