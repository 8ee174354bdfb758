//! Writes that wait for a second person. A proposal holds what is written on approval and the version that each part was made
//! for; it is applied in one transaction, by the same path as any other write, or not at all.

use std::time::Duration;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::audit::{self, AuditEntry};
use super::flags::{self, Deed, FlagWrite, StoredFlag};
use super::protection::{Authority, Protected};
use super::schema::proposals;
use super::tokens::Token;
use super::{Origin, Page, PageRequest, Store, StoreError, new_id, now, state};
use crate::database::DatabaseConnection;
use crate::flags::Flag;
use crate::primitives::{FlagKey, Instant};

/// How long a proposal may be approved.
pub const OPEN_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const OPEN_FOR_MICROS: i64 = 7 * 24 * 60 * 60 * 1_000_000;

/// Where a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalState {
    Pending,
    Approved,
    Rejected,
    /// Taken back by who proposed it.
    Withdrawn,
    /// Nobody decided in time.
    Expired,
}

impl ProposalState {
    pub const ALL: [Self; 5] = [Self::Pending, Self::Approved, Self::Rejected, Self::Withdrawn, Self::Expired];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }
}

/// One write of a flag that waits: nothing in `flag` removes it, nothing in `base` creates it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProposedWrite {
    pub key: FlagKey,
    /// The version that the flag was at.
    pub base: Option<i64>,
    pub flag: Option<Flag>,
    /// What stands in the audit log: `flag.replace`.
    pub action: String,
}

/// What a write of a flag would have been, had it not taken two persons.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// `flag/new-player`, or `import` for several.
    pub subject: String,
    pub kind: String,
    pub writes: Vec<ProposedWrite>,
}

/// A proposal as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = proposals)]
pub struct Proposal {
    pub id: String,
    pub subject: String,
    pub kind: String,
    /// [`ProposedWrite`]s as JSON.
    data: String,
    pub overriding: bool,
    pub actor: String,
    /// The id of the token that proposed it; empty for the command line.
    pub token: String,
    pub reason: String,
    created_at: i64,
    expires_at: i64,
    state: String,
    pub decided_by: Option<String>,
    decided_at: Option<i64>,
    pub decided_reason: Option<String>,
}

impl Proposal {
    #[must_use]
    pub fn created_at(&self) -> Instant {
        Instant::from_micros(self.created_at)
    }

    #[must_use]
    pub fn expires_at(&self) -> Instant {
        Instant::from_micros(self.expires_at)
    }

    #[must_use]
    pub fn decided_at(&self) -> Option<Instant> {
        self.decided_at.map(Instant::from_micros)
    }

    /// Where it stands now.
    #[must_use]
    pub fn state(&self) -> ProposalState {
        match ProposalState::ALL.into_iter().find(|state| state.as_str() == self.state) {
            Some(ProposalState::Pending) | None if self.expires_at <= now().as_micros() => ProposalState::Expired,
            found => found.unwrap_or(ProposalState::Pending),
        }
    }

    /// What is written on approval.
    pub fn writes(&self) -> Result<Vec<ProposedWrite>, StoreError> {
        serde_json::from_str(&self.data).map_err(|error| StoreError::Corrupt {
            what: "proposal",
            name: self.id.clone(),
            reason: error.to_string(),
        })
    }

    fn closed(&self, why: impl Into<String>) -> StoreError {
        Protected::Closed { id: self.id.clone(), why: why.into() }.into()
    }

    /// Refused unless it waits for a decision.
    fn check_open(&self) -> Result<(), StoreError> {
        let by = self.decided_by.as_deref().unwrap_or_default();
        match self.state() {
            ProposalState::Pending => Ok(()),
            ProposalState::Expired => Err(self.closed(format!("expired at {}: propose it anew", self.expires_at()))),
            decided => Err(self.closed(format!("was {} by `{by}` already", decided.as_str()))),
        }
    }
}

/// Who proposes or decides: a token, or somebody at the command line, who can write the database anyway and is believed about his name.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    pub name: &'a str,
    pub token: Option<&'a Token>,
}

