//! Dividing a charge over payers, the classes of what a comparison finds, and amounts as text. Pure arithmetic: no database,
//! no clock.

mod amount;
mod charge;
mod class;
mod comparison;
mod explanation;
mod part;
mod split;

pub use amount::Minor;
pub use charge::{ChargeFacts, ChargeRow, EffectivePart, PayerPart, Recorded, Reversed};
pub use class::{ChargeClass, UnknownClass};
pub use comparison::{
    AskedCharge, Bucket, ClassTotal, Comparison, ControlTotal, EffectiveSource, ExceptionLine, Mover, Part,
    PayersTotal, SideTotal, Trend,
};
pub use explanation::{Explained, Explaining, Explanation, ExplanationState, UnexplainedTotal, Wording, explain};
pub use part::ComparePart;
pub use split::{Share, SplitError, split};
