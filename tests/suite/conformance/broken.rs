//! Each kind of broken server fails exactly the checks that are about it, and no other.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use changeover::conformance::{Level, Outcome, Report, Target, create_flags, run};
use serde_json::{Value, json};

use super::proxy::{Question, Reply, Spoil, start};
use crate::support::{Server, TestDatabase};

/// How a server is broken, and what that fails.
struct Broken {
    name: &'static str,
    fails: &'static [&'static str],
    spoil: Box<Spoil>,
}

/// Spoils answers by looking at them.
fn spoilt(name: &'static str, fails: &'static [&'static str], spoil: fn(&Question, &mut Reply)) -> Broken {
    let spoil = move |question: &Question, ask: &dyn Fn(&Question) -> Reply| {
        let mut reply = ask(question);
        spoil(question, &mut reply);
        reply
    };
    Broken { name, fails, spoil: Box::new(spoil) }
}

/// Spoils questions before they arrive.
fn misheard(name: &'static str, fails: &'static [&'static str], spoil: fn(&mut Question)) -> Broken {
    let spoil = move |question: &Question, ask: &dyn Fn(&Question) -> Reply| {
        let mut question = question.clone();
        spoil(&mut question);
        ask(&question)
    };
    Broken { name, fails, spoil: Box::new(spoil) }
}

/// Changes every answer to a flag, alone or among all.
fn edit(reply: &mut Reply, change: impl Fn(&mut Value)) {
    let Ok(mut body) = serde_json::from_str::<Value>(&reply.body) else { return };
    match body.get_mut("flags").and_then(Value::as_array_mut) {
        Some(items) => items.iter_mut().for_each(&change),
        None => change(&mut body),
    }
    reply.body = body.to_string();
}

fn remove(item: &mut Value, name: &str) {
    item.as_object_mut().unwrap().shift_remove(name);
}

fn is_success(item: &Value) -> bool {
    item.get("value").is_some()
}

#[test]
fn each_fault_fails_its_checks_and_no_other() {
    let database = TestDatabase::sqlite();
    // Eight runs at once ask with wrong tokens from one address.
    let server = Server::start_with(&database, |command| command.args(["--auth-failures-per-second", "0"]));
    let token = server.admin_token();
    create_flags(&Target::new(server.url(), None).unwrap(), &token).unwrap();
    let faults = values().into_iter().chain(errors()).chain(tags()).chain(access(&token)).chain(limits());
    let faults: Vec<Broken> = faults.chain(streams(&token)).collect();
    let waiting = Mutex::new(faults);
    let (seen, wrong) = (Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
    // Most of a run is waiting for a stream or a pause.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(broken) = { waiting.lock().unwrap().pop() } {
                    let url = start(server.url(), broken.spoil);
                    let report = run(Target::new(&url, Some(token.clone())).unwrap(), &mut |_| {}).unwrap();
                    wrong.lock().unwrap().extend(difference(broken.name, broken.fails, &report));
                    seen.lock().unwrap().extend(report.failed(Level::May).map(|outcome| outcome.id));
                }
            });
        }
    });
    let (seen, wrong) = (seen.into_inner().unwrap(), wrong.into_inner().unwrap());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(seen.len() > 60, "only {} checks are shown to fail", seen.len());
}

fn difference(name: &str, expected: &[&str], report: &Report) -> Option<String> {
    let failed: Vec<&Outcome> = report.failed(Level::May).collect();
    let missed: Vec<&&str> = expected.iter().filter(|id| !failed.iter().any(|outcome| outcome.id == **id)).collect();
    let surplus: Vec<&&Outcome> = failed.iter().filter(|outcome| !expected.contains(&outcome.id)).collect();
    let is_none = missed.is_empty() && surplus.is_empty();
    (!is_none).then(|| format!("{name}: missed {missed:?}; failed as well {surplus:#?}"))
}

