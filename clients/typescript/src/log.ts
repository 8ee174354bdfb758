// Where the package says what nobody is told otherwise.

/** What `console` has too. No token and no context is ever logged. */
export interface Logger {
  warn(message: string, error?: unknown): void;
  debug?(message: string, error?: unknown): void;
}

/** A logger that fails must not break whoever logs. */
export function guarded(logger: Logger | null): Logger {
  if (logger === null) return { warn: () => undefined };
  return {
    warn: (message, error) => attempt(() => (error === undefined ? logger.warn(message) : logger.warn(message, error))),
    debug: (message, error) => attempt(() => logger.debug?.(message, error)),
  };
}

function attempt(work: () => void): void {
  try {
    work();
  } catch {
    // Nobody is left to be told.
  }
}
