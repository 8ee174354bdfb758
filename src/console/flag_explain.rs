//! `/console/flags/{key}/explain`: why a user gets what he gets, now or as of an earlier version, in words. Nothing is recorded by asking.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use serde::Deserialize;
use serde_json::Value;

use super::page::{Frame, html_with};
use super::session::Member;
use super::words::in_address;
use crate::flags::{Context, TARGETING_KEY};
use crate::http::AppState;
use crate::http::api::explain::{ExplainAnswer, Explaining, explained};
use crate::http::auth::Viewer;
use crate::http::problem::{Code, Problem};
use crate::primitives::{FlagKey, Period};
use crate::routing::{ToldLine, told};
use crate::store::as_of;

/// What is asked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    user: String,
    /// Attributes as a JSON object.
    context: String,
    version: String,
    period: String,
}

#[derive(Template)]
#[template(path = "console/flag_explain.html")]
struct ExplainPage {
    frame: Frame,
    key: String,
    asked: Asked,
    is_change: bool,
    answer: Option<AnswerShown>,
    error: Option<String>,
}

struct AnswerShown {
    /// The variant, or the code of an error.
    variant: String,
    value: Option<String>,
    sentence: String,
    /// Of a change's flag: the group.
    group: Option<Group>,
    lines: Vec<LineShown>,
    /// The tags after the last line.
    end: String,
}

struct Group {
    change: String,
    id: String,
    /// As an address has it.
    place: String,
}

/// A line in lists within lists, with the tags that open and close them before it.
struct LineShown {
    tags: String,
    text: String,
}

/// The form, and the answer if somebody is asked about.
pub async fn page(
    request: HttpRequest,
    member: Member<Viewer>,
    state: Data<AppState>,
    key: Path<FlagKey>,
    asked: Query<Asked>,
) -> Result<HttpResponse, Problem> {
    let (key, asked) = (key.into_inner(), asked.into_inner());
    let frame = Frame::new(&request, format!("Why: {key}"), &member.signed);
    let is_change = state.snapshot().find_flag(key.as_str()).is_some_and(|flag| flag.flag().change().is_some());
    let is_asked = !(asked.user.trim().is_empty() && asked.context.trim().is_empty());
    let (wish, wished) = (asked.clone(), key.clone());
    let answer = if is_asked {
        state.blocking(move |state| Ok(answer(state, &wished, &wish))).await?.map(Some)
    } else {
        Ok(None)
    };
    let (answer, error, status) = match answer {
        Ok(answer) => (answer, None, StatusCode::OK),
        Err(problem) if problem.code() == Code::FlagNotFound && asked.version.trim().is_empty() => return Err(problem),
        Err(problem) => (None, Some(problem.detail().to_owned()), problem.status_code()),
    };
    let page = ExplainPage { frame, key: key.to_string(), asked, is_change, answer: answer.map(shown), error };
    html_with(&page, status)
}

fn answer(state: &AppState, key: &FlagKey, asked: &Asked) -> Result<ExplainAnswer, Problem> {
    let context = asked.context()?;
    let asking = Explaining { context: &context, at: state.now(), period: asked.period()? };
    match asked.version()? {
        Some(version) => {
            let past = state.store().read(|conn| as_of(conn, version, key))?;
            explained(&past, state.router(), key, asking)
        }
        None => explained(&state.snapshot(), state.router(), key, asking),
    }
}

impl Asked {
    fn context(&self) -> Result<Context, Problem> {
        let invalid = |detail: String| Problem::new(Code::InvalidValue, detail);
        let text = Some(self.context.trim()).filter(|text| !text.is_empty()).unwrap_or("{}");
        let mut value: Value = serde_json::from_str(text)
            .map_err(|error| invalid(format!("What else is known of the user is not JSON: {error}.")))?;
        let user = self.user.trim();
        if let (false, Some(object)) = (user.is_empty(), value.as_object_mut()) {
            object.insert(TARGETING_KEY.to_owned(), Value::from(user));
        }
        Context::from_json(value).map_err(|error| invalid(format!("{error}.")))
    }

    fn version(&self) -> Result<Option<i64>, Problem> {
        let text = self.version.trim();
        let refused = || Problem::new(Code::InvalidValue, format!("`{text}` is not a version: write its number."));
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| refused()) }
    }

    fn period(&self) -> Result<Option<Period>, Problem> {
        let text = self.period.trim();
        let refused = |error| Problem::new(Code::InvalidValue, format!("{error}."));
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(refused) }
    }
}

fn shown(answer: ExplainAnswer) -> AnswerShown {
    let lines = told(&answer.trace, answer.routing.as_ref());
    let sentence = answer.routing.as_ref().map_or(&answer.trace.sentence, |routing| &routing.sentence).clone();
    let group = answer.routing.as_ref().and_then(|routing| {
        let id = routing.group.as_ref()?.to_string();
        Some(Group { change: routing.change.to_string(), place: in_address(&id), id })
    });
    let trace = answer.trace;
    let mut depth = 0;
    let mut shown = Vec::new();
    // The first line is the answer itself.
    for ToldLine { depth: wanted, text } in lines.into_iter().skip(1) {
        let tags = if wanted > depth {
            String::from("<ul><li>")
        } else {
            format!("</li>{}<li>", "</ul></li>".repeat(depth - wanted))
        };
        shown.push(LineShown { tags, text });
        depth = wanted;
    }
    let end = if depth == 0 { String::new() } else { format!("{}</li></ul>", "</li></ul>".repeat(depth - 1)) };
    AnswerShown {
        variant: trace.variant.or(trace.error_code.map(str::to_owned)).unwrap_or_default(),
        value: trace.value.map(|value| value.to_string()),
        sentence,
        group,
        lines: shown,
        end,
    }
}
