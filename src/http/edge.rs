//! `/edge/{change}`: which copy of the application serves a visitor, for reverse proxies that ask before they pass a request on (nginx
//! `auth_request`, Caddy and Traefik forward auth, Envoy `ext_authz`). It answers with a side and the name of an upstream; what cannot be
//! told is the last known side, else the old one, never an error page. `Authorization` is the visitor's: the proxy shows its own token in
//! `X-Changeover-Token`.

use std::sync::Arc;

use actix_web::dev::HttpServiceFactory;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, RETRY_AFTER};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::auth::{refused, sentence};
use super::ofrep::query_value;
use super::paths::path;
use super::problem::Problem;
use super::state::AppState;
use crate::edge::{Maintenance, Request, Settings, UpstreamName, Visitor, value_at, visitor_of};
use crate::flags::{Context, Evaluation, Snapshot};
use crate::primitives::{ChangeName, CohortName, FlagKey};
use crate::routing::{Answer, Because, Question, RoutingError, Side};
use crate::store::edges::StoredEdge;
use crate::translation::TranslationError;

/// Where a proxy shows its token.
const TOKEN: &str = "X-Changeover-Token";
const SIDE: &str = "X-Changeover-Side";
const UPSTREAM: &str = "X-Changeover-Upstream";
const BECAUSE: &str = "X-Changeover-Because";
/// `on` for who is kept out, `passed` for who is not.
const MAINTENANCE: &str = "X-Changeover-Maintenance";

/// A side and where it is known from, as the metric and the header name it.
type Told = (Side, &'static str);

/// Which copy of the application serves the visitor whose headers these are? Any method will do. During maintenance the answer is 503
/// with `Retry-After`; with `?maintenance=403` it is 403, for proxies that take nothing else for a no.
#[utoipa::path(get, path = "/edge/{change}", tag = "edge", params(("change" = String, Path),
        ("maintenance" = Option<String>, Query, description = "`403`: how visitors are kept out"),
        ("X-Changeover-Token" = Option<String>, Header, description = "The proxy's token, of any role; not needed from addresses that are allowed")),
    responses((status = 200, description = "`X-Changeover-Side` and `X-Changeover-Upstream` say where the visitor goes"),
        (status = 503, description = "Maintenance, with `Retry-After`"), (status = 401, body = super::problem::ProblemDocument)))]
pub async fn ask(request: HttpRequest, state: Data<AppState>, change: Path<String>) -> Result<HttpResponse, Problem> {
    let is_403 = query_value(request.query_string(), "maintenance").as_deref() == Some("403");
    let refusal = if is_403 { StatusCode::FORBIDDEN } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(&request, &state, &change, refusal).await
}

/// The same below `/edge/{change}/`, where the visitor's path and query stand after ours.
#[must_use]
pub fn below() -> impl HttpServiceFactory {
    path("/edge/{change}/{asked:.*}").any(ask_with_path).service()
}

async fn ask_with_path(
    request: HttpRequest,
    state: Data<AppState>,
    asked: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    answer(&request, &state, &asked.0, StatusCode::SERVICE_UNAVAILABLE).await
}

async fn answer(
    request: &HttpRequest,
    state: &AppState,
    change: &str,
    refusal: StatusCode,
) -> Result<HttpResponse, Problem> {
    admit(request, state)?;
    let Some(edge) = state.memory().edges().find(change) else {
        return Ok(told((Side::Old, "not_set"), Settings::default().upstreams.old.as_str(), false));
    };
    let (asked, snapshot) = (Asked(request.headers()), state.snapshot());
    let visitor = visitor_of(&edge.settings.subject, &asked, state.edge().keys(), state.now());
    let proved = visitor.as_ref().filter(|visitor| visitor.is_proved);
    if let Some(maintenance) = &edge.maintenance
        && !passes(&edge.settings, proved, &snapshot)
    {
        state.metrics().edge_answered(change, "maintenance");
        return Ok(kept_out(maintenance, refusal));
    }
    let (side, because) = side_of(state, &edge, &snapshot, visitor.as_ref()).await;
    let upstreams = &edge.settings.upstreams;
    let (upstream, because) = match chosen(&edge.settings, proved, &snapshot, &asked) {
        Some(chosen) => (chosen, "chosen"),
        None if side == Side::New => (&upstreams.new, because),
        None => (&upstreams.old, because),
    };
    state.metrics().edge_answered(change, because);
    Ok(told((side, because), upstream.as_str(), edge.maintenance.is_some()))
}

/// Who may ask: addresses that are allowed, and whoever has a token.
fn admit(request: &HttpRequest, state: &AppState) -> Result<(), Problem> {
    if request.peer_addr().is_some_and(|peer| state.edge().is_allowed(peer.ip())) {
        return Ok(());
    }
    let Some(token) = request.headers().get(TOKEN).and_then(|value| value.to_str().ok()) else {
        let detail = "Send a token in `X-Changeover-Token`, or allow the proxy's address (--edge-allow).";
        return Err(refused(state, request, detail));
    };
    // One token asks for all visitors, so there is no limit to how often.
    match state.memory().keyring().check(token.trim(), state.now()) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refused(state, request, sentence(refusal))),
    }
}

/// A visitor's request, as its headers have it.
struct Asked<'r>(&'r HeaderMap);

impl Request for Asked<'_> {
    fn header(&self, name: &str) -> Vec<&str> {
        self.0.get_all(name).map(|value| std::str::from_utf8(value.as_bytes()).unwrap_or_default()).collect()
    }
}

fn is_in(snapshot: &Snapshot, cohort: &CohortName, id: &str) -> bool {
    let cohort = snapshot.find_cohort(cohort.as_str()).and_then(|index| snapshot.cohort(index));
    cohort.is_some_and(|cohort| cohort.contains(id))
}

