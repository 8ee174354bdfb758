// An OpenFeature provider for servers on top of a client: `OpenFeature.setProviderAndWait(new ChangeoverProvider(client))`.

import {
  OpenFeatureEventEmitter,
  ProviderEvents,
  type ErrorCode,
  type EvaluationContext,
  type JsonValue,
  type Provider,
  type ResolutionDetails,
} from '@openfeature/server-sdk';
import type { BaseClient } from './client.js';
import type { Context, Details } from './details.js';

/** Serves a client's kept answers. The client stays yours: close it yourself. */
export class ChangeoverProvider implements Provider {
  readonly metadata = { name: 'Changeover' } as const;
  readonly runsOn = 'server';
  readonly events = new OpenFeatureEventEmitter();
  readonly #client: BaseClient;
  #forget: (() => void) | undefined;

  constructor(client: BaseClient) {
    this.#client = client;
  }

  initialize(): Promise<void> {
    this.#forget ??= this.#client.onChange(() => this.events.emit(ProviderEvents.ConfigurationChanged));
    return Promise.resolve();
  }

  onClose(): Promise<void> {
    this.#forget?.();
    this.#forget = undefined;
    return Promise.resolve();
  }

  async resolveBooleanEvaluation(key: string, defaultValue: boolean, context: EvaluationContext): Promise<ResolutionDetails<boolean>> {
    return resolution(await this.#client.details('boolean', key, defaultValue, context as Context));
  }

  async resolveStringEvaluation(key: string, defaultValue: string, context: EvaluationContext): Promise<ResolutionDetails<string>> {
    return resolution(await this.#client.details('string', key, defaultValue, context as Context));
  }

  async resolveNumberEvaluation(key: string, defaultValue: number, context: EvaluationContext): Promise<ResolutionDetails<number>> {
    return resolution(await this.#client.details('float', key, defaultValue, context as Context));
  }

  async resolveObjectEvaluation<T extends JsonValue>(key: string, defaultValue: T, context: EvaluationContext): Promise<ResolutionDetails<T>> {
    const fallback = defaultValue as Record<string, unknown>;
    return resolution((await this.#client.details('object', key, fallback, context as Context)) as Details<unknown> as Details<T>);
  }
}

function resolution<T>(details: Details<T>): ResolutionDetails<T> {
  const { value, variant, reason, errorCode, errorMessage, metadata } = details;
  return {
    value,
    reason,
    flagMetadata: metadata as Record<string, string | number | boolean>,
    ...(variant === undefined ? {} : { variant }),
    ...(errorCode === undefined ? {} : { errorCode: errorCode as ErrorCode }),
    ...(errorMessage === undefined ? {} : { errorMessage }),
  };
}
