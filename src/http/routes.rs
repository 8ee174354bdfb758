//! Every path of the service.

use actix_web::web::{self, ServiceConfig};

use super::api::{
    assignments, audit, backfills, changes, charges, closings, cohort_generations, cohort_ids, cohort_staged,
    cohort_uploads, cohorts, coverage, edges, explain, explanations, files, flag_observations, flags, history, imports,
    installs, jobs, laws, observations, passes, pauses, previews, proposals, report_files, reports, rollouts, tokens,
    worker_gates, worker_leases, writes,
};
use super::paths::path;
use super::problem::{Code, Problem, shortened};
use super::state::AppState;
use super::{docs, edge, health, input, metrics, ofrep, openapi};

/// Registers every path on an app that has `web::Data<AppState>`.
#[rustfmt::skip]
pub fn configure(config: &mut ServiceConfig) {
    config
        .app_data(input::json_config())
        .app_data(input::path_config())
        .app_data(input::query_config())
        .app_data(input::payload_config())
        // applications
        .service(ofrep::routes::<AppState>())
        // reverse proxies: any method, as they pass a visitor's on; Envoy adds the path that the visitor asked for
        .service(path("/edge/{change}").any(edge::ask).service())
        .service(edge::below())
        // administration
        .service(path("/api/v1/flags").get(flags::list).post(flags::create).service())
        .service(path("/api/v1/flags/{key}").get(flags::get).put(flags::replace).delete(flags::delete).service())
        .service(path("/api/v1/flags/{key}/enabled").put(flags::set_enabled).service())
        .service(path("/api/v1/flags/{key}/rollouts/{rule}").put(rollouts::step).service())
        .service(path("/api/v1/flags/{key}/preview").post(previews::preview).service())
        .service(path("/api/v1/flags/{key}/explain").post(explain::explain).service())
        .service(path("/api/v1/flags/{key}/history").get(history::list).service())
        .service(path("/api/v1/flags/{key}/history/{version}").get(history::get).service())
        .service(path("/api/v1/flags/{key}/history/{version}/restoration").post(history::restore).service())
        .service(path("/api/v1/flags/{key}/diff").get(history::diff).service())
        .service(path("/api/v1/export").get(imports::export).service())
        .service(path("/api/v1/imports").post(imports::create).service())
        .service(path("/api/v1/proposals").get(proposals::list).service())
        .service(path("/api/v1/proposals/{id}").get(proposals::get).service())
        .service(path("/api/v1/proposals/{id}/approval").post(proposals::approve).service())
        .service(path("/api/v1/proposals/{id}/rejection").post(proposals::reject).service())
        .service(path("/api/v1/cohorts").get(cohorts::list).post(cohorts::create).service())
        .service(path("/api/v1/cohorts/{name}").get(cohorts::get).put(cohorts::replace).delete(cohorts::delete).service())
        .service(path("/api/v1/cohorts/{name}/ids").get(cohort_ids::ids).put(cohort_uploads::replace).post(cohort_uploads::add).service())
        .service(path("/api/v1/cohorts/{name}/ids/{id}").get(cohort_ids::has).put(cohort_ids::add).delete(cohort_ids::remove).service())
        .service(path("/api/v1/cohorts/{name}/removals").post(cohort_uploads::remove).service())
        .service(path("/api/v1/cohorts/{name}/staged").get(cohort_staged::list).service())
        .service(path("/api/v1/cohorts/{name}/staged/{id}").get(cohort_staged::get).delete(cohort_staged::drop_one).service())
        .service(path("/api/v1/cohorts/{name}/staged/{id}/activation").post(cohort_staged::activate).service())
        .service(path("/api/v1/cohorts/{name}/generations").get(cohort_generations::list).service())
        .service(path("/api/v1/cohorts/{name}/generations/{generation}").get(cohort_generations::get).service())
        .service(path("/api/v1/cohorts/{name}/generations/{generation}/diff").get(cohort_generations::diff).service())
        .service(path("/api/v1/cohorts/{name}/generations/{generation}/restoration").post(cohort_generations::restore).service())
        .service(path("/api/v1/changes").get(changes::list).post(installs::create).service())
        .service(path("/api/v1/changes/{name}").get(changes::get).put(installs::replace).delete(installs::delete).service())
        .service(path("/api/v1/changes/{name}/history").get(files::list).service())
        .service(path("/api/v1/changes/{name}/coverage").get(coverage::get).service())
        .service(path("/api/v1/changes/{name}/stage").put(changes::set_stage).service())
        .service(path("/api/v1/changes/{name}/gates").get(laws::gates).service())
        .service(path("/api/v1/changes/{name}/laws").get(laws::last).post(laws::run).service())
        .service(path("/api/v1/changes/{name}/backfill").post(backfills::start_backfill).service())
        .service(path("/api/v1/changes/{name}/repair").post(passes::start_repair).service())
        .service(path("/api/v1/changes/{name}/verify").post(passes::start_verify).service())
        .service(path("/api/v1/changes/{name}/pause").post(pauses::start_pause).service())
        .service(path("/api/v1/changes/{name}/close").post(closings::close_periods).service())
        .service(path("/api/v1/changes/{name}/resume").post(pauses::end_pause).service())
        .service(path("/api/v1/changes/{name}/pending").get(pauses::pending_keys).service())
        .service(path("/api/v1/changes/{name}/pending/retry").post(pauses::retry).service())
        .service(path("/api/v1/changes/{name}/assignments").get(changes::assignments).post(assignments::assign_period).service())
        .service(path("/api/v1/changes/{name}/assignments/counts").get(assignments::counts).service())
        .service(path("/api/v1/changes/{name}/assignments/at").get(assignments::at).service())
        .service(path("/api/v1/changes/{name}/assignments/moves").post(assignments::move_many).service())
        .service(path("/api/v1/changes/{name}/assignments/splits").post(assignments::split).service())
        .service(path("/api/v1/changes/{name}/assignments/query").post(assignments::query).service())
        .service(path("/api/v1/changes/{name}/assignments/groups/{group}").get(assignments::group_history).service())
        .service(path("/api/v1/changes/{name}/assignments/{period}/{group}").put(changes::set_side).service())
        .service(path("/api/v1/changes/{name}/reports").get(reports::list).post(reports::run).service())
        .service(path("/api/v1/changes/{name}/reports/{id}").get(reports::get).service())
        .service(path("/api/v1/changes/{name}/reports/{id}/csv/{file}").get(report_files::get).service())
        .service(path("/api/v1/changes/{name}/reports/{id}/signatures").get(reports::standing).post(reports::sign).service())
        .service(path("/api/v1/changes/{name}/reports/{id}/exceptions").get(reports::exceptions).service())
        .service(path("/api/v1/changes/{name}/reports/{id}/difference").get(reports::difference).service())
        .service(path("/api/v1/changes/{name}/charges/{id}/explain").get(charges::explain).service())
        .service(path("/api/v1/changes/{name}/explanations").get(explanations::list).post(explanations::create).service())
        .service(path("/api/v1/changes/{name}/explanations/{id}").get(explanations::get).put(explanations::replace).delete(explanations::withdraw).service())
        .service(path("/api/v1/changes/{name}/explanations/{id}/history").get(explanations::history).service())
        .service(path("/api/v1/flags/{key}/observations").get(flag_observations::summary).post(flag_observations::post).service())
        .service(path("/api/v1/flags/{key}/observations/series").get(flag_observations::series).service())
        .service(path("/api/v1/flags/{key}/observations/samples").get(flag_observations::samples).service())
        .service(path("/api/v1/flags/{key}/observation-rules").get(flag_observations::rules).post(flag_observations::create_rule).service())
        .service(path("/api/v1/flags/{key}/observation-rules/{id}").put(flag_observations::replace_rule).delete(flag_observations::remove_rule).service())
        .service(path("/api/v1/changes/{name}/observations").get(observations::summary).post(observations::post).service())
        .service(path("/api/v1/changes/{name}/observations/series").get(observations::series).service())
        .service(path("/api/v1/changes/{name}/observations/samples").get(observations::samples).service())
        .service(path("/api/v1/changes/{name}/observation-rules").get(observations::rules).post(observations::create_rule).service())
        .service(path("/api/v1/changes/{name}/observation-rules/{id}").put(observations::replace_rule).delete(observations::remove_rule).service())
        .service(path("/api/v1/edges").get(edges::list).service())
        .service(path("/api/v1/changes/{name}/edge").get(edges::get).put(edges::set).delete(edges::remove).service())
        .service(path("/api/v1/changes/{name}/edge/maintenance").put(edges::set_maintenance).service())
        .service(path("/api/v1/jobs").get(jobs::list).service())
        .service(path("/api/v1/jobs/{id}").get(jobs::get).service())
        .service(path("/api/v1/jobs/{id}/cancel").post(jobs::cancel).service())
        .service(path("/api/v1/changes/{name}/writes").get(writes::schema).post(writes::run).service())
        .service(path("/api/v1/gates").get(worker_gates::list).service())
        .service(path("/api/v1/gates/{worker}").get(worker_gates::get).put(worker_gates::set).delete(worker_gates::remove).service())
        .service(path("/api/v1/gates/{worker}/pause").post(worker_gates::pause).service())
        .service(path("/api/v1/gates/{worker}/resume").post(worker_gates::resume).service())
        .service(path("/api/v1/gates/{worker}/lease").post(worker_leases::acquire).service())
        .service(path("/api/v1/gates/{worker}/lease/heartbeat").post(worker_leases::heartbeat).service())
        .service(path("/api/v1/gates/{worker}/lease/release").post(worker_leases::release).service())
        .service(path("/api/v1/all-gates/pause").post(worker_gates::pause_all).service())
        .service(path("/api/v1/all-gates/resume").post(worker_gates::resume_all).service())
        .service(path("/api/v1/tokens").get(tokens::list).post(tokens::create).service())
        .service(path("/api/v1/tokens/{id}").get(tokens::get).delete(tokens::revoke).service())
        .service(path("/api/v1/audit").get(audit::list).service())
        .service(path("/api/v1/audit/verification").get(audit::verification).service())
        // the server itself
        .service(path("/healthz").get(health::alive).service())
        .service(path("/readyz").get(health::ready).service())
        .service(path("/metrics").get(metrics::page).service())
        .service(path("/openapi.json").get(openapi::document).service())
        .service(path("/docs").get(docs::page).service())
        .default_service(web::to(nothing_here));
}

async fn nothing_here(request: actix_web::HttpRequest) -> Result<String, Problem> {
    let detail = format!("`{}` is not one of our paths: /docs lists them.", shortened(request.path()));
    Err(Problem::new(Code::NotFound, detail))
}
