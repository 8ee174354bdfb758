// An OpenFeature provider for pages on top of a client: evaluations do not wait, so the context's answers are loaded when it is set.

import {
  OpenFeatureEventEmitter,
  ProviderEvents,
  type ErrorCode,
  type EvaluationContext,
  type JsonValue,
  type Provider,
  type ResolutionDetails,
} from '@openfeature/web-sdk';
import type { BaseClient } from './client.js';
import type { Context, Details } from './details.js';

/** Serves a client's kept answers. The client stays yours: close it yourself. */
export class ChangeoverProvider implements Provider {
  readonly metadata = { name: 'Changeover' } as const;
  readonly runsOn = 'client';
  readonly events = new OpenFeatureEventEmitter();
  readonly #client: BaseClient;
  #context: EvaluationContext = {};
  #forget: (() => void) | undefined;

  constructor(client: BaseClient) {
    this.#client = client;
  }

  /** Never rejects: without the server, the last known answers serve, or defaults. */
  async initialize(context: EvaluationContext = {}): Promise<void> {
    this.#context = context;
    this.#forget ??= this.#client.onChange(() => void this.#changed());
    await this.#client.load(context as Context);
  }

  async onContextChange(_: EvaluationContext, context: EvaluationContext): Promise<void> {
    this.#context = context;
    await this.#client.load(context as Context);
  }

  onClose(): Promise<void> {
    this.#forget?.();
    this.#forget = undefined;
    return Promise.resolve();
  }

  resolveBooleanEvaluation(key: string, defaultValue: boolean, context: EvaluationContext): ResolutionDetails<boolean> {
    return resolution(this.#client.peek('boolean', key, defaultValue, context as Context));
  }

  resolveStringEvaluation(key: string, defaultValue: string, context: EvaluationContext): ResolutionDetails<string> {
    return resolution(this.#client.peek('string', key, defaultValue, context as Context));
  }

  resolveNumberEvaluation(key: string, defaultValue: number, context: EvaluationContext): ResolutionDetails<number> {
    return resolution(this.#client.peek('float', key, defaultValue, context as Context));
  }

  resolveObjectEvaluation<T extends JsonValue>(key: string, defaultValue: T, context: EvaluationContext): ResolutionDetails<T> {
    const fallback = defaultValue as Record<string, unknown>;
    return resolution(this.#client.peek('object', key, fallback, context as Context) as Details<unknown> as Details<T>);
  }

  /** Whoever is told reads at once, without waiting: the new answers have to be there. */
  async #changed(): Promise<void> {
    await this.#client.refresh(this.#context as Context);
    this.events.emit(ProviderEvents.ConfigurationChanged);
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
