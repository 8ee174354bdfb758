//! What people set of a gate.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// The greatest place in the order.
pub const ORDER_MAX: i64 = 1_000_000;
/// The longest delay: a day.
pub const DELAY_S_MAX: i64 = 86_400;
/// How long a lease may be: shorter ones end by a hiccup of the network, longer ones leave a dead worker's work undone for days.
pub const LEASE_S: RangeInclusive<i64> = 2..=86_400;
const DESCRIPTION_MAX: usize = 500;

/// How a worker comes back, and whether one instance of it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What the worker does, for people.
    #[serde(default)]
    pub description: String,
    /// Workers come back from the smallest number to the greatest; those of one number together.
    #[serde(default)]
    pub order: i64,
    /// How many seconds after those of the number before.
    #[serde(default, rename = "delay_seconds")]
    pub delay_s: i64,
    /// Only the holder of the worker's lease runs.
    #[serde(default)]
    pub single_instance: bool,
    /// How long a lease is held without a heartbeat.
    #[serde(default = "default_lease_s", rename = "lease_seconds")]
    pub lease_s: i64,
}

fn default_lease_s() -> i64 {
    30
}

impl Default for Settings {
    fn default() -> Self {
        Self { description: String::new(), order: 0, delay_s: 0, single_instance: false, lease_s: default_lease_s() }
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    #[error("`description` is at most {DESCRIPTION_MAX} characters, none of them a control character")]
    Description,
    #[error("`order` is 0 to {ORDER_MAX}; it is {0}")]
    Order(i64),
    #[error("`delay_seconds` is 0 to {DELAY_S_MAX}; it is {0}")]
    Delay(i64),
    #[error("`lease_seconds` is 2 to 86400; it is {0}")]
    Lease(i64),
}

impl Settings {
    /// The settings, if they can be used.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn checked(mut self) -> Result<Self, InvalidSettings> {
        self.description = self.description.trim().to_owned();
        if self.description.chars().count() > DESCRIPTION_MAX || self.description.chars().any(char::is_control) {
            return Err(InvalidSettings::Description);
        }
        if !(0..=ORDER_MAX).contains(&self.order) {
            return Err(InvalidSettings::Order(self.order));
        }
        if !(0..=DELAY_S_MAX).contains(&self.delay_s) {
            return Err(InvalidSettings::Delay(self.delay_s));
        }
        if !LEASE_S.contains(&self.lease_s) {
            return Err(InvalidSettings::Lease(self.lease_s));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_at_their_ends() {
        let base = Settings::default();
        for good in [
            base.clone(),
            Settings { order: ORDER_MAX, delay_s: DELAY_S_MAX, lease_s: 86_400, ..base.clone() },
            Settings { lease_s: 2, description: " sends invoices ".into(), ..base.clone() },
        ] {
            assert!(good.checked().is_ok());
        }
        for (bad, name) in [
            (Settings { order: -1, ..base.clone() }, "order"),
            (Settings { delay_s: DELAY_S_MAX + 1, ..base.clone() }, "delay_seconds"),
            (Settings { lease_s: 1, ..base.clone() }, "lease_seconds"),
            (Settings { description: "a\nb".into(), ..base.clone() }, "description"),
        ] {
            assert!(bad.checked().unwrap_err().to_string().contains(name), "{name}");
        }
    }
}
