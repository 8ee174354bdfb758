//! A body that is made while it is sent. What cannot be read breaks the connection off, so that nobody takes a part for the whole.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use tokio::sync::mpsc::Receiver;

/// The pieces of a body, as they come.
pub struct Streamed {
    pieces: Receiver<io::Result<Bytes>>,
}

impl Streamed {
    #[must_use]
    pub fn new(pieces: Receiver<io::Result<Bytes>>) -> Self {
        Self { pieces }
    }
}

impl MessageBody for Streamed {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.pieces.poll_recv(context)
    }
}
