//! `/console/flags/{key}/history`: every version of a flag, what differs between two of them, and the way back to one.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Deserialize;

use super::flag::{VersionShown, version_shown};
use super::flag_facts::moves;
use super::flag_look::{Look, Whom, look};
use super::flag_write::{Confirm, Typed, write};
use super::form::Sent;
use super::page::{Frame, html, html_with};
use super::session::{Member, Signed};
use super::words::{When, when};
use crate::database::DatabaseConnection;
use crate::flags::words::{change_text, in_short};
use crate::flags::{Flag, differences};
use crate::http::AppState;
use crate::http::api::flags::value;
use crate::http::api::history::{FlagDiff, read_diff, read_page};
use crate::http::auth::{Admin, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem};
use crate::primitives::{FlagKey, Instant};
use crate::store::flag_versions::{self, Restoration};
use crate::store::flags::{self, FlagVersion};
use crate::store::protection::Authority;
use crate::store::{Origin, PageRequest, StoreError};

const ROWS: u32 = 50;

/// Where a page of versions begins.
#[derive(Deserialize)]
pub struct Place {
    after: Option<ShortText>,
}

/// Which two versions.
#[derive(Deserialize)]
pub struct Two {
    from: Option<i64>,
    to: Option<i64>,
}

#[derive(Template)]
#[template(path = "console/flag_history.html")]
struct HistoryPage {
    frame: Frame,
    key: String,
    /// The flag's version; none if it is removed.
    current: Option<i64>,
    rows: Vec<VersionShown>,
    is_first: bool,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "console/flag_diff.html")]
struct DiffPage {
    frame: Frame,
    key: String,
    from: i64,
    to: i64,
    changes: Vec<String>,
}

#[derive(Template)]
#[template(path = "console/flag_restore.html")]
struct RestorePage {
    frame: Frame,
    key: String,
    version: i64,
    at: When,
    by: String,
    reason: String,
    serves: String,
    current: Option<i64>,
    changes: Vec<String>,
    told: Vec<String>,
    look: Look,
    confirm: Confirm,
}

/// A page of versions, the newest first; those of a removed flag too.
pub async fn list(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    place: Query<Place>,
) -> Result<HttpResponse, Problem> {
    let key = key.into_inner();
    let wanted = PageRequest { after: place.after.as_ref().map(|after| after.as_str().to_owned()), limit: Some(ROWS) };
    let (asked, is_first) = (key.clone(), wanted.after.is_none());
    let read = move |conn: &mut DatabaseConnection| {
        let current = flags::find(conn, &asked)?.map(|stored| stored.version);
        Ok::<_, StoreError>((current, read_page(conn, &asked, &wanted)?))
    };
    let (current, found) = state.blocking(move |state| Ok(state.store().read(read)?)).await?;
    let now = state.now();
    html(&HistoryPage {
        frame: Frame::new(&request, format!("History: {key}"), &member.signed),
        key: key.to_string(),
        current,
        rows: found.items.into_iter().map(|version| version_shown(version, now)).collect(),
        is_first,
        next: found.next,
    })
}

/// What differs between two versions.
pub async fn diff(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    two: Query<Two>,
) -> Result<HttpResponse, Problem> {
    let key = key.into_inner();
    let (asked, from, to) = (key.clone(), two.from, two.to);
    let (from, to) = match (from, to) {
        (Some(from), Some(to)) => (Some(from.min(to)), Some(from.max(to))),
        one => one,
    };
    let read = move |conn: &mut DatabaseConnection| read_diff(conn, &asked, from, to);
    let FlagDiff { from, to, changes, .. } = state.blocking(move |state| Ok(state.store().read(read)?)).await?;
    html(&DiffPage {
        frame: Frame::new(&request, format!("Differences: {key}"), &member.signed),
        key: key.to_string(),
        from,
        to,
        changes: changes.iter().map(change_text).collect(),
    })
}

/// What going back will do.
pub async fn restore_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    path: Path<(FlagKey, i64)>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &member.signed, &state, path.into_inner(), Typed::default()).await
}

/// Goes back.
pub async fn restore(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    path: Path<(FlagKey, i64)>,
) -> Result<HttpResponse, Problem> {
    let (key, version) = path.into_inner();
    let seen: Option<i64> = sent.fields.raw("seen").parse().ok();
    let asked = key.clone();
    let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
        flag_versions::restore(conn, &asked, Restoration { version, seen, authority }, origin)
    };
    match write(&request, &sent, &state, (&key, "restored"), work).await {
        Ok(done) => Ok(done),
        Err(problem) => {
            let typed = Typed::refused(&sent.fields, problem);
            answer(&request, sent.signed(), &state, (key, version), typed).await
        }
    }
}

/// A version, and what the flag is now.
struct Found {
    then: FlagVersion,
    flag: Flag,
    current: Option<(i64, Flag)>,
    changes: Vec<String>,
    told: Vec<String>,
    look: Look,
}

fn find(state: &AppState, key: &FlagKey, version: i64) -> Result<Found, Problem> {
    let (then, current) = state
        .store()
        .read(|conn| Ok::<_, StoreError>((flag_versions::get(conn, key, version)?, flags::find(conn, key)?)))?;
    let removed = || StoreError::RemovedThen { flag: key.to_string(), version };
    let data = then.data.clone().ok_or_else(removed)?;
    let flag = Flag::parse(&data)?;
    let before = current.as_ref().map(|stored| value(&stored.data));
    let changes = differences(before.as_ref(), Some(&value(&data))).iter().map(change_text).collect();
    let told = state.store().read(|conn| moves(conn, key, Some(&flag)))?;
    let current = current.and_then(|stored| Some((stored.version, stored.parse().ok()?)));
    let as_is = current.as_ref().map_or(&flag, |(_, flag)| flag);
    let look = look(state, as_is, Some(&flag), &Whom::default());
    Ok(Found { then, flag, current, changes, told, look })
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    (key, version): (FlagKey, i64),
    typed: Typed,
) -> Result<HttpResponse, Problem> {
    let asked = key.clone();
    let found = state.blocking(move |state| find(state, &asked, version)).await?;
    if found.changes.is_empty() && typed.error.is_none() {
        let detail = format!("There is nothing to restore: `{key}` is now what it was at version {version}.");
        return Err(Problem::new(Code::Refused, detail));
    }
    let status = typed.status();
    let page = RestorePage {
        frame: Frame::new(request, format!("Restore: {key}"), signed),
        key: key.to_string(),
        version,
        at: when(Instant::from_micros(found.then.at), state.now()),
        by: found.then.actor,
        reason: found.then.reason,
        serves: in_short(&found.flag),
        changes: found.changes,
        told: found.told,
        look: found.look,
        confirm: typed.confirm(found.current.as_ref().map(|(_, flag)| flag)),
        current: found.current.map(|(version, _)| version),
    };
    html_with(&page, status)
}
