//! The provider through OpenFeature's SDK, against the real server.

use open_feature::provider::FeatureProvider;
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue, EvaluationErrorCode, EvaluationReason, OpenFeature, Value,
};
use serde_json::json;

use super::support::RealServer;
use crate::Client;
use crate::open_feature::ChangeoverProvider;

#[tokio::test]
async fn a_provider_serves_what_the_client_keeps() {
    let server = RealServer::start();
    server.create_flags();
    let client = Client::new(server.url(), &server.admin_token).unwrap();
    let mut api = OpenFeature::singleton_mut().await;
    api.set_provider(ChangeoverProvider::new(client.clone())).await;
    let flags = api.create_client();
    drop(api);
    let context = EvaluationContext::default().with_targeting_key("7").with_custom_field("plan", "pro");
    let subject = json!({"targetingKey": "7", "plan": "pro"});
    let found = flags.get_bool_details("conformance-boolean", Some(&context), None).await.unwrap();
    let own = client.details("conformance-boolean", false, &subject);
    assert_eq!((found.value, found.variant, found.reason), (own.value, own.variant, Some(EvaluationReason::Static)));
    let text = flags.get_string_value("conformance-string", Some(&context), None).await.unwrap();
    assert_eq!(text, client.string("conformance-string", "", &subject));
    assert_eq!(flags.get_int_value("conformance-integer", Some(&context), None).await.unwrap(), 10);
    assert_eq!(flags.get_float_value("conformance-float", Some(&context), None).await.unwrap(), 0.5);
    let provider = ChangeoverProvider::new(client);
    let object = provider.resolve_struct_value("conformance-object", &context).await.unwrap().value;
    assert_eq!((&object.fields["videos"], &object.fields["hours"]), (&Value::Int(3), &Value::Float(1.5)));
    let missing = flags.get_bool_details("nothing", Some(&context), None).await.unwrap_err();
    assert_eq!(missing.code, EvaluationErrorCode::FlagNotFound);
    let wrong = flags.get_bool_value("conformance-string", Some(&context), None).await.unwrap_err();
    assert_eq!(wrong.code, EvaluationErrorCode::TypeMismatch);
    let plan = |field| EvaluationContext::default().with_targeting_key("7").with_custom_field("account", field);
    let json = plan(EvaluationContextFieldValue::new_struct(json!({"plan": "pro"})));
    assert!(provider.resolve_bool_value("conformance-boolean", &json).await.unwrap().value);
    let other = plan(EvaluationContextFieldValue::new_struct(std::time::Duration::ZERO));
    assert_eq!(
        provider.resolve_bool_value("conformance-boolean", &other).await.unwrap_err().code,
        EvaluationErrorCode::InvalidContext
    );
}
