//! The side of one charge: of its group, in its period, and why.

use serde::Serialize;

use super::at::{StoodAt, side_at};
use super::error::RoutingError;
use super::list::Action;
use super::routed::RoutedChange;
use super::side::GroupId;
use crate::change::Stage;
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant, Period};
use crate::translation::own::get_change;

/// What is recorded of a charge's group in its period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoutedCharge {
    pub stage: Stage,
    #[serde(flatten)]
    pub stood: StoodAt,
    /// The same in words, one sentence a fact.
    pub why: Vec<String>,
}

/// The side of a group in a period as it stands now; `None` of a change that routes nobody.
pub fn side_of_charge(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    (group, period): (&str, &str),
    at: Instant,
) -> Result<Option<RoutedCharge>, RoutingError> {
    let stage = get_change(connection, change)?.stage;
    let routed = match RoutedChange::get(connection, change) {
        Ok(routed) => routed,
        Err(RoutingError::NoAllocation(_) | RoutingError::NoGroupOfUser(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(period) = period.parse::<Period>() else { return Ok(None) };
    let stood = side_at(connection, &routed, &GroupId::new(group)?, (at, Some(period)))?;
    let why = why(&stood, stage);
    Ok(Some(RoutedCharge { stage, stood, why }))
}

fn why(stood: &StoodAt, stage: Stage) -> Vec<String> {
    let StoodAt { group, period, side, because, before, .. } = stood;
    let mut why = Vec::new();
    if stage == Stage::Complete {
        why.push(String::from(
            "The change is complete: in open periods the new model is in force, whatever is recorded.",
        ));
    }
    match because {
        None => why.push(format!(
            "Group {group} has no recorded side in {period}{}.",
            match stage {
                Stage::Complete => "",
                stage if stage.routes_to_new() => ", so the old model is in force",
                _ => ", so the old model is in force: the change is not `live` yet",
            }
        )),
        Some(event) => {
            let made = match event.action {
                Action::Assign => "assigned",
                Action::Move => "moved there",
                Action::Release => "released there",
            };
            let one = &event.assignment;
            let mut sentence =
                format!("Group {group} is on the {side} side in {period}: {made} at {} by {}", one.at, one.actor);
            if let Some(version) = one.flag_version {
                sentence.push_str(&format!(", as version {version} of the flag decided"));
            }
            if !one.reason.is_empty() {
                sentence.push_str(&format!(" ({})", one.reason));
            }
            why.push(sentence + ".");
        }
    }
    why.extend(before.iter().map(|event| {
        let one = &event.assignment;
        format!("Before, from {} on, it was on the {} side.", one.at, one.side)
    }));
    why
}
