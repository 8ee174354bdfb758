//! Dividing a charge over payers, the classes of what a comparison finds, totals, and amounts as text. Pure arithmetic: no database,
//! no clock.

mod split;

pub use split::{Share, SplitError, split};
