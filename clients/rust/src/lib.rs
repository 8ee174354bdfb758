//! The client for Rust: what applications use of it, and nothing of how it works.
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod async_client;
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
mod gates;
mod http;
mod kept;
mod lru;
mod migrator;
mod observations;
#[cfg(feature = "open-feature")]
pub mod open_feature;
mod outcome;
mod random;
mod routing;
mod sha256;
mod stage;
mod state;
mod sync;
mod url;
mod warn;
mod wire;
mod workers;
mod writes;

pub use async_client::{AsyncClient, AsyncGate};
pub use bucket::bucket;
pub use client::{Builder, Client};
pub use context::Context;
pub use details::{Details, ErrorCode, FlagValue, Reason};
pub use error::{Error, Kind};
pub use gates::{Gate, Lease};
pub use migrator::{Async, Blocking, Migrator, Order};
pub use observations::Stats;
pub use routing::{Allocation, Part, SideAnswer, Sides};
pub use stage::{NoStage, Side, Stage};
pub use url::ConfigError;
pub use writes::{Operation, WriteResult, Writes, minted, minted_in_row};

#[cfg(test)]
#[path = "../tests/unit/mod.rs"]
mod tests;
