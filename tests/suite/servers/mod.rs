//! Several servers on one database: what one writes all serve, in the same order, whatever happens to the database meanwhile.

mod agreement;
pub mod fixture;
mod outage;
mod propagation;
mod set_back;
mod snapshot_file;
mod unreadable;
