//! Connections to the two databases, in both dialects: URLs, pools, SQL whose shape is known only at run time, and
//! transactions that are tried again when the database asks for it. Typed queries are the store's, not ours.

mod connection;
mod error;
mod hash;
mod listen;
mod pool;
mod row;
mod url;

pub use crate::primitives::Dialect;
pub use connection::{DatabaseConnection, Value};
pub use error::{DatabaseError, Violation};
pub use listen::Listener;
pub use pool::{Database, PooledConnection};
pub use row::{Cells, Row};
pub use url::{DatabaseUrl, InvalidDatabaseUrl};
