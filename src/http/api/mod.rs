//! The administration API, one file a resource. Handlers read their input, call the store on a thread that may wait, and shape
//! the answer; they see neither pool nor SQL.

pub mod assignments;
pub mod audit;
pub mod backfills;
pub mod changes;
pub mod charges;
pub mod closings;
pub mod cohort_generations;
pub mod cohort_ids;
pub mod cohort_staged;
pub mod cohort_uploads;
pub mod cohorts;
pub mod coverage;
pub mod edges;
pub mod explain;
pub mod explanations;
pub mod files;
pub mod flag_observations;
pub mod flags;
pub mod history;
pub mod imports;
pub mod installs;
pub mod jobs;
pub mod laws;
pub mod observations;
mod observing;
pub mod passes;
pub mod pauses;
pub mod previews;
pub mod proposals;
pub mod report_files;
pub mod reports;
pub mod rollouts;
pub mod tokens;
pub mod worker_gates;
pub mod worker_leases;
pub mod writes;

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::etag;
use crate::store::Page;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    /// Send it as `after` for the next page; not there on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<S, T: From<S>> From<Page<S>> for List<T> {
    fn from(page: Page<S>) -> Self {
        Self { items: page.items.into_iter().map(T::from).collect(), next: page.next }
    }
}

/// 200 with the version as ETag.
fn versioned(version: i64, body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header(("ETag", etag::of(version))).json(body)
}

/// 201 with the version as ETag and where it is now.
fn created(version: i64, location: String, body: &impl Serialize) -> HttpResponse {
    HttpResponse::Created().insert_header(("ETag", etag::of(version))).insert_header(("Location", location)).json(body)
}
