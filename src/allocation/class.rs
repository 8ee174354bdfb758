//! The classes into which a comparison puts every charge: each charge is in exactly one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a comparison says of one charge.
///
/// The order of the arms is the order of precedence: a charge is in the first class that applies, so that the most basic fault is
/// told and not what follows from it (a payer listed twice usually breaks the sum too; `duplicate` names the cause).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeClass {
    Orphan,
    Unallocated,
    Currency,
    Duplicate,
    NotConserved,
    MixedSign,
    FrozenChanged,
    RefundDrift,
    UnexpectedPayer,
    SamePayer,
    SplitExpected,
    MovedExpected,
}

impl ChargeClass {
    /// All classes in their order of precedence.
    pub const ALL: [Self; 12] = [
        Self::Orphan,
        Self::Unallocated,
        Self::Currency,
        Self::Duplicate,
        Self::NotConserved,
        Self::MixedSign,
        Self::FrozenChanged,
        Self::RefundDrift,
        Self::UnexpectedPayer,
        Self::SamePayer,
        Self::SplitExpected,
        Self::MovedExpected,
    ];

    /// The name in JSON, CSV and SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orphan => "orphan",
            Self::Unallocated => "unallocated",
            Self::Currency => "currency",
            Self::Duplicate => "duplicate",
            Self::NotConserved => "not_conserved",
            Self::MixedSign => "mixed_sign",
            Self::FrozenChanged => "frozen_changed",
            Self::RefundDrift => "refund_drift",
            Self::UnexpectedPayer => "unexpected_payer",
            Self::SamePayer => "same_payer",
            Self::SplitExpected => "split_expected",
            Self::MovedExpected => "moved_expected",
        }
    }

    /// The name on a page.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Orphan => "Allocation without a charge",
            Self::Unallocated => "Allocated to nobody",
            Self::Currency => "Other currency",
            Self::Duplicate => "Payer listed twice",
            Self::NotConserved => "Sum differs",
            Self::MixedSign => "Mixed signs",
            Self::FrozenChanged => "Closed period moved",
            Self::RefundDrift => "Refund does not undo its charge",
            Self::UnexpectedPayer => "Unexpected payer",
            Self::SamePayer => "Same payer",
            Self::SplitExpected => "Divided, as expected",
            Self::MovedExpected => "Moved, as expected",
        }
    }

    /// What it means, for somebody who has not read the manual.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Orphan => "The old or the new model allocates something for which there is no charge.",
            Self::Unallocated => "The old or the new model allocates the charge, or a part of it, to nobody.",
            Self::Currency => "The new model allocates the charge in another currency.",
            Self::Duplicate => "The new model lists the same payer more than once for the charge.",
            Self::NotConserved => "The parts do not add up to the charge's amount.",
            Self::MixedSign => "The new model pays some payers and bills others for the same charge.",
            Self::FrozenChanged => {
                "The charge's period is closed, and the charge is not allocated as it was then, is gone, or came later."
            }
            Self::RefundDrift => "The refund does not give back to each payer what the refunded charge took from them.",
            Self::UnexpectedPayer => "The payers are not the ones that the change says should pay.",
            Self::SamePayer => "The same payer pays the same amount in both models.",
            Self::SplitExpected => "Whoever paid before still pays, now together with others.",
            Self::MovedExpected => "Somebody else pays now, and it is who the change says should pay.",
        }
    }

    /// True for the classes that stop a change until somebody has looked.
    #[must_use]
    pub fn is_wrong(self) -> bool {
        match self {
            Self::Orphan
            | Self::Unallocated
            | Self::Currency
            | Self::Duplicate
            | Self::NotConserved
            | Self::MixedSign
            | Self::FrozenChanged
            | Self::RefundDrift
            | Self::UnexpectedPayer => true,
            Self::SamePayer | Self::SplitExpected | Self::MovedExpected => false,
        }
    }
}

impl fmt::Display for ChargeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a class of charges")]
pub struct UnknownClass(String);

impl FromStr for ChargeClass {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| UnknownClass(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_reads_back_its_own_name_and_json_agrees() {
        for class in ChargeClass::ALL {
            assert_eq!(class.as_str().parse::<ChargeClass>().unwrap(), class);
            assert_eq!(serde_json::to_string(&class).unwrap(), format!("\"{class}\""));
        }
        assert!("frozen".parse::<ChargeClass>().is_err());
    }

    #[test]
    fn wrong_classes_come_before_fine_ones() {
        let first_fine = ChargeClass::ALL.iter().position(|class| !class.is_wrong()).unwrap();
        assert!(ChargeClass::ALL[first_fine..].iter().all(|class| !class.is_wrong()));
    }
}
