//! `/console/flags`: every flag with what it serves, who changed it last, and which could go.

use std::collections::BTreeSet;

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Deserialize;

use super::page::{Frame, html};
use super::session::Member;
use super::words::{When, counted, in_address, when};
use crate::database::DatabaseConnection;
use crate::flags::Stale;
use crate::flags::words::in_short;
use crate::http::AppState;
use crate::http::api::flags::FlagQuery;
use crate::http::auth::Viewer;
use crate::http::problem::Problem;
use crate::primitives::Instant;
use crate::store::flags::{self, Filter, StoredFlag};
use crate::store::{Page, PageRequest, StoreError, cohorts, proposals, stale};

const ROWS: u32 = 50;
const TEXT_MAX: usize = 200;

/// What is looked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Search {
    text: String,
    cohort: String,
    stale: String,
    after: String,
    done: String,
}

#[derive(Template)]
#[template(path = "console/flags.html")]
struct FlagsPage {
    frame: Frame,
    search: Search,
    is_filtered: bool,
    is_empty: bool,
    rows: Vec<Row>,
    cohorts: Vec<(String, bool)>,
    next: Option<String>,
    days: u16,
    waiting: Option<String>,
}

struct Row {
    key: String,
    description: String,
    is_enabled: bool,
    serves: String,
    kind: &'static str,
    change: Option<String>,
    at: When,
    by: String,
    notes: Vec<String>,
}

struct Found {
    page: Page<(StoredFlag, Vec<Stale>)>,
    is_empty: bool,
    cohorts: Vec<String>,
    waiting: usize,
}

/// A page of the list.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    search: Query<Search>,
) -> Result<HttpResponse, Problem> {
    let search = search.into_inner().trimmed();
    let mut frame = Frame::new(&request, "Flags", &member.signed);
    frame.note = (search.done == "removed").then_some("The flag is removed. Its history stays.");
    let read = state.blocking(move |state| {
        let found = state.store().read(|conn| search.find(conn))?;
        Ok((search, found))
    });
    let (search, found) = read.await?;
    let now = state.now();
    let waiting = i64::try_from(found.waiting).unwrap_or(i64::MAX);
    html(&FlagsPage {
        is_filtered: search.is_filter(),
        is_empty: found.is_empty,
        cohorts: found.cohorts.into_iter().map(|name| (name.clone(), name == search.cohort)).collect(),
        next: found.page.next.map(|next| search.query(&next)),
        rows: found.page.items.into_iter().map(|(stored, stale)| row(stored, stale, now)).collect(),
        days: FlagQuery::DAYS,
        waiting: (waiting > 0).then(|| counted(waiting, "proposal waits", "proposals wait")),
        frame,
        search,
    })
}

impl Search {
    fn trimmed(mut self) -> Self {
        for text in [&mut self.text, &mut self.cohort] {
            *text = text.trim().chars().filter(|sign| !sign.is_control()).take(TEXT_MAX).collect();
        }
        self
    }

    fn is_filter(&self) -> bool {
        !(self.text.is_empty() && self.cohort.is_empty() && self.stale.is_empty())
    }

    fn find(&self, conn: &mut DatabaseConnection) -> Result<Found, StoreError> {
        let mut all = flags::all(conn)?;
        let (is_empty, keys) = (all.is_empty(), all.iter().map(|stored| stored.key.clone()).collect::<BTreeSet<_>>());
        let cohort = Some(self.cohort.clone()).filter(|cohort| !cohort.is_empty());
        let filter = Filter { cohort, ..Filter::default() };
        let text = self.text.to_lowercase();
        all.retain(|stored| filter.takes(stored) && has(stored, &text));
        let wanted =
            PageRequest { after: Some(self.after.clone()).filter(|after| !after.is_empty()), limit: Some(ROWS) };
        let page = if self.stale.is_empty() {
            let page = wanted.page_of(all, |stored| stored.key.clone());
            Page { items: stale::judged(conn, page.items, &keys, FlagQuery::DAYS)?, next: page.next }
        } else {
            let mut found = stale::judged(conn, all, &keys, FlagQuery::DAYS)?;
            found.retain(|(_, reasons)| !reasons.is_empty());
            wanted.page_of(found, |(stored, _)| stored.key.clone())
        };
        let cohorts = cohorts::all(conn)?.into_iter().map(|cohort| cohort.name).collect();
        let waiting = proposals::list(conn, true, &PageRequest::first())?.items.len();
        Ok(Found { page, is_empty, cohorts, waiting })
    }

    /// The same search from another row on.
    fn query(&self, after: &str) -> String {
        let fields = [("text", &*self.text), ("cohort", &self.cohort), ("stale", &self.stale), ("after", after)];
        let given = fields.iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| format!("{name}={}", in_address(value))).collect::<Vec<_>>().join("&")
    }
}

/// Whether the text stands in the key or in the description, in large or small letters.
fn has(stored: &StoredFlag, text: &str) -> bool {
    let in_description = || stored.parse().is_ok_and(|flag| flag.description().to_lowercase().contains(text));
    stored.key.to_lowercase().contains(text) || in_description()
}

fn row(stored: StoredFlag, stale: Vec<Stale>, now: Instant) -> Row {
    let flag = stored.parse().ok();
    let flag = flag.as_ref();
    Row {
        description: flag.map_or("", |flag| flag.description()).to_owned(),
        is_enabled: flag.is_none_or(|flag| flag.is_enabled()),
        serves: flag.map_or_else(|| String::from("(unreadable)"), in_short),
        kind: flag.map_or("", |flag| flag.kind().as_str()),
        change: flag.and_then(|flag| flag.change().map(ToString::to_string)),
        at: when(stored.updated_at(), now),
        notes: stale.into_iter().map(|stale| stale.sentence).collect(),
        by: stored.updated_by,
        key: stored.key,
    }
}
