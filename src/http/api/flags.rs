//! `/api/v1/flags`

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::proposals::{self, ProposalAnswer};
use super::{List, created, versioned};
use crate::database::DatabaseConnection;
use crate::flags::{Flag, FlagDraft, Stale};
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::etag::IfMatch;
use crate::http::input::{OverrideQuery, ShortText, WriteQuery};
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{FlagKey, Instant};
use crate::store::flags::{self, Filter, FlagWrite, StoredFlag};
use crate::store::protection::Authority;
use crate::store::{Origin, PageRequest, stale};

/// A flag and where it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlagAnswer {
    #[schema(value_type = FlagDraft)]
    flag: Value,
    /// Its version, also the ETag: the configuration's version that its last write made.
    version: i64,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
    updated_by: String,
    /// In a list of stale flags: why it is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stale: Vec<Stale>,
}

/// Which flags.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FlagQuery {
    /// Only flags whose key begins so.
    #[param(value_type = Option<String>)]
    prefix: Option<ShortText>,
    /// Only the flag that routes this change.
    #[param(value_type = Option<String>)]
    change: Option<ShortText>,
    /// Only flags a rule of which names this cohort.
    #[param(value_type = Option<String>)]
    cohort: Option<ShortText>,
    /// Only flags that could go or need a look, with the reasons: expired, the same for everybody for `days`, not evaluated for `days`,
    /// naming a cohort or a prerequisite that does not exist.
    #[serde(default)]
    stale: bool,
    /// With `stale`: 30 if not said.
    days: Option<u16>,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<ShortText>,
    /// At most this many items; 100 if not said, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

impl FlagQuery {
    /// After so many days without a change or a question a flag is stale.
    pub const DAYS: u16 = 30;

    fn filter(&self) -> Filter {
        let text = |text: &Option<ShortText>| text.as_ref().map(|text| text.as_str().to_owned());
        Filter { prefix: text(&self.prefix), change: text(&self.change), cohort: text(&self.cohort) }
    }
}

/// The kill switch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KillSwitch {
    /// False: everybody gets the off variant.
    enabled: bool,
    /// Why, for the history and the audit log.
    #[serde(default)]
    #[schema(value_type = String)]
    reason: ShortText,
}

/// A page of flags in the order of their keys.
#[utoipa::path(get, path = "/api/v1/flags", tag = "flags", params(FlagQuery), responses((status = 200, body = List<FlagAnswer>)))]
pub async fn list(
    _: Caller<Viewer>,
    state: Data<AppState>,
    query: Query<FlagQuery>,
) -> Result<Json<List<FlagAnswer>>, Problem> {
    let after = query.after.as_ref().map(|after| after.as_str().to_owned());
    let request = PageRequest { after, limit: query.limit };
    let read = move |conn: &mut DatabaseConnection| {
        let filter = query.filter();
        if !query.stale {
            return Ok(List::from(flags::list_some(conn, &filter, &request)?));
        }
        let mut found = stale::flags(conn, query.days.unwrap_or(FlagQuery::DAYS))?;
        found.retain(|(stored, _)| filter.takes(stored));
        let page = request.page_of(found, |(stored, _)| stored.key.clone());
        Ok(List::from(page))
    };
    Ok(Json(state.blocking(move |state| Ok(state.store().read(read)?)).await?))
}

/// One flag.
#[utoipa::path(get, path = "/api/v1/flags/{key}", tag = "flags", params(("key" = String, Path)),
    responses((status = 200, body = FlagAnswer), (status = 404, body = ProblemDocument)))]
pub async fn get(_: Caller<Viewer>, state: Data<AppState>, key: Path<FlagKey>) -> Result<HttpResponse, Problem> {
    let flag = state.blocking(move |state| Ok(state.store().read(|conn| flags::get(conn, &key))?)).await?;
    Ok(versioned(flag.version, &FlagAnswer::from(flag)))
}