fn values() -> Vec<Broken> {
    vec![
        spoilt("nothing at all", &[], |_, _| {}),
        spoilt("a disabled flag serves null", &["form.no-null", "bulk.no-null", "disabled.value"], |_, reply| {
            edit(reply, |item| {
                if item["reason"] == json!("DISABLED") {
                    item["value"] = Value::Null;
                }
            });
        }),
        spoilt("a disabled flag serves no value", &["disabled.value"], |_, reply| {
            edit(reply, |item| {
                if item["reason"] == json!("DISABLED") {
                    remove(item, "value");
                }
            });
        }),
        spoilt("a disabled flag is served as if it were on", &["disabled.answer", "disabled.reason"], |_, reply| {
            edit(reply, |item| {
                if item["reason"] == json!("DISABLED") {
                    (item["value"], item["variant"], item["reason"]) = (json!(true), json!("on"), json!("STATIC"));
                }
            });
        }),
        spoilt("integers are floats", &["form.integer"], |_, reply| {
            reply.body = reply.body.replace("\"value\":10,", "\"value\":10.0,");
        }),
        spoilt("whole floats are integers", &["form.float"], |_, reply| {
            reply.body = reply.body.replace("\"value\":10.0,", "\"value\":10,");
        }),
        spoilt("every number is a float of 64 bits", &["value.integer-large", "form.integer"], |_, reply| {
            edit(reply, |item| {
                if let Some(value) = item.get("value").and_then(Value::as_f64) {
                    item["value"] = json!(value);
                }
            });
        }),
        spoilt("texts that look like numbers are numbers", &["value.string-digits"], |_, reply| {
            reply.body = reply.body.replace("\"value\":\"10\"", "\"value\":10");
        }),
        spoilt("what is not ASCII is lost", &["value.string"], |_, reply| {
            reply.body = reply.body.replace(|character: char| !character.is_ascii(), "?");
        }),
        spoilt(
            "zero values are left out",
            &[
                "disabled.value",
                "zero.boolean",
                "zero.string",
                "zero.integer",
                "zero.float",
                "zero.object",
                "zero.rule-boolean",
                "zero.rule-string",
                "zero.rule-integer",
                "zero.rule-float",
                "zero.rule-object",
            ],
            |_, reply| {
                edit(reply, |item| {
                    let zeros = [json!(false), json!(""), json!(0), json!(0.0), json!({})];
                    if item.get("value").is_some_and(|value| zeros.contains(value)) {
                        remove(item, "value");
                    }
                });
            },
        ),
        spoilt("no variants", &["form.variant"], |_, reply| edit(reply, |item| remove(item, "variant"))),
        spoilt(
            "reasons of its own",
            &[
                "form.reason-known",
                "disabled.reason",
                "targeting.reason",
                "targeting.reason-default",
                "targeting.reason-static",
                "split.reason",
            ],
            |_, reply| {
                edit(reply, |item| {
                    if is_success(item) {
                        item["reason"] = json!("SCHEDULED");
                    }
                });
            },
        ),
        spoilt("nested metadata", &["form.metadata", "bulk.metadata"], |question, reply| {
            if question.is_bulk() && reply.status == 200 {
                let mut body: Value = serde_json::from_str(&reply.body).unwrap();
                body["metadata"] = json!({"set": {"id": 1}});
                reply.body = body.to_string();
            } else {
                edit(reply, |item| item["metadata"] = json!({"owner": ["a"]}));
            }
        }),
        spoilt("another flag's key", &["form.key", "error.key"], |question, reply| {
            if !question.is_bulk() {
                edit(reply, |item| item["key"] = json!("other"));
            }
        }),
        spoilt("plain text", &["form.content-type", "error.content-type", "bulk.form"], |question, reply| {
            if !is_stream(question) {
                reply.set("content-type", "text/plain");
            }
        }),
        spoilt("a flag is missing in bulk", &["bulk.complete"], |question, reply| {
            if question.is_bulk() {
                reply.body = reply.body.replace("conformance-zero-float", "elsewhere");
            }
        }),
        spoilt("bulk differs from single", &["bulk.equals-single"], |question, reply| {
            if question.is_bulk() {
                reply.body = reply.body.replace("\"reason\":\"SPLIT\"", "\"reason\":\"DEFAULT\"");
            }
        }),
    ]
}

fn errors() -> Vec<Broken> {
    vec![
        spoilt(
            "errors without errorCode",
            &["error.missing-flag", "error.malformed", "error.malformed-bulk", "error.context", "error.no-key"],
            |_, reply| {
                if reply.status >= 400 {
                    edit(reply, |item| remove(item, "errorCode"));
                }
            },
        ),
        spoilt("errors without details", &["error.details"], |_, reply| {
            if reply.status >= 400 {
                edit(reply, |item| remove(item, "errorDetails"));
            }
        }),
        spoilt("errors without a key", &["error.key"], |_, reply| {
            if reply.status >= 400 {
                edit(reply, |item| remove(item, "key"));
            }
        }),
        misheard("a missing key is invented", &["error.no-key", "error.no-key-bulk"], |question| {
            question.body = question.body.replace("\"context\":{}", "\"context\":{\"targetingKey\":\"x\"}")
        }),
        spoilt("a missing flag is 200", &["error.missing-flag", "error.case", "lenient.encoded-key"], |_, reply| {
            if reply.status == 404 {
                reply.status = 200;
                edit(reply, |item| item["value"] = json!(false));
            }
        }),
        misheard("keys in lower case", &["error.case"], |question| {
            if question.path.contains("/Conformance") {
                question.path = question.path.to_lowercase();
            }
        }),
        misheard("GET is answered", &["error.method"], |question| {
            if question.method == "GET" && question.path.starts_with("/ofrep/v1/evaluate") {
                question.method = "POST".to_owned();
                question.set("content-length", "0");
            }
        }),
        misheard("keys are decoded twice", &["lenient.encoded-key"], |question| {
            question.path = question.path.replace("%252D", "%2D");
        }),
        Broken {
            name: "a body is demanded",
            fails: &["lenient.no-body"],
            spoil: Box::new(|question, ask| {
                let mut reply = ask(question);
                if question.method == "POST" && question.body.is_empty() {
                    (reply.status, reply.body) = (400, "{}".to_owned());
                }
                reply
            }),
        },
    ]
}

