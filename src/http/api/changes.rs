//! `/api/v1/changes`: what is installed, how far it is, its stage and its assignments.

use actix_web::web::{Data, Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::List;
use crate::change::Stage;
use crate::database::{DatabaseConnection, DatabaseError};
use crate::http::auth::{Admin, Caller, Viewer};
use crate::http::input::ShortText;
use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::state::AppState;
use crate::primitives::{ChangeName, FlagKey, Instant, Period};
use crate::routing::{
    Assignment, GroupId, Move, MoveReceipt, RoutedChange, Side, StageMove, Wish, change_stage, count_sides,
    evaluate_gates, move_group,
};
use crate::store::audit::{self, AuditEntry};
use crate::store::tokens::Role;
use crate::translation::own::{get_change, list_changes};
use crate::translation::{
    ChangeHealth, Deed, InstalledChange, PastRestorePoint, RestorePoint, backfill_progress, last_verifications, pause,
    pending, restore_points,
};

/// Restore points that are told with a change.
const RESTORE_POINTS: i64 = 20;

/// An installed change.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeAnswer {
    #[schema(value_type = String)]
    name: ChangeName,
    title: String,
    /// `off`, `dualwrite`, `shadow`, `live`, `rampdown` or `complete`.
    #[schema(value_type = String)]
    stage: Stage,
    #[schema(value_type = String, format = DateTime)]
    stage_at: Instant,
    /// The first period that is not closed; empty while none has been closed.
    open_period: String,
    #[schema(value_type = String)]
    flag: FlagKey,
    #[schema(value_type = String, format = DateTime)]
    installed_at: Instant,
}

/// A change and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeStatus {
    #[serde(flatten)]
    change: ChangeAnswer,
    /// The gates of the next stage, with their evidence.
    #[schema(value_type = Vec<Object>)]
    gates: Value,
    /// Each block's backfill.
    #[schema(value_type = Vec<Object>)]
    backfill: Value,
    /// What the last verify of each block found.
    #[schema(value_type = Vec<Object>)]
    verification: Value,
    /// Each block's drift, pending keys, oldest look, and what the sentinel has done.
    #[schema(value_type = Vec<Object>)]
    health: Value,
    /// Keys whose translation failed: `count`, `oldest` and some of them with their errors.
    #[schema(value_type = Object)]
    pending: Value,
    /// The pause that is not closed: since when, by whom, why. `null` while there is none.
    #[schema(value_type = Option<Object>)]
    gap: Value,
    /// How many groups are recorded on each side, by period.
    #[schema(value_type = Vec<Object>)]
    assignments: Value,
    /// What the application's database can be put back to: made before each of the last moves, the newest first.
    #[schema(value_type = Vec<Object>)]
    restore_points: Value,
}

/// Where a change is to move.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StageWish {
    /// The stage before or after the change's own.
    #[schema(value_type = String)]
    to: Stage,
    #[serde(default)]
    #[schema(value_type = String)]
    reason: ShortText,
    /// Move although a gate does not hold; needs a reason.
    #[serde(default)]
    force: bool,
}

/// The side that a group is to be on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SideWish {
    /// `old` or `new`.
    #[schema(value_type = String)]
    side: Side,
    #[schema(value_type = String)]
    reason: ShortText,
}

/// Which assignments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AssignmentQuery {
    /// Such as `2026-12`.
    #[param(value_type = String)]
    period: Period,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<ShortText>,
    /// At most this many; 100 if not said, 500 at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// The installed changes.
#[utoipa::path(get, path = "/api/v1/changes", tag = "changes", responses((status = 200, body = List<ChangeAnswer>)))]
pub async fn list(_: Caller<Viewer>, state: Data<AppState>) -> Result<Json<List<ChangeAnswer>>, Problem> {
    let found = state.blocking(|state| Ok(list_changes(&mut *state.app().connection()?)?)).await?;
    Ok(Json(List { items: found.into_iter().map(ChangeAnswer::from).collect(), next: None }))
}

