//! `changeover flag explain`: a trace that can be read out to whoever asks why.

use anyhow::Context as _;
use serde_json::Value;

use super::{Output, Settings};
use crate::flags::{Context, TARGETING_KEY};
use crate::http::api::explain::{Explaining, explained};
use crate::primitives::{FlagKey, Instant, Period};
use crate::routing::{Router, told};
use crate::store::{Memory, Store, as_of};

#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    key: FlagKey,
    /// The subject's id
    #[arg(long, alias = "targeting-key", value_name = "ID")]
    user: Option<String>,
    /// Attributes as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    context: String,
    /// As of this version of the configuration, as `flag history` lists them [default: the newest]
    #[arg(long, value_name = "VERSION")]
    as_of: Option<i64>,
    /// When it is asked, for schedules, such as 2027-01-01T00:00:00Z [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Instant>,
    /// Of a change's flag: the period, as YYYY-MM [default: the one that it is asked in]
    #[arg(long, value_name = "PERIOD")]
    period: Option<Period>,
}

fn instant(text: &str) -> Result<Instant, String> {
    Instant::parse(text).map_err(|_| format!("`{text}` is not an instant such as 2027-01-01T00:00:00Z"))
}

pub fn run(settings: &Settings, output: &Output, store: Store, arguments: &Arguments) -> anyhow::Result<()> {
    let context = context_of(arguments.user.as_deref(), &arguments.context)?;
    let now = jiff::Timestamp::now().into();
    let asked = Explaining { context: &context, at: arguments.at.unwrap_or(now), period: arguments.period };
    // The application's database is asked only if a change is routed.
    let app = settings.open_app_database().or_else(|_| Ok::<_, anyhow::Error>(store.database().clone()))?;
    let router = Router::new(app);
    let answer = match arguments.as_of {
        Some(version) => {
            let past = store.read(|conn| as_of(conn, version, &arguments.key))?;
            explained(&past, &router, &arguments.key, asked)?
        }
        None => explained(&Memory::load(store)?.snapshot(), &router, &arguments.key, asked)?,
    };
    let lines = told(&answer.trace, answer.routing.as_ref());
    let lines: Vec<String> = lines.iter().map(|line| format!("{}{}", "  ".repeat(line.depth), line.text)).collect();
    output.result(&answer, &lines.join("\n"));
    Ok(())
}

fn context_of(user: Option<&str>, attributes: &str) -> anyhow::Result<Context> {
    let mut value: Value = serde_json::from_str(attributes).context("--context is not JSON")?;
    if let (Some(key), Some(object)) = (user, value.as_object_mut()) {
        object.insert(TARGETING_KEY.to_owned(), Value::from(key));
    }
    Ok(Context::from_json(value)?)
}
