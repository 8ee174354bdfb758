//! A provider for OpenFeature's SDK on top of a client, which stays yours. Needs the feature `open-feature`.

use std::time::Duration;

use open_feature::provider::{FeatureProvider, ProviderMetadata, ResolutionDetails};
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue, EvaluationError, EvaluationErrorCode, EvaluationReason,
    EvaluationResult, FlagMetadata, StructValue, Value as SdkValue, async_trait,
};
use serde_json::{Map, Number, Value};

use crate::async_client::AsyncClient;
use crate::client::Client;
use crate::clock::rfc3339;
use crate::context::Context;
use crate::details::{Details, ErrorCode, FlagValue, Outcome, Reason};

/// Serves what a client keeps.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use changeover_client::{Client, open_feature::ChangeoverProvider};
/// use open_feature::{EvaluationContext, OpenFeature};
///
/// let client = Client::from_env()?;
/// let mut api = OpenFeature::singleton_mut().await;
/// api.set_provider(ChangeoverProvider::new(client)).await;
/// let context = EvaluationContext::default().with_targeting_key("42");
/// let is_new = api.create_client().get_bool_value("new-player", Some(&context), None).await.unwrap_or(false);
/// # Ok(())
/// # }
/// ```
///
/// Of the context's structs it knows `serde_json::Value` and the SDK's own `StructValue`; another one is told as an invalid context. A flag
/// that is served without a value is told as an error of the code `General`: the SDK has no other way to its caller's default.
pub struct ChangeoverProvider {
    client: AsyncClient,
    metadata: ProviderMetadata,
}

impl ChangeoverProvider {
    /// A provider for a client, for threads or for tasks.
    pub fn new(client: impl Into<AsyncClient>) -> Self {
        Self { client: client.into(), metadata: ProviderMetadata::new("Changeover") }
    }

    async fn resolve<T: FlagValue + Default>(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<T>> {
        let context = context_of(context).map_err(|field| {
            let message = format!("the field {field:?} of the context is a struct that is no JSON");
            EvaluationError::builder().code(EvaluationErrorCode::InvalidContext).message(message).build()
        })?;
        let Resolved(resolved) = self.client.evaluate(key, T::default(), context).await;
        resolved
    }
}

/// What the SDK is told.
struct Resolved<T>(EvaluationResult<ResolutionDetails<T>>);

impl<T: FlagValue> Outcome<T> for Resolved<T> {
    fn served(item: Option<&Value>, key: &str, default: T, is_stale: bool) -> Self {
        let has_value = item.is_some_and(|item| item.get("value").is_some());
        let details = Details::served(item, key, default, is_stale);
        match details.error_code {
            Some(code) => Self(Err(error(code, details.error_message.as_deref().unwrap_or_default()))),
            None if !has_value => {
                Self(Err(error(ErrorCode::General, &format!("flag {key:?} is served without a value"))))
            }
            None => Self(Ok(resolution(details))),
        }
    }

