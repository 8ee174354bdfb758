//! `/console/flags/{key}`: one flag: what it serves to whom, in words; what protects it, what waits, who changed it, how often it is asked.

use std::collections::BTreeSet;

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Deserialize;

use super::change_charts::flag_chart;
use super::chart::Chart;
use super::flag_facts::{Known, RuleShown, can_add_rollout, protections, rules};
use super::page::{Frame, base, html, see_other};
use super::session::Member;
use super::words::{When, when};
use crate::database::DatabaseConnection;
use crate::flags::words::{change_text, in_short};
use crate::http::AppState;
use crate::http::api::flags::FlagQuery;
use crate::http::api::history::{FlagVersionAnswer, read_page};
use crate::http::auth::Viewer;
use crate::http::problem::Problem;
use crate::primitives::{FlagKey, Instant};
use crate::store::proposals::{self, Proposal};
use crate::store::series::Step;
use crate::store::{PageRequest, StoreError, flag_versions, flags, stale};

/// So many of its versions are shown; its history has the others.
const VERSIONS: u32 = 5;

/// What has just been done, to be said once.
#[derive(Deserialize)]
pub struct Done {
    #[serde(default)]
    done: String,
    /// Of the chart: `month`, otherwise a day.
    #[serde(default)]
    range: String,
}

#[derive(Template)]
#[template(path = "console/flag.html")]
struct FlagPage {
    frame: Frame,
    key: String,
    description: String,
    kind: &'static str,
    is_enabled: bool,
    version: i64,
    at: When,
    by: String,
    serves: String,
    change: Option<String>,
    expires: Option<String>,
    notes: Vec<String>,
    protections: Vec<String>,
    two_person: bool,
    variants: Vec<[String; 2]>,
    default_variant: String,
    off_variant: String,
    /// Each other flag, and which variants it must serve.
    prerequisites: Vec<[String; 2]>,
    rules: Vec<RuleShown>,
    can_add_rollout: bool,
    proposals: Vec<ProposalShown>,
    history: Vec<VersionShown>,
    chart: Chart,
    is_month: bool,
}

struct ProposalShown {
    id: String,
    kind: String,
    by: String,
    reason: String,
    at: When,
}

/// A version in a history.
pub struct VersionShown {
    pub version: i64,
    pub at: When,
    pub by: String,
    pub reason: String,
    /// A line for each difference from the version before.
    pub changes: Vec<String>,
    /// False where the flag was removed.
    pub is_flag: bool,
}

struct Found {
    known: Known,
    notes: Vec<String>,
    proposals: Vec<Proposal>,
    history: Vec<FlagVersionAnswer>,
    chart: Chart,
}

/// The page. A flag that was removed has a history only.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    done: Query<Done>,
) -> Result<HttpResponse, Problem> {
    let is_month = done.range == "month";
    let key = key.into_inner();
    let asked = key.clone();
    let read = state.blocking(move |state| {
        if is_removed(state, &asked)? {
            return Ok(None);
        }
        let step = if is_month { Step::Coarse } else { Step::Fine };
        Ok(Some(find(state, &asked, step)?))
    });
    let Some(Found { known, notes, proposals, history, chart }) = read.await? else {
        return Ok(see_other(&format!("{}/flags/{key}/history", base(&request))));
    };
    let mut frame = Frame::new(&request, key.as_str(), &member.signed);
    frame.note = note(&done.done);
    let (flag, now) = (&known.flag, state.now());
    html(&FlagPage {
        frame,
        key: key.to_string(),
        description: flag.description().to_owned(),
        kind: flag.kind().as_str(),
        is_enabled: flag.is_enabled(),
        version: known.stored.version,
        at: when(known.stored.updated_at(), now),
        by: known.stored.updated_by.clone(),
        serves: in_short(flag),
        change: flag.change().map(ToString::to_string),
        expires: flag.expires().map(|day| day.to_string()),
        notes,
        protections: protections(flag),
        two_person: flag.protection().two_person,
        variants: flag.variants().iter().map(|one| [one.name.to_string(), one.value.to_json().to_string()]).collect(),
        default_variant: flag.default_variant().to_string(),
        off_variant: flag.off_variant().to_string(),
        prerequisites: prerequisites(&known),
        rules: rules(&known),
        can_add_rollout: can_add_rollout(flag),
        proposals: proposals.into_iter().map(|one| proposal(one, now)).collect(),
        history: history.into_iter().map(|version| version_shown(version, now)).collect(),
        chart,
        is_month,
    })
}

