//! Clients that send their body drop by drop, by weakness or on purpose, so that each keeps a connection and a handler for itself: they are
//! cut off, however they share the drops out. A large body may take as long as it needs at a pace that any line keeps.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::state::AppState;

/// After the first seconds, which are a setting, this many bytes have to come in each further second on average.
const BYTES_A_SECOND: u64 = 1 << 10;

/// A body as the framework takes it.
type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

/// Wraps every request that has a body.
pub async fn cut_off<B>(mut request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, actix_web::Error> {
    let payload = request.take_payload();
    let state = request.app_data::<Data<AppState>>();
    let payload = match (payload, state) {
        (Payload::None, _) => Payload::None,
        (payload, Some(state)) => {
            let paced: Pieces = Box::pin(Paced::new(payload, state.limits().slow_client()));
            Payload::Stream { payload: paced }
        }
        (payload, None) => payload,
    };
    request.set_payload(payload);
    next.call(request).await
}

/// A body that ends with an error if it comes too slowly.
struct Paced<S> {
    inner: S,
    grace: Duration,
    /// From when on somebody wanted to read it.
    began: Option<Instant>,
    received: u64,
    late: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    fn new(inner: S, grace: Duration) -> Self {
        Self { inner, grace, began: None, received: 0, late: Box::pin(sleep(grace)) }
    }

    fn due(&self, began: Instant) -> Instant {
        began + self.grace + Duration::from_millis(self.received.saturating_mul(1_000) / BYTES_A_SECOND)
    }
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for Paced<S> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let began = *this.began.get_or_insert_with(Instant::now);
        match Pin::new(&mut this.inner).poll_next(context) {
            Poll::Ready(Some(Ok(bytes))) => {
                this.received = this.received.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => {
                let due = this.due(began);
                if this.late.deadline() != due {
                    this.late.as_mut().reset(due);
                }
                match this.late.as_mut().poll(context) {
                    Poll::Ready(()) => {
                        let slow = io::Error::new(io::ErrorKind::TimedOut, "it came too slowly");
                        Poll::Ready(Some(Err(PayloadError::Io(slow))))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    struct Sent(mpsc::UnboundedReceiver<Bytes>);

    impl Stream for Sent {
        type Item = Result<Bytes, PayloadError>;

        fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.poll_recv(context).map(|piece| piece.map(Ok))
        }
    }

    async fn next(paced: &mut Paced<Sent>) -> Option<Result<Bytes, PayloadError>> {
        std::future::poll_fn(|context| Pin::new(&mut *paced).poll_next(context)).await
    }

    #[test]
    fn a_body_has_its_first_seconds_and_a_second_for_each_kilobyte() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (sender, receiver) = mpsc::unbounded_channel();
            let mut paced = Paced::new(Sent(receiver), Duration::from_secs(10));
            sender.send(Bytes::from(vec![0; 5 << 10])).unwrap();
            assert_eq!(next(&mut paced).await.unwrap().unwrap().len(), 5 << 10);
            let began = paced.began.unwrap();
            assert_eq!(paced.due(began) - began, Duration::from_secs(15));
            // As if it had begun long ago.
            paced.began = Some(began - Duration::from_secs(16));
            assert!(matches!(next(&mut paced).await, Some(Err(PayloadError::Io(_)))));
            sender.send(Bytes::from(vec![0; 5 << 10])).unwrap();
            assert!(next(&mut paced).await.unwrap().is_ok(), "what is there is taken");
            drop(sender);
            assert!(next(&mut paced).await.is_none());
        });
    }
}
