//! Comparisons and reports on tables whose every row the test writes itself.

mod attacks;
mod chunks;
mod classes;
mod closed;
mod commands;
mod costs;
mod documents;
mod formats;
mod input;
mod ledger;
mod markup;
mod model;
mod observations;
mod pages;
mod planted;
mod properties;
mod repeat;
mod scale;
mod schema;
mod signing;
mod synthetic;
mod what_if;
mod worlds;