impl Person<'_> {
    fn token_id(&self) -> &str {
        self.token.map_or("", |token| token.id.as_str())
    }

    /// Whether this is, or could easily be, who made the proposal: the same name, the same token, or a token made since.
    fn is_proposer(&self, proposal: &Proposal) -> bool {
        self.name == proposal.actor
            || self
                .token
                .is_some_and(|token| token.id == proposal.token || token.created_at.as_micros() >= proposal.created_at)
    }
}

/// What became of a write: done, or waiting for a second person.
#[derive(Debug, Clone)]
pub enum Written<T> {
    Done(T),
    Proposed(Box<Proposal>),
}

/// Runs a write in a transaction; where it takes a second person, it is proposed instead.
pub fn write_or_propose<T>(
    store: &Store,
    person: Person<'_>,
    asked: (Authority, &str),
    mut work: impl FnMut(&mut DatabaseConnection, Authority, Origin<'_>) -> Result<T, StoreError>,
) -> Result<Written<T>, StoreError> {
    let (authority, reason) = asked;
    let origin = Origin { actor: person.name, reason };
    match store.write(|connection| work(connection, authority, origin)) {
        Ok(done) => Ok(Written::Done(done)),
        Err(StoreError::Protected(Protected::SecondPerson { ask: Some(ask), .. })) => store
            .write(|connection| create(connection, &ask, person, (authority.overriding, reason)))
            .map(|proposal| Written::Proposed(Box::new(proposal))),
        Err(error) => Err(error),
    }
}

/// Stores a proposal.
pub fn create(
    connection: &mut DatabaseConnection,
    ask: &Ask,
    person: Person<'_>,
    asked: (bool, &str),
) -> Result<Proposal, StoreError> {
    let (overriding, reason) = asked;
    let created_at = now().as_micros();
    let data = serde_json::to_string(&ask.writes).map_err(|error| StoreError::Corrupt {
        what: "proposal",
        name: ask.subject.clone(),
        reason: error.to_string(),
    })?;
    let proposal = Proposal {
        id: new_id()?,
        subject: ask.subject.clone(),
        kind: ask.kind.clone(),
        data,
        overriding,
        actor: person.name.to_owned(),
        token: person.token_id().to_owned(),
        reason: reason.to_owned(),
        created_at,
        expires_at: created_at.saturating_add(OPEN_FOR_MICROS),
        state: ProposalState::Pending.as_str().to_owned(),
        decided_by: None,
        decided_at: None,
        decided_reason: None,
    };
    diesel::insert_into(proposals::table).values(&proposal).execute(connection)?;
    let origin = Origin { actor: person.name, reason };
    record(connection, &proposal, "proposal.create", origin)?;
    Ok(proposal)
}

/// The proposal with this id, or an error that says there is none.
pub fn get(connection: &mut DatabaseConnection, id: &str) -> Result<Proposal, StoreError> {
    let found = proposals::table.find(id).select(Proposal::as_select()).first(connection).optional()?;
    found.ok_or_else(|| StoreError::not_found("proposal", id))
}

/// A page of proposals, the newest first; `open` keeps those that wait for a decision.
pub fn list(
    connection: &mut DatabaseConnection,
    open: bool,
    request: &PageRequest,
) -> Result<Page<Proposal>, StoreError> {
    let query = proposals::table
        .filter(proposals::id.lt(request.after.as_deref().unwrap_or("~")))
        .order(proposals::id.desc())
        .limit(request.rows())
        .select(Proposal::as_select());
    let rows = if open {
        let pending = proposals::state.eq(ProposalState::Pending.as_str());
        query.filter(pending.and(proposals::expires_at.gt(now().as_micros()))).load(connection)?
    } else {
        query.load(connection)?
    };
    Ok(Page::cut(rows, request, |proposal: &Proposal| proposal.id.clone()))
}

/// Applies a proposal: all of it, at the versions that it was made for, or nothing.
pub fn approve(
    connection: &mut DatabaseConnection,
    id: &str,
    person: Person<'_>,
    reason: &str,
) -> Result<(Proposal, Vec<StoredFlag>), StoreError> {
    state::lock(connection)?;
    let proposal = get(connection, id)?;
    proposal.check_open()?;
    if person.is_proposer(&proposal) {
        return Err(Protected::OwnProposal { proposer: proposal.actor }.into());
    }
    let actor = format!("{} (approved by {})", proposal.actor, person.name);
    let origin = Origin { actor: &actor, reason: &proposal.reason };
    let authority = Authority { approved: true, overriding: proposal.overriding };
    let mut stored = Vec::new();
    for write in proposal.writes()? {
        check_base(connection, &proposal, &write)?;
        stored.push(apply(connection, &write, authority, origin)?);
    }
    let decision = (ProposalState::Approved, "proposal.approve");
    let proposal = decide(connection, proposal, decision, Origin { actor: person.name, reason })?;
    Ok((proposal, stored))
}

/// Rejects a proposal; who proposed it withdraws it by that.
pub fn reject(
    connection: &mut DatabaseConnection,
    id: &str,
    person: Person<'_>,
    reason: &str,
) -> Result<Proposal, StoreError> {
    state::lock(connection)?;
    let proposal = get(connection, id)?;
    proposal.check_open()?;
    let decision = if person.name == proposal.actor {
        (ProposalState::Withdrawn, "proposal.withdraw")
    } else {
        (ProposalState::Rejected, "proposal.reject")
    };
    decide(connection, proposal, decision, Origin { actor: person.name, reason })
}

/// What one write of a proposal would be written over is what it was made for.
fn check_base(
    connection: &mut DatabaseConnection,
    proposal: &Proposal,
    write: &ProposedWrite,
) -> Result<(), StoreError> {
    let current = flags::find(connection, &write.key)?.map(|stored| stored.version);
    if current == write.base {
        return Ok(());
    }
    let at = |version: Option<i64>| version.map_or_else(|| String::from("not there"), |at| format!("at version {at}"));
    Err(proposal.closed(format!(
        "is stale: it was made when `{}` was {}, and now it is {}. Propose it anew",
        write.key,
        at(write.base),
        at(current)
    )))
}

/// One write, by the path of every write.
pub(super) fn apply(
    connection: &mut DatabaseConnection,
    write: &ProposedWrite,
    authority: Authority,
    origin: Origin<'_>,
) -> Result<StoredFlag, StoreError> {
    let data = write.flag.as_ref().map(flags::json_of).transpose()?;
    let step = match (&data, write.base) {
        (Some(data), None) => FlagWrite::Create(data),
        (Some(data), seen) => FlagWrite::Replace { data, seen },
        (None, seen) => FlagWrite::Remove { seen },
    };
    let known = ["flag.create", "flag.replace", "flag.remove", "flag.rollout", "flag.restore", "flag.import"];
    let action = known.into_iter().find(|known| *known == write.action).unwrap_or("flag.replace");
    flags::write_as(connection, &write.key, step, Deed { action, detail: Map::new(), authority }, origin)
}

fn decide(
    connection: &mut DatabaseConnection,
    proposal: Proposal,
    decision: (ProposalState, &str),
    origin: Origin<'_>,
) -> Result<Proposal, StoreError> {
    let (state, action) = decision;
    let decided = Proposal {
        state: state.as_str().to_owned(),
        decided_by: Some(origin.actor.to_owned()),
        decided_at: Some(now().as_micros()),
        decided_reason: Some(origin.reason.to_owned()),
        ..proposal
    };
    diesel::update(proposals::table.find(&decided.id))
        .set((
            proposals::state.eq(&decided.state),
            proposals::decided_by.eq(&decided.decided_by),
            proposals::decided_at.eq(decided.decided_at),
            proposals::decided_reason.eq(&decided.decided_reason),
        ))
        .execute(connection)?;
    record(connection, &decided, action, origin)?;
    Ok(decided)
}

fn record(
    connection: &mut DatabaseConnection,
    proposal: &Proposal,
    action: &str,
    origin: Origin<'_>,
) -> Result<(), StoreError> {
    let subject = format!("proposal/{}", proposal.id);
    let detail = json!({ "subject": proposal.subject, "kind": proposal.kind, "proposed_by": proposal.actor });
    audit::append(
        connection,
        &AuditEntry { actor: origin.actor, action, subject: &subject, reason: origin.reason, detail },
    )
}
