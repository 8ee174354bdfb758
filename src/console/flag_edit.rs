//! `/console/new-flag` and `/console/flags/{key}/edit`: a flag made by a short form or written as JSON. Mistakes are told with their places;
//! what differs and who would move is seen before anything is written, and what is written is what was seen.

use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;
use serde_json::{Value, json};

use super::flag_facts::{Known, moves};
use super::flag_look::{Look, Whom, look};
use super::flag_write::{Confirm, Typed, write};
use super::form::{Fields, Sent};
use super::page::{Frame, html_with};
use super::session::{Member, Signed};
use crate::database::DatabaseConnection;
use crate::flags::words::{change_text, in_short};
use crate::flags::{Flag, FlagDraft, FlagMistake, InvalidFlag, differences};
use crate::http::AppState;
use crate::http::auth::Admin;
use crate::http::problem::{Code, Problem};
use crate::primitives::FlagKey;
use crate::store::Origin;
use crate::store::flags::{self, FlagWrite};
use crate::store::protection::Authority;

/// Where the JSON of a new flag begins.
const EXAMPLE: &str = r#"{
  "key": "new-player",
  "type": "string",
  "description": "",
  "variants": { "classic": "classic", "modern": "modern" },
  "default_variant": "classic",
  "off_variant": "classic",
  "rules": [
    { "clauses": [{ "attribute": "plan", "operator": "in", "values": ["pro"] }], "serve": { "variant": "modern" } }
  ]
}"#;

/// How a new flag is to be written.
#[derive(Deserialize)]
pub struct How {
    #[serde(default, rename = "as")]
    form: String,
}

#[derive(Template)]
#[template(path = "console/flag_edit.html")]
struct EditPage {
    frame: Frame,
    /// Of a flag that is there already.
    key: Option<String>,
    version: String,
    /// The short form; otherwise JSON.
    is_short: bool,
    short: Short,
    json: String,
    mistakes: Vec<FlagMistake>,
    seen: Option<Seen>,
    confirm: Confirm,
}

/// What the short form has in it.
#[derive(Default)]
struct Short {
    key: String,
    description: String,
    on: String,
    off: String,
    is_on: bool,
}

/// What would be written.
struct Seen {
    key: String,
    serves: String,
    changes: Vec<String>,
    told: Vec<String>,
    look: Look,
}

/// What a form is shown with.
struct Draft {
    key: Option<FlagKey>,
    /// The version that was seen, as the form says it.
    version: String,
    is_short: bool,
    short: Short,
    json: String,
    /// True once somebody has asked what it would do.
    is_asked: bool,
}

/// The form that makes a flag.
pub async fn new_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    how: Query<How>,
) -> Result<HttpResponse, Problem> {
    let draft = Draft {
        key: None,
        version: String::new(),
        is_short: how.form != "json",
        short: Short { on: String::from("on"), off: String::from("off"), ..Short::default() },
        json: EXAMPLE.to_owned(),
        is_asked: false,
    };
    answer(&request, &member.signed, &state, draft, Typed::default()).await
}

/// Makes a flag, or tells what it would be.
pub async fn create(request: HttpRequest, sent: Sent<Admin>, state: Data<AppState>) -> Result<HttpResponse, Problem> {
    let is_short = sent.fields.raw("as") == "short";
    let short = Short::sent(&sent.fields);
    let json = if is_short { short.json() } else { sent.fields.raw("json").to_owned() };
    let draft = Draft { key: None, version: String::new(), is_short, short, json, is_asked: !is_short };
    run(request, sent, state, draft).await
}

/// The flag as JSON.
pub async fn edit_page(
    request: HttpRequest,
    member: Member<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
) -> Result<HttpResponse, Problem> {
    let key = key.into_inner();
    let asked = key.clone();
    let known = state.blocking(move |state| Known::get(state, &asked)).await?;
    let json = serde_json::to_string_pretty(&known.flag.to_draft()).map_err(|error| Problem::internal(&error))?;
    let version = known.stored.version.to_string();
    let draft = Draft { key: Some(key), version, is_short: false, short: Short::default(), json, is_asked: false };
    answer(&request, &member.signed, &state, draft, Typed::default()).await
}

/// Replaces the flag, or tells what would differ.
pub async fn replace(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    key: Path<FlagKey>,
) -> Result<HttpResponse, Problem> {
    let (version, json) = (sent.fields.raw("version").to_owned(), sent.fields.raw("json").to_owned());
    let key = Some(key.into_inner());
    run(request, sent, state, Draft { key, version, is_short: false, short: Short::default(), json, is_asked: true })
        .await
}