/// One change: its stage, gates, backfill, last verify and sides.
#[utoipa::path(get, path = "/api/v1/changes/{name}", tag = "changes", params(("name" = String, Path)),
    responses((status = 200, body = ChangeStatus), (status = 404, body = ProblemDocument)))]
pub async fn get(
    caller: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
) -> Result<Json<ChangeStatus>, Problem> {
    let sees_paths = caller.token().role.covers(Role::Admin);
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            let change = get_change(&mut connection, &name)?;
            let gates = match change.stage.next() {
                Some(next) => evaluate_gates(state.store(), &mut connection, &change, next, state.now())?,
                None => Vec::new(),
            };
            let waiting = pending::list(&mut connection, &name, 5)?;
            Ok(Json(ChangeStatus {
                pending: json!({
                    "count": pending::count(&mut connection, &name)?,
                    "oldest": waiting.first().map(|key| key.first_at),
                    "keys": waiting,
                }),
                gap: json!(pause::open_gap(&mut connection, &name)?),
                gates: json!(gates),
                backfill: json!(backfill_progress(&mut connection, &name)?),
                verification: json!(last_verifications(&mut connection, &name)?),
                health: json!(ChangeHealth::read(&mut connection, &change)?.blocks),
                restore_points: json!(past_restore_points(&mut connection, &name, sees_paths)?),
                assignments: json!(count_sides(&mut connection, &name)?),
                change: change.into(),
            }))
        })
        .await
}

fn past_restore_points(
    connection: &mut DatabaseConnection,
    name: &ChangeName,
    sees_paths: bool,
) -> Result<Vec<PastRestorePoint>, DatabaseError> {
    let mut points = restore_points(connection, name, RESTORE_POINTS)?;
    if !sees_paths {
        for past in &mut points {
            past.point = past.point.clone().without_directory();
        }
    }
    Ok(points)
}

/// Moves a change one stage on or back. If a gate does not hold nothing moves, and the answer says which.
#[utoipa::path(put, path = "/api/v1/changes/{name}/stage", tag = "changes", params(("name" = String, Path)), request_body = StageWish,
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn set_stage(
    caller: Caller<Admin>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    wish: Json<StageWish>,
) -> Result<Json<Value>, Problem> {
    state
        .blocking(move |state| {
            let step = Step { from: None, to: wish.to, force: wish.force };
            Ok(Json(json!(move_stage(state, &name, step, (caller.actor(), wish.reason.as_str()))?)))
        })
        .await
}

/// A step from the stage that was seen, if that is said.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub from: Option<Stage>,
    pub to: Stage,
    pub force: bool,
}

/// Moves a change for `actor`, with its audit row; a gate that does not hold is an error that names it.
pub fn move_stage(
    state: &AppState,
    name: &ChangeName,
    step: Step,
    (actor, reason): (&str, &str),
) -> Result<StageMove, Problem> {
    let mut connection = state.app().connection()?;
    let change = get_change(&mut connection, name)?;
    if let Some(from) = step.from.filter(|from| *from != change.stage) {
        let detail = format!("`{name}` is at {} by now, not at {from}: look again before you move it.", change.stage);
        return Err(Problem::new(Code::Refused, detail));
    }
    let deed = Deed { actor, at: state.now(), reason };
    let wish = Wish { to: step.to, deed, force: step.force, restore: state.restore_points() };
    let outcome = change_stage(state.store(), &mut connection, &change, wish)?;
    if !outcome.moved {
        let failed = outcome.gates.iter().filter(|gate| !gate.holds);
        let told: Vec<String> = failed.map(|gate| format!("{} ({})", gate.name, gate.evidence)).collect();
        let detail = format!("`{name}` stays at {}: {}.", outcome.from, told.join("; "));
        return Err(Problem::new(Code::Refused, detail));
    }
    // Viewers read the audit log; where a copy is stands in the change's history.
    let point = outcome.restore_point.clone().map(RestorePoint::without_directory);
    let detail = json!({
        "from": outcome.from, "to": outcome.to, "forced": outcome.forced, "released": outcome.released,
        "restore_point": point,
    });
    record(state, actor, "change.stage", name, reason, &detail)?;
    Ok(outcome)
}

