//! Gates of background workers: what a gate says at an instant, in which order workers come back, who may hold the lease of a worker
//! of which one instance runs. Values in, values out: the clock and the rows are the caller's. Not the gates of a change's stages.

mod gate;
mod lease;
mod order;
mod settings;

pub use gate::{Answer, Gate, State, Switch, UnknownSwitch};
pub use lease::{Claim, Lease, Refusal, Renewal, acquire, release, renew};
pub use order::{Returning, schedule};
pub use settings::{DELAY_S_MAX, InvalidSettings, LEASE_S, ORDER_MAX, Settings};