    fn failed(_: T, code: ErrorCode, message: &str) -> Self {
        Self(Err(error(code, message)))
    }
}

fn error(code: ErrorCode, message: &str) -> EvaluationError {
    let code = match code {
        ErrorCode::FlagNotFound => EvaluationErrorCode::FlagNotFound,
        ErrorCode::ParseError => EvaluationErrorCode::ParseError,
        ErrorCode::TargetingKeyMissing => EvaluationErrorCode::TargetingKeyMissing,
        ErrorCode::InvalidContext => EvaluationErrorCode::InvalidContext,
        ErrorCode::TypeMismatch => EvaluationErrorCode::TypeMismatch,
        ErrorCode::ProviderNotReady => EvaluationErrorCode::ProviderNotReady,
        ErrorCode::General => EvaluationErrorCode::General(message.to_owned()),
    };
    EvaluationError::builder().code(code).message(message).build()
}

fn resolution<T>(details: Details<T>) -> ResolutionDetails<T> {
    let reason = match details.reason {
        Reason::Static => EvaluationReason::Static,
        Reason::Default => EvaluationReason::Default,
        Reason::TargetingMatch => EvaluationReason::TargetingMatch,
        Reason::Split => EvaluationReason::Split,
        Reason::Disabled => EvaluationReason::Disabled,
        Reason::Unknown => EvaluationReason::Unknown,
        Reason::Error => EvaluationReason::Error,
        Reason::Stale => EvaluationReason::Other("STALE".to_owned()),
        Reason::Other(other) => EvaluationReason::Other(other),
    };
    let mut metadata = FlagMetadata::default();
    for (name, value) in details.metadata {
        match value {
            Value::Bool(value) => metadata.add_value(name, value),
            Value::String(value) => metadata.add_value(name, value),
            Value::Number(value) => match value.as_i64() {
                Some(value) => metadata.add_value(name, value),
                None => metadata.add_value(name, value.as_f64().unwrap_or_default()),
            },
            Value::Null | Value::Array(_) | Value::Object(_) => {}
        }
    }
    ResolutionDetails {
        value: details.value,
        variant: details.variant,
        reason: Some(reason),
        flag_metadata: Some(metadata),
    }
}

/// The SDK's context as ours, or the name of a field that is none.
fn context_of(context: &EvaluationContext) -> Result<Context, &str> {
    let mut attributes = Map::new();
    for (name, field) in &context.custom_fields {
        let value = match field {
            EvaluationContextFieldValue::Bool(value) => Value::Bool(*value),
            EvaluationContextFieldValue::Int(value) => Value::from(*value),
            EvaluationContextFieldValue::Float(value) => {
                Number::from_f64(*value).map(Value::Number).ok_or(name.as_str())?
            }
            EvaluationContextFieldValue::String(value) => Value::from(value.as_str()),
            EvaluationContextFieldValue::DateTime(value) => match u64::try_from(value.unix_timestamp()) {
                Ok(seconds) => Value::from(rfc3339(Duration::new(seconds, value.nanosecond()))),
                Err(_) => Value::from(value.to_string()),
            },
            EvaluationContextFieldValue::Struct(value) => {
                let ours = value.downcast_ref::<Value>().cloned();
                let sdks = || value.downcast_ref::<StructValue>().map(object);
                ours.or_else(sdks).ok_or(name.as_str())?
            }
        };
        attributes.insert(name.clone(), value);
    }
    if let Some(key) = &context.targeting_key {
        attributes.insert("targetingKey".to_owned(), Value::from(key.as_str()));
    }
    Ok(attributes.into())
}

fn object(value: &StructValue) -> Value {
    Value::Object(value.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect())
}

fn json(value: &SdkValue) -> Value {
    match value {
        SdkValue::Bool(value) => Value::Bool(*value),
        SdkValue::Int(value) => Value::from(*value),
        SdkValue::Float(value) => Value::from(*value),
        SdkValue::String(value) => Value::from(value.as_str()),
        SdkValue::Array(values) => values.iter().map(json).collect(),
        SdkValue::Struct(value) => object(value),
    }
}

/// JSON as the SDK has it. It has no null: what is null is left out.
fn sdk_struct(entries: Map<String, Value>) -> StructValue {
    StructValue { fields: entries.into_iter().filter_map(|(name, value)| Some((name, sdk_value(value)?))).collect() }
}

fn sdk_value(value: Value) -> Option<SdkValue> {
    match value {
        Value::Null => None,
        Value::Bool(value) => Some(SdkValue::Bool(value)),
        Value::Number(value) => value.as_i64().map(SdkValue::Int).or_else(|| value.as_f64().map(SdkValue::Float)),
        Value::String(value) => Some(SdkValue::String(value)),
        Value::Array(values) => Some(SdkValue::Array(values.into_iter().filter_map(sdk_value).collect())),
        Value::Object(entries) => Some(SdkValue::Struct(sdk_struct(entries))),
    }
}

#[async_trait]
impl FeatureProvider for ChangeoverProvider {
    fn metadata(&self) -> &ProviderMetadata {
        &self.metadata
    }

    async fn resolve_bool_value(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<bool>> {
        self.resolve(key, context).await
    }

    async fn resolve_int_value(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<i64>> {
        self.resolve(key, context).await
    }

    async fn resolve_float_value(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<f64>> {
        self.resolve(key, context).await
    }

    async fn resolve_string_value(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        self.resolve(key, context).await
    }

    async fn resolve_struct_value(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        let found: ResolutionDetails<Map<String, Value>> = self.resolve(key, context).await?;
        let ResolutionDetails { value, variant, reason, flag_metadata } = found;
        Ok(ResolutionDetails { value: sdk_struct(value), variant, reason, flag_metadata })
    }
}

impl std::fmt::Debug for ChangeoverProvider {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ChangeoverProvider").field("client", &self.client).finish_non_exhaustive()
    }
}

impl From<Client> for ChangeoverProvider {
    fn from(client: Client) -> Self {
        Self::new(client)
    }
}