/// Creates a flag. One that has this key and takes two persons waits as a proposal.
#[utoipa::path(post, path = "/api/v1/flags", tag = "flags", params(WriteQuery), request_body = FlagDraft,
    responses((status = 201, body = FlagAnswer), (status = 202, body = ProposalAnswer), (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn create(
    caller: Caller<Admin>,
    state: Data<AppState>,
    query: Query<WriteQuery>,
    draft: Json<FlagDraft>,
) -> Result<HttpResponse, Problem> {
    let flag = Flag::try_from(draft.into_inner())?;
    let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
        let data = flags::json_of(&flag)?;
        flags::write(conn, flag.key(), FlagWrite::Create(&data), authority, origin)
    };
    let written = proposals::write(&state, caller, query.into_inner().asked(), work).await?;
    Ok(proposals::answer(written, |stored| {
        created(stored.version, format!("/api/v1/flags/{}", stored.key), &FlagAnswer::from(stored))
    }))
}

/// Replaces a flag. With `If-Match`, only the version that was seen. A flag that takes two persons: 202, a proposal.
#[utoipa::path(put, path = "/api/v1/flags/{key}", tag = "flags", params(("key" = String, Path), WriteQuery, ("If-Match" = Option<String>, Header)),
    request_body = FlagDraft,
    responses((status = 200, body = FlagAnswer), (status = 202, body = ProposalAnswer), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 412, body = ProblemDocument), (status = 422, body = ProblemDocument)))]
pub async fn replace(
    caller: Caller<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    seen: IfMatch,
    query: Query<WriteQuery>,
    draft: Json<FlagDraft>,
) -> Result<HttpResponse, Problem> {
    let flag = Flag::try_from(draft.into_inner())?;
    if flag.key() != &*key {
        let detail = format!("The path says `{key}`, the body `{}`. A flag keeps its key.", flag.key());
        return Err(Problem::new(Code::InvalidValue, detail));
    }
    let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
        let data = flags::json_of(&flag)?;
        flags::write(conn, &key, FlagWrite::Replace { data: &data, seen: seen.0 }, authority, origin)
    };
    let written = proposals::write(&state, caller, query.into_inner().asked(), work).await?;
    Ok(proposals::answer(written, |stored| versioned(stored.version, &FlagAnswer::from(stored))))
}

/// Removes a flag; its history stays. A flag that takes two persons: 202, a proposal.
#[utoipa::path(delete, path = "/api/v1/flags/{key}", tag = "flags", params(("key" = String, Path), WriteQuery, ("If-Match" = Option<String>, Header)),
    responses((status = 204), (status = 202, body = ProposalAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument), (status = 412, body = ProblemDocument)))]
pub async fn delete(
    caller: Caller<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    seen: IfMatch,
    query: Query<WriteQuery>,
) -> Result<HttpResponse, Problem> {
    let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
        flags::write(conn, &key, FlagWrite::Remove { seen: seen.0 }, authority, origin)
    };
    let written = proposals::write(&state, caller, query.into_inner().asked(), work).await?;
    Ok(proposals::answer(written, |_| HttpResponse::NoContent().finish()))
}

/// Throws or releases a flag's kill switch. Throwing it needs nobody else; releasing that of a flag that takes two persons: 202, a proposal.
#[utoipa::path(put, path = "/api/v1/flags/{key}/enabled", tag = "flags", params(("key" = String, Path), OverrideQuery), request_body = KillSwitch,
    responses((status = 200, body = FlagAnswer), (status = 202, body = ProposalAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn set_enabled(
    caller: Caller<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    query: Query<OverrideQuery>,
    switch: Json<KillSwitch>,
) -> Result<HttpResponse, Problem> {
    let KillSwitch { enabled, reason } = switch.into_inner();
    let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
        flags::set_enabled_as(conn, &key, enabled, authority, origin)
    };
    let written = proposals::write(&state, caller, (query.overriding, reason), work).await?;
    Ok(proposals::answer(written, |stored| versioned(stored.version, &FlagAnswer::from(stored))))
}

impl From<StoredFlag> for FlagAnswer {
    fn from(stored: StoredFlag) -> Self {
        Self {
            flag: value(&stored.data),
            version: stored.version,
            updated_at: stored.updated_at(),
            updated_by: stored.updated_by,
            stale: Vec::new(),
        }
    }
}

impl From<(StoredFlag, Vec<Stale>)> for FlagAnswer {
    fn from((stored, stale): (StoredFlag, Vec<Stale>)) -> Self {
        Self { stale, ..Self::from(stored) }
    }
}

/// What is stored is JSON that we wrote.
pub fn value(data: &str) -> Value {
    serde_json::from_str(data).unwrap_or(Value::Null)
}
