//! The client for Rust of a [Changeover](https://github.com) server.
#![deny(missing_docs)]

mod availability;
mod bucket;
mod calls;
mod client;
mod clock;
mod context;
mod details;
mod error;
mod events;
mod flags;
mod http;
mod lru;
mod observations;
mod random;
mod sha256;
mod stage;
mod state;
mod sync;
mod url;
mod warn;
mod wire;
mod workers;

pub use bucket::bucket;
pub use client::{Builder, Client};
pub use context::Context;
pub use details::{Details, ErrorCode, FlagValue, Reason};
pub use error::{Error, Kind};
pub use observations::Stats;
pub use stage::{NoStage, Side, Stage};
pub use url::ConfigError;

#[cfg(test)]
#[path = "../tests/unit/mod.rs"]
mod tests;
