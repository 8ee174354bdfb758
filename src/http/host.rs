//! What OFREP needs of the server: the snapshot, the caller's leave, the side of a change's flag, and a count.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, ResponseError};
use prometheus::IntCounter;
use tokio::sync::watch;

use super::auth::{checked, refused, sentence, token_text, within_limit};
use super::events::Streams;
use super::ofrep::{Denied, Host, Prepared, offer, query_value};
use super::problem::Problem;
use super::state::AppState;
use crate::flags::{Context, Evaluation, Failure, Served, Snapshot, SnapshotFlag, Why};
use crate::primitives::{ChangeName, Instant};
use crate::routing::{Question, RoutingError, Side};
use crate::store::tokens::{Refusal, token_id};
use crate::translation::TranslationError;

impl Host for AppState {
    fn prepared(&self) -> Arc<Prepared> {
        Self::prepared(self)
    }

    fn versions(&self) -> watch::Receiver<i64> {
        self.memory().subscribe()
    }

    fn now(&self) -> Instant {
        Self::now(self)
    }

    fn stale_since(&self, now: Instant) -> Option<Instant> {
        let freshness = self.memory().freshness(now);
        freshness.is_stale.then_some(freshness.confirmed_at)
    }

    fn authorize(&self, request: &HttpRequest) -> Result<(), Denied> {
        // Every role covers evaluation.
        checked(request, |_| ()).map_err(|problem| denied(&problem))
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
        let question = Question { change, user, period: None, actor: "ofrep", at };
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

    fn counter(&self, flag: &str, variant: &str) -> IntCounter {
        self.metrics().evaluations(flag, variant)
    }

    fn took(&self, took: Duration) {
        self.metrics().evaluated(took);
    }

    fn streams(&self) -> Option<&Arc<Streams>> {
        let streams = Self::streams(self);
        (streams.settings.streams_max > 0).then_some(streams)
    }

    fn offer(&self, request: &HttpRequest) -> Option<String> {
        let settings = &Host::streams(self)?.settings;
        let token = self.memory().keyring().sign_stream(token_id(token_text(request)?)?, self.now())?;
        let prefix = self.limits().forwarded_prefix(request).unwrap_or_default();
        Some(offer(settings.public_url.as_deref(), prefix, &token))
    }

    /// By the token in the URL, or by the API token itself where a client can send it.
    fn authorize_stream(&self, request: &HttpRequest) -> Result<String, Denied> {
        let Some(text) = query_value(request.query_string(), "token") else {
            return checked(request, |token| token.id.clone()).map_err(|problem| denied(&problem));
        };
        let keyring = self.memory().keyring();
        let token = match keyring.check_stream(&text, self.now()) {
            Ok(token) => token,
            // It was ours: that is no guess at a token.
            Err(Refusal::Expired) => {
                let details = "the stream's token has expired: ask for all flags, and connect to the stream that the answer names";
                let status = StatusCode::UNAUTHORIZED;
                return Err(Denied { status, details: details.to_owned(), retry_after: None });
            }
            Err(refusal) => return Err(denied(&refused(self, request, sentence(refusal)))),
        };
        within_limit(self, token).map_err(|problem| denied(&problem))?;
        Ok(token.id.clone())
    }

    fn is_stream_allowed(&self, token_id: &str) -> bool {
        self.memory().keyring().check_id(token_id, self.now()).is_ok()
    }
}

fn denied(problem: &Problem) -> Denied {
    let retry_after = problem.retry_after().map(Duration::from_secs);
    Denied { status: problem.status_code(), details: problem.to_string(), retry_after }
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
