//! Writes for callers that do not reach the database: operations on the change's tables in one transaction, typed by the catalogue,
//! translated by the triggers like any other write, answered with the rows of both models.

mod agreement;
mod answer;
pub(crate) mod base64;
mod decimal;
mod describe;
mod execute;
mod explain;
mod fault;
pub mod idempotency;
mod json;
mod kind;
mod moments;
mod operation;
mod request;
mod rows;
mod rules;
mod run;
mod statement;
mod tables;
mod touched;

pub use answer::{Answer, PendingKey, TranslatedBlock, TranslatedKey, WrittenRows};
pub use describe::describe;
pub use fault::{Fault, Refusal, WriteError};
pub use idempotency::IdempotencyKey;
pub use kind::Kind;
pub use request::{Action, OPERATIONS_MAX, ROWS_MAX, Request};
pub use run::{Outcome, write};
pub use tables::{Side, WritableTable, WriteModel, installed_at};