/// A page of a period's recorded sides, by group.
#[utoipa::path(get, path = "/api/v1/changes/{name}/assignments", tag = "changes", params(("name" = String, Path), AssignmentQuery),
    responses((status = 200, body = List<Object>), (status = 404, body = ProblemDocument)))]
pub async fn assignments(
    _: Caller<Viewer>,
    state: Data<AppState>,
    name: Path<ChangeName>,
    query: Query<AssignmentQuery>,
) -> Result<Json<List<Assignment>>, Problem> {
    state
        .blocking(move |state| {
            let mut connection = state.app().connection()?;
            get_change(&mut connection, &name)?;
            let limit = query.limit.unwrap_or(100).clamp(1, 500);
            let after = query.after.as_ref().map(ShortText::as_str);
            let mut items = crate::routing::list(&mut connection, &name, query.period, after, i64::from(limit) + 1)?;
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let more = items.len() > limit;
            items.truncate(limit);
            let next = items.last().filter(|_| more).map(|last| last.group.to_string());
            Ok(Json(List { items, next }))
        })
        .await
}

/// Puts a group on a side for one open period.
#[utoipa::path(put, path = "/api/v1/changes/{name}/assignments/{period}/{group}", tag = "changes",
    params(("name" = String, Path), ("period" = String, Path), ("group" = String, Path)), request_body = SideWish,
    responses((status = 200, body = Object), (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument)))]
pub async fn set_side(
    caller: Caller<Admin>,
    state: Data<AppState>,
    path: Path<(ChangeName, Period, ShortText)>,
    wish: Json<SideWish>,
) -> Result<Json<Value>, Problem> {
    let (name, period, group) = path.into_inner();
    state
        .blocking(move |state| {
            let group = GroupId::new(group.as_str())?;
            let deed = (caller.actor(), wish.reason.as_str());
            Ok(Json(json!(put_on_side(state, &name, (&group, period, wish.side), deed)?)))
        })
        .await
}

/// Puts a group on a side for one open period for `actor`, with its audit row.
pub fn put_on_side(
    state: &AppState,
    name: &ChangeName,
    (group, period, side): (&GroupId, Period, Side),
    (actor, reason): (&str, &str),
) -> Result<MoveReceipt, Problem> {
    let mut connection = state.app().connection()?;
    let change = RoutedChange::get(&mut connection, name)?;
    let wanted = Move { group, period, side, actor, reason, at: state.now() };
    let receipt = move_group(&mut connection, &change, &wanted)?;
    if receipt.moved {
        record(state, actor, "change.move", name, reason, &json!(receipt))?;
    }
    Ok(receipt)
}

/// The audit row of what was done in the application's database. It follows that transaction: the two may be on different servers.
pub(super) fn record(
    state: &AppState,
    actor: &str,
    action: &str,
    change: &ChangeName,
    reason: &str,
    detail: &Value,
) -> Result<(), Problem> {
    let subject = format!("change/{change}");
    Ok(state.store().write(|conn| {
        audit::append(conn, &AuditEntry { actor, action, subject: &subject, reason, detail: detail.clone() })
    })?)
}

impl From<InstalledChange> for ChangeAnswer {
    fn from(change: InstalledChange) -> Self {
        Self {
            name: change.name,
            title: change.title,
            stage: change.stage,
            stage_at: change.stage_at,
            open_period: change.open_period,
            flag: change.file.routing.flag,
            installed_at: change.installed_at,
        }
    }
}
