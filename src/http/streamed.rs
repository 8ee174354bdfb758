//! A body that is made while it is sent. What cannot be read breaks the connection off, so that nobody takes a part for the whole.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use tokio::sync::mpsc::Receiver;

/// The pieces of a body, as they come.
pub struct Streamed<E = io::Error> {
    first: Option<Bytes>,
    pieces: Receiver<Result<Bytes, E>>,
}

impl<E> Streamed<E> {
    #[must_use]
    pub fn new(pieces: Receiver<Result<Bytes, E>>) -> Self {
        Self { first: None, pieces }
    }

    /// A body whose first piece was waited for, because until then something else could be answered.
    #[must_use]
    pub fn after(first: Option<Bytes>, pieces: Receiver<Result<Bytes, E>>) -> Self {
        Self { first, pieces }
    }
}

impl<E: Into<Box<dyn Error>> + 'static> MessageBody for Streamed<E> {
    type Error = E;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, E>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.pieces.poll_recv(context),
        }
    }
}
