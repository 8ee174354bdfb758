//! The crates `open-feature` and `open-feature-ofrep`, as an application has them, against a real server. One scenario after the
//! other: a rate limit pauses every provider of the process.

mod server;

use std::time::{Duration, Instant};

use open_feature::provider::FeatureProvider;
use open_feature::{EvaluationContext, EvaluationErrorCode, OpenFeature, Value};
use open_feature_ofrep::{OfrepOptions, OfrepProvider};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use server::Server;

const SUBJECT: &str = "conformance-user";

#[tokio::main]
async fn main() {
    let server = Server::start(&[]).await;
    every_type(&server).await;
    through_the_sdk(&server).await;
    errors(&server).await;
    tokens(&server).await;
    changes(&server).await;
    restart(server).await;
    rate_limit().await;
}

fn told(scenario: &str) {
    println!("ok - {scenario}");
}

async fn provider(server: &Server, header: &str, value: &str) -> OfrepProvider {
    let (name, value) = (header.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    let headers = HeaderMap::from_iter([(name, value)]);
    OfrepProvider::new(OfrepOptions { base_url: server.url(), headers, ..OfrepOptions::default() }).await.unwrap()
}

async fn usual(server: &Server) -> OfrepProvider {
    provider(server, "authorization", &format!("Bearer {}", server.token())).await
}

fn subject() -> EvaluationContext {
    EvaluationContext::default().with_targeting_key(SUBJECT)
}

async fn every_type(server: &Server) {
    let provider = usual(server).await;
    let context = subject();
    for (key, value, variant) in
        [("boolean", true, "on"), ("zero-boolean", false, "zero"), ("disabled", false, "off")]
    {
        let found = provider.resolve_bool_value(&format!("conformance-{key}"), &context).await.unwrap();
        assert_eq!((found.value, found.variant.as_deref()), (value, Some(variant)), "{key}");
    }
    for (key, value) in [
        ("string", "Kia ora, 世界! \"<&>\" \\ \u{1f39e}"),
        ("string-digits", "10"),
        ("zero-string", ""),
        ("by-key", "yes"),
        ("by-text", "no"),
    ] {
        let found = provider.resolve_string_value(&format!("conformance-{key}"), &context).await.unwrap();
        assert_eq!(found.value, value, "{key}");
    }
    for (key, value) in [("integer", 10), ("integer-large", 9_007_199_254_740_993), ("zero-integer", 0)] {
        let found = provider.resolve_int_value(&format!("conformance-{key}"), &context).await.unwrap();
        assert_eq!(found.value, value, "{key}");
    }
    for (key, value) in [("float", 0.5), ("float-whole", 10.0), ("zero-float", 0.0)] {
        let found = provider.resolve_float_value(&format!("conformance-{key}"), &context).await.unwrap();
        assert_eq!(found.value, value, "{key}");
    }
    let full = provider.resolve_struct_value("conformance-object", &context).await.unwrap().value;
    assert_eq!(full.fields["videos"], Value::Int(3));
    assert_eq!(full.fields["hours"], Value::Float(1.5));
    assert!(matches!(&full.fields["nested"], Value::Struct(nested) if nested.fields["on"] == Value::Bool(true)));
    let zero = provider.resolve_struct_value("conformance-zero-object", &context).await.unwrap().value;
    assert!(zero.fields.is_empty());
    told("every type, zero values and a disabled flag");
}

async fn through_the_sdk(server: &Server) {
    let provider = usual(server).await;
    let mut api = OpenFeature::singleton_mut().await;
    api.set_provider(provider).await;
    let client = api.create_client();
    drop(api);
    let context = subject().with_custom_field("plan", "pro").with_custom_field("seats", 5i64).with_custom_field("trial", true);
    for key in ["text", "number", "boolean", "list", "all"] {
        let found = client.get_string_details(&format!("conformance-by-{key}"), Some(&context), None).await.unwrap();
        assert_eq!((found.value.as_str(), found.variant.as_deref()), ("yes", Some("yes")), "{key}");
    }
    told("attributes of the context, through the SDK");
}

async fn errors(server: &Server) {
    let provider = usual(server).await;
    let code = |found: open_feature::EvaluationError| found.code;
    let missing = provider.resolve_bool_value("conformance-missing", &subject()).await.map(drop).map_err(code);
    assert_eq!(missing, Err(EvaluationErrorCode::FlagNotFound));
    // Whatever a 400 says, this provider reports an invalid context.
    let no_key = provider.resolve_bool_value("conformance-split", &EvaluationContext::default()).await;
    assert_eq!(no_key.map(drop).map_err(code), Err(EvaluationErrorCode::InvalidContext));
    let wrong_type = provider.resolve_bool_value("conformance-string", &subject()).await.map(drop).map_err(code);
    assert_eq!(wrong_type, Err(EvaluationErrorCode::ParseError));
    told("a missing flag, a missing key and another type");
}

async fn tokens(server: &Server) {
    for (header, value) in [("authorization", "Bearer co_wrong"), ("x-api-key", "co_wrong")] {
        let provider = provider(server, header, value).await;
        let refused = provider.resolve_bool_value("conformance-boolean", &subject()).await.map(drop).unwrap_err();
        assert_eq!(refused.message.as_deref(), Some("authentication/authorization error"));
    }
    let by_key = provider(server, "x-api-key", server.token()).await;
    assert!(by_key.resolve_bool_value("conformance-boolean", &subject()).await.unwrap().value);
    told("a wrong token, and a right one as API key");
}

async fn changes(server: &Server) {
    let (key, provider) = ("conformance-boolean", usual(server).await);
    for (variant, value) in [("off", false), ("on", true)] {
        let default = format!("\"default_variant\":\"{variant}\"");
        server.replace(key, server.flag(key).replace("\"default_variant\":\"on\"", &default)).await;
        assert_eq!(provider.resolve_bool_value(key, &subject()).await.unwrap().value, value);
    }
    told("a change is seen by the next question");
}

async fn restart(mut server: Server) {
    let provider = usual(&server).await;
    server.stop();
    provider.resolve_bool_value("conformance-by-key", &subject()).await.map(drop).unwrap_err();
    server.serve_again();
    assert_eq!(provider.resolve_string_value("conformance-by-key", &subject()).await.unwrap().value, "yes");
    told("a server that was restarted on the same port");
}

async fn rate_limit() {
    let server = Server::start(&["--rate-limit-per-second", "5", "--rate-limit-burst", "60"]).await;
    let provider = usual(&server).await;
    let ask = async || provider.resolve_bool_value("conformance-boolean", &subject()).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let message = loop {
        match ask().await {
            Ok(found) => assert!(found.value && Instant::now() < deadline, "no limit is met"),
            Err(error) => break error.message.unwrap_or_default(),
        }
    };
    assert!(message.starts_with("Rate limit exceeded. Retry after"), "{message}");
    let paused = ask().await.map(drop).unwrap_err().message.unwrap_or_default();
    assert!(paused.starts_with("Rate limit exceeded. Please wait"), "{paused}");
    while ask().await.is_err() {
        assert!(Instant::now() < deadline, "it never goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    told("a rate limit pauses the provider, and it goes on by itself");
}
