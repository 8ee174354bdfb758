//! What OFREP needs of the server: the snapshot, the caller's leave, the side of a change's flag, and a count.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, ResponseError};

use super::auth::authenticate;
use super::ofrep::{Denied, Host};
use super::state::AppState;
use crate::flags::{Context, Evaluation, Failure, Served, Snapshot, SnapshotFlag, Why};
use crate::primitives::{ChangeName, Instant, Period};
use crate::routing::{Question, RoutingError, Side};
use crate::translation::TranslationError;

impl Host for AppState {
    fn snapshot(&self) -> Arc<Snapshot> {
        Self::snapshot(self)
    }

    fn now(&self) -> Instant {
        Self::now(self)
    }

    fn authorize(&self, request: &HttpRequest) -> Result<(), Denied> {
        // Every role covers evaluation.
        authenticate(request).map(drop).map_err(|problem| Denied {
            status: problem.status_code(),
            details: problem.to_string(),
            retry_after: problem.retry_after().map(Duration::from_secs),
        })
    }

    /// The side of the user's group. Where it cannot be told the answer is a failure, never a guess: `old` for a user who is
    /// billed by the new model would be as wrong as the other way round.
    fn route<'s>(
        &self,
        snapshot: &Snapshot,
        flag: &'s SnapshotFlag,
        change: &ChangeName,
        context: &Context,
    ) -> Evaluation<'s> {
        let key = flag.flag().key();
        let Some(user) = context.targeting_key() else {
            return Evaluation::Failed(Failure::TargetingKeyMissing { flag: key.to_string() });
        };
        let at = self.now();
        let question = Question { change, user, period: Period::containing(at), actor: "ofrep", at };
        let (side, why) = match self.router().side_of_user(snapshot, &question) {
            Ok(answer) => (answer.side, answer.because.why()),
            Err(error) => match root(&error) {
                // A change that is not installed is before `live`, where everybody is on the old side.
                RoutingError::NotInstalled(_) | RoutingError::Translation(TranslationError::NotInstalled { .. }) => {
                    (Side::Old, Why::BeforeLive)
                }
                error => return Evaluation::Failed(failure(error)),
            },
        };
        match flag.flag().find_variant(side.as_str()) {
            Some(variant) => Evaluation::Served(Served { flag, variant, why }),
            None => Evaluation::Failed(Failure::General(format!("`{key}` has no variant `{side}`"))),
        }
    }

    fn count(&self, flag: &SnapshotFlag, evaluation: &Evaluation<'_>, took: Duration) {
        let variant = match evaluation {
            Evaluation::Served(served) => served.variant.name.as_str(),
            Evaluation::Failed(_) => "(failed)",
        };
        self.metrics().evaluated(flag.flag().key().as_str(), variant, took);
    }
}

/// The error itself, where several questions waited for one answer.
fn root(error: &RoutingError) -> &RoutingError {
    match error {
        RoutingError::Shared(error) => root(error),
        error => error,
    }
}

/// What is wrong with the configuration the caller may read; what is wrong with the database stands in the log.
fn failure(error: &RoutingError) -> Failure {
    tracing::warn!(%error, "a user's side cannot be told");
    Failure::General(match error {
        RoutingError::Database(_) | RoutingError::Translation(_) => {
            String::from("the side of the user's group cannot be told now: the server's log says why")
        }
        other => other.to_string(),
    })
}
