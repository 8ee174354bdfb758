//! Questions and answers: one HTTP client that follows no redirects, keeps every byte, and describes what it asked without
//! ever naming a token.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::{Request, Uri};

use super::check::Unmet;
use super::flag_set;
use super::stream::Heard;

pub const BULK: &str = "/ofrep/v1/evaluate/flags";

/// The subject of most questions; one rule of the flag set names it.
pub const SUBJECT: &str = "conformance-user";

/// Longer answers are not read to their end.
const BODY_BYTES_MAX: u64 = 16 << 20;

const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// A server that limits the rate is waited for, so long and so often.
const PAUSE_SECONDS_MAX: u64 = 10;
const ATTEMPTS: usize = 4;

/// The server that is asked.
#[derive(Debug, Clone)]
pub struct Target {
    url: String,
    token: Option<String>,
    /// How many questions may be asked at once to meet its rate limit; with 0 it is not looked for.
    burst: u32,
}

/// A URL that names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no base URL that can be asked: write http://host:port or http://host/prefix, without /ofrep/v1; a server behind https \
     is asked from inside, or through a local forwarder"
)]
pub struct InvalidUrl(String);

impl Target {
    /// `url` is the base URL that a provider is given; the token is what it sends, if anything.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl(url.to_owned());
        let base = url.trim_end_matches('/');
        let parsed: Uri = base.parse().map_err(|_| invalid())?;
        let is_http = parsed.scheme_str() == Some("http");
        if !is_http || parsed.host().is_none() || parsed.query().is_some() || base.ends_with("/ofrep/v1") {
            return Err(invalid());
        }
        Ok(Self { url: base.to_owned(), token, burst: 0 })
    }

    /// Also asks so often at once that a rate limit below it answers 429.
    #[must_use]
    pub fn with_burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// How a question shows who asks.
