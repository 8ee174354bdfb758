//! Every path of the console.

use actix_web::middleware::from_fn;
use actix_web::web::{self, FormConfig, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::answer::protect;
use super::form::FORM_BYTES_MAX;
use super::page::{base, see_other};
use super::words::in_address;
use super::{
    assets, assignment_move, assignments, audit, change, changes, edge, jobs, live, pauses, settings, sign_in, stages,
    tokens, works,
};
use super::{cohort, cohort_edit, cohort_history, cohort_staged, cohort_upload, cohorts};
use super::{flag, flag_edit, flag_explain, flag_history, flag_remove, flag_rollout, flag_switch, flags, proposals};
use super::{report, report_explanations as explanations, report_files, report_list};
use super::{worker_gate_edit, worker_gates as gates};
use crate::http::input::ShortText;
use crate::http::paths::path;
use crate::http::problem::{Code, Problem};
use crate::primitives::{ChangeName, CohortName};

/// Registers the console on an app that has `web::Data<AppState>`.
#[rustfmt::skip]
pub fn configure(config: &mut ServiceConfig) {
    let console = web::scope("/console")
        .wrap(from_fn(protect))
        .app_data(FormConfig::default().limit(FORM_BYTES_MAX))
        .service(path("").get(home).service())
        .service(path("/").get(home).service())
        .service(path("/assets/{file}").get(assets::get).service())
        .service(path("/sign-in").get(sign_in::page).post(sign_in::start).service())
        .service(path("/sign-out").post(sign_in::end).service())
        .service(path("/changes").get(changes::page).service())
        .service(path("/changes/{name}").get(change::page).service())
        .service(path("/changes/{name}/stage").get(stages::page).post(stages::change).service())
        .service(path("/changes/{name}/pause").get(pauses::pause_page).post(pauses::pause).service())
        .service(path("/changes/{name}/resume").get(pauses::resume_page).post(pauses::resume).service())
        .service(path("/reports").get(report_list::all).service())
        .service(path("/changes/{name}/reports").get(report_list::page).post(report_list::run).service())
        .service(path("/changes/{name}/reports/{id}").get(report::page).service())
        .service(path("/changes/{name}/reports/{id}/sign").get(report::page).post(report::sign).service())
        .service(path("/changes/{name}/reports/{id}/page").get(report_files::read).service())
        .service(path("/changes/{name}/reports/{id}/files/{file}").get(report_files::download).service())
        .service(path("/changes/{name}/explanations").get(explanations::list).post(explanations::create).service())
        .service(path("/changes/{name}/explanations/new").get(explanations::form).service())
        .service(path("/changes/{name}/explanations/{id}/withdraw").get(explanations::withdraw_page).post(explanations::withdraw).service())
        .service(path("/cohorts").get(cohorts::page).post(cohorts::create).service())
        .service(path("/cohorts/{name}").get(cohort::page).service())
        .service(path("/cohorts/{name}/download").get(cohort::download).service())
        .service(path("/cohorts/{name}/ids").get(to_cohort).post(cohort_edit::ids).service())
        .service(path("/cohorts/{name}/edit").get(cohort_edit::edit_page).post(cohort_edit::edit).service())
        .service(path("/cohorts/{name}/remove").get(cohort_edit::remove_page).post(cohort_edit::remove).service())
        .service(path("/cohorts/{name}/upload").get(cohort_upload::page).post(cohort_upload::take).service())
        .service(path("/cohorts/{name}/staged/{id}").get(cohort_staged::page).service())
        .service(path("/cohorts/{name}/staged/{id}/activate").get(cohort_staged::page).post(cohort_staged::activate).service())
        .service(path("/cohorts/{name}/staged/{id}/drop").get(cohort_staged::page).post(cohort_staged::drop_it).service())
        .service(path("/cohorts/{name}/history").get(cohort_history::page).service())
        .service(path("/cohorts/{name}/history/{generation}").get(cohort_history::one).service())
        .service(path("/cohorts/{name}/history/{generation}/restore").get(cohort_history::restore_page).post(cohort_history::restore).service())
        .service(path("/flags").get(flags::page).service())
        .service(path("/flags/{key}").get(flag::page).service())
        .service(path("/new-flag").get(flag_edit::new_page).post(flag_edit::create).service())
        .service(path("/flags/{key}/edit").get(flag_edit::edit_page).post(flag_edit::replace).service())
        .service(path("/flags/{key}/explain").get(flag_explain::page).service())
        .service(path("/proposals").get(proposals::list).service())
        .service(path("/proposals/{id}").get(proposals::page).service())
        .service(path("/proposals/{id}/approve").get(to_proposal).post(proposals::approve).service())
        .service(path("/proposals/{id}/reject").get(to_proposal).post(proposals::reject).service())
        .service(path("/flags/{key}/kill").get(flag_switch::kill_page).post(flag_switch::kill).service())
        .service(path("/flags/{key}/enable").get(flag_switch::enable_page).post(flag_switch::enable).service())
        .service(path("/flags/{key}/remove").get(flag_remove::page).post(flag_remove::remove).service())
        .service(path("/flags/{key}/rollout").get(flag_rollout::page).post(flag_rollout::step).service())
        .service(path("/flags/{key}/history").get(flag_history::list).service())
        .service(path("/flags/{key}/diff").get(flag_history::diff).service())
        .service(path("/flags/{key}/history/{version}/restore").get(flag_history::restore_page).post(flag_history::restore).service())
        .service(path("/gates").get(gates::page).service())
        .service(path("/all-gates/pause").get(to_gates).post(gates::pause_all).service())
        .service(path("/all-gates/resume").get(to_gates).post(gates::resume_all).service())
        .service(path("/new-gate").get(worker_gate_edit::new_page).post(worker_gate_edit::create).service())
        .service(path("/gates/{worker}").get(gates::one).service())
        .service(path("/gates/{worker}/edit").get(worker_gate_edit::edit_page).post(worker_gate_edit::edit).service())
        .service(path("/gates/{worker}/remove").get(worker_gate_edit::remove_page).post(worker_gate_edit::remove).service())
        .service(path("/gates/{worker}/pause").get(gates::one).post(gates::pause).service())
        .service(path("/gates/{worker}/resume").get(gates::one).post(gates::resume).service())
        .service(path("/jobs/{id}").get(jobs::page).service())
        .service(path("/jobs/{id}/cancel").get(jobs::cancel_page).post(jobs::cancel).service())
        .service(path("/changes/{name}/start/{kind}").get(works::page).post(works::start).service())
        .service(path("/changes/{name}/assignments").get(assignments::page).service())
        .service(path("/changes/{name}/assignments/group").get(assignments::group).service())
        .service(path("/changes/{name}/assignments/move").get(assignment_move::page).post(assignment_move::run).service())
        .service(path("/changes/{name}/edge").get(edge::page).service())
        .service(path("/changes/{name}/edge/maintenance").get(to_edge).post(edge::maintenance).service())
        .service(path("/changes/{name}/edge/settings").get(to_edge).post(edge::settings).service())
        .service(path("/events").get(live::events).service())
        .service(path("/audit").get(audit::page).service())
        .service(path("/audit/verification").get(audit::verification).service())
        .service(path("/tokens").get(tokens::page).post(tokens::create).service())
        .service(path("/tokens/{id}/made").get(tokens::made).service())
        .service(path("/tokens/{id}/revoke").get(tokens::revoke_page).post(tokens::revoke).service())
        .service(path("/settings").get(settings::page).service())
        .default_service(web::to(nothing_here));
    config.service(console);
}

async fn home(request: HttpRequest) -> HttpResponse {
    see_other(&format!("{}/changes", base(&request)))
}

/// Where somebody ends who reloads the answer to a form that was refused.
async fn to_gates(request: HttpRequest) -> HttpResponse {
    see_other(&format!("{}/gates", base(&request)))
}

async fn to_edge(request: HttpRequest, name: Path<ChangeName>) -> HttpResponse {
    see_other(&format!("{}/changes/{name}/edge", base(&request)))
}

async fn to_cohort(request: HttpRequest, name: Path<CohortName>) -> HttpResponse {
    see_other(&format!("{}/cohorts/{name}", base(&request)))
}

async fn to_proposal(request: HttpRequest, id: Path<ShortText>) -> HttpResponse {
    see_other(&format!("{}/proposals/{}", base(&request), in_address(id.as_str())))
}

async fn nothing_here() -> Result<HttpResponse, Problem> {
    Err(Problem::new(Code::NotFound, "The console has no page with this address."))
}