async fn run(
    request: HttpRequest,
    sent: Sent<Admin>,
    state: Data<AppState>,
    draft: Draft,
) -> Result<HttpResponse, Problem> {
    if sent.fields.raw("do") != "write" {
        return answer(&request, sent.signed(), &state, draft, Typed::default()).await;
    }
    let outcome = match parsed(&draft) {
        Ok(flag) => {
            let (key, seen) = (flag.key().clone(), draft.version.parse::<i64>().ok());
            let is_new = draft.key.is_none();
            if !is_new && seen.is_none() {
                let detail = "The form says no version of the flag: open its page again.";
                return Err(Problem::new(Code::InvalidValue, detail));
            }
            let work = move |conn: &mut DatabaseConnection, authority: Authority, origin: Origin<'_>| {
                let data = flags::json_of(&flag)?;
                let write = if is_new { FlagWrite::Create(&data) } else { FlagWrite::Replace { data: &data, seen } };
                flags::write(conn, flag.key(), write, authority, origin)
            };
            write(&request, &sent, &state, (&key, if is_new { "created" } else { "edited" }), work).await
        }
        Err(invalid) => Err(invalid.into()),
    };
    match outcome {
        Ok(done) => Ok(done),
        Err(problem) => {
            let typed = Typed::refused(&sent.fields, problem);
            answer(&request, sent.signed(), &state, draft, typed).await
        }
    }
}

/// The flag that is written there. It keeps its key.
fn parsed(draft: &Draft) -> Result<Flag, InvalidFlag> {
    let flag = Flag::parse(&draft.json)?;
    match &draft.key {
        Some(key) if flag.key() != key => {
            let what = format!("is `{}`, but a flag keeps its key: `{key}`", flag.key());
            Err(InvalidFlag { mistakes: vec![FlagMistake { at: String::from("key"), what }] })
        }
        _ => Ok(flag),
    }
}

impl Short {
    fn sent(fields: &Fields) -> Self {
        let raw = |name: &str| fields.raw(name).trim().to_owned();
        Self {
            key: raw("key"),
            description: raw("description"),
            on: raw("on"),
            off: raw("off"),
            is_on: fields.raw("serves") == "on",
        }
    }

    fn json(&self) -> String {
        let default = if self.is_on { &self.on } else { &self.off };
        // By hand: one name for both variants is a mistake that is to be told, not a map with one entry.
        let text = |text: &str| Value::from(text).to_string();
        let variants = format!("{{{}: true, {}: false}}", text(&self.on), text(&self.off));
        let rest = json!({ "key": self.key, "description": self.description, "type": "boolean",
            "default_variant": default, "off_variant": self.off })
        .to_string();
        format!("{{\"variants\": {variants}, {}", rest.trim_start_matches('{'))
    }
}

fn see(state: &AppState, draft: &Draft, flag: &Flag) -> Result<Seen, Problem> {
    let known = match &draft.key {
        Some(key) => Some(Known::get(state, key)?),
        None => None,
    };
    let json = |flag: &FlagDraft| serde_json::to_value(flag).unwrap_or_default();
    let before = known.as_ref().map(|known| json(&known.flag.to_draft()));
    let as_is = known.as_ref().map_or(flag, |known| &known.flag);
    Ok(Seen {
        key: flag.key().to_string(),
        serves: in_short(flag),
        changes: differences(before.as_ref(), Some(&json(&flag.to_draft()))).iter().map(change_text).collect(),
        told: state.store().read(|conn| moves(conn, flag.key(), Some(flag)))?,
        look: look(state, as_is, known.is_some().then_some(flag), &Whom::default()),
    })
}

async fn answer(
    request: &HttpRequest,
    signed: &Signed,
    state: &Data<AppState>,
    draft: Draft,
    typed: Typed,
) -> Result<HttpResponse, Problem> {
    let read = state.blocking(move |state| {
        let protecting = match &draft.key {
            Some(key) => Some(Known::get(state, key)?.flag),
            None => None,
        };
        let (seen, mistakes) = match (draft.is_asked, parsed(&draft)) {
            (false, _) => (None, Vec::new()),
            (true, Ok(flag)) => (Some(see(state, &draft, &flag)?), Vec::new()),
            (true, Err(invalid)) => (None, invalid.mistakes),
        };
        Ok((draft, protecting, seen, mistakes))
    });
    let (draft, protecting, seen, mistakes) = read.await?;
    let mut status = typed.status();
    if status.is_success() && !mistakes.is_empty() {
        status = Problem::new(Code::InvalidFlag, "").status_code();
    }
    let title = draft.key.as_ref().map_or_else(|| String::from("Make a flag"), |key| format!("Edit: {key}"));
    let page = EditPage {
        frame: Frame::new(request, title, signed),
        key: draft.key.map(|key| key.to_string()),
        version: draft.version,
        is_short: draft.is_short,
        short: draft.short,
        json: draft.json,
        mistakes,
        seen,
        confirm: typed.confirm(protecting.as_ref()),
    };
    html_with(&page, status)
}
