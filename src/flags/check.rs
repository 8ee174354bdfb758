//! What is refused when a flag is written or removed, though a stored flag may have it: whatever depends on other flags, and what
//! a change's flag can't be asked.

use std::collections::BTreeMap;

use super::clause::AttributePath;
use super::flag::{Flag, Serve};
use super::mistake::{InvalidFlag, Mistakes};
use super::prerequisites::{Broken, FLAGS_ASKED_MAX, resolve};
use crate::primitives::FlagKey;

/// Whether a flag may be written beside the others. Of those, the ones that it names as prerequisites and all that have
/// prerequisites themselves must be there; the flag's own earlier version may be.
pub fn check_write(flag: &Flag, others: &[Flag]) -> Result<(), InvalidFlag> {
    let mut mistakes = Mistakes::default();
    check_change(flag, &mut mistakes);
    check_prerequisites(flag, others, &mut mistakes);
    for asker in others.iter().filter(|other| other.key() != flag.key()) {
        for prerequisite in asker.prerequisites().iter().filter(|prerequisite| prerequisite.flag == *flag.key()) {
            for variant in prerequisite.variants.iter().filter(|name| flag.find_variant(name.as_str()).is_none()) {
                let what = format!(
                    "`{variant}` is what `{}` needs this flag to serve: take the prerequisite out there first",
                    asker.key()
                );
                mistakes.add("variants", what);
            }
        }
    }
    mistakes.into_result(Some(()))
}

/// The key of a flag that has `key` as a prerequisite.
#[must_use]
pub fn flag_that_needs<'f>(key: &FlagKey, others: &'f [Flag]) -> Option<&'f FlagKey> {
    let needs = |other: &&Flag| {
        other.key() != key && other.prerequisites().iter().any(|prerequisite| prerequisite.flag == *key)
    };
    others.iter().find(needs).map(Flag::key)
}

/// A change's flag is asked for groups, which have no attributes, and must not depend on whom of a group it was asked for.
fn check_change(flag: &Flag, mistakes: &mut Mistakes) {
    if flag.change().is_none() {
        return;
    }
    if !flag.prerequisites().is_empty() {
        let what = "a flag that routes a change takes no prerequisites: a group must not move because another flag did";
        mistakes.add("prerequisites", what);
    }
    let mut check = |at: String, attribute: &AttributePath| {
        if !attribute.is_targeting_key() {
            let what = format!(
                "a flag that routes a change is asked for groups, which have no `{attribute}`: use targetingKey, which is the \
                 group's id, or a cohort"
            );
            mistakes.add(at, what);
        }
    };
    for (number, rule) in flag.rules().iter().enumerate() {
        for (clause, asked) in rule.clauses.iter().enumerate() {
            check(format!("rules[{number}].clauses[{clause}].attribute"), asked.attribute());
        }
        if let Serve::Rollout(rollout) = &rule.serve {
            check(format!("rules[{number}].serve.rollout.attribute"), rollout.attribute());
        }
    }
}

fn check_prerequisites(flag: &Flag, others: &[Flag], mistakes: &mut Mistakes) {
    if flag.prerequisites().is_empty() {
        return;
    }
    let all: Vec<&Flag> =
        others.iter().filter(|other| other.key() != flag.key()).chain(std::iter::once(flag)).collect();
    let by_key: BTreeMap<&str, usize> = all.iter().enumerate().map(|(at, flag)| (flag.key().as_str(), at)).collect();
    let resolved = resolve(&all, |key| by_key.get(key).copied());
    let own = resolved.last().map_or(&[][..], Vec::as_slice);
    for (number, (prerequisite, found)) in flag.prerequisites().iter().zip(own).enumerate() {
        let at = format!("prerequisites[{number}]");
        let key = &prerequisite.flag;
        match found.map(|found| all.get(found)) {
            Ok(None) | Err(Broken::NoSuchFlag) => {
                mistakes.add(format!("{at}.flag"), format!("there is no flag `{key}`"))
            }
            Err(Broken::Circle) => mistakes.add(
                format!("{at}.flag"),
                format!("`{key}` depends on this flag, or on a circle of flags: neither could ever be told"),
            ),
            Err(Broken::TooMany) => {
                mistakes.add(format!("{at}.flag"), format!("one answer would ask more than {FLAGS_ASKED_MAX} flags"));
            }
            Ok(Some(other)) => {
                for (variant, name) in prerequisite.variants.iter().enumerate() {
                    if other.find_variant(name.as_str()).is_none() {
                        let known: Vec<String> = other.variants().iter().map(|own| format!("`{}`", own.name)).collect();
                        let what = format!("`{key}` has no variant `{name}`: it has {}", known.join(", "));
                        mistakes.add(format!("{at}.variants[{variant}]"), what);
                    }
                }
            }
        }
    }
    let askers = all.iter().zip(&resolved).filter(|(other, _)| other.key() != flag.key());
    for (asker, found) in askers {
        if found.contains(&Err(Broken::TooMany)) {
            let what = format!("an answer of `{}` would ask more than {FLAGS_ASKED_MAX} flags", asker.key());
            mistakes.add("prerequisites", what);
        }
    }
}
