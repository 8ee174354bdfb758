//! The change file against real catalogues.

mod catalogue;
mod check;
mod mistakes;
mod mutations;
mod plans;
