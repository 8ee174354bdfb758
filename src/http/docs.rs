//! The API as a page that a person reads: made from the OpenAPI document, in one piece, with nothing from another host.

use actix_web::HttpResponse;
use askama::Template;
use serde_json::Value;

use super::openapi;
use super::problem::{Code, Problem};

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage {
    version: &'static str,
    groups: Vec<Group>,
    codes: &'static [Code],
}

struct Group {
    name: String,
    operations: Vec<Operation>,
}

struct Operation {
    method: String,
    path: String,
    summary: String,
    parameters: Vec<Parameter>,
    body: String,
    answers: String,
}

struct Parameter {
    name: String,
    place: String,
    description: String,
}

/// This API as a page.
#[utoipa::path(get, path = "/docs", tag = "server", responses((status = 200, description = "HTML", content_type = "text/html")))]
pub async fn page() -> Result<HttpResponse, Problem> {
    let document = serde_json::to_value(openapi::generate()).map_err(|error| Problem::internal(&error))?;
    let page = DocsPage { version: env!("CARGO_PKG_VERSION"), groups: groups(&document), codes: Code::ALL };
    let html = page.render().map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"))
        .body(html))
}

/// The operations by their tag, both in the order of the document.
fn groups(document: &Value) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (path, methods) in at(document, "/paths").as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let tag = text(at(operation, "/tags/0"));
            let operation = read(path, method, operation);
            match groups.iter_mut().find(|group| group.name == tag) {
                Some(group) => group.operations.push(operation),
                None => groups.push(Group { name: tag, operations: vec![operation] }),
            }
        }
    }
    groups
}

fn read(path: &str, method: &str, operation: &Value) -> Operation {
    let parameters = at(operation, "/parameters").as_array().into_iter().flatten().map(|parameter| Parameter {
        name: text(at(parameter, "/name")),
        place: text(at(parameter, "/in")),
        description: text(at(parameter, "/description")),
    });
    let content = at(operation, "/requestBody/content").as_object();
    let body = content.into_iter().flatten().map(|(kind, media)| match schema_name(media) {
        Some(name) => format!("{kind}: {name}"),
        None => kind.clone(),
    });
    let answers = at(operation, "/responses").as_object().into_iter().flatten().map(|(status, answer)| {
        let media = at(answer, "/content").as_object().and_then(|content| content.values().next());
        match media.and_then(schema_name) {
            Some(name) => format!("{status} {name}"),
            None => status.clone(),
        }
    });
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(at(operation, "/summary")),
        parameters: parameters.collect(),
        body: body.collect::<Vec<_>>().join(", "),
        answers: answers.collect::<Vec<_>>().join(" · "),
    }
}

fn schema_name(media: &Value) -> Option<String> {
    at(media, "/schema/$ref").as_str()?.rsplit('/').next().map(str::to_owned)
}

/// What stands at a JSON pointer; null if nothing does.
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
