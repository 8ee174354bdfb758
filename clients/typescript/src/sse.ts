// Server-sent events out of the pieces that a stream arrives in.

export interface ServerEvent {
  readonly id: string | undefined;
  readonly data: string;
}

const LINE_CHARS_MAX = 1 << 16;
const DATA_LINES_MAX = 100;

/** Reads what the standard's parser reads; a line or an event of absurd size ends the stream with an error. */
export class EventParser {
  /** What the server said last about the pause before a reconnect. */
  retryMs: number | undefined;
  #rest = '';
  #endsInReturn = false;
  #isFirst = true;
  #id: string | undefined;
  #data: string[] = [];

  /** The events that are whole now. */
  *push(piece: string): Iterable<ServerEvent> {
    let text = this.#rest + (this.#isFirst ? piece.replace(/^\ufeff/, '') : piece);
    if (piece !== '') this.#isFirst = false;
    // A pair of CR and LF may be cut in two.
    if (this.#endsInReturn && text.startsWith('\n')) text = text.slice(1);
    this.#endsInReturn = text.endsWith('\r');
    const lines = text.split(/\r\n|\r|\n/);
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > LINE_CHARS_MAX) throw new RangeError('a line of the stream of events is too long');
    for (const line of lines) {
      const event = this.#line(line);
      if (event !== undefined) yield event;
    }
  }

  #line(line: string): ServerEvent | undefined {
    if (line === '') {
      const event = this.#data.length === 0 ? undefined : { id: this.#id, data: this.#data.join('\n') };
      this.#data = [];
      return event;
    }
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'data') {
      if (this.#data.push(value) > DATA_LINES_MAX) throw new RangeError('an event of the stream is too long');
    } else if (name === 'id' && !value.includes('\0')) {
      this.#id = value;
    } else if (name === 'retry' && /^\d+$/.test(value)) {
      this.retryMs = Number(value.slice(0, 9));
    }
    return undefined;
  }
}
