//! `/api/v1/gates/{worker}/lease`: one instance of a worker runs, the one that holds its lease.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json, Path};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::auth::{Caller, Evaluate};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{Instant, WorkerName};
use crate::store::worker_gates::Found;
use crate::store::worker_leases;
use crate::worker_gates::{Claim, Lease, Refusal, Renewal, State};

/// The longest pause between two heartbeats, so that a pause of the worker is noticed.
const HEARTBEAT_S_MAX: f64 = 10.0;

/// Who wants the lease.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseWish {
    /// Names the instance, such as `host-3/4711`: for people, and no two instances have the same.
    #[schema(value_type = String)]
    holder: ShortText,
}

/// Whose lease it is: what the answer to the lease said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseClaim {
    #[schema(value_type = String)]
    holder: ShortText,
    fencing_token: i64,
}

/// A lease that is held.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeaseAnswer {
    #[schema(value_type = String)]
    worker: WorkerName,
    holder: String,
    /// Greater than that of every lease of this worker before. Send it along with what is written, and refuse a smaller one there.
    fencing_token: i64,
    #[schema(value_type = String, format = DateTime)]
    acquired_at: Instant,
    /// By the database's clock. Count `lease_seconds` by your own from before you asked: then you stop in time.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Instant,
    lease_seconds: i64,
    heartbeat_after_seconds: f64,
}

/// Asks for the lease. It is had until it ends, is given back, or the worker is paused.
#[utoipa::path(post, path = "/api/v1/gates/{worker}/lease", tag = "gates", params(("worker" = String, Path)), request_body = LeaseWish,
    responses((status = 201, body = LeaseAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn acquire(
    _: Caller<Evaluate>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
    wish: Json<LeaseWish>,
) -> Result<HttpResponse, Problem> {
    let worker = worker.into_inner();
    if wish.holder.as_str().is_empty() {
        return Err(Problem::new(Code::InvalidValue, "`holder` is empty: name the instance, such as `host-3/4711`."));
    }
    let asked = worker.clone();
    let found = state
        .blocking(move |state| {
            Ok(state.store().write(|conn| worker_leases::acquire(conn, &asked, wish.holder.as_str()))?)
        })
        .await?;
    let outcome = match &found.found {
        Ok(_) => "acquired",
        Err(Refusal::Held { .. }) => "held",
        Err(Refusal::Paused(_)) => "paused",
        Err(Refusal::NotSingle) => "refused",
    };
    state.metrics().leased(outcome);
    match found.found {
        Ok(lease) => Ok(HttpResponse::Created().json(answer(worker, lease, found.now))),
        Err(refusal) => Err(refused(&worker, &refusal, found.now)),
    }
}

/// Prolongs the lease. 409 `gate_paused`: stop, then release it. 409 `lease_lost`: stop at once, another may be running.
#[utoipa::path(post, path = "/api/v1/gates/{worker}/lease/heartbeat", tag = "gates", params(("worker" = String, Path)),
    request_body = LeaseClaim,
    responses((status = 200, body = LeaseAnswer), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn heartbeat(
    _: Caller<Evaluate>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
    claim: Json<LeaseClaim>,
) -> Result<HttpResponse, Problem> {
    let worker = worker.into_inner();
    let asked = worker.clone();
    let token = claim.fencing_token;
    let found: Found<Renewal> = state
        .blocking(move |state| {
            let claim = Claim { holder: claim.holder.as_str(), fencing: claim.fencing_token };
            Ok(state.store().write(|conn| worker_leases::renew(conn, &asked, &claim))?)
        })
        .await?;
    match found.found {
        Renewal::Renewed(lease) => {
            state.metrics().leased("renewed");
            Ok(HttpResponse::Ok().json(answer(worker, lease, found.now)))
        }
        Renewal::Stop(lease, paused) => {
            state.metrics().leased("stopped");
            let told = told_paused(&worker, paused);
            let detail =
                format!("{told} Stop, and give the lease back: nobody else has it before {}.", lease.expires_at);
            Err(Problem::new(Code::GatePaused, detail))
        }
        Renewal::Lost => {
            state.metrics().leased("lost");
            Err(lost(&worker, token))
        }
    }
}

/// Gives the lease back, so that another instance may have it at once.
#[utoipa::path(post, path = "/api/v1/gates/{worker}/lease/release", tag = "gates", params(("worker" = String, Path)),
    request_body = LeaseClaim,
    responses((status = 204), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn release(
    _: Caller<Evaluate>,
    state: Data<AppState>,
    worker: Path<WorkerName>,
    claim: Json<LeaseClaim>,
) -> Result<HttpResponse, Problem> {
    let worker = worker.into_inner();
    let asked = worker.clone();
    let token = claim.fencing_token;
    let was_held = state
        .blocking(move |state| {
            let claim = Claim { holder: claim.holder.as_str(), fencing: claim.fencing_token };
            Ok(state.store().write(|conn| worker_leases::release(conn, &asked, &claim))?)
        })
        .await?;
    if was_held {
        state.metrics().leased("released");
        Ok(HttpResponse::NoContent().finish())
    } else {
        state.metrics().leased("lost");
        Err(lost(&worker, token))
    }
}

fn answer(worker: WorkerName, lease: Lease, now: Instant) -> LeaseAnswer {
    // What is left of it, in whole seconds: a lease that is longer than the gate's says so until it ends.
    let lease_seconds = lease.expires_at.as_micros().saturating_sub(now.as_micros()) / 1_000_000;
    LeaseAnswer {
        worker,
        holder: lease.holder,
        fencing_token: lease.fencing,
        acquired_at: lease.acquired_at,
        expires_at: lease.expires_at,
        lease_seconds,
        heartbeat_after_seconds: quarter(lease_seconds).min(HEARTBEAT_S_MAX),
    }
}

#[expect(clippy::as_conversions, reason = "a day has few seconds")]
fn quarter(seconds: i64) -> f64 {
    seconds as f64 / 4.0
}

fn refused(worker: &WorkerName, refusal: &Refusal, now: Instant) -> Problem {
    match refusal {
        Refusal::NotSingle => Problem::new(
            Code::Refused,
            format!("Any number of instances of `{worker}` may run, so it has no lease: set `single_instance`."),
        ),
        Refusal::Paused(state) => {
            let seconds = u64::try_from(state.ask_again_s(now)).ok();
            Problem::new(Code::GatePaused, told_paused(worker, *state)).with_retry_after(seconds)
        }
        Refusal::Held { holder, expires_at } => {
            let left =
                expires_at.as_micros().saturating_sub(now.as_micros()).max(0).saturating_add(999_999) / 1_000_000;
            let detail = format!("`{holder}` has the lease of `{worker}` until {expires_at}, unless it prolongs it.");
            Problem::new(Code::LeaseHeld, detail).with_retry_after(u64::try_from(left).ok())
        }
    }
}

fn told_paused(worker: &WorkerName, state: State) -> String {
    match state.until() {
        Some(until) => format!("`{worker}` waits for its turn: it runs from {until} on."),
        None => format!("`{worker}` is paused."),
    }
}

fn lost(worker: &WorkerName, token: i64) -> Problem {
    let detail = format!(
        "The lease of `{worker}` with the fencing token {token} has ended: stop at once, another instance may be running. Ask for a new lease."
    );
    Problem::new(Code::LeaseLost, detail)
}
