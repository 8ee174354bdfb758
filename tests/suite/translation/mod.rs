//! Translation on both databases: what old code and new code write, in any order, from any number of connections, leaves both models
//! in agreement; every planted fault is found; the division is exact; a killed backfill goes on where it was.

mod audit;
mod backfill;
mod basis;
mod concurrency;
mod crash;
mod crashes;
mod crashes_of_install;
mod differential;
mod faults;
pub mod fixture;
mod histories;
mod laws;
mod lifecycle;
mod noticed;
mod pause;
mod pending;
mod restore_points;
mod schemas;
mod sentinel;
mod settle;
mod several;
mod skew;
mod split;
mod stages;
mod verify;
mod ways;
mod writers;

pub use fixture::{file, install_file, loaded};