fn tags() -> Vec<Broken> {
    vec![
        spoilt("no ETag", &["etag.offered"], |_, reply| reply.remove("etag")),
        Broken {
            name: "the tag forgets the context",
            fails: &["etag.attribute", "etag.subject"],
            spoil: Box::new(|question, ask| {
                let mut plain = question.clone();
                plain.remove("if-none-match");
                let mut reply = ask(&plain);
                if question.is_bulk() && reply.status == 200 {
                    reply.set("etag", "\"config-7\"");
                    if question.header("if-none-match").is_some_and(|tags| tags.contains("\"config-7\""))
                        && !question.path.contains('?')
                    {
                        (reply.status, reply.body) = (304, String::new());
                    }
                }
                reply
            }),
        },
        misheard("If-None-Match is ignored", &["etag.not-modified", "etag.list", "etag.order"], |question| {
            question.remove("if-none-match");
        }),
        Broken {
            name: "any If-None-Match is 304",
            fails: &["etag.other", "etag.attribute", "etag.subject", "etag.told", "etag.told-time", "stream.etag"],
            spoil: Box::new(|question, ask| {
                let mut plain = question.clone();
                plain.remove("if-none-match");
                plain.path = plain.path.split('?').next().unwrap().to_owned();
                let mut reply = ask(if question.is_bulk() { &plain } else { question });
                if question.is_bulk() && question.header("if-none-match").is_some() {
                    (reply.status, reply.body) = (304, String::new());
                }
                reply
            }),
        },
        misheard("flagConfigEtag is not read", &["etag.told", "etag.told-time"], |question| {
            if question.is_bulk() {
                question.path = question.path.split('?').next().unwrap().to_owned();
            }
        }),
        spoilt("tags without quotes", &["etag.offered", "etag.not-modified", "etag.list", "etag.order"], |_, reply| {
            if let Some(tag) = reply.header("etag").map(|tag| tag.trim_matches('"').to_owned()) {
                reply.set("etag", &tag);
            }
        }),
        spoilt("304 without its tag", &["etag.repeated"], |_, reply| {
            if reply.status == 304 {
                reply.remove("etag");
            }
        }),
    ]
}

fn access(token: &str) -> Vec<Broken> {
    let bearer = format!("Bearer {token}");
    vec![
        Broken {
            name: "everybody is let in",
            fails: &["auth.none", "auth.wrong", "auth.bulk", "auth.no-values", "auth.challenge"],
            spoil: Box::new(move |question, ask| {
                let mut question = question.clone();
                if question.path.starts_with("/ofrep/v1/evaluate") {
                    question.set("authorization", &bearer);
                }
                ask(&question)
            }),
        },
        misheard("X-API-Key is not read", &["auth.api-key"], |question| question.remove("x-api-key")),
        spoilt("no ETag for pages", &["cors.expose"], |_, reply| {
            reply.set("access-control-expose-headers", "Retry-After");
        }),
        spoilt("Authorization is left to a star", &["cors.headers"], |_, reply| {
            reply.set("access-control-allow-headers", "*");
        }),
        spoilt("errors without CORS", &["cors.errors"], |_, reply| {
            if reply.status >= 400 {
                reply.remove("access-control-allow-origin");
            }
        }),
        Broken {
            name: "preflights need a token",
            fails: &["cors.preflight", "cors.headers"],
            spoil: Box::new(|question, ask| {
                if question.method == "OPTIONS" {
                    return Reply { status: 401, headers: Vec::new(), body: String::new() };
                }
                ask(question)
            }),
        },
        spoilt("no CORS at all is no fault", &[], |_, reply| reply.remove("access-control-allow-origin")),
    ]
}

