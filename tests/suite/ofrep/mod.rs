//! OFREP over a real HTTP server, and the flags behind it.

mod corpus;
mod endpoints;
mod freshness;
mod host;
mod properties;
mod service;
