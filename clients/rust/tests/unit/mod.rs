//! What the clients of all languages do alike, against the real server and against one that answers as it is told. One binary, with a look
//! inside the crate where a case needs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing"
)]

#[path = "../support.rs"]
mod support;

mod change;
mod corpus;
mod database;
mod flags;
mod gates;
mod migrator;
#[cfg(feature = "open-feature")]
mod open_feature;
mod requests;
mod tasks;
#[cfg(feature = "tls")]
mod tls;
