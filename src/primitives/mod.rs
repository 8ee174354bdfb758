//! Keys, ids, periods and instants: small validated types that every other module may use. No I/O, no clock.

mod currency;
mod dialect;
mod instant;
mod name;
mod period;
mod period_scheme;

pub use currency::exponent_of;
pub use dialect::Dialect;
pub use instant::Instant;
pub use name::{ChangeName, CohortName, FlagKey, InvalidName, VariantName, WorkerName};
pub use period::{InvalidPeriod, Period, PeriodKind};
pub use period_scheme::{InvalidTable, NoPeriod, PeriodScheme};