fn passes(settings: &Settings, proved: Option<&Visitor>, snapshot: &Snapshot) -> bool {
    let Some(visitor) = proved else { return false };
    let of_cohort = settings.pass.cohort.as_ref().is_some_and(|cohort| is_in(snapshot, cohort, &visitor.id));
    of_cohort || settings.pass.claim.as_ref().is_some_and(|claim| visitor.claims(claim))
}

/// The upstream that a visitor has chosen, if they may. Whatever they send, the answer is a name out of the settings.
fn chosen<'s>(
    settings: &'s Settings,
    proved: Option<&Visitor>,
    snapshot: &Snapshot,
    asked: &Asked<'_>,
) -> Option<&'s UpstreamName> {
    let choice = settings.choice.as_ref()?;
    let visitor = proved.filter(|visitor| is_in(snapshot, &choice.cohort, &visitor.id))?;
    let wanted = choice.places.iter().find_map(|place| settings.upstreams.find(value_at(place, asked)?))?;
    tracing::debug!(visitor = visitor.id, upstream = %wanted, "a visitor has chosen an upstream");
    Some(wanted)
}

async fn side_of(state: &AppState, edge: &StoredEdge, snapshot: &Arc<Snapshot>, visitor: Option<&Visitor>) -> Told {
    let (change, id) = (&edge.change, visitor.map(|visitor| visitor.id.as_str()));
    let found = match &edge.settings.flag {
        Some(flag) => by_flag(state, snapshot, (change, flag), id),
        None => by_assignment(state, snapshot, change, id).await,
    };
    found.or_else(|| Some((state.edge().last_known(change, id)?, "last_known"))).unwrap_or((Side::Old, "default"))
}

/// The side that a flag gives, anew each time, from memory.
fn by_flag(
    state: &AppState,
    snapshot: &Snapshot,
    (change, flag): (&ChangeName, &FlagKey),
    id: Option<&str>,
) -> Option<Told> {
    let Some(id) = id else { return Some((Side::Old, "anonymous")) };
    let side = match snapshot.evaluate(flag.as_str(), &Context::of(id), state.now()) {
        Evaluation::Served(served) => served.variant.name.as_str().parse().ok()?,
        Evaluation::Failed(failure) => {
            tracing::warn!(%flag, ?failure, "a visitor's side cannot be told");
            return None;
        }
    };
    state.edge().remember(change, id, side);
    Some((side, "flag"))
}

/// The recorded side of the visitor's group; the first question of a period records it.
async fn by_assignment(
    state: &AppState,
    snapshot: &Arc<Snapshot>,
    change: &ChangeName,
    id: Option<&str>,
) -> Option<Told> {
    let (snapshot, change, id) = (Arc::clone(snapshot), change.clone(), id.map(str::to_owned));
    state
        .edge()
        .within_patience(state, move |state| {
            let answer = match &id {
                Some(user) => {
                    let question = Question { change: &change, user, period: None, actor: "edge", at: state.now() };
                    state.router().side_of_user(&snapshot, &question)
                }
                None => state.router().side_of_nobody(&change),
            };
            match answer {
                Ok(answer) => Some(noted(state, &change, id.as_deref(), &answer)),
                Err(error) => failed(state, &error),
            }
        })
        .await
}

fn noted(state: &AppState, change: &ChangeName, id: Option<&str>, answer: &Answer) -> Told {
    let side = answer.side;
    match (answer.because, id) {
        (Because::EverybodyNew { .. }, _) => {
            state.edge().remember_everybody(change, side);
            (side, "everybody")
        }
        (Because::StageBeforeLive { .. }, _) => {
            state.edge().remember_everybody(change, side);
            (side, "before_live")
        }
        (_, None) => (side, "anonymous"),
        (Because::UnknownUser | Because::PeriodClosed, Some(_)) => (side, "unknown"),
        (Because::Recorded | Because::FirstQuestion | Because::NotRecorded, Some(id)) => {
            state.edge().remember(change, id, side);
            (side, "assigned")
        }
    }
}

fn failed(state: &AppState, error: &RoutingError) -> Option<Told> {
    match error {
        RoutingError::Shared(error) => return failed(state, error),
        // Before `live`, where everybody is on the old side.
        RoutingError::NotInstalled(_) | RoutingError::Translation(TranslationError::NotInstalled { .. }) => {
            return Some((Side::Old, "before_live"));
        }
        RoutingError::Database(error) if error.is_disconnected() || error.is_retryable() => {
            state.edge().pause(state.now());
        }
        _ => {}
    }
    tracing::warn!(%error, "a visitor's side cannot be told: the last known one is");
    None
}

fn told((side, because): Told, upstream: &str, is_passed: bool) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((SIDE, side.as_str())).insert_header((UPSTREAM, upstream)).insert_header((BECAUSE, because));
    if is_passed {
        response.insert_header((MAINTENANCE, "passed"));
    }
    response.insert_header((CACHE_CONTROL, "no-store")).finish()
}

/// What a proxy passes on to a visitor who is kept out.
fn kept_out(maintenance: &Maintenance, refusal: StatusCode) -> HttpResponse {
    let message = match maintenance.message.as_str() {
        "" => "We are working on it and will be back soon.",
        message => message,
    };
    HttpResponse::build(refusal)
        .insert_header((MAINTENANCE, "on"))
        .insert_header((RETRY_AFTER, maintenance.retry_after_s))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .content_type("text/html; charset=utf-8")
        .body(format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>Maintenance</title><h1>Down for maintenance</h1><p>{}</p></html>\n",
            escaped(message)
        ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
