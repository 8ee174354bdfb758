//! Routing on both databases: each story of who is on which side, and the sum that must always hold.

mod command;
mod conserved;
mod explain;
pub mod fixture;
mod groups;
mod ids;
mod indexed;
mod preview;
mod stories;
mod story;
