//! OFREP over a real HTTP server, and the flags behind it.

mod clients;
mod corpus;
mod endpoints;
mod events;
mod freshness;
pub mod host;
mod limits;
mod matrix;
mod properties;
mod service;
