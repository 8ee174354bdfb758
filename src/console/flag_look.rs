//! Looking first: who would get another variant if a flag were another, counted over a cohort, over users that are named, or over every
//! group of a change. Nothing is written.

use super::words::counted;
use crate::flags::Flag;
use crate::http::AppState;
use crate::http::api::previews::{Over, PreviewAnswer, preview_over};
use crate::primitives::CohortName;
use crate::routing::{ChangePreview, Preview};

/// Without being asked, only cohorts of so many ids are counted.
const UNASKED_IDS_MAX: usize = 100_000;

/// Over whom, as a form says it.
#[derive(Debug, Clone, Default)]
pub struct Whom {
    pub cohort: String,
    pub users: String,
}

/// What a page shows of it.
pub struct Look {
    pub is_change: bool,
    /// Each cohort, and whether it is the chosen one.
    pub cohorts: Vec<(String, bool)>,
    pub users: String,
    pub found: Option<Found>,
    pub error: Option<String>,
}

/// Who would move.
pub struct Found {
    pub headline: String,
    pub moves: Vec<Moving>,
    pub staying: Vec<String>,
    /// Of a change's flag: what is recorded, and how far cohorts reach.
    pub change: Vec<String>,
    pub rejections: Vec<String>,
}

/// One move from a variant to another.
pub struct Moving {
    pub from: String,
    pub to: String,
    pub count: String,
    pub percent: f64,
    pub recorded: Option<String>,
    pub samples: Vec<String>,
    pub is_cut: bool,
}

/// Looks who would move if `after` were the flag; without `after` only what a form needs.
pub fn look(state: &AppState, flag: &Flag, after: Option<&Flag>, whom: &Whom) -> Look {
    let snapshot = state.snapshot();
    let is_change = after.unwrap_or(flag).change().or(flag.change()).is_some();
    let (over, error) = match over(state, (flag, after.unwrap_or(flag)), is_change, whom) {
        Ok(over) => (over, None),
        Err(error) => (None, Some(error)),
    };
    let chosen = match &over {
        Some(Over::Cohort(name)) => name.to_string(),
        _ => whom.cohort.clone(),
    };
    let names = snapshot.cohorts().iter().map(|cohort| cohort.name().to_string());
    let cohorts = names.map(|name| (name.clone(), name == chosen)).collect();
    let answer = after.zip(over).map(|(after, over)| preview_over(state, after.clone(), &over));
    let (found, error) = match answer {
        Some(Ok(answer)) => (Some(found(answer)), error),
        Some(Err(problem)) => (None, Some(problem.detail().to_owned())),
        None => (None, error),
    };
    Look { is_change, cohorts, users: whom.users.clone(), found, error }
}

/// Over whom is said, or goes without saying: every group of a change, the first cohort that the flag names, as it is or as it would be.
fn over(state: &AppState, (flag, after): (&Flag, &Flag), is_change: bool, whom: &Whom) -> Result<Option<Over>, String> {
    if !whom.users.trim().is_empty() {
        return Ok(Some(Over::Lines(whom.users.clone())));
    }
    match whom.cohort.trim() {
        "" if is_change => Ok(Some(Over::Groups)),
        "" => {
            let snapshot = state.snapshot();
            let is_small = |name: &&CohortName| {
                let cohort = snapshot.find_cohort(name.as_str()).and_then(|at| snapshot.cohort(at));
                cohort.is_some_and(|cohort| (1..=UNASKED_IDS_MAX).contains(&cohort.ids().len()))
            };
            Ok(flag.cohorts().chain(after.cohorts()).find(is_small).cloned().map(Over::Cohort))
        }
        name => name.parse().map(|name| Some(Over::Cohort(name))).map_err(|_| format!("`{name}` is no cohort's name.")),
    }
}

fn found(answer: PreviewAnswer) -> Found {
    let PreviewAnswer { preview, rejected, rejections } = answer;
    let Preview { unit, subjects, moving, percent_moving, .. } = preview;
    let units = |count: u64| number(count, unit, if unit == "group" { "groups" } else { "subjects" });
    let mut told: Vec<String> = rejections.iter().map(|one| format!("line {} {}", one.line, one.what)).collect();
    if rejected > u64::try_from(told.len()).unwrap_or(u64::MAX) {
        told.push(String::from("…"));
    }
    Found {
        headline: format!(
            "{} of {} would get another {} ({percent_moving} %).",
            number(moving, "", "").trim(),
            units(subjects),
            if unit == "group" { "side" } else { "variant" },
        ),
        moves: preview
            .moves
            .into_iter()
            .map(|one| Moving {
                count: units(one.subjects),
                percent: one.percent,
                recorded: (one.recorded > 0).then(|| {
                    format!(
                        "{} a side recorded for the running period, and stay on it until it ends.",
                        match one.recorded {
                            1 => String::from("1 of them has"),
                            many => format!("{} of them have", number(many, "", "").trim()),
                        }
                    )
                }),
                is_cut: u64::try_from(one.samples.len()).is_ok_and(|shown| shown < one.subjects),
                samples: one.samples,
                from: one.from,
                to: one.to,
            })
            .collect(),
        staying: preview
            .staying
            .into_iter()
            .map(|one| format!("{} stay with {} ({} %).", units(one.subjects), one.variant, one.percent))
            .collect(),
        change: preview.change.as_ref().map(change).unwrap_or_default(),
        rejections: told,
    }
}

fn change(change: &ChangePreview) -> Vec<String> {
    let ChangePreview { change: name, stage, period, recorded_old, recorded_new, users, .. } = change;
    let mut told = vec![format!(
        "Recorded for {period}: {} new, {} old.",
        number(*recorded_new, "group", "groups"),
        number(*recorded_old, "group", "groups")
    )];
    if *users > 0 {
        told.push(format!(
            "{} were named, {} of them without a group.",
            number(*users, "user", "users"),
            change.users_without_group
        ));
    }
    for cohort in &change.widened {
        let size = |count: usize, one: &str, many: &str| counted(i64::try_from(count).unwrap_or(i64::MAX), one, many);
        let payers =
            cohort.payers.map_or_else(String::new, |payers| format!(" of {}", counted(payers, "payer", "payers")));
        told.push(format!(
            "The cohort `{}`: {} widened to {}{payers}, {} without a group.",
            cohort.cohort,
            size(cohort.users, "user", "users"),
            size(cohort.groups, "group", "groups"),
            size(cohort.users_without_group, "user", "users")
        ));
    }
    if !stage.routes_to_new() {
        told.push(format!("The change `{name}` is at {stage}: nobody is on the new side before live."));
    } else if stage.is_everybody_new() {
        told.push(format!("The change `{name}` is at {stage}: everybody is on the new side, whatever the flag says."));
    }
    told
}

fn number(count: u64, one: &str, many: &str) -> String {
    counted(i64::try_from(count).unwrap_or(i64::MAX), one, many)
}
