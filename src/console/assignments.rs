//! `/console/changes/{name}/assignments`: which groups are on which side in which period, and everything that happened to one of them.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Deserialize;

use super::page::{Frame, base, html, see_other};
use super::session::Member;
use super::words::{When, grouped, in_address, when};
use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::problem::{Code, Problem};
use crate::primitives::{ChangeName, Instant, Period};
use crate::routing::{self, Action, Assignment, Event, GroupId, RoutedChange, count_sides, side_at};
use crate::translation::InstalledChange;
use crate::translation::own::get_change;

/// Groups on a page.
const ROWS: usize = 50;

/// Which period's groups, from which on; or whom one looks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Place {
    period: String,
    after: String,
    group: String,
    user: String,
}

/// Which group.
#[derive(Debug, Deserialize)]
pub struct GroupQuery {
    id: String,
    #[serde(default)]
    done: String,
}

#[derive(Template)]
#[template(path = "console/assignments.html")]
struct AssignmentsPage {
    frame: Frame,
    name: String,
    title: String,
    stage: &'static str,
    flag: String,
    /// The running period, if the change counts periods that a clock can tell.
    running: Option<String>,
    sides: Vec<SidesRow>,
    period: Option<String>,
    rows: Vec<Row>,
    next: Option<String>,
}

struct SidesRow {
    period: String,
    old: String,
    new: String,
    is_closed: bool,
}

/// A recorded side.
struct Row {
    group: String,
    address: String,
    period: String,
    action: &'static str,
    side: &'static str,
    at: When,
    actor: String,
    reason: String,
    flag_version: Option<i64>,
}

#[derive(Template)]
#[template(path = "console/assignment_group.html")]
struct GroupPage {
    frame: Frame,
    name: String,
    title: String,
    group: String,
    address: String,
    now: Option<NowShown>,
    rows: Vec<Row>,
    can_move: bool,
}

/// Where the group is in the running period.
struct NowShown {
    period: String,
    side: &'static str,
    is_recorded: bool,
}

/// Sides by period, and the groups of one.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    place: Query<Place>,
) -> Result<HttpResponse, Problem> {
    let place = place.into_inner();
    if !place.group.trim().is_empty() || !place.user.trim().is_empty() {
        let name = name.into_inner();
        let (asked, group, user) = (name.clone(), place.group, place.user);
        let found = state.blocking(move |state| looked_up(state, &asked, group.trim(), user.trim())).await?;
        let address = in_address(found.as_str());
        return Ok(see_other(&format!("{}/changes/{name}/assignments/group?id={address}", base(&request))));
    }
    let now = state.now();
    let read = state.blocking(move |state| read(state, &name, &place)).await?;
    let Read { change, running, sides, period, rows, next } = read;
    html(&AssignmentsPage {
        frame: Frame::new(&request, format!("Assignments: {}", change.title), &member.signed),
        name: change.name.to_string(),
        stage: change.stage.as_str(),
        flag: change.file.routing.flag.to_string(),
        running,
        sides: sides
            .into_iter()
            .map(|count| SidesRow {
                is_closed: count.period.to_string() < change.open_period,
                period: count.period.to_string(),
                old: grouped(count.old),
                new: grouped(count.new),
            })
            .collect(),
        title: change.title,
        period,
        rows: rows.into_iter().map(|assignment| row(assignment, "", now)).collect(),
        next,
    })
}

/// The group that is named, or the one that a user is in.
fn looked_up(state: &AppState, name: &ChangeName, group: &str, user: &str) -> Result<GroupId, Problem> {
    if !group.is_empty() {
        return Ok(GroupId::new(group)?);
    }
    let mut connection = state.app().connection()?;
    let change = RoutedChange::get(&mut connection, name)?;
    Ok(change.group_of_user(&mut connection, user)?)
}

struct Read {
    change: InstalledChange,
    running: Option<String>,
    sides: Vec<routing::SideCounts>,
    period: Option<String>,
    rows: Vec<Assignment>,
    next: Option<String>,
}

fn read(state: &AppState, name: &ChangeName, place: &Place) -> Result<Read, Problem> {
    let mut connection = state.app().connection()?;
    let change = get_change(&mut connection, name)?;
    let sides = count_sides(&mut connection, name)?;
    let running =
        RoutedChange::get(&mut connection, name)?.period_at(state.now()).ok().map(|period| period.to_string());
    let asked: Option<Period> = match place.period.as_str() {
        "" => sides.first().map(|newest| newest.period),
        text => Some(
            text.parse()
                .map_err(|_| Problem::new(Code::InvalidValue, "The address names no period: such as 2026-11."))?,
        ),
    };
    let mut rows = match asked {
        Some(period) => {
            let limit = i64::try_from(ROWS).unwrap_or(i64::MAX) + 1;
            let after: String = place.after.chars().filter(|sign| *sign != '\0').take(1_000).collect();
            routing::list(&mut connection, name, period, Some(&after), limit)?
        }
        None => Vec::new(),
    };
    let has_more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let next = rows.last().filter(|_| has_more).map(|last| in_address(last.group.as_str()));
    Ok(Read { change, running, sides, period: asked.map(|period| period.to_string()), rows, next })
}

fn row(assignment: Assignment, action: &'static str, now: Instant) -> Row {
    Row {
        address: in_address(assignment.group.as_str()),
        group: assignment.group.to_string(),
        period: assignment.period.to_string(),
        action,
        side: assignment.side.as_str(),
        at: when(assignment.at, now),
        actor: assignment.actor,
        reason: assignment.reason,
        flag_version: assignment.flag_version,
    }
}

fn event(event: Event, now: Instant) -> Row {
    let action = match event.action {
        Action::Assign => "recorded",
        Action::Move => "moved",
        Action::Release => "released",
    };
    row(event.assignment, action, now)
}

/// Everything that happened to a group.
pub async fn group(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    query: Query<GroupQuery>,
) -> Result<HttpResponse, Problem> {
    let mut frame = Frame::new(&request, format!("Group {}", query.id), &member.signed);
    frame.note = (query.done == "moved").then_some("The group is on that side now.");
    let read = state.blocking(move |state| {
        let group = GroupId::new(&query.id)?;
        let mut connection = state.app().connection()?;
        let change = get_change(&mut connection, &name)?;
        let routed = RoutedChange::get(&mut connection, &name)?;
        let now = side_at(&mut connection, &routed, &group, (state.now(), None)).ok();
        let events = routing::history(&mut connection, &name, &group)?;
        Ok((change, group, now, events))
    });
    let (change, group, stood, events) = read.await?;
    let now = state.now();
    html(&GroupPage {
        can_move: frame.is_admin() && change.stage.routes_to_new(),
        frame,
        name: change.name.to_string(),
        title: change.title,
        address: in_address(group.as_str()),
        group: group.to_string(),
        now: stood.map(|stood| NowShown {
            period: stood.period.to_string(),
            side: stood.side.as_str(),
            is_recorded: stood.because.is_some(),
        }),
        rows: events.into_iter().rev().map(|one| event(one, now)).collect(),
    })
}
