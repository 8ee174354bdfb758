//! The OpenAPI 3.1 document, made from the handlers' own annotations.

use actix_web::web::Json;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::api::{
    assignments, audit, backfills, changes, charges, closings, cohort_generations, cohort_ids, cohort_staged,
    cohort_uploads, cohorts, coverage, edges, explain, explanations, files, flag_observations, flags, history, imports,
    installs, jobs, laws, observations, passes, pauses, previews, proposals, report_files, reports, rollouts, tokens,
    worker_gates, worker_leases, writes,
};
use super::{docs, edge, health, metrics};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Changeover",
        description = "Flags, cohorts, changes and reports. Flags are evaluated by OFREP, the OpenFeature Remote Evaluation Protocol: \
                       `POST /ofrep/v1/evaluate/flags/{key}` and `POST /ofrep/v1/evaluate/flags`, as its own specification describes them."
    ),
    paths(
        flags::list, flags::create, flags::get, flags::replace, flags::delete, flags::set_enabled,
        rollouts::step, previews::preview, explain::explain, history::list, history::get, history::restore, history::diff,
        imports::export, imports::create,
        proposals::list, proposals::get, proposals::approve, proposals::reject,
        cohorts::list, cohorts::create, cohorts::get, cohorts::replace, cohorts::delete,
        cohort_ids::ids, cohort_ids::has, cohort_ids::add, cohort_ids::remove,
        cohort_uploads::replace, cohort_uploads::add, cohort_uploads::remove,
        cohort_staged::list, cohort_staged::get, cohort_staged::activate, cohort_staged::drop_one,
        cohort_generations::list, cohort_generations::get, cohort_generations::diff, cohort_generations::restore,
        installs::create, installs::replace, installs::delete, backfills::start_backfill, passes::start_repair, passes::start_verify,
        changes::list, changes::get, files::list, coverage::get, changes::set_stage, changes::assignments, assignments::assign_period, assignments::counts, assignments::at, assignments::move_many, assignments::split, assignments::query, assignments::group_history, changes::set_side,
        laws::gates, laws::last, laws::run,
        closings::close_periods, pauses::start_pause, pauses::end_pause, pauses::pending_keys, pauses::retry,
        reports::list, reports::run, reports::get, reports::sign, reports::standing, reports::exceptions, reports::difference, report_files::get, charges::explain,
        explanations::list, explanations::create, explanations::get, explanations::replace, explanations::withdraw, explanations::history,
        observations::post, observations::summary, observations::series, observations::samples, observations::rules, observations::create_rule, observations::replace_rule, observations::remove_rule,
        flag_observations::post, flag_observations::summary, flag_observations::series, flag_observations::samples, flag_observations::rules, flag_observations::create_rule, flag_observations::replace_rule, flag_observations::remove_rule,
        edge::ask, edges::list, edges::get, edges::set, edges::remove, edges::set_maintenance,
        jobs::list, jobs::get, jobs::cancel,
        worker_gates::list, worker_gates::get, worker_gates::set, worker_gates::remove, worker_gates::pause, worker_gates::resume,
        worker_gates::pause_all, worker_gates::resume_all,
        worker_leases::acquire, worker_leases::heartbeat, worker_leases::release,
        writes::schema, writes::run,
        tokens::list, tokens::create, tokens::get, tokens::revoke,
        audit::list, audit::verification,
        health::alive, health::ready, metrics::page, document, docs::page,
    ),
    modifiers(&Tokens),
    security(("bearer" = []), ("api_key" = []))
)]
struct Document;

/// The two ways to send a token.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components
            .add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))));
    }
}

/// The document itself.
#[must_use]
pub fn generate() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This API as an OpenAPI 3.1 document.
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(generate())
}
