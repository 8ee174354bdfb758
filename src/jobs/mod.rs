//! What runs by itself inside the server.

mod refresh;

pub use refresh::Refresher;
