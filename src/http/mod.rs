//! The service over HTTP: every path, its errors, tokens, headers and limits. It knows the store, routing and translation; it
//! starts no work of its own.

pub mod api;
pub mod auth;
mod docs;
pub mod edge;
pub mod edge_desk;
pub mod etag;
pub mod events;
mod health;
mod host;
pub mod input;
pub mod limits;
pub mod metrics;
pub mod ofrep;
pub mod openapi;
pub mod paths;
pub mod problem;
mod refused;
mod routes;
mod server;
mod slow_clients;
mod state;
pub(crate) mod streamed;
mod version;
mod writing;

pub use metrics::Metrics;
pub use routes::configure;
pub use server::serve;
pub use state::{AppState, Setting};
