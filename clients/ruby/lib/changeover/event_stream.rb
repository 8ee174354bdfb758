# frozen_string_literal: true

require "json"

module Changeover
  # Hears of changes by server-sent events, and connects again with jitter when the stream ends. Runs in its caller's thread.
  class EventStream
    PATH = "/ofrep/v1/events"
    SILENCE = 45
    LINE_BYTES_MAX = 65_536

    def initialize(transport, random: Random)
      @transport = transport
      @random = random
      @retry_ms = 1000
      @failures = 0
    end

    # Yields (etag, lastModified) of each notice; returns when `closed` says so. Being connected anew is a notice only if
    # the server says that something has changed since.
    def run(closed:, pause:)
      until closed.call
        begin
          listen(closed) { |etag, modified| yield etag, modified }
        rescue Error
          @failures += 1
        end
        break if closed.call

        pause.call(wait_seconds)
      end
    end

    # Takes a stream apart: `pieces` of text in, (field, value) events out, as the HTML standard says.
    class Parser
      def initialize
        @rest = String.new(encoding: Encoding::BINARY)
        @fields = {}
      end

      def feed(piece)
        @rest << piece.b
        raise Malformed, "a line of the event stream is too long" if @rest.bytesize > LINE_BYTES_MAX * 4

        while (found = @rest.match(/\r\n|\n|\r(?!\z)/))
          line = found.pre_match
          @rest = found.post_match
          take(line.force_encoding(Encoding::UTF_8)) { |event| yield event }
        end
      end

      private

      def take(line)
        if line.empty?
          yield @fields unless @fields.empty?
          @fields = {}
        elsif !line.start_with?(":")
          name, value = line.split(":", 2)
          value = (value || "").delete_prefix(" ")
          @fields[name] = name == "data" && @fields["data"] ? "#{@fields['data']}\n#{value}" : value
        end
      end
    end

    private

    def listen(closed)
      headers = { "Accept" => "text/event-stream", "Cache-Control" => "no-cache" }
      headers["Last-Event-ID"] = @last_id if @last_id
      @transport.stream(PATH, headers: headers, silence: SILENCE) do |response|
        raise Problem.new(response.code.to_i, {}, response["Retry-After"].to_s[/\A\d+\z/]&.to_i) unless response.code == "200"

        parser = Parser.new
        response.read_body do |piece|
          parser.feed(piece) { |event| notice(event) { |etag, modified| yield etag, modified } }
          return if closed.call
        end
      end
    rescue Problem => e
      @asked_to_wait = e.retry_after
      raise
    end

    def notice(event)
      @failures = 0
      @retry_ms = event["retry"].to_i.clamp(100, 60_000) if event["retry"].to_s.match?(/\A\d+\z/)
      @last_id = event["id"] if event["id"]
      return unless event["data"]

      data = JSON.parse(event["data"])
      yield data["etag"], data["lastModified"] if data.is_a?(Hash) && data["type"] == "refetchEvaluation"
    rescue JSON::ParserError
      nil
    end

    # At least half of it, so that many clients neither come at once nor hammer.
    def wait_seconds
      asked = @asked_to_wait
      @asked_to_wait = nil
      seconds = [@retry_ms / 1000.0 * (2**[@failures, 6].min), 60].min
      seconds = seconds * (0.5 + (@random.rand / 2))
      asked ? [seconds, [asked, 300].min].max : seconds
    end
  end
end