fn note(done: &str) -> Option<&'static str> {
    match done {
        "killed" => Some("The flag is off: everybody gets the off variant, on each server within a second."),
        "enabled" => Some("The flag is on again: its rules decide, on each server within a second."),
        "rolled" => Some("The share is changed, on each server within a second."),
        "restored" => Some("The flag is again what it was, as a new version."),
        "created" => Some("The flag is made. Applications that ask for it are answered from now on."),
        "edited" => Some("The flag is replaced, on each server within a second."),
        _ => None,
    }
}

fn is_removed(state: &AppState, key: &FlagKey) -> Result<bool, Problem> {
    Ok(state.store().read(|conn| {
        Ok::<_, StoreError>(
            flags::find(conn, key)?.is_none() && flag_versions::find_before(conn, key, i64::MAX)?.is_some(),
        )
    })?)
}

fn find(state: &AppState, key: &FlagKey, step: Step) -> Result<Found, Problem> {
    let known = Known::get(state, key)?;
    let read = |conn: &mut DatabaseConnection| {
        let keys: BTreeSet<String> = flags::all(conn)?.into_iter().map(|stored| stored.key).collect();
        let judged = stale::judged(conn, vec![known.stored.clone()], &keys, FlagQuery::DAYS)?;
        let notes = judged.into_iter().flat_map(|(_, reasons)| reasons).map(|stale| stale.sentence).collect();
        let versions = PageRequest { after: None, limit: Some(VERSIONS) };
        Ok::<_, StoreError>((notes, waiting(conn, key)?, read_page(conn, key, &versions)?.items))
    };
    let (notes, proposals, history) = state.store().read(read)?;
    Ok(Found { notes, proposals, history, chart: flag_chart(state, key, step)?, known })
}

/// The proposals that wait and would write this flag.
fn waiting(conn: &mut DatabaseConnection, key: &FlagKey) -> Result<Vec<Proposal>, StoreError> {
    let mut found = proposals::list(conn, true, &PageRequest::first())?.items;
    found.retain(|one| one.writes().is_ok_and(|writes| writes.iter().any(|write| write.key == *key)));
    Ok(found)
}

fn prerequisites(known: &Known) -> Vec<[String; 2]> {
    let variants = |one: &crate::flags::Prerequisite| {
        one.variants.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    };
    known.flag.prerequisites().iter().map(|one| [one.flag.to_string(), variants(one)]).collect()
}

fn proposal(one: Proposal, now: Instant) -> ProposalShown {
    let at = when(one.created_at(), now);
    ProposalShown { id: one.id, kind: one.kind, by: one.actor, reason: one.reason, at }
}

/// A version as a table of a history has it.
#[must_use]
pub fn version_shown(version: FlagVersionAnswer, now: Instant) -> VersionShown {
    let is_first = version.changes.iter().any(|change| change.at.is_empty());
    let changes = match &version.flag {
        None => vec![String::from("the flag was removed")],
        Some(_) if is_first => vec![String::from("the flag was made")],
        Some(_) => version.changes.iter().map(change_text).collect(),
    };
    VersionShown {
        version: version.version,
        at: when(version.at, now),
        by: version.actor,
        reason: version.reason,
        changes,
        is_flag: version.flag.is_some(),
    }
}
