//! The change file, parsed and validated; the stages of a change. No I/O: checking against a live database is
//! `translation::check`'s.

mod columns;
mod document;
mod file;
mod loss;
mod mistake;
mod parse;
mod periods;
mod stage;

pub use file::{
    Allocation, Backward, Block, BlockId, ChangeFile, Columns, Direction, Follow, Key, Located, Loss, ObservationGate,
    OnError, Query, Routing, Split, Stages, Truncate,
};
pub use mistake::{Mistake, nearest, shown};
pub use stage::{Stage, UnknownStage};
