//! Does a server speak the OpenFeature Remote Evaluation Protocol as real providers need it? Checks that ask any server by
//! its URL, and say for each what was asked, what came and what the rule is.
//!
//! | file | owns |
//! |---|---|
//! | `check` | what a check is, and how it may end |
//! | `checks` | all of them, a file for each subject |
//! | `client` | questions and answers, byte for byte |
//! | `flag_set` | the flags that the checks ask for, in our form and in flagd's |
//! | `setup` | creating and removing them on a Changeover server |
//! | `stream` | reading server-sent events |
//!
//! Everything goes over HTTP; it knows nothing of how this server works inside.

mod check;
mod checks;
mod client;
pub mod flag_set;
mod setup;
mod stream;

use serde_json::json;

pub use check::{Check, Level, Outcome, Report, Verdict};
pub use checks::all;
pub use client::{InvalidUrl, Target};
pub use setup::{SetupError, create_flags, remove_flags};

use check::Unmet;
use client::Session;

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    #[error("{url} does not answer: {why}; see that the server runs and that the URL is its base, without /ofrep/v1")]
    Unreachable { url: String, why: String },
    #[error("{url} refuses the token ({status}): give one that may evaluate flags with --token")]
    Refused { url: String, status: u16 },
    #[error("{url} answers POST {path} with {status}: it does not seem to speak OFREP there")]
    NotOfrep { url: String, path: &'static str, status: u16 },
    #[error(
        "{url} has none of the flags that the checks ask for: print them with --print-flags json or flagd and give them to \
         the server, or create them on a Changeover server with --setup --admin-token"
    )]
    NoFlags { url: String },
}

/// Runs every check against a server, one after the other; `told` hears of each as it ends.
pub fn run(target: Target, told: &mut dyn FnMut(&Outcome)) -> Result<Report, CannotRun> {
    let session = Session::new(target);
    see_that_it_answers(&session)?;
    let mut outcomes = Vec::new();
    for check in all() {
        let verdict = match (check.run)(&session) {
            Ok(()) => Verdict::Passed,
            Err(Unmet::NotOffered(why)) => Verdict::NotOffered { why },
            Err(Unmet::Wrong { asked, came }) => Verdict::Failed { asked, came },
        };
        let outcome = Outcome { id: check.id, level: check.level, rule: check.rule, verdict };
        told(&outcome);
        outcomes.push(outcome);
    }
    Ok(Report { url: session.url().to_owned(), checks: outcomes })
}

fn see_that_it_answers(session: &Session) -> Result<(), CannotRun> {
    let url = session.url().to_owned();
    let first = session.post(client::BULK, &json!({"context": {}}));
    let status = match first {
        Ok(reply) => reply.status,
        Err(why) => return Err(CannotRun::Unreachable { url, why: why.came() }),
    };
    match status {
        401 | 403 => return Err(CannotRun::Refused { url, status }),
        // A server may lack bulk evaluation, or want a targeting key; then the flags below tell.
        404 | 405 if session.find_flags() == 0 => {
            return Err(CannotRun::NotOfrep { url, path: client::BULK, status });
        }
        _ => {}
    }
    if session.find_flags() == 0 { Err(CannotRun::NoFlags { url }) } else { Ok(()) }
}
