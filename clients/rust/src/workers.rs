//! Threads for what happens off a caller's path: started when there is work, a few at most, gone after a while without any.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::sync::{lock, wait_while};
use crate::warn::warning;

const IDLE: Duration = Duration::from_secs(30);

type Work = Box<dyn FnOnce() + Send>;

pub(crate) struct Workers {
    name: &'static str,
    count_max: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    count: usize,
    idle: usize,
    is_closed: bool,
}

impl Workers {
    pub(crate) fn new(name: &'static str, count_max: usize) -> Self {
        Self { name, count_max, shared: Arc::default() }
    }

    /// Done as soon as a thread is free; false if it never will be.
    pub(crate) fn submit(&self, work: impl FnOnce() + Send + 'static) -> bool {
        let mut state = lock(&self.shared.state);
        if state.is_closed {
            return false;
        }
        state.waiting.push_back(Box::new(work));
        if state.idle >= state.waiting.len() {
            self.shared.changed.notify_one();
        } else if state.count < self.count_max {
            let shared = Arc::clone(&self.shared);
            if spawn(self.name, move || shared.run()) {
                state.count += 1;
            } else if state.count == 0 {
                state.waiting.pop_back();
                return false;
            }
        }
        true
    }

    /// The result of work, for a task to wait for; none if nobody is there to do it.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot();
        if !self.submit(move || drop(sender.send(work()))) {
            return None;
        }
        receiver.await
    }

    pub(crate) fn close(&self) {
        let waiting = {
            let mut state = lock(&self.shared.state);
            state.is_closed = true;
            std::mem::take(&mut state.waiting)
        };
        self.shared.changed.notify_all();
        drop(waiting);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = lock(&self.state);
        loop {
            state.idle += 1;
            state = wait_while(&self.changed, state, IDLE, |state| state.waiting.is_empty() && !state.is_closed);
            state.idle -= 1;
            let Some(work) = state.waiting.pop_front() else {
                state.count -= 1;
                return;
            };
            drop(state);
            // A panic has been told by its hook, and whoever waits for a result sees that none comes.
            let _ = catch_unwind(AssertUnwindSafe(work));
            state = lock(&self.state);
        }
    }
}

/// Starts a thread; false if the system has none left.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> bool {
    match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
        Ok(_) => true,
        Err(error) => {
            warning!("no thread for {name}: {error}");
            false
        }
    }
}

/// One value from a thread to a task.
pub(crate) fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Arc::new(Mutex::new(Slot { value: None, waker: None, is_over: false }));
    (Sender(Arc::clone(&slot)), Receiver(slot))
}

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    /// Nobody sends any more, or nobody waits any more.
    is_over: bool,
}

pub(crate) struct Sender<T>(Arc<Mutex<Slot<T>>>);

pub(crate) struct Receiver<T>(Arc<Mutex<Slot<T>>>);

impl<T> Sender<T> {
    /// Gives the value back if nobody waits for it any more.
    pub(crate) fn send(self, value: T) -> Result<(), T> {
        let mut slot = lock(&self.0);
        if slot.is_over {
            return Err(value);
        }
        slot.value = Some(value);
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut slot = lock(&self.0);
            slot.is_over = true;
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// Ends the waiting; what had been sent already.
    pub(crate) fn close(&self) -> Option<T> {
        let mut slot = lock(&self.0);
        slot.is_over = true;
        slot.value.take()
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = lock(&self.0);
        if let Some(value) = slot.value.take() {
            return Poll::Ready(Some(value));
        }
        if slot.is_over {
            return Poll::Ready(None);
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}
