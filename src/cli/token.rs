//! `changeover token`

use anyhow::{Context, bail};

use super::{Output, Settings, Why, table};
use crate::http::api::List;
use crate::http::api::tokens::{IssuedTokenAnswer, TokenAnswer};
use crate::primitives::Instant;
use crate::store::tokens::{self, Role, Token};
use crate::store::{PageRequest, Store};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a token and print it, this once
    Create {
        /// Who or what it is for; stands in the audit log as who did something
        name: String,
        /// evaluate, write, viewer or admin
        #[arg(long)]
        role: Role,
        /// When it ends: an instant such as 2027-01-01T00:00:00Z, or a span from now such as 30d or 12h [default: never]
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
        #[command(flatten)]
        why: Why,
    },
    /// List all tokens, without their secrets
    List,
    /// Revoke a token, for good
    Revoke {
        id: String,
        #[command(flatten)]
        why: Why,
    },
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let store = settings.open_store()?;
    match command {
        Command::Create { name, role, expires, why } => {
            let name = name.trim();
            if name.is_empty() || name.chars().any(char::is_control) {
                bail!("a token's name is a short text that says who or what it is for");
            }
            let expires = expires.map(|text| expiry(&text)).transpose()?;
            let issued = store.write(|conn| tokens::create(conn, name, role, expires, settings.origin(&why)))?;
            output.note("The token is shown only this once:");
            let text = issued.text.clone();
            output.result(&IssuedTokenAnswer::from(issued), &text);
        }
        Command::List => list(&store, output)?,
        Command::Revoke { id, why } => {
            let token = store.write(|conn| tokens::revoke(conn, &id, settings.origin(&why)))?;
            let text = format!("the token `{}` ({}) is revoked", token.name, token.id);
            output.result(&TokenAnswer::from(token), &text);
        }
    }
    Ok(0)
}

fn list(store: &Store, output: &Output) -> anyhow::Result<()> {
    let page = store.read(|conn| tokens::list(conn, &PageRequest::first()))?;
    let now: Instant = jiff::Timestamp::now().into();
    let rows = page.items.iter().map(|token| {
        vec![
            token.id.clone(),
            token.name.clone(),
            token.role.to_string(),
            state(token, now),
            token.created_at.to_string(),
            token.created_by.clone(),
        ]
    });
    let text = table(&["id", "name", "role", "state", "created", "by"], rows);
    if page.next.is_some() {
        output.note("Older tokens are not shown.");
    }
    output.result(&List::<TokenAnswer>::from(page), &text);
    Ok(())
}

fn state(token: &Token, now: Instant) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) if at <= now => format!("expired {at}"),
        (None, Some(at)) => format!("good until {at}"),
        (None, None) => String::from("good"),
    }
}

fn expiry(text: &str) -> anyhow::Result<Instant> {
    let now = jiff::Timestamp::now();
    let at = match Instant::parse(text) {
        Ok(instant) => instant,
        Err(_) => {
            let span: jiff::Span = text.parse().with_context(|| {
                format!("`{text}` is neither an instant such as 2027-01-01T00:00:00Z nor a span such as 30d or 12h")
            })?;
            now.to_zoned(jiff::tz::TimeZone::UTC)
                .checked_add(span)
                .context("--expires is too far away")?
                .timestamp()
                .into()
        }
    };
    if at <= Instant::from(now) {
        bail!("--expires is in the past");
    }
    Ok(at)
}
