"""An OpenFeature provider on top of a client: `api.set_provider(ChangeoverProvider(client))`. Needs the extra `openfeature`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, List, Optional, Union

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.hook import Hook
from openfeature.provider import AbstractProvider, Metadata

from .client import Client
from .details import Context, Details


class ChangeoverProvider(AbstractProvider):
    """Serves a client's kept answers. The client stays yours: close it yourself."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        client.on_change(lambda: self.emit_provider_configuration_changed(ProviderEventDetails()))

    def get_metadata(self) -> Metadata:
        return Metadata(name="Changeover")

    def get_provider_hooks(self) -> List[Hook]:
        return []

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: Optional[EvaluationContext] = None
    ) -> FlagResolutionDetails[bool]:
        return self._resolve("boolean", flag_key, default_value, evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: Optional[EvaluationContext] = None
    ) -> FlagResolutionDetails[str]:
        return self._resolve("string", flag_key, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: Optional[EvaluationContext] = None
    ) -> FlagResolutionDetails[int]:
        return self._resolve("integer", flag_key, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: Optional[EvaluationContext] = None
    ) -> FlagResolutionDetails[float]:
        return self._resolve("float", flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Union[Sequence[FlagValueType], Mapping[str, FlagValueType]],
        evaluation_context: Optional[EvaluationContext] = None,
    ) -> FlagResolutionDetails[Union[Sequence[FlagValueType], Mapping[str, FlagValueType]]]:
        return self._resolve("object", flag_key, default_value, evaluation_context)

    async def resolve_boolean_details_async(
        self, flag_key: str, default_value: bool, evaluation_context: Optional[EvaluationContext] = None
    ) -> FlagResolutionDetails[bool]:
        return await self._resolve_async("boolean", flag_key, default_value, evaluation_context)

    async def resolve_string_details_async(
        self, flag_key: str, default_value: str, evaluation_context: Optional[EvaluationContext] = None
    ) -> FlagResolutionDetails[str]:
        return await self._resolve_async("string", flag_key, default_value, evaluation_context)

    async def resolve_integer_details_async(
        self, flag_key: str, default_value: int, evaluation_context: Optional[EvaluationContext] = None
    ) -> FlagResolutionDetails[int]:
        return await self._resolve_async("integer", flag_key, default_value, evaluation_context)

    async def resolve_float_details_async(
        self, flag_key: str, default_value: float, evaluation_context: Optional[EvaluationContext] = None
    ) -> FlagResolutionDetails[float]:
        return await self._resolve_async("float", flag_key, default_value, evaluation_context)

    async def resolve_object_details_async(
        self,
        flag_key: str,
        default_value: Union[Sequence[FlagValueType], Mapping[str, FlagValueType]],
        evaluation_context: Optional[EvaluationContext] = None,
    ) -> FlagResolutionDetails[Union[Sequence[FlagValueType], Mapping[str, FlagValueType]]]:
        return await self._resolve_async("object", flag_key, default_value, evaluation_context)

    def _resolve(self, kind: str, key: str, default: Any, context: Optional[EvaluationContext]) -> FlagResolutionDetails[Any]:
        return _resolution(self._client._flags.details((key, default, kind), _context(context)))

    async def _resolve_async(self, kind: str, key: str, default: Any, context: Optional[EvaluationContext]) -> FlagResolutionDetails[Any]:
        return _resolution(await self._client._details_async((key, default, kind), _context(context)))


def _context(context: Optional[EvaluationContext]) -> Context:
    if context is None:
        return None
    key = {} if context.targeting_key is None else {"targetingKey": context.targeting_key}
    return {**context.attributes, **key}


def _resolution(details: Details) -> FlagResolutionDetails[Any]:
    try:
        reason: Any = Reason(details.reason)
    except ValueError:
        reason = details.reason
    return FlagResolutionDetails(
        value=details.value,
        variant=details.variant,
        reason=reason,
        error_code=ErrorCode(details.error_code) if details.error_code is not None else None,
        error_message=details.error_message,
        flag_metadata=dict(details.metadata),
    )