#[derive(Debug, Clone, Copy)]
pub enum Credentials<'a> {
    /// As the run was told to: the token as a bearer, or nothing.
    Own,
    None,
    Bearer(&'a str),
    ApiKey(&'a str),
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub method: &'a str,
    /// Below the base URL, with a query.
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub credentials: Credentials<'a>,
    pub body: Option<&'a str>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The question, for people.
    pub asked: String,
    pub status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub body: String,
    /// The body, if it is JSON.
    pub json: Option<Value>,
}

/// One run's conversation with a server.
pub struct Session {
    agent: ureq::Agent,
    target: Target,
    /// Each `Retry-After` that came, with the question.
    pauses: RefCell<Vec<(String, Option<String>)>>,
    singles: OnceCell<Vec<(&'static str, Result<Reply, Unmet>)>>,
    stream: OnceCell<Result<(String, Heard), Unmet>>,
}

impl Session {
    pub fn new(target: Target) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_WAIT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("")
            .build();
        Self {
            agent: config.into(),
            target,
            pauses: RefCell::default(),
            singles: OnceCell::new(),
            stream: OnceCell::new(),
        }
    }

    pub fn url(&self) -> &str {
        self.target.url()
    }

    pub fn token(&self) -> Option<&str> {
        self.target.token.as_deref()
    }

    pub fn burst(&self) -> u32 {
        self.target.burst
    }

    pub fn pauses(&self) -> Vec<(String, Option<String>)> {
        self.pauses.borrow().clone()
    }

    /// Evaluates one flag.
    pub fn evaluate(&self, key: &str, context: &Value) -> Result<Reply, Unmet> {
        self.post(&single(key), &json!({ "context": context }))
    }

    /// Evaluates all flags.
    pub fn bulk(&self, context: &Value) -> Result<Reply, Unmet> {
        self.post(BULK, &json!({ "context": context }))
    }

    /// Evaluates all flags, unless the answer has one of these tags.
    pub fn bulk_unless(&self, query: &str, tags: &str, context: &Value) -> Result<Reply, Unmet> {
        let path = format!("{BULK}{query}");
        let body = json!({ "context": context }).to_string();
        let headers = [("content-type", "application/json"), ("if-none-match", tags)];
        let ask =
            Ask { method: "POST", path: &path, headers: &headers, credentials: Credentials::Own, body: Some(&body) };
        self.send(&ask)
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Reply, Unmet> {
        self.post_text(path, &body.to_string())
    }

    pub fn post_text(&self, path: &str, body: &str) -> Result<Reply, Unmet> {
        let headers = [("content-type", "application/json")];
        self.send(&Ask { method: "POST", path, headers: &headers, credentials: Credentials::Own, body: Some(body) })
    }

    /// Asks, and asks again after the pause that a rate limit demands.
    pub fn send(&self, ask: &Ask<'_>) -> Result<Reply, Unmet> {
        for _ in 1..ATTEMPTS {
            let reply = self.send_once(ask)?;
            let pause = reply.header("retry-after").and_then(|text| text.parse::<u64>().ok()).unwrap_or(1);
            if reply.status != 429 || pause > PAUSE_SECONDS_MAX {
                return Ok(reply);
            }
            thread::sleep(Duration::from_secs(pause.max(1)));
        }
        self.send_once(ask)
    }

    /// Asks once, whatever comes.
    pub fn send_once(&self, ask: &Ask<'_>) -> Result<Reply, Unmet> {
        let asked = ask.to_string();
        let silent = |error: ureq::Error| Unmet::Wrong { asked: asked.clone(), came: format!("no answer: {error}") };
        let request = self.request(ask).map_err(|error| silent(error.into()))?;
        let mut answer = match ask.body {
            Some(body) => self.agent.run(request.map(|()| body)),
            None => self.agent.run(request),
        }
        .map_err(silent)?;
        let body = answer.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec().map_err(silent)?;
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let json = serde_json::from_slice(&body).ok();
        let body = String::from_utf8_lossy(&body).into_owned();
        let reply = Reply { asked, status: answer.status().as_u16(), headers, body, json };
        if reply.status == 429 || reply.status == 503 {
            self.pauses.borrow_mut().push((reply.asked.clone(), reply.header("retry-after").map(str::to_owned)));
        }
        Ok(reply)
    }

    fn request(&self, ask: &Ask<'_>) -> Result<Request<()>, ureq::http::Error> {
        let mut request = Request::builder().method(ask.method).uri(format!("{}{}", self.target.url, ask.path));
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        let own = self.token().map_or(Credentials::None, Credentials::Bearer);
        let credentials = if let Credentials::Own = ask.credentials { own } else { ask.credentials };
        request = match credentials {
            Credentials::Bearer(token) => request.header("authorization", format!("Bearer {token}")),
            Credentials::ApiKey(token) => request.header("x-api-key", token),
            Credentials::Own | Credentials::None => request,
        };
        request.body(())
    }

    /// The answer to each flag of the set, asked for once for the run.
    pub fn singles(&self) -> &[(&'static str, Result<Reply, Unmet>)] {
        let context = json!({ "targetingKey": SUBJECT });
        let ask = |key| (key, self.evaluate(key, &context));
        self.singles.get_or_init(|| flag_set::keys().into_iter().map(ask).collect())
    }

    /// What the event stream at an address sent, listened to once for the run.
    pub fn stream(&self, listen: impl FnOnce() -> Result<(String, Heard), Unmet>) -> Result<(String, Heard), Unmet> {
        self.stream.get_or_init(listen).clone()
    }

    /// How many flags of the set the server has.
    pub fn find_flags(&self) -> usize {
        let is_found = |reply: &&Reply| reply.status == 200;
        self.singles().iter().filter_map(|(_, reply)| reply.as_ref().ok()).filter(is_found).count()
    }
}

/// The path of one flag's evaluation.
pub fn single(key: &str) -> String {
    format!("{BULK}/{key}")
}

impl fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (name, value) in self.headers.iter().filter(|(name, _)| *name != "content-type") {
            write!(f, " {name}: {value}")?;
        }
        match self.credentials {
            Credentials::Own => {}
            Credentials::None => write!(f, " without a token")?,
            Credentials::Bearer(_) => write!(f, " with Authorization: Bearer …")?,
            Credentials::ApiKey(_) => write!(f, " with X-API-Key: …")?,
        }
        match self.body {
            Some("") => write!(f, " with an empty body"),
            Some(body) => write!(f, " {}", shortened(body)),
            None => Ok(()),
        }
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A field of a body that is an object.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.json.as_ref()?.get(name)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.field(name)?.as_str()
    }

    /// The items of a bulk answer.
    pub fn items(&self) -> Result<&Vec<Value>, Unmet> {
        let items = self.field("flags").and_then(Value::as_array);
        items.filter(|_| self.status == 200).ok_or_else(|| self.wrong("no array `flags`"))
    }

    pub fn is_json(&self) -> bool {
        let kind = self.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
    }

    /// This answer breaks the rule.
    pub fn wrong(&self, what: impl fmt::Display) -> Unmet {
        let body = if self.body.is_empty() { "and no body".to_owned() } else { shortened(&self.body) };
        Unmet::Wrong { asked: self.asked.clone(), came: format!("{what}: {} {body}", self.status) }
    }

    pub fn has_status(&self, statuses: &[u16]) -> Result<&Self, Unmet> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        let wanted: Vec<String> = statuses.iter().map(u16::to_string).collect();
        Err(self.wrong(format!("status {} instead of {}", self.status, wanted.join(" or "))))
    }
}

/// A text on one line, cut where it gets long.
fn shortened(text: &str) -> String {
    let line = text.replace(['\n', '\r'], " ");
    let mut kept: String = line.chars().take(300).collect();
    if kept.len() < line.len() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_base_url_is_a_target() {
        for url in ["http://localhost:8080", "http://localhost:8080/", "http://flags.example/prefix/", "http://[::1]:1"]
        {
            assert!(Target::new(url, None).is_ok(), "{url}");
        }
        for url in [
            "",
            "localhost:8080",
            "ftp://x",
            "https://x",
            "http://",
            "http://x/?a=b",
            "http://x/ofrep/v1/",
            "http://a b",
        ] {
            assert!(Target::new(url, None).is_err(), "{url}");
        }
    }

    #[test]
    fn a_question_never_names_a_token() {
        for credentials in [Credentials::Own, Credentials::Bearer("secret"), Credentials::ApiKey("secret")] {
            let ask = Ask { method: "POST", path: BULK, headers: &[], credentials, body: Some("{}") };
            assert!(!ask.to_string().contains("secret"), "{ask}");
        }
    }
}
