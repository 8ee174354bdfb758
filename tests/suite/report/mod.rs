//! Comparisons and reports on tables whose every row the test writes itself.

mod attacks;
mod chunks;
mod classes;
mod closed;
mod commands;
mod documents;
mod input;
mod ledger;
mod model;
mod planted;
mod properties;
mod repeat;
mod scale;
mod signing;
mod worlds;
