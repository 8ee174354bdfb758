//! Writes for callers that do not reach the database: operations on the change's tables in one transaction, typed by the catalogue,
//! translated by the triggers like any other write, answered with the rows of both models.

mod base64;
mod decimal;
mod fault;
mod json;
mod kind;
mod moments;
mod operation;
mod request;
mod tables;

pub use fault::{Fault, Refusal, WriteError};
pub use kind::Kind;
pub use request::{Action, OPERATIONS_MAX, ROWS_MAX, Request};
pub use tables::{Side, WritableTable, WriteModel};
