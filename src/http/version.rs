//! Reading one's writes, whichever server answers: the answer to a write says which version of the configuration it is in, and a
//! request that names a version is answered when this server has it.

use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage, HttpResponse, ResponseError};

use super::auth::authenticate;
use super::ofrep;
use super::problem::{Code, Problem, shortened};
use super::state::AppState;

/// The version of the configuration: of a write in its answer, wanted at least in a request.
pub const VERSION: HeaderName = HeaderName::from_static("changeover-version");

/// The same in a query, for whoever cannot send headers.
const PARAMETER: &str = "min_version";

/// How long a request waits for the version that it names.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Waits for the version that a request names before it is answered, and names the version in the answer to a write.
pub async fn keep<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let Some(state) = request.app_data::<Data<AppState>>().cloned() else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    // A proxy passes on what visitors send: it means something else, and is not ours to wait for or to refuse.
    if request.path().starts_with("/edge/") {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    match wanted(&mut request) {
        Ok(None) => {}
        Ok(Some(version)) => {
            if !reached(&state, &request, version).await {
                let detail = format!(
                    "This server is at version {}, the request wants {version}: ask again, or ask another server.",
                    state.snapshot().version()
                );
                return Ok(refused(request, &Problem::new(Code::VersionNotReached, detail)));
            }
        }
        Err(problem) => return Ok(refused(request, &problem)),
    }
    let is_write = is_of_the_api(&request) && ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let began = state.now();
    let mut answer = next.call(request).await?.map_into_left_body();
    // Only a version that was read after the write began is sure to hold it.
    if is_write && answer.status().is_success() && state.memory().confirmed_at() >= began {
        answer.headers_mut().insert(VERSION, HeaderValue::from(state.snapshot().version()));
    }
    Ok(answer)
}

/// The version that the header or the query names. The parameter is taken out of the query: handlers refuse what they do not know.
fn wanted(request: &mut ServiceRequest) -> Result<Option<i64>, Problem> {
    if let Some(value) = request.headers().get(VERSION) {
        let text = value.to_str().unwrap_or("…");
        return parse(text).map(Some).ok_or_else(|| {
            let detail = format!("`Changeover-Version: {}` is not a version: send one as it came.", shortened(text));
            Problem::new(Code::InvalidHeader, detail)
        });
    }
    if !request.query_string().contains(PARAMETER) {
        return Ok(None);
    }
    let is_ours = |pair: &&str| pair.split('=').next() == Some(PARAMETER);
    let Some(pair) = request.query_string().split('&').find(is_ours).map(str::to_owned) else { return Ok(None) };
    let rest: Vec<&str> = request.query_string().split('&').filter(|pair| !is_ours(pair)).collect();
    let uri = without_parameter(request.uri(), &rest.join("&"));
    let text = pair.split_once('=').map_or("", |(_, text)| text);
    let version = parse(text).ok_or_else(|| {
        let detail = format!("`min_version={}` is not a version: a whole number.", shortened(text));
        Problem::new(Code::InvalidQuery, detail)
    })?;
    if let Some(uri) = uri {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
    Ok(Some(version))
}

fn parse(text: &str) -> Option<i64> {
    text.trim().trim_matches('"').parse().ok().filter(|version| *version >= 0)
}

fn without_parameter(uri: &Uri, query: &str) -> Option<Uri> {
    let path_and_query = if query.is_empty() { uri.path().to_owned() } else { format!("{}?{query}", uri.path()) };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// True as soon as memory has that version. Who has no token is not waited for: the answer is 401 at once.
async fn reached(state: &AppState, request: &ServiceRequest, version: i64) -> bool {
    if state.snapshot().version() >= version || authenticate(request.request()).is_err() {
        return true;
    }
    let mut newest = state.memory().subscribe();
    matches!(tokio::time::timeout(WAIT_MAX, newest.wait_for(|newest| *newest >= version)).await, Ok(Ok(_)))
}

fn is_of_the_api(request: &ServiceRequest) -> bool {
    request.path().starts_with("/api/")
}

/// The problem, in OFREP's shape where OFREP was asked.
fn refused<B: MessageBody>(request: ServiceRequest, problem: &Problem) -> ServiceResponse<EitherBody<B>> {
    if !request.path().starts_with("/ofrep/") {
        return request.into_response(problem.error_response()).map_into_right_body();
    }
    let answer = ofrep::refused(problem.code().status().as_u16(), None, &problem.to_string());
    let mut response = HttpResponse::build(problem.code().status());
    if problem.code().status() == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header((RETRY_AFTER, "1"));
    }
    response.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*")).content_type("application/json");
    request.into_response(response.body(answer.body)).map_into_right_body()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn asked(uri: &str) -> (Option<Option<i64>>, String) {
        let mut request = TestRequest::with_uri(uri).to_srv_request();
        let version = wanted(&mut request).ok();
        (version, request.uri().to_string())
    }

    #[test]
    fn the_parameter_is_read_and_taken_out() {
        for (uri, version, rest) in [
            ("/a?x=1", None, "/a?x=1"),
            ("/a?min_version=7", Some(7), "/a"),
            ("/a?x=1&min_version=7&y=2", Some(7), "/a?x=1&y=2"),
            ("/a?my_min_version=7", None, "/a?my_min_version=7"),
        ] {
            assert_eq!(asked(uri), (Some(version), rest.to_owned()), "{uri}");
        }
        for uri in ["/a?min_version=", "/a?min_version=x", "/a?min_version=-1"] {
            assert_eq!(asked(uri).0, None, "{uri}");
        }
        let mut request = TestRequest::with_uri("/a").insert_header((VERSION, "12")).to_srv_request();
        assert_eq!(wanted(&mut request).unwrap(), Some(12));
        let mut request = TestRequest::with_uri("/a").insert_header((VERSION, "twelve")).to_srv_request();
        assert_eq!(wanted(&mut request).unwrap_err().code(), Code::InvalidHeader);
    }
}