fn limits() -> Vec<Broken> {
    vec![
        spoilt("Retry-After is a date", &["limit.seconds"], |_, reply| {
            if reply.status == 503 {
                reply.set("retry-after", "Mon, 23 Nov 2026 08:00:00 GMT");
            }
        }),
        spoilt("Retry-After is 0", &["limit.seconds"], |_, reply| {
            if reply.status == 503 {
                reply.set("retry-after", "0");
            }
        }),
        spoilt("no Retry-After", &["limit.retry-after"], |_, reply| {
            if reply.status == 503 {
                reply.remove("retry-after");
            }
        }),
    ]
}

fn is_stream(question: &Question) -> bool {
    question.header("accept").is_some_and(|accept| accept.contains("text/event-stream"))
}

/// Changes what a stream says.
fn heard(name: &'static str, fails: &'static [&'static str], change: fn(&mut Reply)) -> Broken {
    let spoil = move |question: &Question, ask: &dyn Fn(&Question) -> Reply| {
        let mut reply = ask(question);
        if is_stream(question) && reply.status == 200 {
            change(&mut reply);
        }
        reply
    };
    Broken { name, fails, spoil: Box::new(spoil) }
}

/// Changes the streams that a bulk answer offers.
fn offered(
    name: &'static str,
    fails: &'static [&'static str],
    change: impl Fn(&mut Value) + Send + Sync + 'static,
) -> Broken {
    let spoil = move |question: &Question, ask: &dyn Fn(&Question) -> Reply| {
        let mut reply = ask(question);
        if let Ok(mut body) = serde_json::from_str::<Value>(&reply.body)
            && let Some(streams) = body.get_mut("eventStreams")
        {
            change(streams);
            reply.body = body.to_string();
        }
        reply
    };
    Broken { name, fails, spoil: Box::new(spoil) }
}

fn streams(token: &str) -> Vec<Broken> {
    let leak = format!("/stream?token={token}");
    vec![
        spoilt("no streams at all are no fault", &[], |_, reply| {
            if let Ok(mut body) = serde_json::from_str::<Value>(&reply.body)
                && body.get("eventStreams").is_some()
            {
                remove(&mut body, "eventStreams");
                reply.body = body.to_string();
            }
        }),
        spoilt("the stream wants a header", &["stream.opens"], |question, reply| {
            if is_stream(question) {
                (reply.status, reply.body) = (401, String::new());
            }
        }),
        Broken {
            name: "the stream is open to everybody",
            fails: &["stream.refused"],
            spoil: Box::new(|question, ask| {
                let mut reply = ask(question);
                if is_stream(question) && reply.status != 200 {
                    reply.status = 200;
                    reply.set("content-type", "text/event-stream");
                }
                reply
            }),
        },
        heard("the stream may be cached", &["stream.uncached"], |reply| reply.remove("cache-control")),
        heard("the stream is silent", &["stream.greets"], |reply| reply.body = ": hello\n\n".to_owned()),
        heard("events of another name", &["stream.event"], |reply| {
            let lines = reply.body.lines().filter(|line| !line.starts_with("event:"));
            let body: String = lines.map(|line| format!("{line}\n")).collect();
            reply.body = body.replace("data:", "event: changed\ndata:");
        }),
        heard("events of another type", &["stream.event"], |reply| {
            reply.body = reply.body.replace("refetchEvaluation", "changed");
        }),
        heard("events without an id", &["stream.id"], |reply| {
            reply.body =
                reply.body.lines().filter(|line| !line.starts_with("id:")).map(|line| format!("{line}\n")).collect();
        }),
        heard("events that name no configuration", &["stream.etag"], |reply| {
            reply.body = reply.body.replace("\"etag\"", "\"tag\"");
        }),
        heard("events that name flags", &["stream.no-values"], |reply| {
            reply.body = reply.body.replace("\"type\"", "\"flag\":\"conformance-boolean\",\"type\"");
        }),
        offered("a stream of two addresses", &["stream.form"], |streams| {
            streams[0]["url"] = json!("http://127.0.0.1:1/");
            streams[0]["type"] = json!("other");
        }),
        offered("a stream that waits for no time", &["stream.form"], |streams| {
            streams[0]["inactivityDelaySec"] = json!(0)
        }),
        offered("the token in the stream's address", &["stream.secret"], move |streams| {
            let uri = streams[0]["endpoint"]["requestUri"].as_str().unwrap_or(&leak).to_owned();
            let token = leak.split('=').nth(1).unwrap();
            streams[0]["endpoint"]["requestUri"] = json!(format!("{uri}&more={token}"));
        }),
    ]
}
